"""A job's budget: what it may still spend, and the fuel limit that a unit gets out of it. Pure.

Before a unit is sent its price at its own fuel limit is reserved; when its receipt is accepted the reservation
becomes what it really cost. Spent and reserved together never exceed the budget, so the budget holds whatever the
guest does.

A channel pays its provider its floor, whatever is done on it. So the floor of a channel that the job opens is money that the
job may cost: as much of it as no work on the channel has earned is set aside too, for work on that channel alone.

Every provable ending but a return or an exit is billed at the fuel limit. A limit far above what the job's items take
would make one trap ruinous, so once it is known what items take, units get a limit of `GENEROUS` times that. A unit
that runs out of such a lowered limit is run again with more; what it returns never depends on it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from surge.core.pricing import Prices, affordable_fuel, unit_amount
from surge.core.units import Limits

GENEROUS = 32
"""A unit's fuel limit, in multiples of what its items were seen to take."""

LEAST_FUEL = 20 * 10**9
"""But never below this: some seconds of work, so that an item a thousand times dearer than the last still finishes."""

SPARE = 2
"""Where the job has a provider, floors of channels to more take at most this part of the budget, and a setup there of what is left:
the rest is for items."""

MARGIN = 8
"""A setup is asked for with one part in so many more fuel than it took elsewhere: engines of other processors may differ a little."""

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
    return affordable_fuel(prices, limits.fuel, limits.memory, moved + limits.output, funds)


def in_surge(amount: int) -> str:
    """Wei as SURGE, exactly, as `--budget` takes it.

    >>> in_surge(10**16)
    '0.01 SURGE'
    """
    whole, part = divmod(amount, 10**18)
    return f"{whole}.{part:018d}".rstrip("0").rstrip(".") + " SURGE"


@lru_cache(maxsize=64)
def _with_fuel(limits: Limits, fuel: int) -> Limits:
    return replace(limits, fuel=fuel)


