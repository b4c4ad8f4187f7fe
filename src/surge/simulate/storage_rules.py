"""Core's rules of placement and repair on arrays: the same numbers, many devices at once. Tests hold them to core's, case by case."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median_low

import numpy as np

from surge.core.storage import placement, repair
from surge.core.storage.placement import Candidate
from surge.core.types import Address
from surge.simulate.devices import Array


def mixed(value: Array) -> Array:
    """`placement.mixed` of each."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def turns(seed: int, scrambled: Array, weights: Array) -> Array:
    """`placement.turn` of each device, of which `mixed` was taken already."""
    lots = ((mixed(np.uint64(seed) ^ scrambled) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    return -np.log(lots) / weights


def weights(uptime: Array, standing: Array, price: Array, room: Array, typical_price: int) -> Array:
    """`placement.weight` of each."""
    dear = (price + 1) * (2.0 - standing) / (typical_price + 1)
    there = np.maximum(uptime, 0.01) ** placement.UPTIME_POWER
    return there * np.minimum(room, placement.ROOM_ENOUGH) / placement.ROOM_ENOUGH / dear**placement.PRICE_POWER


def grace(watched: Array, longest: Array, region_away: Array) -> Array:
    """`repair.grace` of each."""
    first = np.where(watched < repair.KNOWN_AFTER, repair.FIRST_GRACE, repair.LEAST_GRACE)
    outage = np.where(region_away >= repair.OUTAGE, repair.OUTAGE_PATIENCE, 1.0)
    return np.minimum(repair.MOST_GRACE, np.maximum(first, repair.PATIENCE * longest) * outage)


def came_back(longest: Array, absence: Array, elapsed: Array) -> Array:
    """`repair.came_back` of each."""
    return np.maximum(longest * np.exp2(-elapsed / (repair.HABIT_DAYS * repair.DAY)), absence)


def is_due(sound: Array, n: int, threshold: int) -> Array:
    """`repair.is_due` of each."""
    return (sound < n) & (sound <= threshold)


class Market:
    """Who may take shards at a moment. Places as `placement.place` does, with the turns computed on arrays."""

    def __init__(self, candidates: Sequence[Candidate], numbers: Array, at: Array, uptime: Array, price: Array, room: Array) -> None:
        """Of all candidates those `at` these places may take shards; the arrays are of all."""
        self._candidates = candidates
        self._at = at
        self._order: Array = np.arange(len(at))
        self._mixed = mixed(numbers[at])
        self._weights = weights(uptime[at], np.full(len(at), 0.5), price[at], room[at], median_low(price[at].tolist()) if len(at) else 0)
        chosen = [candidates[each] for each in at.tolist()]
        self._operators = [each.operator for each in chosen]
        self._regions = [each.region for each in chosen]
        self._seen = set(self._regions)

    def place(
        self, seed: bytes, k: int, n: int, wanted: int, kept: Sequence[Candidate] = (), barred: Collection[Address] = ()
    ) -> list[int]:
        """The places among all candidates of those who get shards."""
        there: dict[str, int] = {}
        for each in kept:
            there[each.region] = there.get(each.region, 0) + 1
        got = placement.take(
            np.argsort(turns(placement.seed_number(seed), self._mixed, self._weights), kind="stable").tolist(),
            self._operators,
            self._regions,
            wanted,
            placement.region_cap(k, n, len(self._seen | set(there))),
            {*(each.operator for each in kept), *barred},
            there,
        )
        return [int(self._at[each]) for each in got]
