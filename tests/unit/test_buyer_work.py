"""Units as they are asked for, against the rules in `core`."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.buyer.auditor import check_outcome, outcome_bytes
from surge.buyer.encoding import Run, decode_run, encode_run, encode_value
from surge.buyer.endings import command_value, outcome_of
from surge.buyer.journal import pack_receipt, unpack_receipt
from surge.buyer.pieces import cut
from surge.buyer.plan import COMMANDS, MAP, Plan, Wishes, job_seed
from surge.buyer.work import LARGE_ITEM, join, make_unit, quick_unit_id, unit_input
from surge.core import canonical, values
from surge.core.messages import decode_run_unit
from surge.core.messages.fields import MAX_INLINE
from surge.core.pricing import Prices
from surge.core.receipts import Receipt
from surge.core.types import Address
from surge.core.units import EMPTY, WORLD, Limits, Outcome, Part, Status, result_hash, unit_id
from surge.errors import InternalFault, InvalidInput, PeerFault

PRICES = Prices(1, 1, 1, 1, 1)


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "kind": MAP, "name": "f", "salt": bytes(range(32)), "image": b"i" * 32, "image_size": 0, "bundle": b"b" * 32,
        "bundle_size": 10, "setup": b"setup", "function": "f", "style": 0, "seed": job_seed(0), "limits": Limits(), "chunk": 0,
        "wishes": Wishes(max_price=2**70, budget=3, region="here", providers=("0x" + "11" * 20,), deadline_ms=5),
    }  # fmt: skip
    return Plan(**{**fields, **changes})


@given(st.lists(st.one_of(st.integers(), st.text(), st.none(), st.lists(st.integers())), max_size=300))
def test_items_joined_are_the_list_of_them(items: list[Any]) -> None:
    assert join([values.dumps(item) for item in items]) == values.dumps(items)


@pytest.mark.parametrize("count", [0, 23, 24, 255, 256, 65535, 65536])
def test_the_lists_head_has_its_shortest_form(count: int) -> None:
    assert join([values.dumps(0)] * count) == values.dumps([0] * count)


@given(entry=st.binary(max_size=300), items=st.binary(min_size=32, max_size=32), fuel=st.integers(1, 2**60), bundle=st.booleans())
def test_the_quick_unit_id_is_the_unit_id(entry: bytes, items: bytes, fuel: int, bundle: bool) -> None:
    job, limits = plan(bundle=b"b" * 32 if bundle else None), Limits(fuel=fuel)
    assert quick_unit_id(job, b"e" * 32, entry, items, limits) == unit_id(job.spec(b"e" * 32, entry, items, limits))


def test_the_call_describes_the_unit_that_is_expected() -> None:
    job = plan()
    unit = make_unit(job, b"e" * 32, 5, [values.dumps(1), values.dumps("x")], Limits(), PRICES)
    body = decode_run_unit(unit.body)
    digest = hashlib.sha256(body.items).digest()
    assert unit_id(body.spec(WORLD, b"e" * 32, digest)) == unit.id == unit.asked.subject
    assert values.loads(body.items) == [1, "x"]
    assert canonical.decode(body.entry) == ["f", 0, 5, job.seed]


def test_a_large_input_is_named_not_carried() -> None:
    unit = make_unit(plan(), b"e" * 32, 0, [values.dumps(bytes(MAX_INLINE))], Limits(), PRICES)
    body = decode_run_unit(unit.body)
    assert (body.items, body.content) == (b"", hashlib.sha256(b"".join(unit.parts)).digest())
    assert unit.content == body.content
    assert unit.size == sum(map(len, unit.parts))
    assert unit.asked.moved == 0


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65535, 65536])
def test_bytes_are_the_value_that_they_are(size: int) -> None:
    assert encode_value(bytes(size)) == values.dumps(bytes(size))


@given(sizes=st.lists(st.sampled_from([0, 1, 1000, LARGE_ITEM, 3 * LARGE_ITEM]), max_size=9))
def test_an_input_in_parts_is_the_same_input(sizes: list[int]) -> None:
    items = [values.dumps(bytes([number]) * size) for number, size in enumerate(sizes)]
    unit = make_unit(plan(), b"e" * 32, 3, items, Limits(), PRICES)
    whole = b"".join(unit.parts)
    assert values.loads(whole) == [bytes([number]) * size for number, size in enumerate(sizes)]
    assert whole == join(items)
    assert unit.id == unit_id(plan().spec(b"e" * 32, plan().entry(3), hashlib.sha256(whole).digest(), Limits()))
    assert b"".join(cut(unit.parts, 1000)) == whole
    assert all(len(piece) == 1000 for piece in list(cut(unit.parts, 1000))[:-1])


@given(argv=st.lists(st.text(max_size=20), max_size=5), stdin=st.binary(max_size=100))
def test_a_run_of_a_command_is_its_entry_and_its_input(argv: list[str], stdin: bytes) -> None:
    entry, data = unit_input(plan(kind=COMMANDS, setup=b""), 7, [encode_run("prog", Run(argv, stdin, {"B": "2", "A": "1"}))])
    assert canonical.decode(entry) == [["prog", *argv], [["A", "1"], ["B", "2"]], 7]
    assert data == stdin


def test_a_plan_survives_the_journal() -> None:
    assert Plan.decode(plan().encode()) == plan()
    with pytest.raises(InternalFault):
        Plan.decode(plan().encode()[:-1])


def test_a_plan_of_before_there_were_disputes_can_be_disputed() -> None:
    row = canonical.decode(plan(wishes=Wishes(budget=3, disputable=False)).encode())
    assert Plan.decode(canonical.encode(row)).wishes == Wishes(budget=3, disputable=False)
    assert Plan.decode(canonical.encode([*row[:-1], row[-1][:5]])).wishes == Wishes(budget=3)


def test_the_journals_outcome_is_what_the_result_hash_is_over() -> None:
    outcome = Outcome(Status.EXITED, 3, Part.of(b"v"), Part.of(b"o"), Part.of(b""), (("a/b", Part.of(b"file")),), b"", 77)
    data = outcome_bytes(outcome)
    assert hashlib.sha256(data).digest() == result_hash(outcome)
    found = outcome_of(data)
    assert result_hash(found) == result_hash(outcome)
    with pytest.raises(InternalFault):
        outcome_of(data[:-1])


def test_a_commands_result_survives_the_journal() -> None:
    outcome = Outcome(
        Status.EXITED, 3, Part.of(b""), Part.of(b"out"), Part.of(b"err"), (("x", Part.of(b"1")), ("y", Part.of(b"22"))), b"", 7
    )
    receipt = Receipt(1, Address("0x" + "11" * 20), Address("0x" + "22" * 20), b"c" * 32, 4, b"s" * 32, b"r" * 32, 7, 2**200, 9)
    ((kind, result),) = decode_run(command_value(outcome, b"outerr122", receipt, b"d" * 32), 1)
    assert kind == "ok"
    assert (result.stdout, result.stderr, result.exit_code, result.files) == (b"out", b"err", 3, {"x": b"1", "y": b"22"})
    assert (result.fuel, result.price, result.device, result.receipt) == (7, 2**200, receipt.device, "64" * 32)
    assert unpack_receipt(pack_receipt(receipt)) == receipt


def test_what_is_no_run_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"surge\.Run"):
        encode_run("prog", "text")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="text"):
        encode_run("prog", Run(argv=[1]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    "paths",
    [["../outside"], ["/etc/passwd"], ["a/../../b"], ["a//b"], ["."], [""], ["a\0b"], ["b", "a"], ["a", "a"], ["x" * 256], ["\ud800"]],
    ids=repr,
)
def test_files_of_an_outcome_lead_nowhere_else(paths: list[str]) -> None:
    """What a provider says were files under /out is written to a folder of the buyer's."""

    def outcome(*names: str) -> Outcome:
        return Outcome(Status.FINISHED, 0, EMPTY, EMPTY, EMPTY, tuple((name, EMPTY) for name in names), b"", 1)

    check_outcome(outcome("a", "a.b", "a/b/c.txt", "b..", "\u00e9"), Limits())
    with pytest.raises(PeerFault, match="names"):
        check_outcome(outcome(*paths), Limits())
