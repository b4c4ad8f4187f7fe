"""Values from bytes that anyone made: what `dumps` would not write is refused, and costs little."""

from __future__ import annotations

import datetime
import decimal
import sys
import time
from typing import Any

import numpy
import pandas
import pytest

from surge.core import values
from surge.core.values import ValueRefused, decoder, dumps, keys, loads, wire

UTC = datetime.UTC


def head(*parts: bytes | str) -> bytes:
    """Value bytes by hand: the version, then these bytes (text is hexadecimal)."""
    return bytes((values.VERSION,)) + b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no value of version"),
        (b"\x02\x00", "no value of version"),
        (b"\x01", "end early"),
        (head("00 00"), "follow the value"),
        (head("1800"), "shortest"),
        (head("1817"), "shortest"),
        (head("1900ff"), "shortest"),
        (head("1a0000ffff"), "shortest"),
        (head("1b00000000ffffffff"), "shortest"),
        (head("7801 61"), "shortest"),
        (head("c241ff"), "shortest"),
        (head("c248ffffffffffffffff"), "shortest"),
        (head("c249 00ffffffffffffffff"), "shortest"),
        (head("c200"), "shortest"),
        (head("1c"), "no known form"),
        (head("9f00ff"), "no known form"),
        (head("5f40ff"), "no known form"),
        (head("f7"), "begins no value"),
        (head("f90000"), "begins no value"),
        (head("fa00000000"), "begins no value"),
        (head("ff"), "begins no value"),
        (head("fb7ff8000000000001"), "NaN"),
        (head("61ff"), "UTF-8"),
        (head("63eda080"), "UTF-8"),
        (head("82 00"), "end early"),
        (head("9bffffffffffffffff"), "end early"),
        (head("bb7fffffffffffffff"), "end early"),
        (head("5bffffffffffffffff"), "end early"),
        (head("a2 6161 00 6161 01"), "a key twice"),
        (head("a2 00 00 f4 01"), "a key twice"),
        (head("a1 80 00"), "changes"),
        (head("d90102 82 00 00"), "not in order"),
        (head("d90102 82 01 00"), "not in order"),
        (head("d90102 82 01 f5"), "a member twice"),
        (head("d90102 81 80"), "changes"),
        (head("d90102 00"), "list of members"),
        (head("d99c41 00"), "list of members"),
        (head("d903e7 00"), "none of a value"),
        (head("c000"), "none of a value"),
        (head("d825 40"), "16 bytes"),
        (head("d99c43 82 00 00"), "float is expected"),
        (head("d99c44", dumps([2024, 2, 30, 0, 0, 0, 0, 0, None])[1:]), "does not fit"),
        (head("d99c44", dumps([2024, 2, True, 0, 0, 0, 0, 0, None])[1:]), "int is expected"),
        (head("d99c47", dumps([0, -1, 0])[1:]), "normal form"),
        (head("d99c47", dumps([10**9, 0, 0])[1:]), "does not fit"),
        (head("d99c48", dumps("1e5")[1:]), "not how"),
        (head("d99c48", dumps("one")[1:]), "no Decimal"),
        (head("d99c48", dumps("1" * 10001)[1:]), "at most"),
        (head("d99c49 f6"), "a name or an offset"),
        (head("d99c49", dumps("../../etc/passwd")[1:]), "does not fit|not known"),
        (head("d99c49", dumps("No/Where")[1:]), "not known"),
        (head("d99c49", dumps("")[1:]), "does not fit|not known"),
        (head("d99c4a", dumps(["|O", [1], bytes(8)])[1:]), "no type"),
        (head("d99c4a", dumps(["O", [1], bytes(8)])[1:]), "no type"),
        (head("d99c4a", dumps(["<f8,O", [1], bytes(8)])[1:]), "no type|fit"),
        (head("d99c4a", dumps([[["a", "|O"]], [1], bytes(8)])[1:]), "no type"),
        (head("d99c4a", dumps(["<f16", [1], bytes(16)])[1:]), "no type"),
        (head("d99c4a", dumps(["<V8", [1], bytes(8)])[1:]), "no type"),
        (head("d99c4a", dumps(["<f8", [2], bytes(8)])[1:]), "has 8 bytes"),
        (head("d99c4a", dumps(["<f8", [-1, -1], bytes(8)])[1:]), "not negative"),
        (head("d99c4a", dumps(["<f8", [2**40, 2**40], b""])[1:]), "has 0 bytes"),
        (head("d99c4a", dumps(["<f8", [1] * 65, bytes(8)])[1:]), "dimensions"),
        (head("d99c4a", dumps(["|b1", [2], b"\x01\x02"])[1:]), "bool"),
        (head("d99c4a", dumps(["<U1", [1], b"\xff\xff\xff\xff"])[1:]), "no text"),
        (head("d99c4a", dumps(["<U1", [1], b"\x00\xd8\x00\x00"])[1:]), "no text"),
        (head("d99c4a", dumps([[["a", "<U1"]], [1], b"\xff\xff\xff\xff"])[1:]), "no text"),
        (head("d99c4b", dumps(["|b1", b"\x05"])[1:]), "bool"),
        (head("d99c4b", dumps(["<U1", b"\xff\xff\xff\xff"])[1:]), "fit"),
        (head("d99c4b", dumps(["<f8", b""])[1:]), "not of its type"),
        (head("d99c4c", dumps([[None, 0, 0, 1], [None, 0, 1, 1], []])[1:]), "one name for each"),
        (head("d99c4c", dumps([[None, 0, 3, 1], [None, 0, 1, 1], [numpy.zeros(2)]])[1:]), "cannot make"),
        (head("d99c4c", dumps([[None, 0, 2, 0], [None, 0, 1, 1], [numpy.zeros(2)]])[1:]), "cannot make"),
        (head("d99c4c", dumps([[None, 0, 2, 1], [None, 0, 1, 1], [numpy.zeros((2, 2))]])[1:]), "one dimension"),
        (head("d99c4d", dumps([[None, 0, 1, 1], None, ["category", []]])[1:]), "no type"),
        (head("d99c4d", dumps([[None, 0, 1, 1], None, ["Int64", ["x"]]])[1:]), "cannot make"),
        (head("d99c4d", dumps([[None, 0, 1, 1], [], numpy.zeros(1)])[1:]), "cannot make"),
    ],
)
def test_bytes_that_dumps_would_not_write_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueRefused, match=reason):
        loads(data)


