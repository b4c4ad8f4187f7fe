"""Equivocation, and bonds that are hidden from a verdict: behind a friend's case, or behind seats."""

from __future__ import annotations

from dataclasses import astuple as row
from dataclasses import replace

import boa
import pytest

from contracts_support import BUYER, DEVICE, OPERATOR, STRANGER, key, rich
from court_support import ENGINE, ETHER, FALSE, FEE, LIMIT, PARAMETERS, SECRET, THIRD, TRUE, UNAVAILABLE, Courthouse
from surge.core import court as rules
from surge.core import settling
from surge.core.court import Outcome
from surge.core.types import address

WORTH = 3 * FEE
DUE = WORTH + 5 * FEE
KEY = b"\x09" * 32


@pytest.fixture
def house(courthouse: Courthouse) -> Courthouse:
    courthouse.seat(24)
    courthouse.accuse()
    return courthouse


def pair(house: Courthouse, **changes):
    """Two receipts of one number, signed by the device."""
    one, other = house.receipt(FALSE), house.receipt(TRUE, **changes)
    return row(one), DEVICE.sign(one.digest(house.place.domain)), row(other), DEVICE.sign(other.digest(house.place.domain))


def report(house: Courthouse, *arguments) -> int:
    with boa.env.prank(STRANGER.address):
        return house.equivocations.equivocation(*arguments)


def test_equivocation_costs_half_of_the_bond_without_a_jury_and_a_tenth_goes_to_the_reporter(house: Courthouse) -> None:
    supply = house.token.totalSupply()
    assert report(house, *pair(house)) == 10 * ETHER
    assert house.bonds.bond_of(OPERATOR.address) == 10 * ETHER
    assert house.place.balance(STRANGER) == ETHER
    assert house.place.balance(house.court) == house.place.balance(house.equivocations) == 0
    assert supply - house.token.totalSupply() == 9 * ETHER
    assert rules.equivocation(20 * ETHER, 0, 20 * ETHER) == (10 * ETHER, ETHER)


def test_a_number_is_reported_once(house: Courthouse) -> None:
    arguments = pair(house)
    report(house, *arguments)
    for again in (arguments, arguments[2:] + arguments[:2], pair(house, result=THIRD.result)):
        with boa.reverts("court: reported before"):
            report(house, *again)
    house.disputed()
    assert report(house, *pair(house)) == 5 * ETHER


def test_what_is_no_equivocation_is_refused(house: Courthouse) -> None:
    one, signature, other, other_signature = pair(house)
    with boa.reverts("court: one receipt"):
        report(house, one, signature, one, signature)
    with boa.reverts("court: numbers differ"):
        report(house, one, signature, *pair(house, sequence=7)[2:])
    with boa.reverts("court: numbers differ"):
        report(house, one, signature, *pair(house, channel=b"\x08" * 32)[2:])
    with boa.reverts("court: not the device's receipt"):
        report(house, one, other_signature, other, signature)
    with boa.reverts("court: no such channel"):
        receipt = house.receipt(channel=b"\x08" * 32)
        report(house, row(receipt), signature, row(replace(receipt, amount=1)), signature)


def test_anybodys_device_slashes_no_operator(house: Courthouse) -> None:
    fake = key(4_000)
    house.open_channel(b"\x01" * 32, device=fake)
    one, other = house.receipt(FALSE), house.receipt(TRUE)
    signed = [each for receipt in (one, other) for each in (row(receipt), fake.sign(receipt.digest(house.place.domain)))]
    with boa.reverts("court: no operator's device"):
        report(house, *signed)


def test_who_reports_itself_loses_nine_tenths(house: Courthouse) -> None:
    with boa.env.prank(OPERATOR.address):
        house.equivocations.equivocation(*pair(house))
    assert house.place.balance(OPERATOR) == ETHER
    assert house.bonds.bond_of(OPERATOR.address) == 10 * ETHER


