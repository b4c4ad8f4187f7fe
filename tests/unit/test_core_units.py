"""Unit ids, result hashes, output cut and checked as it comes; prices, rounded up; content ids; exposure windows."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical, exposure
from surge.core.content import content_id, parse_content_id, write_content_id
from surge.core.exposure import Standing
from surge.core.pricing import MAX_PRICE, Prices, compile_amount, transfer_amount, unit_amount
from surge.core.types import MAX_WEI
from surge.core.units import (
    EMPTY,
    EXACT,
    PROVABLE,
    Limits,
    Outcome,
    OutputVerifier,
    Part,
    Status,
    UnitSpec,
    billed_fuel,
    command_seed,
    result_hash,
    split_output,
    unit_id,
)
from surge.errors import InvalidInput, PeerFault

SPEC = UnitSpec("surge-world/1", b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"setup", b"entry", b"\x04" * 32, Limits(), b"\x05" * 32)


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bytes):
        return value + b"x"
    return value + "x" if isinstance(value, str) else value + 1


def test_a_unit_id_is_the_hash_of_its_fields() -> None:
    row = ["surge-world/1", b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"setup", b"entry", b"\x04" * 32, Limits().fields(), b"\x05" * 32]
    assert unit_id(SPEC) == hashlib.sha256(canonical.encode(row)).digest()


def test_a_unit_id_changes_with_every_field() -> None:
    ids = {unit_id(SPEC), unit_id(replace(SPEC, bundle=None))}
    for each in fields(UnitSpec):
        if each.name != "limits":
            ids.add(unit_id(replace(SPEC, **{each.name: other(getattr(SPEC, each.name))})))
    for each in fields(Limits):
        ids.add(unit_id(replace(SPEC, limits=replace(Limits(), **{each.name: getattr(Limits(), each.name) - 1}))))
    assert len(ids) == 2 + 8 + 5


def test_bytes_do_not_slide_from_one_field_to_the_next() -> None:
    assert unit_id(replace(SPEC, setup=b"ab", entry=b"c")) != unit_id(replace(SPEC, setup=b"a", entry=b"bc"))


def command(argv: list[str], index: int = 0) -> bytes:
    """A command's entry."""
    return canonical.encode([argv, [["HOME", "/"]], index])


def test_a_commands_seed_is_its_own_and_not_the_jobs() -> None:
    spec = replace(SPEC, entry=command(["prog"]))
    seed = command_seed(spec)
    assert seed == command_seed(replace(spec, salt=bytes(32), limits=Limits(fuel=1), engine=bytes(32)))
    assert seed == command_seed(replace(spec, entry=command(["prog"], 7)))
    for name in ("world", "image", "bundle", "items"):
        assert seed != command_seed(replace(spec, **{name: other(getattr(spec, name))}))
    assert seed != command_seed(replace(spec, entry=command(["prog", "-v"])))


@pytest.mark.parametrize("entry", [b"entry", canonical.encode([[], []]), canonical.encode({"argv": []})])
def test_what_is_no_commands_entry_has_no_seed(entry: bytes) -> None:
    with pytest.raises(InvalidInput):
        command_seed(replace(SPEC, entry=entry))


@pytest.mark.parametrize(
    "limits",
    [
        {"memory": 0},
        {"memory": (4 << 30) + 1},
        {"fuel": 0},
        {"fuel": (1 << 62) + 1},
        {"wall_ms": 0},
        {"wall_ms": 86_400_001},
        {"output": -1},
        {"output": (1 << 30) + 1},
        {"open_files": 3},
        {"open_files": 1025},
    ],
    ids=str,
)
def test_limits_out_of_bounds_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(limits))):
        Limits(**limits)


PIECES = [b"the value", b"out", b"", b"first file", b"second file" * 1000, b""]
OUTCOME = Outcome(
    Status.FINISHED,
    0,
    Part.of(PIECES[0]),
    Part.of(PIECES[1]),
    Part.of(PIECES[2]),
    (("a", Part.of(PIECES[3])), ("b/c", Part.of(PIECES[4])), ("d", EMPTY)),
    b"",
    1234,
)
BLOB = b"".join(PIECES)


