"""Messages of the session itself: channels, calls to services, contents, acknowledgements.

The buyer opens a channel inside the session, calls services, and acknowledges receipts; the provider answers each call with
its result and, where work was done, a signed receipt. All are msgpack arrays, tagged by a small integer.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core.messages.fields import (
    Blob,
    Bytes32,
    Count,
    MaybeBytes32,
    Name,
    Piece,
    Signature,
    Small,
    Text,
    WeiBytes,
    decode,
)

VERSION = 1
"""The version of this protocol; it travels in the session's context, and another one is refused there."""

MAX_PENDING = 1024
"""Receipts or entries one message lists: a window never grows past it."""


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message. Every subclass has a tag of its own within its direction."""


class SignedReceipt(Message, frozen=True):
    """A receipt and the device's signature over its EIP-712 digest.

    The device, buyer and channel are those of the session's channel, so they are not repeated.
    """

    kind: Annotated[int, msgspec.Meta(ge=1, le=255)]
    sequence: Count
    subject: Bytes32
    result: Bytes32
    quantity: Count
    amount: WeiBytes
    finished_at: Count
    """Unix seconds, by the device's clock."""
    signature: Signature


class OpenChannel(Message, frozen=True, tag=1):
    """Use this channel in this session, under these terms; the first thing a buyer sends, and again to resume."""

    channel: Bytes32
    terms: Annotated[bytes, msgspec.Meta(max_length=1024)]
    """`core.receipts.Terms` as canonical bytes."""
    signature: Signature
    """The session key's, over the terms' EIP-712 digest."""
    count: Count
    """Leaves in the buyer's receipt log: both sides compare before anything else."""
    root: Bytes32


class Call(Message, frozen=True, tag=2):
    """Ask a service to do something. `id` is the buyer's, unique within the session."""

    id: Small
    service: Name
    method: Name
    body: Blob


class Cancel(Message, frozen=True, tag=3):
    """The answer to call `id` is no longer wanted. Work that is finished is still owed."""

    id: Small


class Chunk(Message, frozen=True, tag=4):
    """A piece of a content that the provider said it misses, in order from offset 0."""

    id: Small
    """Chosen by the buyer, from the same numbers as calls; one per content under way."""
    content: Bytes32
    """SHA-256 of the whole content."""
    offset: Count
    data: Piece
    last: bool


class Acknowledge(Message, frozen=True, tag=5):
    """Answers to receipts, in the order in which they append to the log, and the voucher after the last of them."""

    entries: Annotated[list[tuple[Count, bool]], msgspec.Meta(max_length=MAX_PENDING)]
    """(receipt sequence, accepted)."""
    amount: WeiBytes
    count: Count
    root: Bytes32
    signature: Signature
    """The session key's, over the voucher (channel, amount, count, root)."""


class Reprice(Message, frozen=True, tag=6):
    """The buyer agrees to a job's new prices: `Terms` that name the job, signed by the session key."""

    terms: Annotated[bytes, msgspec.Meta(max_length=1024)]
    signature: Signature


class CloseChannel(Message, frozen=True, tag=7):
    """Close together, at the state both sides hold; the signature is over the EIP-712 `Close`."""

    amount: WeiBytes
    count: Count
    root: Bytes32
    signature: Signature


ToProvider = OpenChannel | Call | Cancel | Chunk | Acknowledge | Reprice | CloseChannel


class ChannelOpened(Message, frozen=True, tag=1):
    """The provider has the channel, agrees to the terms, and says where the two stand."""

    channel: Bytes32
    signature: Signature
    """The device's, over the terms' EIP-712 digest."""
    count: Count
    root: Bytes32
    amount: WeiBytes
    """The cumulative amount of the last voucher it holds."""
    window: Small
    """Units that may be in flight or unvouched."""
    pending: Annotated[list[SignedReceipt], msgspec.Meta(max_length=MAX_PENDING)]
    """Receipts issued and not acknowledged yet."""


class Answer(Message, frozen=True, tag=2):
    """The answer to call `id`. Where work was done, `receipt` says so; a large output follows as `Output`s."""

    id: Small
    body: Blob
    receipt: SignedReceipt | None
    output: Count
    """Bytes of output that follow; 0 when all of it is in the body."""


class Refusal(Message, frozen=True, tag=3):
    """Call (or upload) `id` was not done. `code` is for programs, `text` for people.

    Codes: busy, later, window, cover, draining, unknown, invalid, missing, price, deposit, local, guest, storage, cancelled, internal.
    """

    id: Small
    code: Name
    text: Text
    details: Annotated[bytes, msgspec.Meta(max_length=8192)]
    """Canonical bytes of a map with the operands, or empty."""


class Output(Message, frozen=True, tag=4):
    """A piece of a call's output, in order from offset 0."""

    id: Small
    offset: Count
    data: Piece
    last: bool


class Received(Message, frozen=True, tag=5):
    """An upload is complete, verified and stored. A receipt comes with it where transfers are priced."""

    id: Small
    content: Bytes32
    receipt: SignedReceipt | None


class Vouched(Message, frozen=True, tag=6):
    """The provider's log stands where the voucher says, durably; the window may have grown."""

    count: Count
    window: Small


class Draining(Message, frozen=True, tag=7):
    """The provider takes no new work; what is in flight will be finished."""

    text: Text


class NewPrices(Message, frozen=True, tag=8):
    """A job has new prices to be agreed on before its next unit: the provider's signed `Terms` that name the job."""

    terms: Annotated[bytes, msgspec.Meta(max_length=1024)]
    signature: Signature
    """The device's."""


class ClosedTogether(Message, frozen=True, tag=9):
    """The provider's half of a co-operative close, and the transaction it sent, if it sent one."""

    signature: Signature
    transaction: MaybeBytes32


ToBuyer = ChannelOpened | Answer | Refusal | Output | Received | Vouched | Draining | NewPrices | ClosedTogether

_for_provider: msgspec.msgpack.Decoder[ToProvider] = msgspec.msgpack.Decoder(ToProvider)
_for_buyer: msgspec.msgpack.Decoder[ToBuyer] = msgspec.msgpack.Decoder(ToBuyer)
_encoder = msgspec.msgpack.Encoder()


def decode_for_provider(data: bytes) -> ToProvider:
    """What a buyer sent, or `PeerFault`."""
    return decode(_for_provider, data, "a buyer's message")


def decode_for_buyer(data: bytes) -> ToBuyer:
    """What a provider sent, or `PeerFault`."""
    return decode(_for_buyer, data, "a provider's message")


def encode(message: ToProvider | ToBuyer) -> bytes:
    """The message's bytes."""
    return _encoder.encode(message)
