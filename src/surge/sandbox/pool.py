"""Which worker runs which unit.

A worker is bound to one image, and runs its units one at a time, in order; short units are queued a few deep inside the
worker so that it never waits for this process. There are at most `workers` of them; units in them may reserve at most
`memory` bytes together, for their guests and for output that is larger than usual. Images that have work share the
workers fairly: one with fewer than its share takes over a worker that is idle, or of an image with more than its share,
or, when there are more images than workers, one that has had its turn (`QUANTUM`).

A worker that dies takes one unit with it, the one it was running; those queued behind it run elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from surge.core.units import MAX_MEMORY, Limits
from surge.errors import InternalFault, InvalidInput, Unavailable
from surge.sandbox.member import Member
from surge.sandbox.protocol import Done, UnitRequest
from surge.sandbox.scratch import Scratch

QUANTUM: Final = 1.0
"""Seconds an image keeps a worker that another image without any is waiting for."""

GIVEN_UP: Final = 1.0
"""Seconds a running unit has to end once nobody waits for it; starting another worker costs a fifth of that."""

USUAL_OUTPUT: Final = 64 << 20
"""Bytes of output that any unit may have; more is held in a worker's own memory, and set aside like the guest's."""

MAX_FAILED_STARTS: Final = 2
"""Workers of an image that may fail to start, one after another, before its units fail."""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """What a worker of an image is started with."""

    image: bytes
    compiled: Path
    stdlib: Path | None = None
    """The standard library's zip, for the Python image."""


@dataclass(slots=True, eq=False)
class Job:
    """One unit on its way."""

    request: UnitRequest
    limits: Limits
    future: asyncio.Future[Ran]
    order: int
    reserves: int
    """Bytes of memory that are set aside while it runs."""
    inputs: tuple[tuple[Path, int], ...] = ()
    """Files that travel with the request, and the flags to open each with."""
    held: Mapping[bytes, Path] = field(default_factory=dict)
    """Files the request names by key."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A unit's reply, the file with its output if it was large, and the layers that held around it."""

    done: Done
    spool: Path | None
    layers: tuple[str, ...]


