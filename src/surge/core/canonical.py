"""Canonical bytes: deterministic CBOR for everything that is hashed or signed off chain.

The core deterministic encoding of RFC 8949, section 4.2.1: shortest heads, definite lengths, map keys sorted by their encoded
bytes. Only data with one encoding is accepted: None, bool, int of any size, bytes, str, list or tuple, dict. Floats are not:
no float reaches a signature.

    >>> encode([1, "a", b"b", None]).hex()
    '840161614162f6'
    >>> decode(encode({"b": 1, "a": [True]}))
    {'a': [True], 'b': 1}
"""

from __future__ import annotations

import hashlib
from typing import Any

from surge.errors import InvalidInput

MAX_DEPTH = 32
"""Nesting that is accepted: our documents need five, and a decoder that recurses must stop somewhere."""

_SMALL = [bytes((number,)) for number in range(24)]
"""The bytes of small integers."""


def _head(major: int, argument: int) -> bytes:
    """A CBOR head: the major type and the shortest form of its argument."""
    if argument < 24:
        return bytes(((major << 5) | argument,))
    if argument < 0x100:
        return bytes(((major << 5) | 24, argument))
    if argument < 0x10000:
        return bytes(((major << 5) | 25,)) + argument.to_bytes(2, "big")
    if argument < 0x100000000:
        return bytes(((major << 5) | 26,)) + argument.to_bytes(4, "big")
    return bytes(((major << 5) | 27,)) + argument.to_bytes(8, "big")


def _encode(value: Any, out: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"canonical bytes nest at most {MAX_DEPTH} deep")
    if value is None:
        out.append(b"\xf6")
    elif value is True:
        out.append(b"\xf5")
    elif value is False:
        out.append(b"\xf4")
    elif isinstance(value, int):
        _encode_int(int(value), out)
    elif isinstance(value, bytes | bytearray | memoryview):
        body = bytes(value)
        out += (_head(2, len(body)), body)
    elif isinstance(value, str):
        try:
            text = value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput("text with a lone surrogate has no canonical bytes") from error
        out += (_head(3, len(text)), text)
    elif isinstance(value, list | tuple):
        out.append(_head(4, len(value)))
        for item in value:
            # What unit ids and results are made of, each of them several times for every unit.
            kind = type(item)
            if depth == MAX_DEPTH:
                _encode(item, out, depth + 1)
            elif kind is bytes and len(item) == 32:
                out += (b"\x58\x20", item)
            elif kind is int and 0 <= item < 24:
                out.append(_SMALL[item])
            else:
                _encode(item, out, depth + 1)
    elif isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            if isinstance(key, tuple):
                raise InvalidInput("a map's keys are scalars, not arrays")
            parts: list[bytes] = []
            _encode(key, parts, depth + 1)
            encoded_key = b"".join(parts)
            parts = []
            _encode(item, parts, depth + 1)
            pairs.append((encoded_key, b"".join(parts)))
        pairs.sort()
        out.append(_head(5, len(pairs)))
        for encoded_key, encoded_item in pairs:
            out += (encoded_key, encoded_item)
    else:
        raise InvalidInput(f"{type(value).__name__} has no canonical bytes", value_type=type(value).__name__)


def _encode_int(value: int, out: list[bytes]) -> None:
    if 0 <= value < 1 << 64:
        out.append(_head(0, value))
    elif -(1 << 64) <= value < 0:
        out.append(_head(1, -1 - value))
    else:
        magnitude = value if value > 0 else -1 - value
        body = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
        out += (b"\xc2" if value > 0 else b"\xc3", _head(2, len(body)), body)


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `InvalidInput` for what has none."""
    out: list[bytes] = []
    _encode(value, out, 0)
    return b"".join(out)


def digest(value: Any) -> bytes:
    """SHA-256 of the canonical bytes of `value`: 32 bytes."""
    return hashlib.sha256(encode(value)).digest()


class _Reader:
    """Reads canonical bytes and nothing else: whatever `encode` would have written differently is refused."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data = data
        self.at = 0
        self.left = most
        """Values that may still be in arrays."""

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise InvalidInput("canonical bytes end early", at=self.at)
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def head(self) -> tuple[int, int, int]:
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info, info
        if info > 27:
            raise InvalidInput(f"byte 0x{first:02x} begins nothing canonical", at=self.at - 1)
        size = 1 << (info - 24)
        argument = int.from_bytes(self.take(size), "big")
        if major != 7 and argument < (24, 0x100, 0x10000, 0x100000000)[info - 24]:
            raise InvalidInput("a length or number is not in its shortest form", at=self.at)
        return major, info, argument

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise InvalidInput(f"canonical bytes nest at most {MAX_DEPTH} deep")
        major, info, argument = self.head()
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self.take(argument)
        if major == 3:
            try:
                return self.take(argument).decode()
            except UnicodeDecodeError as error:
                raise InvalidInput("text is not UTF-8", at=self.at) from error
        if major == 4:
            if argument > len(self.data) - self.at:
                raise InvalidInput("canonical bytes end early", at=self.at)
            self.left -= argument
            if self.left < 0:
                raise InvalidInput("there are more values in the arrays than are expected", at=self.at)
            return [self.value(depth + 1) for _ in range(argument)]
        if major == 5:
            return self.mapping(argument, depth)
        if major == 6 and argument in (2, 3):
            return self.bignum(argument)
        if major == 7 and info in (20, 21, 22):
            return (False, True, None)[info - 20]
        raise InvalidInput(f"major type {major} with {argument} is not canonical", at=self.at)

    def mapping(self, count: int, depth: int) -> dict[Any, Any]:
        if count > len(self.data) - self.at:
            raise InvalidInput("canonical bytes end early", at=self.at)
        found: dict[Any, Any] = {}
        before = b""
        for _ in range(count):
            start = self.at
            key = self.value(depth + 1)
            encoded = self.data[start : self.at]
            if encoded <= before or isinstance(key, list | dict):
                raise InvalidInput("map keys are not sorted, unique scalars", at=start)
            if key in found:  # 1 and true are one key in Python
                raise InvalidInput("map keys are not distinct", at=start)
            before = encoded
            found[key] = self.value(depth + 1)
        return found

    def bignum(self, tag: int) -> int:
        major, _, length = self.head()
        body = self.take(length) if major == 2 else b""
        if len(body) <= 8 or body[0] == 0:
            raise InvalidInput("a large integer is not in its shortest form", at=self.at)
        magnitude = int.from_bytes(body, "big")
        return magnitude if tag == 2 else -1 - magnitude


def decode(data: bytes, *, most: int | None = None) -> Any:
    """The value whose canonical bytes are `data`. Raises `InvalidInput` for anything that `encode` would not write.

    `most`: values in arrays, all together, beyond which it is refused before they are made: each byte may be one, of 56 bytes.
    """
    reader = _Reader(bytes(data), len(data) if most is None else most)
    value = reader.value(0)
    if reader.at != len(data):
        raise InvalidInput(f"{len(data) - reader.at} bytes follow the canonical value", at=reader.at)
    return value
