"""Whose order is done next: places that buyers take in turn, so that one with many orders keeps nobody waiting.

Where fewer orders wait than there are places, nobody waits. Otherwise a place that falls free goes to the buyer whose turn it is, for
one order. The places are a few more than the workers, so that short orders are lined up inside them.

Cores may be held for a buyer. Then the others have one place for each core that is left and no more, so that those held are free whenever
their buyer comes; it has the places of the cores held for it beside those that all share.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

LINED_UP = ((0.02, 5), (0.2, 3))
"""Mean seconds of an order, and places per worker; longer ones get two."""


class Turns:
    """The places of one device. Belongs to one event loop."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._mean: float | None = None
        self._taken: Counter[Hashable] = Counter()
        self._held: dict[Hashable, tuple[Hashable, int]] = {}
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

    def hold(self, name: Hashable, key: Hashable, cores: int) -> None:
        """Keep so many cores for the buyer `key`, until they are let go under this name."""
        self._held[name] = key, cores

    def release(self, name: Hashable) -> None:
        """Let cores go."""
        self._held.pop(name, None)
        self._give()

    def is_shut(self, key: Hashable) -> bool:
        """Whether every core is held, and none for this buyer."""
        return sum(cores for _, cores in self._held.values()) >= self._workers and not self._share(key)

    def _share(self, key: Hashable) -> int:
        return sum(cores for whose, cores in self._held.values() if whose == key)

    def _is_free(self, key: Hashable) -> bool:
        """Whether there is a place for this buyer now."""
        if not self._held:
            return self._taken.total() < self.places
        factor = self.places // self._workers
        if self._taken[key] < self._share(key) * factor:
            return True
        left = self._workers - sum(cores for _, cores in self._held.values())
        return sum(max(0, count - self._share(each) * factor) for each, count in self._taken.items()) < left

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
            self.leave(key)

    async def enter(self, key: Hashable) -> None:
        """Wait for a place. Whoever enters must leave."""
        if key not in self._waiting and self._is_free(key) and self._next() is None:
            self._taken[key] += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(future)
        self._give()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave(key)  # the place was given in the same moment
            raise

    def leave(self, key: Hashable) -> None:
        """Give a place back; it goes to the next buyer in turn that may have it."""
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]
        self._give()

    def _next(self) -> Hashable | None:
        """The next buyer in turn for whom there is a place."""
        return next((key for key in self._waiting if self._is_free(key)), None)

    def _give(self) -> None:
        while (key := self._next()) is not None:
            queue = self._waiting.pop(key)
            given = False
            while queue and not given:
                future = queue.popleft()
                if not future.done():
                    future.set_result(None)
                    self._taken[key] += 1
                    given = True
            if queue:
                self._waiting[key] = queue
