"""Any value comes back as it was, and any bytes are a value that is written the same way, or refused."""

from __future__ import annotations

import datetime
import math
import zoneinfo
from typing import Any

import numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from surge.core import values
from surge.core.values import ValueRefused, decoder, dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OFFSETS = st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23))
ZONES = st.none() | OFFSETS.map(datetime.timezone) | st.sampled_from(["UTC", "Europe/Paris", "America/New_York"]).map(zoneinfo.ZoneInfo)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | TEXT
    | st.binary()
    | st.datetimes(timezones=ZONES)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
KEYS = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner) | st.sets(KEYS) | st.frozensets(KEYS),
    max_leaves=30,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and order, down to the signs of zeros."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return all(map(same, one.items(), other.items())) and len(one) == len(other)
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, datetime.datetime | datetime.time):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.fold == other.fold and one.tzinfo == other.tzinfo
    return bool(one == other)


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_a_value_comes_back(value: Any) -> None:
    data = dumps(value)
    found = loads(data)
    assert same(found, value)
    assert dumps(found) == data


@given(arrays.arrays(arrays.scalar_dtypes() | arrays.array_dtypes(), arrays.array_shapes(min_dims=0, min_side=0)))
@settings(max_examples=200, deadline=None)
def test_an_array_comes_back_or_is_refused(array: Any) -> None:
    try:
        data = dumps(array)
    except ValueRefused:
        return
    found = loads(data)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert dumps(found) == data
    scalar = array.ravel()[0] if array.size and array.dtype.fields is None else numpy.float32(1)
    assert dumps(loads(dumps(scalar))) == dumps(scalar)


OPENINGS = [*range(256)]
SHAPED = st.lists(
    st.sampled_from(OPENINGS).map(lambda first: bytes((first,)))
    | st.sampled_from(sorted(decoder._READERS)).map(lambda tag: b"\xd9" + tag.to_bytes(2, "big") if tag > 255 else bytes((0xD8, tag)))
    | st.sampled_from(["<f8", "|b1", "<U1", "Int64", "object", "UTC", "Europe/Paris", "1.5"]).map(lambda text: dumps(text)[1:])
    | ATOMS.map(lambda value: dumps(value)[1:])
    | st.integers(0, 9).map(lambda count: bytes((0x80 + count,)))
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)


@given(SHAPED)
@settings(max_examples=1500, deadline=None)
@example(bytes.fromhex("d90102820001"))
def test_bytes_are_a_value_or_refused(body: bytes) -> None:
    data = bytes((values.VERSION,)) + body
    try:
        value = loads(data)
    except ValueRefused:
        return
    assert dumps(value) == data


@given(VALUES, st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_value_is_a_value_or_refused(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = loads(bytes(encoded))
    except ValueRefused:
        return
    assert dumps(found) == bytes(encoded)
