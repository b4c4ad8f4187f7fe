"""Receipts that nobody waits for: what a provider did for a buyer that was killed.

They are honest debts if they are for units we asked for. The unit is asked for once more, which runs nothing again: the same
answer comes, is audited like any other, and is paid. Uploads and compilations are paid once for each time that we asked (`intents`).
What we never asked for is refused.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from surge.buyer.auditor import Asked, Audited, audit
from surge.buyer.calls import Done, Refused, UnitCall
from surge.buyer.endings import command_value
from surge.buyer.evidence import Evidence
from surge.buyer.journal import SETUP, Journal, TryRow
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.pieces import ResultRow
from surge.buyer.plan import Plan
from surge.buyer.purse import Purse
from surge.buyer.spool import Spool
from surge.buyer.work import make_setup, make_unit
from surge.core import canonical
from surge.core.credibility import CERTAINTY
from surge.core.messages import Refusal, SignedReceipt, UnitDone, decode_unit_done
from surge.core.messages.fields import wei
from surge.core.pricing import Prices
from surge.core.receipts import ReceiptKind, Signed
from surge.core.types import ZERO
from surge.core.units import Limits, OutputVerifier, Status
from surge.errors import PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job

log = logging.getLogger("surge.buyer")

ANSWER_SECONDS = 60.0
"""How long an answer that exists already may take."""

STATED = (ReceiptKind.RELAY, ReceiptKind.RETAINER, ReceiptKind.STORAGE, ReceiptKind.DROPPED)
"""Kinds of receipts for what no job asks for: who asked states it again."""

LOOK_SECONDS = 1.0
"""Between looks at whether a job still asks for an orphan itself."""


class Orphans:
    """Settles them.

    Args:
        journal: what was asked.
        running: the job with this id, where it runs here.
        evidence: what was seen of devices; None where nothing is checked.
    """

    def __init__(self, journal: Journal, running: Callable[[bytes], Job | None], evidence: Evidence | None = None) -> None:
        self._journal = journal
        self._evidence = evidence
        self._running = running

    async def settle(self, peer: Peer) -> None:
        """Answer every orphan of a channel that was just opened. Those that a job here asks for itself are left to it, while it does."""
        orphans, peer.orphans = peer.orphans, []
        handed: set[int] = set()
        while orphans and peer.is_open:
            left = []
            for wire in orphans:
                try:
                    if not await self._settle(peer, wire, handed):
                        left.append(wire)
                except (Unavailable, Refused) as error:
                    log.info("a receipt of %s waits for another day: %s", peer.device, error)
                except PeerFault as error:
                    peer.drop(error)
                    return
            orphans = left
            if orphans:
                await asyncio.sleep(LOOK_SECONDS)

    async def _settle(self, peer: Peer, wire: SignedReceipt, handed: set[int]) -> bool:
        """Answer one; False when a job here is to do that. `handed` are sequences that a job was given to ask for, once each."""
        signed = peer.payer.party.receipt(wire)
        digest = signed.verify(peer.payer.party.domain)
        if peer.payer.knows(wire.sequence):
            return True
        rows = await self._journal.read(
            "SELECT tries.job, tries.number, fuel, prices, plan FROM tries JOIN jobs ON jobs.id = tries.job WHERE channel = ? AND unit = ?",
            (peer.terms.channel, wire.subject),
        )
        if rows:
            job, number, fuel, prices, plan = rows[0]
            running = self._running(job)
            amount = wei(wire.amount)
            affords = number == SETUP or await self._affords(peer, job, amount)
            if _in_hand(peer, wire) or (running is not None and running.expects(number, peer)):
                return False
            if not affords:
                log.warning("%s bills a unit when its job has spent its budget: refused", peer.device)
                peer.pay(Paid(signed.receipt, signed.signature, digest, False, None, job, ()))
                return True
            row = TryRow(number, peer.terms.channel, wire.subject, fuel, Prices(*canonical.decode(prices)))
            if number != SETUP and running is not None and wire.sequence not in handed and running.desk.takes_over(peer, row):
                handed.add(wire.sequence)
                return False
            if number != SETUP and running is not None:
                running.purse.reserve(("orphan", wire.sequence), amount, peer.terms.channel)
            try:
                await self._ask_again(peer, wire, Plan.decode(plan), job, row)
            finally:
                if running is not None:
                    running.purse.release(("orphan", wire.sequence))
            return True
        await self._settle_once(peer, signed, digest)
        return True

    async def _ask_again(self, peer: Peer, wire: SignedReceipt, plan: Plan, job: bytes, row: TryRow) -> None:
        """Ask for it once more, unless it was answered while it was looked up: who has forgotten it would do it anew, and bill it."""
        limits = replace(plan.limits, fuel=row.fuel)
        if row.number == SETUP:
            await self._setup_again(peer, plan, limits, row.prices)
            return
        ((first, count),) = await self._journal.read("SELECT first, count FROM cuts WHERE job = ? AND number = ?", (job, row.number))
        items = await Spool(job, self._journal).load(first, count)
        if _in_hand(peer, wire):
            return
        unit = make_unit(plan, peer.terms.engine, first, items, limits, row.prices)
        if unit.id != wire.subject:
            raise Unavailable(f"the engine of {peer.device} has changed since", device=peer.device)
        owner = _Heir(plan, first, count, self._running, believes=self._believes(peer, plan))
        peer.ask(UnitCall(owner, job, row.number, peer.device, "run", unit.body, unit.asked))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await owner.over.wait()
        except TimeoutError as error:
            raise Unavailable(f"{peer.device} does not give an answer again", device=peer.device) from error

    def _believes(self, peer: Peer, plan: Plan) -> bool:
        """Whether an answer is taken as it is. One that would be checked is paid, and its unit done again when the job goes on."""
        if self._evidence is None or plan.wishes.copies > 1 or not peer.bond.enough:
            return self._evidence is None and plan.wishes.copies == 1
        certainty = CERTAINTY if plan.wishes.certainty is None else plan.wishes.certainty
        return random.SystemRandom().random() >= self._evidence.chance(peer.device, peer.operator or peer.device, certainty)

    async def _setup_again(self, peer: Peer, plan: Plan, limits: Limits, prices: Prices) -> None:
        body, asked = make_setup(plan, peer.terms.engine, limits, prices)
        answer = await peer.question("setup", body, seconds=ANSWER_SECONDS, bills=True)
        if answer.receipt is None:
            return
        affords = await self._affords(peer, plan.id, wei(answer.receipt.amount))
        audited = pay_setup(peer, asked, decode_unit_done(answer.body), answer.receipt, plan.id, affords=affords)
        running = self._running(plan.id)
        if audited is not None and running is not None:
            running.paid(audited.receipt)

    async def _settle_once(self, peer: Peer, signed: Signed, digest: bytes) -> None:
        """Answer a receipt for something that is asked for once.

        1. A period that a service of ours states is stated again by it, and paid then.
        2. Otherwise one of our jobs asked for it, at this price, and has not paid it; or it is a transfer for no job.
        3. The job's budget covers it.
        """
        receipt, intents = signed.receipt, peer.payer.intents
        # 1
        if receipt.kind in STATED and intents.is_unpaid(ReceiptKind(receipt.kind), receipt.subject, ZERO):
            return
        # 2
        job = intents.job_of(receipt, peer.terms.engine)
        # 3
        if job is not None and (not await self._affords(peer, job, receipt.amount) or not intents.is_open(receipt, job)):
            job = None
        if job is None:
            log.warning("%s bills something that was never asked, or more than its job may cost: refused", peer.device)
        accepted = job is not None
        if peer.pay(Paid(receipt, signed.signature, digest, accepted, None, job, ())) and job is not None:
            running = self._running(job)
            if running is not None:
                running.paid(receipt)

    async def _affords(self, peer: Peer, job: bytes, amount: int) -> bool:
        if job == ZERO:
            return True
        running = self._running(job)
        if running is not None:
            return (left := running.purse.left_on(peer.terms.channel)) is None or left >= amount
        ((plan,),) = await self._journal.read("SELECT plan FROM jobs WHERE id = ?", (job,))
        budget = Plan.decode(plan).wishes.budget
        if budget is None:
            return True
        paid = await self._journal.read("SELECT amount FROM receipts WHERE job = ?", (job,))
        spent = sum(int(each) for (each,) in paid) + peer.payer.waiting(job)
        left = Purse(budget, spent=spent, floors=await self._journal.floors(job)).left_on(peer.terms.channel)
        return left is None or left >= amount


class _Heir:
    """Takes the answer of a unit whose asker is gone: it is journalled for whoever resumes the job."""

    def __init__(self, plan: Plan, first: int, count: int, running: Callable[[bytes], Job | None], *, believes: bool) -> None:
        self.over = asyncio.Event()
        self._plan = plan
        self._first = first
        self._count = count
        self._running = running
        self._believes = believes

    def unit_done(self, done: Done) -> Sequence[ResultRow] | None:
        """See `calls.Owner`."""
        self.over.set()
        outcome, receipt, blob = done.outcome, done.receipt, done.blob
        if (running := self._running(self._plan.id)) is not None:
            running.purse.release(("orphan", receipt.sequence))
            running.paid(receipt)
        if not self._believes and done.call.peer is not None:
            done.call.peer.pay(done.paid((), believed=False))
            return None
        if self._plan.is_python and outcome.status is Status.FINISHED:
            return [ResultRow(self._plan.id, self._first, self._count, blob[: outcome.value.size])]
        if not self._plan.is_python and outcome.status in (Status.FINISHED, Status.EXITED):
            return [ResultRow(self._plan.id, self._first, self._count, command_value(outcome, blob, receipt, done.call.digest))]
        return []

    def unit_refused(self, call: UnitCall, refusal: Refusal) -> None:
        """See `calls.Owner`."""
        self.over.set()


def _in_hand(peer: Peer, wire: SignedReceipt) -> bool:
    """Whether a receipt was answered meanwhile, or is about to be, as its unit is asked for."""
    return peer.payer.knows(wire.sequence) or any(call.asked.subject == wire.subject for call in peer.calls_of())


def pay_setup(peer: Peer, asked: Asked, done: UnitDone, wire: SignedReceipt, job: bytes, *, affords: bool) -> Audited | None:
    """Audit a setup's answer and pay it, or refuse it where the job cannot afford it; what was audited, if it was paid now.

    Raises `PeerFault`.
    """
    outcome = done.outcome()
    verifier = OutputVerifier(outcome)
    verifier.update(done.output)
    verifier.finish()
    audited = audit(asked, outcome, wire, peer.payer.party)
    answered = peer.pay(Paid(audited.receipt, wire.signature, audited.digest, affords, audited.stated, job, ()))
    return audited if answered and affords else None
