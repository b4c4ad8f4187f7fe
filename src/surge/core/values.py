"""How arguments and results travel between a buyer's Python and a guest: data, never code.

CBOR (RFC 8949) behind a version byte. Self-describing: None, bool, int of any size, float, complex, str, bytes, list, tuple, set,
frozenset, dict (in its order), the datetime types, Decimal, UUID, NumPy arrays and scalars without objects, pandas frames and series.
Anything else is refused with its place in the value: above all what would come back as something else, such as subclasses.

    >>> loads(dumps({"a": [1, (2.5, None)], "b": {b"x"}}))
    {'a': [1, (2.5, None)], 'b': {b'x'}}
    >>> dumps([1, object()])
    Traceback (most recent call last):
    surge.core.values.ValueRefused: object is not data, in value[1]

What comes back equals what went in, with these exceptions: every NaN of a float is the same NaN; an array's memory layout, a dtype's
metadata and an index's frequency are not kept; without NumPy here, its scalars become Python's own.

This file runs on both sides: its source is shipped into the guest. So it stands alone: the standard library, and NumPy and pandas
only where a value needs them. What it imports at its top is in the memory of every guest and in the time of every setup.
"""

from __future__ import annotations

import datetime
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""The first byte of every encoded value."""

MAX_DEPTH = 100
"""Containers within containers."""

MAX_DIGITS = 10_000
"""Characters of a Decimal: reading one costs more than its length."""

MAX_KEY_INTEGER = 4096
"""Bytes of an integer that is a key or in one: comparing it with a Decimal costs the square of its length."""

MAX_DIMENSIONS = 64
"""Of an array, as in NumPy."""

FREE_CONTAINERS = 4 << 20
"""Containers a value may hold beyond one for every four of its bytes: an empty dict is one byte here and 64 in memory."""

_ENVELOPE = 4
"""Levels around a value that are not the value's own: the list of items and what marks a result."""

_TUPLE, _FROZENSET, _COMPLEX, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _TIMEZONE = range(40001, 40010)
_ARRAY, _SCALAR, _FRAME, _SERIES = range(40010, 40014)
_SET, _UUID = 258, 37
"""Tags registered with IANA for sets and UUIDs; the others are ours."""

_WEIGHTS = {_SET: 4, _FROZENSET: 4, _ARRAY: 8, _SCALAR: 2, _FRAME: 64, _SERIES: 64}
"""Containers that one of these counts for: what an empty one takes in memory, in empty dicts."""

_NAN = b"\x7f\xf8\x00\x00\x00\x00\x00\x00"
_pack_double = struct.Struct(">d").pack
_unpack_double = struct.Struct(">d").unpack_from
_KINDS = "biufcmMSU"
"""NumPy's kinds of arrays that are data: no objects, no raw memory."""
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
    encode_into(value, out)
    return bytes(out)


def encode_into(value: Any, out: bytearray) -> None:
    """Add a value's bytes, without the version, to `out`. Raises `ValueRefused`, and then leaves a part of them there."""
    try:
        _encode(value, out, 0)
    except RecursionError:
        raise ValueRefused("containers nest too deep here, or contain themselves") from None


def begin_list(out: bytearray, count: int) -> None:
    """Add the beginning of a list whose `count` members are added next."""
    _head(out, 4, count)


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
        if len(text) < 24:
            out.append(0x60 | len(text))
        else:
            _head(out, 3, len(text))
        out += text
    elif kind is float:
        out.append(0xFB)
        out += _pack_double(value) if value == value else _NAN
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
            _check_key(key)
            _encode(item, out, depth)
        except ValueRefused as refused:
            refused.steps.append(f"[{_shown(key)}]")
            raise


def _shown(key: Any) -> str:
    """A key, for people."""
    short = type(key) in (str, float, bytes, bool) or (type(key) is int and key.bit_length() < 256)
    return f"{key!r:.80}" if short else f"<a {type(key).__name__}>"