@pytest.mark.parametrize("leaving", [False, True])
def test_nobody_has_itself_slashed_for_the_stake_of_others(house: Courthouse, leaving: bool) -> None:
    """Of 2,000 SURGE 20 are the operator's: it would lose ten, and its friend get a hundred."""
    rich(house.place, STRANGER, tokens=1_980 * ETHER)
    with boa.env.prank(STRANGER.address):
        house.bonds.stake(OPERATOR.address, 1_980 * ETHER)
    if leaving:
        with boa.env.prank(OPERATOR.address):
            house.bonds.unstake(OPERATOR.address, house.bonds.position(OPERATOR.address, OPERATOR.address)[0])
    assert report(house, *pair(house)) == 1_000 * ETHER
    assert 0 <= 10 * ETHER - house.place.balance(STRANGER) < 1_000
    assert rules.equivocation(2_000 * ETHER, 0, 2_000 * ETHER, 10 * ETHER) == (1_000 * ETHER, 10 * ETHER)
    assert house.place.balance(house.equivocations) == 0


def test_a_friend_that_convicts_an_operator_gets_no_more_than_the_operator_loses(house: Courthouse) -> None:
    rich(house.place, STRANGER, tokens=4_980 * ETHER)
    with boa.env.prank(STRANGER.address):
        house.bonds.stake(OPERATOR.address, 4_980 * ETHER)
    case = house.open(worth=WORTH)
    house.decide(case, [TRUE] * 5)
    assert house.state(case).outcome == Outcome.CONVICTED
    bond = house.state(case).bond
    split = settling.split(Outcome.CONVICTED, worth=WORTH, fee=FEE, bond=bond, pot=5 * FEE, held=DUE, paid=5, own=DUE * 20 // 5_000)
    assert split.opener == bond + 5 * FEE + DUE * 20 // 5_000
    assert 0 <= split.opener - house.owed(BUYER) < 1_000


def test_an_operator_without_a_bond_loses_nothing_and_stops_nothing(courthouse: Courthouse) -> None:
    courthouse.accuse(bond=0)
    assert report(courthouse, *pair(courthouse)) == 0


def friend_opens(house: Courthouse, **claims) -> int:
    """A case against the accused that a friend of it opens on a channel of its own; here the buyer plays both."""
    return house.open(house.disputed(THIRD), worth=WORTH, **claims)


def test_a_bond_behind_a_friends_case_is_slashed_when_that_case_is_over(courthouse: Courthouse) -> None:
    courthouse.seat(24)
    courthouse.accuse(bond=DUE)
    friends = friend_opens(courthouse)
    case = courthouse.open(worth=WORTH)
    assert courthouse.state(case).reserved == 0
    courthouse.court.answer(friends, courthouse.link(1))
    courthouse.decide(case, [TRUE] * 5)
    assert courthouse.state(case).outcome == Outcome.CONVICTED
    assert courthouse.court.debts(OPERATOR.address) == DUE
    assert courthouse.bonds.bond_of(OPERATOR.address) == DUE
    courthouse.pass_deadline(friends)
    courthouse.court.advance(friends)
    assert courthouse.state(friends).outcome == Outcome.NO_SECRET
    assert courthouse.court.debts(OPERATOR.address) == 0
    assert courthouse.bonds.bond_of(OPERATOR.address) == 0


def test_a_debt_is_no_more_than_what_was_hidden_and_takes_nothing_that_comes_later(courthouse: Courthouse) -> None:
    courthouse.seat(24)
    courthouse.accuse(bond=FEE)
    friends = friend_opens(courthouse)
    case = courthouse.open(worth=WORTH)
    courthouse.court.answer(friends, courthouse.link(1))
    courthouse.decide(case, [TRUE] * 5)
    assert courthouse.court.debts(OPERATOR.address) == FEE
    courthouse.bond(OPERATOR, 5 * ETHER)
    courthouse.pass_deadline(friends)
    courthouse.court.advance(friends)
    assert courthouse.court.debts(OPERATOR.address) == 0
    assert courthouse.bonds.bond_of(OPERATOR.address) == 5 * ETHER
    last = courthouse.open(worth=WORTH)
    courthouse.decide(last, [UNAVAILABLE] * 5)
    assert courthouse.bonds.bond_of(OPERATOR.address) == 5 * ETHER


def test_a_debt_ends_when_what_it_was_to_be_taken_of_is_slashed_otherwise(courthouse: Courthouse) -> None:
    courthouse.seat(24)
    courthouse.accuse(bond=DUE)
    friends = friend_opens(courthouse)
    case = courthouse.open(worth=WORTH)
    courthouse.court.answer(friends, courthouse.link(1))
    courthouse.decide(case, [TRUE] * 5)
    assert courthouse.court.debts(OPERATOR.address) == DUE
    assert courthouse.court.draw(friends, SECRET)
    courthouse.vote(friends, courthouse.jury(friends), [TRUE] * 5)
    courthouse.court.advance(friends)
    assert courthouse.state(friends).outcome == Outcome.CONVICTED
    assert courthouse.court.debts(OPERATOR.address) == 0


def test_a_bond_behind_seats_is_slashed_when_they_are_released_and_the_seats_are_lost(courthouse: Courthouse) -> None:
    courthouse.seat(24)
    courthouse.accuse(bond=PARAMETERS.seat_stake)
    with boa.env.prank(OPERATOR.address):
        number = courthouse.court.enlist(1, [ENGINE], 1 << 30, LIMIT, KEY)
    case = courthouse.open(worth=WORTH)
    courthouse.decide(case, [TRUE] * 5)
    assert courthouse.court.debts(OPERATOR.address) == DUE
    assert courthouse.court.enlistment_of(OPERATOR.address) == 0
    boa.env.time_travel(seconds=PARAMETERS.longest_case + 1)
    courthouse.court.release_seats(number)
    assert courthouse.bonds.bond_of(OPERATOR.address) == PARAMETERS.seat_stake - DUE
    assert courthouse.bonds.free_bond(OPERATOR.address) == PARAMETERS.seat_stake - DUE


def test_equivocation_finds_a_bond_behind_seats_too(courthouse: Courthouse) -> None:
    courthouse.accuse(bond=PARAMETERS.seat_stake)
    with boa.env.prank(OPERATOR.address):
        number = courthouse.court.enlist(1, [ENGINE], 1 << 30, LIMIT, KEY)
    assert report(courthouse, *pair(courthouse)) == 0
    assert courthouse.court.debts(OPERATOR.address) == PARAMETERS.seat_stake // 2
    assert courthouse.court.enlistment_of(OPERATOR.address) == 0
    courthouse.disputed()
    report(courthouse, *pair(courthouse))
    assert courthouse.court.debts(OPERATOR.address) == PARAMETERS.seat_stake * 3 // 4
    boa.env.time_travel(seconds=PARAMETERS.longest_case + 1)
    courthouse.court.release_seats(number)
    assert courthouse.bonds.bond_of(OPERATOR.address) == PARAMETERS.seat_stake // 4


def test_a_bond_cannot_leave_while_a_case_is_open_nor_be_undelegated_in_front_of_a_slash(house: Courthouse) -> None:
    shares, _, _ = house.bonds.position(OPERATOR.address, OPERATOR.address)
    with boa.env.prank(OPERATOR.address):
        ticket = house.bonds.unstake(OPERATOR.address, shares)
    boa.env.time_travel(seconds=house.bonds.unbonding_seconds())
    case = house.open(worth=WORTH)
    with boa.env.prank(OPERATOR.address):
        assert house.bonds.withdraw(ticket) == 20 * ETHER - DUE
        with boa.reverts("bonds: reserved"):
            house.bonds.withdraw(ticket)
    house.decide(case, [TRUE] * 5)
    assert house.state(case).outcome == Outcome.CONVICTED
    assert house.bonds.bond_of(OPERATOR.address) == 0
    assert house.place.balance(OPERATOR) < 20 * ETHER - DUE + ETHER


def test_slashing_oneself_with_a_friends_case_loses_more_than_it_saves(courthouse: Courthouse) -> None:
    courthouse.seat(24)
    courthouse.accuse(bond=DUE)
    before = courthouse.place.balance(BUYER) + DUE
    case = friend_opens(courthouse)
    jury = courthouse.decide(case, [TRUE] * 5)
    with boa.env.prank(BUYER.address):
        courthouse.court.collect()
    after = courthouse.place.balance(BUYER) + courthouse.bonds.bond_of(OPERATOR.address)
    assert address(courthouse.state(case).accused) == OPERATOR.address
    assert before - after == 5 * FEE + WORTH - WORTH // 4 > DUE // 2
    assert sum(courthouse.owed(who) for who in jury) == 5 * (FEE + WORTH // 4 // 5)
