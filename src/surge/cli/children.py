"""Processes that `surge up` starts, watches, starts again when they die, and stops.

A child says `ready` in a line of its own on standard output once it serves; everything else it writes goes to its log. It dies
with its parent (`with_parent`), so that killing `surge up` leaves nothing running.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from surge.errors import Unavailable

READY = b"ready"
"""The line with which a child says that it serves."""

STOP_GRACE = 20.0
"""Seconds a child has to drain after SIGTERM before it is killed."""

BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds to wait before starting a child that died again, by how often it died in a row."""

_PR_SET_PDEATHSIG = 1


def with_parent(parent: int) -> None:
    """Die when `parent` dies. Linux sends SIGTERM by itself; elsewhere a thread watches.

    Source: prctl(2), PR_SET_PDEATHSIG. A parent that is gone already is noticed by comparing afterwards.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    else:
        import threading

        def watch() -> None:
            while os.getppid() == parent:
                threading.Event().wait(1.0)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()
    if os.getppid() != parent:
        raise Unavailable("the process that started this one is gone")


@dataclass
class Child:
    """One process and how to start it."""

    name: str
    argv: Sequence[str]
    log: Path
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _deaths: int = 0
    _started: float = 0.0

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def start(self, timeout: float = 300.0) -> None:
        """Start and wait until it says that it is ready. Raises `Unavailable` with the end of its log if it dies first."""
        self.ready.clear()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv,
                "--with-parent",
                str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        process = self.process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                async for line in process.stdout:
                    if line.strip() == READY:
                        self.ready.set()
                        return
                    with self.log.open("ab") as log:
                        log.write(line)
        except TimeoutError:
            await self.stop()
            raise Unavailable(f"{self.name} was not ready within {timeout:.0f} s; see {self.log}", log=str(self.log)) from None
        code = await process.wait()
        raise Unavailable(f"{self.name} ended with code {code} before it was ready:\n{self.tail()}", code=code, log=str(self.log))

    def tail(self, lines: int = 8) -> str:
        """The last lines of the log."""
        try:
            return "\n".join("  " + line for line in self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return f"  (its log {self.log} cannot be read: {error})"

    async def watch(self) -> None:
        """Copy what it prints to its log and start it again whenever it dies; ends only by cancellation."""
        while True:
            process = self.process
            assert process is not None
            assert process.stdout is not None
            async for line in process.stdout:
                with self.log.open("ab") as log:
                    log.write(line)
            code = await process.wait()
            self._deaths = 0 if time.monotonic() - self._started > 60 else self._deaths + 1
            wait = BACKOFF[min(self._deaths, len(BACKOFF) - 1)]
            with self.log.open("a") as log:
                log.write(f"{self.name} ended with code {code}; starting it again in {wait} s\n")
            await asyncio.sleep(wait)
            try:
                await self.start()
            except (Unavailable, OSError) as error:  # no memory or no processes left counts as one more death
                with self.log.open("a") as log:
                    log.write(f"{error}\n")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after `STOP_GRACE` seconds."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_GRACE):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, from now until the loop ends."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


async def stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    await stop_event().wait()


def say_ready() -> None:
    """Tell whoever started this process that it serves."""
    sys.stdout.write(READY.decode() + "\n")
    sys.stdout.flush()
