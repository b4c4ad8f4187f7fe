"""What clients ask a relay's offer board, and what it answers: MessagePack, one decoder per direction.

Every question is published to `board.<from>.<operation>` and answered on `node.<from>.<relay>.r.<token>`; the relay
answers nowhere else, so that nobody can have its answers sent to a third party.

    operation   body                     answer
    hello       challenge, 32 bytes      Welcome
    offer       a signed offer           Kept
    withdraw    its sequence, as ASCII   Kept
    query       OfferQuery               Page
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core.text import printable
from surge.errors import PeerFault, Unavailable

MAX_PAGE = 200
"""Offers in one page."""
MAX_PAGE_SIZE = 512 << 10
"""Bytes of the offers in one page."""
MAX_NAME = 64
"""Characters of a service's, an engine's or a region's name in a query."""

MAX_REASON = 1024
"""Characters of why a relay does not carry."""

Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


class Welcome(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The relay shows who it is, and what it lets this client use."""

    version: int
    signature: bytes
    """The relay identity's signature over `login.welcome_digest`."""
    login_seconds: int
    """How long this login lasts."""
    messages_per_second: int
    bytes_per_second: int
    stopped: Annotated[str, msgspec.Meta(max_length=MAX_REASON)]
    """Why this login reaches nobody but the relay itself, in words for people; empty when everybody is reached."""


class Kept(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Whether the board did as asked; if not, why."""

    done: bool
    reason: str


class OfferQuery(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """Which offers to list. Empty fields do not filter."""

    service: Name = ""
    """The service that must be offered, such as "compute"."""
    engine: bytes = b""
    """The engine that must be offered: its 32-byte hash."""
    region: Name = ""
    """The region, as the offer states it."""
    max_gigafuel_price: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    """The highest price of a gigafuel, in wei, big-endian: it may exceed 64 bits."""
    after: Annotated[str, msgspec.Meta(max_length=42)] = ""
    """The last device of the page before: devices are listed by address."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    """Offers wanted in one page."""


class Page(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Some offers."""

    offers: Annotated[list[bytes], msgspec.Meta(max_length=MAX_PAGE)]
    """Signed offers as their devices published them."""
    next: Annotated[str, msgspec.Meta(max_length=42)]
    """The last device looked at when another page follows (ask with it as `after`), or empty."""


def decode_kept(answer: bytes) -> Kept:
    """A relay's answer to what a device did. Raises `PeerFault`."""
    try:
        return msgspec.msgpack.decode(answer, type=Kept)
    except msgspec.MsgspecError as error:
        raise PeerFault("the relay answers with nonsense", answer=answer[:200]) from error


def decode_page(answer: bytes, url: str) -> Page:
    """A page of offers that the relay at `url` gives. Raises `PeerFault`, or `Unavailable` where it refuses."""
    try:
        return msgspec.msgpack.decode(answer, type=Page)
    except msgspec.MsgspecError as error:
        try:
            refusal = msgspec.msgpack.decode(answer, type=Kept)
        except msgspec.MsgspecError:
            raise PeerFault(f"the relay {url} answers offers with nonsense", answer=answer[:200]) from error
        raise Unavailable(f"the relay {url} refuses: {printable(refusal.reason[:200])}") from error