def test_a_result_hash_changes_with_all_but_the_fuel() -> None:
    hashes = {result_hash(OUTCOME)}
    for each in ("value", "stdout", "stderr"):
        part: Part = getattr(OUTCOME, each)
        for other_part in (replace(part, size=part.size + 1), replace(part, digest=bytes(32))):
            change: dict[str, Any] = {each: other_part}
            hashes.add(result_hash(replace(OUTCOME, **change)))
    hashes.add(result_hash(replace(OUTCOME, status=Status.EXITED)))
    hashes.add(result_hash(replace(OUTCOME, exit_code=1)))
    hashes.add(result_hash(replace(OUTCOME, state=bytes(32))))
    hashes.add(result_hash(replace(OUTCOME, files=OUTCOME.files[:2])))
    hashes.add(result_hash(replace(OUTCOME, files=(("A", OUTCOME.files[0][1]), *OUTCOME.files[1:]))))
    assert len(hashes) == 12
    assert result_hash(replace(OUTCOME, fuel=5)) == result_hash(OUTCOME)


@given(st.lists(st.integers(0, len(BLOB)), max_size=12))
@settings(max_examples=80, deadline=None)
def test_output_is_checked_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(BLOB)]
    verifier = OutputVerifier(OUTCOME)
    for start, end in pairwise(places):
        verifier.update(BLOB[start:end])
    verifier.finish()


def test_output_is_cut_into_its_pieces() -> None:
    found = split_output(OUTCOME, BLOB)
    assert (found.value, found.stdout, found.stderr) == (b"the value", b"out", b"")
    assert found.files == {"a": PIECES[3], "b/c": PIECES[4], "d": b""}


@pytest.mark.parametrize("place", range(0, len(BLOB), 997))
def test_one_wrong_byte_is_found(place: int) -> None:
    wrong = BLOB[:place] + bytes((BLOB[place] ^ 1,)) + BLOB[place + 1 :]
    with pytest.raises(PeerFault, match="piece"):
        split_output(OUTCOME, wrong)


def test_a_wrong_piece_is_found_before_the_next_is_taken() -> None:
    verifier = OutputVerifier(OUTCOME)
    verifier.update(b"the valuE")
    with pytest.raises(PeerFault, match="not what") as found:
        verifier.update(b"o")
    assert found.value.details["piece"] == 0


@pytest.mark.parametrize("blob", [BLOB[:-1], b"", BLOB[:9]])
def test_output_that_is_too_short_is_refused(blob: bytes) -> None:
    with pytest.raises(PeerFault, match="shorter"):
        split_output(OUTCOME, blob)


def test_output_that_is_too_long_is_refused_at_once() -> None:
    verifier = OutputVerifier(OUTCOME)
    verifier.update(BLOB)
    with pytest.raises(PeerFault, match="longer"):
        verifier.update(b"x")


def test_a_piece_that_claims_to_be_empty_is_checked_too() -> None:
    lie = replace(OUTCOME, files=(*OUTCOME.files[:2], ("d", Part(b"\x07" * 32, 0))))
    with pytest.raises(PeerFault, match="not what"):
        split_output(lie, BLOB)


def test_every_provable_ending_has_a_bill_both_sides_can_compute() -> None:
    limits = Limits(fuel=777)
    assert {status for status in Status if status < 64} == PROVABLE
    for status in Status:
        assert billed_fuel(status, 5, limits) == (5 if status in (Status.FINISHED, Status.EXITED, Status.OUTPUT_LIMIT) else 777)
    assert EXACT < PROVABLE


numbers = st.integers(0, 10**24)


@given(numbers, numbers, numbers, st.integers(1, 10**15), st.integers(0, 1 << 62), st.integers(1 << 16, 1 << 32), st.integers(0, 1 << 40))
@settings(max_examples=200, deadline=None)
def test_prices_are_rounded_up_and_by_less_than_one(
    gigafuel: int, memory: int, transfer: int, speed: int, fuel: int, limit: int, moved: int
) -> None:
    amount = unit_amount(Prices(gigafuel, memory, transfer, 0, speed), fuel, limit, moved)
    exact = Fraction(fuel * gigafuel, 10**9) + Fraction(limit, 10**9) * Fraction(fuel, speed) * memory + Fraction(moved * transfer, 10**9)
    assert exact <= amount < exact + 3


