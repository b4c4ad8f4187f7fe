"""What a redemption leaves on the ledger beside the payment: fees by epoch and operator, and the time from which claims age."""

from __future__ import annotations

import boa
import pytest

from bonds_support import ETHER, now
from contracts_support import BUYER, DEVICE, EPOCH, OPERATOR, OWNER, SESSION, STRANGER, Place
from surge.core.receipts import Close, Voucher

ROOT = b"\x07" * 32


def opened(place: Place, floor: int = 0, salt: int = 1) -> bytes:
    with boa.env.prank(BUYER.address):
        return place.channels.open(OPERATOR.address, DEVICE.address, SESSION.address, 10 * ETHER, floor, 60, salt.to_bytes(32, "big"))


def redeem(place: Place, channel: bytes, amount: int, count: int = 1, root: bytes = ROOT) -> None:
    voucher = Voucher(channel, amount, count, root)
    place.channels.redeem((channel, amount, count, root), SESSION.sign(voucher.digest(place.domain)))


def fees(place: Place, epoch: int) -> tuple[int, int]:
    """An epoch's fees: the operator's and all."""
    return place.channels.fees(epoch, OPERATOR.address), place.channels.epoch_fees(epoch)


def next_epoch() -> int:
    """Go to the start of the next epoch; returns its number."""
    boa.env.time_travel(seconds=EPOCH - now() % EPOCH)
    return now() // EPOCH


def test_fees_are_counted_by_epoch_and_operator(place: Place) -> None:
    epoch = next_epoch()
    one = opened(place)
    with boa.env.prank(BUYER.address):
        other = place.channels.open(STRANGER.address, DEVICE.address, SESSION.address, 10 * ETHER, 0, 60, bytes(32))
    redeem(place, one, 2 * ETHER)
    redeem(place, one, 3 * ETHER, 2)
    redeem(place, other, ETHER)
    assert fees(place, epoch) == (3 * ETHER // 100, 4 * ETHER // 100)
    assert place.balance(place.sink) == 4 * ETHER // 100
    boa.env.time_travel(seconds=EPOCH - 1)
    redeem(place, one, 4 * ETHER, 3)
    assert fees(place, epoch) == (4 * ETHER // 100, 5 * ETHER // 100)
    boa.env.time_travel(seconds=1)
    redeem(place, one, 5 * ETHER, 4)
    assert fees(place, epoch) == (4 * ETHER // 100, 5 * ETHER // 100)
    assert fees(place, epoch + 1) == (ETHER // 100, ETHER // 100)


def test_the_fee_on_a_floor_counts_too(place: Place) -> None:
    epoch = next_epoch()
    channel = opened(place, floor=2 * ETHER)
    with boa.env.prank(OPERATOR.address):
        place.channels.close_by_provider(channel)
    assert fees(place, epoch) == (2 * ETHER // 100, 2 * ETHER // 100)


def test_without_a_fee_nothing_is_counted(place: Place) -> None:
    with boa.env.prank(OWNER.address):
        place.channels.set_fee(0, place.sink)
    epoch = next_epoch()
    redeem(place, opened(place), 2 * ETHER)
    assert fees(place, epoch) == (0, 0)
    assert place.balance(OPERATOR) == 2 * ETHER


def test_a_claims_age_runs_from_the_last_redemption_that_changed_the_log(place: Place) -> None:
    channel = opened(place)
    assert place.channels.state(channel).redeemed_at == 0
    redeem(place, channel, ETHER)
    first = now()
    assert place.channels.state(channel).redeemed_at == first
    boa.env.time_travel(seconds=100)
    redeem(place, channel, 2 * ETHER)
    assert place.channels.state(channel).redeemed_at == first, "the same log, for more money"
    redeem(place, channel, 2 * ETHER, 2)
    assert place.channels.state(channel).redeemed_at == first + 100
    boa.env.time_travel(seconds=100)
    redeem(place, channel, 3 * ETHER, 2, b"\x08" * 32)
    assert place.channels.state(channel).redeemed_at == first + 200


def test_the_clock_keeps_its_parts_apart(place: Place) -> None:
    channel = opened(place)
    redeem(place, channel, ETHER)
    first = now()
    boa.env.time_travel(seconds=10)
    with boa.env.prank(BUYER.address):
        place.channels.start_close(channel)
    closing = now() + 60
    boa.env.time_travel(seconds=10)
    found = place.channels.state(channel)
    assert (found.challenge_seconds, found.closing_at, found.redeemed_at, found.closed) == (60, closing, first, False)
    redeem(place, channel, 2 * ETHER, 2)
    found = place.channels.state(channel)
    assert (found.challenge_seconds, found.closing_at, found.redeemed_at, found.closed) == (60, closing, now(), False)
    boa.env.time_travel(seconds=60)
    place.channels.finish_close(channel)
    found = place.channels.state(channel)
    assert (found.challenge_seconds, found.closing_at, found.redeemed_at, found.closed) == (60, closing, now() - 60, True)


def test_a_close_together_is_a_redemption(place: Place) -> None:
    channel = opened(place)
    boa.env.time_travel(seconds=10)
    digest = Close(channel, ETHER, 4, ROOT).digest(place.domain)
    place.channels.close_together((channel, ETHER, 4, ROOT), DEVICE.sign(digest), SESSION.sign(digest))
    assert place.channels.state(channel).redeemed_at == now()


@pytest.mark.parametrize(
    ("bonds", "epoch", "reason"),
    [
        (False, 600, "channels: no bonds"),
        (True, 59, "channels: epoch out of bounds"),
        (True, 7_776_001, "channels: epoch out of bounds"),
    ],
)
def test_what_cannot_be_founded(place: Place, deployers, bonds: bool, epoch: int, reason: str) -> None:
    nobody = "0x" + "00" * 20
    where = place.bonds.address if bonds else nobody
    with boa.reverts(reason):
        deployers["channels"].deploy(place.token.address, where, place.sink, 100, epoch)
    with boa.reverts("purse: no token"):
        deployers["channels"].deploy(nobody, place.bonds.address, place.sink, 100, 600)
