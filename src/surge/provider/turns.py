"""Whose order is done next: places that buyers take in turn, so that one with many orders keeps nobody waiting.

Where fewer orders wait than there are places, nobody waits. Otherwise a place that falls free goes to the buyer whose turn it is, for
one order. The places are a few more than the workers, so that short orders are lined up inside them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

LINED_UP = ((0.02, 5), (0.2, 3))
"""Mean seconds of an order, and places per worker; longer ones get two."""


class Turns:
    """The places of one device. Belongs to one event loop."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._mean: float | None = None
        self._taken = 0
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def places(self) -> int:
        """Places there are now."""
        mean = self._mean
        if mean is None:
            return 2 * self._workers
        return self._workers * next((places for seconds, places in LINED_UP if mean <= seconds), 2)

    @property
    def waiting(self) -> int:
        """Orders without a place."""
        return sum(len(queue) for queue in self._waiting.values())

    def took(self, seconds: float) -> None:
        """Note how long an order took."""
        self._mean = seconds if self._mean is None else 0.9 * self._mean + 0.1 * seconds

    @asynccontextmanager
    async def place(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for a place and hold it; `key` is the buyer."""
        await self.enter(key)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, key: Hashable) -> None:
        """Wait for a place. Whoever enters must leave."""
        if self._taken < self.places and not self._waiting:
            self._taken += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave()  # the place was given in the same moment
            raise

    def leave(self) -> None:
        """Give a place back; it goes to the next buyer in turn."""
        self._taken -= 1
        while self._waiting and self._taken < self.places:
            key, queue = self._waiting.popitem(last=False)
            given = False
            while queue and not given:
                future = queue.popleft()
                if not future.done():
                    future.set_result(None)
                    self._taken += 1
                    given = True
            if queue:
                self._waiting[key] = queue
