"""What a service is to the daemon that hosts it.

A service takes a call apart (`accept`, cheap and without waiting) into an `Order`, and does it when told to (`Order.run`). Between the
two the daemon sees whether it did the same thing before, and whether the buyer's window has room; afterwards it turns the reply's
claim into a receipt. Services know nothing of channels, vouchers, signatures or sessions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from surge.core import canonical
from surge.core.exposure import Ask
from surge.core.pricing import Prices
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.types import Address
from surge.errors import SurgeError
from surge.provider.outbox import Link
from surge.store import Blobs


class Weight(Enum):
    """What an order counts as while it is under way or unpaid."""

    FREE = "free"
    """Nothing: it is answered from what is here."""
    UNIT = "unit"
    """One unit of the buyer's window."""
    COMPILE = "compile"
    """The one compilation that a buyer may have under way or unpaid, beside its window."""


class Refused(SurgeError):
    """A call is not done. `code` is one of those in `core.messages.Refusal`; the details travel with it."""

    def __init__(self, code: str, text: str, **details: Any) -> None:
        super().__init__(text, **details)
        self.code = code

    def encoded(self) -> bytes:
        """The details as canonical bytes; empty when there are none."""
        return canonical.encode(dict(self.details)) if self.details else b""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a receipt is to say."""

    kind: int
    """A `ReceiptKind`."""
    subject: bytes
    """32 bytes."""
    result: bytes
    """32 bytes."""
    quantity: int
    """In the kind's unit."""
    amount: int
    """Wei."""


class Reserve(Protocol):
    """Wei that are set aside for work under way: it is done up to there, and no further."""

    @property
    def amount(self) -> int:
        """Wei."""
        ...

    def release(self) -> None:
        """It is set aside no more; afterwards nothing here does anything."""
        ...

    def use_up(self) -> None:
        """The work was done up to there and stopped: that stays owed, though no receipt says so."""
        ...

    def extend(self, amount: int) -> bool:
        """Set aside so much in all. False, and nothing changed, where that is not covered."""
        ...

    def lacks(self, ask: Ask, fuel: int) -> Refused:
        """The refusal of work that was stopped at this fuel, as no more was covered."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What an order came to."""

    body: bytes
    """The answer's body."""
    claim: Claim | None = None
    """What is owed for it; None where nothing is."""
    output: Path | None = None
    """A file that follows the answer; it belongs to the daemon from now on."""
    output_size: int = 0
    """Bytes of that file."""
    reserve: Reserve | None = None
    """What was set aside for it, until its receipt is issued."""


class Order(Protocol):
    """A call that was understood."""

    @property
    def weight(self) -> Weight:
        """What it counts as."""
        ...

    @property
    def subject(self) -> bytes | None:
        """What its receipt will be about: the same subject asked again gives the same answer. None for what may be repeated."""
        ...

    @property
    def job(self) -> bytes:
        """The job it belongs to, 32 bytes; zeros for none."""
        ...

    @property
    def begun(self) -> bool:
        """Whether it can no longer be called off: before, cancelling `run` costs nobody anything."""
        ...

    @property
    def lasting(self) -> bool:
        """Whether it is done also while the device takes no new work: it belongs to what was promised before."""
        ...

    async def run(self) -> Reply:
        """Do it. Raises `Refused` when that was impossible; then nothing is owed."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """For whom an order is accepted."""

    channel: bytes
    """32 bytes."""
    buyer: Address
    """The wallet that pays."""
    contents: Blobs
    """What buyers have uploaded."""
    prices: Callable[[bytes], Prices]
    """The prices agreed for a job."""
    want: Callable[[bytes, int, bytes], None]
    """Allow the upload of a content: its SHA-256, its size, the job whose prices it is moved at."""
    quote: Callable[[bytes, Prices], None]
    """Ask for new prices for a job, from its next unit on."""
    issued: Callable[[ReceiptKind, bytes], bool]
    """Whether there is a receipt of this kind about this subject on the channel: what may be billed once is not billed twice."""
    cover: Callable[[Ask, int], Awaitable[Reserve]]
    """Set something aside for work that is about to begin, of which so many pieces may run at once. Raises `Refused`."""
    session_key: Address
    """Who signs for the channel."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a service puts into the offer."""

    engine: bytes | None = None
    """32 bytes, where units run on an engine."""
    engine_label: str = ""
    """Its name for people."""
    images: tuple[bytes, ...] = ()
    """Images that are ready, at most 64."""
    speed: int | None = None
    """Fuel a second, measured."""
    storage: int = 0
    """Wei for 10^9 bytes kept over 30 days; 0 where none are."""
    room: int = 0
    """Bytes that are free for them."""


class Service(Protocol):
    """Something a device lends."""

    @property
    def name(self) -> str:
        """What calls name it by."""
        ...

    async def start(self) -> None:
        """Make ready. The daemon offers nothing before."""
        ...

    async def close(self) -> None:
        """Stop, and leave nothing running."""
        ...

    def describe(self) -> Description:
        """What goes into the offer now."""
        ...

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        """The order in a call. Raises `Refused` or, for what no honest buyer sends, `PeerFault`."""
        ...

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """The buyer's answer to a receipt, of this service or another, is on disk."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A service that says how it stands."""

    def status(self) -> dict[str, Any]:
        """How it stands, as plain data."""
        ...


@runtime_checkable
class Outliving(Protocol):
    """A service in which something may be done for a channel without a session of its buyer."""

    def ended(self, channels: frozenset[bytes]) -> None:
        """All channels that were closed, or take no more work, now and again: nothing more is done for them."""
        ...


@runtime_checkable
class Visited(Protocol):
    """A service that also takes visits: sessions without a channel, whose context names it. It bounds them itself."""

    async def visit(self, link: Link) -> None:
        """Serve a visit; the session ends when this returns. Raises `PeerFault` for what no honest visitor sends."""
        ...
