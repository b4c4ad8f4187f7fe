"""The budget's arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.buyer.purse import GENEROUS, LEAST_FUEL, Purse, most_fuel
from surge.core.pricing import Prices, unit_amount
from surge.core.units import Limits

PRICES = Prices(gigafuel=10**15, memory=10**12, transfer=10**15, compile=0, speed=10**9)
LIMITS = Limits(output=1 << 20)


@given(funds=st.integers(0, 10**21), gigafuel=st.integers(0, 10**18), memory=st.integers(0, 10**15), moved=st.integers(0, 1 << 30))
def test_the_highest_affordable_fuel_is_affordable_and_one_more_is_not(funds: int, gigafuel: int, memory: int, moved: int) -> None:
    prices = Prices(gigafuel, memory, 10**15, 0, 10**9)
    fuel = most_fuel(prices, LIMITS, moved, funds)

    def price(amount: int) -> int:
        return unit_amount(prices, amount, LIMITS.memory, moved + LIMITS.output)

    if fuel < 0:
        assert price(0) > funds
    else:
        assert price(fuel) <= funds
        assert fuel == LIMITS.fuel or price(fuel + 1) > funds


def test_without_a_budget_the_first_unit_gets_the_users_limit_and_later_ones_a_generous_multiple() -> None:
    purse = Purse(None)
    first = purse.allow(PRICES, LIMITS, moved=10, count=1, slots=4, whole=False)
    assert first is not None
    assert (first.limits.fuel, first.lowered) == (LIMITS.fuel, False)
    purse.measured(1, 10**9)
    later = purse.allow(PRICES, LIMITS, moved=10, count=4, slots=4, whole=False)
    assert later is not None
    assert (later.limits.fuel, later.lowered) == (max(LEAST_FUEL, GENEROUS * 4 * 10**9), True)
    whole = purse.allow(PRICES, LIMITS, moved=10, count=1, slots=4, whole=True)
    assert whole is not None
    assert whole.limits.fuel == LIMITS.fuel


def test_a_budget_is_shared_out_over_the_lanes() -> None:
    purse = Purse(8 * 10**18)
    shares = []
    for number in range(4):
        allowance = purse.allow(PRICES, LIMITS, moved=0, count=1, slots=4, whole=False)
        assert allowance is not None
        purse.reserve(number, allowance.reserved)
        shares.append(allowance.reserved)
    assert sum(shares) <= 8 * 10**18
    assert min(shares) > 0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1), st.booleans()), max_size=60), st.integers(0, 10**18))
def test_spent_and_reserved_never_exceed_the_budget(steps: list[tuple[int, float, bool]], budget: int) -> None:
    purse = Purse(budget)
    flying: list[tuple[int, int]] = []
    for number, (count, used, settle) in enumerate(steps):
        allowance = purse.allow(PRICES, LIMITS, moved=count, count=count, slots=3, whole=False)
        if allowance is not None:
            purse.reserve(number, allowance.reserved)
            flying.append((number, allowance.limits.fuel))
        assert purse.spent + purse.reserved <= budget
        if settle and flying:
            key, fuel = flying.pop(0)
            taken = int(fuel * used)
            purse.measured(count, taken)
            purse.pay(key, unit_amount(PRICES, taken, LIMITS.memory, count))
        assert purse.spent + purse.reserved <= budget


def test_an_empty_budget_allows_nothing() -> None:
    assert Purse(0).allow(PRICES, LIMITS, moved=0, count=1, slots=1, whole=False) is None
    assert Purse(0).allow_setup(PRICES, LIMITS, 1) is None


@pytest.mark.parametrize("whole", [True, False])
def test_a_unit_that_needs_everything_waits_for_the_others(whole: bool) -> None:
    purse = Purse(10**18)
    purse.reserve("other", 10**17)
    allowance = purse.allow(PRICES, LIMITS, moved=0, count=1, slots=2, whole=whole)
    assert (allowance is None) is whole