def _tagged(out: bytearray, tag: int, value: Any, depth: int) -> None:
    _head(out, 6, tag)
    _encode(value, out, _deeper(depth))


def _encode_set(tag: int, value: Any, out: bytearray, depth: int) -> None:
    depth = _deeper(_deeper(depth))
    members = []
    for item in value:
        member = bytearray()
        try:
            _encode(item, member, depth)
            _check_key(item)
        except ValueRefused as refused:
            refused.steps.append("{...}")
            raise
        members.append(bytes(member))
    members.sort()
    _head(out, 6, tag)
    _head(out, 4, len(members))
    previous = b""
    for each in members:
        if each == previous:
            raise ValueRefused("a set that holds NaN more than once is not data")
        out += each
        previous = each


def _zone(zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds, zone.tzname(None)]
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and type(zone.key) is str:
        return zone.key
    raise ValueRefused(f"the time zone {type(zone).__name__} is not data: use datetime.timezone or zoneinfo.ZoneInfo")


def _encode_datetime(value: datetime.datetime, out: bytearray, depth: int) -> None:
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold]
    _tagged(out, _DATETIME, [*parts, _zone(value.tzinfo)], depth)


def _encode_time(value: datetime.time, out: bytearray, depth: int) -> None:
    _tagged(out, _TIME, [value.hour, value.minute, value.second, value.microsecond, value.fold, _zone(value.tzinfo)], depth)


def _encode_zone(value: Any, out: bytearray, depth: int) -> None:
    _tagged(out, _TIMEZONE, _zone(value), depth)


def _encode_decimal(value: Any, out: bytearray, depth: int) -> None:
    text = str(value)
    if len(text) > MAX_DIGITS:
        raise ValueRefused(f"a Decimal of {len(text)} characters is longer than {MAX_DIGITS}")
    _tagged(out, _DECIMAL, text, depth)


def _encode_uuid(value: Any, out: bytearray, depth: int) -> None:
    _tagged(out, _UUID, value.bytes, depth)


_ENCODERS: dict[type, Any] = {
    set: lambda value, out, depth: _encode_set(_SET, value, out, depth),
    frozenset: lambda value, out, depth: _encode_set(_FROZENSET, value, out, depth),
    complex: lambda value, out, depth: _tagged(out, _COMPLEX, [value.real, value.imag], depth),
    datetime.datetime: _encode_datetime,
    datetime.date: lambda value, out, depth: _tagged(out, _DATE, [value.year, value.month, value.day], depth),
    datetime.time: _encode_time,
    datetime.timedelta: lambda value, out, depth: _tagged(out, _TIMEDELTA, [value.days, value.seconds, value.microseconds], depth),
    datetime.timezone: _encode_zone,
}


def _foreign(value: Any) -> Any:
    """The encoder for a value whose type is not built in, if its module is loaded and it is data."""
    kind = type(value)
    for module, name, encoder in _FOREIGN:
        found = sys.modules.get(module)
        if found is not None and kind is getattr(found, name, None):
            return encoder
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if generic is not None and isinstance(value, generic):
        return _encode_scalar
    raise ValueRefused(f"{kind.__qualname__} is not data{_hint(value, numpy)}")


def _hint(value: Any, numpy: Any) -> str:
    """What to write instead of a value that is not data."""
    kind = type(value)
    if isinstance(value, bytearray | memoryview):
        return ": write bytes(...)"
    if hasattr(kind, "__next__"):
        return ": write list(...)"
    if hasattr(kind, "_value_") or hasattr(value, "_value_"):
        return ": use its .value"
    if hasattr(kind, "__dataclass_fields__"):
        return ": use dataclasses.asdict(...)"
    if kind.__name__ in ("NaTType", "NAType"):
        return ": use None"
    if hasattr(kind, "to_series"):  # an index
        return ": use its .to_numpy()"
    for method in ("to_pydatetime", "to_pytimedelta"):
        if hasattr(kind, method):
            return f": use its .{method}()"
    if isinstance(value, int | float | complex | str | list | dict | tuple | set | frozenset | bytes):
        return f": convert it to {next(base.__name__ for base in kind.__mro__ if base.__module__ == 'builtins')}, which it extends"
    if isinstance(value, getattr(numpy, "ndarray", ())):
        return ": use numpy.asarray(...)"
    if callable(value):
        return ": only data crosses, no code"
    return ""


