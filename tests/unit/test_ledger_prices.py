"""What a transaction offers for its gas, and what it offers when it waits too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surge.ledger.prices import MAX_FEE, MAX_TIP, TIP, Price, first_price, raised

GWEI = 10**9
BASES = st.integers(0, 2 * MAX_FEE)


def test_a_price_that_is_enough_stays() -> None:
    for base in (0, 7, GWEI, MAX_FEE // 2 - GWEI):
        assert raised(first_price(base), base, passed_over=False) is None
        assert raised(first_price(base), base // 2, passed_over=False) is None


def test_a_base_fee_that_rose_raises_the_price() -> None:
    price = first_price(GWEI)
    assert price == Price(3 * GWEI, TIP)
    for base in (GWEI + 1, 2 * GWEI, 2 * GWEI + 1, 50 * GWEI):
        new = raised(price, base, passed_over=False)
        assert new is not None
        assert (new.fee, new.tip) == (max(2 * (base + new.tip), price.fee * 9 // 8), TIP * 9 // 8)


def test_a_tip_that_nobody_takes_is_doubled_up_to_its_bound() -> None:
    price: Price | None = first_price(GWEI)
    tips = []
    while price is not None:
        tips.append(price.tip)
        price = raised(price, GWEI, passed_over=True)
    assert tips == [TIP << step for step in range(6)]
    assert tips[-1] == MAX_TIP


def test_a_base_fee_beyond_the_price_raises_it_past_the_bound_on_tips() -> None:
    assert raised(Price(40 * GWEI, MAX_TIP), 8 * GWEI, passed_over=True) is None
    assert raised(Price(40 * GWEI, MAX_TIP), 9 * GWEI, passed_over=True) == Price(90 * GWEI, 36 * GWEI)


@given(st.lists(st.tuples(BASES, st.booleans()), min_size=1, max_size=40))
def test_a_raised_price_is_taken_instead_and_bounded(steps: list[tuple[int, bool]]) -> None:
    price = first_price(steps[0][0])
    for base, passed_over in steps:
        assert 0 < price.tip <= price.fee <= MAX_FEE
        new = raised(price, base, passed_over=passed_over)
        if new is not None:
            assert 8 * new.fee >= 9 * price.fee
            assert 8 * new.tip >= 9 * price.tip
            price = new


@given(st.integers(0, MAX_FEE // 4))
def test_who_names_base_fees_that_creep_upwards_reaches_no_absurd_tip(base: int) -> None:
    price, steps = first_price(base), 0
    while steps < 30:
        new = raised(price, price.fee - price.tip + 1, passed_over=True)
        if new is None:
            break
        price, steps = new, steps + 1
    assert steps < 30
    assert price.tip < 4 * MAX_TIP
