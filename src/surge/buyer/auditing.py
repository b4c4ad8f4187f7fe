"""The auditor of one job: which answers are taken as they are, which are checked first, and what follows from a wrong one.

How often a device is checked is a rule of `core.credibility`. An answer that is checked waits: its receipt is neither accepted nor refused,
and its result is not given out, until the unit was run again here, or by devices of other operators. Whoever gave a wrong answer is
dismissed, and what else it gave to this job unchecked is computed again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from surge.buyer.arbiter import UNCHECKABLE, Arbiter, Ballot, Finding, answer_of, operator_of
from surge.buyer.audits import ELSEWHERE, HERE, RIGHT, UNSURE, VOTE, WRONG, AuditRow
from surge.buyer.calls import Done
from surge.buyer.checker import Checks
from surge.buyer.cuts import Cut
from surge.buyer.evidence import Evidence
from surge.buyer.journal import SETUP
from surge.buyer.payer import Answer as Paid
from surge.buyer.retaking import Retaking
from surge.buyer.setup_checks import SetupChecks
from surge.core.credibility import CERTAINTY
from surge.core.receipts import Receipt
from surge.core.units import EXACT, Status
from surge.errors import PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job
    from surge.buyer.peers import Peer

STUCK_SECONDS = 10.0
"""How long an answer of another operator is waited for while none is there to give it."""

PATIENCE = 0.5
"""How long an answer waits for others before its device, if its window is full, is paid for it."""

ADVANCED = 4
"""Windows of answers that wait and are paid, beyond which a device's next ones are paid early only after `STUCK_SECONDS`: what it was paid
for may be wrong, and is in memory."""

_draw = random.SystemRandom().random
"""Which answers are checked is nobody's to foresee."""


