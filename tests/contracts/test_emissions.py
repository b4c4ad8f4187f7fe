"""Emissions: what is minted for work, for whom, and that the numbers of what began stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boa
import pytest

from contracts_support import BUYER, DEVICE, EPOCH, OPERATOR, OWNER, SESSION, STRANGER, Place, key, rich
from surge.core import emission
from surge.core.emission import MAX_DECAY, MAX_WORK_BPS, MIN_DECAY, ONE
from surge.core.receipts import Voucher

ETHER = 10**18
FIRST = 10 * ETHER
DECAY = ONE * 9 // 10
EMPTY = "0x" + "00" * 20


@dataclass
class Mint:
    place: Place
    emissions: Any

    def epoch(self) -> int:
        return int(boa.env.evm.patch.timestamp // EPOCH)

    def next_epoch(self, count: int = 1) -> None:
        now = boa.env.evm.patch.timestamp
        boa.env.time_travel(seconds=(now // EPOCH + count) * EPOCH - now)

    def work(self, operator, fee: int, number: int) -> int:
        """Pay an operator so much that the protocol's fee is `fee`; the epoch in which it counts."""
        with boa.env.prank(BUYER.address):
            amount = fee * 100
            channel = self.place.channels.open(operator.address, DEVICE.address, SESSION.address, amount, 0, 60, number.to_bytes(32, "big"))
        voucher = Voucher(channel, amount, 1, bytes(32))
        self.place.channels.redeem((channel, amount, 1, bytes(32)), SESSION.sign(voucher.digest(self.place.domain)))
        return self.epoch()

    def claim(self, operator, epoch: int) -> int:
        with boa.env.prank(STRANGER.address):
            return int(self.emissions.claim(operator.address, epoch))


def found(deployers: dict, place: Place, first: int = FIRST, decay: int = DECAY, work_bps: int = 8_000) -> Mint:
    with boa.env.prank(OWNER.address):
        emissions = deployers["emissions"].deploy(place.token.address, place.channels.address, place.bonds.address, first, decay, work_bps)
        place.token.set_minter(emissions.address)
    rich(place, BUYER)
    return Mint(place, emissions)


@pytest.fixture
def mint(deployers: dict, place: Place) -> Mint:
    return found(deployers, place)


