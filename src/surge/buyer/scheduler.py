"""Which provider gets which items next: the pure core of a job's scheduling.

The scheduler holds no clock, does no I/O and knows no messages. It is told what happened (items arrived, a unit
finished, a provider left) and answers with effects for the job to carry out. Items are cut into *cuts*, runs of items
that become a unit; a cut may run on several lanes at once (a *lane* is one provider as this job sees it), and the first
to finish is delivered.

What a job returns never depends on how it was cut: a cut of several items with a bad ending is halved until the item is
found.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping

from surge.buyer.cuts import Abandon, Assign, Cut, Deliver, Effect, Fault, Lane, Recut, Try, Withdraw
from surge.buyer.sizes import AIM_SECONDS, believed_seconds, depth_of, size_of
from surge.buyer.stragglers import expected_seconds, most_overdue, silent
from surge.core.standing import IN_VAIN

TRIES = 3
"""Local endings after which an item is the likelier cause than its providers."""

FAILURES_TO_REST = 3
"""Local endings in a row after which a lane rests."""

REST_SECONDS = 5.0
"""How long it rests; doubled with every further ending, up to 16 times."""

WEIGHT = 0.5
"""Weight of the newest measurement in the moving average of seconds per item."""


class Scheduler:
    """The state of one job. `chunk` is a number of items, or 0 for units of about `aim` seconds."""

    def __init__(
        self, *, chunk: int = 0, wall_seconds: float = 120.0, aim: float = AIM_SECONDS, numbers_from: int = 0, copies: int = 1
    ) -> None:
        self.chunk = chunk
        self.copies = copies
        """Answers that every cut gets, each of another operator."""
        self.aim = aim
        self.wall_seconds = wall_seconds
        self.available = 0
        """Items that are there to be cut."""
        self.exhausted = False
        """Whether no more will come."""
        self.bytes_per_item = 0.0
        self.lanes: dict[str, Lane] = {}
        self.cuts: dict[int, Cut] = {}
        """Cuts that are not done."""
        self.done_items = 0
        self.seconds: float | None = None
        """Seconds per item over all lanes."""
        self.largest = 0
        """Items in the largest cut that finished."""
        self.most = 1 << 62
        """Items in a cut, at most."""
        self.holders: dict[int, Collection[str]] = {}
        """By item: lanes that have a part of what it reads."""
        self._next = 0
        self._number = numbers_from
        self._waiting: list[tuple[int, int]] = []

    # What happened

    def items_arrived(self, count: int, size: int = 0) -> None:
        """`count` more items can be cut; `size` bytes of input they are together."""
        if count:
            self.bytes_per_item += (size / count - self.bytes_per_item) * count / (self.available + count)
            self.available += count

    def items_ended(self) -> None:
        """No more items will come."""
        self.exhausted = True

    def restore(self, done: Iterable[tuple[int, int]], open_cuts: Iterable[tuple[int, int, int]]) -> None:
        """Go on from a journal: `done` are (first, count) with results, `open_cuts` (number, first, count) without."""
        covered = list(done)
        self.done_items = sum(count for _, count in covered)
        for number, first, count in open_cuts:
            self.cuts[number] = Cut(number, first, count, wanted=self.copies)
            heapq.heappush(self._waiting, (first, number))
            covered.append((first, count))
            self._number = max(self._number, number + 1)
        at = 0
        for first, count in sorted(covered):
            if first > at:
                self._add_cut(at, first - at)
            at = max(at, first + count)
        self._next = at

    def hold(self, number: int) -> None:
        """Keep a restored cut for the lane that was asked for it before."""
        self.cuts[number].held = True

    def unhold(self, number: int) -> None:
        """That lane does not come: anybody may have the cut."""
        cut = self.cuts.get(number)
        if cut is not None and cut.held:
            cut.held = False
            heapq.heappush(self._waiting, (cut.first, number))

    def adopt(self, number: int, key: str, now: float) -> None:
        """The lane is asked again for a cut that it was asked for before."""
        cut, lane = self.cuts[number], self.lanes[key]
        cut.held = False
        cut.begin(lane, Try(now, None, len(lane.running), again=True))
        self._wait(cut)

    def lane_joined(self, lane: Lane) -> None:
        """A provider can be given units."""
        self.lanes[lane.key] = lane

    def lane_back(self, key: str, now: float) -> None:
        """The lane can be reached again. It is asked anew for what it had: how long that took before, or takes now, says nothing."""
        lane = self.lanes[key]
        lane.ready, lane.back_at = True, now
        for number in lane.running:
            if number in self.cuts:
                attempt = self.cuts[number].tries[key]
                attempt.started, attempt.again = now, True

    def slept(self, seconds: float) -> None:
        """Nothing was looked at for so long, as this machine was stopped: that time counts against no lane, and for none."""
        for cut in self.cuts.values():
            for attempt in cut.tries.values():
                attempt.started += seconds
                attempt.again = True

    def lane_left(self, key: str) -> list[Effect]:
        """The provider is gone for good: what it had goes to others."""
        lane = self.lanes.pop(key, None)
        if lane is not None:
            for number in lane.running:
                self._give_back(number, key)
        return []

    def released(self, number: int, key: str, *, now: float = 0.0, rest: float = 0.0) -> None:
        """The lane did not take the unit (busy, draining, no room): nobody is at fault. It rests for `rest` seconds."""
        self._end_try(number, key)
        if rest and key in self.lanes:
            self.lanes[key].rests_until = max(self.lanes[key].rests_until, now + rest)
        self._give_back(number, key)

    def too_much(self, number: int, key: str) -> list[Effect]:
        """The cut reads more than a unit may: it is halved, and none is so large any more. One item alone is what it is."""
        self._end_try(number, key)
        cut = self.cuts.get(number)
        if cut is None or cut.count == 1:
            return []
        self.most = min(self.most, max(1, cut.count // 2))
        return self._halve(cut)

    def answered(self, number: int, key: str, *, now: float, seconds: float) -> None:
        """The lane gave an answer that waits to be judged: by `finished`, `ended_badly` or `rejected`."""
        self._answered(number, key, now, seconds)
        if (cut := self.cuts.get(number)) is not None:
            cut.answered[key] = self.lanes[key].operator if key in self.lanes else ""

    def ask_another(self, number: int) -> None:
        """An answer is not enough for this cut: one more operator is asked."""
        if (cut := self.cuts.get(number)) is not None:
            cut.wanted = max(cut.wanted, len(cut.tries) + len(cut.answered)) + 1
            self._wait(cut)

    def rejected(self, number: int, key: str) -> None:
        """The lane's answer is wrong: its operator gets the cut no more, and others do it."""
        if (cut := self.cuts.get(number)) is not None and key in cut.answered:
            cut.barred.add(cut.answered.pop(key))
            cut.wanted = max(self.copies, len(cut.answered) + 1)
            self._wait(cut)

    def reopen(self, first: int, count: int, operator: str) -> tuple[int, int, int]:
        """Results of these items are doubted: they are computed again, by others than this operator. Returns (number, first, count)."""
        self.done_items -= count
        cut = self._add_cut(first, count)
        cut.barred.add(operator)
        return cut.number, first, count

    def is_stuck(self, number: int) -> bool:
        """Whether a cut waits for an answer that none of the lanes could give: their operators gave theirs, or it ended locally there."""
        cut = self.cuts.get(number)
        return cut is not None and cut.is_stuck(self.lanes)

    def finished(self, number: int, key: str, *, now: float, seconds: float) -> list[Effect]:
        """The lane gave a result that was accepted; `seconds` is what the device says it took."""
        cut = self.cuts.get(number)
        if cut is None or key not in cut.answered:
            self._answered(number, key, now, seconds)
        if cut is None:
            return []
        self._close(cut)
        self.largest = max(self.largest, cut.count)
        self.done_items += cut.count
        return [Deliver(number, cut.first, cut.count, key), *(Withdraw(number, other) for other in cut.tries)]

    def ended_badly(self, number: int, key: str, *, lowered: bool = False) -> list[Effect]:
        """The unit trapped or met a limit, provably. `lowered`: it ran out of a fuel limit below the user's own."""
        cut = self.cuts.get(number)
        if cut is None or key not in cut.answered:
            self._end_try(number, key)
            if (lane := self.lanes.get(key)) is not None:
                lane.failures = lane.refusals = 0
                lane.done += 1
        if cut is None:
            return []
        if cut.count > 1:
            return self._halve(cut)
        if lowered and not cut.whole:
            cut.whole, cut.fuel, cut.took = True, None, None
            cut.answered.clear()
            self._give_back(number, key)
            return []
        self._close(cut)
        self.done_items += 1
        return [Fault(number, cut.first, key), *(Withdraw(number, other) for other in cut.tries)]

    def uncovered(self, number: int, key: str, *, split: bool) -> list[Effect]:
        """The lane does no more of the unit before it is paid: nobody is at fault. `split`: of fewer items it does."""
        cut = self.cuts.get(number)
        if cut is None or cut.count < 2 or cut.answered or not split:
            self.released(number, key)
            return []
        self._end_try(number, key)
        return self._halve(cut)

    def ended_locally(self, number: int, key: str, *, now: float, split: bool = False) -> list[Effect]:
        """The unit ended in a way that proves nothing. `split`: fewer items at once may help (wall time, host memory)."""
        self._end_try(number, key)
        lane = self.lanes.get(key)
        if lane is not None:
            lane.failures += 1
            if lane.failures >= FAILURES_TO_REST:
                lane.rests_until = now + REST_SECONDS * 2 ** min(lane.failures - FAILURES_TO_REST, 4)
        useless: list[Effect] = [Abandon(key)] if lane is not None and self._is_useless(lane) else []
        cut = self.cuts.get(number)
        if cut is None:
            return useless
        cut.endings += 1
        cut.avoid.add(key)
        if cut.answered:  # others did it: their answers wait for another, or to be judged without
            self._give_back(number, key)
            return useless
        if cut.count > 1 and (split or cut.endings >= TRIES):
            return self._halve(cut) + useless
        if cut.endings >= TRIES:
            self._close(cut)
            self.done_items += 1
            return [Fault(number, cut.first, key), *(Withdraw(number, other) for other in cut.tries), *useless]
        self._give_back(number, key)
        return useless

    def tick(self, now: float) -> list[Effect]:
        """Look for lanes that show nothing for too long. Call it some times a second."""
        return [Abandon(key) for key in silent(self.lanes, self.cuts, self.wall_seconds, now)]

    # What to do

    @property
    def finished_all(self) -> bool:
        """Whether every item has its result."""
        return self.exhausted and self._next >= self.available and not self.cuts

    @property
    def unfinished_from(self) -> int:
        """The first item without a result or, at the end, the number of items."""
        return min((cut.first for cut in self.cuts.values()), default=self._next)

    @property
    def uncut_from(self) -> int:
        """The first item that is in no cut yet."""
        return self._next

    def wanted(self) -> int:
        """Items that should be there beyond those cut, so that no lane waits for input: two rounds of every lane."""
        return 2 * sum(self._size(lane, math.inf) * depth_of(lane, self.chunk) for lane in self.lanes.values()) + 16

    def assign(self, now: float, room: Mapping[str, int]) -> list[Assign]:
        """Fill every lane that has room: `room` is what each lane's window still takes."""
        left = {
            key: min(room.get(key, 0), depth_of(lane, self.chunk) - len(lane.running))
            for key, lane in self.lanes.items()
            if lane.ready and now >= lane.rests_until
        }
        effects: list[Assign] = []
        lanes = [self.lanes[key] for key, free in left.items() if free > 0]
        while lanes:
            holders = self.holders.get(self._next, ())
            lane = min(lanes, key=lambda lane: lane.rank(holders))
            chosen = self._choose(lane, now)
            if chosen is None:
                lanes.remove(lane)
                continue
            copy = bool(chosen.tries)
            ahead = len(lane.running)
            chosen.begin(lane, Try(now, expected_seconds(lane, chosen.count, ahead, self.seconds), ahead))
            self._wait(chosen)
            effects.append(Assign(chosen.number, chosen.first, chosen.count, lane.key, copy, chosen.whole))
            left[lane.key] -= 1
            if left[lane.key] <= 0:
                lanes.remove(lane)
        return effects

    # Inside

    def _choose(self, lane: Lane, now: float) -> Cut | None:
        """The cut that this lane should take next: one that waits, a fresh one, or a copy of a straggler."""
        passed: list[tuple[int, int]] = []
        found: Cut | None = None
        while self._waiting:
            entry = heapq.heappop(self._waiting)
            cut = self.cuts.get(entry[1])
            if cut is None or cut.lacks <= 0 or cut.held:
                continue
            if (
                not cut.takes(lane, self.lanes)
                or lane.key in cut.tries
                or (lane.key in cut.avoid and any(other.ready and key not in cut.avoid for key, other in self.lanes.items()))
            ):
                passed.append(entry)
                continue
            found = cut
            break
        for entry in passed:
            heapq.heappush(self._waiting, entry)
        if found is None and self._next < self.available:
            found = self._fresh(lane)
        return found or most_overdue(lane, self.lanes, self.cuts, self.seconds, now)

    def _fresh(self, lane: Lane) -> Cut:
        count = self._size(lane, self.available - self._next)
        cut = Cut(self._number, self._next, count, wanted=self.copies)
        self._number += 1
        self._next += count
        self.cuts[cut.number] = cut
        return cut

    def _size(self, lane: Lane, left: float) -> int:
        """Items of the next fresh cut on this lane when `left` items are uncut."""
        if self.chunk:
            return int(min(self.chunk, left, self.most))
        aim, each = self.aim, self.bytes_per_item
        return min(self.most, size_of(lane, left, self.lanes, aim=aim, seconds=self.seconds, largest=self.largest, bytes_per_item=each))

    def _is_useless(self, lane: Lane) -> bool:
        """Whether a lane never gave a result, and others give some: it is the lane, not the job."""
        return not lane.done and lane.failures >= IN_VAIN and any(other.done for other in self.lanes.values())

    def _measured(self, lane: Lane, count: int, seconds: float) -> None:
        lane.unit_seconds += WEIGHT * (seconds - lane.unit_seconds) if lane.unit_seconds else seconds
        each = seconds / count
        for state in (lane, self):
            state.seconds = each if state.seconds is None else state.seconds + WEIGHT * (each - state.seconds)

    def _answered(self, number: int, key: str, now: float, seconds: float) -> None:
        attempt = self._end_try(number, key)
        cut, lane = self.cuts.get(number), self.lanes.get(key)
        if lane is not None:
            lane.failures = lane.refusals = 0
            lane.done += 1
            if attempt is not None and cut is not None and not attempt.again:
                self._measured(lane, cut.count, believed_seconds(seconds, now - attempt.started, attempt.ahead))

    def _end_try(self, number: int, key: str) -> Try | None:
        if (lane := self.lanes.get(key)) is not None:
            lane.running.discard(number)
        cut = self.cuts.get(number)
        return cut.tries.pop(key, None) if cut is not None else None

    def _give_back(self, number: int, key: str) -> None:
        if (cut := self.cuts.get(number)) is not None:
            cut.tries.pop(key, None)
            self._wait(cut)

    def _wait(self, cut: Cut) -> None:
        """Let lanes take the cut, where it lacks an answer."""
        if cut.lacks > 0:
            heapq.heappush(self._waiting, (cut.first, cut.number))

    def _add_cut(self, first: int, count: int, *, avoid: Iterable[str] = ()) -> Cut:
        cut = Cut(self._number, first, count, avoid=set(avoid), wanted=self.copies)
        self._number += 1
        self.cuts[cut.number] = cut
        heapq.heappush(self._waiting, (first, cut.number))
        return cut

    def _halve(self, cut: Cut) -> list[Effect]:
        self._close(cut)
        half = cut.count // 2
        parts = (self._add_cut(cut.first, half), self._add_cut(cut.first + half, cut.count - half))
        recut = Recut(cut.number, tuple((part.number, part.first, part.count) for part in parts))
        return [recut, *(Withdraw(cut.number, other) for other in cut.tries)]

    def _close(self, cut: Cut) -> None:
        """The cut is done; lanes that still run it stay occupied until they say so."""
        del self.cuts[cut.number]
