"""A channel's two sides: what each refuses of the other, and that a fault changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from surge.core.channels import MAX_PENDING, Answered, Asked, BuyerChannel, ProviderChannel
from surge.core.eip712 import channels_domain
from surge.core.log import ReceiptLog
from surge.core.pricing import Prices
from surge.core.receipts import Receipt, ReceiptKind, Signed, Terms, Voucher
from surge.core.types import ZERO, address
from surge.errors import InvalidInput, PeerFault
from surge.wallet import KeySigner

DEVICE, SESSION, STRANGER = (KeySigner(bytes(31) + bytes((number,))) for number in (7, 8, 9))
BUYER = address("0x" + "b0" * 20)
DOMAIN = channels_domain(31337, address("0x" + "c0" * 20))
CHANNEL = b"\x0c" * 32
DEPOSIT = 1000


def sides(deposit: int = DEPOSIT) -> tuple[BuyerChannel, ProviderChannel]:
    common = (DOMAIN, CHANNEL, BUYER, DEVICE.address, SESSION.address, deposit)
    return BuyerChannel(*common), ProviderChannel(*common)


def issue(provider: ProviderChannel, amount: int = 10, number: int = 0) -> Signed:
    """A unit's receipt, signed and remembered."""
    receipt = provider.issue(ReceiptKind.UNIT, bytes([number]) * 32, b"\x0e" * 32, 5, amount, 1000)
    digest = receipt.digest(DOMAIN)
    signed = Signed(receipt, DEVICE.sign(digest))
    provider.issued(signed, digest)
    return signed


def asked(signed: Signed) -> Asked:
    receipt = signed.receipt
    return Asked(ReceiptKind(receipt.kind), receipt.subject, receipt.result, receipt.quantity, receipt.amount)


def answer(buyer: BuyerChannel, signed: Signed, *, accepted: bool = True) -> tuple[int, bool]:
    buyer.answer(signed.receipt, buyer.check(signed, asked(signed)), accepted=accepted)
    return signed.receipt.sequence, accepted


def vouch(buyer: BuyerChannel, signer: KeySigner = SESSION) -> tuple[Voucher, bytes]:
    voucher = buyer.state()
    return voucher, signer.sign(voucher.digest(DOMAIN))


def picture(side: BuyerChannel | ProviderChannel) -> Any:
    """All of a side's state, comparable."""
    common = (side.amount, side.log.size, side.log.root())
    if isinstance(side, BuyerChannel):
        return (*common, set(side.answered))
    return (*common, side.next_sequence, dict(side.pending), side.voucher, side.voucher_signature, side.stopped)


def test_both_sides_keep_the_same_log() -> None:
    buyer, provider = sides()
    first, second, third = (issue(provider, amount, number) for number, amount in enumerate((10, 20, 30)))
    assert provider.unvouched() == 60
    answers = provider.acknowledge([answer(buyer, second), answer(buyer, first, accepted=False)], *vouch(buyer))
    assert [(each.index, each.sequence, each.accepted, each.amount) for each in answers] == [(0, 1, True, 20), (1, 0, False, 0)]
    provider.acknowledge([answer(buyer, third)], *vouch(buyer))
    assert (buyer.amount, provider.amount, provider.pending) == (50, 50, {})
    assert buyer.log.root() == provider.log.root()
    assert provider.voucher == buyer.state() == provider.state()
    assert buyer.knows(2, provider.log.root(2))
    assert not buyer.knows(2, provider.log.root(3))
    assert not buyer.knows(4, provider.log.root(3))
    assert not buyer.knows(-1, provider.log.root(3))


def test_both_sides_come_back_from_their_journals() -> None:
    buyer, provider = sides()
    receipts = [issue(provider, 10, number) for number in range(5)]
    entries = [answer(buyer, each, accepted=number != 1) for number, each in enumerate(receipts[:3])]
    voucher, signature = vouch(buyer)
    answers = provider.acknowledge(entries, voucher, signature)
    buyer_again, provider_again = sides()
    buyer_again.restore(answers)
    provider_again.restore(receipts, answers, voucher, signature)
    assert picture(buyer_again) == picture(buyer)
    assert picture(provider_again) == picture(provider)
    assert issue(provider_again).receipt.sequence == 5


