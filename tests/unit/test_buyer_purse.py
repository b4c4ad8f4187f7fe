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
CHANNEL, OTHER = b"c" * 32, b"d" * 32


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
    first = purse.allow(PRICES, LIMITS, CHANNEL, moved=10, count=1, slots=4, whole=False)
    assert first is not None
    assert (first.limits.fuel, first.lowered) == (LIMITS.fuel, False)
    purse.measured(1, 10**9)
    later = purse.allow(PRICES, LIMITS, CHANNEL, moved=10, count=4, slots=4, whole=False)
    assert later is not None
    assert (later.limits.fuel, later.lowered) == (max(LEAST_FUEL, GENEROUS * 4 * 10**9), True)
    whole = purse.allow(PRICES, LIMITS, CHANNEL, moved=10, count=1, slots=4, whole=True)
    assert whole is not None
    assert whole.limits.fuel == LIMITS.fuel


def test_a_budget_is_shared_out_over_the_lanes() -> None:
    purse = Purse(8 * 10**18)
    shares = []
    for number in range(4):
        allowance = purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=4, whole=False)
        assert allowance is not None
        purse.reserve(number, allowance.reserved, CHANNEL)
        shares.append(allowance.reserved)
    assert sum(shares) <= 8 * 10**18
    assert min(shares) > 0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1), st.booleans()), max_size=60), st.integers(0, 10**18))
def test_spent_and_reserved_never_exceed_the_budget(steps: list[tuple[int, float, bool]], budget: int) -> None:
    purse = Purse(budget)
    flying: list[tuple[int, int]] = []
    for number, (count, used, settle) in enumerate(steps):
        allowance = purse.allow(PRICES, LIMITS, CHANNEL, moved=count, count=count, slots=3, whole=False)
        if allowance is not None:
            purse.reserve(number, allowance.reserved, CHANNEL)
            flying.append((number, allowance.limits.fuel))
        assert purse.spent + purse.reserved <= budget
        if settle and flying:
            key, fuel = flying.pop(0)
            taken = int(fuel * used)
            purse.measured(count, taken)
            purse.pay(key, unit_amount(PRICES, taken, LIMITS.memory, count), CHANNEL)
        assert purse.spent + purse.reserved <= budget


def test_an_empty_budget_allows_nothing() -> None:
    assert Purse(0).allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=1, whole=False) is None
    assert Purse(0).allow_setup(PRICES, LIMITS, CHANNEL, alone=True) is None


@pytest.mark.parametrize("whole", [True, False])
def test_a_unit_that_needs_everything_waits_for_the_others(whole: bool) -> None:
    purse = Purse(10**18)
    purse.measured(1, 10**9)
    purse.reserve("other", 10**17, CHANNEL)
    allowance = purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=2, whole=whole)
    assert (allowance is None) is whole


def test_while_nobody_knows_what_an_item_takes_one_unit_finds_out_with_all_that_is_left() -> None:
    purse = Purse(PRICES.gigafuel * 10)
    first = purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=8, whole=False)
    assert first is not None
    assert first.limits.fuel > 9 * 10**9
    purse.reserve("first", PRICES.gigafuel * 3, CHANNEL)
    assert purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=8, whole=False) is None
    rich = Purse(10**30)
    rich.reserve("first", PRICES.gigafuel * 3, CHANNEL)
    assert rich.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=8, whole=False) is not None, "where all limits are paid nobody waits"


def test_what_would_be_cut_short_is_not_sent() -> None:
    purse = Purse(PRICES.gigafuel * 10)
    purse.measured(1, 7 * 10**9)
    assert purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=2, whole=False) is not None
    purse.pay("first", PRICES.gigafuel * 7, CHANNEL)
    assert purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=2, whole=False) is None


FLOOR = 10**16


def test_a_budget_that_does_not_cover_a_floor_opens_no_channel_and_says_what_would() -> None:
    purse = Purse(10**14)
    assert not purse.open(CHANNEL, FLOOR, alone=True)
    assert purse.left == 10**14
    assert purse.needed(FLOOR) == FLOOR
    assert Purse(FLOOR).open(CHANNEL, FLOOR, alone=True)


def test_floors_beside_the_first_take_half_of_the_budget_at_most() -> None:
    purse = Purse(4 * FLOOR)
    assert [purse.open(bytes([number]), FLOOR, alone=not number) for number in range(4)] == [True, True, False, False]
    assert purse.left == 2 * FLOOR


