"""Placement: which (k, n) the devices at hand allow, and which of them get a segment's shards.

The network's client and keeper place by it, and so does the simulation. Two things always hold: no two shards of a segment are at one
operator, and the same seed and devices give the same places. Beyond that devices are drawn by lot, weighted by how much of the time they
are there, by standing, price and free room; and while others can be had no region gets more shards than may be missing.

Pure. Prices are integers; weights and chances are floats: nothing here is signed or paid.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TypeVar

from surge.core.storage import odds
from surge.core.storage.layout import MOST_SHARDS
from surge.core.types import Address
from surge.errors import InvalidInput

K, N = 20, 30
"""The code where there are devices enough: a third of them may be gone, for half as much again."""

MOST_N = MOST_SHARDS
"""Shards of a segment at most: what the format has, and the erasure code."""

LEAST_EXPANSION, MOST_EXPANSION = 1.5, 3.0
"""Shards for each needed one. Below, a third of the devices may not go; above, reading is better helped by better devices."""

DRAWS = 6
"""Placements that a code is judged by: one may be lucky."""

IDLE = 3
"""The usual code is taken if it can wait for so many lost shards before it is repaired."""

TRAFFIC = 1.3
"""What moving a byte costs, in what keeping one for a month costs: 2 against 1.5 dollars a TB, as storage networks pay."""

UPTIME_POWER = 8
"""A device that is there 90 % of the time weighs 0.43 of one that always is, at 80 % 0.17, at 50 % 0.004: 20 of 30 at half the time are
almost never there together, so that such devices take part only where there are too few others."""

PRICE_POWER = 2
"""Twice as dear weighs a quarter."""

POOR = 0.1
"""A device that stands lower gets a shard where there are too few others: one of which nothing is known stands at a half."""

ROOM_ENOUGH = 1 << 40
"""Bytes of free room above which more room weighs no more."""

PRIOR_UPTIME, PRIOR_HOURS = 0.9, 24.0
"""What is assumed of a device that nobody watched yet, and the hours of watching that outweigh it."""

USUAL_DECAY = odds.Decay(lifetime=730.0, repair=1.0)
"""Devices stay two years, and a day passes until a loss is mended: what is assumed of a network before it is measured."""

Key = TypeVar("Key", bound=Hashable)
"""What names an operator or a region: an address and a name in the network, numbers in the simulation."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that lends disk."""

    device: Address
    """Who it is."""
    operator: Address
    """Whose it is."""
    region: str = ""
    """Where it says it is; what says nothing is a region as well."""
    uptime: float = PRIOR_UPTIME
    """The part of the time for which it was there, as measured."""
    standing: float = 0.5
    """How it stands, between 0 and 1."""
    price: int = 0
    """Wei for a GB and month."""
    room: int = ROOM_ENOUGH
    """Bytes free."""
    leaving: bool = False
    """Whether it said that it will go."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the owner wants, and what is known of the network."""

    availability: float = 0.999
    """How probably a segment can be read at once, on the average over its life."""
    loss: float = 1e-11
    """How probably a segment may be lost within a year, at most."""
    decay: odds.Decay = USUAL_DECAY
    """How long devices stay, and how soon a loss is mended."""
    k: int = K
    """Shards needed, at most."""
    n: int = N
    """Shards, where that suffices."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code that was chosen, and what is to be expected of it."""

    k: int
    """Shards that suffice."""
    n: int
    """Shards."""
    threshold: int
    """A segment is repaired once no more are left."""
    availability: float
    """How probably it can be read at once, on the average over its life: between repairs it has fewer than `n` shards."""
    loss: float
    """How probably it is lost within a year, by the binomial model."""
    enough: bool
    """Whether both are as wanted; otherwise it is the best that the devices at hand give."""


def measured_uptime(hours_there: float, hours_watched: float) -> float:
    """The uptime to place by: what was seen, and before much was seen `PRIOR_UPTIME`.

    >>> measured_uptime(0, 0), round(measured_uptime(700, 720), 3)
    (0.9, 0.97)
    """
    return (hours_there + PRIOR_UPTIME * PRIOR_HOURS) / (hours_watched + PRIOR_HOURS)


def mixed(value: int) -> int:
    """64 bits out of 64 bits, as if by chance: the finalizer of splitmix64 (Steele, Lea and Flood, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def seed_number(seed: bytes) -> int:
    """64 bits of a seed of any length."""
    return int.from_bytes(hashlib.sha256(b"surge placement 1\n" + seed).digest()[:8], "big")


def device_number(device: Address) -> int:
    """64 bits of a device's address."""
    return int(device[-16:], 16)


def turn(seed: int, device: int, weight: float) -> float:
    """When a device's turn comes. The earliest go first, each as probably as its weight says (Efraimidis and Spirakis, 2006)."""
    lot = ((mixed(seed ^ mixed(device)) >> 11) + 0.5) / 2.0**53
    return -math.log(lot) / weight


