"""What is said in a visit: a session without a channel, in which a case's opener brings a juror what was sealed for it.

The session's context names the service that is visited. The opener says what it brings (`Deliver`), waits for `Bring`, sends the envelope
in pieces, and is told that it is kept (`Kept`). At any time it may be told why not (`Declined`), which ends the visit.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from surge.core import canonical
from surge.core.messages.envelope import MAX_ENVELOPE
from surge.core.messages.fields import Count, Name, Piece, Text, decode
from surge.core.messages.session import VERSION, Message
from surge.errors import InvalidInput

DECLINED: Final = ("unknown", "busy", "late", "invalid", "storage")
"""Codes of `Declined`: not the caller's business; come again; too late; what was sent is not what was to come; no room for it."""


class Deliver(Message, frozen=True, tag=1):
    """I am the opener of this case, in which you are drawn, and bring what was sealed for you."""

    case: Count
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_ENVELOPE)]
    """Bytes of the envelope."""


class Part(Message, frozen=True, tag=2):
    """The next bytes of the envelope."""

    data: Piece


ToJuror = Deliver | Part


class Bring(Message, frozen=True, tag=1):
    """Send it."""


class Kept(Message, frozen=True, tag=2):
    """The envelope is on disk, and what is in it is the case's unit."""

    case: Count


class Declined(Message, frozen=True, tag=3):
    """It is not taken. `code` is for programs, one of `DECLINED`; `text` is for people."""

    code: Name
    text: Text


ToOpener = Bring | Kept | Declined

_for_juror: msgspec.msgpack.Decoder[ToJuror] = msgspec.msgpack.Decoder(ToJuror)
_for_opener: msgspec.msgpack.Decoder[ToOpener] = msgspec.msgpack.Decoder(ToOpener)
_encoder = msgspec.msgpack.Encoder()


def decode_for_juror(data: bytes) -> ToJuror:
    """What a visitor sent, or `PeerFault`."""
    return decode(_for_juror, data, "a visitor's message")


def decode_for_opener(data: bytes) -> ToOpener:
    """What a juror sent, or `PeerFault`."""
    return decode(_for_opener, data, "a juror's message")


def encode_visit(message: Message) -> bytes:
    """The message's bytes."""
    return _encoder.encode(message)


def visit_context(network: bytes, service: str) -> bytes:
    """The context of a session that visits a service."""
    return canonical.encode({"version": VERSION, "network_id": network, "visit": service})


def visited(context: bytes) -> str | None:
    """The service that a session's context says it visits; None for a session that is no visit."""
    try:
        said = canonical.decode(context)
    except InvalidInput:
        return None
    name = said.get("visit") if isinstance(said, dict) else None
    return name if isinstance(name, str) else None
