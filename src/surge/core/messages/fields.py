"""The bounded field types that messages are made of, and the one way their bytes are decoded."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from surge.errors import PeerFault

MAX_MESSAGE = 512 << 10
"""Bytes of one session message: above it the relay's payload limit (1 MiB) could not hold a frame with two of them."""

MAX_INLINE = 192 << 10
"""Bytes of input or output carried inside a call or an answer; anything larger travels as chunks."""

MAX_CHUNK = 256 << 10
"""Bytes of one chunk of a content: large enough for throughput, small enough to interleave with calls."""

UINT64 = (1 << 63) - 1
"""The largest integer a message field carries: msgspec bounds are signed 64-bit."""

Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
MaybeBytes32 = Annotated[bytes, msgspec.Meta(max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=65, max_length=65)]
AddressText = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{40}\Z")]
WeiBytes = Annotated[bytes, msgspec.Meta(max_length=32)]
"""An amount of up to 2**256 - 1 as big-endian bytes without leading zeros: msgpack integers stop at 64 bits."""
Count = Annotated[int, msgspec.Meta(ge=0, le=UINT64)]
Small = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Inline = Annotated[bytes, msgspec.Meta(max_length=MAX_INLINE)]
Piece = Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNK)]
Blob = Annotated[bytes, msgspec.Meta(max_length=MAX_MESSAGE)]


def wei_bytes(amount: int) -> bytes:
    """An amount as a message carries it: big-endian, no leading zeros, empty for nought."""
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


def wei(field: bytes) -> int:
    """The amount in a `WeiBytes` field."""
    return int.from_bytes(field, "big")


T = TypeVar("T")


def decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, what: str, *, most: int = MAX_MESSAGE) -> T:
    """Decode `data` or raise `PeerFault` that names what was expected; more than `most` bytes are refused unread."""
    if len(data) > most:
        raise PeerFault(f"{what} of {len(data)} bytes is larger than {most}", size=len(data))
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerFault(f"{what} cannot be read: {error}", data=data[:256]) from error
