"""What holding shards costs, what receipts for it say, and how much a holder moves before it is paid. Pure.

A holder that moves bytes for a channel is owed for them until the receipts are vouched for. It moves no more than a window unpaid, which
grows with what the channel's buyer paid, as a relay's does (`core.carriage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from surge.core import canonical
from surge.core.pricing import MAX_PRICE
from surge.core.types import GIGA
from surge.errors import InvalidInput

MONTH_SECONDS = 30 * 86400
"""The month that storage is priced by."""

HOUR_SECONDS = 3600

FREE_WINDOW = 64 << 20
"""Bytes that are moved for a channel that never paid: two segments whole."""

MOST_WINDOW = 4 << 30
"""Bytes that are moved unpaid, however much was paid before."""


@dataclass(frozen=True, slots=True)
class Held:
    """A shard over a time."""

    deal: bytes
    """32 bytes."""
    size: int
    """Bytes."""
    price: int
    """Wei for a gigabyte over a month."""
    since: int
    """Unix seconds."""
    until: int
    """Unix seconds."""

    @property
    def seconds(self) -> int:
        """How long."""
        return self.until - self.since


def amount(price: int, size: int, seconds: int) -> int:
    """Wei for holding `size` bytes over `seconds`, rounded up.

    >>> amount(2 * 10**15, size=10**9, seconds=30 * 86400)
    2000000000000000
    >>> amount(1, size=1, seconds=1)
    1
    """
    if not 0 <= price <= MAX_PRICE:
        raise InvalidInput(f"the price of storage, {price}, is not between 0 and {MAX_PRICE}", value=price)
    return -(-price * size * seconds // (GIGA * MONTH_SECONDS))


def total(helds: Iterable[Held]) -> int:
    """Wei for all of them: each is rounded up by itself."""
    return sum(amount(held.price, held.size, held.seconds) for held in helds)


def byte_hours(helds: Iterable[Held]) -> int:
    """Bytes times hours, all together, rounded up: the quantity of a receipt.

    >>> byte_hours([Held(bytes(32), 1000, 0, 0, 3600), Held(bytes(32), 1000, 0, 0, 1)])
    1001
    """
    return -(-sum(held.size * held.seconds for held in helds) // HOUR_SECONDS)


def subject(channel: bytes, period: int) -> bytes:
    """What a receipt for storage is about: 32 bytes. `period` counts the renewals on a channel, from 0."""
    return canonical.digest(["surge storage period", channel, period])


def result(about: bytes, helds: Sequence[Held]) -> bytes:
    """What it states beside the byte-hours: which deals, from when to when. 32 bytes."""
    return canonical.digest(["surge storage", about, [[held.deal, held.since, held.until] for held in helds]])


def reads(channel: bytes, period: int) -> bytes:
    """What a receipt for reads is about, in place of a content: 32 bytes. `period` counts the bills on a channel, from 0."""
    return canonical.digest(["surge storage reads", channel, period])


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a holder moved for a channel. Bytes."""

    read: int = 0
    """Read and not billed."""
    written: int = 0
    """Written to shards that are not kept yet."""
    owed: int = 0
    """On receipts that are not vouched for."""
    paid: int = 0
    """Vouched for."""

    @property
    def window(self) -> int:
        """What may be moved unpaid."""
        return min(max(FREE_WINDOW, self.paid), MOST_WINDOW)

    @property
    def unpaid(self) -> int:
        """What was moved unpaid."""
        return self.read + self.written + self.owed

    def room(self, own: int = 0) -> bool:
        """Whether more is moved now. `own` bytes of what is unpaid belong to the shard that goes on: one is always finished."""
        return self.unpaid - own < self.window


def moved_out(traffic: Traffic, size: int) -> Traffic:
    """So many bytes were read."""
    return replace(traffic, read=traffic.read + size)


def moved_in(traffic: Traffic, size: int) -> Traffic:
    """So many bytes were written."""
    return replace(traffic, written=traffic.written + size)


def given_up(traffic: Traffic, size: int) -> Traffic:
    """A shard of which so much was written is not wanted any more."""
    return replace(traffic, written=max(0, traffic.written - size))


def kept(traffic: Traffic, size: int) -> Traffic:
    """A shard is whole, and billed."""
    return replace(given_up(traffic, size), owed=traffic.owed + size)


def billed(traffic: Traffic, claim: int) -> tuple[Traffic, int]:
    """The reader states its count; gives the bytes to bill: the smaller count. The rest of what was read waits.

    >>> billed(Traffic(read=1000), 100)
    (Traffic(read=900, written=0, owed=100, paid=0), 100)
    """
    size = min(claim, traffic.read)
    return replace(traffic, read=traffic.read - size, owed=traffic.owed + size), size


def vouched(traffic: Traffic, size: int) -> Traffic:
    """A receipt over so many bytes was vouched for."""
    return replace(traffic, owed=max(0, traffic.owed - size), paid=traffic.paid + size)
