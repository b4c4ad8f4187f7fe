"""The rules of one channel, for each of its sides.

The provider issues receipts; the buyer answers each with an acknowledgement, which appends one leaf to the log, and signs a voucher
over the log's root and the sum of what it accepted. Both sides keep the same log. Where they differ, the provider stops and redeems
the last voucher that was good.

Both classes hold state in memory and change it only by methods that first check everything: on a fault nothing has changed. They
read no clock and touch no disk; what they return is for the caller to make durable before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from surge.core.eip712 import Domain, address_word, word
from surge.core.keccak import keccak256
from surge.core.log import ReceiptLog
from surge.core.receipts import Acknowledgement, Receipt, ReceiptKind, Signed, Terms, Voucher
from surge.core.text import counted
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault

MAX_PENDING = 2048
"""Receipts issued and not acknowledged: beyond every window there is."""


def channel_id(domain: Domain, buyer: Address, provider: Address, salt: bytes) -> bytes:
    """The id of the channel that a buyer opens with a salt: 32 bytes, as the channels contract computes it."""
    return keccak256(word(domain.chain_id) + b"".join(map(address_word, (domain.contract, buyer, provider))) + salt)


@dataclass(frozen=True, slots=True)
class Answered:
    """An acknowledgement as journals keep it."""

    index: int
    """Its place in the log."""
    sequence: int
    """The receipt's."""
    accepted: bool
    """Whether the buyer accepted it."""
    amount: int
    """Wei: the receipt's, or 0."""
    leaf: bytes
    """32 bytes: the acknowledgement's digest, the leaf's data."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a buyer asked for, to hold a receipt against."""

    kind: ReceiptKind
    """What was asked."""
    subject: bytes
    """32 bytes: the unit id, content or image."""
    result: bytes
    """32 bytes: what the answer that came with the receipt hashes to."""
    quantity: int
    """What the answer says: fuel, or bytes."""
    amount: int
    """Wei: what that costs by the terms."""


@dataclass
class _Side:
    """What both sides keep."""

    domain: Domain
    channel: bytes
    buyer: Address
    device: Address
    session_key: Address
    deposit: int
    """Wei on the ledger."""
    log: ReceiptLog = field(default_factory=ReceiptLog)
    amount: int = 0
    """Wei: the sum of what was accepted."""

    def _leaf(self, index: int, digest: bytes, accepted: bool, amount: int) -> bytes:
        return Acknowledgement(self.channel, index, digest, accepted, amount).digest(self.domain)

    def state(self) -> Voucher:
        """The voucher that the present state asks for."""
        return Voucher(self.channel, self.amount, self.log.size, self.log.root())


@dataclass
class BuyerChannel(_Side):
    """The buyer's side: it orders the log."""

    answered: set[int] = field(default_factory=set)
    """Sequences of receipts that have their leaf."""

    def restore(self, leaves: Iterable[Answered]) -> None:
        """Rebuild the state from the journal, in the log's order."""
        for each in leaves:
            if self.log.append(each.leaf) != each.index:
                raise InvalidInput("the journal of a channel has a gap", channel=self.channel, index=each.index)
            self.answered.add(each.sequence)
            self.amount += each.amount

    def check(self, signed: Signed, asked: Asked) -> bytes:
        """The receipt's digest, if the receipt is what was asked for at its price. Raises `PeerFault`.

        1. it is of this channel: its device, buyer, channel;
        2. its sequence is new;
        3. it says what was asked and what the answer holds;
        4. its amount is the price by the terms;
        5. the device signed it.
        """
        receipt = signed.receipt
        # 1
        if (receipt.device, receipt.buyer, receipt.channel) != (self.device, self.buyer, self.channel):
            raise PeerFault("a receipt is for another channel", receipt=receipt)
        # 2
        if receipt.sequence in self.answered:
            raise PeerFault(f"receipt {receipt.sequence} was answered before", receipt=receipt)
        # 3
        said = (receipt.kind, receipt.subject, receipt.result, receipt.quantity)
        if said != (asked.kind, asked.subject, asked.result, asked.quantity):
            raise PeerFault("a receipt does not say what was asked and answered", receipt=receipt, asked=asked)
        # 4
        if receipt.amount != asked.amount:
            raise PeerFault(f"a receipt asks for {receipt.amount} wei where the terms say {asked.amount}", receipt=receipt)
        # 5
        return signed.verify(self.domain)

    def answer(self, receipt: Receipt, digest: bytes, *, accepted: bool) -> Answered:
        """Append the answer to a receipt to the log. Raises `InvalidInput` when it was answered or the deposit is too low."""
        if receipt.sequence in self.answered:
            raise InvalidInput(f"receipt {receipt.sequence} has its answer already")
        amount = receipt.amount if accepted else 0
        if self.amount + amount > self.deposit:
            raise InvalidInput("the channel's deposit does not cover the receipt", deposit=self.deposit, amount=self.amount + amount)
        leaf = self._leaf(self.log.size, digest, accepted, amount)
        index = self.log.append(leaf)
        self.answered.add(receipt.sequence)
        self.amount += amount
        return Answered(index, receipt.sequence, accepted, amount, leaf)

    def knows(self, count: int, root: bytes) -> bool:
        """Whether the log stood at this count and root at some time."""
        return 0 <= count <= self.log.size and self.log.root(count) == root


@dataclass(frozen=True, slots=True)
class Pending:
    """A receipt that waits for its acknowledgement."""

    signed: Signed
    """The receipt and its signature."""
    digest: bytes
    """32 bytes: what was signed."""


