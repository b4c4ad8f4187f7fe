"""From a value to its bytes."""

from __future__ import annotations

import sys

from . import arrays, dates, frames, scalars, stored
from .keys import check_key, shown
from .wire import FROZENSET, MAX_DEPTH, NAN, SET, TUPLE, VERSION, ValueRefused, head, pack_double

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WRITERS = {**scalars.WRITERS, **dates.WRITERS}
_LATER = (*arrays.LATER, *scalars.LATER, *dates.LATER, *frames.LATER, *stored.LATER)


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
    head(out, 4, count)


def _encode(value: Any, out: bytearray, depth: int) -> None:
    kind = type(value)
    if kind is int:
        if 0 <= value < 24:
            out.append(value)
        elif 0 <= value < 1 << 64:
            head(out, 0, value)
        elif -(1 << 64) <= value < 0:
            head(out, 1, -1 - value)
        else:
            magnitude = value if value > 0 else -1 - value
            body = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
            out.append(0xC2 if value > 0 else 0xC3)
            head(out, 2, len(body))
            out += body
    elif kind is str:
        try:
            text = value.encode()
        except UnicodeEncodeError:
            raise ValueRefused("text with a lone surrogate is not data") from None
        if len(text) < 24:
            out.append(0x60 | len(text))
        else:
            head(out, 3, len(text))
        out += text
    elif kind is float:
        out.append(0xFB)
        out += pack_double(value) if value == value else NAN
    elif value is None:
        out.append(0xF6)
    elif kind is bool:
        out.append(0xF5 if value else 0xF4)
    elif kind is list:
        _encode_items(value, out, depth)
    elif kind is dict:
        _encode_dict(value, out, depth)
    elif kind is tuple:
        head(out, 6, TUPLE)
        _encode_items(value, out, depth)
    elif kind is bytes:
        head(out, 2, len(value))
        out += value
    elif kind is set:
        _encode_set(SET, value, out, depth)
    elif kind is frozenset:
        _encode_set(FROZENSET, value, out, depth)
    else:
        tag, parts = (_WRITERS.get(kind) or _foreign(value))(value)
        head(out, 6, tag)
        _encode(parts, out, _deeper(depth))


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise ValueRefused(f"containers nest more than {MAX_DEPTH} deep, or contain themselves")
    return depth + 1


def _encode_items(value: Any, out: bytearray, depth: int) -> None:
    depth = _deeper(depth)
    head(out, 4, len(value))
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
    head(out, 5, len(value))
    for key, item in value.items():
        try:
            _encode(key, out, depth)
            check_key(key)
            _encode(item, out, depth)
        except ValueRefused as refused:
            refused.steps.append(f"[{shown(key)}]")
            raise


def _encode_set(tag: int, value: Any, out: bytearray, depth: int) -> None:
    depth = _deeper(_deeper(depth))
    members = []
    for item in value:
        member = bytearray()
        try:
            _encode(item, member, depth)
            check_key(item)
        except ValueRefused as refused:
            refused.steps.append("{...}")
            raise
        members.append(bytes(member))
    members.sort()
    head(out, 6, tag)
    head(out, 4, len(members))
    previous = b""
    for each in members:
        if each == previous:
            raise ValueRefused("a set that holds NaN more than once is not data")
        out += each
        previous = each


def _foreign(value: Any) -> Any:
    """The writer for a value whose type is not built in, if its module is loaded and it is data."""
    kind = type(value)
    for module, name, writer in _LATER:
        found = sys.modules.get(module)
        if found is not None and kind is getattr(found, name, None):
            return writer
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if generic is not None and isinstance(value, generic):
        return arrays.encode_scalar
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
