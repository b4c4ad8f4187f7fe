"""Values of NumPy and pandas: what travels comes back with its type, and what would be lost is refused."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy
import pandas
import pytest

from surge.core.values import ValueRefused, dumps, loads

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