def _simple_dtype(dtype: Any) -> str:
    if dtype.kind not in _KINDS or (dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)):
        raise ValueRefused(f"an array of {dtype} is not data")
    return str(dtype.str)


def _dtype(dtype: Any) -> Any:
    if dtype.fields is None:
        return _simple_dtype(dtype)
    described = []
    at = 0
    for name in dtype.names:
        kind, offset, *titles = dtype.fields[name]
        if titles:
            raise ValueRefused("a structured array with titles is not data: name its fields only")
        if offset != at:
            raise ValueRefused("a structured array with padding or reordered fields is not data: use numpy.lib.recfunctions.repack_fields")
        described.append([name, _simple_dtype(kind)])
        at += kind.itemsize
    if dtype.itemsize != at:
        raise ValueRefused("a structured array with padding is not data: use numpy.lib.recfunctions.repack_fields")
    return described


def _encode_array(value: Any, out: bytearray, depth: int) -> None:
    if value.size and not value.dtype.itemsize:
        raise ValueRefused("an array whose elements have no bytes is not data")
    _tagged(out, _ARRAY, [_dtype(value.dtype), list(value.shape), value.tobytes()], depth)


def _encode_scalar(value: Any, out: bytearray, depth: int) -> None:
    # What NumPy calls these scalars' bytes lacks the zeros at their end, or has one too many.
    if value.dtype.kind == "U":
        try:
            _tagged(out, _SCALAR, [f"<U{len(value)}", value.encode("utf-32-le")], depth)
        except UnicodeEncodeError:
            raise ValueRefused("text with a lone surrogate is not data") from None
        return
    if value.dtype.kind == "S":
        _tagged(out, _SCALAR, [f"|S{len(value)}", bytes(value)], depth)
        return
    _tagged(out, _SCALAR, [_dtype(value.dtype), value.tobytes()], depth)


def _column(values: Any) -> Any:
    """A pandas column or index as an array, or as [dtype name, values] where NumPy has no such type."""
    dtype = values.dtype
    if type(dtype).__module__.startswith("numpy") and dtype.kind in _KINDS:
        return values.to_numpy()
    name = str(dtype)
    if name not in _EXTENSION_TYPES:
        instead = "use tz_convert(None), which gives UTC" if hasattr(dtype, "tz") else "convert it with astype"
        raise ValueRefused(f"a pandas column of {name} is not data: {instead}")
    if name == "object":
        return [name, values.tolist()]
    return [name, [None if gone else item for item, gone in zip(values.tolist(), values.isna().tolist(), strict=True)]]


def _index(index: Any) -> Any:
    pandas = sys.modules["pandas"]
    if type(index) is pandas.RangeIndex:
        return [index.name, index.start, index.stop, index.step]
    if isinstance(index, pandas.MultiIndex):
        raise ValueRefused("a pandas MultiIndex is not data: use reset_index()")
    return [index.name, _column(index)]


def _encode_pandas(tag: int, value: Any, parts: list[Any], out: bytearray, depth: int) -> None:
    if value.attrs:
        raise ValueRefused("a pandas object with attrs is not data: send them beside it")
    _tagged(out, tag, parts, depth)


def _encode_frame(value: Any, out: bytearray, depth: int) -> None:
    columns = []
    for place, name in enumerate(value.columns):
        try:
            columns.append(_column(value.iloc[:, place]))
        except ValueRefused as refused:
            refused.steps.append(f"[{_shown(name)}]")
            raise
    _encode_pandas(_FRAME, value, [_index(value.index), _index(value.columns), columns], out, depth)


