"""Putting an object: segment by segment, its shards to their holders, pledges back, and then the map and the name.

A put that was cut off goes on: the object's keys and every deal are on disk before anything leaves, and the same keys, deals and bytes give
the same shards, so that a holder that has half of one gets the other half. A device that fails is replaced by another; who is slow beyond
all others is left out, as long as enough others have pledged.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from surge.core.messages.fields import wei_bytes
from surge.core.messages.storage import Open
from surge.core.storage.catalogue import Keys
from surge.core.storage.chunks import Chunks
from surge.core.storage.header import Header
from surge.core.storage.layout import SegmentLayout
from surge.core.storage.masks import Place, segment_tag
from surge.core.storage.placement import Candidate, place
from surge.core.types import Address
from surge.errors import InvalidInput, SurgeError, Unavailable
from surge.storage.client import Storage
from surge.storage.coding import CodedShard, code_segment, moved
from surge.storage.deals import Term, pledge_of
from surge.storage.journal import DROPPED, KEPT, LOST, OPENING, DealRow, FilesJournal
from surge.storage.packing import Content
from surge.storage.releasing import release

log = logging.getLogger("surge.storage")

AT_ONCE: Final = 2
"""Segments under way: one is coded while the other travels. Each takes half as much memory again as it has bytes."""

PATIENCE: Final = 4.0
"""Once enough have pledged, the others get so many times the time that those took,"""

LEAST_PATIENCE: Final = 5.0
"""and so many seconds at least;"""

SHUNNED_PATIENCE: Final = 1.0
"""so many, when they let others wait or failed a short while ago."""

FINISH_SECONDS: Final = 5.0
"""How long those who failed are given to say that they dropped their shards."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is put, and how."""

    keys: Keys
    header: Header
    term: Term
    candidates: Sequence[Candidate]
    """Devices that may be used."""
    max_price: int | None
    """Wei for a gigabyte over a month, at most."""


def enough(k: int, n: int) -> int:
    """Shards that must be pledged before a put counts as done: half of those that may be missing are there. The keeper adds the others."""
    return k + (n - k + 1) // 2


