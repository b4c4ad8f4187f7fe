"""Buyer and provider of a channel in lock-step while messages are lost, repeated and reordered, and both are restarted.

The journey: receipts and acknowledgements travel over two lines that may drop, repeat or swap what is on them. Whatever arrives,
the provider's log is a prefix of the buyer's, its amount is what its last voucher says, and a fault changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from surge.core.channels import Answered, Asked, BuyerChannel, ProviderChannel
from surge.core.eip712 import channels_domain
from surge.core.receipts import ReceiptKind, Signed, Voucher
from surge.core.types import address
from surge.errors import PeerFault
from surge.wallet import KeySigner

DEVICE, SESSION = KeySigner(bytes(31) + b"\x07"), KeySigner(bytes(31) + b"\x08")
DOMAIN = channels_domain(31337, address("0x" + "c0" * 20))
CHANNEL, BUYER = b"\x0c" * 32, address("0x" + "b0" * 20)
DEPOSIT = 500


@dataclass(frozen=True)
class Letter:
    """Acknowledgements with their voucher, as they travel: the log from `start` on."""

    start: int
    entries: tuple[tuple[int, bool], ...]
    voucher: Voucher
    signature: bytes


@dataclass
class Line:
    """What is under way, in order."""

    letters: list[Any] = field(default_factory=list)


class ChannelUnderLoss(RuleBasedStateMachine):
    """See the module's docstring."""

    places = Bundle("places")

    def __init__(self) -> None:
        super().__init__()
        common = (DOMAIN, CHANNEL, BUYER, DEVICE.address, SESSION.address, DEPOSIT)
        self.common = common
        self.buyer, self.provider = BuyerChannel(*common), ProviderChannel(*common)
        self.to_buyer, self.to_provider = Line(), Line()
        self.receipts: list[Signed] = []
        self.buyer_journal: list[Answered] = []
        self.provider_journal: list[Answered] = []
        self.sent: list[Letter] = []

    @initialize()
    def begin(self) -> None:
        assert self.buyer.state() == self.provider.state()

    @rule(amount=st.integers(0, 60))
    def provider_works(self, amount: int) -> None:
        number = self.provider.next_sequence
        try:
            receipt = self.provider.issue(ReceiptKind.UNIT, number.to_bytes(32, "big"), bytes(32), number, amount, number)
        except PeerFault:
            assert self.provider.amount + self.provider.unvouched() + amount > DEPOSIT
            assert self.provider.next_sequence == number
            return
        digest = receipt.digest(DOMAIN)
        signed = Signed(receipt, DEVICE.sign(digest))
        self.provider.issued(signed, digest)
        self.receipts.append(signed)
        self.to_buyer.letters.append(signed)

    @precondition(lambda self: self.to_buyer.letters)
    @rule(data=st.data(), accepted=st.booleans(), keep=st.booleans())
    def buyer_takes_any(self, data: st.DataObject, accepted: bool, keep: bool) -> None:
        letters = self.to_buyer.letters
        place = data.draw(st.integers(0, len(letters) - 1))
        signed = letters[place] if keep else letters.pop(place)
        receipt = signed.receipt
        asked = Asked(ReceiptKind.UNIT, receipt.subject, receipt.result, receipt.quantity, receipt.amount)
        before = self.buyer.state()
        try:
            digest = self.buyer.check(signed, asked)
        except PeerFault:
            assert receipt.sequence in self.buyer.answered
            assert self.buyer.state() == before
            return
        self.buyer_journal.append(self.buyer.answer(receipt, digest, accepted=accepted))

    @rule(behind=st.integers(0, 4))
    def buyer_vouches(self, behind: int) -> None:
        """The buyer sends its log from where it last knew the provider, or from earlier, or from later: it may be wrong about that."""
        start = max(0, self.provider.log.size - behind if behind < 4 else self.provider.log.size + 1)
        if start > self.buyer.log.size:
            return
        voucher = self.buyer.state()
        entries = tuple((each.sequence, each.accepted) for each in self.buyer_journal[start:])
        letter = Letter(start, entries, voucher, SESSION.sign(voucher.digest(DOMAIN)))
        self.to_provider.letters.append(letter)
        self.sent.append(letter)

    @precondition(lambda self: self.to_provider.letters)
    @rule(data=st.data(), keep=st.booleans())
    def provider_follows_any(self, data: st.DataObject, keep: bool) -> None:
        letters = self.to_provider.letters
        place = data.draw(st.integers(0, len(letters) - 1))
        letter: Letter = letters[place] if keep else letters.pop(place)
        self.follow(letter)

    def follow(self, letter: Letter) -> None:
        provider = self.provider
        before = (provider.state(), dict(provider.pending), provider.voucher)
        fits = letter.start == provider.log.size
        try:
            answers = provider.acknowledge(letter.entries, letter.voucher, letter.signature)
        except PeerFault:
            assert not fits
            assert (provider.state(), dict(provider.pending), provider.voucher) == before
            return
        assert fits or not letter.entries
        self.provider_journal += answers
        assert provider.state() == letter.voucher

    @precondition(lambda self: self.to_provider.letters or self.to_buyer.letters)
    @rule(data=st.data())
    def a_letter_is_lost(self, data: st.DataObject) -> None:
        line = data.draw(st.sampled_from([each for each in (self.to_buyer, self.to_provider) if each.letters]))
        line.letters.pop(data.draw(st.integers(0, len(line.letters) - 1)))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def an_old_letter_comes_again(self, data: st.DataObject) -> None:
        self.follow(data.draw(st.sampled_from(self.sent)))

    @rule()
    def the_provider_is_restarted(self) -> None:
        again = ProviderChannel(*self.common)
        again.restore(self.receipts, self.provider_journal, self.provider.voucher, self.provider.voucher_signature)
        assert again.state() == self.provider.state()
        assert again.pending == self.provider.pending
        assert again.next_sequence == self.provider.next_sequence
        self.provider = again

    @rule()
    def the_buyer_is_restarted(self) -> None:
        again = BuyerChannel(*self.common)
        again.restore(self.buyer_journal)
        assert (again.state(), again.answered) == (self.buyer.state(), self.buyer.answered)
        self.buyer = again

    @rule()
    def they_meet_again(self) -> None:
        """A reconnection: unanswered receipts come again, and the buyer sends what the provider has not seen."""
        for signed in [each.signed for each in self.provider.pending.values()]:
            self.to_buyer.letters.append(signed)
        voucher = self.buyer.state()
        start = self.provider.log.size
        assert self.buyer.knows(start, self.provider.log.root())
        entries = tuple((each.sequence, each.accepted) for each in self.buyer_journal[start:])
        self.follow(Letter(start, entries, voucher, SESSION.sign(voucher.digest(DOMAIN))))
        assert self.provider.state() == self.buyer.state()

    @invariant()
    def the_providers_log_is_a_prefix_of_the_buyers(self) -> None:
        assert self.provider.log.size <= self.buyer.log.size
        assert self.buyer.log.root(self.provider.log.size) == self.provider.log.root()

    @invariant()
    def the_last_voucher_is_for_all_the_provider_counts(self) -> None:
        if self.provider.voucher is not None:
            assert self.provider.voucher == self.provider.state()
            self.provider.voucher.verify(DOMAIN, self.provider.voucher_signature, SESSION.address)
        else:
            assert (self.provider.amount, self.provider.log.size) == (0, 0)

    @invariant()
    def nobody_owes_more_than_was_deposited(self) -> None:
        assert self.provider.amount <= self.buyer.amount <= DEPOSIT
        assert self.provider.amount + self.provider.unvouched() <= DEPOSIT

    @invariant()
    def every_receipt_is_answered_at_most_once(self) -> None:
        sequences = [each.sequence for each in self.buyer_journal]
        assert len(sequences) == len(set(sequences))
        assert self.provider.pending.keys() == {each.receipt.sequence for each in self.receipts} - {
            each.sequence for each in self.provider_journal
        }


ChannelUnderLoss.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChannelUnderLoss = ChannelUnderLoss.TestCase
