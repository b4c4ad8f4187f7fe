"""What work costs: integers, rounded up, computable by both sides from the result alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from surge.core.types import GIGA, MAX_WEI, MEGA
from surge.errors import InvalidInput

MAX_PRICE = 10**30
"""Wei: a bound on every price, so that no product of price and quantity leaves 256 bits."""

TYPICAL_MEMORY = 512 << 20
"""Bytes of a typical unit's memory: what units get unless their user says otherwise."""

TYPICAL_MOVED = 10**6
"""Bytes that a typical unit moves for a gigafuel."""

TYPICAL_COMPILED = 10**4
"""Bytes of module for a gigafuel: a module of a megabyte is compiled once for a hundred of them."""

EXTRAS = 4
"""What goes with a gigafuel may add a quarter to its price. At ordinary prices it adds a few thousandths."""

MOST_DEARER = 16
"""A job's new price is at most so many times the offer's, where the user sets no `max_price`. Python jobs were seen to take 1.2 (filling
memory) to 7 times (gathering from large arrays) the seconds that their fuel states, and what a device states itself varies by a third."""


@dataclass(frozen=True, slots=True)
class Prices:
    """A provider's prices."""

    gigafuel: int
    """Wei for 10^9 fuel."""
    memory: int
    """Wei for a gigabyte of reserved memory over a second."""
    transfer: int
    """Wei for 10^9 bytes moved."""
    compile: int
    """Wei for 10^6 bytes of module compiled."""
    speed: int
    """Fuel per second, as the device states it: turns fuel into the seconds that memory is priced by."""

    def __post_init__(self) -> None:
        for name in ("gigafuel", "memory", "transfer", "compile"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_PRICE:
                raise InvalidInput(f"the price {name}={value} is not between 0 and {MAX_PRICE}", price=name, value=value)
        if not 1 <= self.speed <= 10**15:
            raise InvalidInput(f"the speed {self.speed} is not between 1 and 10^15 fuel per second", value=self.speed)

    def fields(self) -> list[int]:
        """The prices as they stand in offers and terms."""
        return [self.gigafuel, self.memory, self.transfer, self.compile, self.speed]

    def differ_in_fuel_alone(self, other: Prices) -> bool:
        """Whether nothing but the price of fuel, and the speed that it follows from, differs."""
        return replace(other, gigafuel=self.gigafuel, speed=self.speed) == self


def _up(numerator: int, denominator: int) -> int:
    """The quotient, rounded up."""
    return -(-numerator // denominator)


def unit_amount(prices: Prices, fuel: int, memory: int, moved: int) -> int:
    """Wei for a unit: its fuel, its reserved memory for as long as that fuel takes at the stated speed, its bytes moved.

    Args:
        prices: the terms' prices.
        fuel: the billed fuel.
        memory: the unit's memory limit in bytes, reserved in full before it starts.
        moved: bytes of input carried with the call and of output.
    """
    amount = _up(fuel * prices.gigafuel, GIGA) + _up(memory * fuel * prices.memory, prices.speed * GIGA) + transfer_amount(prices, moved)
    if amount > MAX_WEI:
        raise InvalidInput("the unit's price does not fit into 256 bits", fuel=fuel)
    return amount


def affordable_fuel(prices: Prices, most: int, memory: int, moved: int, funds: int) -> int:
    """The highest fuel, up to `most`, at which a unit costs at most `funds` wei; -1 where it costs more without any.

    Args:
        prices: the terms' prices.
        most: fuel.
        memory: the unit's memory limit in bytes.
        moved: bytes of input and of output.
        funds: wei.
    """
    if unit_amount(prices, most, memory, moved) <= funds:
        return most
    if unit_amount(prices, 0, memory, moved) > funds:
        return -1
    # Without rounding up it is a division; rounding adds less than 2 wei.
    spare, wei = funds - transfer_amount(prices, moved), prices.gigafuel * prices.speed + memory * prices.memory
    low, high = max(0, (spare - 2) * prices.speed * GIGA // wei), min(most, spare * prices.speed * GIGA // wei)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if unit_amount(prices, middle, memory, moved) <= funds else (low, middle - 1)
    return low


def transfer_amount(prices: Prices, moved: int) -> int:
    """Wei for moving bytes."""
    return _up(moved * prices.transfer, GIGA)


def compile_amount(prices: Prices, size: int) -> int:
    """Wei for compiling a module of `size` bytes."""
    return _up(size * prices.compile, MEGA)


def typical_amount(prices: Prices, memory: int = TYPICAL_MEMORY) -> int:
    """Wei for a gigafuel with all that goes with it: memory for as long as it takes, bytes moved, a share of compiling.

    No price can hide behind a low one for fuel: offers are compared by this.
    """
    return unit_amount(prices, GIGA, memory, TYPICAL_MOVED) + compile_amount(prices, TYPICAL_COMPILED)


def is_within(prices: Prices, most: int, memory: int = TYPICAL_MEMORY) -> bool:
    """Whether a gigafuel costs at most `most` wei, and what goes with it at most an `EXTRAS`-th of that more."""
    return prices.gigafuel <= most and typical_amount(prices, memory) <= most + most // EXTRAS


def why_too_dear(asked: Prices, offered: Prices, bound: int | None, memory: int) -> str | None:
    """Why a job's new prices are not agreed to; None when they may be.

    Args:
        asked: the prices that the provider quotes for the job.
        offered: those of its offer.
        bound: most wei for a gigafuel, as the user says; without it the new price is held to `MOST_DEARER` times the offer's.
        memory: bytes that the job's units may use.
    """
    if bound is not None:
        fair, most = is_within(asked, bound, memory), f"{bound} wei"
    else:
        fair = asked.gigafuel <= offered.gigafuel * MOST_DEARER and asked.speed >= offered.speed // MOST_DEARER
        most = f"{MOST_DEARER} times its offer"
    return None if fair else f"asks {asked.gigafuel} wei a gigafuel for this job instead of {offered.gigafuel}, more than {most}"
