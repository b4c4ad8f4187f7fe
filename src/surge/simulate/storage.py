"""Segments under years of churn, hour by hour: core's rules say where shards go, who is gone, and what is repaired.

In every hour devices go, come, sleep and are cut off. The keeper sees who answers, waits for the others by their habits, and repairs what
is due; who leaves properly hands over. All codes are kept side by side on the same devices, so that their figures compare.
`docs/durability.md` says what is assumed, and what is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surge.core.storage import odds, placement, repair
from surge.core.storage.placement import Candidate
from surge.core.storage.repair import FIRST_GRACE, HOUR, Presence
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.simulate import storage_rules as rules
from surge.simulate.devices import Array
from surge.simulate.storage_rules import Market
from surge.simulate.storage_world import HOURS, REGIONS, Churn, World, drawn

SETTLING = 30 * 24
"""Hours that devices are watched before anything is put."""

LOOK = 3
"""Hours between two looks at what can be read."""

Code = tuple[int, int, int]
"""k, n and the threshold."""

CODES: tuple[Code, ...] = ((20, 30, 24), (20, 30, 25), (20, 30, 27), (20, 30, 28), (20, 36, 28), (20, 40, 28), (10, 20, 15), (5, 10, 8))
"""What is compared if nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is simulated."""

    devices: int = 1_000
    """Devices at a time."""
    years: float = 2.0
    """Years of 365 days."""
    seed: int = 0
    """Of everything random."""
    segments: int = 100
    """Segments of each code."""
    codes: tuple[Code, ...] = CODES
    """What they are coded in."""
    churn: Churn = field(default_factory=Churn)
    """How devices come and go."""
    storage_price: float = 1.5
    """US dollars for a TB stored over a month."""
    transfer_price: float = 2.0
    """US dollars for a TB moved."""
    particles: int = 1_000
    """Of each stage of importance splitting."""


@dataclass(slots=True)
class Group:
    """The segments of one code, and what happened to them."""

    code: Code
    holder: Array
    """For each segment and index the device that holds the shard."""
    kept: Array
    """Segments that are not lost."""
    sound: Array
    """Shards of each that are not believed to be lost."""
    lost: int = 0
    repairs: int = 0
    rebuilt: int = 0
    """Shards that were rebuilt."""
    copied: int = 0
    """Shards that were handed over."""
    read: int = 0
    """Shards that were read to rebuild others, or to hand over."""
    waiting: int = 0
    """Hours for which segments waited for a repair that could not be made."""
    looks: int = 0
    readable: int = 0
    """Of so many looks at a segment."""
    by_day: list[float] = field(default_factory=list)
    """The part that could be read, of each day."""
    left: Array = field(default_factory=lambda: np.zeros(0))
    """How often a segment was seen with 0, 1, 2 ... living shards."""
    segment_years: float = 0.0


@dataclass(slots=True)
class Run:
    """What a simulation gave."""

    settings: Settings
    groups: list[Group]
    uptime: float
    """Of all devices: the part of the time for which they were there."""
    held_uptime: float
    """The same of those living that hold shards, counted by shards."""
    waits: tuple[float, ...]
    """Hours from a device's end to when it is believed: twenty of them, spread evenly over all."""
    false: int
    """Devices that were believed to be gone and came back."""
    ended: int
    """Devices that went without a word."""
    online: list[float]
    """The part of devices that are there, of each hour of the first region's day."""


def simulate(settings: Settings, tell: Callable[[int, int], None] = lambda done, total: None) -> Run:
    """Run it; `tell` hears of the days that are done."""
    return _Keeper(settings).run(tell)


