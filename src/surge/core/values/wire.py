"""The lowest layer of a value's bytes: tags, the heads of CBOR's data items, and the one error."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""The first byte of every encoded value."""

MAX_DEPTH = 100
"""Containers within containers."""

TUPLE, FROZENSET, COMPLEX, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, TIMEZONE = range(40001, 40010)
ARRAY, SCALAR, FRAME, SERIES, STORED = range(40010, 40015)
SET, UUID = 258, 37
"""Tags registered with IANA for sets and UUIDs; the others are ours."""

NAN = b"\x7f\xf8\x00\x00\x00\x00\x00\x00"
"""The one NaN there is."""
pack_double = struct.Struct(">d").pack
unpack_double = struct.Struct(">d").unpack_from


class ValueRefused(ValueError):
    """A value is not data, or bytes are no value. `where` names the place, such as `value['a'][3]`."""

    __module__ = __name__.rpartition(".")[0]  # the room, under whichever name it is here

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


def head(out: bytearray, major: int, argument: int) -> None:
    """Add a data item's head, in its shortest form (RFC 8949, section 3)."""
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


def expect(value: Any, *types: type) -> list[Any]:
    """The value, if it is a list with one member of each of these very types; `object` stands for any. Raises `ValueRefused`."""
    if type(value) is not list or len(value) != len(types):
        raise ValueRefused(f"a list of {len(types)} is expected")
    for item, kind in zip(value, types, strict=True):
        if kind is not object and type(item) is not kind:
            raise ValueRefused(f"{kind.__name__} is expected, not {type(item).__name__}")
    return value
