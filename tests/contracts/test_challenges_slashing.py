"""Unanswered challenges: who loses and gets what, and that nobody saves or slashes a bond with challenges of its own."""

from __future__ import annotations

from dataclasses import replace

import boa
import pytest

from bonds_support import ALICE, JUDGE
from challenges_support import CHALLENGER, ETHER, NUMBERS, OTHER, Storage, found_challenges
from contracts_support import BUYER, DEVICE, OPERATOR, OWNER, STRANGER, UNBONDING, Place, rich
from surge.core.storage.pledges import owner_part


def test_silence_costs_the_penalty_half_of_it_burnt_and_half_the_owners(storage: Storage) -> None:
    pledge = storage.pledge()
    supply = storage.place.token.totalSupply()
    number = storage.challenge(pledge)
    storage.wait()
    assert storage.settle(number, pledge) == 2 * ETHER
    assert storage.place.token.totalSupply() == supply - ETHER
    assert (storage.owed(BUYER), storage.owed(CHALLENGER), storage.owed(OPERATOR)) == (ETHER, NUMBERS.fee, 0)
    assert (storage.bonds.bond_of(OPERATOR.address), storage.reserved()) == (38 * ETHER, 0)
    storage.by(BUYER, storage.contract, "collect")
    storage.by(CHALLENGER, storage.contract, "collect")
    assert storage.held() == 0


def test_a_pledge_is_slashed_once_and_who_challenged_it_too_has_the_fee_back(storage: Storage) -> None:
    pledge = storage.pledge()
    numbers = [storage.challenge(pledge, index, OTHER) for index in range(3)]
    assert storage.reserved() == 6 * ETHER
    storage.wait()
    assert [storage.settle(number, pledge) for number in numbers] == [2 * ETHER, 0, 0]
    assert storage.contract.failed(pledge.digest(storage.domain))
    assert (storage.owed(OTHER), storage.owed(OPERATOR), storage.reserved()) == (3 * NUMBERS.fee, 0, 0)
    assert storage.bonds.bond_of(OPERATOR.address) == 38 * ETHER
    with boa.reverts("challenges: the pledge failed before"):
        storage.challenge(pledge)


def test_a_later_challenge_ends_at_once_when_an_earlier_one_failed(storage: Storage) -> None:
    pledge = storage.pledge()
    one = storage.challenge(pledge)
    storage.wait(99)
    two = storage.challenge(pledge, 1)
    storage.wait(1)
    with boa.reverts("challenges: deadline not passed"):
        storage.settle(two, pledge)
    storage.settle(one, pledge)
    assert storage.settle(two, pledge) == 0


def test_a_friends_challenge_of_a_leaf_that_is_there_shields_no_other(storage: Storage) -> None:
    pledge = storage.pledge()
    friends, real = storage.challenge(pledge, 3, OTHER), storage.challenge(pledge, 4)
    storage.answer(friends, pledge, 3)
    storage.wait()
    assert storage.settle(real, pledge) == 2 * ETHER


def test_failing_a_cheap_pledge_for_the_same_deal_shields_no_dear_one(storage: Storage) -> None:
    cheap, dear = storage.pledge(penalty=NUMBERS.least_penalty), storage.pledge(penalty=NUMBERS.most_penalty)
    one, two = storage.challenge(cheap, who=OTHER), storage.challenge(dear)
    storage.wait()
    rest = NUMBERS.most_penalty - NUMBERS.least_penalty
    assert (storage.settle(one, cheap), storage.settle(two, dear)) == (NUMBERS.least_penalty, rest)
    assert (storage.reserved(), storage.bonds.bond_of(OPERATOR.address)) == (0, 40 * ETHER - NUMBERS.most_penalty)


def test_a_shard_costs_its_penalty_once_however_often_it_was_renewed(storage: Storage) -> None:
    """A renewal takes nothing but the time since the last one: an owner may have any number of pledges that hold."""
    starts = storage.now
    renewed = [storage.pledge(starts=starts - at) for at in range(8)]
    numbers = {storage.challenge(pledge): pledge for pledge in renewed}
    storage.wait()
    slashed = [storage.settle(number, pledge) for number, pledge in numbers.items()]
    assert slashed == [renewed[0].penalty] + [0] * 7
    assert (storage.reserved(), storage.bonds.bond_of(OPERATOR.address)) == (0, 40 * ETHER - renewed[0].penalty)


