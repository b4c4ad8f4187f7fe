"""One channel's account: receipts issued, answers to them, the voucher that covers them, prices agreed.

Everything that is told to the buyer is on disk first. Whatever the buyer gets wrong stops the account with its last good voucher
unharmed; the state in memory and on disk are then those before the fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from surge.core import exposure
from surge.core.channels import Answered, ProviderChannel
from surge.core.exposure import Ask
from surge.core.messages import Acknowledge, CloseChannel, SignedReceipt
from surge.core.messages.fields import wei, wei_bytes
from surge.core.pricing import Prices
from surge.core.receipts import FUELLED, WINDOWED, Close, Receipt, ReceiptKind, Signed, Terms, Voucher
from surge.core.signing import check_signed
from surge.core.text import counted
from surge.core.types import ZERO
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.provider import spool
from surge.provider.backing import Common, Issued
from surge.provider.buyers import Buyer
from surge.provider.journal import History
from surge.provider.schema import CLOSING_TOGETHER, ChannelRow
from surge.provider.service import Claim, Refused, Reply, Reserve

FORGIVEN = 16
"""A channel may leave unpaid its floor, or one part in so many of what it paid if that is more."""


class Account:
    """See the module. Restored from the journal when a buyer opens its channel."""

    def __init__(self, common: Common, row: ChannelRow, channel: ProviderChannel, history: History, buyer: Buyer) -> None:
        self.row = row
        self.channel = channel
        self.buyer = buyer
        self.terms = Terms.decode(row.terms)
        self.answers: dict[bytes, int] = {}
        """Sequences of units' and setups' receipts that are on disk and not acknowledged, by subject."""
        self.typical = 0
        """Wei of the last unit, or of work that the deposit did not cover: what another one will ask of it."""
        self.lost = False
        """Whether the ledger has the channel no more: it lost the blocks that it was opened in."""
        self.quotes: dict[bytes, tuple[Terms, bytes]] = {}
        """New prices of jobs that the buyer has not agreed to, with our signature."""
        self._common = common
        self._agreed: dict[bytes, Terms] = {}
        self._defaulted = set(history.defaulted)
        self._refused = history.refused
        self._stopped = row.stopped_at
        self.floor = row.floor
        """Wei that the channel pays at least, as the ledger last had it."""
        self._unwritten: set[int] = set()
        self._outputs = set(history.outputs)
        channel.restore(history.waiting, history.leaves, row.voucher, row.signature)
        channel.stopped = row.stopped
        for signed in history.waiting:
            self._remember(signed.receipt)
        for job, terms, signature, agreed in common.journal.job_terms(row.number):
            if agreed:
                self._agreed[job] = Terms.decode(terms)
            else:
                self.quotes[job] = (Terms.decode(terms), signature)
        self._tell_cover()

    @property
    def window(self) -> int:
        """Units the buyer may have in flight or unvouched."""
        return self.buyer.standing.window

    @property
    def left(self) -> int:
        """Wei of the deposit that nothing asks for yet."""
        return self.channel.deposit - self.channel.amount - self.channel.unvouched()

    @property
    def uploaded(self) -> int:
        """Bytes of uploads whose receipts wait for an acknowledgement."""
        receipts = (each.signed.receipt for each in self.channel.pending.values())
        return sum(receipt.quantity for receipt in receipts if receipt.kind == ReceiptKind.TRANSFER)

    @property
    def overdrawn(self) -> bool:
        """Whether what was refused, or left unanswered past its time, is worth more than what the channel pays anyway.

        The window bounds what a buyer takes at once; this bounds what it takes one after another.
        """
        return self._refused + self._unanswered() > self._forgiven

    def _unanswered(self) -> int:
        pending = self.channel.pending
        return sum(pending[each].signed.receipt.amount for each in self._defaulted if each in pending)

    @property
    def _forgiven(self) -> int:
        return max(self.floor, self.channel.amount // FORGIVEN)

    # What work may come to before it is paid

    async def cover(self, ask: Ask, units: int) -> Reserve:
        """Set something aside for work, of which `units` may run at once. Raises `Refused`, after a look whether the floor was raised."""
        cover, units = self.buyer.cover, min(self.window, units)
        try:
            return await cover.reserve(self.row.id, ask, units, self._stopped_at)
        except Refused as refused:
            if refused.code != "cover":
                raise
            before = self.floor
            await self.look_at_deposit()
            if self.floor == before:
                raise
        return await cover.reserve(self.row.id, ask, units, self._stopped_at)

    def _stopped_at(self, amount: int) -> None:
        self._stopped += amount
        self._common.journal.stopped_at(self.row.number, self._stopped)
        self._tell_cover()

    def _tell_cover(self) -> None:
        """What is owed here has changed."""
        channel = self.channel
        self.buyer.cover.owes(
            self.row.id,
            floor=self.floor,
            vouched=channel.amount,
            unpaid=channel.unvouched() + self._refused + self._stopped,
            awaited=any(each not in self._defaulted for each in channel.pending),
        )

    def raised(self, floor: int) -> None:
        """The ledger has this floor."""
        if floor > self.floor:
            self.floor = floor
            self._common.journal.floor(self.row.number, floor)
            self._tell_cover()

    def pending(self) -> list[SignedReceipt]:
        """Receipts that are on disk and wait for an acknowledgement, the oldest first."""
        waiting = self.channel.pending.items()
        return [on_wire(each.signed) for sequence, each in waiting if sequence not in self._unwritten]

    # Receipts

    async def owe(self, claim: Claim, reply: Reply, done: Issued) -> None:
        """Issue a receipt and have it written with its answer; `done` is called when it is on disk, or could not be.

        Raises `Refused` when the deposit does not cover it, even after asking the ledger again.
        """
        try:
            receipt = self._issue(claim)
        except PeerFault:
            await self.look_at_deposit()
            try:
                receipt = self._issue(claim)
            except PeerFault as fault:
                if reply.output is not None:
                    reply.output.unlink(missing_ok=True)
                if "deposit" not in fault.details:
                    raise Refused("window", fault.message) from fault
                # Done for nothing: the next order waits until the deposit covers as much.
                self.typical = max(self.typical, claim.amount)
                raise Refused("deposit", fault.message, deposit=self.channel.deposit) from fault
        size = None
        if reply.output is not None:
            size = reply.output_size
            await asyncio.to_thread(spool.keep, reply.output, self.output(receipt.sequence))
            self._outputs.add(receipt.sequence)
        digest = receipt.digest(self._common.domain)
        signed = Signed(receipt, self._common.device.sign(digest))
        self.channel.issued(signed, digest)
        self._tell_cover()
        if reply.reserve is not None:
            reply.reserve.release()
        self._unwritten.add(receipt.sequence)
        if receipt.kind == ReceiptKind.UNIT:
            self.typical = receipt.amount

        def written(error: SurgeError | None) -> None:
            self._unwritten.discard(receipt.sequence)
            if error is None:
                self._remember(receipt)
            else:
                self.channel.withdraw(receipt.sequence)
                self._tell_cover()
                self._drop_output(receipt.sequence)
            done(signed, error)

        self._common.journal.issue(self.row.number, signed, reply.body, size, written)

    def _issue(self, claim: Claim) -> Receipt:
        now = int(time.time())
        return self.channel.issue(claim.kind, claim.subject, claim.result, claim.quantity, claim.amount, now)

    def _remember(self, receipt: Receipt) -> None:
        if receipt.kind in WINDOWED:
            self.answers[receipt.subject] = receipt.sequence

    def output(self, sequence: int) -> Path:
        """Where a receipt's output waits."""
        return self._common.spool / f"{self.row.number}-{sequence}"

    def _drop_output(self, sequence: int) -> None:
        if sequence in self._outputs:
            self._outputs.discard(sequence)
            self.output(sequence).unlink(missing_ok=True)

    async def look_at_deposit(self) -> None:
        """Ask the ledger whether the deposit or the floor has grown, and whether the channel is there."""
        state = await self._common.state(self.row.id)
        if state is None:
            return
        self.lost = not state.exists
        if state.exists:
            self.channel.deposit = state.deposit
            self.raised(state.floor)

    # Answers to them

    def acknowledge(self, message: Acknowledge, done: Callable[[int, int], None]) -> None:
        """Take the buyer's answers; they count for the window at once. Raises `PeerFault` and changes nothing when they are wrong.

        `done(count, window)` is called when they are on disk.
        """
        channel, common = self.channel, self._common
        voucher = Voucher(self.row.id, wei(message.amount), message.count, message.root)
        receipts = {sequence: channel.pending[sequence].signed.receipt for sequence, _ in message.entries if sequence in channel.pending}
        answers = channel.acknowledge(message.entries, voucher, message.signature)
        units, fuel = self._count(answers, receipts)

        def written(error: SurgeError | None) -> None:
            if error is None:
                for each in answers:
                    self._drop_output(each.sequence)
                    common.answered(receipts[each.sequence], each.accepted)
                done(voucher.count, self.window)

        common.journal.acknowledged(
            self.row.number,
            answers,
            voucher,
            message.signature,
            units=units,
            fuel=fuel,
            buyer=self.buyer.address,
            standing=self.buyer.standing,
            done=written,
        )
        if self._refused > self._forgiven:
            self.stop(f"its buyer refused receipts of {self._refused} wei")

    def _count(self, answers: list[Answered], receipts: dict[int, Receipt]) -> tuple[int, int]:
        """What the answers do to the buyer's standing. Returns the units accepted, and their fuel."""
        units = fuel = vouched = refused = 0
        for each in answers:
            receipt = receipts[each.sequence]
            late = each.sequence in self._defaulted
            self._defaulted.discard(each.sequence)
            if not each.accepted:
                self._refused += receipt.amount
            if receipt.kind == ReceiptKind.COMPILE:
                self.buyer.compiling = False
            if receipt.kind not in WINDOWED:
                continue
            self.answers.pop(receipt.subject, None)
            if each.accepted:
                units += 1
                fuel += receipt.quantity if receipt.kind in FUELLED else 0
            if not late:
                vouched += each.accepted
                refused += not each.accepted
        self.buyer.standing = exposure.credited(self.buyer.standing, sum(each.amount for each in answers))
        if vouched:
            self.buyer.standing = exposure.vouched(self.buyer.standing, vouched, self._common.config.window_max)
        if refused:
            self.buyer.standing = exposure.defaulted(self.buyer.standing, refused)
        self._tell_cover()
        return units, fuel

    def default(self, sequences: tuple[int, ...]) -> None:
        """Receipts went unanswered past their time. A late answer still counts as pay, no longer as trust."""
        late = [each for each in sequences if each in self.channel.pending and each not in self._defaulted]
        if not late:
            return
        self._defaulted.update(late)
        self.buyer.default([self.channel.pending[each].signed.receipt.kind for each in late])
        self._tell_cover()
        self._common.journal.defaulted(self.row.number, late, self.buyer.address, self.buyer.standing)

    def stop(self, why: str) -> None:
        """The channel takes no more work; what it owes is to be redeemed."""
        if not self.channel.stopped:
            self.channel.stopped = why
            self._common.journal.stop(self.row.number, why)
            self._common.owed(self.row.id)

    # Prices of single jobs

    def prices(self, job: bytes) -> Prices:
        """The prices agreed for a job."""
        agreed = self._agreed.get(job)
        return self.terms.prices if agreed is None else agreed.prices

    def quote(self, job: bytes, prices: Prices, done: Callable[[Terms, bytes], None]) -> None:
        """Ask for new prices for a job, once: its next unit waits for the buyer's agreement. `done` is called when that is on disk."""
        if job in self.quotes or job in self._agreed or job == ZERO:
            return
        self._quote(replace(self.terms, job=job, prices=prices), done)

    def _quote(self, terms: Terms, done: Callable[[Terms, bytes], None]) -> None:
        job = terms.job
        signature = self._common.device.sign(terms.digest(self._common.domain))
        self.quotes[job] = (terms, signature)

        def written(error: SurgeError | None) -> None:
            if error is None:
                done(terms, signature)
            else:
                self.quotes.pop(job, None)

        self._common.journal.keep_job_terms(self.row.number, job, terms.encode(), signature, agreed=False, done=written)

    def use(self, terms: Terms) -> None:
        """The channel was opened under these terms. What was quoted under others and not agreed to is quoted again under them."""
        self.terms = terms
        for job, (old, _) in list(self.quotes.items()):
            prices = replace(terms.prices, gigafuel=old.prices.gigafuel, speed=old.prices.speed)
            again = replace(terms, job=job, prices=prices)
            if again != old:
                self._quote(again, lambda _terms, _signature: None)

    async def agree(self, data: bytes, signature: bytes) -> None:
        """The buyer agrees to a quote. Durable when this returns. Raises `PeerFault` for what was never quoted."""
        try:
            terms = Terms.decode(data)
        except InvalidInput as error:
            raise PeerFault(f"an agreement to new prices cannot be read: {error}", terms=data) from error
        check_signed(terms.digest(self._common.domain), signature, self.channel.session_key, "an agreement to new prices")
        if self._agreed.get(terms.job) == terms:
            return
        if terms.job not in self.quotes or self.quotes[terms.job][0] != terms:
            raise PeerFault("the buyer agrees to prices that were not quoted", terms=terms)
        written: asyncio.Future[SurgeError | None] = asyncio.get_running_loop().create_future()
        self._common.journal.keep_job_terms(self.row.number, terms.job, data, signature, agreed=True, done=written.set_result)
        failure = await asyncio.shield(written)
        if failure is not None:
            raise failure
        self._agreed[terms.job] = terms
        self.quotes.pop(terms.job, None)

    # Closing

    async def close_together(self, message: CloseChannel) -> bytes:
        """Our half of a co-operative close at the state both hold: a signature. Raises `Refused`, `PeerFault`.

        It may close the channel at any time, so it is given only once it is on disk that the channel takes no more work.
        """
        state = self.channel.state()
        if self.channel.pending.keys() - self._defaulted:
            raise Refused("window", f"{counted(len(self.channel.pending), 'receipt')} without an acknowledgement")
        if (wei(message.amount), message.count, message.root) != (state.amount, state.count, state.root):
            raise PeerFault("the buyer would close at another state than ours", close=message, state=state)
        digest = Close(state.channel, state.amount, state.count, state.root).digest(self._common.domain)
        check_signed(digest, message.signature, self.channel.session_key, "a close")
        why = CLOSING_TOGETHER
        self.stop(why)
        try:
            await self._common.journal.stopped(self.row.number, why)
        except Unavailable as error:
            raise Refused("storage", error.message) from error
        if self.channel.state() != state:
            raise Refused("window", "a receipt was acknowledged meanwhile: close at the new state")
        return self._common.device.sign(digest)


def on_wire(signed: Signed) -> SignedReceipt:
    """A receipt as messages carry it."""
    receipt = signed.receipt
    return SignedReceipt(
        int(receipt.kind),
        receipt.sequence,
        receipt.subject,
        receipt.result,
        receipt.quantity,
        wei_bytes(receipt.amount),
        receipt.finished_at,
        signed.signature,
    )
