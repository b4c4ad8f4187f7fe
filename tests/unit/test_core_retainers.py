"""What a retainer comes to, by the rules: time in which the device answered, and no more unpaid than two periods."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core import retainers as rules
from surge.core.messages import Bill, Held, Hold, decode_bill, decode_held, decode_hold, encode_body
from surge.core.messages.fields import wei_bytes
from surge.core.pricing import MAX_PRICE
from surge.core.retainers import GAP_SECONDS, MOST_UNPAID, Holding
from surge.errors import InvalidInput, PeerFault


def held(*times: float) -> Holding:
    """A core held from 0 on, with pings at these times."""
    holding = Holding(1, 3600, last=0.0)
    for each in times:
        holding = rules.pinged(holding, each)
    return holding


def test_time_between_answered_pings_counts_and_a_gap_does_not() -> None:
    assert held(5, 10, 15).unbilled == 15
    assert held(5, 5 + GAP_SECONDS).unbilled == 5 + GAP_SECONDS
    assert held(5, 6 + GAP_SECONDS, 10 + GAP_SECONDS).unbilled == 9
    assert held(5, 1).unbilled == 5, "a clock that goes back takes nothing away"


def test_both_counts_bound_what_is_billed_and_the_rest_stays_unpaid() -> None:
    holding, billed = rules.stated(held(*range(5, 65, 5)), 1000)
    assert (billed, holding.unpaid) == (60, 60)
    assert rules.answered(holding, billed).unpaid == 0
    holding, billed = rules.stated(held(*range(5, 65, 5)), 7)
    assert (billed, rules.answered(holding, billed).unpaid) == (7, 53)


@given(st.lists(st.integers(0, 200), max_size=60))
def test_a_buyer_that_states_too_little_is_held_for_no_more_than_the_bound_unpaid(claims: list[int]) -> None:
    holding, now, paid = Holding(1, 1, last=0.0), 0.0, 0
    for claim in claims:
        now += GAP_SECONDS
        holding = rules.pinged(holding, now)
        if holding.over:
            break
        holding, billed = rules.stated(holding, claim)
        holding = rules.answered(holding, billed)
        paid += billed
    assert now - paid <= MOST_UNPAID + GAP_SECONDS


def test_prices_are_rounded_up_and_bounded() -> None:
    assert rules.amount(1, 1, 1) == 1
    assert rules.amount(0, 4, 60) == 0
    assert rules.amount(7200, 3, 60) == 360
    with pytest.raises(InvalidInput):
        rules.amount(MAX_PRICE + 1, 1, 1)


def test_subjects_and_results_differ_in_every_part() -> None:
    subjects = {rules.subject(b"c" * 32, 0), rules.subject(b"c" * 32, 1), rules.subject(b"d" * 32, 0)}
    assert len(subjects) == 3
    about = rules.subject(b"c" * 32, 0)
    assert len({rules.result(about, 1, 5), rules.result(about, 2, 5), rules.result(about, 1, 6)}) == 3


def test_bodies_come_back_as_they_were_and_odd_ones_are_refused() -> None:
    hold, answer, bill = Hold(2, wei_bytes(10**20)), Held(5), Bill(3, 60)
    assert decode_hold(encode_body(hold)) == hold
    assert decode_held(encode_body(answer)) == answer
    assert decode_bill(encode_body(bill)) == bill
    for decode, odd in (
        (decode_hold, Hold(0, b"")),
        (decode_hold, Hold(5000, b"")),
        (decode_hold, Hold(1, b"x" * 33)),
        (decode_bill, Bill(-1, 1)),
    ):
        with pytest.raises(PeerFault):
            decode(encode_body(odd))  # type: ignore[operator]
