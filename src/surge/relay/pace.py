"""Token buckets: how much may be done per second, with a burst of some seconds' worth. Pure: the clock is passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Pace:
    """One bucket, full at first.

    >>> pace = Pace(10.0, burst_seconds=1.0, now=0.0)
    >>> [pace.take(6, now=0.0), pace.take(6, now=0.0), pace.take(6, now=0.5)]
    [True, False, True]
    """

    def __init__(self, per_second: float, burst_seconds: float, now: float) -> None:
        self._rate, self._most = per_second, per_second * burst_seconds
        self._left, self._seen = self._most, now

    def _refill(self, now: float) -> None:
        self._left = min(self._left + max(0.0, now - self._seen) * self._rate, self._most)
        self._seen = now

    def spend(self, amount: float, now: float) -> float:
        """Takes `amount` in any case; gives the seconds to wait before going on, usually 0."""
        self._refill(now)
        self._left -= amount
        return max(0.0, -self._left / self._rate)

    def take(self, amount: float, now: float) -> bool:
        """Takes `amount` if it is there."""
        self._refill(now)
        if self._left < amount:
            return False
        self._left -= amount
        return True


class Paces(Generic[Key]):
    """A bucket for each of many, the least recently seen forgotten first: strangers must not fill the memory."""

    def __init__(self, per_second: float, burst_seconds: float, remembered: int = 8192) -> None:
        self._rate, self._burst, self._remembered = per_second, burst_seconds, remembered
        self._paces: OrderedDict[Key, Pace] = OrderedDict()

    def take(self, key: Key, now: float) -> bool:
        """Takes one from the bucket of `key` if it is there."""
        pace = self._paces.pop(key, None) or Pace(self._rate, self._burst, now)
        self._paces[key] = pace
        if len(self._paces) > self._remembered:
            self._paces.popitem(last=False)
        return pace.take(1, now)
