"""Repair: which devices are gone and not only away, and which segments need what now.

A keeper does this in rounds: it looks at who is there, asks `plan` what is to be done, and does it in that order, for as long as the
round and its means last. Whatever it does not do, the next round finds again, and more urgent.

- A device that is away is waited for, by its own habits: one that sleeps at night is missed after two nights, one that never was away
  sooner. What all of its region does is no habit of its own: while half of a region is away, everybody there is waited for longer.
- A shard counts as lost when its device is gone, or failed an audit. When it comes back before the shard was rebuilt, nothing was lost.
- A segment is repaired once no more than `threshold` of its shards are left; then all that are lost are rebuilt, for reading the `k` that
  it takes costs most. A device that says it will go hands over at once, by a copy.

Pure: no clock, times are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from surge.core.storage.placement import Candidate, place
from surge.core.types import Address

HOUR = 3_600.0
DAY = 86_400.0

LEAST_GRACE, FIRST_GRACE, MOST_GRACE = 12 * HOUR, 24 * HOUR, 7 * DAY
"""Seconds that a device is waited for: at least, so that a restart is no loss; one of unknown habits; and at most, for a week's silence is
not to be told from leaving."""

PATIENCE = 2.5
"""A device is waited for so many times its longest absence."""

HABIT_DAYS = 30.0
"""Days in which the memory of an absence fades to half."""

KNOWN_AFTER = 7 * DAY
"""Seconds of being watched after which a device's habits are known."""

OUTAGE, OUTAGE_PATIENCE = 0.5, 3.0
"""When so much of a region is away, its devices are waited for so many times longer."""


class Presence(IntEnum):
    """How a shard's device is, as the keeper sees it."""

    HERE = 0
    """It answers."""
    AWAY = 1
    """It does not, and may come back."""
    LEAVING = 2
    """It answers, and said that it will go."""
    GONE = 3
    """It does not come back; or it is there, and the shard is not."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What is remembered of a device."""

    watched: float = 0.0
    """Seconds since it was first seen."""
    longest: float = 0.0
    """Seconds of its longest absence that it came back from, as far as it is remembered."""


def grace(watched: float, longest: float, region_away: float = 0.0) -> float:
    """Seconds for which an absent device is waited for, by its habits and by the part of its region that is away as well.

    >>> grace(0, 0) / HOUR, grace(30 * DAY, 0) / HOUR, grace(30 * DAY, 9 * HOUR) / HOUR
    (24.0, 12.0, 22.5)
    """
    first = FIRST_GRACE if watched < KNOWN_AFTER else LEAST_GRACE
    own = max(first, PATIENCE * longest) * (OUTAGE_PATIENCE if region_away >= OUTAGE else 1.0)
    return min(MOST_GRACE, own)


def presence(habits: Habits, silent: float, region_away: float = 0.0, *, leaving: bool = False) -> Presence:
    """How a device is that was heard `silent` seconds ago; 0 if it answers."""
    if silent <= 0:
        return Presence.LEAVING if leaving else Presence.HERE
    return Presence.GONE if silent > grace(habits.watched, habits.longest, region_away) else Presence.AWAY


def came_back(longest: float, absence: float, elapsed: float) -> float:
    """The longest absence to remember, after one more, so many seconds after the one before."""
    return max(longest * math.exp2(-elapsed / (HABIT_DAYS * DAY)), absence)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that somebody held."""

    index: int
    """Its place in the code."""
    holder: Candidate
    """Who holds it."""
    presence: Presence
    """How that device is; `GONE` also where the shard failed an audit."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What is known of a segment."""

    key: bytes
    """What names it, and is the seed of its placement: bytes that nobody else knows."""
    k: int
    """Shards that suffice."""
    n: int
    """Shards that it should have."""
    threshold: int
    """It is repaired once no more are left."""
    size: int
    """Bytes of a shard."""
    shards: tuple[Shard, ...]
    """Its shards, at most one for each index."""

    @property
    def sound(self) -> int:
        """Shards that are not lost."""
        return sum(each.presence is not Presence.GONE for each in self.shards)

    @property
    def here(self) -> int:
        """Shards that can be read now."""
        return sum(each.presence in (Presence.HERE, Presence.LEAVING) for each in self.shards)


