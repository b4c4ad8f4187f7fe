"""`Retainer`: devices held ready, for callers without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from surge.buyer.background import Background
from surge.buyer.retaining import Retained, Retaining
from surge.core.retainers import MOST_HOURS
from surge.errors import InvalidInput


class Retainer:
    """Devices that keep cores free for this wallet. Leaving its `with` block ends it; so does closing the network.

    with network.retain(2, hours=1, max_price=4 * 10**18) as held:
        network.map(function, items, providers=held.devices)
    """

    def __init__(self, background: Background, held: Sequence[Retaining]) -> None:
        self._background = background
        self._held = held

    @property
    def devices(self) -> list[str]:
        """The devices, as `providers=` of a job takes them."""
        return [each.state.device for each in self._held]

    def status(self) -> list[Retained]:
        """How each of them stands."""
        return [each.state for each in self._held]

    @property
    def paid(self) -> int:
        """Wei paid so far."""
        return sum(each.paid for each in self._held)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all of them have ended, so many seconds at most. Whether they have."""

        async def over() -> bool:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.gather(*(each.over() for each in self._held))
            except TimeoutError:
                return False
            return True

        return self._background.call(over())

    def end(self) -> None:
        """Pay for what was held, and let the cores go."""

        async def end() -> None:
            for each in self._held:
                each.stop()
            await asyncio.gather(*(each.over() for each in self._held))

        self._background.call(end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()


def hours_of(hours: float) -> float:
    """Hours in seconds. Raises `InvalidInput` for what is no time."""
    if not isinstance(hours, int | float) or not 0 < hours <= MOST_HOURS:
        raise InvalidInput(f"hours={hours!r} is not between 0 and {MOST_HOURS}", hours=hours)
    return hours * 3600