def test_a_journal_with_a_gap_is_refused() -> None:
    buyer, provider = sides()
    answers = provider.acknowledge([answer(buyer, issue(provider, 1, each)) for each in range(3)], *vouch(buyer))
    for damaged in (answers[1:], [answers[0], answers[2]], [answers[0], answers[0]], answers[::-1]):
        again, provider_again = sides()
        with pytest.raises(InvalidInput, match="gap"):
            again.restore(damaged)
        with pytest.raises(InvalidInput, match="gap"):
            provider_again.restore([], damaged, None, b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda receipt: replace(receipt, channel=bytes(32)), "another channel"),
        (lambda receipt: replace(receipt, buyer=STRANGER.address), "another channel"),
        (lambda receipt: replace(receipt, device=STRANGER.address), "another channel"),
        (lambda receipt: replace(receipt, kind=2), "asked and answered"),
        (lambda receipt: replace(receipt, subject=bytes(31) + b"\x01"), "asked and answered"),
        (lambda receipt: replace(receipt, result=bytes(32)), "asked and answered"),
        (lambda receipt: replace(receipt, quantity=6), "asked and answered"),
        (lambda receipt: replace(receipt, amount=11), "asks for 11 wei"),
        (lambda receipt: replace(receipt, amount=9), "asks for 9 wei"),
    ],
)
def test_a_receipt_that_is_not_what_was_asked_is_refused(change: Callable[[Receipt], Receipt], message: str) -> None:
    buyer, provider = sides()
    signed = issue(provider)
    wrong = change(signed.receipt)
    before = picture(buyer)
    with pytest.raises(PeerFault, match=message):
        buyer.check(Signed(wrong, DEVICE.sign(wrong.digest(DOMAIN))), asked(signed))
    assert picture(buyer) == before


def test_a_receipt_of_another_key_chain_or_time_is_refused() -> None:
    buyer, provider = sides()
    signed = issue(provider)
    for signature in (
        STRANGER.sign(signed.receipt.digest(DOMAIN)),
        DEVICE.sign(signed.receipt.digest(channels_domain(1, DOMAIN.contract))),
        DEVICE.sign(signed.receipt.digest(channels_domain(31337, BUYER))),
        bytes(65),
    ):
        with pytest.raises(PeerFault):
            buyer.check(Signed(signed.receipt, signature), asked(signed))
    answer(buyer, signed)
    with pytest.raises(PeerFault, match="answered before"):
        buyer.check(signed, asked(signed))
    with pytest.raises(InvalidInput, match="already"):
        buyer.answer(signed.receipt, signed.receipt.digest(DOMAIN), accepted=True)
    assert (buyer.amount, buyer.log.size) == (10, 1)


def test_the_deposit_bounds_both_sides() -> None:
    buyer, provider = sides(25)
    first, second = issue(provider, 10, 0), issue(provider, 10, 1)
    with pytest.raises(PeerFault, match="deposit"):
        issue(provider, 6, 2)
    assert provider.next_sequence == 2
    answer(buyer, first)
    answer(buyer, second)
    over = replace(second.receipt, sequence=9, amount=6)
    before = picture(buyer)
    with pytest.raises(InvalidInput, match="deposit"):
        buyer.answer(over, over.digest(DOMAIN), accepted=True)
    assert picture(buyer) == before
    buyer.answer(over, over.digest(DOMAIN), accepted=False)
    issue(provider, 5, 2)


def test_a_stopped_channel_and_one_with_too_much_pending_take_no_more() -> None:
    _, provider = sides(10**9)
    first = issue(provider)
    provider.pending.update({number: provider.pending[first.receipt.sequence] for number in range(10, 10 + MAX_PENDING)})
    with pytest.raises(PeerFault, match="wait"):
        issue(provider)
    _, stopped = sides()
    stopped.stopped = "why"
    with pytest.raises(PeerFault, match="why"):
        issue(stopped)