class Pool:
    """All workers of this process. Belongs to the event loop it is used on."""

    def __init__(self, scratch: Scratch, *, workers: int, memory: int) -> None:
        self._scratch = scratch
        self._workers = workers
        self._memory = memory
        self._members: list[Member] = []
        self._queues: dict[bytes, deque[Job]] = {}
        self._images: dict[bytes, ImageFiles] = {}
        self._failed_starts: dict[bytes, int] = {}
        self._orders = 0
        self._closed = False

    async def run(
        self,
        image: ImageFiles,
        request: UnitRequest,
        *,
        inputs: tuple[tuple[Path, int], ...] = (),
        held: Mapping[bytes, Path] | None = None,
    ) -> Ran:
        """Run one unit and wait for its end.

        Raises:
            Unavailable: the pool is closed.
            InvalidInput: the unit wants more memory than all units may have together.
            InternalFault: workers do not start, or a file the unit needs is gone.
        """
        if self._closed:
            raise Unavailable("the sandbox is closed")
        limits = request.limits
        if limits.memory > self._memory:
            raise InvalidInput(f"the unit wants {limits.memory} bytes of memory; this device lends {self._memory}", limit="memory")
        self._orders += 1
        future: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()
        reserves = min(limits.memory + max(0, limits.output - USUAL_OUTPUT), self._memory)
        job = Job(request, limits, future, self._orders, reserves, inputs, held or {})
        self._images[image.image] = image
        self._queues.setdefault(image.image, deque()).append(job)
        self._dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            self._given_up(job)
            raise

    @property
    def members(self) -> list[Member]:
        """The workers as they are now."""
        return list(self._members)

    async def close(self) -> None:
        """End every worker; units that were waiting fail with `Unavailable`."""
        self._closed = True
        for queue in self._queues.values():
            for job in queue:
                if not job.future.done():
                    job.future.set_exception(Unavailable("the sandbox was closed"))
            queue.clear()
        members = self.members
        for member in members:
            member.stop("the sandbox was closed")
        for member in members:
            await member.gone()

    def _given_up(self, job: Job) -> None:
        """Nobody waits for a unit any more: it leaves its queue, or has a moment to end before its worker does."""
        for queue in self._queues.values():
            if job in queue:
                queue.remove(job)
                return
        asyncio.get_running_loop().call_later(GIVEN_UP, self._end_given_up, job)

    def _end_given_up(self, job: Job) -> None:
        for member in self._members:
            if member.jobs and member.jobs[0] is job:
                member.stop("ran a unit nobody waits for")

    # Placing

    def _dispatch(self) -> None:
        """Place every unit that can be placed, the oldest first."""
        for image in sorted((key for key, queue in self._queues.items() if queue), key=self._oldest):
            queue = self._queues[image]
            while queue:
                job = queue[0]
                if job.future.done():
                    queue.popleft()
                    continue
                member = self._member_for(image, len(queue))
                if member is None:
                    break
                reserved = sum(each.reserved for each in self._members)
                if reserved + max(0, job.reserves - member.reserved) > self._memory:
                    return  # whoever comes later waits too, or a large unit would wait for ever
                queue.popleft()
                self._give(member, job)

    def _oldest(self, image: bytes) -> int:
        return self._queues[image][0].order

    def _give(self, member: Member, job: Job) -> None:
        try:
            member.give(job)
        except OSError as wrong:
            job.future.set_exception(InternalFault(f"a file the unit needs cannot be opened: {wrong}"))

    def _member_for(self, image: bytes, waiting: int) -> Member | None:
        """A worker that can take one more unit of this image now; starts or frees one when that helps."""
        mine = [member for member in self._members if member.image.image == image and not member.retiring]
        ready = [member for member in mine if member.ready and len(member.jobs) < member.depth]
        best = min(ready, key=lambda member: len(member.jobs), default=None)
        if best is not None and not best.jobs:
            return best
        coming = sum(1 for member in mine if not member.ready)
        coming += sum(1 for member in self._members if member.successor == image)
        if coming < waiting:
            if len(self._members) < self._workers:
                self._start(image)
            else:
                self._take_over(image, len(mine) + coming)
        return best

    def _start(self, image: bytes) -> None:
        most = min(self._memory, MAX_MEMORY)
        try:
            member = Member(self._images[image], self._scratch, most, self._on_change, self._on_end)
        except OSError as wrong:
            self._fail_start(image, str(wrong))
            return
        self._members.append(member)

    def _take_over(self, image: bytes, have: int) -> None:
        """Have one worker of another image give way to this one, if that is fair."""
        busy = {key for key, queue in self._queues.items() if queue}
        busy |= {member.image.image for member in self._members if member.jobs}
        share = max(1, self._workers // max(1, len(busy)))
        others = [member for member in self._members if member.image.image != image and not member.retiring]
        idle = [member for member in others if not member.jobs and not self._queues.get(member.image.image)]
        if idle:
            self._replace(min(idle, key=lambda member: member.used_at), image)
            return
        if have >= share:
            return
        counts: dict[bytes, int] = {}
        for member in others:
            counts[member.image.image] = counts.get(member.image.image, 0) + 1
        rich = [member for member in others if counts[member.image.image] > share]
        now = asyncio.get_running_loop().time()
        if not rich and have == 0:
            rich = [member for member in others if member.ready and now - member.ready_at >= QUANTUM]
            if not rich and others:
                first = min(member.ready_at if member.ready else now for member in others)
                asyncio.get_running_loop().call_at(first + QUANTUM, self._dispatch)
        if rich:
            self._replace(min(rich, key=lambda member: (len(member.jobs), member.ready_at)), image)

    def _replace(self, member: Member, image: bytes) -> None:
        member.successor = image
        member.retiring = True
        if not member.jobs:
            member.stop("gave way to another image")

    # What workers tell

    def _on_change(self, member: Member) -> None:
        """A worker became ready, or has room for a unit."""
        if member.ready:
            self._failed_starts.pop(member.image.image, None)
        if member.retiring and not member.jobs:
            member.stop("gave way to another image")
            return
        self._dispatch()

    def _on_end(self, member: Member, reason: str, lost: Job | None, waiting: list[Job]) -> None:
        """A worker is gone: its running unit is lost, the ones behind it go back to the front of the queue."""
        self._members.remove(member)
        image = member.image.image
        if lost is not None and not lost.future.done():
            lost.future.set_result(Ran(member.lost(reason), None, member.layers))
        self._queues.setdefault(image, deque()).extendleft(reversed(waiting))
        if self._closed:
            return
        if not member.ready and not member.retiring:
            self._fail_start(image, reason)
        if member.successor is not None and self._queues.get(member.successor):
            self._start(member.successor)
        self._dispatch()

    def _fail_start(self, image: bytes, reason: str) -> None:
        failed = self._failed_starts[image] = self._failed_starts.get(image, 0) + 1
        if failed < MAX_FAILED_STARTS:
            return
        del self._failed_starts[image]
        queue = self._queues.get(image, deque())
        while queue:
            job = queue.popleft()
            if not job.future.done():
                job.future.set_exception(InternalFault(f"a worker does not start: {reason}", image=image.hex()))
