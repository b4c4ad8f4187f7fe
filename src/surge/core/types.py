"""Units of measure as types, and the bounds that every number obeys."""

from __future__ import annotations

import re
from typing import NewType

from surge.errors import InvalidInput

Wei = NewType("Wei", int)
"""10**-18 SURGE. All money is in wei."""

Fuel = NewType("Fuel", int)
"""WebAssembly instructions executed, as the engine counts them, and what calls into the host cost."""

ByteCount = NewType("ByteCount", int)
"""Bytes."""

Address = NewType("Address", str)
"""An Ethereum address: `0x` and 40 lower-case hex digits. Checksummed forms exist only at the ledger's edge."""

Hash = NewType("Hash", bytes)
"""32 bytes."""

GIGA = 10**9
"""Fuel in a gigafuel, and bytes in the gigabyte that transfers are priced by."""

MEGA = 10**6
"""Bytes in the megabyte that compiling is priced by."""

MAX_WEI = 2**256 - 1
"""The largest amount a contract holds."""

ZERO = bytes(32)
"""32 zero bytes: 'none' where a hash is expected."""

_ADDRESS = re.compile(r"0x[0-9a-f]{40}\Z")


def address(text: str) -> Address:
    """`text` as an address, whatever its case. Raises `InvalidInput` if it is none."""
    lowered = text.lower() if isinstance(text, str) else ""
    if not _ADDRESS.match(lowered):
        raise InvalidInput(f"{text!r} is no address: write 0x and 40 hex digits", text=text)
    return Address(lowered)


def address_bytes(value: Address) -> bytes:
    """The 20 bytes of an address."""
    return bytes.fromhex(value[2:])
