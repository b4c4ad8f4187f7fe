"""One worker of the pool: its process, what it runs, what it holds, and how long it may take."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from surge.core.units import EMPTY, Status
from surge.sandbox.claims import false_claim
from surge.sandbox.process import WorkerProcess
from surge.sandbox.protocol import SPOOLS, Done, Hold, Load, Ready, Refused, Release, Reply, Spool
from surge.sandbox.scratch import Scratch

if TYPE_CHECKING:
    from surge.sandbox.pool import ImageFiles, Job

START_SECONDS: Final = 30.0
"""A worker that is not ready by then is ended."""

IDLE_SECONDS: Final = 60.0
"""A worker without work keeps its memory for so long; another takes a fifth of a second to start."""

GRACE: Final = 5.0
"""Seconds past its wall-time limit that a unit's worker has to notice by itself, before it is ended."""

MAX_HELD: Final = 8
"""Shared files a worker keeps mapped beyond those that its units need."""

WITNESS_SECONDS: Final = 60.0
"""Seconds more for a unit whose witness is asked for: hashing 4 GiB takes some."""

DEPTHS: Final = ((0.02, 4), (0.2, 2))
"""Mean seconds of a unit, and how many may then be queued in a worker; longer ones run one by one."""


class Member:
    """A worker process bound to an image."""

    def __init__(
        self,
        image: ImageFiles,
        scratch: Scratch,
        memory: int,
        on_change: Callable[[Member], None],
        on_end: Callable[[Member, str, Job | None, list[Job]], None],
    ) -> None:
        """Start it.

        Raises:
            OSError: the process cannot be started, or the image's files cannot be opened.
        """
        self.image = image
        self.jobs: deque[Job] = deque()
        """Units inside the worker; the first is running once it is ready."""
        self.ready = False
        self.retiring = False
        """Takes no more units."""
        self.successor: bytes | None = None
        """The image that gets this worker's place."""
        self.layers: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self.ready_at = self.used_at = self._loop.time()
        self._mean: float | None = None
        self._on_change = on_change
        self._on_end = on_end
        self._scratch = scratch
        self._spools: deque[Path] = deque()
        self._held: OrderedDict[bytes, None] = OrderedDict()
        self._deadline = self.ready_at + START_SECONDS
        self._overdue = Status.WORKER_LOST
        self._process = WorkerProcess(self._replied, self._ended)
        self.pid = self._process.pid
        self._timer = self._loop.call_at(self._deadline, self._look)
        try:
            self._load(memory)
        except OSError as wrong:
            self.stop(f"cannot be given its image: {wrong}")

    def _load(self, memory: int) -> None:
        paths = [self.image.compiled, *([self.image.stdlib] if self.image.stdlib else [])]
        descriptors: list[int] = []
        try:
            descriptors += [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
            for _ in range(SPOOLS):
                descriptors.append(self._new_spool())
            python = self.image.stdlib is not None
            request = Load(image=self.image.image, python=python, memory=memory, fds=len(descriptors))
            self._process.send(request, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)

    def _new_spool(self) -> int:
        fd, path = self._scratch.file()
        self._spools.append(path)
        return fd

    @property
    def depth(self) -> int:
        """How many units may be queued in this worker now."""
        if self._mean is None:
            return 1
        return next((depth for seconds, depth in DEPTHS if self._mean <= seconds), 1)

    @property
    def reserved(self) -> int:
        """Bytes of memory the units in it may take: they run one at a time."""
        return max((job.reserves for job in self.jobs), default=0)

    def give(self, job: Job) -> None:
        """Send a unit.

        Raises:
            OSError: one of its files cannot be opened; nothing was sent.
        """
        descriptors: list[int] = []
        try:
            for path, flags in job.inputs:
                descriptors.append(os.open(path, flags | os.O_CLOEXEC, 0o600))
            for key, path in job.held.items():
                self._hold(key, path, job)
            self._process.send(job.request, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        self.jobs.append(job)
        self.used_at = self._loop.time()
        if len(self.jobs) == 1:
            self._first_began()

    def _hold(self, key: bytes, path: Path, by: Job) -> None:
        if key in self._held:
            self._held.move_to_end(key)
            return
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._process.send(Hold(key=key), [fd])
        finally:
            os.close(fd)
        self._held[key] = None
        wanted = {key for job in (*self.jobs, by) for key in job.held}
        for old in list(self._held)[: max(0, len(self._held) - MAX_HELD)]:
            if old not in wanted:
                del self._held[old]
                self._process.send(Release(key=old))

    def _first_began(self) -> None:
        job = self.jobs[0]
        self._deadline = self._loop.time() + job.limits.wall_ms / 1000 + GRACE + (WITNESS_SECONDS if job.request.witness else 0)
        self._overdue = Status.WALL_TIME
        if self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """The timer went off: the deadline it was set for may have moved on since."""
        now = self._loop.time()
        if not self.jobs and self.ready:
            if now >= self.used_at + IDLE_SECONDS:
                self.stop("had nothing to do")
            else:
                self._timer = self._loop.call_at(self.used_at + IDLE_SECONDS, self._look)
        elif now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        else:
            self._process.kill("overdue")

    def stop(self, reason: str) -> None:
        """End the process; `on_end` follows."""
        self.retiring = True
        self._process.kill(reason)

    async def gone(self) -> None:
        """Wait until the process is reaped, after `stop`."""
        await self._process.gone()

    def _replied(self, reply: Reply) -> None:
        match reply:
            case Ready() if not self.ready:
                self.ready = True
                self.layers = reply.layers
                self.ready_at = self._loop.time()
                self._on_change(self)
            case Done() if self.jobs and self.ready:
                self._finished(reply)
            case Refused():
                self._process.kill(f"failed: {reply.reason}")
            case _:
                self._process.kill(f"sent {type(reply).__name__} out of turn")

    def _finished(self, done: Done) -> None:
        from surge.sandbox.pool import Ran

        asked = self.jobs[0].request
        if (claim := false_claim(done, asked.limits, witness=asked.witness)) is not None:
            self._process.kill(f"claimed {claim}")
            return
        spool: Path | None = None
        size = sum(part.size for part in (done.value, done.stdout, done.stderr, *(part for _, part in done.files)))
        if done.output is None:
            spool = self._spools.popleft()
            fd = self._new_spool()
            self._process.send(Spool(), [fd])
            os.close(fd)
            actual = spool.stat().st_size if size else 0
            if not size:  # there was no room for what it should hold
                spool.unlink()
                spool, done = None, msgspec.structs.replace(done, output=b"")
        else:
            actual = len(done.output)
        if actual != size:
            if spool is not None:
                spool.unlink()
            self._process.kill(f"sent {actual} bytes of output and claimed {size}")
            return
        job = self.jobs.popleft()
        self._mean = done.seconds if self._mean is None else 0.7 * self._mean + 0.3 * done.seconds
        self.used_at = self._loop.time()
        if self.jobs:
            self._first_began()
        if not job.future.done():
            job.future.set_result(Ran(done, spool, self.layers))
        elif spool is not None:
            spool.unlink()
        self._on_change(self)

    def lost(self, reason: str) -> Done:
        """The reply that the unit which was running would have got, in this process's words."""
        overdue = reason.startswith("overdue")
        return Done(
            status=self._overdue if overdue else Status.WORKER_LOST,
            exit_code=0,
            value=EMPTY,
            stdout=EMPTY,
            stderr=EMPTY,
            files=(),
            state=b"",
            fuel=0,
            seconds=0.0,
            cpu_seconds=0.0,
            peak_memory=0,
            detail=f"the worker {reason}"[:2000],
            output=b"",
        )

    def _ended(self, reason: str) -> None:
        self._timer.cancel()
        for spool in self._spools:
            spool.unlink(missing_ok=True)
        lost = self.jobs.popleft() if self.jobs and self.ready else None
        waiting, self.jobs = list(self.jobs), deque()
        self._on_end(self, reason, lost, waiting)
