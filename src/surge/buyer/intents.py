"""What a channel's provider was asked to take or to compile, and may bill: once for each time that it was asked.

An intent is on disk before anything is sent, and its payment is written with the receipt. So whoever comes back after a kill knows which
receipts are honest debts, and a receipt that comes again under another sequence is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from surge.buyer.journal import Journal
from surge.core.receipts import Receipt, ReceiptKind

ONCE = (
    *(ReceiptKind.TRANSFER, ReceiptKind.COMPILE, ReceiptKind.RELAY, ReceiptKind.RETAINER),
    *(ReceiptKind.STORAGE, ReceiptKind.DROPPED),
)
"""Kinds of receipts that need an intent. Those for units and setups name what was asked by their subject."""


@dataclass(slots=True)
class _Intent:
    size: int
    amount: int
    asked: int
    paid: int
    under_way: int = 0


class Intents:
    """Of one channel."""

    def __init__(self, journal: Journal, channel: bytes) -> None:
        self._journal = journal
        self._channel = channel
        self._known: dict[tuple[int, bytes, bytes], _Intent] = {}

    @classmethod
    async def load(cls, journal: Journal, channel: bytes) -> Intents:
        """The intents in a journal."""
        intents = cls(journal, channel)
        rows = await journal.read("SELECT kind, subject, job, size, amount, asked, paid FROM intents WHERE channel = ?", (channel,))
        for kind, subject, job, size, amount, asked, paid in rows:
            intents._known[kind, subject, job] = _Intent(size, int(amount), asked, paid)
        return intents

    @asynccontextmanager
    async def asking(self, kind: ReceiptKind, subject: bytes, job: bytes, size: int, amount: int) -> AsyncIterator[None]:
        """While a provider is asked, at this price. What is asked is durable before the body runs.

        An intent that was left without a receipt is used again. A content may be sent again after it was paid, because its bytes are moved
        again; a module is compiled once for a job, and a period carried or held once, whatever its provider says.
        """
        intent = self._known.setdefault((kind, subject, job), _Intent(size, amount, 0, 0))
        intent.size, intent.amount = size, amount
        intent.under_way += 1
        intent.asked = max(intent.asked, intent.paid + intent.under_way if kind == ReceiptKind.TRANSFER else 1)
        try:
            await self._journal.intend(self._channel, kind, subject, job, size=size, amount=amount, asked=intent.asked)
            yield
        finally:
            intent.under_way -= 1

    def count(self, kind: ReceiptKind) -> int:
        """How many subjects of a kind were ever asked for."""
        return sum(known == kind for known, _, _ in self._known)

    def is_unpaid(self, kind: ReceiptKind, subject: bytes, job: bytes) -> bool:
        """Whether something was asked for and its receipt not accepted yet."""
        intent = self._known.get((kind, subject, job))
        return intent is not None and intent.asked > intent.paid

    def size_of(self, kind: ReceiptKind, subject: bytes, job: bytes) -> int | None:
        """The size of what was asked before; None if it never was."""
        intent = self._known.get((kind, subject, job))
        return None if intent is None else intent.size

    def job_of(self, receipt: Receipt, engine: bytes) -> bytes | None:
        """The job that asked for what a receipt bills, to the letter, and has not paid it; None if none did."""
        result = receipt.subject if receipt.kind == ReceiptKind.TRANSFER else engine
        for (kind, subject, job), intent in self._known.items():
            said = (kind, subject, result, intent.size, intent.amount)
            if said == (receipt.kind, receipt.subject, receipt.result, receipt.quantity, receipt.amount) and intent.asked > intent.paid:
                return job
        return None

    def is_open(self, receipt: Receipt, job: bytes) -> bool:
        """Whether this job asked for what a receipt bills, and has not paid it."""
        return self.is_unpaid(ReceiptKind(receipt.kind), receipt.subject, job)

    def pay(self, receipt: Receipt, job: bytes | None) -> bool:
        """A receipt is accepted. False when nothing was asked that is not paid."""
        if job is None or not self.is_open(receipt, job):
            return False
        self._known[receipt.kind, receipt.subject, job].paid += 1
        return True
