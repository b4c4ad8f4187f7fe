"""Values: what travels comes back as it was, everything else is refused with its place, and hostile bytes cost little."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import struct
import sys
import time
import uuid
import zoneinfo
from typing import Any

import numpy
import pandas
import pytest

from surge.core import values
from surge.core.values import ValueRefused, decoder, dumps, keys, loads, wire

UTC = datetime.UTC
PARIS = zoneinfo.ZoneInfo("Europe/Paris")


def head(*parts: bytes | str) -> bytes:
    """Value bytes by hand: the version, then these bytes (text is hexadecimal)."""
    return bytes((values.VERSION,)) + b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        23,
        24,
        255,
        256,
        65535,
        65536,
        2**32 - 1,
        2**32,
        2**64 - 1,
        2**64,
        2**64 + 1,
        -1,
        -24,
        -25,
        -(2**64),
        -(2**64) - 1,
        3**1000,
        -(3**1000),
        0.0,
        1.5,
        1e308,
        5e-324,
        math.inf,
        -math.inf,
        1 + 2j,
        complex(-0.0, math.inf),
        "",
        "a" * 23,
        "a" * 24,
        "é" * 12,
        "\0 \U0001f600 \ufeff",
        b"",
        b"x" * 300,
        [],
        [[], [[]]],
        (),
        (1,),
        ((), [()]),
        set(),
        {1, "a", b"a", (1, frozenset({2}))},
        frozenset(),
        frozenset({frozenset(), frozenset({1})}),
        {},
        {"b": 1, "a": 2, 3: [4], (5, None): {6}, None: None, True: 0, b"k": {}, frozenset({1}): 1},
        datetime.datetime(2024, 2, 29, 23, 59, 59, 999999),
        datetime.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1),
        datetime.datetime(1, 1, 1, tzinfo=UTC),
        datetime.date(9999, 12, 31),
        datetime.time(12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))),
        datetime.time(1, fold=1),
        datetime.timedelta(days=-1, microseconds=1),
        datetime.timedelta.max,
        UTC,
        datetime.timezone(datetime.timedelta(seconds=1), "mine"),
        PARIS,
        decimal.Decimal("-1.10"),
        decimal.Decimal("1E+999999"),
        decimal.Decimal("-0"),
        decimal.Decimal("Infinity"),
        uuid.UUID(int=2**127),
        {decimal.Decimal("1.5"): 2, uuid.UUID(int=1): 3, UTC: 4},
    ],
)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    found = loads(dumps(value))
    assert found == value
    assert type(found) is type(value)
    assert isinstance(value, set | frozenset) or repr(found) == repr(value)
    assert dumps(found) == dumps(value)


def test_a_dict_keeps_its_order_and_equal_sets_have_equal_bytes() -> None:
    assert list(loads(dumps({"b": 1, "a": 2, "c": 3}))) == ["b", "a", "c"]
    assert dumps(set(range(1000))) == dumps(set(reversed(range(1000))))
    assert dumps({"a", "b", "c"}) == dumps({"c", "b", "a"})


def test_floats_keep_their_signs_and_every_nan_is_one() -> None:
    assert math.copysign(1, loads(dumps(-0.0))) == -1
    assert math.isnan(loads(dumps(math.nan)))
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
    assert dumps(odd) == dumps(-math.nan) == dumps(math.nan)
    assert math.isnan(loads(dumps(decimal.Decimal("NaN"))))
    assert str(loads(dumps(decimal.Decimal("-sNaN12")))) == "-sNaN12"


def test_names_and_fold_of_zones_survive() -> None:
    moment = loads(dumps(datetime.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1)))
    assert moment.tzinfo.key == "Europe/Paris"
    assert moment.fold == 1
    assert moment.utcoffset() == datetime.timedelta(hours=1)
    assert loads(dumps(datetime.timezone(datetime.timedelta(0), "GMT"))).tzname(None) == "GMT"


# What is refused


class Colour(enum.IntEnum):
    RED = 1


class Plain(enum.Enum):
    A = "a"


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Record:
    a: int


class Sub(str):
    pass


class OwnZone(datetime.tzinfo):
    pass


@pytest.mark.parametrize(
    ("value", "reason", "where"),
    [
        (object(), "object is not data", "value"),
        ([1, {"a": (2, {"b": object})}], "type is not data: only data crosses", "value[1]['a'][1]['b']"),
        ({"a": [0, 1, 2, print]}, "builtin_function_or_method is not data: only data crosses", "value['a'][3]"),
        ({(1, 2): len}, "only data", "value[<a tuple>]"),
        ({1, 2, Plain.A}, "Plain is not data: use its .value", "value{...}"),
        (Colour.RED, "Colour is not data: use its .value", "value"),
        (Point(1, 2), "Point is not data: convert it to tuple", "value"),
        (collections.defaultdict(list), "defaultdict is not data: convert it to dict", "value"),
        (collections.OrderedDict(), "convert it to dict", "value"),
        (collections.Counter("ab"), "convert it to dict", "value"),
        (Sub("x"), "Sub is not data: convert it to str", "value"),
        (Record(1), "use dataclasses.asdict", "value"),
        (bytearray(b"x"), "bytearray is not data: write bytes(...)", "value"),
        (memoryview(b"x"), "write bytes(...)", "value"),
        ((x for x in "ab"), "generator is not data: write list(...)", "value"),
        (range(3), "range is not data", "value"),
        (..., "ellipsis is not data", "value"),
        ("a\udc80", "lone surrogate", "value"),
        ({"\ud800": 1}, "lone surrogate", "value['\\ud800']"),
        (datetime.datetime(2024, 1, 1, tzinfo=OwnZone()), "the time zone OwnZone is not data", "value"),
        (decimal.Decimal("1" * (values.MAX_DIGITS + 1)), "longer than", "value"),
        ({2 ** (8 * values.MAX_KEY_INTEGER): 0}, "is no key", ""),
        ({float("nan"), -float("nan")}, "NaN more than once", "value"),
        (numpy.array([object()]), "an array of object is not data", "value"),
        (numpy.array(["a"], dtype=numpy.dtypes.StringDType()), "is not data", "value"),
        (numpy.zeros(2, "V4"), "is not data", "value"),
        (numpy.longdouble(1), "is not data", "value"),
        (numpy.ma.masked_array([1], [True]), "use numpy.asarray", "value"),
        (numpy.zeros(2, numpy.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 0]})), "reordered", "value"),
        (numpy.zeros(2, numpy.dtype([("a", "i1"), ("b", "i8")], align=True)), "padding", "value"),
        (numpy.zeros(2, numpy.dtype([("a", "i4", (2,))])), "is not data", "value"),
        (pandas.Timestamp(0), "Timestamp is not data: use its .to_pydatetime()", "value"),
        (pandas.Timedelta(0), "Timedelta is not data: use its .to_pytimedelta()", "value"),
        (pandas.NaT, "NaTType is not data: use None", "value"),
        (pandas.NA, "NAType is not data: use None", "value"),
        (pandas.DatetimeIndex(["2024"]), "DatetimeIndex is not data: use its .to_numpy()", "value"),
        (
            pandas.DataFrame({"t": pandas.DatetimeIndex(["2024"], tz="UTC")}),
            "a pandas column of datetime64[us, UTC] is not data: use tz_convert(None), which gives UTC",
            "value['t']",
        ),
        (pandas.DataFrame({"a": [1], "b": [object()]}), "object is not data", ""),
        (pandas.DataFrame({"a": [1], "b": pandas.Categorical(["x"])}), "a pandas column of category", "value['b']"),
        (pandas.Series([1], index=pandas.MultiIndex.from_tuples([(1, 2)])), "MultiIndex", "value"),
    ],
)
def test_what_is_not_data_is_refused_with_its_place(value: Any, reason: str, where: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        dumps(value)
    assert reason in str(refused.value)
    if where:
        assert refused.value.where == where


def test_a_value_that_contains_itself_is_refused_and_a_deep_one_up_to_the_limit_is_not() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueRefused, match="contain themselves"):
        dumps(circle)
    deep: Any = 1
    for _ in range(values.MAX_DEPTH):
        deep = [deep]
    assert loads(dumps(deep)) == deep
    with pytest.raises(ValueRefused, match="nest"):
        dumps([deep])
    for wrap in (lambda x: (x,), lambda x: {1: x}, lambda x: frozenset([x])):
        deep = 1
        for _ in range(values.MAX_DEPTH // 2):
            deep = wrap(deep)
        assert loads(dumps(deep)) == deep


def test_a_refusal_deep_in_user_code_is_a_refusal() -> None:
    def down(depth: int) -> None:
        if depth:
            down(depth - 1)
        else:
            dumps([[[[[[1]]]]]])

    limit = sys.getrecursionlimit()
    refused = 0
    for depth in range(limit - 200, limit):
        try:
            down(depth)
        except ValueRefused:
            refused += 1
        except RecursionError:
            pass
    assert refused


# NumPy and pandas


ARRAYS = [
    numpy.arange(6).reshape(2, 3),
    numpy.array(5),
    numpy.array([], dtype="f4"),
    numpy.zeros((3, 0, 2)),
    numpy.array([1.5, math.nan, -0.0]),
    numpy.array([True, False]),
    numpy.array([1 + 2j], dtype="c8"),
    numpy.array(["a", "", "\U0001f600"]),
    numpy.array([b"a\0b", b""]),
    numpy.array(["2024-01-01", "NaT"], dtype="M8[ns]"),
    numpy.array([1, 2], dtype="m8[3h]"),
    numpy.array([1, 2], dtype=">i2"),
    numpy.array([1, 2], dtype="f2"),
    numpy.array([(1, 2.0, "x")], dtype=[("a", "i4"), ("b", ">f8"), ("c", "U3")]),
    numpy.arange(10)[::2],
    numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
    numpy.zeros((1,) * 64),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}"[:40])
def test_arrays_come_back_with_type_shape_and_bytes(array: Any) -> None:
    found = loads(dumps(array))
    assert type(found) is numpy.ndarray
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable
    found[...] = found


@pytest.mark.parametrize(
    "scalar",
    [
        numpy.int8(-1),
        numpy.uint64(2**64 - 1),
        numpy.float16(1.5),
        numpy.float64(1.5),
        numpy.complex64(1j),
        numpy.bool_(True),
        numpy.str_("a\0"),
        numpy.str_(""),
        numpy.bytes_(b"a\0"),
        numpy.bytes_(b""),
        numpy.datetime64("2024-01-01"),
        numpy.datetime64("NaT"),
        numpy.timedelta64(5, "s"),
        numpy.array([(1, b"x")], dtype=[("a", "i4"), ("b", "S1")])[0],
    ],
)
def test_scalars_of_numpy_come_back_as_such(scalar: Any) -> None:
    found = loads(dumps(scalar))
    assert type(found) is type(scalar)
    assert found.dtype == scalar.dtype
    assert found.tobytes() == scalar.tobytes()


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (numpy.int8(-1), -1),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.float16(1.5), 1.5),
        (numpy.float64(-0.0), -0.0),
        (numpy.complex64(2j), 2j),
        (numpy.bool_(True), True),
        (numpy.str_("é"), "é"),
        (numpy.bytes_(b"a"), b"a"),
        (numpy.array([1], dtype=">u2")[0], 1),
    ],
)
def test_without_numpy_here_scalars_are_pythons_own(monkeypatch: pytest.MonkeyPatch, scalar: Any, plain: Any) -> None:
    data, array = dumps([scalar]), dumps(numpy.zeros(2))
    monkeypatch.setitem(sys.modules, "numpy", None)
    (found,) = loads(data)
    assert found == plain
    assert type(found) is type(plain)
    with pytest.raises(ValueRefused, match="pip install numpy"):
        loads(array)


def test_frames_come_back_equal() -> None:
    frame = pandas.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [1.0, math.nan, 3.0],
            "text": ["a", None, "c"],
            "when": pandas.to_datetime(["2024-01-01", None, "2024-03-01"]),
            "nullable": pandas.array([1, None, 3], dtype="Int64"),
            "object": pandas.Series([1, "two", None], dtype=object),
            7: [True, False, True],
        },
        index=pandas.Index(["x", "y", "z"], name="key"),
    )
    pandas.testing.assert_frame_equal(loads(dumps(frame)), frame)


@pytest.mark.parametrize(
    "value",
    [
        pandas.DataFrame(),
        pandas.DataFrame(index=[1, 2]),
        pandas.DataFrame({"a": []}),
        pandas.DataFrame(numpy.eye(3)),
        pandas.DataFrame([[1, 2]], columns=["same", "same"]),
        pandas.DataFrame([[1]], columns=pandas.Index([(1, 2)], tupleize_cols=False)),
        pandas.DataFrame([[1]], columns=pandas.Index(["a"], name="columns")),
        pandas.DataFrame({"a": [1, 2]}, index=pandas.to_datetime(["2024-01-01", "2024-01-02"])),
        pandas.Series([1.5, 2.5], name="s", index=[5, 5]),
        pandas.Series(["a", "b"]),
        pandas.Series([math.nan, None, "x"], dtype=object),
        pandas.Series([1, 2], index=pandas.RangeIndex(0, 4, 2, name="r"), name=("a", 1)),
    ],
    ids=range(12),
)
def test_pandas_comes_back_equal(value: Any) -> None:
    found = loads(dumps(value))
    compare = pandas.testing.assert_frame_equal if isinstance(value, pandas.DataFrame) else pandas.testing.assert_series_equal
    compare(found, value)
    assert dumps(found) == dumps(value)


def test_what_pandas_would_lose_is_refused() -> None:
    frame = pandas.DataFrame({"a": [1]})
    frame.attrs["source"] = "somewhere"
    with pytest.raises(ValueRefused, match="attrs"):
        dumps(frame)


# Bytes from anyone


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


def test_the_sources_stand_alone() -> None:
    """They are shipped into the guest: no import of Surge by its name, nothing heavy at their top."""
    import ast
    from pathlib import Path

    for file in Path(values.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text())
        plain = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
        assert plain <= {"datetime", "struct", "sys"}, file
        others = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level}
        assert others == {"__future__"}, file
        assert "surge" not in {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}, file


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
