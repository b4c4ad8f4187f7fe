"""Seconds that buyers cost without owing anything: endings that give no receipt, modules that do not compile. Pure.

A unit that runs into its wall time ends locally: nobody is to blame, and nobody pays. A buyer whose units do nothing else would keep the
device busy for the price of one channel. So each is granted some seconds in an hour, and earns more by work that it is billed for.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from surge.core.types import Address
from surge.provider.service import Refused

GRANTED = 120.0
"""Seconds in vain that a buyer is granted in each `PERIOD`."""

PERIOD = 3600.0

EARNED = 4
"""Billed seconds that make up for one in vain."""

REMEMBERED = 4096
"""Buyers remembered, the last ones."""


class Waste:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent: OrderedDict[Address, tuple[float, float]] = OrderedDict()
        """Since when, and how many seconds."""

    def check(self, buyer: Address) -> None:
        """Raise `Refused` for a buyer that spent what it was granted."""
        seconds = self._now(buyer)[1]
        if seconds > GRANTED:
            raise Refused("busy", f"work of yours took {seconds:.0f} s here and ended in vain; come back later, or ask for less at once")

    def add(self, buyer: Address, seconds: float) -> None:
        """Work for a buyer ended in vain."""
        since, spent = self._now(buyer)
        self._spent[buyer] = since, spent + seconds
        self._spent.move_to_end(buyer)
        while len(self._spent) > REMEMBERED:
            self._spent.popitem(last=False)

    def billed(self, buyer: Address, seconds: float) -> None:
        """Work for a buyer was billed."""
        if buyer in self._spent:
            since, spent = self._now(buyer)
            self._spent[buyer] = since, max(0.0, spent - seconds / EARNED)

    def _now(self, buyer: Address) -> tuple[float, float]:
        now = self._clock()
        since, spent = self._spent.get(buyer, (now, 0.0))
        return (since, spent) if now - since < PERIOD else (now, 0.0)
