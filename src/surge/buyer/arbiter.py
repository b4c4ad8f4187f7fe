"""Finding out which of several answers is the right one: by running the unit here, or by weighing what different operators say."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from surge.buyer.audits import ELSEWHERE, HERE, VOTE
from surge.buyer.calls import Done
from surge.buyer.checker import Checks
from surge.buyer.evidence import Evidence
from surge.buyer.stored import FEW_BYTES
from surge.buyer.work import NOTHING, unit_input
from surge.core.credibility import group_credibility, grouped
from surge.core.receipts import Receipt
from surge.core.storage.stored import parts_in
from surge.core.units import EXACT, PROVABLE, Status, result_hash, unit_id
from surge.errors import SurgeError, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job
    from surge.buyer.peers import Peer

BACKLOG = 4
"""Units that wait for a check here, beyond which credible devices of other operators are asked instead."""

UNCHECKABLE = (
    "results could not be checked: this machine runs another engine than the providers, and there are not enough operators to compare"
)

MORE = 2
"""Answers beyond the copies asked for that are fetched where no quorum agrees."""


def _answer(result: bytes, status: Status, fuel: int) -> bytes:
    return result + (fuel if status in EXACT else 0).to_bytes(8, "big")


def setup_in(receipt: Receipt) -> bytes:
    """What is compared of a setup: its state's hash and the fuel, 40 bytes."""
    return _answer(receipt.result, Status.FINISHED, receipt.quantity)


def answer_of(done: Done) -> bytes:
    """What is compared: the result's hash and the fuel, 40 bytes. Endings that are billed at their limit say nothing of the fuel."""
    return _answer(done.receipt.result, done.outcome.status, done.receipt.quantity)


def operator_of(done: Done) -> str:
    """Who runs the device that answered."""
    peer = done.call.peer
    return (peer.operator if peer is not None else "") or done.receipt.device


