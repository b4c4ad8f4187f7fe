"""How much unpaid work a provider does for a buyer: its window in units, and its cover in wei.

Two pure state machines per buyer (the wallet that opens channels). Both hold at once.

**The window** counts units. It starts at what the offer says, one unit by default; it doubles when a whole window was vouched for, up to
the offer's greatest; and it falls back to one unit on default. A default is remembered: afterwards a window grows only after as many full
windows at each size as there were defaults.

**The cover** counts wei, since a unit may be of any size. What a channel's floor pays beyond its voucher is certain; what is owed on the
channel beyond that is *exposed*. Work may begin only where all that it may come to leaves what is exposed, over all of the buyer's
channels, within its *credit*: what it vouched for since its last default. So a buyer that never vouches gets what its floors pay and
nothing more, whatever its units cost, and nobody ever gets more for nothing than it paid for.

A unit's fuel limit is usually far above what it takes, so it is not the limit that is covered. A unit runs with a part of what is free
(`part`), set aside for it while it runs, and is stopped where that is used up; what it was stopped at stays owed, as it was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from surge.core import canonical
from surge.errors import InvalidInput

MARGIN = 4
"""A unit gets one part in so many more than its buyer expects of it, where there is so much: it expects what the dearest took."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a provider knows of a buyer. Durable: it outlives channels and restarts."""

    window: int = 1
    """Units that may be in flight or unvouched, all channels together."""
    vouched: int = 0
    """Units vouched for since the window last changed."""
    outstanding: int = 0
    """Units in flight or unvouched now."""
    defaults: int = 0
    """Times the buyer let receipts go unacknowledged."""
    credit: int = 0
    """Wei vouched for since the last default, of every kind of work."""

    @property
    def room(self) -> int:
        """Units that may still begin."""
        return max(0, self.window - self.outstanding)

    def encode(self) -> bytes:
        """Canonical bytes of what outlives a restart. Credit is written as bytes: it may pass 64 bits."""
        credit = self.credit.to_bytes((self.credit.bit_length() + 7) // 8, "big")
        return canonical.encode([self.window, self.vouched, self.defaults, credit])

    @classmethod
    def decode(cls, data: bytes) -> Standing:
        """The standing in canonical bytes, with nothing outstanding. One that was written before there was credit has none."""
        row = canonical.decode(data)
        if not isinstance(row, list) or len(row) not in (3, 4):
            raise InvalidInput("a buyer's standing cannot be read")
        counts, credit = row[:3], row[3] if len(row) == 4 else b""
        if any(type(each) is not int or each < 0 for each in counts) or row[0] < 1 or type(credit) is not bytes or len(credit) > 32:
            raise InvalidInput("a buyer's standing cannot be read")
        return cls(window=row[0], vouched=row[1], defaults=row[2], credit=int.from_bytes(credit, "big"))


# The window


def begin(standing: Standing) -> Standing | None:
    """A unit begins; None when the window has no room for it."""
    return replace(standing, outstanding=standing.outstanding + 1) if standing.room else None


def released(standing: Standing, units: int = 1) -> Standing:
    """Units ended without a receipt: a local ending, a cancellation, a refusal."""
    return replace(standing, outstanding=max(0, standing.outstanding - units))


def vouched(standing: Standing, units: int, most: int) -> Standing:
    """Receipts of `units` units were acknowledged under a good voucher; the window may grow up to `most`."""
    state = released(standing, units)
    window, count = state.window, state.vouched + units
    while window < most and count >= window * (1 + state.defaults):
        count -= window * (1 + state.defaults)
        window = min(2 * window, most)
    return replace(state, window=window, vouched=count if window < most else 0)


def defaulted(standing: Standing, units: int) -> Standing:
    """Receipts of `units` units were refused, or unacknowledged past their time: the buyer starts again at one unit, without credit."""
    state = released(standing, units)
    return replace(state, window=1, vouched=0, defaults=state.defaults + 1, credit=0)


# The cover


def credited(standing: Standing, amount: int) -> Standing:
    """A good voucher promises `amount` wei more. What is paid late is paid, and counts like the rest."""
    return replace(standing, credit=standing.credit + amount)


@dataclass(frozen=True, slots=True)
class Owed:
    """What one channel pays whatever happens, and what is owed on it. Wei."""

    floor: int = 0
    """The least that the channel pays, however it ends."""
    vouched: int = 0
    """What its last good voucher promises, cumulative."""
    unpaid: int = 0
    """Receipts that were not answered, in time or not, or refused; and work that was stopped where its cover ended."""
    reserved: int = 0
    """Set aside for work under way: what it comes to at most."""

    @property
    def certain(self) -> int:
        """What the floor pays beyond the voucher."""
        return max(0, self.floor - self.vouched)

    @property
    def exposed(self) -> int:
        """What is owed beyond that: it depends on the buyer alone."""
        return max(0, self.unpaid + self.reserved - self.certain)

    @property
    def secure(self) -> int:
        """What the floor pays for yet of work that has not begun."""
        return max(0, self.certain - self.unpaid - self.reserved)


def cover(standing: Standing, channels: Iterable[Owed], channel: Owed) -> int:
    """Wei that new work on a channel may come to.

    Args:
        standing: the buyer's.
        channels: what is owed on each of the buyer's channels, this one included.
        channel: this one.
    """
    return channel.secure + max(0, standing.credit - sum(each.exposed for each in channels))


def stopped(channel: Owed, amount: int) -> Owed:
    """Work that `amount` wei were set aside for was done up to there and stopped: it stays owed, and no receipt says so."""
    return replace(channel, unpaid=channel.unpaid + amount, reserved=channel.reserved - amount)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a unit may come to, in wei."""

    limit: int
    """At its buyer's own fuel limit."""
    expected: int = 0
    """By what its buyer expects of it; 0 where nobody knows."""
    start: int = 0
    """The least that is worth beginning for."""

    @property
    def least(self) -> int:
        """With less than this it is not begun: it would only be stopped."""
        return min(self.limit, max(1, self.start, self.expected))


def part(free: int, ask: Ask, *, units: int, floor: int, more_may_come: bool) -> int | None:
    """The part of what is free that a unit gets; None where it does not begin with that: it waits if more may come, else it is refused.

    All that it may come to, if an equal share of what is free has it. Otherwise a share, and at least somewhat more than its buyer
    expects; where nobody knows what it takes, at least as much as the channel's floor, which is asked for as about a unit. What has not so
    much waits while something is under way that may leave some, or a voucher may come; then it takes what there is. So small units go
    beside one another and large ones one after another, and none waits for what cannot come.

    Args:
        free: wei, see `cover`.
        ask: what the unit may come to.
        units: how many units of the buyer may run at once.
        floor: the channel's, in wei.
        more_may_come: whether what is free may grow by itself.
    """
    share = free // max(1, units)
    wish = min(ask.limit, max(share, ask.least, ask.expected + ask.expected // MARGIN if ask.expected else floor))
    if wish <= free:
        return wish
    return free if free >= ask.least and not more_may_come else None


def unpaid(floor: int, price: int, limit: int) -> int:
    """Wei of work that a buyer gets for one channel's floor if it never vouches: all units that it has answered, one after another.

    Args:
        floor: the channel's, in wei.
        price: wei for a unit by what it takes, at least 1.
        limit: wei for it at its fuel limit.

    >>> unpaid(100, 30, 60), unpaid(100, 1000, 2000)
    (90, 0)
    """
    owed, got = Owed(floor=floor), 0
    while True:
        amount = part(cover(Standing(), [owed], owed), Ask(limit, price), units=1, floor=floor, more_may_come=False)
        if amount is None:
            return got
        done = min(amount, price)
        owed = replace(owed, unpaid=owed.unpaid + done)
        if done == price:
            got += price