def _encode_series(value: Any, out: bytearray, depth: int) -> None:
    _encode_pandas(_SERIES, value, [_index(value.index), value.name, _column(value)], out, depth)


_FOREIGN = (
    ("numpy", "ndarray", _encode_array),
    ("decimal", "Decimal", _encode_decimal),
    ("uuid", "UUID", _encode_uuid),
    ("zoneinfo", "ZoneInfo", _encode_zone),
    ("pandas", "DataFrame", _encode_frame),
    ("pandas", "Series", _encode_series),
)


# Decoding


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value in bytes from anyone. Raises `ValueRefused` for whatever `dumps` would not write.

    Time and memory are bounded by a multiple of the bytes' length, whoever made them.
    """
    data = bytes(data)
    if not data or data[0] != VERSION:
        raise ValueRefused(f"these bytes are no value of version {VERSION}")
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except IndexError:
        raise ValueRefused("the bytes end early") from None
    except (RecursionError, OverflowError, MemoryError) as error:
        raise ValueRefused(f"these bytes are no value: {type(error).__name__}") from None
    if reader.at != len(data):
        raise ValueRefused("bytes follow the value")
    return value


class _Reader:
    __slots__ = ("at", "containers", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 1
        self.containers = FREE_CONTAINERS + len(data) // 4
        """How many more there may be."""

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
        at = self.at
        first = self.data[at]
        self.at = at + 1
        if first < 24:
            return first
        major = first >> 5
        if major == 3:
            try:
                return self.take(first - 0x60 if first < 0x78 else self.argument(first & 31)).decode()
            except UnicodeDecodeError:
                raise ValueRefused("text is not UTF-8") from None
        if first == 0xFB:
            return self.double()
        if first >= 0xE0:
            if first == 0xF6:
                return None
            if first in (0xF4, 0xF5):
                return first == 0xF5
            raise ValueRefused(f"the byte 0x{first:02x} begins no value")
        argument = self.argument(first & 31)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self.take(argument)
        if major == 6 and argument in (2, 3):
            return self.integer(argument)
        if depth >= MAX_DEPTH + _ENVELOPE:
            raise ValueRefused(f"containers nest more than {MAX_DEPTH} deep")
        self.containers -= _WEIGHTS.get(argument, 1) if major == 6 else 1
        if self.containers < 0:
            raise ValueRefused("more containers than bytes can pay for")
        if major == 4:
            return self.items(argument, depth + 1)
        if major == 5:
            return self.mapping(argument, depth + 1)
        return self.tagged(argument, depth)

    def double(self) -> float:
        body = self.take(8)
        found: float = _unpack_double(body)[0]
        if found != found and body != _NAN:
            raise ValueRefused("a NaN is not the one NaN there is")
        return found

    def integer(self, tag: int) -> int:
        first = self.take(1)[0]
        body = self.take(self.argument(first & 31)) if first >> 5 == 2 else b""
        if len(body) < 9 or not body[0]:
            raise ValueRefused("a large integer is not in its shortest form")
        magnitude = int.from_bytes(body, "big")
        return magnitude if tag == 2 else -1 - magnitude

    def items(self, count: int, depth: int) -> list[Any]:
        data = self.data
        if count > len(data) - self.at:
            raise ValueRefused("the bytes end early")
        found: list[Any] = []
        append, value = found.append, self.value
        for _ in range(count):
            first = data[self.at]
            if first < 24:
                self.at += 1
                append(first)
            else:
                append(value(depth))
        return found

    def mapping(self, count: int, depth: int) -> dict[Any, Any]:
        if 2 * count > len(self.data) - self.at:
            raise ValueRefused("the bytes end early")
        keys, values = [], []
        for _ in range(count):
            keys.append(self.value(depth))
            values.append(self.value(depth))
        _check_keys(keys)
        found = dict(zip(keys, values, strict=True))
        if len(found) != count:
            raise ValueRefused("a dict has a key twice")
        return found

    def members(self, depth: int) -> set[Any]:
        """What stands under a set's tag: a list, in the order of its members' bytes."""
        first = self.take(1)[0]
        if first >> 5 != 4:
            raise ValueRefused("a set has a list of members")
        count = self.argument(first & 31)
        if count > len(self.data) - self.at:
            raise ValueRefused("the bytes end early")
        previous = b""
        found = []
        for _ in range(count):
            start = self.at
            found.append(self.value(depth))
            piece = self.data[start : self.at]
            if piece <= previous:
                raise ValueRefused("a set's members are not in order")
            previous = piece
        _check_keys(found)
        members = set(found)
        if len(members) != count:
            raise ValueRefused("a set has a member twice")
        return members

    def tagged(self, tag: int, depth: int) -> Any:
        if tag == _TUPLE:
            first = self.take(1)[0]
            if first >> 5 != 4:
                raise ValueRefused("a tuple has a list of members")
            return tuple(self.items(self.argument(first & 31), depth + 1))
        if tag == _SET:
            return self.members(depth + 2)
        if tag == _FROZENSET:
            return frozenset(self.members(depth + 2))
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


def _check_keys(keys: list[Any]) -> None:
    """Refuse keys that cannot be hashed, and keys chosen so that a dict of them would cost the square of their number."""
    kinds = set(map(type, keys))
    if kinds <= {str, bytes}:
        return
    for key in keys:
        _check_key(key)
    try:
        hashes = list(map(hash, keys))
    except TypeError:
        raise ValueRefused("a key or member is a container that changes") from None
    if len(set(hashes)) == len(hashes):
        return
    counts: dict[int, int] = {}
    comparisons = 0
    for each in hashes:
        before = counts.get(each, 0)
        counts[each] = before + 1
        comparisons += before
    if comparisons > 1000 + 4 * len(hashes):
        raise ValueRefused("keys were chosen to collide")


def _check_key(key: Any) -> None:
    """Refuse a key that is too costly to compare."""
    kind = type(key)
    if kind is int:
        if key.bit_length() > 8 * MAX_KEY_INTEGER:
            raise ValueRefused(f"an integer of more than {MAX_KEY_INTEGER} bytes is no key or member")
    elif kind is tuple:  # a frozenset's members were checked when it was made
        for each in key:
            _check_key(each)


def _expect(value: Any, *types: type) -> list[Any]:
    if type(value) is not list or len(value) != len(types):
        raise ValueRefused(f"a list of {len(types)} is expected")
    for item, kind in zip(value, types, strict=True):
        if kind is not object and type(item) is not kind:
            raise ValueRefused(f"{kind.__name__} is expected, not {type(item).__name__}")
    return value


def _decode_zone(value: Any) -> datetime.tzinfo:
    if type(value) is str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError):
            raise ValueRefused(f"the time zone {value!r:.80} is not known here: pip install tzdata") from None
    if type(value) is list and len(value) == 4 and type(value[3]) is str:
        offset = _decode_timedelta(value[:3])
        plain = datetime.timezone(offset)
        return plain if plain.tzname(None) == value[3] else datetime.timezone(offset, value[3])
    raise ValueRefused("a time zone is a name or an offset")


def _decode_datetime(value: Any) -> datetime.datetime:
    year, month, day, hour, minute, second, micro, fold, zone = _expect(value, *(int,) * 8, object)
    return datetime.datetime(year, month, day, hour, minute, second, micro, None if zone is None else _decode_zone(zone), fold=fold)


def _decode_time(value: Any) -> datetime.time:
    hour, minute, second, micro, fold, zone = _expect(value, *(int,) * 5, object)
    return datetime.time(hour, minute, second, micro, None if zone is None else _decode_zone(zone), fold=fold)


def _decode_timedelta(value: Any) -> datetime.timedelta:
    days, seconds, micros = _expect(value, int, int, int)
    if not (0 <= seconds < 86400 and 0 <= micros < 1_000_000):
        raise ValueRefused("a timedelta is not in its normal form")
    return datetime.timedelta(days, seconds, micros)


def _decode_decimal(value: Any) -> Any:
    from decimal import Decimal, InvalidOperation

    if type(value) is not str or len(value) > MAX_DIGITS:
        raise ValueRefused(f"a Decimal is text of at most {MAX_DIGITS} characters")
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise ValueRefused(f"{value!r:.80} is no Decimal") from None
    if str(found) != value:
        raise ValueRefused(f"{value!r:.80} is not how a Decimal is written")
    return found


def _decode_uuid(value: Any) -> Any:
    from uuid import UUID

    if type(value) is not bytes or len(value) != 16:
        raise ValueRefused("a UUID has 16 bytes")
    return UUID(bytes=value)


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ValueRefused("a NumPy array came, and NumPy is not installed here: pip install numpy") from None
    return numpy


def _decode_dtype(described: Any) -> Any:
    numpy = _numpy()

    def simple(text: Any) -> Any:
        if type(text) is not str or len(text) > 32 or text[:1] not in "<>|" or text[1:2] not in _KINDS:
            raise ValueRefused(f"{text!r:.80} is no type of an array")
        found = numpy.dtype(text)
        if found.str != text or (found.kind in "fc" and found.itemsize > (8 if found.kind == "f" else 16)):
            raise ValueRefused(f"{text!r:.80} is no type of an array")
        return found

    if type(described) is list:
        fields = [_expect(field, str, str) for field in described]
        return numpy.dtype([(name, simple(text)) for name, text in fields])
    return simple(described)


def _check_content(array: Any) -> None:
    """Refuse bytes that NumPy would take for a truth value or a character, and that are none."""
    if array.dtype.fields is not None:
        for name in array.dtype.names:
            _check_content(array[name])
        return
    numpy = _numpy()
    if array.dtype.kind == "b" and array.size and numpy.ascontiguousarray(array).view("u1").max() > 1:
        raise ValueRefused("an array of bool holds something else")
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        points = numpy.ascontiguousarray(array).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if points.max() > 0x10FFFF or ((points >= 0xD800) & (points <= 0xDFFF)).any():
            raise ValueRefused("an array of text holds no text")


def _decode_array(value: Any) -> Any:
    described, shape, body = _expect(value, object, list, bytes)
    dtype = _decode_dtype(described)
    size = dtype.itemsize
    if len(shape) > MAX_DIMENSIONS:
        raise ValueRefused(f"an array has at most {MAX_DIMENSIONS} dimensions")
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < 1 << 48:
            raise ValueRefused("an array's shape is of numbers that are not negative")
        size *= extent
    if not dtype.itemsize and 0 not in shape:
        raise ValueRefused("an array's elements have no bytes")
    if size != len(body):
        raise ValueRefused(f"an array of {shape} has {len(body)} bytes")
    numpy = _numpy()
    if not body:
        return numpy.empty(shape, dtype=dtype)
    array = numpy.frombuffer(bytearray(body), dtype=dtype).reshape(shape)
    _check_content(array)
    return array


def _decode_scalar(value: Any) -> Any:
    described, body = _expect(value, object, bytes)
    try:
        import numpy
    except ImportError:
        return _python_scalar(described, body)
    dtype = _decode_dtype(described)
    if len(body) != dtype.itemsize:
        raise ValueRefused("a scalar's bytes are not of its type")
    if dtype.kind == "S":
        return numpy.bytes_(body)
    if dtype.kind == "U":
        return numpy.str_(_text(body, described[:1]))
    array = numpy.frombuffer(bytearray(body), dtype=dtype)
    _check_content(array)
    return array[0]


def _text(body: bytes, order: str) -> str:
    return body.decode("utf-32-be" if order == ">" else "utf-32-le")


_STRUCT_LETTERS = {
    **{"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
    **{"f2": "e", "f4": "f", "f8": "d", "c8": "ff", "c16": "dd"},
}


def _python_scalar(described: Any, body: bytes) -> Any:
    """A NumPy scalar as Python's own, where there is no NumPy."""
    order, kind, size = (described[:1], described[1:2], described[1:]) if type(described) is str else ("", "", "")
    if kind == "S":
        return body
    if kind == "U":
        return _text(body, order)
    letter = _STRUCT_LETTERS.get(size)
    if letter is None or order not in ("<", ">", "|"):
        raise ValueRefused("a NumPy value came, and NumPy is not installed here: pip install numpy")
    try:
        parts = struct.unpack(("<" if order == "|" else order) + letter, body)
    except struct.error:
        raise ValueRefused("a scalar's bytes are not of its type") from None
    if kind == "b" and body not in (b"\0", b"\1"):
        raise ValueRefused("a bool is neither true nor false")
    return complex(*parts) if kind == "c" else parts[0]


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ValueRefused("a pandas value came, and pandas is not installed here: pip install pandas") from None
    return pandas


