"""Retainers: cores that a device keeps free for a buyer, and what that costs.

The buyer pings the device every few seconds; both count the time between two pings that the device answered, up to `GAP_SECONDS`: so
only time in which the device could be reached is paid, and a device that is away holds nothing. Once a period the buyer states its count
and the device bills the smaller of that and its own. A device that is owed more than `MOST_UNPAID` lets the cores go. Times are seconds by
each side's own monotonic clock. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surge.core import canonical
from surge.core.pricing import MAX_PRICE
from surge.errors import InvalidInput

PING_SECONDS = 5
"""Between two pings of an honest buyer."""

GAP_SECONDS = 20
"""More than so long between two pings is not time held: the device lets the cores go, and holds them again at the next ping."""

PERIOD_SECONDS = 60
"""What one receipt is for, at most about."""

MOST_UNPAID = 2 * PERIOD_SECONDS + GAP_SECONDS
"""Seconds held without pay after which the device lets the cores go: a period, and another for paying it."""

MOST_HOURS = 24 * 366
"""Of one retainer."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one side knows of a retainer."""

    cores: int
    """Kept free."""
    price: int
    """Wei for a core held over an hour."""
    last: float
    """When the last ping was answered."""
    unbilled: float = 0.0
    """Seconds held since the last that were billed."""
    billed: int = 0
    """Seconds that receipts wait for an acknowledgement of."""

    @property
    def unpaid(self) -> float:
        """Seconds held that were not paid."""
        return self.unbilled + self.billed

    @property
    def over(self) -> bool:
        """Whether too much is unpaid to go on."""
        return self.unpaid > MOST_UNPAID

    def gone(self, now: float) -> bool:
        """Whether the buyer has not been heard for so long that the cores are let go."""
        return now - self.last > GAP_SECONDS


def pinged(holding: Holding, now: float) -> Holding:
    """A ping was answered.

    >>> pinged(Holding(1, 1, last=100.0), 105.0).unbilled
    5.0
    >>> pinged(Holding(1, 1, last=100.0), 200.0).unbilled
    0.0
    """
    more = 0.0 if holding.gone(now) else max(0.0, now - holding.last)
    return replace(holding, last=now, unbilled=holding.unbilled + more)


def stated(holding: Holding, claim: int) -> tuple[Holding, int]:
    """The buyer states its count of seconds; gives the seconds to bill. The rest of what was held stays unpaid."""
    billed = min(claim, int(holding.unbilled))
    return replace(holding, unbilled=holding.unbilled - billed, billed=holding.billed + billed), billed


def answered(holding: Holding, seconds: int) -> Holding:
    """A receipt over so many seconds was accepted."""
    return replace(holding, billed=max(0, holding.billed - seconds))


def amount(price: int, cores: int, seconds: int) -> int:
    """Wei for holding cores over seconds, rounded up.

    >>> amount(3600, cores=2, seconds=60)
    120
    """
    if not 0 <= price <= MAX_PRICE:
        raise InvalidInput(f"the price of a retainer, {price}, is not between 0 and {MAX_PRICE}", value=price)
    return -(-price * cores * seconds // 3600)


def subject(channel: bytes, period: int) -> bytes:
    """What a receipt for a retainer is about: 32 bytes. `period` counts the periods on a channel, from 0."""
    return canonical.digest(["surge retainer period", channel, period])


def result(about: bytes, cores: int, price: int) -> bytes:
    """What it states beside the seconds: how many cores were held, at which price. 32 bytes."""
    return canonical.digest(["surge retainer", about, cores, price])
