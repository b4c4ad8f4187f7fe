"""How probably one segment is lost within a year, where that is too rare to be seen happening: multilevel splitting.

A loss is reached step by step: the threshold, one shard fewer, and so on to fewer than `k`. Each stage starts many segments where those of
the stage before arrived, lets them live on, and counts how many get one step further before the year ends; the chance is the product of the
parts. That is unbiased for any process whose whole state is carried over (Kahn and Harris, 1951; Garvels, 2000), and here the state is: the
time, when each shard died, how long its device is waited for, and its region. It is repeated, and the spread of the repetitions gives the
interval.

Beside the models of `core.storage.odds` it knows what those leave out: that every shard is missed at its own time, and that a repair
rebuilds only what is known to be lost.

Disasters take all steps in one, and stages find those only by luck. So where they are rare their part is summed up instead
(`disaster_loss`): over every region, over how many shards live when it is struck, and over how many of these it loses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from surge.core.storage import odds
from surge.core.storage.placement import region_cap
from surge.simulate.devices import Array

REPEATS = 8
"""Estimates, of which the average is given."""

STUDENT = 2.365
"""The 97.5 % point of Student's t with seven degrees of freedom."""

MOST_STEPS = 100_000
"""Events of one stage: a process that does not end is a mistake."""


@dataclass(frozen=True, slots=True)
class Life:
    """What happens to a segment's shards."""

    lifetime: float
    """Days until a device goes without a word, on the average."""
    waits: tuple[float, ...]
    """Days from a shard's end to its repair, each as probable as the others."""
    regions: tuple[float, ...] = (1.0,)
    """The parts of all devices that are in each region; shards are spread over them as far as the cap has it."""
    disasters: float = 0.0
    """How often a region loses devices, a year: each region."""
    share: float = 0.0
    """Which part of them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A chance, with its interval."""

    chance: float
    """Of loss within a year."""
    low: float
    high: float
    """The bounds of 95 %; where no loss was reached, `high` is the last stage's chance times three over its segments."""


@dataclass(slots=True)
class _Segments:
    """Segments in the making."""

    time: Array
    died: Array
    """Days at which each shard died; infinite while it lives."""
    wait: Array
    """Days for which each one's device is waited for."""

    def of(self, at: Array) -> _Segments:
        return _Segments(self.time[at].copy(), self.died[at].copy(), self.wait[at].copy())


def loss_a_year(life: Life, k: int, n: int, threshold: int, particles: int, seed: int) -> Estimate:
    """The chance that a segment, whole at first, is lost within a year."""
    odds.check(k, n, threshold)
    random: Any = np.random.Generator(np.random.PCG64(seed))
    found = [_once(life, k, n, threshold, particles, random) for _ in range(REPEATS)]
    chances = np.array([chance for chance, _ in found])
    mean = float(chances.mean())
    if mean == 0.0:
        return Estimate(0.0, 0.0, min(bound for _, bound in found))
    half = STUDENT * float(chances.std(ddof=1)) / math.sqrt(REPEATS)
    return Estimate(mean, max(0.0, mean - half), mean + half)


def disaster_loss(life: Life, k: int, n: int, threshold: int) -> float:
    """The chance that a disaster loses a segment within a year: at once, or since too few are left until the repair.

    How many shards live is taken from the cycle of repairs: each number above the threshold for as long as the next death takes, and while
    a repair is waited for those that are left of the threshold's, in the middle of the wait.
    """
    wait = sum(life.waits) / len(life.waits)
    lasting = {left: life.lifetime / left for left in range(threshold + 1, n + 1)}
    half, whole = (-math.expm1(-part * wait / life.lifetime) for part in (0.5, 1.0))
    for gone in range(threshold + 1):
        lasting[threshold - gone] = wait * odds.binomial(threshold, gone, half)
    total, rate = math.fsum(lasting.values()), 0.0
    for count in np.bincount(regions_of(life, k, n)).tolist():
        for left, days in lasting.items():
            for inside in range(max(0, count - (n - left)), min(count, left) + 1):
                share = math.comb(count, inside) * math.comb(n - count, left - inside) / math.comb(n, left)
                for hit in range(1, inside + 1):
                    after = 1.0 if left - hit < k else odds.binomial_loss(k, left - hit, whole)
                    rate += life.disasters * days / total * share * odds.binomial(inside, hit, life.share) * after
    return -math.expm1(-rate)


