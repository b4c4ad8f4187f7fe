"""Channels: every path that moves money, every reason for a revert, and the log's proofs."""

from __future__ import annotations

import dataclasses

import boa
import pytest

from contracts_support import BUYER, DEVICE, OPERATOR, OWNER, SESSION, STRANGER, Place
from surge.core.log import ReceiptLog
from surge.core.receipts import Acknowledgement, Close, Receipt, Voucher

ETHER = 10**18
SALT = b"\x01" * 32


def opened(place: Place, amount: int = 10 * ETHER, floor: int = ETHER, challenge: int = 60, salt: bytes = SALT) -> bytes:
    with boa.env.prank(BUYER.address):
        return place.channels.open(OPERATOR.address, DEVICE.address, SESSION.address, amount, floor, challenge, salt)


def voucher(place: Place, channel: bytes, amount: int, count: int = 1, root: bytes = b"\x07" * 32, signer=SESSION):
    found = Voucher(channel, amount, count, root)
    return (channel, amount, count, root), signer.sign(found.digest(place.domain))


def state(place: Place, channel: bytes):
    return place.channels.state(channel)


def test_a_deposit_is_taken_and_named(place: Place) -> None:
    channel = opened(place)
    assert place.token.balanceOf(place.channels.address) == 10 * ETHER
    assert channel == place.channels.channel_id(BUYER.address, OPERATOR.address, SALT)
    found = state(place, channel)
    assert (found.deposit, found.redeemed, found.floor, found.closed) == (10 * ETHER, 0, ETHER, False)


def test_redeeming_pays_the_operator_less_the_fee_whoever_sends_it(place: Place) -> None:
    channel = opened(place)
    row, signature = voucher(place, channel, 4 * ETHER)
    with boa.env.prank(STRANGER.address):
        assert place.channels.redeem(row, signature) == 4 * ETHER
    assert place.token.balanceOf(OPERATOR.address) == 4 * ETHER * 99 // 100
    assert place.token.balanceOf(place.sink) == 4 * ETHER // 100


def test_a_newer_voucher_pays_only_what_it_adds(place: Place) -> None:
    channel = opened(place)
    place.channels.redeem(*voucher(place, channel, 2 * ETHER, 1))
    assert place.channels.redeem(*voucher(place, channel, 5 * ETHER, 9)) == 3 * ETHER
    assert state(place, channel).count == 9


def test_an_older_voucher_sent_first_by_a_stranger_takes_nothing_away(place: Place) -> None:
    channel = opened(place)
    older, newer = voucher(place, channel, 1, 1), voucher(place, channel, 5 * ETHER, 9)
    with boa.env.prank(STRANGER.address):
        place.channels.redeem(*older)
    place.channels.redeem(*newer)
    assert state(place, channel).redeemed == 5 * ETHER


@pytest.mark.parametrize(
    ("amount", "count", "reason"),
    [
        (3 * ETHER, 5, "channels: voucher already redeemed"),
        (3 * ETHER, 4, "channels: voucher already redeemed"),
        (2 * ETHER, 9, "channels: voucher already redeemed"),
        (11 * ETHER, 9, "channels: voucher above deposit"),
    ],
)
def test_falling_or_excessive_vouchers_are_refused(place: Place, amount: int, count: int, reason: str) -> None:
    channel = opened(place)
    place.channels.redeem(*voucher(place, channel, 3 * ETHER, 5))
    with boa.reverts(reason):
        place.channels.redeem(*voucher(place, channel, amount, count))


@pytest.mark.parametrize("poison", [(0, 2**256 - 1), (1, 2**256 - 1), (1, 0), (ETHER, 2**64)])
def test_no_count_stands_in_the_way_of_a_higher_amount(place: Place, poison: tuple[int, int]) -> None:
    channel = opened(place)
    good = voucher(place, channel, 9 * ETHER, 50, b"\x09" * 32)
    with boa.env.prank(BUYER.address):
        place.channels.redeem(*voucher(place, channel, *poison))
    place.channels.redeem_many([good[0]], [good[1]])
    found = state(place, channel)
    assert (found.redeemed, found.count, found.root) == (9 * ETHER, 50, b"\x09" * 32)
    assert place.token.balanceOf(OPERATOR.address) + place.token.balanceOf(place.sink) == 9 * ETHER