@dataclass(frozen=True, slots=True)
class Move:
    """One shard's new place."""

    index: int
    """Which shard."""
    to: Candidate
    """Who gets it."""
    copied: bool
    """Whether its leaving holder gives it; otherwise it is rebuilt from others."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What is to be done for a segment."""

    segment: Segment
    """Which."""
    sources: tuple[int, ...]
    """The indices to read, `k` of them, where something is rebuilt."""
    moves: tuple[Move, ...]
    """What goes where."""

    @property
    def moved(self) -> int:
        """Bytes that it moves: what is read to rebuild, and what is written; a copy goes through the keeper too, to be masked anew."""
        copied = sum(each.copied for each in self.moves)
        return self.segment.size * (len(self.sources) + len(self.moves) + copied)


def is_due(sound: int, n: int, threshold: int) -> bool:
    """Whether a segment with so many shards that are not lost is repaired now."""
    return sound < n and sound <= threshold


def danger(segment: Segment) -> tuple[int, int, bytes]:
    """The order of repairs, the most endangered first: fewest shards to lose, then fewest there, then by name."""
    return segment.sound - segment.k, segment.here - segment.k, segment.key


def decide(segment: Segment, candidates: Sequence[Candidate], round_number: int = 0) -> Repair | None:
    """What is to be done for a segment now; nothing if it is well, if nobody can take a shard, or if too few shards are there to rebuild.

    Args:
        segment: the segment as it is.
        candidates: devices at hand that may take shards: those that answer.
        round_number: of the keeper; a segment whose placement failed gets other places in the next.

    1. What leaving holders have is copied.
    2. If a repair is due and `k` shards are there, what is lost is rebuilt.
    3. Every shard goes to an operator that has none of the segment's; the lost come first. An operator whose shard was lost gets another
       only if all that is lost is rebuilt, for its device may come back with the old one.
    """

    def placing(wanted: int, kept: Sequence[Candidate], barred: Collection[Address]) -> Sequence[Candidate]:
        seed = segment.key + round_number.to_bytes(8, "big")
        return place(candidates, seed, segment.k, segment.n, segment.size, wanted, kept, barred)

    return decided(segment, placing)


Placing = Callable[[int, Sequence[Candidate], Collection[Address]], Sequence[Candidate]]
"""Who gets so many shards, beside those who keep theirs, and not of these operators."""


def decided(segment: Segment, placing: Placing) -> Repair | None:
    """As `decide`, with the places from somewhere."""
    kept = [each.holder for each in segment.shards if each.presence is not Presence.GONE]
    gone = {each.holder.operator for each in segment.shards if each.presence is Presence.GONE}
    leaving = [each for each in segment.shards if each.presence is Presence.LEAVING]  # 1
    lost, sources = rebuilding(segment)  # 2
    wanted = len(lost) + len(leaving)
    if not wanted:
        return None
    places = placing(wanted, kept, gone)  # 3
    if len(places) < wanted and lost:
        again = placing(wanted, kept, ())
        places = again if len(again) >= len(lost) else places
    moves = [Move(index, to, copied=False) for index, to in zip(lost, places, strict=False)]
    moves += [Move(each.index, to, copied=True) for each, to in zip(leaving, places[len(lost) :], strict=False)]
    return Repair(segment, tuple(sources) if lost else (), tuple(moves)) if moves else None


def rebuilding(segment: Segment) -> tuple[list[int], list[int]]:
    """Which indices are to be rebuilt, and out of which: both empty where no repair is due or too few shards are there.

    Sources that stay come before those that leave, and what needs no decoding before what does.
    """
    if not is_due(segment.sound, segment.n, segment.threshold) or segment.here < segment.k:
        return [], []
    have = {each.index for each in segment.shards if each.presence is not Presence.GONE}
    lost = [index for index in range(segment.n) if index not in have]
    there = [each for each in segment.shards if each.presence in (Presence.HERE, Presence.LEAVING)]
    there.sort(key=lambda each: (each.presence, each.index))
    return lost, sorted(each.index for each in there[: segment.k])


def plan(segments: Iterable[Segment], candidates: Sequence[Candidate], round_number: int = 0) -> list[Repair]:
    """What is to be done now for all these segments, the most endangered first."""
    found = [decide(each, candidates, round_number) for each in sorted(segments, key=danger)]
    return [each for each in found if each is not None]


def is_endangered(segment: Segment) -> bool:
    """Whether a repair is due that cannot be made now, for too few shards are there: the owner is told."""
    return is_due(segment.sound, segment.n, segment.threshold) and segment.here < segment.k
