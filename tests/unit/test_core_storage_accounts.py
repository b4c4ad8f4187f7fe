"""What holding shards costs, and how much moves before it is paid: every sum by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core.pricing import MAX_PRICE
from surge.core.storage import accounts
from surge.core.storage.accounts import FREE_WINDOW, MONTH_SECONDS, MOST_WINDOW, Held, Traffic
from surge.errors import InvalidInput

DEAL = b"\x01" * 32


def test_a_gigabyte_over_a_month_costs_the_price() -> None:
    assert accounts.amount(777, 10**9, MONTH_SECONDS) == 777
    assert accounts.amount(777, 10**9, MONTH_SECONDS // 2) == 389


def test_every_deal_is_rounded_up_by_itself() -> None:
    helds = [Held(DEAL, 1, 1, 0, 1), Held(DEAL, 1, 1, 5, 6)]
    assert accounts.total(helds) == 2
    assert accounts.byte_hours(helds) == 1


@pytest.mark.parametrize("price", [-1, MAX_PRICE + 1])
def test_a_price_out_of_bounds_is_refused(price: int) -> None:
    with pytest.raises(InvalidInput, match="price of storage"):
        accounts.amount(price, 1, 1)


@given(st.integers(0, MAX_PRICE), st.integers(1, 1 << 28), st.integers(0, 10**8), st.integers(0, 10**8))
def test_two_halves_cost_the_whole_and_a_wei_at_most(price: int, size: int, one: int, other: int) -> None:
    whole = accounts.amount(price, size, one + other)
    assert whole <= accounts.amount(price, size, one) + accounts.amount(price, size, other) <= whole + 1


def test_a_receipts_hashes_tell_apart_what_it_says() -> None:
    about = accounts.subject(DEAL, 3)
    held = Held(DEAL, 10, 1, 100, 200)
    said = {accounts.result(about, [held]), accounts.result(about, [replace(held, until=201)]), accounts.result(about, [held, held])}
    assert len(said) == 3
    assert len({about, accounts.subject(DEAL, 4), accounts.reads(DEAL, 3), accounts.reads(DEAL, 4)}) == 4
    assert accounts.result(about, [held]) == accounts.result(about, [replace(held, size=11, price=2)])


def test_the_window_is_what_was_paid_within_bounds() -> None:
    assert Traffic().window == FREE_WINDOW
    assert Traffic(paid=FREE_WINDOW + 5).window == FREE_WINDOW + 5
    assert Traffic(paid=1 << 50).window == MOST_WINDOW


def test_what_moved_is_unpaid_until_it_is_vouched_for() -> None:
    traffic = accounts.moved_out(accounts.moved_in(Traffic(), 300), 200)
    assert traffic.unpaid == 500
    traffic, size = accounts.billed(accounts.kept(traffic, 300), 150)
    assert (size, traffic) == (150, Traffic(read=50, owed=450))
    traffic = accounts.vouched(traffic, 450)
    assert traffic == Traffic(read=50, paid=450)


def test_a_bill_is_over_the_smaller_count() -> None:
    assert accounts.billed(Traffic(read=10), 1 << 40) == (Traffic(owed=10), 10)


def test_nothing_more_moves_beyond_the_window_but_one_shard_is_finished() -> None:
    full = Traffic(written=FREE_WINDOW)
    assert not full.room()
    assert full.room(own=1)
    assert not replace(full, read=5).room(own=5)
    assert accounts.given_up(full, FREE_WINDOW).room()
