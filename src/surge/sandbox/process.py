"""A worker process as its parent sees it: started, spoken to, killed, reaped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

from surge.sandbox.parent_line import ParentLine
from surge.sandbox.protocol import Reply, Request

_LAST_WORDS: Final = 2000
"""Bytes of standard error kept for the report of a worker that did not start."""


class WorkerProcess:
    """One process, from its start to its end. `on_end` is called exactly once, when it is gone."""

    def __init__(self, on_reply: Callable[[Reply], None], on_end: Callable[[str], None]) -> None:
        """Start the process, with an empty environment and one end of a socket.

        Raises:
            OSError: the system has no room for another process.
        """
        self._on_end = on_end
        self._reason = ""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            self._errors = os.memfd_create("worker-errors")
            undo.callback(os.close, self._errors)
            command = [sys.executable, "-I", "-m", "surge.sandbox.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(theirs.fileno(),),
                # A terminal's Ctrl-C is for the parent, which drains its workers as it sees fit.
                start_new_session=True,
            )
            undo.pop_all()
        self.pid = self._process.pid
        self._watch = os.pidfd_open(self.pid)
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()
        self._loop.add_reader(self._watch, self._exited)
        self._line = ParentLine(ours, on_reply, self._line_ended)

    def send(self, request: Request, descriptors: Sequence[int] = ()) -> None:
        """Send a request; see `ParentLine.send`."""
        self._line.send(request, descriptors)

    def kill(self, reason: str) -> None:
        """End the process now. `on_end` follows, with this reason unless there was one before."""
        self._reason = self._reason or reason
        self._line.close()
        if not self._gone.done():
            self._process.kill()

    async def gone(self) -> None:
        """Wait until the process is reaped; it must have been killed, so this does not take long."""
        await asyncio.shield(self._gone)

    def _line_ended(self, reason: str) -> None:
        # A worker that closed its socket is ending; one that broke the protocol has to be ended.
        self._reason = self._reason or reason
        if not self._gone.done():
            self._process.kill()

    def _exited(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        code = self._process.wait()
        words = self._last_words()
        os.close(self._errors)
        self._line.drain()
        self._line.close()
        self._gone.set_result(None)
        told = f"{self._reason or 'ended'} ({_exit(code)})"
        self._on_end(f"{told}: {words}" if words else told)

    def _last_words(self) -> str:
        size = os.fstat(self._errors).st_size
        return os.pread(self._errors, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace").strip()


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