class Putting:
    """Puts the segments of one object. `told` hears how many bytes of plaintext are safe."""

    def __init__(self, storage: Storage, plan: Plan, content: Content, told: Callable[[int], None]) -> None:
        self._storage = storage
        self._plan = plan
        self._content = content
        self._told = told
        self._layout = plan.header.layout
        self._chunks = Chunks(plan.keys.content, plan.keys.object)
        self._safe = 0
        self._begun = -1
        """The last segment that was begun before."""

    async def run(self) -> None:
        """Put all segments that are not safe yet. Raises what kept one from it; what is safe stays, and the next try goes on from there."""
        gate = asyncio.Semaphore(AT_ONCE)
        self._begun = max((each.segment for each in await self.journal.deals(object=self._plan.keys.object)), default=-1)

        async def one(number: int) -> None:
            try:
                await self._segment(number)
                self._safe += self._layout.segment(number).plain
                self._told(self._safe)
            finally:
                gate.release()

        tasks: list[asyncio.Task[None]] = []
        try:
            for number in range(self._layout.segments):
                await gate.acquire()
                for task in tasks:
                    if task.done():
                        task.result()
                tasks = [task for task in tasks if not task.done()]
                tasks.append(asyncio.create_task(one(number)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _segment(self, number: int) -> None:
        """Put one segment.

        1. Deals that were begun before are gone on with, one for each shard, those that failed too: the same deal gives the same shard.
           The others are released, or what may be left of them is avoided: a holder takes no second shard of a segment. Where enough are
           kept it is safe, and only if it was under way when the put was cut off are the others waited for as in any put.
        2. New deals go to devices drawn by lot.
        3. The shards are made, and all deals are on disk.
        4. They travel; a device that fails is replaced.
        """
        layout, journal = self._layout.segment(number), self._storage.journal
        # 1
        begun = await journal.deals(object=self._plan.keys.object, segment=number)
        going = self._gone_on_with(begun)
        kept = sum(each.state == KEPT for each in going.values())
        if kept == layout.n or (kept >= enough(layout.k, layout.n) and number + AT_ONCE <= self._begun):
            return
        taken = {each.id for each in going.values()}
        over = [each for each in begun if each.state != DROPPED and each.id not in taken]
        if over:
            await release(self._storage, self._plan.keys, over)
        left = {
            each.operator
            for each in await journal.deals(object=self._plan.keys.object, segment=number)
            if each.state == LOST and each.id not in taken and each.until > self._plan.term.starts
        }
        # 2
        deals = self._places(number, layout, going, left)
        # 3
        places = [Place(self._plan.keys.object, number, index, Address(deals[index].device), deals[index].id) for index in range(layout.n)]
        shards = await asyncio.to_thread(self._coded, layout, places, number * self._plan.header.segment_size)
        rows = [replace(deals[index], root=shard.root, digest=shard.check) for index, shard in enumerate(shards)]
        await journal.put_deals([row for row in rows if row.state == OPENING])
        # 4
        travel = _Travel(self, number, layout, rows, shards)
        del shards  # each goes when it is kept
        await travel.run()

    def _gone_on_with(self, begun: Sequence[DealRow]) -> dict[int, DealRow]:
        """The deal of each shard that is gone on with: the one that is kept, or that may have come, or that failed and may do now."""
        there = {each.device for each in self._plan.candidates}
        going: dict[int, DealRow] = {}
        for state in (KEPT, OPENING, LOST):
            for deal in begun:
                known = {each.operator for each in going.values()}
                if deal.state != state or deal.shard in going or deal.operator in known:
                    continue
                if state == KEPT or (deal.device in there and deal.until > self._plan.term.starts):
                    going[deal.shard] = deal if state == KEPT else replace(deal, state=OPENING)
        return going

    async def finish(self) -> None:
        """Release what came of deals that are not in the map: those who failed, or were too slow, may have a shard all the same."""
        over = [each for each in await self.journal.deals(object=self._plan.keys.object) if each.state in (OPENING, LOST)]
        if over:
            try:
                async with asyncio.timeout(FINISH_SECONDS):
                    await release(self._storage, self._plan.keys, over)
            except TimeoutError:
                log.info("some who failed were not told to drop their shards: they are not paid for them")

    def _coded(self, layout: SegmentLayout, places: list[Place], offset: int) -> list[CodedShard]:
        with self._content.reading(offset) as fill:
            return code_segment(layout, self._chunks, self._plan.keys.mask, places, fill)

    def _places(self, number: int, layout: SegmentLayout, going: dict[int, DealRow], left: set[Address]) -> dict[int, DealRow]:
        """Deals for all shards; none new with operators that may have one `left`."""
        plan = self._plan
        there = {each.device: each for each in plan.candidates}
        kept = [there.get(deal.device) or Candidate(deal.device, deal.operator) for deal in going.values()]
        fresh = [each for each in plan.candidates if each.operator not in left]
        seed = plan.keys.mask + number.to_bytes(4, "big")
        missing = [index for index in range(layout.n) if index not in going]
        found: list[Candidate] = []
        for those in ([each for each in fresh if not self.shunned(each.device)], fresh):
            if len(found) < len(missing):
                found = place(those, seed, layout.k, layout.n, layout.shard, wanted=len(missing), kept=kept)
        if len(found) < len(missing):
            have = len(found) + len(going)
            raise Unavailable(
                f"a segment needs {layout.n} devices of as many operators, and {have} can take a part of it"
                + (f", beside {len(left)} that failed and may have one still" if left else "")
                + ": try again when more offer storage, or put it with a smaller code",
                have=have,
                needed=layout.n,
            )
        return going | {index: self.deal(number, index, layout.shard, each) for index, each in zip(missing, found, strict=True)}

    def deal(self, number: int, index: int, size: int, candidate: Candidate) -> DealRow:
        """A new deal with a device."""
        term = self._plan.term
        return DealRow(
            id=secrets.token_bytes(32),
            object=self._plan.keys.object,
            segment=number,
            shard=index,
            device=candidate.device,
            operator=candidate.operator,
            root=b"",
            digest=b"",
            size=size,
            price=candidate.price,
            penalty=term.penalty,
            starts=term.starts,
            until=term.until,
            ends=term.ends,
            paid=term.starts,
            signature=None,
            state=OPENING,
        )

    def candidates(self, layout: SegmentLayout, number: int, used: Sequence[Candidate]) -> list[Candidate]:
        """Further devices for a segment, in the order in which they are tried."""
        seed = self._plan.keys.mask + number.to_bytes(4, "big") + b"again"
        return place(self._plan.candidates, seed, layout.k, layout.n, layout.shard, wanted=len(self._plan.candidates), kept=used)

    def failed(self, deal: DealRow, error: SurgeError) -> None:
        """A device did not take its shard."""
        log.info("%s takes no shard: %s", deal.device, error)
        self._storage.fleet.failed(deal.device, error)

    def late(self, deal: DealRow) -> None:
        """A device let the others wait."""
        log.info("%s is not waited for", deal.device)
        self._storage.fleet.late(deal.device)

    def shunned(self, device: Address) -> bool:
        """Whether a device failed or let others wait a short while ago."""
        return self._storage.fleet.is_shunned(device)

    @property
    def journal(self) -> FilesJournal:
        """Where deals are kept."""
        return self._storage.journal

    @property
    def mask(self) -> bytes:
        """The object's mask secret."""
        return self._plan.keys.mask

    async def bring(self, deal: DealRow, shard: CodedShard) -> DealRow:
        """Bring one shard to its holder; the deal with its pledge, which is on disk."""
        return await bring(self._storage, self._plan.keys, deal, shard)


async def bring(storage: Storage, keys: Keys, deal: DealRow, shard: CodedShard) -> DealRow:
    """Bring one shard of an object to its holder; the deal with its pledge, which is on disk."""
    holder = await storage.fleet.holder(deal.device)
    asked = Open(
        deal=deal.id,
        size=deal.size,
        root=deal.root,
        owner=storage.owner,
        keeper=keys.author,
        tag=segment_tag(keys.mask, keys.object, deal.segment),
        price=wei_bytes(deal.price),
        penalty=wei_bytes(deal.penalty),
        starts=deal.starts,
        until=deal.until,
        ends=deal.ends,
    )
    signature = await holder.put(asked, shard.data)
    pledge_of(deal, storage.owner, keys.author).verify(storage.domain, signature)
    kept = replace(deal, signature=signature, state=KEPT)
    await storage.journal.put_deals([kept])
    return kept


class _Travel:
    """The shards of one segment on their way."""

    def __init__(self, putting: Putting, number: int, layout: SegmentLayout, rows: list[DealRow], shards: list[CodedShard]) -> None:
        self._putting = putting
        self._number = number
        self._layout = layout
        self._rows = dict(enumerate(rows))
        self._shards: dict[int, CodedShard] = dict(enumerate(shards))
        self._kept = {index for index, row in self._rows.items() if row.state == KEPT}
        self._used = [Candidate(row.device, row.operator) for row in rows]
        self._tasks: dict[asyncio.Task[DealRow], int] = {}
        self._why: SurgeError | None = None

    async def run(self) -> None:
        """Bring them. Raises `Unavailable` when too few are kept in the end."""
        needed = enough(self._layout.k, self._layout.n)
        began = time.monotonic()
        for index in self._rows:
            if index not in self._kept:
                self._begin(index)
        deadline: float | None = None
        try:
            while self._tasks:
                wait = None if deadline is None else max(0.0, deadline - time.monotonic())
                done, _ = await asyncio.wait(self._tasks, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self._late()
                    break
                for task in done:
                    await self._ended(task)
                if len(self._kept) >= needed:
                    deadline = min(deadline or float("inf"), self._patience(began, time.monotonic()))
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if len(self._kept) < needed:
            raise Unavailable(
                f"{len(self._kept)} of {needed} devices that a segment needs took their part of it"
                + (f": {self._why}" if self._why else ""),
                kept=len(self._kept),
                needed=needed,
            ) from self._why

    def _patience(self, began: float, now: float) -> float:
        """Until when those who are left have time, now that enough have pledged."""
        shunned = self._putting.shunned
        if all(shunned(self._rows[index].device) for index in self._tasks.values()):
            return now + max(SHUNNED_PATIENCE, now - began)
        return now + max(LEAST_PATIENCE, PATIENCE * (now - began))

    def _late(self) -> None:
        for index in self._tasks.values():
            self._putting.late(self._rows[index])

    def _begin(self, index: int) -> None:
        task = asyncio.create_task(self._putting.bring(self._rows[index], self._shards[index]))
        self._tasks[task] = index

    async def _ended(self, task: asyncio.Task[DealRow]) -> None:
        index = self._tasks.pop(task)
        error = task.exception()
        if error is None:
            self._rows[index] = task.result()
            self._kept.add(index)
            del self._shards[index]
        elif isinstance(error, SurgeError) and not isinstance(error, InvalidInput):
            self._why = error
            self._putting.failed(self._rows[index], error)
            await self._replace(index)
        else:
            raise error

    async def _replace(self, index: int) -> None:
        """Give a shard to another device, where there is one."""
        row, journal = self._rows[index], self._putting.journal
        await journal.put_deals([replace(row, state=LOST)])
        others = self._putting.candidates(self._layout, self._number, self._used)
        if not others:
            return
        candidate = others[0]
        self._used.append(candidate)
        fresh = self._putting.deal(self._number, index, self._layout.shard, candidate)
        old = self._shards[index]
        new = Place(old.place.object_id, self._number, index, candidate.device, fresh.id)
        shard = await asyncio.to_thread(moved, old.data, self._putting.mask, old.place, new)
        self._shards[index] = shard
        self._rows[index] = replace(fresh, root=shard.root, digest=shard.check)
        await journal.put_deals([self._rows[index]])
        self._begin(index)
