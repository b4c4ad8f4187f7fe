"""How arguments and results travel between a buyer's Python and a guest: data, never code.

CBOR (RFC 8949) behind a version byte. Self-describing: None, bool, int of any size, float, complex, str, bytes, list, tuple, set,
frozenset, dict (in its order), the datetime types, Decimal, UUID, NumPy arrays and scalars without objects, pandas frames and series.
Anything else is refused with its place in the value.

    >>> loads(dumps({"a": [1, (2.5, None)], "b": {b"x"}}))
    {'a': [1, (2.5, None)], 'b': {b'x'}}
    >>> dumps([1, object()])
    Traceback (most recent call last):
    surge.core.values.ValueRefused: object is not data, in value[1]

This file runs on both sides: its source is shipped into the guest. So it stands alone: the standard library, and NumPy and pandas
only where a value needs them.
"""

from __future__ import annotations

import datetime
import struct
import sys
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

VERSION = 1
"""The first byte of every encoded value."""

MAX_DEPTH = 100
"""Containers within containers."""

MAX_DIGITS = 10_000
"""Characters of a Decimal."""

_TUPLE, _FROZENSET, _COMPLEX, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _TIMEZONE = range(40001, 40010)
_ARRAY, _SCALAR, _FRAME, _SERIES = range(40010, 40014)
_SET, _UUID = 258, 37
"""Tags registered with IANA for sets and UUIDs; the others are ours."""

_NAN = struct.pack(">d", float("nan"))
_double = struct.Struct(">d")
_KINDS = "biufcmMSU"
_EXTENSION_TYPES = frozenset(
    ["object", "string", "str", "boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"]
)