def weight(uptime: float, standing: float, price: int, room: int, typical_price: int) -> float:
    """How much a device is preferred. A hundredth of standing is worth a hundredth of the price, as where devices are chosen for work."""
    dear = (price + 1) * (2.0 - standing) / (typical_price + 1)
    return max(uptime, 0.01) ** UPTIME_POWER * min(room, ROOM_ENOUGH) / ROOM_ENOUGH / dear**PRICE_POWER


def region_cap(k: int, n: int, regions: int) -> int:
    """Shards that one region gets at most: no more than may be missing, and no more than half above an equal share.

    >>> region_cap(20, 30, 6), region_cap(20, 30, 3), region_cap(20, 30, 1)
    (8, 10, 30)
    """
    if regions <= 1:
        return n
    return max(1, -(-n // regions), min(n - k, -(-3 * n // (2 * regions))))


def take(
    order: Iterable[int],
    operators: Sequence[Key],
    regions: Sequence[Key],
    wanted: int,
    cap: int,
    taken: Collection[Key],
    there: Mapping[Key, int],
) -> list[int]:
    """Of devices in order, the first so many that may be taken together; fewer where there are no more.

    1. None of an operator that has a shard of the segment: `taken`.
    2. None of a region that has `cap` of its shards, with those that are `there`.
    3. What the second rule left out comes after the others, so that a segment is placed rather than placed well.
    """
    got: list[int] = []
    left: list[int] = []
    used, full = set(taken), dict(there)
    for each in order:
        if len(got) == wanted:
            return got
        if operators[each] in used:  # 1
            continue
        if full.get(regions[each], 0) >= cap:  # 2
            left.append(each)
            continue
        used.add(operators[each])
        full[regions[each]] = full.get(regions[each], 0) + 1
        got.append(each)
    for each in left:  # 3
        if len(got) < wanted and operators[each] not in used:
            used.add(operators[each])
            got.append(each)
    return got


def fitting(candidates: Sequence[Candidate], size: int) -> list[Candidate]:
    """Those that can take a shard of so many bytes."""
    return [each for each in candidates if each.room >= max(size, 1) and not each.leaving]


def shards_that_fit(candidates: Sequence[Candidate], size: int, segments: int) -> int:
    """How many shards of so many bytes there is room for, of so many segments: of each, one with an operator.

    >>> shards_that_fit([Candidate(Address("a"), Address("o"), room=25), Candidate(Address("b"), Address("p"), room=99)], 10, 4)
    6
    """
    by_operator: dict[Address, int] = {}
    for each in fitting(candidates, size):
        by_operator[each.operator] = by_operator.get(each.operator, 0) + each.room // max(size, 1)
    return sum(min(each, segments) for each in by_operator.values())


def ranked(candidates: Sequence[Candidate], seed: bytes) -> list[int]:
    """Places in `candidates`, in the order in which the seed gives them their turns; those that stand badly after all others."""
    if not candidates:
        return []
    number, typical = seed_number(seed), median_low([each.price for each in candidates])
    turns = [
        turn(number, device_number(each.device), weight(each.uptime, each.standing, each.price, each.room, typical)) for each in candidates
    ]
    return sorted(range(len(candidates)), key=lambda at: (candidates[at].standing < POOR, turns[at], candidates[at].device))


def place(
    candidates: Sequence[Candidate],
    seed: bytes,
    k: int,
    n: int,
    size: int,
    wanted: int | None = None,
    kept: Sequence[Candidate] = (),
    barred: Collection[Address] = (),
) -> list[Candidate]:
    """Who gets shards of a segment that is coded (k, n): one of an operator, drawn by the seed.

    Args:
        candidates: devices at hand.
        seed: the object's and segment's own, which nobody else knows: who could foresee it would choose its address by it.
        k: shards that suffice.
        n: shards of the segment.
        size: bytes of a shard.
        wanted: shards to place; all `n` if nothing else is said.
        kept: the holders of shards that stay where they are: neither they nor others of their operators get another.
        barred: operators that get none either.

    Returns: as many as there are operators for, at most as many as wanted.
    """
    odds.check(k, n, max(k, n - 1))
    found = fitting(candidates, size)
    there: dict[str, int] = {}
    for each in kept:
        there[each.region] = there.get(each.region, 0) + 1
    regions = len({each.region for each in found} | set(there))
    got = take(
        ranked(found, seed),
        [each.operator for each in found],
        [each.region for each in found],
        n if wanted is None else wanted,
        region_cap(k, n, regions),
        {*(each.operator for each in kept), *barred},
        there,
    )
    return [found[at] for at in got]


def choose_code(candidates: Sequence[Candidate], wanted: Wanted | None = None, size: int = 0) -> Code:
    """The code for an object, from the devices at hand.

    Each is judged with the lowest threshold that suffices, for repairs that wait are fewer.

    1. The usual code, 20 of 30, where there are operators enough and it suffices without repairing all the time.
    2. Otherwise the cheapest that suffices: by what its shards and their repair cost.
    3. If none suffices, the one with which the worse of reading at once and keeping comes nearest to what is wanted.

    Raises `InvalidInput` where no device has room.
    """
    wanted = wanted or Wanted()
    found = fitting(candidates, size)
    most = min(MOST_N, len({each.operator for each in found}))
    if not most:
        raise InvalidInput("no device has room for a shard: lend disk with `surge provide`, or wait until others do", size=size)
    unread = _unread(found, most)
    if most >= wanted.n:  # 1
        usual = _judged(unread, wanted.k, wanted.n, wanted)
        if usual.threshold <= wanted.n - IDLE:  # of a code that does not suffice it is the highest
            return usual
    fair = [(k, n) for n in range(1, most + 1) for k in range(1, min(wanted.k, n) + 1) if _is_fair(k, n)]
    judged = [_judged(unread, k, n, wanted) for k, n in fair]
    enough = [each for each in judged if each.enough]
    if enough:  # 2
        return min(enough, key=lambda each: (burden(each, wanted.decay), -each.n))
    return min(judged, key=lambda each: (_excess(each, wanted), -each.n))  # 3


def measured_code(candidates: Sequence[Candidate], k: int, n: int, wanted: Wanted | None = None) -> Code:
    """What is to be expected of a code that somebody chose, with the devices at hand. Raises `InvalidInput` where they are too few."""
    found = fitting(candidates, 0)
    odds.check(k, n, max(k, n - 1))
    if n > len({each.operator for each in found}):
        raise InvalidInput(f"{n} shards go to as many operators, and there are fewer", n=n)
    return _judged(_unread(found, n), k, n, wanted or Wanted())


def burden(code: Code, decay: odds.Decay) -> float:
    """What keeping a byte costs a month, in what keeping one shard's byte costs: its shards, and what repairs move."""
    return code.n / code.k + TRAFFIC * decay.traffic(code.k, code.n, code.threshold) / 12.0


def _judged(unread: Sequence[Sequence[float]], k: int, n: int, wanted: Wanted) -> Code:
    """A code with the lowest threshold that suffices; both chances fall with the threshold. With the highest if none does."""

    def at(threshold: int) -> Code:
        missed = cycle_unread([each[k] for each in unread], n, threshold)
        loss = wanted.decay.window_loss(k, n, threshold)
        return Code(k, n, threshold, 1.0 - missed, loss, missed <= 1.0 - wanted.availability and loss <= wanted.loss)

    low, high = k, max(k, n - 1)
    best = at(high)
    while best.enough and low < high:
        middle = (low + high) // 2
        found = at(middle)
        if found.enough:
            best, high = found, middle
        else:
            low = middle + 1
    return best


def cycle_unread(unread: Sequence[float], n: int, threshold: int) -> float:
    """How probably a segment cannot be read, over its whole life: its shards dwindle from `n` to the threshold, and then are `n` again.

    `unread` has for each number of shards how probably too few of them are there. With so many left the next dies sooner, the more they
    are: each number counts by one over itself.
    """
    parts = [(1.0 / left, unread[left]) for left in range(min(threshold + 1, n), n + 1)]
    return math.fsum(share * missed for share, missed in parts) / math.fsum(share for share, _ in parts)


def _is_fair(k: int, n: int) -> bool:
    """Whether a code's expansion is in bounds. One and two devices hold copies."""
    return LEAST_EXPANSION * k <= n <= MOST_EXPANSION * k or (k == 1 and n <= 2)


def _excess(code: Code, wanted: Wanted) -> float:
    """By how many nines a code misses what is wanted, in the worse of the two."""
    return max(
        math.log10(max(chance, 1e-300) / max(most, 1e-300))
        for chance, most in ((1.0 - code.availability, 1.0 - wanted.availability), (code.loss, wanted.loss))
    )


def _unread(candidates: Sequence[Candidate], most: int) -> list[list[float]]:
    """For each n and k how probably fewer than k of n shards are there: the average over some placements."""
    total = [[0.0] * (most + 1) for _ in range(most + 1)]
    operators = [each.operator for each in candidates]
    for draw in range(DRAWS):
        order = ranked(candidates, draw.to_bytes(1, "big"))
        chosen = take(order, operators, [""] * len(order), most, most, set(), {})
        found = [1.0]
        for n, at in enumerate(chosen, 1):
            up = candidates[at].uptime
            found = [kept * (1.0 - up) + came * up for kept, came in zip([*found, 0.0], [0.0, *found], strict=True)]
            below = 0.0
            for k in range(1, n + 1):
                below += found[k - 1]
                total[n][k] += below / DRAWS
    return total
