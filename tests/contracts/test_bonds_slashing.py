"""Reserves and slashes: who bears them, whom nobody can hold for ever, and who may judge."""

from __future__ import annotations

import boa
import pytest

from bonds_support import ALICE, BOB, CAROL, ETHER, JUDGE, Bonds, now, wait
from contracts_support import OPERATOR, OWNER, STRANGER, UNBONDING, Place

NOBODY = "0x" + "00" * 20
FOUNDING = 86_400


def test_a_slash_takes_from_stake_that_stays_and_stake_that_leaves_alike(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    bonds.stake(ALICE, 4 * ETHER)
    bonds.stake(BOB, 2 * ETHER)
    ticket = bonds.leave(BOB)
    supply = place.token.totalSupply()
    bonds.slash(5 * ETHER, {CAROL.address: ETHER, JUDGE.address: ETHER // 2})
    assert (bonds.worth(OPERATOR), bonds.worth(ALICE), bonds.contract.leaving(ticket)) == (2 * ETHER, 2 * ETHER, ETHER)
    assert (place.balance(CAROL), place.balance(JUDGE)) == (1_001 * ETHER, ETHER // 2)
    assert place.token.totalSupply() == supply - 7 * ETHER // 2, "what the payees do not get is burnt"
    assert (bonds.pool().reserved, bonds.held()) == (0, 5 * ETHER)
    wait()
    assert bonds.withdraw(BOB, ticket) == ETHER


def test_unstaking_in_front_of_a_slash_does_not_escape_it(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    bonds.stake(ALICE, 6 * ETHER)
    own, hers = bonds.leave(OPERATOR), bonds.leave(ALICE)
    assert bonds.reserve(10 * ETHER) == 10 * ETHER, "what leaves can be reserved"
    bonds.by(JUDGE, "slash", OPERATOR.address, 5 * ETHER, [], [])
    bonds.release(5 * ETHER)
    wait()
    assert (bonds.withdraw(OPERATOR, own), bonds.withdraw(ALICE, hers)) == (2 * ETHER, 3 * ETHER)
    assert bonds.held() == 0


def test_what_is_ready_and_not_taken_is_slashed_too(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    ticket = bonds.leave(OPERATOR)
    wait(10 * UNBONDING)
    bonds.slash(ETHER)
    assert bonds.withdraw(OPERATOR, ticket) == 3 * ETHER


def test_what_is_reserved_cannot_be_taken_out_until_it_is_released(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    ticket = bonds.leave(OPERATOR)
    assert bonds.reserve(3 * ETHER) == 3 * ETHER
    wait()
    assert bonds.withdraw(OPERATOR, ticket) == ETHER, "what is free comes at once"
    with boa.reverts("bonds: reserved"):
        bonds.withdraw(OPERATOR, ticket)
    bonds.release(ETHER)
    assert bonds.withdraw(OPERATOR, ticket) == ETHER
    bonds.release(2 * ETHER)
    assert bonds.withdraw(OPERATOR, ticket) == 2 * ETHER
    assert (bonds.held(), bonds.pool().leaving_shares) == (0, 0)


def test_a_ticket_in_parts_loses_what_is_slashed_of_the_rest(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    ticket = bonds.leave(OPERATOR)
    bonds.reserve(3 * ETHER)
    wait()
    bonds.withdraw(OPERATOR, ticket)
    bonds.by(JUDGE, "slash", OPERATOR.address, ETHER, [], [])
    bonds.release(2 * ETHER)
    assert bonds.withdraw(OPERATOR, ticket) == 2 * ETHER
    assert bonds.held() == 0


def test_an_operators_own_stake_goes_last_and_so_holds_nobody_elses(place: Place, bonds: Bonds) -> None:
    """An operator with a reserve that it keeps up, for a seat, must not leave with its own and have the others' held for it."""
    bonds.stake(OPERATOR, 3 * ETHER)
    bonds.stake(ALICE, 6 * ETHER)
    bonds.reserve(3 * ETHER)
    own, hers = bonds.leave(OPERATOR), bonds.leave(ALICE)
    wait()
    with boa.reverts("bonds: reserved"):
        bonds.withdraw(OPERATOR, own)
    assert bonds.withdraw(ALICE, hers) == 6 * ETHER
    bonds.release(3 * ETHER)
    assert bonds.withdraw(OPERATOR, own) == 3 * ETHER


def test_at_most_what_is_free_is_reserved(place: Place, bonds: Bonds) -> None:
    assert bonds.reserve(ETHER) == 0
    bonds.stake(OPERATOR, 4 * ETHER)
    assert bonds.reserve(3 * ETHER) == 3 * ETHER
    assert bonds.contract.free_bond(OPERATOR.address) == ETHER
    assert bonds.reserve(3 * ETHER) == ETHER
    assert bonds.reserve(1) == 0
    assert bonds.pool().reserved == bonds.contract.reserved_by(JUDGE.address, OPERATOR.address) == 4 * ETHER


def test_no_more_is_released_or_slashed_than_was_reserved(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    bonds.reserve(ETHER)
    with boa.reverts("bonds: not so much reserved"):
        bonds.release(ETHER + 1)
    with boa.reverts("bonds: not so much reserved"):
        bonds.by(JUDGE, "slash", OPERATOR.address, ETHER + 1, [], [])
    with boa.reverts("bonds: pays more than it takes"):
        bonds.by(JUDGE, "slash", OPERATOR.address, ETHER, [CAROL.address, JUDGE.address], [ETHER, 1])
    with boa.reverts("bonds: amounts missing"):
        bonds.by(JUDGE, "slash", OPERATOR.address, ETHER, [CAROL.address], [])


@pytest.mark.parametrize("who", [OPERATOR, STRANGER, OWNER], ids=["operator", "stranger", "owner"])
def test_only_the_slasher_reserves_and_slashes(place: Place, bonds: Bonds, who) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    bonds.reserve(ETHER)
    with boa.reverts("bonds: not the slasher"):
        bonds.by(who, "reserve", OPERATOR.address, 1)
    with boa.reverts("bonds: not so much reserved"):
        bonds.by(who, "slash", OPERATOR.address, 1, [], [])
    with boa.reverts("bonds: not so much reserved"):
        bonds.by(who, "release", OPERATOR.address, 1)
    with boa.reverts("bonds: not the slasher"):
        bonds.by(who, "next_ordinal", OPERATOR.address)


def test_a_pool_that_is_wiped_out_begins_anew(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, ETHER)
    bonds.stake(ALICE, ETHER)
    ticket = bonds.leave(ALICE)
    bonds.slash(2 * ETHER)
    assert (bonds.worth(OPERATOR), bonds.shares(OPERATOR), bonds.contract.leaving(ticket)) == (0, 0, 0)
    for _ in range(3):
        assert bonds.stake(OPERATOR, ETHER) == 1_000 * ETHER, "shares do not grow without bounds"
        assert bonds.stake(BOB, ETHER) == 1_000 * ETHER
        assert bonds.contract.own_stake(OPERATOR.address) == ETHER
        bonds.slash(2 * ETHER)
    bonds.stake(BOB, ETHER)
    mine = bonds.leave(BOB)
    wait()
    assert bonds.withdraw(ALICE, ticket) == 0
    assert bonds.withdraw(BOB, mine) == ETHER
    assert bonds.held() == 0


def test_what_a_slash_leaves_of_a_wiped_out_pool_is_taken_by_the_next(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, ETHER)
    bonds.slash(ETHER - 10**6)
    assert (bonds.worth(OPERATOR), bonds.pool().assets, bonds.contract.free_bond(OPERATOR.address)) == (0, 0, 10**6)
    bonds.stake(ALICE, ETHER)
    bonds.slash(10**6)
    assert bonds.worth(ALICE) == ETHER
    bonds.slash(10**6)
    assert bonds.worth(ALICE) == ETHER - 10**6


def test_a_small_slash_of_a_pool_that_was_slashed_often_takes_no_more_than_it_says(place: Place, bonds: Bonds) -> None:
    """An operator dilutes its shares with next to nothing, and then finds others to stake behind it."""
    bonds.stake(OPERATOR, 10**12)
    ticket = bonds.unstake(OPERATOR, bonds.shares(OPERATOR) // 2)
    bonds.slash(10**12 - 2 * 500_100)
    shares = bonds.stake(ALICE, 100 * ETHER)
    bonds.stake(BOB, 100 * ETHER)
    leaving = bonds.leave(BOB)
    with boa.env.prank(ALICE.address):
        place.token.approve(bonds.contract.address, 2**256 - 1)
    bonds.by(OPERATOR, "set_commission", 0)
    bonds.by(ALICE, "pay", OPERATOR.address, ETHER)
    earned = bonds.claimable(ALICE)
    bonds.slash(2 * ETHER)
    assert abs(99 * ETHER - bonds.worth(ALICE)) < 10**15
    assert bonds.shares(ALICE) == shares // 10**6
    assert abs(99 * ETHER - bonds.contract.leaving(leaving)) < 10**15
    assert 0 < bonds.contract.leaving(ticket) < 10**6
    assert bonds.contract.free_bond(OPERATOR.address) - bonds.contract.bond_of(OPERATOR.address) == 0, "nothing became nobody's"
    assert bonds.claimable(ALICE) == earned
    bonds.by(ALICE, "pay", OPERATOR.address, ETHER)
    assert 0 <= earned + ETHER - bonds.claimable(ALICE) < 10**9
    wait()
    assert bonds.reserve(10**9) == 10**9
    with boa.reverts("bonds: reserved"):
        bonds.withdraw(OPERATOR, ticket)
    bonds.release(10**9)
    for who, number in ((BOB, leaving), (OPERATOR, ticket)):
        assert bonds.withdraw(who, number) > 0
    assert bonds.pool().leaving_assets < 10**6


def test_the_first_slasher_is_named_once_and_only_while_founding(place: Place) -> None:
    bonds = Bonds(place)
    with boa.reverts("ownable: caller is not the owner"):
        bonds.by(STRANGER, "set_slasher", STRANGER.address)
    with boa.reverts("bonds: no slasher"):
        bonds.by(OWNER, "set_slasher", NOBODY)
    with boa.env.anchor():
        wait(FOUNDING + 1)
        with boa.reverts("bonds: founding is over"):
            bonds.judge()
    bonds.judge()
    with boa.reverts("bonds: slasher was named"):
        bonds.by(OWNER, "set_slasher", STRANGER.address)


def test_each_place_has_a_slasher_of_its_own_and_nobody_has_two(place: Place) -> None:
    bonds = Bonds(place)
    bonds.judge()
    with boa.reverts("bonds: slasher has a place"):
        bonds.by(OWNER, "set_slasher", JUDGE.address, 1)
    with boa.reverts("bonds: no such place"):
        bonds.by(OWNER, "set_slasher", BOB.address, 4)
    for number, who in enumerate((BOB, CAROL, STRANGER), 1):
        bonds.by(OWNER, "set_slasher", who.address, number)
        assert str(bonds.contract.slasher(number)).lower() == who.address
        assert bonds.contract.is_slasher(who.address)
    assert str(bonds.contract.slasher()).lower() == str(bonds.contract.slasher(0)).lower() == JUDGE.address
    assert (str(bonds.contract.slasher(4)), str(bonds.contract.proposed_slasher(4)), bonds.contract.proposed_from(4)) == (NOBODY, NOBODY, 0)
    assert not bonds.contract.is_slasher(ALICE.address)
    with boa.reverts("bonds: no such place"):
        bonds.by(OWNER, "propose_slasher", ALICE.address, 4)
    with boa.reverts("bonds: no such place"):
        bonds.by(OWNER, "accept_slasher", 4)


def test_an_empty_place_is_filled_no_sooner_than_another_is_changed(place: Place, bonds: Bonds) -> None:
    wait(FOUNDING + 1)
    with boa.reverts("bonds: founding is over"):
        bonds.by(OWNER, "set_slasher", BOB.address, 1)
    bonds.by(OWNER, "propose_slasher", BOB.address, 1)
    assert str(bonds.contract.proposed_slasher(1)).lower() == BOB.address
    assert str(bonds.contract.proposed_slasher()) == NOBODY
    wait(2 * UNBONDING - 10)
    with boa.reverts("bonds: delay not over"):
        bonds.by(STRANGER, "accept_slasher", 1)
    with boa.reverts("bonds: not the slasher"):
        bonds.by(BOB, "reserve", OPERATOR.address, 0)
    wait(10)
    assert bonds.contract.proposed_from(1) <= now()
    bonds.by(STRANGER, "accept_slasher", 1)
    bonds.by(BOB, "reserve", OPERATOR.address, 0)
    bonds.reserve(0)
    assert (bonds.contract.retired_at(NOBODY), bonds.contract.retired_at(JUDGE.address)) == (0, 0)


def test_slashers_share_what_is_free_and_touch_nothing_of_each_other(place: Place, bonds: Bonds) -> None:
    bonds.by(OWNER, "set_slasher", BOB.address, 1)
    bonds.stake(OPERATOR, 4 * ETHER)
    assert bonds.reserve(3 * ETHER) == 3 * ETHER
    assert bonds.by(BOB, "reserve", OPERATOR.address, 3 * ETHER) == ETHER
    for call in ("slash", "release"):
        with boa.reverts("bonds: not so much reserved"):
            bonds.by(BOB, call, OPERATOR.address, 2 * ETHER, *([[], []] if call == "slash" else []))
    bonds.by(BOB, "slash", OPERATOR.address, ETHER, [], [])
    assert bonds.pool().reserved == bonds.contract.reserved_by(JUDGE.address, OPERATOR.address) == 3 * ETHER


def test_replacing_one_slasher_leaves_the_other_its_place(place: Place, bonds: Bonds) -> None:
    bonds.by(OWNER, "set_slasher", BOB.address, 1)
    bonds.stake(OPERATOR, 4 * ETHER)
    bonds.reserve(ETHER)
    bonds.by(BOB, "reserve", OPERATOR.address, ETHER)
    bonds.by(OWNER, "propose_slasher", BOB.address)
    bonds.by(OWNER, "propose_slasher", CAROL.address, 1)
    wait(2 * UNBONDING)
    with boa.reverts("bonds: slasher has a place"):
        bonds.by(STRANGER, "accept_slasher")
    bonds.by(STRANGER, "accept_slasher", 1)
    with boa.reverts("bonds: not the slasher"):
        bonds.by(BOB, "reserve", OPERATOR.address, 1)
    bonds.reserve(ETHER)
    wait(UNBONDING + 1)
    with boa.reverts("bonds: slasher not retired"):
        bonds.by(STRANGER, "release_retired", JUDGE.address, OPERATOR.address)
    bonds.by(STRANGER, "release_retired", BOB.address, OPERATOR.address)
    assert bonds.pool().reserved == 2 * ETHER
    bonds.by(STRANGER, "accept_slasher")
    assert bonds.contract.retired_at(BOB.address) == 0, "who has a place again is not retired"
    bonds.by(BOB, "reserve", OPERATOR.address, 1)


def test_changing_who_slashes_takes_longer_than_unbonding(place: Place, bonds: Bonds) -> None:
    """Whoever does not trust the new one has left with everything before it can reserve anything."""
    bonds.stake(ALICE, 4 * ETHER)
    with boa.reverts("ownable: caller is not the owner"):
        bonds.by(STRANGER, "propose_slasher", STRANGER.address)
    with boa.reverts("bonds: no slasher"):
        bonds.by(STRANGER, "accept_slasher")
    bonds.by(OWNER, "propose_slasher", STRANGER.address)
    wait(60)
    ticket = bonds.leave(ALICE)
    wait(UNBONDING)
    with boa.reverts("bonds: delay not over"):
        bonds.by(STRANGER, "accept_slasher")
    assert bonds.withdraw(ALICE, ticket) == 4 * ETHER
    wait(2 * UNBONDING)
    bonds.by(BOB, "accept_slasher")
    assert str(bonds.contract.slasher()).lower() == STRANGER.address
    with boa.reverts("bonds: not the slasher"):
        bonds.reserve(1)
    assert bonds.by(STRANGER, "reserve", OPERATOR.address, ETHER) == 0


def test_a_proposal_can_be_called_off_and_begins_its_delay_again(place: Place, bonds: Bonds) -> None:
    bonds.by(OWNER, "propose_slasher", STRANGER.address)
    wait(2 * UNBONDING - 10)
    bonds.by(OWNER, "propose_slasher", BOB.address)
    wait(20)
    with boa.reverts("bonds: delay not over"):
        bonds.by(OWNER, "accept_slasher")
    bonds.by(OWNER, "propose_slasher", NOBODY)
    wait(10 * UNBONDING)
    with boa.reverts("bonds: no slasher"):
        bonds.by(OWNER, "accept_slasher")


def test_a_slasher_that_was_replaced_ends_its_cases_and_holds_nothing_for_ever(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, 4 * ETHER)
    bonds.reserve(4 * ETHER)
    bonds.by(OWNER, "propose_slasher", STRANGER.address)
    ticket = bonds.leave(OPERATOR)
    wait(2 * UNBONDING)
    with boa.reverts("bonds: slasher not retired"):
        bonds.by(BOB, "release_retired", JUDGE.address, OPERATOR.address)
    bonds.by(STRANGER, "accept_slasher")
    bonds.by(JUDGE, "slash", OPERATOR.address, ETHER, [], [])
    bonds.release(ETHER)
    assert bonds.withdraw(OPERATOR, ticket) == ETHER
    wait(UNBONDING)
    with boa.reverts("bonds: slasher not retired"):
        bonds.by(BOB, "release_retired", JUDGE.address, OPERATOR.address)
    wait(1)
    bonds.by(BOB, "release_retired", JUDGE.address, OPERATOR.address)
    assert bonds.withdraw(OPERATOR, ticket) == 2 * ETHER
    assert bonds.held() == 0


def test_what_others_staked_is_held_only_as_far_as_the_operators_own_does_not_cover_the_reserve(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, ETHER)
    bonds.stake(ALICE, 6 * ETHER)
    bonds.reserve(3 * ETHER)
    ticket = bonds.leave(ALICE)
    wait()
    assert bonds.withdraw(ALICE, ticket) == 4 * ETHER
    with boa.reverts("bonds: reserved"):
        bonds.withdraw(ALICE, ticket)
    bonds.release(3 * ETHER)
    assert bonds.withdraw(ALICE, ticket) == 2 * ETHER
