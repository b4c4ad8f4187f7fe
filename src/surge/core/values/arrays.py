"""NumPy's arrays and scalars: what stands under their tags, and back."""

from __future__ import annotations

import struct

from .wire import ARRAY, SCALAR, ValueRefused, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DIMENSIONS = 64
"""Of an array, as in NumPy."""

KINDS = "biufcmMSU"
"""NumPy's kinds of arrays that are data: no objects, no raw memory."""


def _simple_dtype(dtype: Any) -> str:
    if dtype.kind not in KINDS or (dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)):
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


def _encode_array(value: Any) -> tuple[int, Any]:
    if value.size and not value.dtype.itemsize:
        raise ValueRefused("an array whose elements have no bytes is not data")
    return ARRAY, [_dtype(value.dtype), list(value.shape), value.tobytes()]


def encode_scalar(value: Any) -> tuple[int, Any]:
    """The tag of any of NumPy's scalars, and what stands under it."""
    # What NumPy calls these scalars' bytes lacks the zeros at their end, or has one too many.
    if value.dtype.kind == "U":
        try:
            return SCALAR, [f"<U{len(value)}", value.encode("utf-32-le")]
        except UnicodeEncodeError:
            raise ValueRefused("text with a lone surrogate is not data") from None
    if value.dtype.kind == "S":
        return SCALAR, [f"|S{len(value)}", bytes(value)]
    return SCALAR, [_dtype(value.dtype), value.tobytes()]


def numpy_here() -> Any:
    """The module, where a value needs it. Raises `ValueRefused`."""
    try:
        import numpy
    except ImportError:
        raise ValueRefused("a NumPy array came, and NumPy is not installed here: pip install numpy") from None
    return numpy


def _decode_dtype(described: Any) -> Any:
    numpy = numpy_here()

    def simple(text: Any) -> Any:
        if type(text) is not str or len(text) > 32 or text[:1] not in "<>|" or text[1:2] not in KINDS:
            raise ValueRefused(f"{text!r:.80} is no type of an array")
        found = numpy.dtype(text)
        if found.str != text or (found.kind in "fc" and found.itemsize > (8 if found.kind == "f" else 16)):
            raise ValueRefused(f"{text!r:.80} is no type of an array")
        return found

    if type(described) is list:
        fields = [expect(field, str, str) for field in described]
        return numpy.dtype([(name, simple(text)) for name, text in fields])
    return simple(described)


def _check_content(array: Any) -> None:
    """Refuse bytes that NumPy would take for a truth value or a character, and that are none."""
    if array.dtype.fields is not None:
        for name in array.dtype.names:
            _check_content(array[name])
        return
    numpy = numpy_here()
    if array.dtype.kind == "b" and array.size and numpy.ascontiguousarray(array).view("u1").max() > 1:
        raise ValueRefused("an array of bool holds something else")
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        points = numpy.ascontiguousarray(array).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if points.max() > 0x10FFFF or ((points >= 0xD800) & (points <= 0xDFFF)).any():
            raise ValueRefused("an array of text holds no text")


def _decode_array(value: Any) -> Any:
    described, shape, body = expect(value, object, list, bytes)
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
    numpy = numpy_here()
    if not body:
        return numpy.empty(shape, dtype=dtype)
    array = numpy.frombuffer(bytearray(body), dtype=dtype).reshape(shape)
    _check_content(array)
    return array


def _decode_scalar(value: Any) -> Any:
    described, body = expect(value, object, bytes)
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


LATER = (("numpy", "ndarray", _encode_array),)
READERS: dict[int, Any] = {ARRAY: _decode_array, SCALAR: _decode_scalar}