def test_what_a_floor_binds_is_for_work_on_its_channel_alone() -> None:
    purse = Purse(FLOOR)
    assert purse.open(CHANNEL, FLOOR, alone=True)
    assert (purse.left, purse.left_on(OTHER), purse.left_on(CHANNEL)) == (0, 0, FLOOR)
    assert purse.allow(PRICES, LIMITS, OTHER, moved=0, count=1, slots=1, whole=False) is None
    assert purse.allow(PRICES, LIMITS, CHANNEL, moved=0, count=1, slots=1, whole=False) is not None
    purse.reserve("unit", 4 * 10**15, CHANNEL)
    assert (purse.left, purse.bound, purse.left_on(CHANNEL)) == (0, 6 * 10**15, 6 * 10**15)
    purse.pay("unit", 3 * 10**15, CHANNEL)
    assert (purse.spent, purse.bound, purse.left_on(CHANNEL)) == (3 * 10**15, 7 * 10**15, 7 * 10**15)


def test_a_channel_that_was_not_opened_binds_nothing() -> None:
    purse = Purse(FLOOR)
    assert purse.open(CHANNEL, FLOOR, alone=True)
    purse.not_opened(CHANNEL)
    assert purse.left == FLOOR


@given(
    st.integers(0, 10**17),
    st.lists(st.tuples(st.sampled_from(["open", "send", "pay"]), st.integers(0, 3), st.integers(0, 3 * 10**16)), max_size=40),
)
def test_whatever_channels_are_closed_the_budget_is_not_exceeded(budget: int, steps: list[tuple[str, int, int]]) -> None:
    """What a job costs is, by channel, the floor or what was done there, whichever is more."""
    purse = Purse(budget)
    floors: dict[bytes, int] = {}
    paid: dict[bytes, int] = {}
    flying: list[tuple[int, int, bytes]] = []
    for number, (step, which, amount) in enumerate(steps):
        channel = bytes([which])
        if step == "open" and channel not in floors and purse.open(channel, amount, alone=not floors):
            floors[channel] = amount
        elif step == "send" and amount <= (purse.left_on(channel) or 0):
            purse.reserve(number, amount, channel)
            flying.append((number, amount, channel))
        elif step == "pay" and flying:
            key, reserved, where = flying.pop(0)
            purse.pay(key, reserved - reserved // 3, where)
            paid[where] = paid.get(where, 0) + reserved - reserved // 3
        due = dict(paid)
        for _, reserved, where in flying:
            due[where] = due.get(where, 0) + reserved
        assert sum(max(due.get(each, 0), floors.get(each, 0)) for each in {*due, *floors}) <= budget


def test_the_first_setup_may_take_all_and_the_others_what_it_took_and_only_where_as_much_is_left() -> None:
    purse = Purse(10**18)
    first = purse.allow_setup(PRICES, LIMITS, CHANNEL, alone=True)
    assert first is not None
    assert 10**18 - PRICES.gigafuel < first.reserved <= 10**18
    purse.setup_takes(400 * 10**9)
    second = purse.allow_setup(PRICES, LIMITS, CHANNEL, alone=False)
    assert second is not None
    assert 400 * 10**9 < second.limits.fuel < 500 * 10**9
    purse.reserve("units", 2 * 10**17, OTHER)
    assert purse.allow_setup(PRICES, LIMITS, CHANNEL, alone=False) is None
    assert purse.allow_setup(PRICES, LIMITS, CHANNEL, alone=True) is not None
    purse.reserve("more units", 5 * 10**17, OTHER)
    assert purse.allow_setup(PRICES, LIMITS, CHANNEL, alone=True) is None


def test_a_setup_asked_before_a_restart_is_asked_under_the_same_limit_where_that_is_affordable() -> None:
    again = Purse(10**18).allow_setup(PRICES, LIMITS, CHANNEL, alone=True, before=(10**11, False))
    assert again is not None
    assert again.limits.fuel == 10**11
    poorer = Purse(10**16).allow_setup(PRICES, LIMITS, CHANNEL, alone=True, before=(10**11, False))
    assert poorer is not None
    assert poorer.limits.fuel < 10**11
    paid = Purse(0).allow_setup(PRICES, LIMITS, CHANNEL, alone=True, before=(10**11, True))
    assert paid is not None
    assert (paid.limits.fuel, paid.reserved) == (10**11, 0)
