"""Keeping: what a keeper remembers of devices, from when it pays them, and how its map goes together with what others wrote.

A network's day is its period: habits of devices that `repair` counts in days are counted in periods here, so that a network for trying
things out, with periods of minutes, misses a device after minutes.

Pure: no clock, times are Unix seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from surge.core.storage import repair
from surge.core.storage.accounts import HOUR_SECONDS
from surge.core.storage.map import Page, Placed, Segment
from surge.core.storage.placement import USUAL_DECAY, Wanted
from surge.core.storage.pledges import MAX_PERIODS
from surge.core.storage.repair import DAY, Habits, Presence

LONGEST_GAP = 2
"""Periods between two looks at most: what happened in a longer gap nobody saw, and it counts neither for a device nor against it."""

LEAST_GAP = 60.0
"""Seconds between two looks that are no gap, however short a period is: waiting for those that are away takes its time."""

MOST_UNPAID = 2 * MAX_PERIODS
"""Periods for which a holder keeps a shard unpaid, beside an hour of grace: for no longer is anybody paid who was not paid before."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a device."""

    there: float
    """Hours for which it was there."""
    watched: float
    """Hours for which it was watched."""
    looked: float
    """When it was looked for last."""
    heard: float
    """When it answered last, the time after that in which nobody looked left out."""
    longest: float
    """Seconds of its longest absence that it came back from, as far as it is remembered."""

    @property
    def silent(self) -> float:
        """Seconds since it was heard; 0 if it answered when it was looked for."""
        return self.looked - self.heard


def looked(before: Seen | None, now: float, *, here: bool, period: int) -> Seen:
    """What is remembered after a look at `now`, when it answered or not.

    >>> looked(looked(None, 0, here=True, period=60), 60, here=False, period=60).silent
    60.0
    """
    if before is None:
        return Seen(0.0, 0.0, now, now if here else now - 1.0, 0.0)
    elapsed = max(0.0, now - before.looked)
    unseen = elapsed if elapsed > max(LEAST_GAP, LONGEST_GAP * period) else 0.0
    counted, heard = elapsed - unseen, before.heard + unseen
    part = ((before.silent <= 0) + here) / 2
    absence = now - heard if here and before.silent > 0 else 0.0
    return Seen(
        before.there + part * counted / HOUR_SECONDS,
        before.watched + counted / HOUR_SECONDS,
        now,
        now if here else min(heard, now - 1.0),
        repair.came_back(before.longest, absence, counted * DAY / period),
    )


def presence(seen: Seen, period: int, region_away: float = 0.0, *, leaving: bool = False) -> Presence:
    """How a device is, by what is remembered of it, where a day is as long as this network's period."""
    days = DAY / period
    habits = Habits(seen.watched * HOUR_SECONDS * days, seen.longest * days)
    return repair.presence(habits, seen.silent * days, region_away, leaving=leaving)


@functools.cache
def threshold(k: int, n: int) -> int:
    """The shards at which a segment is repaired: the fewest at which it is as safe as is wanted, and one less than all where none is.

    >>> threshold(3, 5), threshold(1, 1)
    (4, 1)
    """
    high = max(k, n - 1)
    return next((each for each in range(k, high) if USUAL_DECAY.window_loss(k, n, each) <= Wanted().loss), high)


def unpaid_since(paid: int, missed: int, now: int, period: int) -> list[int]:
    """From when a device that just proved may be paid, the least first: each is tried when it does not agree to the one before.

    Who was paid until `paid` and missed an audit at `missed` since then is paid from there on. A device that says it was there all the time
    does not go on for less than half of it, and not without what it proved: the next are half of the time, and all of it.

    >>> unpaid_since(100, 0, 200, 60), unpaid_since(100, 180, 200, 60)
    ([100], [180, 150, 100])
    """
    first = max(paid, now - MOST_UNPAID * period - HOUR_SECONDS)
    if not first < missed < now:
        return [min(first, now)]
    return sorted({missed, first + (now - first) // 2, first}, reverse=True)


@dataclass(frozen=True, slots=True)
class Merged:
    """A page of a map as it is to be, and what that means for the deals that are known."""

    page: Page
    """The page."""
    adopted: tuple[tuple[int, int, Placed], ...] = ()
    """Segment, index, place of what another keeper placed."""
    given_up: tuple[bytes, ...] = ()
    """Deals of ours that are in no page, for another keeper placed the shard first, or its operator has another one by now."""


def merge(page: Page, ours: Mapping[tuple[int, int], Placed], lost: Collection[bytes]) -> Merged:
    """A page that was read, with what this keeper placed and lost since it wrote or read one.

    1. A shard whose deal is lost, or that is nowhere, is where we placed it, or nowhere.
    2. A shard that another keeper placed stays there; ours is given up.
    3. So is one of ours whose operator, or device, has another shard of the segment by now.
    """
    adopted: list[tuple[int, int, Placed]] = []
    given_up: list[bytes] = []
    segments: list[Segment] = []
    for offset, segment in enumerate(page.segments):
        number = page.first + offset
        theirs: dict[int, Placed] = {}
        mine: dict[int, Placed] = {}
        for index, shard in enumerate(segment.shards):
            placed, own = shard.placed, ours.get((number, index))
            if placed is None or placed.deal in lost:  # 1
                if own is not None:
                    mine[index] = own
            else:
                theirs[index] = placed
                if own is None or own.deal != placed.deal:  # 2
                    adopted.append((number, index, placed))
                    if own is not None:
                        given_up.append(own.deal)
        taken = {each.operator for each in theirs.values()} | {each.device for each in theirs.values()}
        for index, own in list(mine.items()):  # 3
            if own.operator in taken or own.device in taken:
                given_up.append(own.deal)
                del mine[index]
            taken |= {own.operator, own.device}
        placed_at = theirs | mine
        shards = tuple(replace(shard, placed=placed_at.get(index)) for index, shard in enumerate(segment.shards))
        segments.append(replace(segment, shards=shards))
    return Merged(replace(page, segments=tuple(segments)), tuple(adopted), tuple(given_up))
