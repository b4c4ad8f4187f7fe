"""What is said in a visit to a holder, a session without a channel: anybody asks for records, and a device reads by a buyer's permits.

A visit in which a permit is shown first is for reading by that permit, and for nothing else.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core.messages.fields import AddressText, Bytes32, Count, Name, Signature, Text, decode
from surge.core.messages.session import Message
from surge.core.messages.storage import MAX_PROOF, MOST_LEAVES, Leaf, MaybeRecord, Moved

MOST_DEALS = 128
"""Deals of one permit."""

MAX_ASKED = 6 << 10
"""Bytes of a visitor's message: a permit with all its deals."""

MOST_ASKED = 64
"""Records that one visit asks for."""


class AskRecord(Message, frozen=True, tag=1):
    """Send the newest version of a record."""

    author: AddressText
    label: Bytes32


class ShowPermit(Message, frozen=True, tag=2):
    """I have this permit (`core.storage.permits`), and read by it in this visit. The device that it names is who visits."""

    channel: Bytes32
    deals: Annotated[list[Bytes32], msgspec.Meta(min_length=1, max_length=MOST_DEALS)]
    size: Count
    """Bytes that may be read."""
    until: Count
    """Unix seconds."""
    salt: Bytes32
    signature: Signature
    """The session key's of the channel."""


class ReadPermitted(Message, frozen=True, tag=3):
    """Send transfer leaves, by the permit that was shown."""

    deal: Bytes32
    first: Leaf
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_LEAVES)]


class TellRecord(Message, frozen=True, tag=1):
    """It is this one."""

    record: MaybeRecord
    """Empty where there is none here."""


class NotNow(Message, frozen=True, tag=2):
    """It is not told: too many ask just now, or this visit has asked for enough."""

    text: Text


class Shown(Message, frozen=True, tag=3):
    """The permit is good."""


class TellLeaves(Message, frozen=True, tag=4):
    """The leaves are these, as in `Leaves`."""

    data: Moved
    proof: Annotated[bytes, msgspec.Meta(max_length=MAX_PROOF)]


class NotPermitted(Message, frozen=True, tag=5):
    """It is not done. `code` is for programs: `unknown`, `spent`, `window`, `busy`, `invalid` end the visit, `missing` does not."""

    code: Name
    text: Text


ToHolder = AskRecord | ShowPermit | ReadPermitted
ToReader = TellRecord | NotNow | Shown | TellLeaves | NotPermitted

_encoder = msgspec.msgpack.Encoder()
_for_holder: msgspec.msgpack.Decoder[ToHolder] = msgspec.msgpack.Decoder(ToHolder)
_for_reader: msgspec.msgpack.Decoder[ToReader] = msgspec.msgpack.Decoder(ToReader)


def decode_for_holder(data: bytes) -> ToHolder:
    """What a visitor asked for, or `PeerFault`."""
    return decode(_for_holder, data, "a visitor's message", most=MAX_ASKED)


def encode_visit(message: ToHolder | ToReader) -> bytes:
    """The bytes of a message of a visit."""
    return _encoder.encode(message)


def decode_for_reader(data: bytes) -> ToReader:
    """What a visited holder said, or `PeerFault`."""
    return decode(_for_reader, data, "a holder's message")
