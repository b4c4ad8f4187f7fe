"""Staking and leaving: what goes in, what comes out, when, and what a hostile staker cannot do to the others."""

from __future__ import annotations

import boa
import pytest

from bonds_support import ALICE, BOB, CAROL, ETHER, Bonds, now, wait
from contracts_support import BUYER, OPERATOR, STRANGER, UNBONDING, Place, rich

NOBODY = "0x" + "00" * 20


def test_what_is_staked_comes_out_after_the_unbonding_period_and_no_sooner(place: Place, bonds: Bonds) -> None:
    assert bonds.stake(OPERATOR, 3 * ETHER) == 3 * ETHER * 1_000
    assert bonds.stake(ALICE, 5 * ETHER) == 5 * ETHER * 1_000
    assert (bonds.worth(OPERATOR), bonds.worth(ALICE), bonds.held()) == (3 * ETHER, 5 * ETHER, 8 * ETHER)
    assert bonds.contract.own_stake(OPERATOR.address) == 3 * ETHER
    ticket = bonds.unstake(ALICE, 2 * ETHER * 1_000)
    staker, operator, _, ready_at, _ = bonds.contract.tickets(ticket)
    assert (str(staker).lower(), str(operator).lower(), ready_at) == (ALICE.address, OPERATOR.address, now() + UNBONDING)
    pool = bonds.pool()
    assert (pool.assets, pool.leaving_assets, bonds.contract.bond_of(OPERATOR.address)) == (6 * ETHER, 2 * ETHER, 8 * ETHER)
    wait(UNBONDING - 1)
    with boa.reverts("bonds: not ready"):
        bonds.withdraw(ALICE, ticket)
    wait(1)
    with boa.reverts("bonds: not your ticket"):
        bonds.withdraw(BOB, ticket)
    before = place.balance(ALICE)
    assert bonds.withdraw(ALICE, ticket) == 2 * ETHER
    assert (place.balance(ALICE) - before, bonds.held(), bonds.worth(ALICE)) == (2 * ETHER, 6 * ETHER, 3 * ETHER)
    with boa.reverts("bonds: not your ticket"):
        bonds.withdraw(ALICE, ticket)
    for who in (ALICE, OPERATOR):
        left = bonds.leave(who)
        wait()
        bonds.withdraw(who, left)
    assert bonds.held() == 0
    assert (bonds.pool().assets, bonds.pool().shares, bonds.pool().leaving_shares) == (0, 0, 0)


def test_nothing_can_be_staked_behind_nobody_or_without_tokens(place: Place, bonds: Bonds) -> None:
    with boa.reverts("bonds: no operator"):
        bonds.by(ALICE, "stake", NOBODY, ETHER)
    with boa.reverts("bonds: nothing staked"):
        bonds.stake(ALICE, 0)
    with boa.reverts("erc20: transfer amount exceeds balance"):
        bonds.stake(ALICE, 10**21 + 1)
    with boa.reverts("erc20: insufficient allowance"):
        bonds.stake(BUYER, ETHER)
    assert bonds.held() == 0


def test_nobody_unstakes_what_is_not_theirs(place: Place, bonds: Bonds) -> None:
    bonds.stake(ALICE, ETHER)
    bonds.stake(BOB, ETHER)
    with boa.reverts("bonds: not so many shares"):
        bonds.unstake(ALICE, bonds.shares(ALICE) + 1)
    with boa.reverts("bonds: not so many shares"):
        bonds.unstake(STRANGER, 1_000)
    with boa.reverts("bonds: worth nothing"):
        bonds.unstake(ALICE, 999)
    with boa.reverts("bonds: worth nothing"):
        bonds.unstake(ALICE, 0)
    with boa.reverts("bonds: not your ticket"):
        bonds.withdraw(ALICE, 77)


def test_the_first_to_stake_cannot_take_from_the_second(place: Place, bonds: Bonds) -> None:
    """The attack on pools of shares: stake a wei, make its share dear, and have the next one's shares rounded away."""
    bonds.stake(ALICE, 1)
    with boa.env.prank(ALICE.address):
        place.token.transfer(place.bonds.address, 500 * ETHER)
    bonds.by(ALICE, "pay", OPERATOR.address, 100 * ETHER)
    bonds.stake(BOB, ETHER)
    assert bonds.worth(BOB) == ETHER
    assert bonds.worth(ALICE) == 1