def _decode_column(value: Any) -> Any:
    if type(value) is list:
        name, items = _expect(value, str, list)
        if name not in _EXTENSION_TYPES:
            raise ValueRefused(f"{name!r:.80} is no type of a pandas column")
        return _pandas().array(items, dtype=name)
    if type(value) is not _numpy().ndarray or value.ndim != 1 or value.dtype.fields is not None:
        raise ValueRefused("a pandas column is an array of one dimension")
    return value


def _decode_index(value: Any) -> Any:
    pandas = _pandas()
    if type(value) is list and len(value) == 4:
        name, start, stop, step = _expect(value, object, int, int, int)
        return pandas.RangeIndex(start, stop, step, name=name)
    name, described = _expect(value, object, object)
    column = _decode_column(described)
    return pandas.Index(column, dtype=column.dtype, name=name, tupleize_cols=False)


def _series(described: Any, index: Any, name: Any = None) -> Any:
    column = _decode_column(described)
    return _pandas().Series(column, dtype=column.dtype, index=index, name=name)


def _decode_pandas(decode: Any, value: Any) -> Any:
    try:
        return decode(value)
    except ValueRefused:
        raise
    except Exception as error:  # pandas checks what it is given, and has errors of its own for it
        raise ValueRefused(f"pandas cannot make this: {type(error).__name__}: {error!s:.200}") from None


def _decode_frame(value: Any) -> Any:
    described, names, columns = _expect(value, object, object, list)
    index, labels = _decode_index(described), _decode_index(names)
    if len(labels) != len(columns):
        raise ValueRefused("a frame has one name for each column")
    frame = _pandas().DataFrame({place: _series(column, index) for place, column in enumerate(columns)}, index=index)
    frame.columns = labels
    return frame


def _decode_series(value: Any) -> Any:
    described, name, column = _expect(value, object, object, object)
    return _series(column, _decode_index(described), name)


_DECODERS: dict[int, Any] = {
    _COMPLEX: lambda value: complex(*_expect(value, float, float)),
    _DATETIME: _decode_datetime,
    _DATE: lambda value: datetime.date(*_expect(value, int, int, int)),
    _TIME: _decode_time,
    _TIMEDELTA: _decode_timedelta,
    _DECIMAL: _decode_decimal,
    _TIMEZONE: _decode_zone,
    _UUID: _decode_uuid,
    _ARRAY: _decode_array,
    _SCALAR: _decode_scalar,
    _FRAME: lambda value: _decode_pandas(_decode_frame, value),
    _SERIES: lambda value: _decode_pandas(_decode_series, value),
}
