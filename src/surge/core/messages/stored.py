"""The call `fetch` of the compute service: bring a part of a stored object here from its holders, for units that read it.

It carries what opens the object, so it is nothing that is signed, kept or shown. Who asks is believed in nothing but by what verifies:
roots prove the shards, the object key the content, and the numbers are one object's or it is refused.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from surge.core.messages.compute import Body
from surge.core.messages.fields import AddressText, Bytes32, Count, Signature, Text, decode
from surge.core.storage.layout import MOST_SHARDS
from surge.errors import PeerFault

MOST_SEGMENTS: Final = 96
"""Segments that one part lies in: with 32 shards each they fit a message, permits beside them. 3 GiB, as segments usually are."""

MOST_HOLDERS: Final = 256
"""Devices that it is read from."""

Index = Annotated[int, msgspec.Meta(ge=0, lt=MOST_SHARDS)]


class ShardField(Body, frozen=True):
    """A shard where it is, as the object's map has it."""

    index: Index
    device: AddressText
    deal: Bytes32
    root: Bytes32


class SegmentField(Body, frozen=True):
    """Shards of one segment."""

    number: Count
    shards: Annotated[list[ShardField], msgspec.Meta(min_length=1, max_length=MOST_SHARDS)]


class Opening(Body, frozen=True):
    """What opens and finds an object."""

    key: Bytes32
    """The object key."""
    mask: Bytes32
    """The mask secret."""
    segment_size: Count
    k: Count
    n: Count
    segments: Annotated[list[SegmentField], msgspec.Meta(max_length=MOST_SEGMENTS)]
    """Those that the part lies in."""


class PermitField(Body, frozen=True):
    """A permit (`core.storage.permits`) for one holder; its deals are those of this holder in `Opening`."""

    holder: AddressText
    channel: Bytes32
    size: Count
    """Bytes that may be read."""
    until: Count
    salt: Bytes32
    signature: Signature


class Fetch(Body, frozen=True):
    """Bring this part here."""

    job: Bytes32
    """The job at whose prices it is moved."""
    object: Bytes32
    size: Count
    """Bytes of the object."""
    offset: Count
    length: Count
    name: Text
    opening: Opening
    permits: Annotated[list[PermitField], msgspec.Meta(max_length=MOST_HOLDERS)]


class Fetched(Body, frozen=True):
    """It is here, from these holders."""

    read: Annotated[list[tuple[AddressText, Count]], msgspec.Meta(max_length=MOST_HOLDERS)]
    """Bytes of shards that were read of each; nothing where it was here already."""


_fetch: msgspec.msgpack.Decoder[Fetch] = msgspec.msgpack.Decoder(Fetch)
_fetched: msgspec.msgpack.Decoder[Fetched] = msgspec.msgpack.Decoder(Fetched)


def decode_fetch(data: bytes) -> Fetch:
    """The body of a `fetch` call, or `PeerFault`. What it was is not told: it has keys in it."""
    try:
        return decode(_fetch, data, "a call for a stored file")
    except PeerFault as fault:
        raise PeerFault(fault.message) from None


def decode_fetched(data: bytes) -> Fetched:
    """The answer to `fetch`, or `PeerFault`."""
    return decode(_fetched, data, "an answer about a stored file")
