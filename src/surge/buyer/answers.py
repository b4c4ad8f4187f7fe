"""What comes back from providers, turned into results: for a job whose scheduler says what follows."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from surge.buyer import endings
from surge.buyer.calls import Done, UnitCall
from surge.buyer.cuts import Abandon, Deliver, Effect, Fault, Recut, Withdraw
from surge.buyer.pieces import ResultRow
from surge.buyer.results import Piece
from surge.core.messages import Refusal
from surge.core.units import Status
from surge.errors import GuestFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job

BUSY_REST = 0.3
"""Seconds a lane rests that said it is busy."""

SPLITTABLE = frozenset({Status.WALL_TIME, Status.HOST_MEMORY, Status.NATIVE_STACK})
"""Local endings that fewer items at once may avoid."""


class Answers:
    """The answers of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def count(self, done: Done) -> None:
        """The answer is paid."""
        receipt = done.receipt
        self._job.purse.pay((done.call.number, receipt.device), receipt.amount, receipt.channel)
        self._job.progress.count(receipt, units=1)

    def accept(self, done: Done, *, counted: bool = False) -> Sequence[ResultRow]:
        """The answer is taken for right and will be paid, or is already. Returns what to journal with its receipt."""
        job, call, outcome, receipt = self._job, done.call, done.outcome, done.receipt
        lane, number = receipt.device, call.number
        if not counted:
            self.count(done)
        rows: list[ResultRow] = []
        good = outcome.status is Status.FINISHED or (outcome.status is Status.EXITED and not job.plan.is_python)
        cut = job.scheduler.cuts.get(number)
        if cut is not None:
            job.auditing.accepted(done, cut)
        if good:
            if cut is not None:
                job.purse.measured(cut.count, outcome.fuel)
            blob = done.blob
            value = blob[: outcome.value.size] if job.plan.is_python else endings.command_value(outcome, blob, receipt, call.digest)
            effects = job.scheduler.finished(number, lane, now=time.monotonic(), seconds=done.said.seconds_us / 1e6)
            self.apply(effects, rows, value=value, result=receipt.result)
        else:
            lowered = outcome.status is Status.OUT_OF_FUEL and call.lowered
            if cut is not None and cut.whole and not call.whole:  # it was asked for before its cut got more
                job.scheduler.released(number, lane)
            elif lowered and cut is not None and cut.count == 1 and cut.whole:
                job.fail(job.out_of_money())
                return rows
            else:
                effects = job.scheduler.ended_badly(number, lane, lowered=lowered)
                self.apply(effects, rows, error=endings.guest_fault(outcome, done.blob, done.said.detail))
                if cut is not None and cut.whole and not call.whole:
                    job.auditing.asked_anew(number)
        job.lanes.unit_done(receipt)
        job.poke()
        return rows

    def refused(self, call: UnitCall, refusal: Refusal) -> None:
        """The provider did not run the unit, or it ended in a way that proves nothing."""
        job, lane, number = self._job, call.lane, call.number
        job.purse.release((number, lane))
        now = time.monotonic()
        code = refusal.code
        if code in ("busy", "window", "draining", "price", "missing", "deposit", "cancelled"):
            job.scheduler.released(number, lane, now=now, rest=BUSY_REST if code in ("busy", "window") else 0.0)
            job.lanes.refused(call, refusal)
        elif code == "cover":
            job.lanes.covering.refused(call, refusal)
        elif code in ("invalid", "unknown", "storage"):
            job.say(f"{lane} cannot run this job ({code}): {refusal.text}")
            job.scheduler.released(number, lane)
            job.lanes.dismiss(lane, Unavailable(f"{lane} refuses ({code}): {refusal.text}", for_good=True))
        else:
            status = endings.local_status(refusal)
            if call.wanted:
                job.say(f"a unit ended locally at {lane}: {refusal.text}")
                if status in SPLITTABLE:
                    job.progress.tell_once(endings.tried_elsewhere(status))
            rows: list[ResultRow] = []
            effects = job.scheduler.ended_locally(number, lane, now=now, split=status in SPLITTABLE)
            self.apply(effects, rows, error=endings.local_fault(refusal))
            if rows:
                job.journal.results_soon(rows)
        job.poke()

    def recalled(self, number: int, piece: Piece) -> None:
        """A cut's result is in the journal, though nobody here was told."""
        for effect in self._job.scheduler.finished(number, "", now=time.monotonic(), seconds=0.0):
            if isinstance(effect, Deliver):
                self._job.deliver(piece)
            elif isinstance(effect, Withdraw):
                self._job.lanes.withdraw(effect.lane, effect.number)

    def replay_endings(self, bad: Mapping[int, GuestFault], lowered: Container[int]) -> None:
        """Cuts whose units ended badly before a restart: halve them, or blame their item unless its fuel limit was a lowered one."""
        job = self._job
        rows: list[ResultRow] = []
        for number, fault in bad.items():
            if number in job.scheduler.cuts:
                self.apply(job.scheduler.ended_badly(number, "", lowered=number in lowered), rows, error=fault)
        if rows:
            job.journal.results_soon(rows)

    def apply(
        self,
        effects: Sequence[Effect],
        rows: list[ResultRow],
        *,
        value: bytes | None = None,
        result: bytes = b"",
        error: GuestFault | None = None,
    ) -> None:
        """Carry out what the scheduler decided; results to be journalled are added to `rows`."""
        job = self._job
        for effect in effects:
            if isinstance(effect, Deliver):
                assert value is not None
                rows.append(ResultRow(job.plan.id, effect.first, effect.count, value))
                job.deliver(Piece(effect.first, effect.count, value), result)
            elif isinstance(effect, Fault):
                assert error is not None
                fault = GuestFault(f"item {effect.index}: {error.message}", **{**error.details, "index": effect.index})
                rows.append(ResultRow(job.plan.id, effect.index, 1, None, endings.error_text(fault)))
                job.deliver(Piece(effect.index, 1, None, fault))
            elif isinstance(effect, Recut):
                job.desk.recut(effect)
            elif isinstance(effect, Withdraw):
                job.lanes.withdraw(effect.lane, effect.number)
            elif isinstance(effect, Abandon):
                job.say(f"{effect.lane} shows nothing for too long")
                job.lanes.dismiss(effect.lane, Unavailable(f"{effect.lane} shows nothing for too long"))
