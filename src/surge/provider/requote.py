"""New prices for jobs whose fuel takes longer than the device states: cache misses, page faults. Pure.

A gigafuel is 0.1 s of arithmetic or many seconds of cache misses. The first unit of a job that is far slower than stated says which: the
job's next units then cost in proportion.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

from surge.core.pricing import Prices

LEAST_SECONDS = 0.25
"""A unit shorter than this says more about starting than about its fuel."""

REMEMBERED = 4096
"""Jobs whose quote is remembered."""


def fair_prices(prices: Prices, seconds: float, fuel: int, speed: int) -> Prices:
    """Prices at which the fuel of a job that ran `fuel` in `seconds` pays for its time, on a device of `speed` fuel a second."""
    taken = max(1, round(seconds * 10**6))
    stated = max(1, fuel * 10**6 // speed)
    gigafuel = -(-prices.gigafuel * taken // stated)
    return replace(prices, gigafuel=gigafuel, speed=max(1, prices.speed * stated // taken))


class Requotes:
    """Which jobs were quoted. `percent` is how much slower than stated a job must be; 0 for never.

    Every unit of a job that was not quoted yet is looked at: a first one as fast as stated says nothing of those after it.
    """

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def consider(self, job: Hashable, seconds: float, fuel: int, prices: Prices, speed: int) -> Prices | None:
        """New prices for the job, the first time a unit of it tells that it needs them."""
        if not self._percent or seconds < LEAST_SECONDS or job in self._seen or seconds * speed * 100 <= fuel * self._percent:
            return None
        self._seen[job] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return fair_prices(prices, seconds, fuel, speed)
