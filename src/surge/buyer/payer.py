"""Answering receipts and paying for them: one channel's account.

Receipts wait here for as long as the commit before them takes; then all that gathered are appended to the log, covered by
one voucher, written in one transaction with the results they are for, and only then acknowledged. So what is on disk is
never behind what was promised, and a thousand units cost one signature and one commit.

A receipt is answered once: its sequence is never paid for a second time on the channel, nor, for a unit or a setup, its subject; an upload
or a compilation is paid once for each time that it was asked for (`intents`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from surge.buyer.auditor import Party
from surge.buyer.intents import ONCE, Intents
from surge.buyer.journal import Journal, ReceiptRow
from surge.buyer.pieces import ResultRow
from surge.core.channels import BuyerChannel
from surge.core.messages import Acknowledge, encode
from surge.core.messages.fields import wei_bytes
from surge.core.receipts import FUELLED, Receipt, Terms
from surge.core.signing import Signer
from surge.errors import InternalFault, NotEnough, PeerFault

log = logging.getLogger("surge.buyer")

MAX_BATCH = 512
"""Receipts under one voucher: a message lists at most 1024."""

MAX_REFUSED = 64
"""Receipts that are refused before the device is given up: each takes a place in the log and in the journal."""

LOW = 2
"""A deposit of which more than 1/LOW is promised is topped up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A receipt with the buyer's answer, waiting for its place in the log."""

    receipt: Receipt
    signature: bytes
    digest: bytes
    accepted: bool
    outcome: bytes | None
    job: bytes | None
    results: Sequence[ResultRow]
    settled: Callable[[], None] | None = None
    """Called once it is on disk."""


