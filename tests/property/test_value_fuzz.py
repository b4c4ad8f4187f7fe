"""The value format: every value comes back with its types, has one encoding, and no bytes from a stranger do more than be refused."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import values
from surge.core.values import ValueRefused

zones = st.none() | st.timedeltas(min_value=datetime.timedelta(hours=-23), max_value=datetime.timedelta(hours=23)).map(datetime.timezone)
solid = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.timedeltas()
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=zones)
    | st.times(timezones=zones),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
"""Values that can be keys: all but NaN, which equals nothing."""
anything = st.recursive(
    solid | st.floats() | st.just(decimal.Decimal("NaN")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(solid, inner, max_size=4) | st.sets(solid, max_size=4),
    max_leaves=15,
)


def same(one: Any, other: Any) -> bool:
    """Equal to the type and the bit, whatever NaN says of itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.isnan(other) if math.isnan(one) else bool(math.copysign(1, one) == math.copysign(1, other) and one == other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, datetime.datetime | datetime.time):
        return bool(one.isoformat() == other.isoformat() and one.fold == other.fold)
    return bool(one == other)


@given(anything)
@settings(max_examples=250, deadline=None)
def test_values_come_back_and_have_one_encoding(value: Any) -> None:
    encoded = values.dumps(value)
    again = values.loads(encoded)
    assert same(value, again)
    assert values.dumps(again) == encoded


@given(st.binary(max_size=80))
@settings(max_examples=1500, deadline=None)
def test_random_bytes_are_refused_or_are_a_value(data: bytes) -> None:
    for attempt in (data, b"\x01" + data):
        try:
            values.dumps(values.loads(attempt))
        except ValueRefused:
            continue


@given(anything, st.data())
@settings(max_examples=500, deadline=None)
def test_changed_bytes_are_refused_or_are_a_value(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(values.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for attempt in (bytes(encoded), bytes(encoded[:cut])):
        try:
            values.loads(attempt)
        except ValueRefused:
            continue


@given(anything, st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_a_value_cut_short_or_followed_by_more_is_refused(value: Any, more: int) -> None:
    encoded = values.dumps(value)
    for attempt in (encoded[: max(0, len(encoded) - 1 - more)], encoded + bytes(more + 1)):
        with pytest.raises(ValueRefused):
            values.loads(attempt)