Forge = Callable[[Voucher, list[tuple[int, bool]]], tuple[Voucher, list[tuple[int, bool]]]]


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda voucher, entries: (replace(voucher, channel=bytes(32)), entries), "another channel"),
        (lambda voucher, entries: (replace(voucher, count=voucher.count - 1), entries), "counts"),
        (lambda voucher, entries: (replace(voucher, count=voucher.count + 1), entries), "counts"),
        (lambda voucher, entries: (replace(voucher, count=0), []), "counts"),
        (lambda voucher, entries: (replace(voucher, amount=19), entries), "counts"),
        (lambda voucher, entries: (replace(voucher, amount=voucher.amount - 1), entries), "amounts"),
        (lambda voucher, entries: (replace(voucher, amount=voucher.amount + 1), entries), "amounts"),
        (lambda voucher, entries: (replace(voucher, amount=DEPOSIT + 1), entries), "deposit"),
        (lambda voucher, entries: (replace(voucher, root=bytes(32)), entries), "receipts"),
        (lambda voucher, entries: (voucher, entries[::-1]), "receipts"),
        (lambda voucher, entries: (voucher, entries[:1]), "counts"),
        (lambda voucher, entries: (voucher, [entries[0], entries[0]]), "does not wait"),
        (lambda voucher, entries: (voucher, [entries[0], (99, True)]), "does not wait"),
        (lambda voucher, entries: (voucher, [entries[0], (-1, True)]), "does not wait"),
        (lambda voucher, entries: (voucher, [entries[0], (0, True)]), "does not wait"),
        (lambda voucher, entries: (voucher, [entries[0], (entries[1][0], False)]), "amounts"),
        (lambda voucher, entries: (replace(voucher, amount=voucher.amount - 20), [entries[0], (entries[1][0], False)]), "receipts"),
    ],
)
def test_a_voucher_that_does_not_follow_changes_nothing(forge: Forge, message: str) -> None:
    buyer, provider = sides()
    first = issue(provider, 20, 0)
    provider.acknowledge([answer(buyer, first)], *vouch(buyer))
    entries = [answer(buyer, issue(provider, 20, number)) for number in (1, 2)]
    right = buyer.state()
    voucher, listed = forge(right, list(entries))
    before = picture(provider)
    with pytest.raises(PeerFault, match=message):
        provider.acknowledge(listed, voucher, SESSION.sign(voucher.digest(DOMAIN)))
    assert picture(provider) == before
    provider.acknowledge(entries, right, SESSION.sign(right.digest(DOMAIN)))
    assert provider.state() == buyer.state()


def test_a_voucher_of_another_key_or_domain_changes_nothing() -> None:
    buyer, provider = sides()
    entries = [answer(buyer, issue(provider))]
    voucher = buyer.state()
    before = picture(provider)
    for signature in (
        STRANGER.sign(voucher.digest(DOMAIN)),
        DEVICE.sign(voucher.digest(DOMAIN)),
        SESSION.sign(voucher.digest(channels_domain(1, DOMAIN.contract))),
        SESSION.sign(voucher.digest(channels_domain(31337, BUYER))),
        b"",
    ):
        with pytest.raises(PeerFault):
            provider.acknowledge(entries, voucher, signature)
        assert picture(provider) == before


def test_a_replayed_acknowledgement_changes_nothing() -> None:
    buyer, provider = sides()
    entries = [answer(buyer, issue(provider))]
    voucher = vouch(buyer)
    provider.acknowledge(entries, *voucher)
    before = picture(provider)
    with pytest.raises(PeerFault):
        provider.acknowledge(entries, *voucher)
    assert picture(provider) == before
    assert provider.acknowledge([], *voucher) == []
    assert picture(provider) == before


def test_a_log_that_was_rewritten_is_found() -> None:
    buyer, provider = sides()
    first = issue(provider, 10, 0)
    fork = copy.deepcopy(buyer)
    provider.acknowledge([answer(buyer, first)], *vouch(buyer))
    answer(fork, first, accepted=False)
    entries = [answer(fork, issue(provider, 10, 1))]
    with pytest.raises(PeerFault):
        provider.acknowledge(entries, *vouch(fork))
    assert provider.log.root() == buyer.log.root()


def test_receipts_without_an_answer_are_overdue_after_the_terms_time() -> None:
    buyer, provider = sides()
    first, second = issue(provider, 1, 0), issue(provider, 1, 1)
    terms = Terms(CHANNEL, ZERO, ZERO, ZERO, Prices(1, 1, 1, 1, 1), 1, 60, 3600)
    assert provider.overdue(terms, 1060) == []
    assert provider.overdue(terms, 1061) == [first.receipt.sequence, second.receipt.sequence]
    provider.acknowledge([answer(buyer, first)], *vouch(buyer))
    assert provider.overdue(terms, 1061) == [second.receipt.sequence]


def test_the_leaf_is_the_acknowledgements_digest() -> None:
    buyer, provider = sides()
    signed = issue(provider)
    found = buyer.answer(signed.receipt, signed.receipt.digest(DOMAIN), accepted=True)
    assert isinstance(found, Answered)
    assert ReceiptLog([found.leaf]).root() == buyer.log.root()