def test_rounding_away_ones_own_shares_costs_more_than_the_next_one_loses(place: Place, bonds: Bonds) -> None:
    """With no donations to be had, the price of a share moves only by what its owner rounds away."""
    spent = 40
    bonds.stake(ALICE, spent)
    while bonds.shares(ALICE) > 1_999:
        # Of so many shares nearly two wei's worth, rounded down to one.
        bonds.unstake(ALICE, 1_999)
        wait()
        bonds.withdraw(ALICE, bonds.contract.ticket_count())
    bonds.stake(BOB, ETHER)
    assert ETHER - bonds.worth(BOB) <= 10
    assert bonds.worth(ALICE) < spent


def test_a_transfer_to_the_contract_changes_nobodys_stake(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, ETHER)
    ticket = bonds.unstake(OPERATOR, 1_000 * ETHER // 2)
    before = bonds.pool()
    with boa.env.prank(STRANGER.address):
        place.token.transfer(place.bonds.address, 10 * ETHER)
    assert bonds.pool() == before
    assert bonds.contract.bond_of(OPERATOR.address) == bonds.contract.free_bond(OPERATOR.address) == ETHER
    bonds.stake(ALICE, ETHER)
    assert bonds.worth(ALICE) == ETHER
    wait()
    assert bonds.withdraw(OPERATOR, ticket) == ETHER // 2


def test_several_tickets_stand_side_by_side(place: Place, bonds: Bonds) -> None:
    bonds.stake(ALICE, 6 * ETHER)
    bonds.stake(ALICE, 3 * ETHER, behind=BOB)
    first = bonds.unstake(ALICE, 1_000 * ETHER)
    wait(UNBONDING // 2)
    second = bonds.unstake(ALICE, 2_000 * ETHER)
    third = bonds.unstake(ALICE, 3_000 * ETHER, behind=BOB)
    assert (first, second, third) == (1, 2, 3)
    assert [bonds.contract.leaving(each) for each in (first, second, third)] == [ETHER, 2 * ETHER, 3 * ETHER]
    wait(UNBONDING // 2)
    assert bonds.withdraw(ALICE, first) == ETHER
    with boa.reverts("bonds: not ready"):
        bonds.withdraw(ALICE, second)
    wait(UNBONDING // 2)
    assert bonds.withdraw(ALICE, third) == 3 * ETHER
    assert bonds.withdraw(ALICE, second) == 2 * ETHER
    assert bonds.contract.leaving(second) == 0
    assert bonds.held() == 3 * ETHER


def test_pools_of_different_operators_have_nothing_to_do_with_one_another(place: Place, bonds: Bonds) -> None:
    bonds.stake(ALICE, ETHER)
    bonds.stake(ALICE, ETHER, behind=BOB)
    bonds.slash(ETHER // 2)
    assert (bonds.worth(ALICE), bonds.worth(ALICE, behind=BOB)) == (ETHER // 2, ETHER)
    assert bonds.contract.bond_of(CAROL.address) == 0


@pytest.mark.parametrize(
    ("bond", "unbonding", "reason"),
    [
        (10**24 + 1, 3_600, "bonds: least bond too high"),
        (0, 59, "bonds: unbonding period out of bounds"),
        (0, 31_536_001, "bonds: unbonding period out of bounds"),
    ],
)
def test_what_cannot_be_founded(place: Place, deployers, bond: int, unbonding: int, reason: str) -> None:
    with boa.reverts(reason):
        deployers["bonds"].deploy(place.token.address, bond, unbonding)
    with boa.reverts("purse: no token"):
        deployers["bonds"].deploy(NOBODY, 0, 3_600)


def test_what_it_was_founded_with_can_be_read(place: Place, deployers) -> None:
    found = deployers["bonds"].deploy(place.token.address, 10**24, 31_536_000)
    assert (found.min_bond(), found.unbonding_seconds(), found.slasher_delay()) == (10**24, 31_536_000, 63_072_000)
    assert found.token() == place.token.address
    rich(place, ALICE)
    assert place.bonds.min_bond() == 0