def test_a_friends_pledge_for_the_same_deal_shields_no_owners(storage: Storage) -> None:
    friends, real = storage.pledge(owner=OTHER.address), storage.pledge()
    one, two = storage.challenge(friends, who=OTHER), storage.challenge(real)
    storage.wait()
    assert (storage.settle(one, friends), storage.settle(two, real)) == (friends.penalty, real.penalty)


def test_open_challenges_hold_a_quarter_of_a_bond_and_leave_the_rest_to_the_court(storage: Storage) -> None:
    numbers = {}
    for deal in range(8):
        pledge = storage.pledge(deal, penalty=4 * ETHER)
        numbers[storage.challenge(pledge)] = pledge
    assert storage.reserved() == 10 * ETHER
    assert storage.bonds.free_bond(OPERATOR.address) == 30 * ETHER
    storage.wait()
    assert sum(storage.settle(number, pledge) for number, pledge in numbers.items()) == 32 * ETHER, "each fails with its whole penalty"
    assert (storage.reserved(), storage.bonds.bond_of(OPERATOR.address)) == (0, 8 * ETHER)


def test_a_bond_that_friends_hold_with_challenges_is_slashed_when_they_let_go(storage: Storage) -> None:
    """The operator fills what challenges may hold, and takes out the rest that was ready."""
    ticket = storage.by(OPERATOR, storage.bonds, "unstake", OPERATOR.address, storage.bonds.position(OPERATOR.address, OPERATOR.address)[0])
    storage.wait(UNBONDING)
    friends = [storage.pledge(100 + deal, penalty=4 * ETHER, keeper=OTHER.address) for deal in range(3)]
    theirs = [storage.challenge(pledge, who=OTHER) for pledge in friends]
    real = storage.pledge(penalty=4 * ETHER)
    number = storage.challenge(real)
    assert storage.contract.open_challenge(number).reserved == 0
    storage.by(OPERATOR, storage.bonds, "withdraw", ticket)
    storage.wait(99)
    for each, pledge in zip(theirs[:1], friends, strict=False):
        storage.answer(each, pledge)
    assert storage.bonds.bond_of(OPERATOR.address) == 10 * ETHER
    storage.by(OPERATOR, storage.bonds, "withdraw", ticket)
    assert storage.bonds.bond_of(OPERATOR.address) == storage.reserved() == 6 * ETHER
    storage.wait(1)
    assert storage.settle(number, real) == 0
    assert storage.contract.debts(OPERATOR.address) == 4 * ETHER
    storage.settle(theirs[1], friends[1])
    assert storage.bonds.bond_of(OPERATOR.address) == storage.contract.debts(OPERATOR.address) == 2 * ETHER
    storage.settle(theirs[2], friends[2])
    assert storage.bonds.bond_of(OPERATOR.address) == storage.contract.debts(OPERATOR.address) == storage.reserved() == 0


def test_friends_that_take_turns_holding_a_bond_shield_it_from_nothing(storage: Storage) -> None:
    storage.by(OWNER, storage.bonds, "set_slasher", JUDGE.address)
    storage.by(JUDGE, storage.bonds, "reserve", OPERATOR.address, 36 * ETHER)
    friend, real = storage.pledge(1, penalty=4 * ETHER), storage.pledge(2, penalty=4 * ETHER)
    first, number = storage.challenge(friend, who=OTHER), storage.challenge(real)
    assert storage.contract.open_challenge(number).reserved == 0
    storage.wait(99)
    storage.answer(first, friend)
    second = storage.challenge(friend, who=OTHER)
    assert storage.reserved() == 4 * ETHER
    storage.wait(1)
    assert storage.settle(number, real) == 0
    assert storage.contract.debts(OPERATOR.address) == 4 * ETHER
    storage.answer(second, friend)
    assert (storage.contract.debts(OPERATOR.address), storage.reserved(), storage.bonds.free_bond(OPERATOR.address)) == (0, 0, 0)
    assert storage.bonds.bond_of(OPERATOR.address) == 36 * ETHER


