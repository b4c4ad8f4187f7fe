"""Pay: commissions, rewards, and the first pay of an operator that has no bond."""

from __future__ import annotations

import boa
import pytest

from bonds_support import ALICE, BOB, CAROL, ETHER, Bonds, now, wait
from contracts_support import BUYER, DEVICE, OPERATOR, SESSION, STRANGER, UNBONDING, Place, deploy, rich
from surge.core.receipts import Voucher


def redeem(place: Place, amount: int, salt: int = 1) -> None:
    """A stranger redeems the first voucher of a new channel to the operator."""
    with boa.env.prank(BUYER.address):
        channel = place.channels.open(OPERATOR.address, DEVICE.address, SESSION.address, 50 * ETHER, 0, 60, salt.to_bytes(32, "big"))
    voucher = Voucher(channel, amount, 1, bytes(32))
    with boa.env.prank(STRANGER.address):
        place.channels.redeem((channel, amount, 1, bytes(32)), SESSION.sign(voucher.digest(place.domain)))


def pay(bonds: Bonds, amount: int) -> None:
    """A stranger pays the operator by way of its bond."""
    bonds.by(STRANGER, "pay", OPERATOR.address, amount)


@pytest.fixture
def bonded(deployers) -> Bonds:
    """Bonds whose least bond is an ether; the operator has nothing and the buyer no part in it."""
    with boa.env.anchor():
        place = deploy(deployers, fee_bps=0, min_bond=ETHER)
        rich(place, ALICE, BOB, CAROL, STRANGER)
        found = Bonds(place)
        found.judge()
        yield found


def test_an_operator_that_names_no_commission_keeps_everything(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, ETHER)
    bonds.stake(ALICE, ETHER)
    assert bonds.pool().commission_bps == 10_000
    pay(bonds, ETHER)
    assert place.balance(OPERATOR) == 1_000 * ETHER
    assert bonds.claimable(ALICE) == 0


def test_what_is_beyond_the_commission_is_shared_by_stake_the_operators_own_included(place: Place, bonds: Bonds) -> None:
    bonds.stake(OPERATOR, ETHER)
    bonds.stake(ALICE, 3 * ETHER)
    bonds.by(OPERATOR, "set_commission", 2_000)
    before = place.balance(OPERATOR)
    pay(bonds, 10 * ETHER)
    assert place.balance(OPERATOR) - before == 2 * ETHER
    assert (bonds.claimable(OPERATOR), bonds.claimable(ALICE)) == (2 * ETHER, 6 * ETHER)
    bonds.stake(BOB, 4 * ETHER)
    assert bonds.claimable(BOB) == 0, "whoever comes later has no part in what was paid before"
    pay(bonds, 10 * ETHER)
    assert [bonds.claimable(each) for each in (OPERATOR, ALICE, BOB)] == [3 * ETHER, 9 * ETHER, 4 * ETHER]
    held = place.balance(ALICE)
    assert bonds.by(ALICE, "claim", OPERATOR.address) == 9 * ETHER
    assert place.balance(ALICE) - held == 9 * ETHER
    assert bonds.by(ALICE, "claim", OPERATOR.address) == 0
    assert bonds.by(CAROL, "claim", OPERATOR.address) == 0
    for who in (OPERATOR, BOB):
        bonds.by(who, "claim", OPERATOR.address)
    assert bonds.held() == 8 * ETHER


def test_what_was_earned_outlives_leaving_staking_again_and_being_wiped_out(place: Place, bonds: Bonds) -> None:
    bonds.stake(ALICE, ETHER)
    bonds.stake(BOB, ETHER)
    bonds.by(OPERATOR, "set_commission", 0)
    pay(bonds, 2 * ETHER)
    bonds.leave(ALICE)
    pay(bonds, 2 * ETHER)
    assert (bonds.claimable(ALICE), bonds.claimable(BOB)) == (ETHER, 3 * ETHER), "what leaves earns nothing"
    bonds.slash(2 * ETHER)
    pay(bonds, ETHER)
    assert (bonds.claimable(ALICE), bonds.claimable(BOB)) == (ETHER, 3 * ETHER)
    bonds.stake(BOB, ETHER)
    pay(bonds, ETHER)
    assert bonds.claimable(BOB) == 4 * ETHER
    assert bonds.by(BOB, "claim", OPERATOR.address) == 4 * ETHER
    assert bonds.by(ALICE, "claim", OPERATOR.address) == ETHER


def test_with_nobody_behind_it_an_operator_is_paid_everything(place: Place, bonds: Bonds) -> None:
    bonds.by(OPERATOR, "set_commission", 0)
    pay(bonds, ETHER)
    bonds.by(STRANGER, "pay_work", OPERATOR.address, 0, ETHER)
    assert place.balance(OPERATOR) == 1_002 * ETHER
    nobody = "0x" + "00" * 20
    for call in (("pay", nobody, 1), ("pay_work", nobody, 1, 1)):
        with boa.reverts("bonds: no operator"):
            bonds.by(STRANGER, *call)