@dataclass
class ProviderChannel(_Side):
    """The provider's side: it issues receipts and follows the buyer's log."""

    next_sequence: int = 0
    """Of the next receipt; never used twice."""
    pending: dict[int, Pending] = field(default_factory=dict)
    """Receipts without an acknowledgement, by sequence."""
    voucher: Voucher | None = None
    """The last good voucher."""
    voucher_signature: bytes = b""
    """The session key's, over `voucher`."""
    stopped: str = ""
    """Why the channel takes no more work; empty while it does."""
    _asked: int = 0

    def restore(self, receipts: Iterable[Signed], leaves: Iterable[Answered], voucher: Voucher | None, signature: bytes) -> None:
        """Rebuild the state from the journal: all receipts issued, all answers in the log's order, the last voucher."""
        for signed in receipts:
            self.issued(signed, signed.receipt.digest(self.domain))
            self.next_sequence = max(self.next_sequence, signed.receipt.sequence + 1)
        for each in leaves:
            if self.log.append(each.leaf) != each.index:
                raise InvalidInput("the journal of a channel has a gap", channel=self.channel, index=each.index)
            self.withdraw(each.sequence)
            self.next_sequence = max(self.next_sequence, each.sequence + 1)
            self.amount += each.amount
        self.voucher, self.voucher_signature = voucher, signature

    def unvouched(self) -> int:
        """Wei that receipts without an acknowledgement ask for."""
        return self._asked

    def issue(self, kind: int, subject: bytes, result: bytes, quantity: int, amount: int, now: int) -> Receipt:
        """The next receipt, to be signed and given to `issued`. Raises `PeerFault` when the deposit does not cover it.

        Args:
            kind: a `ReceiptKind`.
            subject: 32 bytes.
            result: 32 bytes.
            quantity: in the kind's unit.
            amount: wei.
            now: Unix seconds.
        """
        if self.stopped:
            raise PeerFault(f"the channel takes no more work: {self.stopped}")
        if len(self.pending) >= MAX_PENDING:
            raise PeerFault(f"{len(self.pending)} receipts wait for an acknowledgement")
        if self.amount + self.unvouched() + amount > self.deposit:
            raise PeerFault("the channel's deposit does not cover the work", deposit=self.deposit, amount=amount)
        receipt = Receipt(kind, self.device, self.buyer, self.channel, self.next_sequence, subject, result, quantity, amount, now)
        self.next_sequence += 1
        return receipt

    def issued(self, signed: Signed, digest: bytes) -> None:
        """Remember a receipt that was signed."""
        self.pending[signed.receipt.sequence] = Pending(signed, digest)
        self._asked += signed.receipt.amount

    def withdraw(self, sequence: int) -> None:
        """Forget a receipt that waits: it was not told to anybody."""
        waiting = self.pending.pop(sequence, None)
        if waiting is not None:
            self._asked -= waiting.signed.receipt.amount

    def acknowledge(self, entries: Sequence[tuple[int, bool]], voucher: Voucher, signature: bytes) -> list[Answered]:
        """Follow the buyer's answers. Raises `PeerFault` and changes nothing unless all of this holds:

        1. the voucher is of this channel, its count and amount do not fall, and the deposit covers it;
        2. the session key signed it;
        3. every entry names a receipt that waits, none twice;
        4. the log, with the entries appended, has the voucher's count and root;
        5. the amounts accepted add up to the voucher's.
        """
        # 1
        if voucher.channel != self.channel:
            raise PeerFault("a voucher is for another channel", voucher=voucher)
        if voucher.count != self.log.size + len(entries) or voucher.amount < self.amount:
            raise PeerFault(
                f"a voucher counts {counted(voucher.count, 'receipt')} for {voucher.amount} wei where {self.log.size} for {self.amount} "
                f"are known and {len(entries)} were added",
                voucher=voucher,
            )
        if voucher.amount > self.deposit:
            raise PeerFault(f"a voucher promises {voucher.amount} wei of a deposit of {self.deposit}", voucher=voucher)
        # 2
        voucher.verify(self.domain, signature, self.session_key)
        # 3
        answers: list[Answered] = []
        total, seen = self.amount, set()
        for offset, (sequence, accepted) in enumerate(entries):
            waiting = self.pending.get(sequence)
            if waiting is None or sequence in seen:
                raise PeerFault(f"an acknowledgement names receipt {sequence}, which does not wait for one", sequence=sequence)
            seen.add(sequence)
            amount = waiting.signed.receipt.amount if accepted else 0
            index = self.log.size + offset
            answers.append(Answered(index, sequence, accepted, amount, self._leaf(index, waiting.digest, accepted, amount)))
            total += amount
        # 4
        before = self.log.size
        for each in answers:
            self.log.append(each.leaf)
        if self.log.root() != voucher.root or total != voucher.amount:
            self.log.truncate(before)
            # 5
            what = "amounts" if total != voucher.amount else "receipts"
            raise PeerFault(f"a voucher's {what} are not those of the acknowledgements", voucher=voucher, total=total)
        for each in answers:
            self.withdraw(each.sequence)
        self.amount = total
        self.voucher, self.voucher_signature = voucher, signature
        return answers

    def overdue(self, terms: Terms, now: int) -> list[int]:
        """Sequences of receipts that waited longer than the terms allow: they count as refused, and cost the buyer its window."""
        return [sequence for sequence, each in self.pending.items() if each.signed.receipt.finished_at + terms.audit_seconds < now]