class ValueRefused(ValueError):
    """A value is not data, or bytes are no value. `where` names the place, such as `value['a'][3]`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []

    @property
    def where(self) -> str:
        """The place inside the value."""
        return "value" + "".join(reversed(self.steps))

    def __str__(self) -> str:
        return f"{self.reason}, in {self.where}"


# Encoding


def dumps(value: Any) -> bytes:
    """The bytes of a value. Raises `ValueRefused`."""
    out = bytearray((VERSION,))
    try:
        _encode(value, out, 0)
    except RecursionError:
        raise ValueRefused("containers nest too deep, or contain themselves") from None
    return bytes(out)


def _head(out: bytearray, major: int, argument: int) -> None:
    if argument < 24:
        out.append(major << 5 | argument)
    elif argument < 0x100:
        out.append(major << 5 | 24)
        out.append(argument)
    elif argument < 0x10000:
        out.append(major << 5 | 25)
        out += argument.to_bytes(2, "big")
    elif argument < 0x100000000:
        out.append(major << 5 | 26)
        out += argument.to_bytes(4, "big")
    else:
        out.append(major << 5 | 27)
        out += argument.to_bytes(8, "big")


def _encode(value: Any, out: bytearray, depth: int) -> None:
    kind = type(value)
    if kind is int:
        if 0 <= value < 24:
            out.append(value)
        elif 0 <= value < 1 << 64:
            _head(out, 0, value)
        elif -(1 << 64) <= value < 0:
            _head(out, 1, -1 - value)
        else:
            magnitude = value if value > 0 else -1 - value
            body = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
            out.append(0xC2 if value > 0 else 0xC3)
            _head(out, 2, len(body))
            out += body
    elif kind is str:
        try:
            text = value.encode()
        except UnicodeEncodeError:
            raise ValueRefused("text with a lone surrogate is not data") from None
        _head(out, 3, len(text))
        out += text
    elif kind is float:
        out.append(0xFB)
        out += _double.pack(value) if value == value else _NAN
    elif value is None:
        out.append(0xF6)
    elif kind is bool:
        out.append(0xF5 if value else 0xF4)
    elif kind is list:
        _encode_items(value, out, depth)
    elif kind is dict:
        _encode_dict(value, out, depth)
    elif kind is tuple:
        _head(out, 6, _TUPLE)
        _encode_items(value, out, depth)
    elif kind is bytes:
        _head(out, 2, len(value))
        out += value
    else:
        encoder = _ENCODERS.get(kind) or _foreign(value)
        encoder(value, out, depth)


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise ValueRefused(f"containers nest more than {MAX_DEPTH} deep, or contain themselves")
    return depth + 1


def _encode_items(value: Any, out: bytearray, depth: int) -> None:
    depth = _deeper(depth)
    _head(out, 4, len(value))
    index = 0
    try:
        for item in value:
            _encode(item, out, depth)
            index += 1
    except ValueRefused as refused:
        refused.steps.append(f"[{index}]")
        raise


def _encode_dict(value: dict[Any, Any], out: bytearray, depth: int) -> None:
    depth = _deeper(depth)
    _head(out, 5, len(value))
    for key, item in value.items():
        try:
            _encode(key, out, depth)
            _encode(item, out, depth)
        except ValueRefused as refused:
            refused.steps.append(f"[{key!r:.80}]")
            raise


def _tagged(out: bytearray, tag: int, value: Any, depth: int) -> None:
    _head(out, 6, tag)
    _encode(value, out, _deeper(depth))


def _encode_set(tag: int, value: Any, out: bytearray, depth: int) -> None:
    depth = _deeper(depth)
    members = []
    for item in value:
        member = bytearray()
        try:
            _encode(item, member, depth)
        except ValueRefused as refused:
            refused.steps.append("{...}")
            raise
        members.append(bytes(member))
    members.sort()
    _head(out, 6, tag)
    _head(out, 4, len(members))
    for each in members:
        out += each


def _zone(zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds, zone.tzname(None)]
    key = getattr(zone, "key", None)
    if type(zone).__module__.split(".")[0] == "zoneinfo" and isinstance(key, str):
        return key
    raise ValueRefused(f"the time zone {type(zone).__name__} is not data: use datetime.timezone or zoneinfo.ZoneInfo")


def _encode_datetime(value: datetime.datetime, out: bytearray, depth: int) -> None:
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold]
    _tagged(out, _DATETIME, [*parts, _zone(value.tzinfo)], depth)


def _encode_time(value: datetime.time, out: bytearray, depth: int) -> None:
    _tagged(out, _TIME, [value.hour, value.minute, value.second, value.microsecond, value.fold, _zone(value.tzinfo)], depth)


_ENCODERS: dict[type, Any] = {
    set: lambda value, out, depth: _encode_set(_SET, value, out, depth),
    frozenset: lambda value, out, depth: _encode_set(_FROZENSET, value, out, depth),
    complex: lambda value, out, depth: _tagged(out, _COMPLEX, [value.real, value.imag], depth),
    datetime.datetime: _encode_datetime,
    datetime.date: lambda value, out, depth: _tagged(out, _DATE, [value.year, value.month, value.day], depth),
    datetime.time: _encode_time,
    datetime.timedelta: lambda value, out, depth: _tagged(out, _TIMEDELTA, [value.days, value.seconds, value.microseconds], depth),
    datetime.timezone: lambda value, out, depth: _tagged(out, _TIMEZONE, _zone(value), depth),
    Decimal: lambda value, out, depth: _tagged(out, _DECIMAL, str(value), depth),
    UUID: lambda value, out, depth: _tagged(out, _UUID, value.bytes, depth),
}


def _foreign(value: Any) -> Any:
    """The encoder for a NumPy or pandas value."""
    kind = type(value)
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and kind is numpy.ndarray:
        return _encode_array
    if numpy is not None and isinstance(value, numpy.generic):
        return _encode_scalar
    if pandas is not None and kind is pandas.DataFrame:
        return _encode_frame
    if pandas is not None and kind is pandas.Series:
        return _encode_series
    hint = ""
    if isinstance(value, bytearray | memoryview):
        hint = ": write bytes(...)"
    elif isinstance(value, int | float | str | list | dict | tuple | set | bytes):
        hint = f": convert it to {next(base.__name__ for base in kind.__mro__ if base.__module__ == 'builtins')}, which it extends"
    raise ValueRefused(f"{kind.__qualname__} is not data{hint}")


def _simple_dtype(dtype: Any) -> str:
    if dtype.kind not in _KINDS or (dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)):
        raise ValueRefused(f"an array of {dtype} is not data")
    return str(dtype.str)


def _dtype(dtype: Any) -> Any:
    if dtype.fields is None:
        return _simple_dtype(dtype)
    described = [[name, _simple_dtype(dtype.fields[name][0])] for name in dtype.names]
    if dtype.itemsize != sum(dtype.fields[name][0].itemsize for name in dtype.names):
        raise ValueRefused("a structured array with padding is not data: use numpy.lib.recfunctions.repack_fields")
    return described


def _encode_array(value: Any, out: bytearray, depth: int) -> None:
    _tagged(out, _ARRAY, [_dtype(value.dtype), list(value.shape), value.tobytes()], depth)


def _encode_scalar(value: Any, out: bytearray, depth: int) -> None:
    _tagged(out, _SCALAR, [_dtype(value.dtype), value.tobytes()], depth)


def _column(values: Any) -> Any:
    """A pandas column or index as an array, or as [dtype name, values] where the type is pandas' own."""
    dtype = values.dtype
    if hasattr(dtype, "kind") and type(dtype).__module__.startswith("numpy") and dtype.kind in _KINDS:
        return values.to_numpy()
    name = str(dtype)
    if name not in _EXTENSION_TYPES:
        raise ValueRefused(f"a pandas column of {name} is not data: convert it with astype")
    missing = values.isna()
    return [name, [None if gone else item for item, gone in zip(values.tolist(), missing.tolist(), strict=True)]]