class Payer:
    """The buyer's side of one channel: its log, its vouchers, what is owed. `send` carries messages to the provider."""

    def __init__(
        self,
        channel: BuyerChannel,
        party: Party,
        signer: Signer,
        journal: Journal,
        intents: Intents,
        *,
        subjects: Iterable[bytes] = (),
        top_up: Callable[[int], Awaitable[int]] | None = None,
        floor: int = 0,
        raise_floor: Callable[[int, bytes], Awaitable[int]] | None = None,
    ) -> None:
        self.channel = channel
        self.party = party
        self.signer = signer
        self.intents = intents
        self.owed = 0
        """Wei of accepted receipts that no voucher covers yet."""
        self.send: Callable[[bytes], None] | None = None
        self.sent: Callable[[int], None] | None = None
        """Told how many receipts an acknowledgement answered."""
        self.committed = channel.log.size
        """Leaves that are on disk under a voucher."""
        self._journal = journal
        self._top_up = top_up
        self._waiting: deque[Answer] = deque()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._digests: dict[int, bytes] = {}
        """Of receipts that wait for their place in the log, by sequence."""
        self._subjects = set(subjects)
        self._held: dict[int, int] = {}
        """Wei of receipts whose results are being checked, by sequence."""
        self._topping: asyncio.Task[None] | None = None
        self._refused = 0
        self.floor = floor
        """Wei that the channel pays at least, however it ends."""
        self._raise_floor = raise_floor
        self.raised = 0
        """Times that the deposit was raised though little of it was promised (`bounds`)."""

    @property
    def amount(self) -> int:
        """Wei promised by the last voucher."""
        return self.channel.amount

    @property
    def count(self) -> int:
        """Leaves in the log."""
        return self.channel.log.size

    def knows(self, sequence: int) -> bool:
        """Whether the receipt with this sequence was answered, or is held."""
        return sequence in self._digests or sequence in self.channel.answered

    def take(self, answer: Answer) -> bool:
        """Take a receipt with its answer. False when it was answered before: then nothing is owed for it.

        Raises `PeerFault` when the device bills a unit twice under two sequences, an upload or a compilation that was not asked, or again
        and again what is refused; or gives one sequence to two receipts.
        """
        receipt = answer.receipt
        if (held := self._held.pop(receipt.sequence, None)) is not None:
            self.owed -= held
        elif not self._is_new(answer):
            return False
        if receipt.kind in ONCE and answer.accepted and not self.intents.pay(receipt, answer.job):
            raise PeerFault("a device asks to be paid for what was not asked, or twice", receipt=receipt)
        if not answer.accepted:
            if held is not None:
                self._subjects.discard(receipt.subject)
            self._refused += 1
            if self._refused > MAX_REFUSED:
                raise PeerFault("a device asks again and again to be paid for what was not asked", receipt=receipt)
        self._digests[receipt.sequence] = answer.digest
        if answer.accepted:
            self.owed += receipt.amount
        self._waiting.append(answer)
        self._idle.clear()
        self._woken.set()
        return True

    def hold(self, answer: Answer) -> bool:
        """Know of a unit's receipt, and leave it unanswered while its result is checked; `take` answers it then. False as there."""
        if not self._is_new(answer):
            return False
        receipt = answer.receipt
        self._held[receipt.sequence] = receipt.amount
        self._digests[receipt.sequence] = answer.digest
        self.owed += receipt.amount
        return True

    def let_go(self, receipt: Receipt) -> None:
        """Forget a receipt that was held: its check is given up."""
        self.owed -= self._held.pop(receipt.sequence, 0)
        self._digests.pop(receipt.sequence, None)
        self._subjects.discard(receipt.subject)

    @property
    def held(self) -> int:
        """Receipts that are held."""
        return len(self._held)

    def holds(self, sequence: int) -> bool:
        """Whether the receipt with this sequence is held."""
        return sequence in self._held

    def has_paid(self, subject: bytes) -> bool:
        """Whether a unit or a setup was paid on this channel, or its receipt is held: asked again, its device may do and bill it anew."""
        return subject in self._subjects

    def may_bill_again(self, subjects: Iterable[bytes]) -> None:
        """These units are asked for again though they were paid, as what was given is not there: who does them again bills them again."""
        self._subjects.difference_update(subjects)

    def was_accepted(self, receipt: Receipt) -> bool:
        """Whether a receipt was answered, by accepting it."""
        if any(each.receipt.sequence == receipt.sequence and each.accepted for each in self._waiting):
            return True
        query = "SELECT 1 FROM receipts WHERE subject = ? AND channel = ? AND sequence = ? AND accepted"
        return bool(self._journal.read_now(query, (receipt.subject, receipt.channel, receipt.sequence)))

    def _is_new(self, answer: Answer) -> bool:
        """Whether a receipt was not answered or held before. Raises `PeerFault` as `take` does."""
        receipt = answer.receipt
        if self.knows(receipt.sequence):
            self._keep(answer)
            if answer.digest != self._digest(receipt):
                raise PeerFault("a device gives one sequence to two receipts", receipt=receipt)
            return False
        if receipt.kind in FUELLED and answer.accepted:
            if receipt.subject in self._subjects:
                self._keep(answer)
                raise PeerFault("a device asks to be paid for one unit twice", receipt=receipt)
            self._subjects.add(receipt.subject)
        return True

    async def keep_terms(self, terms: Terms, signature: bytes) -> None:
        """Keep the device's signature over the terms it works under."""
        await self._journal.keep_terms(terms, signature)

    def _keep(self, answer: Answer) -> None:
        """Write results down whose receipt is not paid: the user may have them already."""
        if answer.results:
            self._journal.results_soon(answer.results)

    def _digest(self, receipt: Receipt) -> bytes | None:
        """Of the receipt that was answered under this one's sequence; None if it was for something else."""
        if (known := self._digests.get(receipt.sequence)) is not None:
            return known
        query = "SELECT digest FROM receipts WHERE subject = ? AND channel = ? AND sequence = ?"
        rows = self._journal.read_now(query, (receipt.subject, receipt.channel, receipt.sequence))
        return rows[0][0] if rows else None

    def waiting(self, job: bytes) -> int:
        """Wei of a job's accepted receipts that are not on disk yet."""
        return sum(answer.receipt.amount for answer in self._waiting if answer.accepted and answer.job == job)

    async def run(self) -> None:
        """Commit what gathers, for as long as the channel is in use."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                batch = await self._affordable()
                await self._commit(batch)
            self._idle.set()

    async def drain(self) -> None:
        """Wait until everything answered is on disk and was sent."""
        await self._idle.wait()

    async def _affordable(self) -> list[Answer]:
        """The next receipts that the deposit covers; waits for a top-up when it covers none."""
        while True:
            total = self.amount
            batch: list[Answer] = []
            for answer in self._waiting:
                price = answer.receipt.amount if answer.accepted else 0
                if total + price > self.channel.deposit or len(batch) >= MAX_BATCH:
                    break
                total += price
                batch.append(answer)
            if (self.amount + self.owed) * LOW > self.channel.deposit:
                self._begin_top_up()
            if batch:
                return batch
            if self._topping is None:
                raise InternalFault("a receipt exceeds the deposit and nothing tops it up")
            await asyncio.shield(self._topping)

    async def fund(self) -> None:
        """Top the deposit up now. Raises what went wrong."""
        self._begin_top_up()
        if self._topping is not None:
            await asyncio.shield(self._topping)

    async def raise_floor(self, floor: int, job: bytes) -> None:
        """Have the channel pay so many wei at least, at this job's cost. Raises what went wrong, `NotEnough` among it."""
        if self._raise_floor is None:
            raise NotEnough("the floor of this channel cannot be raised from here", floor=self.floor)
        self.channel.deposit = max(self.channel.deposit, await self._raise_floor(floor, job))
        self.floor = floor

    def _begin_top_up(self) -> None:
        if self._top_up is not None and (self._topping is None or self._topping.done()):
            self._topping = asyncio.create_task(self._add_deposit(self._top_up), name="top up")
            self._topping.add_done_callback(_seen)

    async def _add_deposit(self, top_up: Callable[[int], Awaitable[int]]) -> None:
        self.channel.deposit = await top_up(self.amount + self.owed)

    async def _commit(self, batch: list[Answer]) -> None:
        channel = self.channel
        rows: list[ReceiptRow] = []
        results: list[ResultRow] = []
        entries: list[tuple[int, bool]] = []
        before = channel.amount
        for answer in batch:
            receipt = answer.receipt
            leaf = channel.answer(receipt, answer.digest, accepted=answer.accepted)
            entries.append((receipt.sequence, answer.accepted))
            rows.append(ReceiptRow(leaf, receipt, answer.signature, answer.digest, answer.outcome, answer.job))
            results += answer.results
        voucher = channel.state()
        signature = self.signer.sign(voucher.digest(self.party.domain))
        await self._journal.settle(voucher, signature, rows, results)
        self.committed = voucher.count
        self.owed -= channel.amount - before
        for answer in batch:
            self._waiting.popleft()
            del self._digests[answer.receipt.sequence]
        if self.send is not None:
            self.send(encode(Acknowledge(entries, wei_bytes(voucher.amount), voucher.count, voucher.root, signature)))
            if self.sent is not None:
                self.sent(len(entries))
        for answer in batch:
            if answer.settled is not None:
                answer.settled()


def _seen(task: asyncio.Task[None]) -> None:
    """A top-up that failed raises where a receipt waits for it; here it is only said."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.info("a deposit was not topped up: %s", error)