class Purse:
    """The money of one job. `budget` in wei, or None for no bound; `floors` are wei of floors not earned yet, by channel."""

    def __init__(self, budget: int | None, *, spent: int = 0, floors: Mapping[bytes, int] | None = None) -> None:
        self.budget = budget
        self.spent = spent
        """Wei of accepted receipts."""
        self._floors = {channel: floor for channel, floor in (floors or {}).items() if floor > 0}
        self._reserved: dict[Hashable, tuple[int, bytes]] = {}
        self._reserved_on: dict[bytes, int] = {}
        self._owed: set[Hashable] = set()
        """Keys of what is done, and waits to be judged."""
        self.reserved = 0
        """Wei of what is in flight, at its limits."""
        self._setup_fuel: int | None = None
        self._fuel_per_item: float | None = None
        self._most_per_item = 0.0

    @property
    def bound(self) -> int:
        """Wei of floors that neither work done nor work in flight earns."""
        return sum(map(self._bound_on, self._floors))

    @property
    def left(self) -> int | None:
        """Wei neither spent, reserved nor bound by a floor; None without a budget. Negative where a job is resumed with a lower one."""
        return None if self.budget is None else self.budget - self.spent - self.reserved - self.bound

    def left_on(self, channel: bytes) -> int | None:
        """Wei that work on this channel may still cost: what its own floor binds is for that."""
        left = self.left
        return None if left is None else left + self._bound_on(channel)

    def open(self, channel: bytes, floor: int, *, alone: bool) -> bool:
        """Set aside the floor of a channel that is about to be opened; False when the budget does not allow it.

        `alone`: the job has nobody to work with yet, so that all that is left may go into this floor.
        """
        if not self._may_open(floor, alone):
            return False
        if floor > 0:
            self._floors[channel] = floor
        return True

    def not_opened(self, channel: bytes) -> None:
        """The channel does not come into being: its floor costs nothing."""
        self._floors.pop(channel, None)

    def bind(self, channel: bytes, more: int) -> None:
        """The channel's floor was raised: it pays so many wei more than its work has earned."""
        self._floors[channel] = self._floors.get(channel, 0) + more

    def needed(self, floor: int) -> int:
        """The least budget in wei with which a job that has nobody to work with opens a channel with this floor."""
        return self.spent + self.reserved + self.bound + floor

    def _may_open(self, floor: int, alone: bool) -> bool:
        left = self.left
        if left is None or self.budget is None or floor <= 0:
            return True
        return floor <= left and (alone or (sum(self._floors.values()) + floor) * SPARE <= self.budget - self.spent)

    def _bound_on(self, channel: bytes) -> int:
        return max(0, self._floors.get(channel, 0) - self._reserved_on.get(channel, 0))

    def setup_takes(self, fuel: int) -> None:
        """The job's setup takes `fuel` at least: it takes as much everywhere."""
        self._setup_fuel = max(self._setup_fuel or 0, fuel)

    @property
    def explores(self) -> bool:
        """Whether the next setup may cost all that is left, since nobody knows yet what it takes."""
        return self.budget is not None and self._setup_fuel is None

    def measured(self, count: int, fuel: int) -> None:
        """A unit of `count` items took `fuel`."""
        each = fuel / count
        self._most_per_item = max(self._most_per_item, each)
        self._fuel_per_item = each if self._fuel_per_item is None else max(each, self._fuel_per_item * 0.9)

    def allow(
        self,
        prices: Prices,
        limits: Limits,
        channel: bytes,
        *,
        moved: int,
        count: int,
        slots: int,
        whole: bool,
        fuel: int | None = None,
        enough: int | None = None,
        aside: int = 0,
    ) -> Allowance | None:
        """The allowance for a unit of `count` items on a channel, or None when it should wait until something in flight has
        settled.

        `slots` is how many units the job's lanes take at once; `whole` asks for all that can be had, for a unit that
        ran out of a lowered limit before. What would not do for as much as items took so far is not sent: it would be cut short. None with
        nothing in flight means that the budget is used up on this channel. `fuel` is the limit under which others run
        the unit already: it is that, or what the budget buys from `enough` on, as what they say could not be compared otherwise. `aside`
        is what bringing there what the unit reads costs besides, in wei.
        """
        left = self.left_on(channel)
        left = None if left is None else left - aside
        if fuel is not None:
            most = fuel if left is None else most_fuel(prices, replace(limits, fuel=fuel), moved, left)
            if most < (fuel if enough is None else min(enough, fuel)):
                return None
            amount = unit_amount(prices, most, limits.memory, moved + limits.output)
            return Allowance(_with_fuel(limits, most), amount, most < limits.fuel)
        fuel = limits.fuel
        if not whole and self._fuel_per_item is not None:
            fuel = min(fuel, max(LEAST_FUEL, int(GENEROUS * max(self._fuel_per_item * count, self._most_per_item))))
        if left is not None:
            affordable = self._affordable(prices, replace(limits, fuel=fuel), moved, count, slots, whole, left)
            if affordable is None:
                return None
            fuel = affordable
        given = _with_fuel(limits, fuel)
        amount = unit_amount(prices, fuel, limits.memory, moved + limits.output)
        return Allowance(given, amount, fuel < limits.fuel)

    def allow_setup(
        self, prices: Prices, limits: Limits, channel: bytes, *, alone: bool, before: tuple[int, bool] | None = None
    ) -> Allowance | None:
        """The allowance for the job's setup on a channel, or None when the budget does not buy one there.

        Until it is known what the setup takes, it gets all that is left, and no more than that afterwards. Where the job is not `alone` but
        has a provider to work with, a setup must leave as much as it costs. `before` is the fuel limit under which it was asked for on this
        channel before a restart, and whether it is paid: under that limit it is not paid twice.
        """

        def price(fuel: int) -> int:
            return unit_amount(prices, fuel, limits.memory, limits.output)

        fuel, left, known = limits.fuel, self.left_on(channel), self._setup_fuel
        if before is not None and before[1]:
            return Allowance(replace(limits, fuel=before[0]), 0, before[0] < limits.fuel)
        if before is not None and before[0] >= (known or 0) and (left is None or price(before[0]) <= left):
            fuel = before[0]
        elif left is not None:
            fuel = most_fuel(prices, limits, 0, left) if known is None else min(limits.fuel, known + known // MARGIN)
            if fuel <= 0 or price(fuel) * (1 if alone else SPARE) > left:
                return None
        return Allowance(replace(limits, fuel=fuel), price(fuel), fuel < limits.fuel)

    def _affordable(self, prices: Prices, limits: Limits, moved: int, count: int, slots: int, whole: bool, left: int) -> int | None:
        alone = self.idle
        if whole and not alone:
            return None
        share = left if alone and whole else (left + self.reserved) // max(slots, 1)
        fuel = most_fuel(prices, limits, moved, min(share, left))
        expected = None if self._fuel_per_item is None else int(self._fuel_per_item * count)
        if expected is not None and fuel < (close := min(limits.fuel, max(1, CLOSE * expected))):
            fuel = most_fuel(prices, replace(limits, fuel=close), moved, left)
            if fuel < close and not alone:
                return None
        if expected is None and fuel < limits.fuel:
            # Nobody knows what an item takes: one unit finds out, with all that is left, rather than several that are cut short.
            if not alone:
                return None
            fuel = most_fuel(prices, limits, moved, left)
        if fuel <= 0 and alone:
            fuel = most_fuel(prices, limits, moved, left)
        return fuel if fuel > 0 and fuel >= (expected or 0) else None

    @property
    def item_fuel(self) -> int | None:
        """What an item takes, by those that were done; None before."""
        return None if self._fuel_per_item is None else int(self._fuel_per_item)

    def reserve(self, key: Hashable, amount: int, channel: bytes, *, owed: bool = False) -> None:
        """Set `amount` wei aside for `key`, which costs it on this channel. `owed`: it is done, and will be paid unless it is wrong."""
        self.release(key)
        if owed:
            self._owed.add(key)
        self._reserved[key] = amount, channel
        self._reserved_on[channel] = self._reserved_on.get(channel, 0) + amount
        self.reserved += amount

    def release(self, key: Hashable) -> None:
        """What was set aside for `key` is free again."""
        self._owed.discard(key)
        amount, channel = self._reserved.pop(key, (0, b""))
        if amount:
            self._reserved_on[channel] -= amount
            self.reserved -= amount

    def pay(self, key: Hashable, amount: int, channel: bytes) -> None:
        """A receipt for `key` was accepted for `amount` wei on this channel: that earns its floor."""
        self.release(key)
        self.spent += amount
        if channel in self._floors:
            self._floors[channel] -= amount
            if self._floors[channel] <= 0:
                del self._floors[channel]

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight that could leave some of what is set aside for it."""
        return len(self._reserved) == len(self._owed)
