"""Bodies of a relay's service, `relay`: settling what it carried. See `core.carriage`."""

from __future__ import annotations

import msgspec

from surge.core.messages.compute import Body
from surge.core.messages.fields import AddressText, Count, Signature, decode


class Settle(Body, frozen=True):
    """A device states what a relay carried for it."""

    device: AddressText
    """Whose statement it is."""
    period: Count
    """How many statements there were before on the channel."""
    claim: Count
    """Bytes that it counted since the last one."""
    signature: Signature
    """The device's, over `core.carriage.statement_digest`."""


class Settled(Body, frozen=True):
    """The relay's answer; its receipt bills the smaller of the two counts."""

    counted: Count
    """Bytes that the relay counted and has not billed before."""
    owed: Count
    """Bytes that were carried and not vouched for, with those that the receipt bills."""
    window: Count
    """Bytes that it carries unpaid."""


_settle: msgspec.msgpack.Decoder[Settle] = msgspec.msgpack.Decoder(Settle)
_settled: msgspec.msgpack.Decoder[Settled] = msgspec.msgpack.Decoder(Settled)


def decode_settle(data: bytes) -> Settle:
    """The body of a call of `settle`, or `PeerFault`."""
    return decode(_settle, data, "a statement of what a relay carried")


def decode_settled(data: bytes) -> Settled:
    """The answer to it, or `PeerFault`."""
    return decode(_settled, data, "a relay's count")