def test_refused_receipts_are_recorded_at_the_same_amount_and_pay_nothing(place: Place) -> None:
    channel = opened(place)
    place.channels.redeem(*voucher(place, channel, ETHER, 1))
    before = place.token.balanceOf(OPERATOR.address)
    assert place.channels.redeem(*voucher(place, channel, ETHER, 2, b"\x09" * 32)) == 0
    found = state(place, channel)
    assert (found.redeemed, found.count, found.root) == (ETHER, 2, b"\x09" * 32)
    assert place.token.balanceOf(OPERATOR.address) == before


@pytest.mark.parametrize("signer", [BUYER, DEVICE, STRANGER])
def test_only_the_session_key_vouches(place: Place, signer) -> None:
    channel = opened(place)
    with boa.reverts("channels: not the session key's voucher"):
        place.channels.redeem(*voucher(place, channel, ETHER, signer=signer))


@pytest.mark.parametrize("signature", [b"", b"\x00" * 65, b"\x01" * 64])
def test_empty_and_malformed_signatures_are_nobodys(place: Place, signature: bytes) -> None:
    channel = opened(place)
    with boa.reverts():
        place.channels.redeem((channel, ETHER, 1, SALT), signature)


def test_a_voucher_for_another_contract_or_chain_is_nobodys(place: Place) -> None:
    channel = opened(place)
    found = Voucher(channel, ETHER, 1, SALT)
    for domain in (
        dataclasses.replace(place.domain, chain_id=place.domain.chain_id + 1),
        dataclasses.replace(place.domain, contract=OWNER.address),
        dataclasses.replace(place.domain, name="Surge registry"),
    ):
        with boa.reverts("channels: not the session key's voucher"):
            place.channels.redeem((channel, ETHER, 1, SALT), SESSION.sign(found.digest(domain)))


def test_one_bad_voucher_in_a_batch_does_not_stop_the_others(place: Place) -> None:
    one, two = opened(place), opened(place, salt=b"\x02" * 32)
    rows = [
        voucher(place, one, ETHER, 1),
        voucher(place, one, ETHER, 1),
        voucher(place, b"\x09" * 32, ETHER, 1),
        voucher(place, two, 99 * ETHER, 1),
        voucher(place, two, 2 * ETHER, 2, signer=STRANGER),
        voucher(place, two, 2 * ETHER, 2),
    ]
    assert place.channels.redeem_many([row for row, _ in rows], [signature for _, signature in rows]) == 3 * ETHER
    with boa.reverts("channels: signatures missing"):
        place.channels.redeem_many([rows[0][0]], [])


def test_an_id_is_never_used_twice_not_even_after_its_close(place: Place) -> None:
    channel = opened(place)
    with boa.reverts("channels: id was used"):
        opened(place)
    with boa.env.prank(OPERATOR.address):
        place.channels.close_by_provider(channel)
    with boa.reverts("channels: id was used"):
        opened(place)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": 0, "floor": 0}, "channels: nothing deposited"),
        ({"floor": 11 * ETHER}, "channels: floor above deposit"),
        ({"challenge": 59}, "channels: challenge period out of bounds"),
        ({"challenge": 7_776_001}, "channels: challenge period out of bounds"),
    ],
)
def test_what_cannot_be_opened(place: Place, changes: dict, reason: str) -> None:
    with boa.reverts(reason):
        opened(place, **changes)


def test_empty_addresses_cannot_be_named(place: Place) -> None:
    nobody = "0x" + "00" * 20
    for triple in (
        (nobody, DEVICE.address, SESSION.address),
        (OPERATOR.address, nobody, SESSION.address),
        (OPERATOR.address, DEVICE.address, nobody),
    ):
        with boa.env.prank(BUYER.address), boa.reverts("channels: empty address"):
            place.channels.open(*triple, ETHER, 0, 60, SALT)


def test_only_the_buyer_tops_up_and_not_while_closing(place: Place) -> None:
    channel = opened(place)
    with boa.env.prank(STRANGER.address), boa.reverts("channels: not the buyer"):
        place.channels.top_up(channel, 1)
    with boa.env.prank(BUYER.address):
        with boa.reverts("channels: nothing deposited"):
            place.channels.top_up(channel, 0)
        place.channels.top_up(channel, ETHER)
        assert state(place, channel).deposit == 11 * ETHER
        place.channels.start_close(channel)
        with boa.reverts("channels: closing"):
            place.channels.top_up(channel, 1)


