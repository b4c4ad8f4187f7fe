"""Deadlines: each missed by each party, at the second, and what follows; nothing is stuck whoever stops doing what."""

from __future__ import annotations

import boa
import pytest

from contracts_support import BUYER, OPERATOR, OWNER, STRANGER
from court_support import (
    ETHER,
    FALSE,
    FEE,
    JURORS,
    LIMIT,
    OTHER_SECRET,
    PARAMETERS,
    SECRET,
    THIRD,
    TRUE,
    Courthouse,
)
from surge.core import court as rules
from surge.core.court import Outcome, Phase

WORTH = 3 * FEE
BOND = PARAMETERS.opener_bond
SPLIT = [TRUE, TRUE, FALSE, FALSE, THIRD]


@pytest.fixture
def house(courthouse: Courthouse) -> Courthouse:
    courthouse.seat(24)
    courthouse.accuse()
    return courthouse


def over(house: Courthouse, case: int, outcome: Outcome) -> None:
    """The case is over and the court holds what it owes."""
    found = house.state(case)
    assert (found.phase, found.outcome) == (Phase.OVER, outcome)
    assert house.place.balance(house.court) == sum(house.owed(who) for who in (BUYER, OPERATOR, *JURORS))
    assert house.bonds.reserved_by(house.court.address, OPERATOR.address) == 0
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)


def one_second_before(house: Courthouse, case: int) -> None:
    house.wait_until(house.state(case).deadline - 1)


def test_an_accused_that_withholds_its_link_loses(house: Courthouse) -> None:
    bond = house.bonds.bond_of(OPERATOR.address)
    case = house.open(worth=WORTH)
    one_second_before(house, case)
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)
    with boa.env.anchor():
        house.court.answer(case, house.link(1))
    boa.env.time_travel(seconds=1)
    with boa.reverts("court: too late"):
        house.court.answer(case, house.link(1))
    with boa.env.prank(STRANGER.address):
        house.court.advance(case)
    over(house, case, Outcome.NO_LINK)
    assert house.bonds.bond_of(OPERATOR.address) == bond - WORTH
    assert house.owed(BUYER) == BOND + 5 * FEE + WORTH // 4


