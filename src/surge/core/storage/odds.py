"""How probably a segment can be read, and how probably it is lost: exact, for unequal devices.

Availability is whether enough shards are there now, durability whether enough will ever be. The first is a sum of unequal coin tosses (the
Poisson-binomial distribution). For the second there are two models of one segment whose shards die by themselves, at a constant rate, and
that is repaired once no more than `threshold` of its shards are left:

- `Decay.loss_rate`: a Markov chain; a repair takes exponentially long, and a disaster may take many shards at once;
- `Decay.window_loss`: the binomial model; a repair takes always the same time, so that a segment is lost if too many die within it.

Real repairs take a grace that is nearly fixed and then some minutes, so the second is near the truth, and the first is above it: long
repairs are what loses segments. Sums here are of positive terms, lest chances of 10^-15 drown in rounding. Pure; nothing here is money.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from surge.errors import InvalidInput

YEAR = 365.0
"""Days."""


def counts(chances: Sequence[float]) -> list[float]:
    """For 0, 1, 2 ... how probably so many of these events happen. Exact up to rounding: the Poisson-binomial distribution.

    >>> counts([0.5, 0.5])
    [0.25, 0.5, 0.25]
    """
    found = [1.0]
    for chance in chances:
        if not 0.0 <= chance <= 1.0:
            raise InvalidInput(f"{chance} is no chance: it is between 0 and 1", value=chance)
        miss = 1.0 - chance
        found = [kept * miss + came * chance for kept, came in zip([*found, 0.0], [0.0, *found], strict=True)]
    return found


def fewer(chances: Sequence[float], wanted: int) -> float:
    """How probably fewer than `wanted` of these events happen."""
    return math.fsum(counts(chances)[: max(0, wanted)])


def availability(uptimes: Sequence[float], k: int) -> float:
    """How probably a segment can be read at once from devices with these uptimes, of which any `k` do.

    >>> round(availability([0.8] * 30, 20), 4), round(availability([0.5] * 30, 20), 4)
    (0.9744, 0.0494)
    """
    return 1.0 - fewer(uptimes, k)


def binomial(n: int, count: int, chance: float) -> float:
    """How probably `count` of `n` equal events happen."""
    return math.comb(n, count) * chance**count * (1.0 - chance) ** (n - count)


def binomial_loss(k: int, n: int, dead: float) -> float:
    """How probably fewer than `k` of `n` shards are left when each is dead with this chance, and nobody repairs.

    >>> f"{binomial_loss(20, 30, 0.1):.2e}"
    '8.91e-05'
    """
    return math.fsum(binomial(n, count, dead) for count in range(n - k + 1, n + 1))


def nines(loss: float) -> float:
    """How many nines a chance of loss leaves.

    >>> nines(1e-11), round(nines(0.0256), 2)
    (11.0, 1.59)
    """
    return math.inf if loss <= 0 else max(0.0, -math.log10(loss))


@dataclass(frozen=True, slots=True)
class Disaster:
    """Something that takes many shards at once, and for good."""

    yearly: float
    """How often it comes, a year."""
    share: float
    """With which chance each shard of the segment is lost in it: part of the shards in its reach, times what is lost of them."""


@dataclass(frozen=True, slots=True)
class Decay:
    """What eats a segment, and how soon it is mended."""

    lifetime: float
    """Days that a device stays on the average, until it is gone without a word."""
    repair: float
    """Days from a shard's loss until it is rebuilt elsewhere: the grace until it is believed, and the rebuilding."""
    disasters: tuple[Disaster, ...] = ()
    """What takes many at once."""

    def __post_init__(self) -> None:
        if not (self.lifetime > 0 and self.repair >= 0):
            raise InvalidInput("a lifetime is more than no days, and a repair no fewer", lifetime=self.lifetime, repair=self.repair)

    def _cycle(self, k: int, n: int, threshold: int) -> tuple[float, float]:
        """From a whole segment to the end of its next repair or to its loss: the days, and how probably it is the loss.

        Rates lead to fewer shards only, or to the end, so both follow from fewer shards to more, without a subtraction.
        """
        rate = 1.0 / self.lifetime
        days, lost = [0.0] * (n + 1), [1.0] * (n + 1)
        for left in range(k, n + 1):
            leaving: list[tuple[int, float]] = [(left - 1, left * rate)]
            for each in self.disasters:
                leaving += [(left - gone, each.yearly / YEAR * binomial(left, gone, each.share)) for gone in range(1, left + 1)]
            mended = (1.0 / self.repair if self.repair else math.inf) if left <= threshold else 0.0
            total = math.fsum(speed for _, speed in leaving) + mended
            if math.isinf(total):
                days[left], lost[left] = 0.0, 0.0
                continue
            days[left] = (1.0 + math.fsum(speed * days[to] for to, speed in leaving if to >= k)) / total
            lost[left] = math.fsum(speed * lost[to] for to, speed in leaving) / total
        return days[n], lost[n]

    def loss_rate(self, k: int, n: int, threshold: int) -> float:
        """How often a segment is lost, a year, by the Markov chain: one over the mean time to its loss."""
        check(k, n, threshold)
        days, lost = self._cycle(k, n, threshold)
        return lost * YEAR / days

    def loss(self, k: int, n: int, threshold: int, years: float = 1.0) -> float:
        """How probably a segment is lost within so many years, by the Markov chain."""
        return -math.expm1(-self.loss_rate(k, n, threshold) * years)

    def window_loss(self, k: int, n: int, threshold: int, years: float = 1.0) -> float:
        """The same by the binomial model: of the `threshold` shards left when a repair begins, too many die before it ends.

        A disaster is one more such moment: it strikes a segment with as many shards as there are in the middle, and what it leaves may be
        too few before the repair ends.
        """
        check(k, n, threshold)
        dead = -math.expm1(-self.repair / self.lifetime)
        rate = self.repairs(n, threshold) * binomial_loss(k, threshold, dead) if threshold < n else n * YEAR / self.lifetime
        middle = (n + threshold + 1) // 2
        for each in self.disasters:
            rate += each.yearly * binomial_loss(k, middle, 1.0 - (1.0 - each.share) * (1.0 - dead))
        return -math.expm1(-rate * years)

    def repairs(self, n: int, threshold: int) -> float:
        """How often a segment is repaired, a year: its shards dwindle from `n` to `threshold`, and wait for their repair."""
        if threshold >= n:  # without spare shards there is nothing to rebuild from
            return 0.0
        dwindling = math.fsum(self.lifetime / left for left in range(threshold + 1, n + 1))
        return YEAR / (dwindling + self.repair)

    def traffic(self, k: int, n: int, threshold: int) -> float:
        """Bytes moved by repairs a year, for each byte that was put: `k` shards are read, and the missing ones written.

        More shards die while a repair waits; they are rebuilt with the others.
        """
        check(k, n, threshold)
        left = threshold * math.exp(-self.repair / self.lifetime)
        return self.repairs(n, threshold) * (k + n - left) / k


def check(k: int, n: int, threshold: int) -> None:
    """Refuse what is no code: 1 <= k <= n, and a repair that begins while it can be done and something is missing."""
    if not (1 <= k <= n and k <= threshold <= max(k, n - 1)):
        raise InvalidInput(f"{k} of {n}, repaired at {threshold}, is no code: 1 <= k <= n and k <= threshold < n", k=k, n=n)