class Auditing:
    """See the module. Without `evidence` nothing is audited; without `checks` nothing is run here."""

    def __init__(self, job: Job, evidence: Evidence | None, checks: Checks | None) -> None:
        self._job = job
        self._evidence = evidence
        wishes = job.plan.wishes
        self.copies = wishes.copies
        self.certainty = CERTAINTY if wishes.certainty is None else wishes.certainty
        self._arbiter = Arbiter(job, evidence, checks, self.certainty)
        self._ballots: dict[int, Ballot] = {}
        self._caught: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._setups = SetupChecks(self._arbiter, self._setup_was_wrong)
        self.retaking = Retaking(job, self.asked_anew)
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether results may still change."""
        return self.retaking.busy or any(ballot.right is None for ballot in self._ballots.values())

    @property
    def judges(self) -> bool:
        """Whether an answer is being judged just now."""
        return any(ballot.task is not None for ballot in self._ballots.values())

    # Answers as they come

    def passes(self, done: Done) -> bool:
        """Whether an answer is taken as it is. If not, its receipt is answered here, now or later."""
        if done.receipt.device in self._caught:
            self._refuse(done)
            return False
        if self._evidence is None and self.copies == 1:
            return True
        ballot = self._ballots.get(done.call.number)
        if ballot is not None and ballot.right is not None and ballot.right == answer_of(done):
            self._was_right(done, ballot)
            return True
        cut = self._job.scheduler.cuts.get(done.call.number)
        if cut is not None and cut.whole and not done.call.whole and done.outcome.status not in EXACT:
            return True  # its limit was too low, as others found before it
        if ballot is None:
            if cut is None or not self._is_drawn(done):
                return True
            ballot = Ballot(cut.number, cut.first, cut.count, began=time.monotonic())
        if ballot.right is not None and ballot.how:
            self._was_wrong(done, ballot)
        else:
            self._hold(done, ballot)
        return False

    def _is_drawn(self, done: Done) -> bool:
        peer, device = done.call.peer, done.receipt.device
        if self.copies > 1 or (peer is not None and not peer.bond.enough):
            return True
        assert self._evidence is not None
        if peer is not None and peer.bond.amount and _draw() < done.receipt.amount / peer.bond.amount:
            return True
        return _draw() < self._evidence.chance(device, operator_of(done), self.certainty)

    def accepted(self, done: Done, cut: Cut) -> None:
        """An answer was taken for a cut that is still open."""
        if cut.number not in self._ballots:
            if self._evidence is not None:
                self._evidence.accepted(done.receipt.device, operator_of(done), checked=False)
            if len(cut.tries) > 1:  # others may answer too: what they say is held against this
                taken = replace(done, blob=b"")
                self._ballots[cut.number] = Ballot(cut.number, cut.first, cut.count, right=answer_of(done), taken=taken)

    def asked_anew(self, number: int) -> None:
        """A cut is asked for with more fuel, or its result is taken back: what was said of it before is no answer to that."""
        self._ballots.pop(number, None)

    def setup_said(self, peer: Peer, receipt: Receipt, digest: bytes) -> None:
        """A device was paid for its setup: that is compared once the setup was run here."""
        self._setups.said(peer, receipt, digest)

    async def denies_failure(self, peer: Peer, status: Status, fuel: int) -> bool:
        """Whether a setup that failed at a device ends well here under the same limit of fuel: then the device is caught."""
        if self._evidence is None or not await self._setups.ends_well(peer, status, fuel):
            return False
        self._catch(peer, f"{peer.device} said that the job's setup fails, and it ends well here: nothing more is asked of it")
        return True

    def _setup_was_wrong(self, peer: Peer, receipt: Receipt, digest: bytes, right: bytes) -> None:
        if (device := receipt.device) not in self._caught:
            ballot = Ballot(SETUP, 0, 0, right=right, how=HERE, began=time.monotonic())
            self._record(receipt, digest, peer.operator or device, ballot, WRONG)
            what = "fuel" if right[:32] == receipt.result else "state"
            self._catch(peer, f"{device} billed a wrong {what} for the job's setup, as was found here: nothing more is asked of it")

    def look(self, now: float) -> None:
        """See whether answers are waited for that nobody gives. Call it some times a second.

        Where whoever had them under way ended without one, those that are there are judged. Otherwise:

        1. Where no operator is there that could: what can be said without is said.
        2. Where windows are full of answers that wait for one another, or devices do no more before theirs are paid, those who gave them
           are paid, and their answers go on waiting.
        3. What was left to others since it would have to be fetched here, and they do not come to it, is looked at here.
        """
        scheduler = self._job.scheduler
        for ballot in list(self._ballots.values()):
            cut = scheduler.cuts.get(ballot.number)
            if ballot.right is None and ballot.task is None:
                self._prepay(ballot, lambda peer: peer.lacks_cover)
                if ballot.held and (cut is None or (cut.lacks <= 0 and not cut.tries)):
                    self._judge_soon(ballot)
            if ballot.right is not None or ballot.task is not None or cut is None or (cut.lacks <= 0 and not cut.is_stuck(scheduler.lanes)):
                ballot.stuck_since = ballot.waits_since = None
                continue
            # 1
            if not scheduler.is_stuck(ballot.number):
                ballot.stuck_since = None
            elif ballot.stuck_since is None:
                ballot.stuck_since = now
            elif now - ballot.stuck_since > STUCK_SECONDS:
                ballot.alone, ballot.stuck_since = True, None
                self._judge_soon(ballot)
            # 2
            ballot.waits_since = ballot.waits_since or now
            if now - ballot.waits_since > PATIENCE:
                self._prepay(ballot, lambda peer: peer.room <= 0, now - ballot.waits_since)
            # 3
            if ballot.elsewhere and not ballot.late and now - ballot.waits_since > STUCK_SECONDS:
                ballot.late = True
                self._judge_soon(ballot)

    def _prepay(self, ballot: Ballot, is_full: Callable[[Peer], bool], waited: float = 0.0) -> None:
        for done in ballot.held:
            peer, device = done.call.peer, done.receipt.device
            if peer is not None and is_full(peer) and device not in ballot.prepaid:
                advanced = sum(device in each.prepaid for each in self._ballots.values() if each.right is None)
                if advanced >= ADVANCED * max(peer.window, 1) and waited < STUCK_SECONDS:
                    continue
                ballot.prepaid.add(device)
                peer.lacks_cover = False
                self._job.answers.count(done)
                self._answer(peer, done.paid((), believed=False))

    def close(self) -> None:
        """The job has ended: what waits is settled without a check, by asking for it again; what still comes is judged alone."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for ballot in self._ballots.values():
            for done in ballot.held:
                if (peer := done.call.peer) is None:
                    continue
                if done.receipt.device in ballot.prepaid:
                    peer.payer.may_bill_again([done.receipt.subject])
                else:
                    peer.let_go(done.receipt, done.wire)
            ballot.held.clear()
        if self._evidence is not None:
            self._evidence.save()

    # Judging

    def _hold(self, done: Done, ballot: Ballot) -> None:
        peer = done.call.peer
        assert peer is not None
        if peer.hold(done.paid(())):
            self._owe(done)
        elif peer.payer.was_accepted(done.receipt):  # before its job was cut short, say
            self._job.purse.release((done.call.number, done.receipt.device))
            ballot.prepaid.add(done.receipt.device)
        else:
            return self._give_up(done)
        ballot.held.append(done)
        ballot.right = None
        ballot.alone = ballot.alone or self._closed
        self._ballots[ballot.number] = ballot
        seconds = done.said.seconds_us / 1e6
        self._job.scheduler.answered(ballot.number, done.receipt.device, now=time.monotonic(), seconds=seconds)
        self._judge_soon(ballot)
        self._job.poke()

    def _owe(self, done: Done) -> None:
        job, receipt = self._job, done.receipt
        job.purse.reserve((done.call.number, receipt.device), receipt.amount, receipt.channel, owed=True)
        cut = job.scheduler.cuts.get(done.call.number)
        if cut is not None and done.outcome.status in EXACT:
            cut.took = max(cut.took or 0, done.outcome.fuel)

    def _judge_soon(self, ballot: Ballot) -> None:
        if ballot.task is None:
            ballot.task = self._spawn(self._look_at(ballot))

    async def _look_at(self, ballot: Ballot) -> None:
        """Decide, if the answers that are there suffice; otherwise see that there are more."""
        try:
            while ballot.right is None and ballot.held:
                seen, peer = len(ballot.held), ballot.held[0].call.peer
                assert peer is not None
                found = await self._arbiter.weigh(ballot)
                if found is None and self._closed:
                    found = Finding(answer_of(ballot.held[0]), "")
                if found is not None and ballot.held:
                    return self._conclude(ballot, found, peer)
                if len(ballot.held) == seen:
                    return
        finally:
            ballot.task = None

    def _conclude(self, ballot: Ballot, found: Finding, peer: Peer) -> None:
        if not found.how:
            return self._leave_open(ballot, found.answer)
        self._decide(ballot, found)
        if found.how == HERE and self._job.plan.is_python:
            self._spawn(self._setups.run_once(peer.terms.engine))

    def _decide(self, ballot: Ballot, found: Finding) -> None:
        """The answer is known: pay those who gave it, refuse the others."""
        right = ballot.right = found.answer
        ballot.how = found.how
        cut = self._job.scheduler.cuts.get(ballot.number)
        others = cut is not None and cut.tries
        held, ballot.held = ballot.held, []
        held.sort(key=lambda done: answer_of(done) != right)
        for done in held:
            if answer_of(done) == right:
                self._was_right(done, ballot)
                self._pay(done, ballot)
            else:
                self._was_wrong(done, ballot, paid=done.receipt.device in ballot.prepaid)
        taken, ballot.taken = ballot.taken, None
        if taken is not None and answer_of(taken) != right:
            self._was_wrong(taken, ballot, paid=True)
        if self._job.scheduler.cuts.get(ballot.number) is None and self.copies == 1 and not others:
            self._ballots.pop(ballot.number, None)
        self._job.poke()

    def _leave_open(self, ballot: Ballot, answer: bytes) -> None:
        """Nobody can tell: the likeliest answer is accepted, unless the user asked for certainty."""
        if not self._closed and (self._job.plan.wishes.certainty is not None or self.copies > 1):
            return self._job.fail(Unavailable(f"{UNCHECKABLE}: ask for a lower certainty=, or for providers of more operators"))
        self._job.progress.tell_once(f"{UNCHECKABLE}; they are accepted as they came")
        ballot.right, ballot.how = answer, ""
        held, ballot.held = ballot.held, []
        for done in held:
            self._note(done, ballot, UNSURE)
            if answer_of(done) == answer:
                self._pay(done, ballot)
            elif done.receipt.device not in ballot.prepaid:
                self._refuse(done)

    def _pay(self, done: Done, ballot: Ballot) -> None:
        peer = done.call.peer
        assert peer is not None
        prepaid = done.receipt.device in ballot.prepaid
        rows = self._job.answers.accept(done, counted=prepaid)
        if prepaid:
            self._job.journal.results_soon(rows)
        else:
            self._answer(peer, done.paid(rows))

    def _answer(self, peer: Peer, paid: Paid) -> None:
        try:
            peer.pay(paid)
        except PeerFault as error:
            peer.drop(error)

    def _refuse(self, done: Done) -> None:
        assert done.call.peer is not None
        self._give_up(done)
        self._answer(done.call.peer, done.paid((), accepted=False))

    def _give_up(self, done: Done) -> None:
        """The answer is none: others have to give one."""
        job, device, number = self._job, done.receipt.device, done.call.number
        job.purse.release((number, device))
        job.scheduler.answered(number, device, now=time.monotonic(), seconds=0.0)
        job.scheduler.rejected(number, device)
        job.poke()

    def _was_right(self, done: Done, ballot: Ballot) -> None:
        """An answer is the one that counts; where that was checked, so was this."""
        if self._evidence is not None:
            self._evidence.accepted(done.receipt.device, operator_of(done), checked=bool(ballot.how))
        if ballot.how:
            self._job.progress.checked += 1
            self._note(done, ballot, RIGHT)

    def _was_wrong(self, done: Done, ballot: Ballot, *, paid: bool = False) -> None:
        self._note(done, ballot, WRONG)
        assert ballot.right is not None
        assert done.call.peer is not None
        what = "fuel" if ballot.right[:32] == done.receipt.result else "result"
        where = {HERE: "here", ELSEWHERE: "by others", VOTE: "by a quorum"}[ballot.how]
        items = f"item {ballot.first}" if ballot.count == 1 else f"items {ballot.first} to {ballot.first + ballot.count - 1}"
        text = f"{done.receipt.device} gave a wrong {what} for {items}, as was found {where}: nothing more is asked of it"
        self._catch(done.call.peer, text)
        if paid:
            self._job.scheduler.rejected(done.call.number, done.receipt.device)
        else:
            self._refuse(done)

    # What follows from a wrong answer

    def _catch(self, peer: Peer, text: str) -> None:
        job, device = self._job, peer.device
        operator = peer.operator or device
        if device in self._caught:
            return
        self._caught.add(device)
        job.progress.caught += 1
        job.say(text)
        job.progress.tell_once(text)
        if self._evidence is not None:
            self._evidence.failed(device, operator)
        self.retaking.begin()
        self._spawn(self.retaking.retake(peer, operator))
        job.lanes.dismiss(device, Unavailable(text, device=device, for_good=True))

    # Inside

    def _note(self, done: Done, ballot: Ballot, verdict: str) -> None:
        self._record(done.receipt, done.audited.digest, operator_of(done), ballot, verdict)

    def _record(self, receipt: Receipt, digest: bytes, operator: str, ballot: Ballot, verdict: str) -> None:
        right = None if verdict == UNSURE else ballot.right
        row = AuditRow(
            self._job.plan.id, ballot.number, receipt.device, operator, receipt.channel, digest, receipt.subject,
            ballot.first, ballot.count, ballot.how or ELSEWHERE, verdict, receipt.result, receipt.quantity,
            None if right is None else right[:32], None if right is None else int.from_bytes(right[32:], "big") or None,
            time.monotonic() - ballot.began, time.time(),
        )  # fmt: skip
        self._job.journal.audit_soon(row)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._job.fail(error)