@pytest.mark.parametrize("opening", ["81", "d99c41 81", "a1 00", "d90102 81", "d99c42 81", "d99c48", "d99c4a"])
def test_nesting_is_bounded_in_bytes_from_anyone(opening: str) -> None:
    with pytest.raises(ValueRefused, match=r"nest|the tag|does not fit|ends? early"):
        loads(head(opening * 100_000, "00"))


def test_a_huge_length_allocates_nothing() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        for data in (head("9b0000100000000000"), head("5b0000100000000000"), head("bb0000100000000000"), head("d90102 9b0000100000000000")):
            with pytest.raises(ValueRefused):
                loads(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_few_bytes_cannot_become_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "FREE_CONTAINERS", 10_000)
    for empty in (b"\xa0", b"\x80"):
        count = decoder.FREE_CONTAINERS * 2
        with pytest.raises(ValueRefused, match="more containers"):
            loads(head(b"\x99" + count.to_bytes(2, "big") + empty * count))
    pairs = [(index, None) for index in range(50_000)]
    assert loads(dumps(pairs)) == pairs


def test_keys_that_collide_cost_no_more_than_others() -> None:
    modulus = sys.hash_info.modulus
    colliding = {index * modulus: None for index in range(40)}
    assert loads(dumps(colliding)) == colliding
    many = [(index + 1) * modulus for index in range(20_000)]
    plain = list(range(20_000, 40_000))

    def keyed(keys: list[int]) -> bytes:
        return head(b"\xb9" + len(keys).to_bytes(2, "big") + b"".join(dumps(key)[1:] + b"\xf6" for key in keys))

    data = keyed(plain)
    start = time.process_time()
    loads(data)
    usual = time.process_time() - start
    for chosen in (many, [key for pair in zip(many, plain, strict=True) for key in pair]):
        data = keyed(chosen)
        start = time.process_time()
        with pytest.raises(ValueRefused, match="collide"):
            loads(data)
        assert time.process_time() - start < 25 * usual  # a dict of them takes a hundred times as long