@dataclass(slots=True)
class Ballot:
    """The answers to one cut."""

    number: int
    first: int
    count: int
    held: list[Done] = field(default_factory=list)
    """Those that wait."""
    taken: Done | None = None
    """The one that was accepted unchecked, without its output."""
    began: float = 0.0
    right: bytes | None = None
    """The answer that counts, once there is one."""
    how: str = ""
    """How it was found; empty where it was taken unchecked."""
    task: asyncio.Task[None] | None = None
    prepaid: set[str] = field(default_factory=set)
    """Devices whose answers wait and are paid already."""
    waits_since: float | None = None
    stuck_since: float | None = None
    alone: bool = False
    """Whether no other operator is there to ask."""
    elsewhere: bool = False
    """Whether it is left to others, as its unit reads stored files that would have to be fetched here."""
    late: bool = False
    """Whether they had their time."""

    @property
    def answers(self) -> list[Done]:
        """All that is there to weigh."""
        return self.held if self.taken is None else [*self.held, self.taken]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer that counts."""

    answer: bytes
    how: str
    """How it was found; empty where nobody can tell, and it is only the likeliest."""


class Arbiter:
    """Judges the answers of one job."""

    def __init__(self, job: Job, evidence: Evidence | None, checks: Checks | None, certainty: float) -> None:
        self._job = job
        self._evidence = evidence
        self._checks = checks
        self._certainty = certainty
        self.copies = job.plan.wishes.copies
        self.quorum = job.plan.wishes.quorum or self.copies // 2 + 1

    async def weigh(self, ballot: Ballot) -> Finding | None:
        """What the answers that are there come to; None where more are needed, which are asked for."""
        scheduler = self._job.scheduler
        groups = grouped([(operator_of(done), answer_of(done)) for done in ballot.answers])
        operators = len({operator_of(done) for done in ballot.answers})
        cut = scheduler.cuts.get(ballot.number)
        if self.copies > 1:
            if groups and len(groups[0].operators) >= self.quorum:
                return Finding(groups[0].answer, VOTE)
            if cut is not None and (cut.tries or cut.lacks > 0) and not ballot.alone:
                return None
            if operators < self.copies:
                self._job.fail(Unavailable(f"copies={self.copies} needs as many operators, and {operators} are there that can do the job"))
                return None
        elif operators > 1 and groups:
            weights = group_credibility([[self._wrong(operator, ballot) for operator in group.operators] for group in groups])
            best = max(range(len(groups)), key=weights.__getitem__)
            if weights[best] >= self._certainty:
                return Finding(groups[best].answer, ELSEWHERE)
        if await self._prefers_here(ballot) and (found := await self._run_here(ballot)) is not None:
            return Finding(found, HERE)
        if cut is not None and not ballot.alone and operators < max(self.copies, 3) + MORE:
            if cut.lacks <= 0 and not cut.tries:
                scheduler.ask_another(ballot.number)
                self._job.poke()
            return None
        if await self._can_here(ballot) and (found := await self._run_here(ballot)) is not None:
            return Finding(found, HERE)
        return Finding(groups[0].answer if groups else answer_of(ballot.held[0]), "")

    async def _prefers_here(self, ballot: Ballot) -> bool:
        """Whether a check is made here at once: it is certain, and costs nothing but time."""
        peer = ballot.held[0].call.peer
        if self._checks is None or peer is None or not await self.can_tell(peer):
            return False
        if not ballot.late and await self._reads_much(ballot) and self._has_credible_others(ballot, credible=False):
            ballot.elsewhere = True
            return False
        return self._checks.waiting < BACKLOG or not self._has_credible_others(ballot)

    async def _reads_much(self, ballot: Ballot) -> bool:
        """Whether its unit reads stored files that should not be fetched here, only to check it."""
        parts = parts_in(await self._job.spool.load(ballot.first, ballot.count))
        return sum(part.length for part in parts) > FEW_BYTES

    async def can_tell(self, peer: Peer) -> bool:
        """Whether units of a device can be run here at once, and compared in fuel too."""
        return self._checks is not None and await self._checks.knows(peer.terms.engine, self._job.plan.image)

    async def _can_here(self, ballot: Ballot) -> bool:
        peer = ballot.held[0].call.peer
        return self._checks is not None and peer is not None and await self._checks.can(peer.terms.engine)

    def _has_credible_others(self, ballot: Ballot, *, credible: bool = True) -> bool:
        """Whether other operators could do the unit; those whose word suffices, or any."""
        cut, scheduler = self._job.scheduler.cuts.get(ballot.number), self._job.scheduler
        if cut is None or self._evidence is None:
            return False
        engine = {done.call.peer.terms.engine for done in ballot.held if done.call.peer is not None}
        for key, lane in scheduler.lanes.items():
            peer = self._job.lanes.peers.get(key)
            if peer is None or lane.operator in {operator_of(done) for done in ballot.held} or {peer.terms.engine} != engine:
                continue
            if lane.ready and (not credible or self._evidence.wrong(key, lane.operator) <= 1 - self._certainty):
                return True
        return False

    async def _run_here(self, ballot: Ballot) -> bytes | None:
        """The answer that this machine finds; None where it finds none."""
        job, call = self._job, ballot.held[0].call
        assert self._checks is not None
        assert call.peer is not None
        try:
            items = await job.spool.load(ballot.first, ballot.count)
            entry, data = unit_input(job.plan, ballot.first, items)
            spec = job.plan.spec(call.peer.terms.engine, entry, hashlib.sha256(data).digest(), call.asked.limits)
            if unit_id(spec) != call.asked.subject:
                job.say(f"the unit of item {ballot.first} cannot be made again to check it")
                return None
            outcome = await self._checks.run(spec, data)
        except SurgeError as error:
            job.say(f"a result could not be checked here: {error}")
            return None
        if outcome.status not in PROVABLE:
            job.say(f"a check here ended as {outcome.status.name}, which tells nothing")
            return None
        return _answer(result_hash(outcome), outcome.status, outcome.fuel)

    async def setup(self, engine: bytes) -> bytes | None:
        """What the job's setup gives here; None where that cannot be told."""
        plan = self._job.plan
        assert self._checks is not None
        try:
            outcome = await self._checks.run(plan.spec(engine, b"", NOTHING, plan.limits), b"", setup=True)
        except SurgeError as error:
            self._job.say(f"the setup could not be checked here: {error}")
            return None
        return _answer(result_hash(outcome), outcome.status, outcome.fuel) if outcome.status is Status.FINISHED else None

    def _wrong(self, operator: str, ballot: Ballot) -> float:
        """The highest probability that this operator's answer is wrong: a voice that counts for nothing counts against nobody either."""
        devices = [done.receipt.device for done in ballot.answers if operator_of(done) == operator]
        if self._evidence is None:
            return 0.5
        return min(0.5, max(self._evidence.wrong(device, operator) for device in devices))
