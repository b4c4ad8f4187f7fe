"""The simulated economy: a day of a million providers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.rows import Row, at_most
from surge.simulate.economy import Settings, begin, step

PROVIDERS = 1_000_000
DAYS = 21


def measure() -> Iterator[Row]:
    """Three weeks on the average, after a first one in which bonds are filled; processor time."""
    economy = begin(Settings(providers=PROVIDERS))
    for _ in range(7):
        step(economy)
    start = time.process_time()
    for _ in range(DAYS):
        step(economy)
    yield at_most("a simulated day of a million providers, of one core", (time.process_time() - start) / DAYS, "s", 0.5)
    economy.books.check()