class _Keeper:
    """The state of a run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hours = max(24, round(settings.years * HOURS))
        self.random: Any = np.random.Generator(np.random.PCG64(settings.seed))
        self.world: World = drawn(settings.churn, settings.devices, float(self.hours), self.random, float(SETTLING))
        count = self.world.count
        self.up: Array = np.ones(count, dtype=bool)
        self.online: Array = np.zeros(count, dtype=bool)
        self.silent: Array = np.full(count, np.nan)
        """The hour in which it fell silent."""
        self.longest: Array = np.zeros(count)
        self.back: Array = self.world.born.copy()
        self.there: Array = np.zeros(count)
        """Hours for which it was seen."""
        self.gone: Array = np.zeros(count, dtype=bool)
        self.leaving: Array = np.zeros(count, dtype=bool)
        self.groups: list[Group] = []
        self.false = 0
        self.waits: list[float] = []
        self.seen, self.could = 0.0, 0.0
        self.held: list[float] = []
        self.by_hour: Array = np.zeros((2, 24))

    def run(self, tell: Callable[[int, int], None]) -> Run:
        for hour in range(-SETTLING, self.hours):
            changed = self._hour(float(hour))
            if hour == 0:
                self._put()
            if hour >= 0:
                self._keep(hour, changed)
                if hour % LOOK == 0:
                    self._look(hour)
                if hour % 24 == 23:
                    tell(hour // 24 + 1, self.hours // 24)
        world, years = self.world, self.hours / HOURS
        for group in self.groups:
            group.segment_years = max(group.segment_years, 0.0) + float(group.kept.sum()) * years
        return Run(
            settings=self.settings,
            groups=self.groups,
            uptime=self.seen / max(self.could, 1.0),
            held_uptime=float(np.mean(self.held)),
            waits=tuple(np.quantile(self.waits or [FIRST_GRACE / HOUR], np.arange(0.025, 1.0, 0.05)).tolist()),
            false=self.false,
            ended=int(((world.dies > 0) & (world.dies < self.hours) & np.isinf(world.leaves)).sum()),
            online=(self.by_hour[0] / np.maximum(self.by_hour[1], 1)).tolist(),
        )

    def _hour(self, hour: float) -> bool:
        """Who is there, and who is believed to be gone. Says whether anything changed that shards depend on."""
        world, churn = self.world, self.settings.churn
        alive = (world.born <= hour) & (hour < world.dies)
        lot = self.random.random(world.count)
        falls = (1 - world.uptime) / np.maximum(world.uptime * churn.down, 1e-9)
        self.up = np.where(self.up, lot >= falls, lot < 1 / churn.down)
        asleep = (world.night_from >= 0) & ((hour - world.night_from) % 24 < world.night_hours)
        online = alive & self.up & ~asleep
        for begin, end, region in world.outages:
            if begin <= hour < end:
                online &= world.region != region
        went, came = self.online & ~online, online & ~np.isnan(self.silent)
        self.silent[went] = hour
        absence = (hour - self.silent[came]) * HOUR
        self.longest[came] = rules.came_back(self.longest[came], absence, (hour - self.back[came]) * HOUR)
        self.back[came] = hour
        self.silent[came] = np.nan
        self.online = online
        self.there += online
        watched = (hour - world.born) * HOUR
        present = alive & (hour >= 0)
        self.seen += float((online & present).sum())
        self.could += float(present.sum())
        self.by_hour[:, int(hour) % 24] += float((online & present).sum()), float(present.sum())
        known = alive | ~self.gone
        regions = np.bincount(world.region[known & (watched >= 0)], minlength=len(REGIONS))
        away = np.bincount(world.region[known & (watched >= 0) & ~online], minlength=len(REGIONS)) / np.maximum(regions, 1)
        waits = rules.grace(watched, self.longest, away[world.region])
        gone = ~np.isnan(self.silent) & ((hour - self.silent) * HOUR > waits)
        self.false += int((self.gone & ~gone & online).sum())
        fresh = gone & ~self.gone & ~alive
        self.waits += (hour - world.dies[fresh]).tolist()
        leaving = online & (hour >= world.leaves)
        changed = bool((gone != self.gone).any() or leaving.any())
        self.gone, self.leaving = gone, leaving
        return changed

    def _market(self, hour: float) -> Market:
        """Who answers and stays, by what was measured of each."""
        world = self.world
        watched = np.maximum(hour - world.born, 0.0)
        uptime = (self.there + placement.PRIOR_UPTIME * placement.PRIOR_HOURS) / (watched + placement.PRIOR_HOURS)
        return Market(world.candidates, world.number, np.flatnonzero(self.online & ~self.leaving), uptime, world.price, world.room)

    def _put(self) -> None:
        market = self._market(0.0)
        for at, code in enumerate(self.settings.codes):
            k, n, threshold = code
            odds.check(k, n, threshold)
            holders = [market.place(_key(at, segment), k, n, n) for segment in range(self.settings.segments)]
            if any(len(each) < n for each in holders):
                raise InvalidInput(f"there are fewer than {n} operators at hand: simulate more devices", devices=self.settings.devices)
            count = self.settings.segments
            group = Group(code, np.array(holders), np.ones(count, dtype=bool), np.full(count, n))
            group.left = np.zeros(n + 1)
            self.groups.append(group)

    def _keep(self, hour: int, changed: bool) -> None:
        """What is lost, and what the keeper does about the rest."""
        market: Market | None = None
        living = self.world.dies > hour
        died = bool((living != (self.world.dies > hour - 1)).any())
        leaving = bool(self.leaving.any())
        for at, group in enumerate(self.groups):
            k, n, threshold = group.code
            lost = group.kept & (living[group.holder].sum(axis=1) < k) if died else np.zeros(0, dtype=bool)
            if lost.any():
                group.lost += int(lost.sum())
                group.segment_years += float(lost.sum()) * hour / HOURS
                group.kept &= ~lost
            if changed:
                group.sound = n - self.gone[group.holder].sum(axis=1)
            wants = group.kept & rules.is_due(group.sound, n, threshold)
            if leaving:
                wants |= group.kept & self.leaving[group.holder].any(axis=1)
            for segment in np.flatnonzero(wants).tolist():
                market = market or self._market(float(hour))
                self._repair(group, at, segment, hour, market)

    def _repair(self, group: Group, at: int, number: int, hour: int, market: Market) -> None:
        """Core decides; its candidates are the market's."""
        k, n, threshold = group.code
        holders = group.holder[number].tolist()
        key = _key(at, number)
        shards = tuple(repair.Shard(index, self.world.candidates[who], self._presence(who)) for index, who in enumerate(holders))
        segment = repair.Segment(key, k, n, threshold, 1, shards)
        where: dict[Address, int] = {}

        def placing(wanted: int, kept: Sequence[Candidate], barred: Collection[Address]) -> list[Candidate]:
            got = market.place(key + hour.to_bytes(8, "big"), k, n, wanted, kept, barred)
            where.update((self.world.candidates[each].device, each) for each in got)
            return [self.world.candidates[each] for each in got]

        found = repair.decided(segment, placing)
        group.waiting += repair.is_endangered(segment)
        if found is None:
            return
        rebuilt = sum(not each.copied for each in found.moves)
        group.repairs += rebuilt > 0
        group.rebuilt += rebuilt
        group.copied += len(found.moves) - rebuilt
        group.read += found.moved - len(found.moves)
        for move in found.moves:
            group.holder[number, move.index] = where[move.to.device]
        group.sound[number] = n - self.gone[group.holder[number]].sum()

    def _presence(self, who: int) -> Presence:
        if self.gone[who]:
            return Presence.GONE
        if self.leaving[who]:
            return Presence.LEAVING
        return Presence.HERE if self.online[who] else Presence.AWAY

    def _look(self, hour: int) -> None:
        living = self.world.dies > hour
        for group in self.groups:
            k, n, _ = group.code
            holders = group.holder[group.kept]
            can = self.online[holders].sum(axis=1) >= k
            group.looks += len(can)
            group.readable += int(can.sum())
            group.left += np.bincount(living[holders].sum(axis=1), minlength=n + 1)
            if hour % 24 == 0:
                group.by_day.append(0.0)
            group.by_day[-1] += float(can.mean()) * LOOK / 24 if len(can) else 0.0
        if hour % 51 == 0:  # every hour of the day in its turn
            for group in self.groups:
                holders = group.holder[group.kept]
                self.held.append(float(self.online[holders].sum() / max(living[holders].sum(), 1)))


def _key(code: int, segment: int) -> bytes:
    """What a segment's places are drawn by."""
    return code.to_bytes(4, "big") + segment.to_bytes(8, "big")
