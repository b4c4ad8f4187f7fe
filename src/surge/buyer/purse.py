"""A job's budget: what it may still spend, and the fuel limit that a unit gets out of it. Pure.

Before a unit is sent its price at its own fuel limit is reserved; when its receipt is accepted the reservation
becomes what it really cost. Spent and reserved together never exceed the budget, so the budget holds whatever the
guest does.

Every provable ending but a return or an exit is billed at the fuel limit. A limit far above what the job's items take
would make one trap ruinous, so once it is known what items take, units get a limit of `GENEROUS` times that. A unit
that runs out of such a lowered limit is run again with more; what it returns never depends on it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache

from surge.core.pricing import Prices, unit_amount
from surge.core.units import Limits

GENEROUS = 32
"""A unit's fuel limit, in multiples of what its items were seen to take."""

LEAST_FUEL = 20 * 10**9
"""But never below this: some seconds of work, so that an item a thousand times dearer than the last still finishes."""

CLOSE = 4
"""With a budget that is running out, a limit this many times the expected fuel is still worth sending."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a unit may use."""

    limits: Limits
    reserved: int
    """Wei: its price at its fuel limit."""
    lowered: bool
    """Whether the fuel limit is below the user's."""


def most_fuel(prices: Prices, limits: Limits, moved: int, funds: int) -> int:
    """The highest fuel limit, up to `limits.fuel`, at which a unit with these limits costs at most `funds` wei; -1
    for none.

    `moved` counts bytes of input; its output is reckoned at its limit.
    """

    def price(fuel: int) -> int:
        return unit_amount(prices, fuel, limits.memory, moved + limits.output)

    if price(limits.fuel) <= funds:
        return limits.fuel
    if price(0) > funds:
        return -1
    low, high = 0, limits.fuel
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if price(middle) <= funds else (low, middle - 1)
    return low


@lru_cache(maxsize=64)
def _with_fuel(limits: Limits, fuel: int) -> Limits:
    return replace(limits, fuel=fuel)


class Purse:
    """The money of one job. `budget` in wei, or None for no bound."""

    def __init__(self, budget: int | None, *, spent: int = 0) -> None:
        self.budget = budget
        self.spent = spent
        """Wei of accepted receipts."""
        self._reserved: dict[Hashable, int] = {}
        self.reserved = 0
        """Wei of what is in flight, at its limits."""
        self._fuel_per_item: float | None = None
        self._most_per_item = 0.0

    @property
    def left(self) -> int | None:
        """Wei neither spent nor reserved; None without a budget."""
        return None if self.budget is None else self.budget - self.spent - self.reserved

    def measured(self, count: int, fuel: int) -> None:
        """A unit of `count` items took `fuel`."""
        each = fuel / count
        self._most_per_item = max(self._most_per_item, each)
        self._fuel_per_item = each if self._fuel_per_item is None else max(each, self._fuel_per_item * 0.9)

    def allow(self, prices: Prices, limits: Limits, *, moved: int, count: int, slots: int, whole: bool) -> Allowance | None:
        """The allowance for a unit of `count` items, or None when it should wait until something in flight has
        settled.

        `slots` is how many units the job's lanes take at once; `whole` asks for all that can be had, for a unit that
        ran out of a lowered limit before. None with nothing in flight means that the budget is used up.
        """
        fuel = limits.fuel
        if not whole and self._fuel_per_item is not None:
            fuel = min(fuel, max(LEAST_FUEL, int(GENEROUS * max(self._fuel_per_item * count, self._most_per_item))))
        left = self.left
        if left is not None:
            affordable = self._affordable(prices, replace(limits, fuel=fuel), moved, count, slots, whole, left)
            if affordable is None:
                return None
            fuel = affordable
        given = _with_fuel(limits, fuel)
        amount = unit_amount(prices, fuel, limits.memory, moved + limits.output)
        return Allowance(given, amount, fuel < limits.fuel)

    def allow_setup(self, prices: Prices, limits: Limits, providers: int) -> Allowance | None:
        """The allowance for a setup on one of `providers` devices, or None when the budget does not buy one."""
        fuel = limits.fuel
        if self.left is not None:
            fuel = most_fuel(prices, limits, 0, self.left // max(providers, 1))
            if fuel <= 0:
                return None
        amount = unit_amount(prices, fuel, limits.memory, limits.output)
        return Allowance(replace(limits, fuel=fuel), amount, fuel < limits.fuel)

    def _affordable(self, prices: Prices, limits: Limits, moved: int, count: int, slots: int, whole: bool, left: int) -> int | None:
        alone = not self._reserved
        if whole and not alone:
            return None
        share = left if alone and whole else (left + self.reserved) // max(slots, 1)
        fuel = most_fuel(prices, limits, moved, min(share, left))
        expected = None if self._fuel_per_item is None else int(self._fuel_per_item * count)
        if expected is not None and fuel < (close := min(limits.fuel, max(1, CLOSE * expected))):
            fuel = most_fuel(prices, replace(limits, fuel=close), moved, left)
            if fuel < close and not alone:
                return None
        if fuel <= 0 and alone:
            fuel = most_fuel(prices, limits, moved, left)
        return fuel if fuel > 0 else None

    def reserve(self, key: Hashable, amount: int) -> None:
        """Set `amount` wei aside for `key`."""
        self.release(key)
        self._reserved[key] = amount
        self.reserved += amount

    def release(self, key: Hashable) -> None:
        """What was set aside for `key` is free again."""
        self.reserved -= self._reserved.pop(key, 0)

    def pay(self, key: Hashable, amount: int) -> None:
        """A receipt for `key` was accepted for `amount` wei."""
        self.release(key)
        self.spent += amount

    @property
    def idle(self) -> bool:
        """Whether nothing is set aside."""
        return not self._reserved
