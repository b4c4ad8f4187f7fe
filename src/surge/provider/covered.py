"""A unit within its cover: how far it may go, and what follows where that is less than its buyer allows it.

A unit that reaches the end of its cover below its buyer's own limits ends here and proves nothing: there is no receipt and no bill. It was
done all the same, so what was set aside for it stays owed, and the channel's floor pays it (`core.exposure`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from surge.core.exposure import Ask
from surge.core.pricing import Prices, affordable_fuel, unit_amount
from surge.core.units import EXACT, PROVABLE, Limits, Status, billed_fuel
from surge.provider.service import Context, Reserve
from surge.sandbox import Execution

LEAST_FUEL: Final = 10**6
"""Nothing is begun for less: starting takes as long."""


class Covered:
    """One unit, or setup, with what is set aside for it. Made by `within`; whoever has it releases or passes on its `reserve`."""

    def __init__(self, reserve: Reserve, ask: Ask, prices: Prices, limits: Limits, moved: int) -> None:
        self.reserve = reserve
        self._ask = ask
        self._prices = prices
        self._limits = limits
        self._moved = moved
        self._fuel = affordable_fuel(prices, limits.fuel, limits.memory, moved, reserve.amount)

    @property
    def limits(self) -> Limits:
        """What it may use here: its buyer's limits, with the fuel that is covered."""
        return replace(self._limits, fuel=self._fuel)

    def settle(self, execution: Execution) -> tuple[Execution, int]:
        """(the run as it is under the buyer's own limits, wei for it). Raises `Refused` where the cover ended before it did.

        1. Fuel that ran out before the buyer's limit says only where the cover ended.
        2. What is billed at its limit is billed at the buyer's.
        3. Its output costs, too: that may be more than was set aside.
        """
        outcome = execution.outcome
        if outcome.status not in PROVABLE:
            return execution, 0
        # 1
        if outcome.status is Status.OUT_OF_FUEL and self._fuel < self._limits.fuel:
            self._stop(execution, self._fuel)
        # 2
        outcome = replace(outcome, fuel=billed_fuel(outcome.status, outcome.fuel, self._limits))
        amount = unit_amount(self._prices, outcome.fuel, self._limits.memory, self._moved + outcome.size())
        # 3
        if outcome.status in EXACT and not self.reserve.extend(amount):
            self._stop(execution, max(1, outcome.fuel))
        return replace(execution, outcome=outcome), amount

    def _stop(self, execution: Execution, fuel: int) -> None:
        execution.output.discard()
        self.reserve.use_up()
        raise self.reserve.lacks(self._ask, fuel)


async def within(context: Context, prices: Prices, limits: Limits, moved: int, expected: int, at_once: int) -> Covered:
    """What a unit may use, once something is set aside for it. Raises `Refused` where too little is covered.

    Args:
        context: for whom.
        prices: at which it is billed.
        limits: its buyer's.
        moved: bytes of input carried with the call.
        expected: fuel that its buyer expects of it; 0 where it does not know.
        at_once: how many units may run at once.
    """

    def price(fuel: int) -> int:
        return unit_amount(prices, min(fuel, limits.fuel), limits.memory, moved)

    most = unit_amount(prices, limits.fuel, limits.memory, moved + limits.output)
    ask = Ask(most, price(expected) if expected else 0, price(LEAST_FUEL))
    return Covered(await context.cover(ask, at_once), ask, prices, limits, moved)