def test_only_the_buyer_raises_the_floor_and_never_lowers_it(place: Place) -> None:
    channel = opened(place)
    floor = state(place, channel).floor
    with boa.env.prank(STRANGER.address), boa.reverts("channels: not the buyer"):
        place.channels.raise_floor(channel, floor + 1)
    with boa.env.prank(BUYER.address):
        for lower in (0, floor):
            with boa.reverts("channels: floor not raised"):
                place.channels.raise_floor(channel, lower)
        with boa.reverts("channels: floor above deposit"):
            place.channels.raise_floor(channel, 10 * ETHER + 1)
        place.channels.raise_floor(channel, 10 * ETHER)
        assert state(place, channel).floor == 10 * ETHER
        place.channels.start_close(channel)
        with boa.reverts("channels: closing"):
            place.channels.raise_floor(channel, 10 * ETHER + 1)
    boa.env.time_travel(seconds=61)
    place.channels.finish_close(channel)
    assert state(place, channel).redeemed == 10 * ETHER, "a close pays the floor as it was raised"
    with boa.env.prank(BUYER.address), boa.reverts("channels: closed"):
        place.channels.raise_floor(channel, 10 * ETHER + 1)


def test_a_one_sided_close_waits_and_the_provider_can_still_redeem(place: Place) -> None:
    channel = opened(place)
    with boa.env.prank(BUYER.address):
        place.channels.start_close(channel)
        with boa.reverts("channels: closing"):
            place.channels.start_close(channel)
    with boa.reverts("channels: challenge period not over"):
        place.channels.finish_close(channel)
    place.channels.redeem(*voucher(place, channel, 6 * ETHER))
    boa.env.time_travel(seconds=60)
    before = place.token.balanceOf(BUYER.address)
    place.channels.finish_close(channel)
    assert place.token.balanceOf(BUYER.address) - before == 4 * ETHER
    assert place.token.balanceOf(place.channels.address) == 0
    with boa.reverts("channels: closed"):
        place.channels.redeem(*voucher(place, channel, 7 * ETHER, 2))
    with boa.reverts("channels: closed"):
        place.channels.finish_close(channel)


def test_a_buyer_that_vanishes_pays_the_floor(place: Place) -> None:
    channel = opened(place)
    with boa.env.prank(BUYER.address):
        place.channels.start_close(channel)
    boa.env.time_travel(seconds=61)
    place.channels.finish_close(channel)
    assert place.token.balanceOf(OPERATOR.address) == ETHER * 99 // 100
    assert state(place, channel).redeemed == ETHER


@pytest.mark.parametrize("who", [OPERATOR, DEVICE])
def test_the_provider_may_give_a_channel_up(place: Place, who) -> None:
    channel = opened(place)
    with boa.env.prank(STRANGER.address), boa.reverts("channels: not the provider"):
        place.channels.close_by_provider(channel)
    with boa.env.prank(who.address):
        place.channels.close_by_provider(channel)
    assert place.token.balanceOf(place.channels.address) == 0


def close_signatures(place: Place, channel: bytes, amount: int, count: int, theirs=DEVICE, ours=SESSION):
    digest = Close(channel, amount, count, SALT).digest(place.domain)
    return (channel, amount, count, SALT), theirs.sign(digest), ours.sign(digest)


@pytest.mark.parametrize("theirs", [DEVICE, OPERATOR])
@pytest.mark.parametrize("ours", [SESSION, BUYER])
def test_both_sides_close_at_once(place: Place, theirs, ours) -> None:
    channel = opened(place)
    place.channels.close_together(*close_signatures(place, channel, 3 * ETHER, 4, theirs, ours))
    assert place.token.balanceOf(OPERATOR.address) == 3 * ETHER * 99 // 100
    assert place.token.balanceOf(BUYER.address) == 10**21 - 3 * ETHER