def test_a_decimal_and_a_huge_integer_of_one_hash_are_not_compared() -> None:
    huge = 5 + sys.hash_info.modulus * 2**8_000_000
    pair = dumps(decimal.Decimal(5))[1:] + b"\x00" + dumps(huge)[1:] + b"\x00"
    for data in (head(b"\xa2", pair), head(b"\xa2", pair.replace(b"\xc2", b"\xd9\x9c\x41\x81\xc2", 1))):
        start = time.process_time()
        with pytest.raises(ValueRefused, match="no key"):
            loads(data)
        assert time.process_time() - start < 2  # of the hundred that one comparison takes
    assert loads(dumps([huge])) == [huge]


def test_every_prefix_and_every_flipped_byte_is_refused_or_is_a_value() -> None:
    data = dumps({"a": [1, 2.5, (None, {1, 2})], "b": numpy.arange(3), "c": datetime.datetime(2024, 1, 1, tzinfo=UTC), "d": 2**70})
    for end in range(len(data)):
        with pytest.raises(ValueRefused):
            loads(data[:end])
    for at in range(len(data)):
        for flip in (1, 0x20, 0x80, 0xFF):
            changed = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
            try:
                value = loads(changed)
            except ValueRefused:
                continue
            assert dumps(value) == changed


def _piece(major: int, number: int) -> bytes:
    out = bytearray()
    wire.head(out, major, number)
    return bytes(out)


@pytest.mark.parametrize(("kind", "extent"), [("|S0", 1 << 30), ("<U0", 1 << 28), ("|S0", 1 << 40), ("|S0", 1)])
def test_elements_without_bytes_are_refused_both_ways(kind: str, extent: int) -> None:
    described = _piece(3, 3) + kind.encode()
    wire = b"\x01" + _piece(6, 40010) + _piece(4, 3) + described + _piece(4, 1) + _piece(0, extent) + _piece(2, 0)
    with pytest.raises(ValueRefused, match="elements have no bytes"):
        loads(wire)
    with pytest.raises(ValueRefused, match="elements have no bytes"):
        dumps(numpy.zeros(3, numpy.dtype([("a", "S0")])))
    empty = loads(dumps(numpy.zeros(0, "S1")))
    assert empty.shape == (0,)


def test_costly_empty_containers_count_for_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "FREE_CONTAINERS", 1000)
    small = {"sets": set(), "arrays": numpy.zeros(()), "frames": pandas.DataFrame()}
    for empty, most in ((small["sets"], 250), (small["arrays"], 125), (small["frames"], 15)):
        few = [empty] * (most // 2)
        assert len(loads(dumps(few))) == len(few)
        with pytest.raises(ValueRefused, match="more containers than bytes can pay for"):
            loads(dumps([empty] * (4 * most)))


def test_sets_within_sets_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks, check = [0], keys.check_key

    def counted(key: Any) -> None:
        checks[0] += 1
        check(key)

    monkeypatch.setattr(keys, "check_key", counted)
    members, levels = 1000, 45
    wire = _piece(6, 40002) + _piece(4, members) + b"".join(sorted(_piece(0, number) for number in range(members)))
    for _ in range(levels):
        wire = _piece(6, 40002) + _piece(4, 1) + wire
    loads(b"\x01" + wire)
    assert checks[0] == members + levels