def test_rewards_are_shared_by_fees(deployers: dict, place: Place) -> None:
    mint = found(deployers, place, first=ETHER // 10)
    other = key(500)
    epoch = mint.work(OPERATOR, 3 * ETHER // 10, 1)
    mint.work(other, ETHER // 10, 2)
    mint.next_epoch()
    before = place.balance(OPERATOR)
    budget = mint.emissions.budget(epoch)
    assert mint.claim(OPERATOR, epoch) == budget * 3 // 4 == place.balance(OPERATOR) - before
    assert mint.claim(other, epoch) == budget // 4


def test_no_more_than_the_work_fraction_is_minted_so_dealing_with_oneself_loses(mint: Mint) -> None:
    fee = ETHER // 100
    epoch = mint.work(OPERATOR, fee, 1)
    mint.next_epoch()
    supply = mint.place.token.totalSupply()
    assert mint.claim(OPERATOR, epoch) == fee * 8_000 // 10_000 < fee
    assert mint.place.token.totalSupply() - supply == fee * 8_000 // 10_000


def test_an_epoch_is_claimed_once_and_when_it_is_over(mint: Mint) -> None:
    epoch = mint.work(OPERATOR, ETHER // 100, 1)
    assert mint.emissions.claimable(OPERATOR.address, epoch) == 0 < mint.emissions.reward(OPERATOR.address, epoch)
    with boa.reverts("emissions: epoch is not over"):
        mint.claim(OPERATOR, epoch)
    mint.next_epoch()
    assert mint.emissions.claimable(OPERATOR.address, epoch) == mint.claim(OPERATOR, epoch)
    with boa.reverts("emissions: nothing to claim"):
        mint.claim(OPERATOR, epoch)
    with boa.reverts("emissions: nothing to claim"):
        mint.claim(STRANGER, epoch)
    assert mint.emissions.claimable(OPERATOR.address, epoch) == 0


def test_who_stands_behind_an_operator_shares(mint: Mint) -> None:
    rich(mint.place, STRANGER)
    with boa.env.prank(STRANGER.address):
        mint.place.bonds.stake(OPERATOR.address, ETHER)
    with boa.env.prank(OPERATOR.address):
        mint.place.bonds.set_commission(2_500)
    mint.next_epoch(1 + mint.place.bonds.unbonding_seconds() // EPOCH)
    epoch = mint.work(OPERATOR, ETHER // 100, 1)
    mint.next_epoch()
    claimed = mint.place.bonds.claimable(OPERATOR.address, STRANGER.address)
    amount = mint.claim(OPERATOR, epoch)
    gained = mint.place.bonds.claimable(OPERATOR.address, STRANGER.address) - claimed
    assert abs(gained - amount * 3 // 4) <= 1


def test_the_cap_is_never_passed_and_what_it_leaves_no_room_for_can_be_claimed_later(deployers: dict, place: Place) -> None:
    mint = found(deployers, place)
    room = place.token.cap() - place.token.totalSupply()
    epoch = mint.work(OPERATOR, ETHER, 1)
    mint.next_epoch()
    reward = mint.emissions.claimable(OPERATOR.address, epoch)
    with boa.env.prank(mint.emissions.address):
        place.token.mint(OWNER.address, room - reward // 3)
    assert mint.claim(OPERATOR, epoch) == reward // 3
    assert place.token.totalSupply() == place.token.cap()
    with boa.reverts("emissions: nothing to claim"):
        mint.claim(OPERATOR, epoch)
    with boa.env.prank(OWNER.address):
        place.token.burn(ETHER * 10)
    assert mint.claim(OPERATOR, epoch) == reward - reward // 3


def test_budgets_decay_as_the_mirror_says(mint: Mint) -> None:
    start = mint.epoch()
    assert mint.emissions.budget(start - 1) == 0
    for later in (0, 1, 2, 3, 10, 64, 100, 1_000, 10_000, 2**40):
        assert mint.emissions.budget(start + later) == emission.budget(FIRST, DECAY, later)
    budgets = [mint.emissions.budget(start + later) for later in range(40)]
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[0] == FIRST


def test_numbers_change_from_the_next_epoch_on_and_by_the_owner_only(mint: Mint) -> None:
    start = mint.epoch()
    before = [mint.emissions.budget(start + later) for later in range(3)]
    with boa.reverts("ownable: caller is not the owner"), boa.env.prank(STRANGER.address):
        mint.emissions.schedule(1, DECAY, 1)
    mint.next_epoch(2)
    with boa.env.prank(OWNER.address):
        mint.emissions.schedule(FIRST, DECAY, 1_000)
        mint.emissions.schedule(ETHER, MIN_DECAY, 2_000)
    assert mint.emissions.schedule_count() == 2
    assert [mint.emissions.budget(start + later) for later in range(3)] == before
    assert [mint.emissions.budget(start + later) for later in (3, 4, 5)] == [ETHER, ETHER // 2, ETHER // 4]
    assert tuple(mint.emissions.schedule_of(start + 9)) == (start + 3, ETHER, MIN_DECAY, 2_000)
    assert tuple(mint.emissions.schedule_of(start + 2)) == (start, FIRST, DECAY, 8_000)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ((FIRST + 1, DECAY, 1), "emissions: budget out of bounds"),
        ((FIRST, MIN_DECAY - 1, 1), "emissions: decay out of bounds"),
        ((FIRST, MAX_DECAY + 1, 1), "emissions: decay out of bounds"),
        ((FIRST, DECAY, MAX_WORK_BPS + 1), "emissions: work fraction above cap"),
    ],
)
def test_numbers_stay_within_their_bounds(mint: Mint, numbers: tuple, reason: str) -> None:
    with boa.reverts(reason), boa.env.prank(OWNER.address):
        mint.emissions.schedule(*numbers)


def test_numbers_out_of_bounds_found_no_emissions(deployers: dict, place: Place) -> None:
    good = [place.token.address, place.channels.address, place.bonds.address, FIRST, DECAY, 8_000]
    for at, value, reason in (
        (0, EMPTY, "empty address"),
        (1, EMPTY, "empty address"),
        (2, EMPTY, "empty address"),
        (3, 2**96 + 1, "budget out of bounds"),
        (5, 9_001, "work fraction above cap"),
    ):
        with boa.reverts(f"emissions: {reason}"):
            deployers["emissions"].deploy(*[value if place == at else each for place, each in enumerate(good)])


def test_rewards_are_what_the_mirror_says(mint: Mint) -> None:
    fees = {OPERATOR: 7_777_777_777_777_777, key(500): 3, key(501): 123_456_789}
    for number, (who, fee) in enumerate(fees.items()):
        epoch = mint.work(who, fee, number + 1)
    total = sum(fees.values())
    for who, fee in fees.items():
        assert mint.emissions.reward(who.address, epoch) == emission.reward(mint.emissions.budget(epoch), fee, total, 8_000)
    assert mint.emissions.reward(STRANGER.address, epoch) == 0 == emission.reward(FIRST, 0, 0, 8_000)


def test_the_mirror_takes_arrays() -> None:
    import numpy as np

    fees = [0, 10**16, 5 * 10**18]
    exact = [emission.reward(FIRST, each, 6 * 10**18) for each in fees]
    assert emission.reward(FIRST, np.array(fees, dtype=object), 6 * 10**18).tolist() == exact
    assert np.allclose(emission.reward(float(FIRST), np.array(fees, dtype=float), 6e18), exact)
    epochs = np.arange(50)
    assert np.allclose(emission.budget(FIRST, DECAY, epochs), [emission.budget(FIRST, DECAY, int(each)) for each in epochs])
