"""Bodies of the retainer service: `hold`, `bill`, `release`. See `core.retainers`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core.messages.compute import Body
from surge.core.messages.fields import Count, WeiBytes, decode

Cores = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Hold(Body, frozen=True):
    """Keep cores free from now on, or go on with it: a ping. Every ping says the same."""

    cores: Cores
    price: WeiBytes
    """For a core over an hour: what the offer says, or more."""


class Held(Body, frozen=True):
    """They are kept free."""

    unpaid: Count
    """Whole seconds held that were not paid."""


class Bill(Body, frozen=True):
    """The buyer states what it counted since the last time, and asks for the receipt."""

    period: Count
    """How many there were before on the channel."""
    seconds: Count


_hold: msgspec.msgpack.Decoder[Hold] = msgspec.msgpack.Decoder(Hold)
_held: msgspec.msgpack.Decoder[Held] = msgspec.msgpack.Decoder(Held)
_bill: msgspec.msgpack.Decoder[Bill] = msgspec.msgpack.Decoder(Bill)


def decode_hold(data: bytes) -> Hold:
    """The body of a `hold` call, or `PeerFault`."""
    return decode(_hold, data, "a call to hold cores")


def decode_held(data: bytes) -> Held:
    """The answer to `hold`, or `PeerFault`."""
    return decode(_held, data, "an answer about held cores")


def decode_bill(data: bytes) -> Bill:
    """The body of a `bill` call, or `PeerFault`."""
    return decode(_bill, data, "a call to bill held cores")