@pytest.mark.parametrize("own", [0, 1, 4, 20, 30])
def test_an_owner_gets_no_more_than_the_operators_own_stake_loses(place: Place, deployers: dict, own: int) -> None:
    """Who fails its own pledge to a friend, with others' stake behind it, has nothing of it."""
    storage = found_challenges(place, deployers, own * ETHER)
    rich(place, ALICE)
    storage.stake((40 - own) * ETHER, ALICE)
    before = storage.bonds.position(OPERATOR.address, OPERATOR.address)[1]
    pledge = storage.pledge(owner=STRANGER.address, penalty=4 * ETHER)
    number = storage.challenge(pledge, who=OPERATOR)
    storage.wait()
    assert storage.settle(number, pledge) == 4 * ETHER
    assert storage.owed(STRANGER) == owner_part(4 * ETHER, own * ETHER, 40 * ETHER) == min(2 * ETHER, own * ETHER // 10)
    lost = before - storage.bonds.position(OPERATOR.address, OPERATOR.address)[1]
    assert storage.owed(STRANGER) <= lost


def test_who_has_no_bond_loses_nothing_and_the_challenger_neither(place: Place, deployers: dict) -> None:
    storage = found_challenges(place, deployers, 0)
    pledge = storage.pledge()
    number = storage.challenge(pledge)
    storage.wait()
    assert storage.settle(number, pledge) == 0
    assert (storage.owed(CHALLENGER), storage.owed(BUYER), storage.contract.debts(OPERATOR.address)) == (NUMBERS.fee, 0, 0)


def test_unbonding_in_front_of_a_challenge_does_not_escape_it(storage: Storage) -> None:
    pledge = storage.pledge()
    ticket = storage.by(OPERATOR, storage.bonds, "unstake", OPERATOR.address, storage.bonds.position(OPERATOR.address, OPERATOR.address)[0])
    number = storage.challenge(pledge)
    storage.wait()
    assert storage.settle(number, pledge) == 2 * ETHER
    assert storage.owed(BUYER) == ETHER, "what leaves is the operator's own too"
    storage.wait(UNBONDING)
    assert storage.by(OPERATOR, storage.bonds, "withdraw", ticket) == 38 * ETHER


def test_what_answers_release_can_be_taken_out(storage: Storage) -> None:
    ticket = storage.by(OPERATOR, storage.bonds, "unstake", OPERATOR.address, storage.bonds.position(OPERATOR.address, OPERATOR.address)[0])
    storage.wait(UNBONDING)
    pledge = storage.pledge()
    number = storage.challenge(pledge)
    assert storage.by(OPERATOR, storage.bonds, "withdraw", ticket) == 38 * ETHER
    with boa.reverts("bonds: reserved"):
        storage.by(OPERATOR, storage.bonds, "withdraw", ticket)
    storage.answer(number, pledge)
    assert storage.by(OPERATOR, storage.bonds, "withdraw", ticket) == 2 * ETHER


@pytest.mark.parametrize("released", [False, True])
def test_challenges_that_were_replaced_end_theirs_and_take_no_more(storage: Storage, released: bool) -> None:
    pledge, other = storage.pledge(starts=storage.now), storage.pledge(1, starts=storage.now)
    storage.by(OWNER, storage.bonds, "propose_slasher", STRANGER.address, 1)
    storage.wait(2 * UNBONDING)
    pledge, other = (replace(each, starts=storage.now, until=storage.now + 500) for each in (pledge, other))
    one, two = storage.challenge(pledge), storage.challenge(other)
    storage.by(STRANGER, storage.bonds, "accept_slasher", 1)
    with boa.reverts("challenges: not a slasher"):
        storage.challenge(pledge)
    storage.answer(one, pledge)
    if released:
        storage.wait(UNBONDING + 1)
        storage.by(OTHER, storage.bonds, "release_retired", storage.contract.address, OPERATOR.address)
    storage.wait()
    assert storage.settle(two, other) == (0 if released else 2 * ETHER)
    assert storage.reserved() == 0
    assert storage.owed(CHALLENGER) == NUMBERS.fee


def test_a_contract_that_nobody_named_challenges_nobody(place: Place, deployers: dict, storage: Storage) -> None:
    with boa.env.prank(OWNER.address):
        other = deployers["challenges"].deploy(
            place.token.address, place.registry.address, place.bonds.address, tuple(storage.contract.parameters())
        )
    unnamed = Storage(place, other)
    with boa.reverts("challenges: not a slasher"):
        unnamed.challenge(unnamed.pledge())
    with boa.reverts("challenges: not the device's pledge"):
        unnamed.challenge(unnamed.pledge(), signer=OPERATOR)
    pledge = storage.pledge()
    with boa.reverts("challenges: not the device's pledge"), boa.env.prank(CHALLENGER.address):
        signature = DEVICE.sign(pledge.digest(unnamed.domain))
        storage.contract.challenge((*(getattr(pledge, name) for name in pledge.__slots__),), signature, 0)
