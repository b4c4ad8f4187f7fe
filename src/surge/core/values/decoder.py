"""From bytes, whoever made them, to the value: in time and memory that their length bounds."""

from __future__ import annotations

from . import arrays, dates, frames, scalars, stored
from .keys import check_keys
from .wire import ARRAY, FRAME, FROZENSET, MAX_DEPTH, NAN, SCALAR, SERIES, SET, STORED, TUPLE, VERSION, ValueRefused, unpack_double

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FREE_CONTAINERS = 4 << 20
"""Containers a value may hold beyond one for every four of its bytes: an empty dict is one byte here and 64 in memory."""

_ENVELOPE = 4
"""Levels around a value that are not the value's own: the list of items and what marks a result."""

_WEIGHTS = {SET: 4, FROZENSET: 4, ARRAY: 8, SCALAR: 2, FRAME: 64, SERIES: 64}
"""Containers that one of these counts for: what an empty one takes in memory, in empty dicts."""


_READERS = {**scalars.READERS, **dates.READERS, **arrays.READERS, **frames.READERS, **stored.READERS}


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value in bytes from anyone. Raises `ValueRefused` for whatever `dumps` would not write.

    Time and memory are bounded by a multiple of the bytes' length, whoever made them.
    """
    return _read(data)[0]


def stored_in(data: bytes | bytearray | memoryview) -> list[list[Any]]:
    """What stands for the stored files in a value: object, size, offset, length and name of each. Raises as `loads` does."""
    return _read(data)[1]


def _read(data: bytes | bytearray | memoryview) -> tuple[Any, list[list[Any]]]:
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
    return value, reader.stored


class _Reader:
    __slots__ = ("at", "containers", "data", "stored")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 1
        self.containers = FREE_CONTAINERS + len(data) // 4
        """How many more there may be."""
        self.stored: list[list[Any]] = []
        """What stands for stored files, as it comes."""

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
        found: float = unpack_double(body)[0]
        if found != found and body != NAN:
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
        check_keys(keys)
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
        check_keys(found)
        members = set(found)
        if len(members) != count:
            raise ValueRefused("a set has a member twice")
        return members

    def tagged(self, tag: int, depth: int) -> Any:
        if tag == TUPLE:
            first = self.take(1)[0]
            if first >> 5 != 4:
                raise ValueRefused("a tuple has a list of members")
            return tuple(self.items(self.argument(first & 31), depth + 1))
        if tag == SET:
            return self.members(depth + 2)
        if tag == FROZENSET:
            return frozenset(self.members(depth + 2))
        reader = _READERS.get(tag)
        if reader is None:
            raise ValueRefused(f"the tag {tag} is none of a value")
        inner = self.value(depth + 1)
        try:
            if tag == STORED:
                self.stored.append(inner)
            return reader(inner)
        except ValueRefused:
            raise
        except (TypeError, ValueError, KeyError, ArithmeticError, AttributeError, ImportError) as error:
            raise ValueRefused(f"what stands under the tag {tag} does not fit it: {error}") from None