def test_an_opener_that_withholds_its_secret_loses_its_bond(house: Courthouse) -> None:
    bond = house.bonds.bond_of(OPERATOR.address)
    case = house.open(worth=WORTH)
    with boa.reverts("court: not the time to draw"):
        house.court.draw(case, SECRET)
    house.court.answer(case, house.link(1))
    with boa.reverts("court: not the time to answer"):
        house.court.answer(case, house.link(1))
    one_second_before(house, case)
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)
    with boa.env.anchor():
        assert house.court.draw(case, SECRET)
    boa.env.time_travel(seconds=1)
    with boa.reverts("court: too late"):
        house.court.draw(case, SECRET)
    house.court.advance(case)
    over(house, case, Outcome.NO_SECRET)
    assert house.bonds.bond_of(OPERATOR.address) == bond
    assert (house.owed(BUYER), house.owed(OPERATOR)) == (5 * FEE, BOND // 4)


def test_jurors_that_all_sleep_pay_and_give_no_verdict(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    one_second_before(house, case)
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)
    boa.env.time_travel(seconds=1)
    with boa.reverts("court: too late"):
        house.commit(case, jury[0], TRUE)
    house.court.advance(case)
    assert house.state(case).phase == Phase.EXTEND
    assert {house.bonds.bond_of(who.address) for who in jury} == {PARAMETERS.seat_stake - FEE}
    house.pass_deadline(case)
    house.court.advance(case)
    over(house, case, Outcome.UNRESOLVED)
    assert house.owed(BUYER) == BOND + 5 * FEE


def test_jurors_that_commit_and_do_not_reveal_pay(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    for who in jury:
        house.commit(case, who, TRUE)
    found = house.state(case)
    assert (found.phase, found.deadline) == (Phase.REVEAL, boa.env.evm.patch.timestamp + PARAMETERS.reveal_seconds)
    for who in jury[:2]:
        house.reveal(case, who, TRUE)
    one_second_before(house, case)
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)
    with boa.env.anchor():
        house.reveal(case, jury[2], TRUE)
    boa.env.time_travel(seconds=1)
    with boa.reverts("court: too late"):
        house.reveal(case, jury[2], TRUE)
    house.court.advance(case)
    assert house.state(case).phase == Phase.EXTEND
    assert [house.bonds.bond_of(who.address) for who in jury[:3]] == [PARAMETERS.seat_stake] * 2 + [PARAMETERS.seat_stake - FEE]


def test_nobody_reveals_while_anybody_may_commit_and_the_time_to_reveal_begins_by_itself(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    for who in jury[:4]:
        house.commit(case, who, TRUE)
    deadline = house.state(case).deadline
    one_second_before(house, case)
    with boa.reverts("court: not the time to reveal"):
        house.reveal(case, jury[0], TRUE)
    boa.env.time_travel(seconds=1)
    assert rules.phase_at(Phase.COMMIT, deadline, deadline, PARAMETERS.reveal_seconds) == (
        Phase.REVEAL,
        deadline + PARAMETERS.reveal_seconds,
    )
    house.reveal(case, jury[0], TRUE)
    assert house.state(case).deadline == deadline + PARAMETERS.reveal_seconds
    house.wait_until(deadline + PARAMETERS.reveal_seconds)
    with boa.reverts("court: too late"):
        house.reveal(case, jury[1], TRUE)


def test_a_verdict_comes_when_the_last_who_committed_has_revealed(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    for who in jury[:3]:
        house.commit(case, who, TRUE)
    house.pass_deadline(case)
    for who in jury[:3]:
        house.reveal(case, who, TRUE)
    house.court.advance(case)
    over(house, case, Outcome.CONVICTED)


def test_an_opener_that_calls_no_larger_jury_has_back_what_is_left(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.decide(case, SPLIT)
    one_second_before(house, case)
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)
    boa.env.time_travel(seconds=1)
    with boa.reverts("court: too late"), boa.env.prank(BUYER.address):
        house.court.extend(case, rules.secret_commitment(OTHER_SECRET))
    house.court.advance(case)
    over(house, case, Outcome.UNRESOLVED)
    assert [house.owed(who) for who in jury] == [FEE] * 4 + [0]
    assert house.owed(BUYER) == BOND + FEE


@pytest.fixture
def second(house: Courthouse) -> tuple[Courthouse, int, list]:
    """A case whose second jury was called."""
    case = house.open(worth=WORTH)
    jury = house.decide(case, SPLIT)
    with boa.env.prank(BUYER.address):
        house.court.extend(case, rules.secret_commitment(OTHER_SECRET))
    return house, case, jury


def test_an_accused_that_withholds_its_second_link_loses_and_the_first_jury_is_paid(second) -> None:
    house, case, jury = second
    house.pass_deadline(case)
    house.court.advance(case)
    over(house, case, Outcome.NO_LINK)
    assert [house.owed(who) for who in jury] == [FEE + WORTH // 4 // 4] * 4 + [0]
    assert house.owed(BUYER) == BOND + 20 * FEE + WORTH // 4


def test_an_opener_that_withholds_its_second_secret_loses_and_the_first_jury_is_paid(second) -> None:
    house, case, jury = second
    house.court.answer(case, house.link(2))
    house.pass_deadline(case)
    house.court.advance(case)
    over(house, case, Outcome.NO_SECRET)
    assert [house.owed(who) for who in jury] == [FEE + BOND // 4 // 4] * 4 + [0]
    assert house.owed(BUYER) == 16 * FEE


def test_a_second_jury_for_which_there_are_too_few_ends_the_case(courthouse: Courthouse) -> None:
    courthouse.seat(12)
    courthouse.accuse()
    case = courthouse.open(worth=WORTH)
    jury = courthouse.decide(case, SPLIT)
    with boa.env.prank(BUYER.address):
        courthouse.court.extend(case, rules.secret_commitment(OTHER_SECRET))
    courthouse.court.answer(case, courthouse.link(2))
    assert not courthouse.court.draw(case, OTHER_SECRET)
    over(courthouse, case, Outcome.DISMISSED)
    assert [courthouse.owed(who) for who in jury] == [FEE] * 4 + [0]
    assert courthouse.owed(BUYER) == BOND + 16 * FEE
    assert {courthouse.bonds.bond_of(who.address) for who in JURORS[:12]} == {PARAMETERS.seat_stake}


def test_a_case_that_nobody_looks_after_ends_whenever_somebody_does(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    for who in jury:
        house.commit(case, who, TRUE)
    boa.env.time_travel(seconds=10 * PARAMETERS.longest_case)
    house.court.advance(case)
    assert house.state(case).phase == Phase.EXTEND
    house.court.advance(case)
    over(house, case, Outcome.UNRESOLVED)


def test_no_deadline_of_a_case_is_later_than_the_longest_case(courthouse: Courthouse) -> None:
    courthouse.seat(70)
    courthouse.accuse(200 * ETHER)
    for who in JURORS[:70]:
        with boa.env.prank(who.address):
            courthouse.court.resign()
        courthouse.enlist(who, fuel_cap=PARAMETERS.max_fuel)
    boa.env.time_travel(seconds=1)
    case = courthouse.open(fuel_limit=PARAMETERS.max_fuel)
    opened_at = courthouse.state(case).opened_at
    for number, secret in enumerate((SECRET, OTHER_SECRET, SECRET)):
        one_second_before(courthouse, case)
        courthouse.court.answer(case, courthouse.link(number + 1))
        one_second_before(courthouse, case)
        assert courthouse.court.draw(case, secret)
        jury = courthouse.jury(case)
        one_second_before(courthouse, case)
        courthouse.commit(case, jury[0], TRUE)
        courthouse.pass_deadline(case)
        boa.env.time_travel(seconds=PARAMETERS.reveal_seconds)
        courthouse.court.advance(case)
        if number < 2:
            one_second_before(courthouse, case)
            with boa.env.prank(BUYER.address):
                courthouse.court.extend(case, rules.secret_commitment(OTHER_SECRET if number == 0 else SECRET))
    over(courthouse, case, Outcome.UNRESOLVED)
    assert courthouse.court.longest_case() == PARAMETERS.longest_case
    assert 0 <= opened_at + PARAMETERS.longest_case - boa.env.evm.patch.timestamp < 20


def test_a_court_that_was_replaced_ends_its_cases_and_releases_its_bonds(house: Courthouse) -> None:
    with boa.env.prank(OWNER.address):
        house.bonds.propose_slasher(STRANGER.address)
    boa.env.time_travel(seconds=house.bonds.slasher_delay())
    case = house.open(worth=WORTH)
    house.bonds.accept_slasher()
    assert house.decide(case, [TRUE] * 5)
    over(house, case, Outcome.CONVICTED)
    with boa.reverts("bonds: not the slasher"):
        house.open(worth=WORTH)


def test_a_court_that_may_no_longer_slash_ends_its_cases_all_the_same(house: Courthouse) -> None:
    bond = house.bonds.bond_of(OPERATOR.address)
    with boa.env.prank(OWNER.address):
        house.bonds.propose_slasher(STRANGER.address)
    boa.env.time_travel(seconds=house.bonds.slasher_delay())
    case = house.open(worth=WORTH)
    jury = house.decide(case, SPLIT)
    house.bonds.accept_slasher()
    boa.env.time_travel(seconds=house.bonds.unbonding_seconds() + 1)
    for who in (OPERATOR, *jury):
        house.bonds.release_retired(house.court.address, who.address)
    house.court.advance(case)
    over(house, case, Outcome.UNRESOLVED)
    assert house.bonds.bond_of(OPERATOR.address) == bond
    number = house.court.enlistment_of(jury[0].address)
    with boa.env.prank(jury[0].address):
        house.court.resign()
    boa.env.time_travel(seconds=PARAMETERS.longest_case + 1)
    house.court.release_seats(number)


def test_the_fuel_limit_decides_how_long_a_jury_has(house: Courthouse) -> None:
    assert house.court.fee(LIMIT) == FEE
    assert PARAMETERS.commit_window(PARAMETERS.max_fuel) == PARAMETERS.commit_seconds + 50