def _index(index: Any) -> Any:
    pandas = sys.modules["pandas"]
    if type(index) is pandas.RangeIndex:
        return [index.name, index.start, index.stop, index.step]
    if isinstance(index, pandas.MultiIndex):
        raise ValueRefused("a pandas MultiIndex is not data: use reset_index()")
    return [index.name, _column(index)]


def _encode_frame(value: Any, out: bytearray, depth: int) -> None:
    columns = []
    for place, name in enumerate(value.columns):
        try:
            columns.append([name, _column(value.iloc[:, place])])
        except ValueRefused as refused:
            refused.steps.append(f"[{name!r:.80}]")
            raise
    _tagged(out, _FRAME, [_index(value.index), columns], depth)


def _encode_series(value: Any, out: bytearray, depth: int) -> None:
    _tagged(out, _SERIES, [_index(value.index), value.name, _column(value)], depth)


# Decoding


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value in bytes from anyone. Raises `ValueRefused` for whatever `dumps` would not write."""
    data = bytes(data)
    if not data or data[0] != VERSION:
        raise ValueRefused(f"these bytes are no value of version {VERSION}")
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (RecursionError, OverflowError, MemoryError) as error:
        raise ValueRefused(f"these bytes are no value: {type(error).__name__}") from None
    if reader.at != len(data):
        raise ValueRefused("bytes follow the value")
    return value


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 1

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise ValueRefused("the bytes end early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise ValueRefused("a length of no known form")
        found = int.from_bytes(self.take(1 << (info - 24)), "big")
        if found < (24, 0x100, 0x10000, 0x100000000)[info - 24]:
            raise ValueRefused("a number is not in its shortest form")
        return found

    def value(self, depth: int) -> Any:
        data, at = self.data, self.at
        if at >= len(data):
            raise ValueRefused("the bytes end early")
        first = data[at]
        self.at = at + 1
        if first < 24:
            return first
        if first == 0xFB:
            return _double.unpack(self.take(8))[0]
        if first >= 0xE0:
            if first == 0xF6:
                return None
            if first in (0xF4, 0xF5):
                return first == 0xF5
            raise ValueRefused(f"the byte 0x{first:02x} begins no value")
        major, argument = first >> 5, self.argument(first & 31)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self.take(argument)
        if major == 3:
            try:
                return self.take(argument).decode()
            except UnicodeDecodeError:
                raise ValueRefused("text is not UTF-8") from None
        if depth >= MAX_DEPTH:
            raise ValueRefused(f"containers nest more than {MAX_DEPTH} deep")
        if major == 4:
            return self.items(argument, depth)
        if major == 5:
            return self.mapping(argument, depth)
        return self.tagged(argument, depth)

    def items(self, count: int, depth: int) -> list[Any]:
        if count > len(self.data) - self.at:
            raise ValueRefused("the bytes end early")
        value = self.value
        return [value(depth + 1) for _ in range(count)]

    def mapping(self, count: int, depth: int) -> dict[Any, Any]:
        if 2 * count > len(self.data) - self.at:
            raise ValueRefused("the bytes end early")
        keys, values = [], []
        for _ in range(count):
            keys.append(self.value(depth + 1))
            values.append(self.value(depth + 1))
        _check_hashes(keys)
        found = dict(zip(keys, values, strict=True))
        if len(found) != count:
            raise ValueRefused("a dict has a key twice")
        return found

    def tagged(self, tag: int, depth: int) -> Any:
        if tag in (2, 3):
            first = self.take(1)[0]
            body = self.take(self.argument(first & 31)) if first >> 5 == 2 else b""
            if len(body) < 8 or not body[0] or (len(body) == 8):
                raise ValueRefused("a large integer is not in its shortest form")
            magnitude = int.from_bytes(body, "big")
            return magnitude if tag == 2 else -1 - magnitude
        decoder = _DECODERS.get(tag)
        if decoder is None:
            raise ValueRefused(f"the tag {tag} is none of a value")
        inner = self.value(depth + 1)
        try:
            return decoder(inner)
        except ValueRefused:
            raise
        except (TypeError, ValueError, KeyError, ArithmeticError, AttributeError, ImportError) as error:
            raise ValueRefused(f"what stands under the tag {tag} does not fit it: {error}") from None


def _check_hashes(keys: list[Any]) -> None:
    """Refuse keys that cannot be hashed, and keys chosen so that their hashes collide, which would cost quadratic time."""
    try:
        hashes = {hash(key) for key in keys}
    except TypeError:
        raise ValueRefused("a key or member is a container that changes") from None
    if len(keys) > 1000 and len(hashes) < len(keys) // 2:
        raise ValueRefused("keys were chosen to collide")


def _expect(value: Any, *types: type) -> list[Any]:
    if type(value) is not list or len(value) != len(types):
        raise ValueRefused(f"a list of {len(types)} is expected")
    for item, kind in zip(value, types, strict=True):
        if kind is not object and type(item) is not kind:
            raise ValueRefused(f"{kind.__name__} is expected, not {type(item).__name__}")
    return value


def _members(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueRefused("a set has a list of members")
    _check_hashes(value)
    return value


def _decode_set(value: Any) -> set[Any]:
    found = set(_members(value))
    if len(found) != len(value):
        raise ValueRefused("a set has a member twice")
    return found


def _decode_zone(value: Any) -> datetime.tzinfo | None:
    if value is None:
        return None
    if type(value) is str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError):
            raise ValueRefused(f"the time zone {value!r:.80} is not known here") from None
    if type(value) is list and len(value) == 4 and type(value[3]) is str:
        offset = datetime.timedelta(*_expect(value[:3], int, int, int))
        plain = datetime.timezone(offset)
        return plain if plain.tzname(None) == value[3] else datetime.timezone(offset, value[3])
    raise ValueRefused("a time zone is a name or an offset")


def _decode_datetime(value: Any) -> datetime.datetime:
    year, month, day, hour, minute, second, micro, fold, zone = _expect(value, *(int,) * 8, object)
    return datetime.datetime(year, month, day, hour, minute, second, micro, _decode_zone(zone), fold=fold)


def _decode_time(value: Any) -> datetime.time:
    hour, minute, second, micro, fold, zone = _expect(value, *(int,) * 5, object)
    return datetime.time(hour, minute, second, micro, _decode_zone(zone), fold=fold)


def _decode_decimal(value: Any) -> Decimal:
    if type(value) is not str or len(value) > MAX_DIGITS:
        raise ValueRefused(f"a Decimal is text of at most {MAX_DIGITS} characters")
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise ValueRefused(f"{value!r:.80} is no Decimal") from None
    if str(found) != value:
        raise ValueRefused(f"{value!r:.80} is not how a Decimal is written")
    return found


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ValueRefused("a NumPy value came, and NumPy is not installed here: pip install numpy") from None
    return numpy


def _decode_dtype(described: Any) -> Any:
    numpy = _numpy()

    def simple(text: Any) -> Any:
        if type(text) is not str or len(text) > 32 or text[:1] not in "<>|=" or text[1:2] not in _KINDS:
            raise ValueRefused(f"{text!r:.80} is no type of an array")
        found = numpy.dtype(text)
        if found.kind not in _KINDS or found.str != text:
            raise ValueRefused(f"{text!r:.80} is no type of an array")
        return found

    if type(described) is list:
        fields = [_expect(field, str, str) for field in described]
        return numpy.dtype([(name, simple(text)) for name, text in fields])
    return simple(described)


def _decode_array(value: Any) -> Any:
    described, shape, body = _expect(value, object, list, bytes)
    dtype = _decode_dtype(described)
    size = dtype.itemsize
    if len(shape) > 32:
        raise ValueRefused("an array has at most 32 dimensions")
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < 1 << 48:
            raise ValueRefused("an array's shape is of numbers that are not negative")
        size *= extent
    if size != len(body) or not dtype.itemsize:
        raise ValueRefused(f"an array of {shape} has {len(body)} bytes")
    return _numpy().frombuffer(bytearray(body), dtype=dtype).reshape(shape) if body else _numpy().empty(shape, dtype=dtype)


def _decode_scalar(value: Any) -> Any:
    described, body = _expect(value, object, bytes)
    dtype = _decode_dtype(described)
    if len(body) != dtype.itemsize:
        raise ValueRefused("a scalar's bytes are not of its type")
    return _numpy().frombuffer(body, dtype=dtype)[0] if body else dtype.type()


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ValueRefused("a pandas value came, and pandas is not installed here: pip install pandas") from None
    return pandas


def _decode_column(value: Any, length: int | None = None) -> Any:
    pandas = _pandas()
    if type(value) is list:
        name, items = _expect(value, str, list)
        if name not in _EXTENSION_TYPES:
            raise ValueRefused(f"{name!r:.80} is no type of a pandas column")
        return pandas.array(items, dtype=name) if name != "object" else pandas.Series(items, dtype=object).array
    if type(value) is not _numpy().ndarray or value.ndim != 1:
        raise ValueRefused("a pandas column is an array of one dimension")
    return value


def _decode_index(value: Any) -> Any:
    pandas = _pandas()
    if type(value) is list and len(value) == 4:
        name, start, stop, step = _expect(value, object, int, int, int)
        return pandas.RangeIndex(start, stop, step, name=name)
    name, column = _expect(value, object, object)
    return pandas.Index(_decode_column(column), name=name)


def _decode_frame(value: Any) -> Any:
    described, columns = _expect(value, object, list)
    index = _decode_index(described)
    pandas = _pandas()
    series = []
    for column in columns:
        name, body = _expect(column, object, object)
        series.append(pandas.Series(_decode_column(body), index=index, name=name))
    if not series:
        return pandas.DataFrame(index=index)
    frame = pandas.concat(series, axis=1)
    frame.columns = pandas.Index([each.name for each in series])
    return frame


def _decode_series(value: Any) -> Any:
    described, name, column = _expect(value, object, object, object)
    return _pandas().Series(_decode_column(column), index=_decode_index(described), name=name)


_DECODERS: dict[int, Any] = {
    _TUPLE: lambda value: tuple(value) if type(value) is list else _expect(value, object),
    _SET: _decode_set,
    _FROZENSET: lambda value: frozenset(_decode_set(value)),
    _COMPLEX: lambda value: complex(*_expect(value, float, float)),
    _DATETIME: _decode_datetime,
    _DATE: lambda value: datetime.date(*_expect(value, int, int, int)),
    _TIME: _decode_time,
    _TIMEDELTA: lambda value: datetime.timedelta(*_expect(value, int, int, int)),
    _DECIMAL: _decode_decimal,
    _TIMEZONE: _decode_zone,
    _UUID: lambda value: UUID(bytes=value if type(value) is bytes else b""),
    _ARRAY: _decode_array,
    _SCALAR: _decode_scalar,
    _FRAME: _decode_frame,
    _SERIES: _decode_series,
}
