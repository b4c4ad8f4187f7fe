"""Sending a job's units: made, journalled, and only then asked for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from surge.buyer.calls import Refused, UnitCall
from surge.buyer.cuts import Assign, Cut, Recut
from surge.buyer.journal import TryRow
from surge.buyer.peers import Peer
from surge.buyer.pieces import cut
from surge.buyer.plan import CALLS
from surge.buyer.recalling import recall
from surge.buyer.stored import Unreadable
from surge.buyer.work import Unit, make_unit
from surge.core.messages.fields import MAX_CHUNK
from surge.core.pricing import transfer_amount, unit_amount
from surge.core.storage.stored import MOST_PARTS, parts_in
from surge.errors import InvalidInput, NotEnough, SurgeError

if TYPE_CHECKING:
    from surge.buyer.job import Job

HOLD_SECONDS = 20.0
"""How long units that were asked before a restart are kept for those who were asked."""

RETURN_SECONDS = 5.0
"""How long those who were asked have to come back once the first of them has, when all were away."""

STARVED_REST = 0.2
"""Seconds a lane rests for which the budget has nothing left just now."""

ENOUGH = 2
"""A limit of so many times the fuel that a unit took, as one device has it, is enough for another to check it."""

EXPECTED = 2
"""A unit that was stopped is expected to take so many times as much: it is not begun where it would be stopped as early again."""

STARVED_SECONDS = 10.0
"""How long units for which the budget has nothing left on some channels wait for providers on others."""


class Desk:
    """Turns a job's assignments into calls. `tries` are units asked before a restart, by channel: whoever has them is asked again first.

    A unit of single calls is sent while it is being journalled: its caller waits for one answer, and nobody resumes it.
    """

    def __init__(self, job: Job, tries: Mapping[bytes, Sequence[TryRow]]) -> None:
        self._job = job
        self._new_cuts: list[tuple[int, int, int]] = []
        self._retired: list[int] = []
        self._known_cuts = set(job.scheduler.cuts)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked_before = {channel: list(rows) for channel, rows in tries.items()}
        self._starved_since: float | None = None
        self._hold_until = time.monotonic() + HOLD_SECONDS
        for rows in self._asked_before.values():
            for row in rows:
                job.scheduler.hold(row.number)

    def look(self, now: float) -> None:
        """See whether those who were asked before a restart, or before all were away, have come."""
        if not self._asked_before:
            return
        if not any(lane.ready for lane in self._job.scheduler.lanes.values()):
            self._hold_until = max(self._hold_until, now + RETURN_SECONDS)
        elif now > self._hold_until:
            self._let_go()

    def keep_for(self, channel: bytes, calls: Sequence[UnitCall]) -> None:
        """Nobody can be reached, so it is likely not for want of them: the units they were asked for wait for their return."""
        for call in calls:
            cut = self._job.scheduler.cuts.get(call.number)
            if cut is not None and not cut.tries and not cut.held:
                self._job.scheduler.hold(call.number)
                row = TryRow(call.number, channel, call.asked.subject, call.asked.limits.fuel, call.asked.prices)
                self._asked_before.setdefault(channel, []).append(row)

    def recut(self, effect: Recut) -> None:
        """A cut is replaced by others; the journal hears of it with the next units."""
        self._retired.append(effect.number)
        self._known_cuts |= {number for number, _, _ in effect.parts}
        self._new_cuts += effect.parts

    def knows(self, cuts: Sequence[tuple[int, int, int]]) -> None:
        """These cuts are in the journal already."""
        self._known_cuts |= {number for number, _, _ in cuts}

    def close(self) -> None:
        """Send nothing more."""
        for task in self._tasks:
            task.cancel()

    async def dispatch(self, assigned: Sequence[Assign]) -> None:
        """Journal, then send."""
        claimed = {one.lane: self._job.lanes.peers[one.lane] for one in assigned}
        for one in assigned:
            claimed[one.lane].claimed += 1
        try:
            await self._send(assigned)
        finally:
            for one in assigned:
                claimed[one.lane].claimed -= 1

    async def _send(self, assigned: Sequence[Assign]) -> None:
        spool = self._job.spool
        at_hand = {one.number: spool.at_hand(one.first, one.count) for one in assigned}
        blocks = spool.unsaved()
        loaded: dict[int, list[bytes]] = {}
        for one in assigned:
            items = at_hand[one.number]
            if items is None:
                await asyncio.wrap_future(self._job.journal.dispatch(self._job.plan.id, blocks=blocks))
                blocks = []
                items = await spool.load(one.first, one.count)
            loaded[one.number] = items
        ready: list[tuple[Assign, Peer, UnitCall, Unit]] = []
        tries: list[TryRow] = []
        starved: set[bytes] = set()
        for one in assigned:
            peer = self._job.lanes.peers.get(one.lane)
            terms = self._job.lanes.terms(one.lane)
            if peer is None or terms is None:
                self._job.scheduler.released(one.number, one.lane)
                continue
            items = loaded[one.number]
            cut = self._job.scheduler.cuts.get(one.number)
            allowance = self._job.purse.allow(
                terms.prices,
                self._job.plan.limits,
                terms.channel,
                moved=sum(map(len, items)) + 64,
                count=one.count,
                slots=self._job.lanes.slots(),
                whole=one.whole,
                fuel=None if cut is None else cut.fuel,
                enough=None if cut is None or cut.took is None else ENOUGH * cut.took,
                aside=sum(transfer_amount(terms.prices, part.length) for part in parts_in(items)),
            )
            if allowance is None:
                self._job.scheduler.released(one.number, one.lane, now=time.monotonic(), rest=STARVED_REST)
                starved.add(terms.channel)
                continue
            expected = max((self._job.purse.item_fuel or 0) * one.count, 0 if cut is None else EXPECTED * cut.least)
            unit = make_unit(self._job.plan, terms.engine, one.first, items, allowance.limits, terms.prices, expected)
            if len(unit.stored) > MOST_PARTS:
                self._halve(one, unit)
                continue
            if cut is not None:
                cut.fuel = cut.fuel or allowance.limits.fuel
            self._job.purse.reserve((one.number, one.lane), allowance.reserved, terms.channel)
            tries.append(TryRow(one.number, terms.channel, unit.id, allowance.limits.fuel, terms.prices))
            call = UnitCall(self._job, self._job.plan.id, one.number, one.lane, "run", unit.body, unit.asked)
            call.lowered, call.whole, call.stage = allowance.lowered, one.whole, self._stage(one.lane)
            ready.append((one, peer, call, unit))
            if one.number not in self._known_cuts:
                self._known_cuts.add(one.number)
                self._new_cuts.append((one.number, one.first, one.count))
        self._check_means(starved)
        cuts, self._new_cuts = self._new_cuts, []
        retired, self._retired = self._retired, []
        if blocks or cuts or retired or tries:
            written = self._job.journal.dispatch(self._job.plan.id, blocks=blocks, cuts=cuts, retired=retired, tries=tries)
            if self._job.plan.kind != CALLS:
                await asyncio.wrap_future(written)
                for one in assigned:
                    spool.saved(one.first, one.count)
        for one, peer, call, unit in ready:
            if one.lane not in self._job.lanes.peers:
                self._job.purse.release((one.number, one.lane))
            elif self._is_stale(one, call):
                continue
            elif unit.content is None and not unit.stored:
                self._ask(one, peer, call)
            else:
                self._spawn(self._bring_and_ask(one, peer, call, unit))

    def _halve(self, one: Assign, unit: Unit) -> None:
        """A unit would read more stored files than it may."""
        job = self._job
        effects = job.scheduler.too_much(one.number, one.lane)
        if not effects:
            text = f"item {one.first} names {len(unit.stored)} stored files: an item names {MOST_PARTS} at most"
            job.fail(InvalidInput(text, index=one.first))
        job.answers.apply(effects, [])
        job.poke()

    def _check_means(self, starved: set[bytes]) -> None:
        """End the job when nothing is in flight and the budget buys no unit: on these channels, and on none that it leaves more for."""
        now, job = time.monotonic(), self._job
        if not starved or not job.purse.idle or job.auditing.judges:
            self._starved_since = None
            return
        self._starved_since = self._starved_since or now
        if not self._is_better_off(starved) or now - self._starved_since > STARVED_SECONDS:
            job.fail(job.out_of_money())

    def _is_better_off(self, channels: Collection[bytes]) -> bool:
        """Whether the budget has more left for some lane than for those on these channels, on which it buys nothing now."""
        purse, peers = self._job.purse, self._job.lanes.peers
        most = max((purse.left_on(channel) or 0 for channel in channels), default=0)
        return any((purse.left_on(peers[key].terms.channel) or 0) > most for key in self._job.scheduler.lanes if key in peers)

    def _stage(self, key: str) -> int:
        """See `cuts.Lane.stage`."""
        lane = self._job.scheduler.lanes.get(key)
        return 0 if lane is None else lane.stage

    def _is_stale(self, one: Assign, call: UnitCall) -> bool:
        """Whether other prices were agreed since the unit was made: then it is made again, and this one never asked for."""
        terms = self._job.lanes.terms(one.lane)
        if terms is not None and terms.prices == call.asked.prices:
            return False
        self._job.purse.release((one.number, one.lane))
        self._job.scheduler.released(one.number, one.lane)
        self._job.poke()
        return True

    def _let_go(self) -> None:
        """Those who were asked before a restart do not come: their units go to anybody."""
        for rows in self._asked_before.values():
            for row in rows:
                self._job.scheduler.unhold(row.number)
        self._asked_before.clear()

    def may_have_answers(self, peer: Peer) -> bool:
        """Whether a provider was asked for units before a restart, or before all were away."""
        return peer.terms.channel in self._asked_before

    def reclaim(self, peer: Peer) -> None:
        """Ask a provider again for the units it was asked for before a restart: what it did is not done twice."""
        rows = self._asked_before.pop(peer.terms.channel, [])
        if rows:
            self._spawn(self._ask_again(peer, rows))

    def takes_over(self, peer: Peer, row: TryRow) -> bool:
        """Ask a provider again for a unit whose receipt waits there, if the job has no answer yet: it may have it elsewhere meanwhile."""
        if self._may_ask_again(row, peer, done=True) is None:
            return False
        self._spawn(self._ask_again(peer, [row], done=True))
        return True

    def _may_ask_again(self, row: TryRow, peer: Peer, *, done: bool) -> Cut | None:
        """The cut, if it is kept for whoever comes or, where the answer is there already (`done`), if it has none of this provider."""
        cut, lane = self._job.scheduler.cuts.get(row.number), self._job.scheduler.lanes.get(peer.device)
        if cut is None or lane is None or lane.key in cut.tries or lane.key in cut.answered:
            return None
        return cut if cut.held or (done and cut.takes(lane, self._job.scheduler.lanes)) else None

    async def _ask_again(self, peer: Peer, rows: Sequence[TryRow], *, done: bool = False) -> None:
        for row in rows:
            cut = self._may_ask_again(row, peer, done=done)
            if cut is None:
                continue
            items = await self._job.spool.load(cut.first, cut.count)
            if self._may_ask_again(row, peer, done=done) is None:
                continue
            limits = replace(self._job.plan.limits, fuel=row.fuel)
            unit = make_unit(self._job.plan, peer.terms.engine, cut.first, items, limits, row.prices)
            if unit.id != row.unit:
                self._job.scheduler.unhold(row.number)
                continue
            amount = unit_amount(row.prices, row.fuel, limits.memory, unit.size + limits.output)
            self._job.purse.reserve((row.number, peer.device), amount, peer.terms.channel)
            self._job.scheduler.adopt(row.number, peer.device, time.monotonic())
            cut.fuel = cut.fuel or row.fuel
            call = UnitCall(self._job, self._job.plan.id, row.number, peer.device, "run", unit.body, unit.asked)
            call.lowered, call.stage = row.fuel < self._job.plan.limits.fuel, self._stage(peer.device)
            one = Assign(row.number, cut.first, cut.count, peer.device, copy=False, whole=False)
            if unit.content is None and not unit.stored:
                self._ask(one, peer, call)
            else:
                await self._bring_and_ask(one, peer, call, unit, again=True)

    def _ask(self, one: Assign, peer: Peer, call: UnitCall) -> None:
        """Ask, unless the unit was paid there while nobody here waited for it: who has forgotten it would do it anew, and bill it."""
        if peer.payer.has_paid(call.asked.subject):
            self._job.purse.release((one.number, one.lane))
            self._spawn(recall(self._job, one, peer, call))
        else:
            peer.ask(call)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._job.fail(error)

    async def _bring_and_ask(self, one: Assign, peer: Peer, call: UnitCall, unit: Unit, *, again: bool = False) -> None:
        """A unit whose input is too large for its call, or that reads stored files: that goes first, once.

        `again`: it has the prices it was asked at before.
        """
        job = self._job
        try:
            if unit.content is not None:
                await job.lanes.preparation.provide(peer, [(unit.content, unit.size)], {unit.content: lambda: cut(unit.parts, MAX_CHUNK)})
            if unit.stored:
                self._starts(one, math.inf)
                await job.bringing.bring(peer, unit.stored)
                self._starts(one, time.monotonic())
        except Refused as error:
            job.unit_refused(call, error.refusal)
        except InvalidInput as error:
            job.fail(error)
        except SurgeError as error:
            job.say(f"what a unit reads did not reach {peer.device}: {error}")
            job.purse.release((one.number, one.lane))
            job.scheduler.released(one.number, one.lane, now=time.monotonic(), rest=STARVED_REST)
            if isinstance(error, NotEnough):
                self._check_means({peer.terms.channel})
            elif isinstance(error, Unreadable):
                job.fail(error)
            elif peer.is_open:
                job.lanes.give_up(peer, error)
            job.poke()
        else:
            if again or not self._is_stale(one, call):
                self._ask(one, peer, call)

    def _starts(self, one: Assign, now: float) -> None:
        if (cut := self._job.scheduler.cuts.get(one.number)) is not None:
            cut.starts(one.lane, now)