@pytest.mark.parametrize("amount", [0, ETHER // 2])
def test_a_close_together_pays_the_floor(place: Place, amount: int) -> None:
    channel = opened(place)
    place.channels.close_together(*close_signatures(place, channel, amount, 1))
    assert place.token.balanceOf(OPERATOR.address) == ETHER * 99 // 100
    assert place.token.balanceOf(place.sink) == ETHER // 100
    assert place.token.balanceOf(BUYER.address) == 10**21 - ETHER
    found = state(place, channel)
    assert (found.redeemed, found.count, found.root, found.closed) == (ETHER, 1, SALT, True)


def test_no_count_stands_in_the_way_of_a_close_together(place: Place) -> None:
    channel = opened(place)
    with boa.env.prank(BUYER.address):
        place.channels.redeem(*voucher(place, channel, 2 * ETHER, 2**256 - 1))
    place.channels.close_together(*close_signatures(place, channel, 3 * ETHER, 4))
    found = state(place, channel)
    assert (found.redeemed, found.count, found.root, found.closed) == (3 * ETHER, 4, SALT, True)


def test_a_close_needs_both_and_cannot_go_back(place: Place) -> None:
    channel = opened(place)
    place.channels.redeem(*voucher(place, channel, 3 * ETHER, 4))
    with boa.reverts("channels: not the provider's close"):
        place.channels.close_together(*close_signatures(place, channel, 3 * ETHER, 4, theirs=STRANGER))
    with boa.reverts("channels: not the buyer's close"):
        place.channels.close_together(*close_signatures(place, channel, 3 * ETHER, 4, ours=STRANGER))
    with boa.reverts("channels: state before the redeemed one"):
        place.channels.close_together(*close_signatures(place, channel, 2 * ETHER, 4))
    with boa.reverts("channels: voucher above deposit"):
        place.channels.close_together(*close_signatures(place, channel, 11 * ETHER, 4))


def test_a_voucher_is_no_close(place: Place) -> None:
    channel = opened(place)
    row, signature = voucher(place, channel, ETHER)
    with boa.reverts("channels: not the provider's close"):
        place.channels.close_together(row, signature, signature)


def test_what_does_not_exist_cannot_be_used(place: Place) -> None:
    ghost = b"\x05" * 32
    with boa.reverts("channels: no such channel"):
        place.channels.redeem(*voucher(place, ghost, 1))
    with boa.reverts("channels: no such channel"):
        place.channels.start_close(ghost)
    channel = opened(place)
    with boa.reverts("channels: not closing"):
        place.channels.finish_close(channel)
    with boa.env.prank(STRANGER.address), boa.reverts("channels: not the buyer"):
        place.channels.start_close(channel)


def test_the_fee_has_a_cap_and_an_owner(place: Place) -> None:
    with boa.env.prank(STRANGER.address), boa.reverts("ownable: caller is not the owner"):
        place.channels.set_fee(0, place.sink)
    with boa.env.prank(OWNER.address):
        with boa.reverts("channels: fee above cap"):
            place.channels.set_fee(501, place.sink)
        with boa.reverts("channels: no fee sink"):
            place.channels.set_fee(0, "0x" + "00" * 20)
        place.channels.set_fee(500, place.sink)
    assert place.channels.fee_bps() == 500


def receipt(place: Place, channel: bytes, sequence: int) -> Receipt:
    return Receipt(1, DEVICE.address, BUYER.address, channel, sequence, b"\x11" * 32, b"\x22" * 32, 10**9, 10**15, 1_700_000_000)


def row_of(found: Receipt):
    return (
        found.kind,
        found.device,
        found.buyer,
        found.channel,
        found.sequence,
        found.subject,
        found.result,
        found.quantity,
        found.amount,
        found.finished_at,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_receipts_are_proved_against_the_redeemed_root(place: Place, size: int) -> None:
    channel = opened(place)
    log, receipts = ReceiptLog(), [receipt(place, channel, number) for number in range(size)]
    for index, each in enumerate(receipts):
        digest = each.digest(place.domain)
        assert digest == place.channels.receipt_digest(row_of(each))
        leaf = Acknowledgement(channel, index, digest, True, each.amount).digest(place.domain)
        assert leaf == place.channels.acknowledgement_digest(channel, index, digest, True, each.amount)
        log.append(leaf)
    place.channels.redeem(*voucher(place, channel, size * 10**15, size, log.root()))
    for index, each in enumerate(receipts):
        path = log.inclusion(index)
        assert place.channels.verify_receipt(row_of(each), True, each.amount, index, path)
        assert not place.channels.verify_receipt(row_of(each), False, 0, index, path)
        assert not place.channels.verify_receipt(row_of(each), True, each.amount, index + 1, path)
        assert not place.channels.verify_receipt(row_of(each), True, each.amount, index, [*path, b"\x00" * 32])
        other = dataclasses.replace(each, quantity=each.quantity + 1)
        assert not place.channels.verify_receipt(row_of(other), True, each.amount, index, path)
        assert not place.channels.verify_receipt(row_of(dataclasses.replace(each, device=STRANGER.address)), True, each.amount, index, path)


def test_digests_are_those_of_the_core(place: Place) -> None:
    found = Voucher(SALT, 5, 6, b"\x08" * 32)
    assert place.channels.voucher_digest((SALT, 5, 6, b"\x08" * 32)) == found.digest(place.domain)