def test_a_higher_commission_waits_until_those_behind_could_leave(bonds: Bonds) -> None:
    bonds.stake(ALICE, ETHER)
    bonds.by(OPERATOR, "set_commission", 1_000)
    assert bonds.pool().commission_bps == 1_000, "a lower one counts at once"
    bonds.by(OPERATOR, "set_commission", 9_000)
    at = now() + UNBONDING
    assert bonds.pool().commission_bps == 1_000
    assert tuple(bonds.contract.announced_commission(OPERATOR.address)) == (9_000, at)
    pay(bonds, ETHER)
    assert bonds.claimable(ALICE) == 9 * ETHER // 10
    wait(UNBONDING - 1)
    assert bonds.pool().commission_bps == 1_000
    wait(1)
    assert bonds.pool().commission_bps == 9_000
    assert tuple(bonds.contract.announced_commission(OPERATOR.address)) == (0, 0)
    with boa.reverts("bonds: commission above the whole"):
        bonds.by(OPERATOR, "set_commission", 10_001)


def test_announcing_again_begins_the_wait_again_and_a_lower_one_ends_it(bonds: Bonds) -> None:
    bonds.by(OPERATOR, "set_commission", 1_000)
    bonds.by(OPERATOR, "set_commission", 2_000)
    wait(UNBONDING - 1)
    bonds.by(OPERATOR, "set_commission", 9_000)
    wait(1)
    assert bonds.pool().commission_bps == 1_000
    bonds.by(OPERATOR, "set_commission", 500)
    wait(2 * UNBONDING)
    assert bonds.pool().commission_bps == 500
    bonds.by(OPERATOR, "set_commission", 700)
    wait(UNBONDING)
    bonds.by(OPERATOR, "set_commission", 800)
    assert bonds.pool().commission_bps == 700, "one that counts already is the one to go on from"


def test_the_first_pay_of_an_operator_without_a_bond_becomes_its_bond_whoever_redeems(bonded: Bonds) -> None:
    place = bonded.place
    redeem(place, ETHER // 4)
    assert (place.balance(OPERATOR), bonded.contract.own_stake(OPERATOR.address)) == (0, ETHER // 4)
    redeem(place, ETHER, salt=2)
    assert (place.balance(OPERATOR), bonded.contract.own_stake(OPERATOR.address)) == (ETHER // 4, ETHER)
    redeem(place, ETHER, salt=3)
    assert place.balance(OPERATOR) == 5 * ETHER // 4
    assert (place.balance(place.channels.address), bonded.held()) == (3 * 50 * ETHER - 9 * ETHER // 4, ETHER)
    ticket = bonded.leave(OPERATOR)
    redeem(place, ETHER // 2, salt=4)
    assert bonded.contract.own_stake(OPERATOR.address) == ETHER // 2, "who takes its bond out builds it up again"
    wait()
    assert bonded.withdraw(OPERATOR, ticket) == ETHER


def test_an_operator_whose_bond_was_slashed_builds_it_up_again(bonded: Bonds) -> None:
    redeem(bonded.place, ETHER)
    bonded.slash(ETHER)
    redeem(bonded.place, ETHER, salt=2)
    assert bonded.contract.own_stake(OPERATOR.address) == ETHER
    bonded.slash(ETHER // 2)
    redeem(bonded.place, ETHER, salt=3)
    assert bonded.contract.own_stake(OPERATOR.address) == ETHER
    assert bonded.place.balance(OPERATOR) == ETHER // 2


def test_the_stake_of_others_is_not_the_operators_own(bonded: Bonds) -> None:
    bonded.stake(ALICE, 100 * ETHER)
    redeem(bonded.place, ETHER // 2)
    assert (bonded.place.balance(OPERATOR), bonded.contract.own_stake(OPERATOR.address)) == (0, ETHER // 2)


def test_pay_is_retained_first_and_the_rest_shared(bonded: Bonds) -> None:
    bonded.by(OPERATOR, "set_commission", 4_000)
    assert tuple(bonded.contract.route(OPERATOR.address, 11 * ETHER)) == (ETHER, 6 * ETHER)
    bonded.stake(ALICE, 9 * ETHER)
    redeem(bonded.place, 11 * ETHER)
    assert bonded.place.balance(OPERATOR) == 4 * ETHER
    assert bonded.contract.own_stake(OPERATOR.address) == ETHER
    assert (bonded.claimable(OPERATOR), bonded.claimable(ALICE)) == (6 * ETHER // 10, 54 * ETHER // 10)
    assert bonded.held() == 16 * ETHER


def test_without_least_bond_and_commission_nothing_is_kept_back(place: Place, bonds: Bonds) -> None:
    bonds.stake(ALICE, ETHER)
    assert tuple(bonds.contract.route(OPERATOR.address, ETHER)) == (0, 0)
    bonds.by(OPERATOR, "set_commission", 0)
    assert tuple(bonds.contract.route(OPERATOR.address, ETHER)) == (0, ETHER)
    assert tuple(bonds.contract.route(CAROL.address, ETHER)) == (0, 0)


@pytest.mark.parametrize("amount", [1, 2, 3, 999, 1_001])
def test_no_bond_makes_a_redemption_fail(bonded: Bonds, amount: int) -> None:
    """Whatever an operator did to its pool before: slashed to nothing, left with dust, rounded away, shared without stake."""
    place, salt = bonded.place, 1
    bonded.by(OPERATOR, "set_commission", 0)
    redeem(place, amount, salt)
    for left in (0, 1, 10**6):
        bonded.stake(ALICE, ETHER)
        bond = bonded.contract.bond_of(OPERATOR.address)
        bonded.slash(max(bond - left, 0))
        salt += 1
        redeem(place, amount, salt)
        shares = bonded.shares(OPERATOR)
        if bonded.worth(OPERATOR):
            bonded.unstake(OPERATOR, shares)
        salt += 1
        redeem(place, amount, salt)
    assert place.balance(place.channels.address) == salt * (50 * ETHER - amount)
