"""Values: what travels comes back as it was, and everything else is refused with its place."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import struct
import sys
import uuid
import zoneinfo
from typing import Any

import numpy
import pandas
import pytest

from surge.core import values
from surge.core.values import ValueRefused, dumps, loads

UTC = datetime.UTC
PARIS = zoneinfo.ZoneInfo("Europe/Paris")


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

    before, limit = sys.getrecursionlimit(), 1_000  # other libraries raise it
    refused = 0
    sys.setrecursionlimit(limit)
    try:
        for depth in range(limit - 400, limit):
            try:
                down(depth)
            except ValueRefused:
                refused += 1
            except RecursionError:
                pass
    finally:
        sys.setrecursionlimit(before)
    assert refused


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
