"""A channel that its provider gave up in front of the redemption that would have put a receipt on record."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from contracts_support import BUYER, DEVICE, OPERATOR, SESSION, STRANGER, Place
from court_support import Courthouse
from surge.core.receipts import Voucher

ETHER = 10**18
CHALLENGE = 60


def voucher(place: Place, channel: bytes, amount: int, count: int, signer=SESSION) -> tuple[Any, bytes]:
    found = Voucher(channel, amount, count, b"%032d" % count)
    return (channel, amount, count, found.root), signer.sign(found.digest(place.domain))


@pytest.fixture
def channel(place: Place) -> bytes:
    with boa.env.prank(BUYER.address):
        found = place.channels.open(OPERATOR.address, DEVICE.address, SESSION.address, 10 * ETHER, 0, CHALLENGE, b"\x01" * 32)
    place.channels.redeem(*voucher(place, found, ETHER, 2))
    return found


def give_up(place: Place, channel: bytes, who=OPERATOR) -> None:
    with boa.env.prank(who.address):
        place.channels.close_by_provider(channel)


def test_what_its_provider_gave_up_is_recorded_for_a_challenge_period_and_pays_nothing(place: Place, channel: bytes) -> None:
    with boa.reverts("channels: not given up"):
        place.channels.record(*voucher(place, channel, 2 * ETHER, 3))
    boa.env.time_travel(seconds=100)
    give_up(place, channel, DEVICE)
    held = place.balance(OPERATOR), place.balance(BUYER), place.balance(place.channels)
    boa.env.time_travel(seconds=CHALLENGE - 1)
    with boa.env.prank(STRANGER.address):
        place.channels.record(*voucher(place, channel, 2 * ETHER, 3))
    state = place.channels.state(channel)
    assert (state.count, state.root, state.redeemed, state.closed) == (3, b"%032d" % 3, ETHER, True)
    assert state.redeemed_at == boa.env.evm.patch.timestamp
    assert held == (place.balance(OPERATOR), place.balance(BUYER), place.balance(place.channels))
    with boa.reverts("channels: voucher already redeemed"):
        place.channels.record(*voucher(place, channel, 2 * ETHER, 3))
    with boa.reverts("channels: not the session key's voucher"):
        place.channels.record(*voucher(place, channel, 2 * ETHER, 4, signer=STRANGER))
    boa.env.time_travel(seconds=1)
    with boa.reverts("channels: challenge period over"):
        place.channels.record(*voucher(place, channel, 2 * ETHER, 4))


def test_a_provider_that_gives_up_a_channel_that_closes_has_its_receipts_recorded_too(place: Place, channel: bytes) -> None:
    with boa.env.prank(BUYER.address):
        place.channels.start_close(channel)
    give_up(place, channel)
    place.channels.record(*voucher(place, channel, ETHER, 3))
    assert place.channels.state(channel).closing_at == boa.env.evm.patch.timestamp


def test_a_channel_that_ended_otherwise_records_nothing_more(place: Place, channel: bytes) -> None:
    with boa.env.prank(BUYER.address):
        place.channels.start_close(channel)
    boa.env.time_travel(seconds=CHALLENGE)
    place.channels.finish_close(channel)
    with boa.reverts("channels: not given up"):
        place.channels.record(*voucher(place, channel, ETHER, 3))
    with boa.reverts("channels: not given up"):
        place.channels.record(*voucher(place, b"\x02" * 32, ETHER, 3))


def test_giving_a_channel_up_keeps_no_receipt_from_the_court(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse()

    def first() -> None:
        give_up(courthouse.place, courthouse.channel)

    assert courthouse.open(courthouse.record(courthouse.receipt(), before=first)) == 1
