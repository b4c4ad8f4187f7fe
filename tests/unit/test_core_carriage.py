"""What relays and devices owe each other, by the rules: neither side's lie wins more than its bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core import carriage as rules
from surge.core.carriage import FREE_WINDOW, MARGIN, MOST_WINDOW, Owing
from surge.core.messages import Settle, Settled, decode_settle, decode_settled, encode_body
from surge.core.types import Address
from surge.errors import PeerFault

RELAY, DEVICE = Address("0x" + "0a" * 20), Address("0x" + "0b" * 20)
SIZES = st.integers(0, 1 << 40)


def test_a_newcomer_is_carried_a_free_window_and_no_further() -> None:
    assert not rules.carried(Owing(), FREE_WINDOW).over
    assert rules.carried(Owing(), FREE_WINDOW + 1).over


def test_the_window_is_what_was_paid_up_to_a_bound_and_falls_when_a_receipt_is_refused() -> None:
    owing, billed = rules.stated(Owing(carried=3 * FREE_WINDOW), 3 * FREE_WINDOW)
    assert owing.over
    owing = rules.answered(owing, billed, accepted=True)
    assert (owing.unpaid, owing.window) == (0, 3 * FREE_WINDOW)
    assert rules.answered(owing, 5, accepted=False).window == FREE_WINDOW
    assert Owing(paid=100 * MOST_WINDOW).window == MOST_WINDOW


@given(st.lists(st.tuples(SIZES, SIZES), max_size=20))
def test_a_device_that_states_too_little_is_carried_no_more_than_a_window_beyond_what_it_paid(periods: list[tuple[int, int]]) -> None:
    owing, all_carried, all_paid = Owing(), 0, 0
    for size, claim in periods:
        if owing.over:
            break
        more = min(size, owing.window - owing.unpaid + 1)
        owing = rules.carried(owing, more)
        all_carried += more
        owing, billed = rules.stated(owing, claim)
        owing = rules.answered(owing, billed, accepted=True)
        all_paid += billed
        assert all_carried - all_paid == owing.unpaid <= owing.window + 1


@given(SIZES, SIZES)
def test_a_relay_that_counts_too_much_bills_no_more_than_the_margin(counted: int, claim: int) -> None:
    _, billed = rules.stated(Owing(carried=counted), claim)
    assert billed <= counted
    assert billed <= claim + claim // MARGIN


@given(SIZES)
def test_honest_counts_are_billed_whole(size: int) -> None:
    owing, billed = rules.stated(Owing(carried=size), size)
    assert billed == size
    assert rules.answered(owing, billed, accepted=True) == Owing(paid=size)


def test_a_device_settles_well_before_its_window_is_over() -> None:
    assert not rules.is_due(0, 0)
    assert not rules.is_due(FREE_WINDOW // 4 - 1, FREE_WINDOW)
    assert rules.is_due(FREE_WINDOW // 4, FREE_WINDOW)


def test_devices_that_never_paid_share_their_hosts_windows_and_one_of_them_does_not_use_them_up() -> None:
    greedy = Owing(carried=1 << 50)
    assert not rules.host_is_full([greedy] * 15)
    assert rules.host_is_full([greedy] * 16)
    assert not rules.host_is_full([Owing(carried=1 << 50, paid=1)] * 100)


def test_subjects_results_and_statements_differ_in_every_part() -> None:
    base = (RELAY, DEVICE, b"c" * 32, 0)
    others = [(DEVICE, DEVICE, b"c" * 32, 0), (RELAY, RELAY, b"c" * 32, 0), (RELAY, DEVICE, b"d" * 32, 0), (RELAY, DEVICE, b"c" * 32, 1)]
    subjects = {rules.subject(*each) for each in [base, *others]}
    assert len(subjects) == 5
    about = rules.subject(*base)
    assert len({rules.result(about, 1), rules.result(about, 2), rules.statement_digest(about, 1), rules.statement_digest(about, 2)}) == 4


def test_bodies_come_back_as_they_were_and_odd_ones_are_refused() -> None:
    settle, settled = Settle(DEVICE, 3, 1 << 40, b"s" * 65), Settled(1, 2, 3)
    assert decode_settle(encode_body(settle)) == settle
    assert decode_settled(encode_body(settled)) == settled
    for odd in (Settle("0xAB", 3, 1, b"s" * 65), Settle(DEVICE, -1, 1, b"s" * 65), Settle(DEVICE, 3, 1, b""), settled):
        with pytest.raises(PeerFault):
            decode_settle(encode_body(odd))
    with pytest.raises(PeerFault):
        decode_settled(encode_body(settle))