def _once(life: Life, k: int, n: int, threshold: int, particles: int, random: Any) -> tuple[float, float]:
    """One estimate, and a bound where it is zero."""
    state = _Segments(np.zeros(particles), np.full((particles, n), np.inf), _waits(life, (particles, n), random))
    spread = regions_of(life, k, n)
    chance = 1.0
    for level in range(threshold, k - 2, -1):
        reached = np.flatnonzero(_stage(life, state, spread, n - threshold, n - level, random))
        if not len(reached):
            return 0.0, chance * 3.0 / particles
        chance *= len(reached) / particles
        state = state.of(reached[random.integers(0, len(reached), particles)])
    return chance, chance


def _waits(life: Life, shape: tuple[int, ...], random: Any) -> Array:
    return np.asarray(life.waits)[random.integers(0, len(life.waits), shape)]


def regions_of(life: Life, k: int, n: int) -> Array:
    """The region of each shard: by the regions' parts, but none above the cap; what is over goes to those with the fewest.

    >>> np.bincount(regions_of(Life(1.0, (1.0,), (0.8, 0.1, 0.1)), 20, 30)).tolist()
    [10, 10, 10]
    """
    cap = region_cap(k, n, len(life.regions))
    counts = [min(cap, int(n * part)) for part in life.regions]
    while sum(counts) < n:
        counts[counts.index(min(counts))] += 1
    return np.repeat(np.arange(len(counts)), counts)


def _stage(life: Life, state: _Segments, region: Array, spare: int, lost: int, random: Any) -> Array:
    """Let segments live until `lost` shards are gone, or the year ends; they are repaired once `spare` are missed. Says which arrived."""
    shape = state.died.shape
    arrived = np.isfinite(state.died).sum(axis=1) >= lost
    active = np.flatnonzero(~arrived & (state.time < odds.YEAR))
    apart = odds.YEAR / (len(life.regions) * life.disasters) if life.disasters else math.inf
    for _ in range(MOST_STEPS):
        if not len(active):
            break
        died, wait, time = state.died[active], state.wait[active], state.time[active]
        dead = np.isfinite(died)
        death = time + random.exponential(1.0, len(active)) * life.lifetime / (shape[1] - dead.sum(axis=1))
        strike = time + random.exponential(1.0, len(active)) * apart
        repair = np.maximum(np.partition(died + wait, spare - 1, axis=1)[:, spare - 1], time)
        nearest = np.minimum(np.minimum(death, strike), repair)
        ends = nearest >= odds.YEAR
        mends = ~ends & (repair <= nearest)
        dies = ~ends & ~mends & (death <= strike)
        struck = ~ends & ~mends & ~dies
        known = mends[:, None] & (died + wait <= repair[:, None])
        died = np.where(known, np.inf, died)
        wait = np.where(known, _waits(life, wait.shape, random), wait)
        which = np.where(dead, -1.0, random.random(dead.shape)).argmax(axis=1)
        died[dies, which[dies]] = death[dies]
        if struck.any():
            where = random.integers(0, len(life.regions), len(active))
            hit = struck[:, None] & ~dead & (region == where[:, None]) & (random.random(dead.shape) < life.share)
            died = np.where(hit, nearest[:, None], died)
        state.died[active], state.wait[active], state.time[active] = died, wait, nearest
        there = np.isfinite(died).sum(axis=1) >= lost
        arrived[active[there & ~ends]] = True
        active = active[~there & ~ends]
    return arrived