def test_the_smallest_work_costs_a_wei_where_it_has_a_price() -> None:
    prices = Prices(1, 1, 1, 1, 10**15)
    assert unit_amount(prices, 1, 1 << 16, 1) == 3
    assert unit_amount(prices, 0, 1 << 16, 0) == 0
    assert transfer_amount(prices, 10**9) == 1
    assert transfer_amount(prices, 10**9 + 1) == 2
    assert compile_amount(prices, 1) == 1
    assert compile_amount(prices, 10**6 + 1) == 2
    assert unit_amount(Prices(0, 0, 0, 0, 1), 10**12, 1 << 30, 10**9) == 0


def test_the_dearest_unit_fits_what_a_contract_holds() -> None:
    assert unit_amount(Prices(MAX_PRICE, MAX_PRICE, MAX_PRICE, 0, 1), 1 << 62, 4 << 30, 1 << 40) <= MAX_WEI


@pytest.mark.parametrize("row", [(-1, 0, 0, 0, 1), (0, MAX_PRICE + 1, 0, 0, 1), (0, 0, -5, 0, 1), (0, 0, 0, -1, 1), (0, 0, 0, 0, 0)])
def test_prices_out_of_bounds_are_refused(row: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(InvalidInput):
        Prices(*row)


def test_content_ids() -> None:
    digest = hashlib.sha256(b"abc").digest()
    assert content_id(b"abc") == write_content_id(digest) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert parse_content_id(content_id(b"abc")) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "\n", "md5:" + "0" * 64]
)
def test_what_is_no_content_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_content_id(text)


def grown(standing: Standing, units: int, most: int) -> Standing:
    """The standing after this many units were begun and vouched for, a window at a time."""
    while units:
        begun = 0
        while units and (after := exposure.begin(standing)):
            standing, begun, units = after, begun + 1, units - 1
        assert begun
        standing = exposure.vouched(standing, begun, most)
    return standing


def test_a_window_bounds_what_is_outstanding_and_doubles_when_it_was_vouched_for() -> None:
    standing = Standing()
    first = exposure.begin(standing)
    assert first is not None
    assert exposure.begin(first) is None
    after = exposure.vouched(first, 1, 8)
    assert (after.window, after.outstanding, after.room) == (2, 0, 2)
    assert [grown(Standing(), units, 8).window for units in (0, 1, 2, 3, 6, 7, 100)] == [1, 2, 2, 4, 4, 8, 8]


def test_a_unit_without_a_receipt_gives_its_room_back_and_no_credit() -> None:
    begun = exposure.begin(Standing())
    assert begun is not None
    assert exposure.released(begun) == Standing()
    assert exposure.released(Standing(), 5) == Standing()


def test_a_buyer_that_vanishes_again_and_again_gains_nothing() -> None:
    standing = grown(Standing(), 1000, 16)
    assert standing.window == 16
    lost = 0
    for round_ in range(1, 6):
        while after := exposure.begin(standing):
            standing = after
        lost += standing.outstanding
        standing = exposure.defaulted(standing, standing.outstanding)
        assert (standing.window, standing.outstanding, standing.defaults) == (1, 0, round_)
    assert lost == 16 + 4


def test_a_default_takes_all_credit_and_what_is_paid_later_is_credit_again() -> None:
    standing = exposure.credited(exposure.credited(Standing(), 10**20), 5)
    assert standing.credit == 10**20 + 5
    once = exposure.defaulted(standing, 1)
    assert once.credit == 0
    assert exposure.credited(once, 7).credit == 7


def test_a_default_makes_the_way_back_longer() -> None:
    once = exposure.defaulted(Standing(), 0)
    assert [grown(once, units, 8).window for units in (1, 2, 5, 6)] == [1, 2, 2, 4]
    assert grown(exposure.defaulted(once, 0), 2, 8).window == 1


def test_a_standing_outlives_a_restart_with_nothing_outstanding() -> None:
    standing = Standing(window=8, vouched=3, outstanding=5, defaults=2, credit=10**30)
    assert Standing.decode(standing.encode()) == replace(standing, outstanding=0)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1, 2],
        [1, 2, "3"],
        [1, 2, 3, 4],
        [1, 2, 3, bytes(33)],
        [1, 2, 3, b"", 5],
        5,
        [True, 0, 0],
        [0, 0, 0],
        [-1, 0, 0],
        [1, -1, 0],
        [1, 0, -1],
    ],
)
def test_a_damaged_standing_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Standing.decode(canonical.encode(value))
