"""One job at work: carrying out what its scheduler decides.

The job holds the effects: it takes items in, turns assignments into units, journals them before they are sent, and passes
on what comes back. Decisions are the scheduler's and the purse's; talking is the peers'.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from surge.buyer import endings
from surge.buyer.answers import Answers
from surge.buyer.auditing import Auditing
from surge.buyer.auditor import Asked
from surge.buyer.calls import Done, UnitCall
from surge.buyer.checker import Checks
from surge.buyer.desk import Desk
from surge.buyer.doors import first_error
from surge.buyer.ends import Feed, Sink
from surge.buyer.evidence import Evidence
from surge.buyer.journal import CANCELLED, DONE, FAILED, SETUP, STOPPED, Journal, TryRow
from surge.buyer.lanes import Lanes, Recruit
from surge.buyer.peers import Peer
from surge.buyer.pieces import ResultRow
from surge.buyer.plan import Plan
from surge.buyer.preparing import Source
from surge.buyer.purse import Purse, in_surge
from surge.buyer.results import Piece, Progress
from surge.buyer.scheduler import Scheduler
from surge.buyer.spool import Spool
from surge.buyer.stored import Bringing, StoredFiles
from surge.core.messages import Refusal
from surge.core.receipts import Receipt
from surge.core.text import counted
from surge.errors import InternalFault, NotEnough, SurgeError

log = logging.getLogger("surge.buyer")

TICK = 0.2
"""Seconds between looks at the clock when nothing happens."""

SLEPT_SECONDS = 2.0
"""Without a look at the clock for so long, this process was stopped."""

SETTLE_SECONDS = 10.0
"""How long the end of a job waits for its receipts and its inputs to be on disk."""


class Job:
    """A job that is running."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        feed: Feed,
        sink: Sink,
        recruit: Recruit,
        *,
        contents: Mapping[bytes, tuple[int, Source]],
        scheduler: Scheduler,
        spool: Spool,
        purse: Purse,
        progress: Progress,
        ahead: int | None = None,
        in_order: bool = True,
        tries: Mapping[bytes, Sequence[TryRow]] | None = None,
        evidence: Evidence | None = None,
        checks: Checks | None = None,
        stored: StoredFiles | None = None,
    ) -> None:
        self.plan = plan
        self.journal = journal
        self.scheduler = scheduler
        self.purse = purse
        self.progress = progress
        self.lanes = Lanes(self, recruit, contents)
        self.bringing = Bringing(self, stored)
        self.answers = Answers(self)
        self.auditing = Auditing(self, evidence, checks)
        self.settled = asyncio.Event()
        """Set once the job has ended and its end is on disk."""
        self.on_end: Callable[[], None] | None = None
        """Called then, before the user hears of it."""
        self.current: Callable[[], Job] = lambda: self
        """Who works on the job now: this, or whoever went on with it when this had ended. Its purse has the money."""
        self.spool = spool
        self.desk = Desk(self, tries or {})
        self._feed = feed
        self._sink = sink
        self._ahead = ahead
        self._in_order = in_order
        self._consumed = 0
        self._asked_for = -1 << 60
        self._poked = asyncio.Event()
        self._failure: BaseException | None = None
        self._fails_at: int | None = None
        self._stopping = False
        self._cancelled = self._by_reader = False
        self._waking = False
        self._next_look = time.monotonic()
        self._deadline = None if plan.wishes.deadline_ms is None else time.monotonic() + plan.wishes.deadline_ms / 1000

    # From outside

    def poke(self) -> None:
        """Something changed: look again."""
        self._poked.set()

    def consumed(self, upto: int) -> None:
        """The user has read the results before this item."""
        self._consumed = max(self._consumed, upto)
        self._poked.set()

    def cancel(self, *, by_reader: bool = False) -> None:
        """Stop, as cancelled. Where it was whoever reads the results that asked for it, they end without an error."""
        self._cancelled = self._stopping = True
        self._by_reader = self._by_reader or by_reader
        self._poked.set()

    def stop(self) -> None:
        """Stop; the job can be resumed."""
        self._stopping = True
        self._poked.set()

    def fail(self, error: BaseException, at: int | None = None) -> None:
        """The job cannot go on: raised after the results in order before item `at` or, without it, those that are there."""
        if self._failure is None:
            self._failure, self._fails_at = error, at
        self._poked.set()

    def say(self, text: str) -> None:
        """Keep an event for `surge job logs`."""
        log.info("job %s: %s", self.plan.id.hex()[:12], text)
        self.journal.event_soon(self.plan.id, text)

    # The loop

    async def run(self) -> None:
        """Work until every item has its result, or the job fails or is stopped."""
        try:
            await self._work()
            await self._end()
        except asyncio.CancelledError:
            self.desk.close()
            self._sink.end(None, endings.stopped(self.plan))
            raise
        finally:
            self._feed.stop()

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                recruiting = group.create_task(self.lanes.run())
                try:
                    await self._drive()
                finally:
                    recruiting.cancel()
        except* SurgeError as errors:
            self._failure = self._failure or first_error(errors)
        except* Exception as errors:
            log.exception("the job %s failed", self.plan.id.hex()[:12])
            self._failure = InternalFault(f"the job failed here, which is a bug: {first_error(errors)!r}")
            self._failure.__cause__ = first_error(errors)

    async def _drive(self) -> None:
        while self._failure is None and not self._stopping:
            self._poked.clear()
            self._take_items()
            now = time.monotonic()
            if self._deadline is not None and now > self._deadline:
                self.fail(endings.late(self.plan, self.progress))
                return
            self.desk.look(now)
            self.auditing.look(now)
            if (nobody := self.lanes.reach.look(now)) is not None:
                self.fail(nobody)
                return
            if now > self._next_look:
                if now > self._next_look + SLEPT_SECONDS:
                    self.scheduler.slept(now - self._next_look)
                self._next_look = now + TICK
                self.answers.apply(self.scheduler.tick(now), [])
            self.bringing.look_ahead()
            assigned = self.scheduler.assign(now, self.lanes.room())
            if assigned or self.spool.is_heavy:
                await self.desk.dispatch(assigned)
                continue
            if self.scheduler.finished_all and not self.auditing.busy:
                if self._feed.error is not None:
                    self.fail(self._feed.error, self.spool.count)
                return
            try:
                async with asyncio.timeout(TICK):
                    await self._poked.wait()
            except TimeoutError:
                continue

    def _take_items(self) -> None:
        ended = self._feed.ended
        items = self._feed.take()
        if items:
            self.scheduler.items_arrived(len(items), self.spool.add(items))
        if ended and not self.scheduler.exhausted:
            self.scheduler.items_ended()
            if self._feed.error is None:
                self.progress.total = self.spool.count
                if self.plan.is_resumable:  # before anything is paid, and ahead of every unit in the journal's queue
                    self.journal.dispatch(self.plan.id, blocks=self.spool.unsaved(), total=self.spool.count)
        if not ended:
            self._want()

    def _want(self) -> None:
        """Ask for more items: some rounds beyond what is unfinished, and not far beyond what the user has read.

        Where nothing waits for what was asked before it, some rounds beyond what was sent out.
        """
        if self._ahead is not None:
            target, step = self._ahead, 1
        else:
            ahead = self.scheduler.wanted()
            done = min(self.scheduler.unfinished_from, self._consumed + ahead) if self._in_order else self.scheduler.uncut_from
            target, step = done + ahead, ahead // 4
        if target - self._asked_for >= step:
            self._asked_for = target
            self._feed.want(target)

    # What comes back (see `calls.Owner`)

    def unit_done(self, done: Done) -> Sequence[ResultRow] | None:
        """The unit ended, provably: it is paid now, or once it is checked."""
        return self.answers.accept(done) if self.auditing.passes(done) else None

    def unit_refused(self, call: UnitCall, refusal: Refusal) -> None:
        """The provider did not run the unit, or it ended in a way that proves nothing."""
        self.answers.refused(call, refusal)

    def deliver(self, piece: Piece, result: bytes = b"") -> None:
        """Results for the user; `result` is the hash of what their unit gave. What the user has already is not given twice."""
        self.spool.done(piece.first, piece.count)
        self.progress.done += piece.count
        if self.auditing.retaking.was_given(piece, result):
            return
        self._sink.put(piece)
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        self._sink.wake()

    async def remember_setup(self, channel: bytes, asked: Asked) -> Asked:
        """Journal that a setup is asked for; one that was asked before a restart has the prices it was asked at."""
        known = await self.journal.tried(channel, asked.subject)
        if known is not None:
            return replace(asked, prices=known)
        row = TryRow(SETUP, channel, asked.subject, asked.limits.fuel, asked.prices)
        await asyncio.wrap_future(self.journal.dispatch(self.plan.id, tries=[row]))
        return asked

    def expects(self, number: int, peer: Peer) -> bool:
        """Whether this job asks the provider for this cut, or for its setup, itself."""
        if number == SETUP:
            return not self.lanes.is_prepared(peer.device)
        cut = self.scheduler.cuts.get(number)
        return cut is not None and (cut.held or peer.device in cut.tries or self.desk.may_have_answers(peer))

    def paid(self, receipt: Receipt) -> None:
        """A receipt of the job that is for no unit was accepted: a setup, an upload, compiling."""
        self.purse.pay(("once", receipt.device, receipt.sequence), receipt.amount, receipt.channel)
        self.progress.count(receipt)

    def out_of_money(self) -> NotEnough:
        """The error of a job whose budget is used up."""
        left, spent, bound, fuel = self.purse.left, self.purse.spent, self.purse.bound, self.purse.item_fuel
        floors = f" ({in_surge(bound)} are bound by channels' floors)" if bound else ""
        takes = "" if fuel is None else f", as items take {fuel / 1e9:.3g} gigafuel and results count at their limit"
        unit = f"{in_surge(left or 0)} buy no further unit{takes}{floors}; {counted(self.progress.done, 'item')} done"
        text = f"the budget is used up: {in_surge(spent)} are spent, {unit}: {self.plan.advice('with a larger --budget goes on with it')}"
        return NotEnough(text, spent=spent, left=left)

    # The end

    async def _end(self) -> None:
        """Leave everything on disk as it is, then tell the user."""
        whole = self._failure is None and self._is_whole()
        peers = list(self.lanes.peers.values())
        self.desk.close()
        self.bringing.close()
        self.auditing.close()
        self.lanes.leave()
        if not whole:
            await self._keep_inputs()
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(peer.payer.drain() for peer in peers if peer.gone is None))
        except TimeoutError:
            self.say("some receipts wait for a deposit; they are settled when their channel is used next")
        state = DONE if whole else CANCELLED if self._cancelled else FAILED if self._failure is not None else STOPPED
        error = "" if self._failure is None else str(self._failure)
        await self.journal.set_job(self.plan.id, state, error=error, total=self.spool.count if whole else None)
        if self.on_end is not None:
            self.on_end()
        self.settled.set()
        if whole:
            corrected = self.auditing.retaking.corrected
            self._sink.end(self.spool.count, endings.corrected(self.plan, corrected) if corrected else None)
        elif self._failure is not None:
            self._sink.end(self._fails_at, self._failure)
        elif self._by_reader:
            self._sink.end(0)
        else:
            self._sink.end(None, endings.cancelled(self.plan) if self._cancelled else endings.stopped(self.plan))

    def retract(self, first: int) -> bool:
        """Take the results that begin with an item back, if the user has not got them yet."""
        return self._sink.retract(first)

    def _is_whole(self) -> bool:
        """Whether every item has its result; the last may have come as the job was told to stop."""
        if self._stopping:
            self._take_items()
        return self.scheduler.finished_all and not self.auditing.busy and self._feed.error is None

    async def _keep_inputs(self) -> None:
        """What was pulled, and all of an input whose length is known, so that the job can be finished."""
        until = time.monotonic() + (SETTLE_SECONDS if self._ahead is not None else 0.0)
        while True:
            is_over = self._feed.ended or time.monotonic() > until
            self.spool.add(self._feed.take())
            began = time.monotonic()
            if (is_over or self.spool.is_heavy) and (blocks := self.spool.unsaved()):
                await asyncio.wrap_future(self.journal.dispatch(self.plan.id, blocks=blocks))
            if is_over:
                return
            until += time.monotonic() - began  # the time is for pulling
            await asyncio.sleep(0.01)
