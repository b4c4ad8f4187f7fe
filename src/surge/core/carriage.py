"""Carriage: what a relay carried for a device, what the device believes of it, and when the relay stops.

Both count the bytes that crossed the device's connections. From time to time the device states what it counted since its last
statement, and signs that; the relay bills its own count, but at most the statement and a margin: so a relay that counts too much wins
no more than the margin. What it counted beyond waits for later statements, for ever, and a device may owe as much as it ever paid for,
and `FREE_WINDOW` in any case: so a device that states too little wins no more than a window, all its periods together, and a newcomer
needs no funds to join. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from surge.core import canonical
from surge.core.signing import personal_digest
from surge.core.types import Address

FREE_WINDOW = 64 << 20
"""Bytes that are carried for a device that never paid: hours of small units, and an hour's pay at ordinary prices buys thousands of it."""

MOST_WINDOW = 4 << 30
"""Bytes that are carried unpaid for a device, however much it paid before."""

HOST_WINDOWS = 16
"""Devices that never paid owe together, from one network host, at most so many free windows: keys cost nothing, hosts cost something."""

EARLY = 4
"""A device settles once it owes one part in so many of its window, so that settling has time to be done."""

MARGIN = 16
"""A relay's count may exceed a device's by one part in so many: strangers' greetings, what was on its way when a connection broke."""

DOUBTS = 3
"""Periods running in which a relay's count is not believed, after which the device goes elsewhere: once may be a stranger's doing."""

_STATEMENT = b"surge carriage 1\n"


@dataclass(frozen=True, slots=True)
class Owing:
    """How a device stands with a relay, as the relay sees it. Bytes."""

    carried: int = 0
    """Carried and not billed: since the device's last statement, or beyond what it stated."""
    owed: int = 0
    """Billed and not vouched for."""
    paid: int = 0
    """Vouched for since the last default."""

    @property
    def window(self) -> int:
        """What may be carried unpaid."""
        return min(max(FREE_WINDOW, self.paid), MOST_WINDOW)

    @property
    def unpaid(self) -> int:
        """What was carried unpaid."""
        return self.carried + self.owed

    @property
    def over(self) -> bool:
        """Whether nothing more is carried until some of it is paid."""
        return self.unpaid > self.window


def carried(owing: Owing, size: int) -> Owing:
    """So many bytes more were carried."""
    return replace(owing, carried=owing.carried + size)


def most(claim: int) -> int:
    """Bytes that a device which counted `claim` pays for at most."""
    return claim + claim // MARGIN


def stated(owing: Owing, claim: int) -> tuple[Owing, int]:
    """The device states what it counted since the last time; gives the bytes to bill. The rest of what was carried waits for the next.

    >>> stated(Owing(carried=1000), 100)
    (Owing(carried=894, owed=106, paid=0), 106)
    """
    billed = min(owing.carried, most(claim))
    return replace(owing, carried=owing.carried - billed, owed=owing.owed + billed), billed


def answered(owing: Owing, billed: int, *, accepted: bool) -> Owing:
    """A receipt over so many bytes was vouched for, or refused: then they stay owed, and trust begins again."""
    if accepted:
        return replace(owing, owed=max(0, owing.owed - billed), paid=owing.paid + billed)
    return replace(owing, paid=0)


def is_due(unpaid: int, window: int) -> bool:
    """Whether a device that counts so many unpaid bytes settles now."""
    return unpaid > 0 and unpaid * EARLY >= window


def host_is_full(newcomers: Sequence[Owing]) -> bool:
    """Whether the devices of one network host that never paid owe too much together; each counts for its window at most."""
    return sum(min(each.unpaid, each.window) for each in newcomers if not each.paid) >= HOST_WINDOWS * FREE_WINDOW


def subject(relay: Address, device: Address, channel: bytes, period: int) -> bytes:
    """What a receipt for carriage is about: 32 bytes. `period` counts the statements on a channel, from 0."""
    return canonical.digest(["surge carriage period", relay, device, channel, period])


def result(about: bytes, counted: int) -> bytes:
    """What a receipt for carriage states beside what it bills: the bytes that the relay counted in the period. 32 bytes."""
    return canonical.digest(["surge carriage count", about, counted])


def statement_digest(about: bytes, claim: int) -> bytes:
    """What a device signs: that it counted so many bytes in the period with this subject. 32 bytes."""
    return personal_digest(_STATEMENT + canonical.encode([about, claim]))
