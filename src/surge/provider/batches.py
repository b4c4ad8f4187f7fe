"""Durable writes that share commits.

Changes that arrive while a commit is under way go to disk together with the next one. A change is told when it is there, or that it
could not be written. Changes that must not be lost (`lasting`: what a buyer promised) are kept and tried again until the disk takes
them; the others (what was not told to anybody yet) are dropped with an error.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from surge.errors import InternalFault, SurgeError, Unavailable
from surge.store import Database

log = logging.getLogger("surge.provider")

RETRY_SECONDS = 1.0
"""Seconds between attempts to write to a disk that failed."""

Change = Callable[[sqlite3.Connection], object]
Done = Callable[[SurgeError | None], None]


@dataclass(slots=True)
class _Entry:
    change: Change
    done: Done | None
    lasting: bool


class Batches:
    """The one writer of a journal, on one event loop."""

    def __init__(self, database: Database) -> None:
        self.fault = ""
        """Why nothing can be written now; empty while all is well."""
        self._database = database
        self._next: list[_Entry] = []
        self._writing: list[_Entry] | None = None
        self._scheduled = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    def put(self, change: Change, done: Done | None = None, *, lasting: bool = False) -> None:
        """Write `change` with the next commit. `done` is called on this loop, with the error if there was one."""
        self._next.append(_Entry(change, done, lasting))
        self._idle.clear()
        self._schedule()

    async def write(self, change: Change) -> None:
        """Write `change` and wait until it is on disk. Raises `Unavailable` when the disk is full."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: SurgeError | None) -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        self.put(change, done)
        await future

    async def settled(self) -> None:
        """Wait until nothing is waiting to be written, or the disk is failing."""
        while not self._idle.is_set() and not self.fault:
            await self._idle.wait()

    def close(self) -> None:
        """Try no more. What was submitted is finished by the database's own close."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()

    def _schedule(self) -> None:
        if self._writing is None and not self._scheduled and not self._closed:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._submit)

    def _submit(self) -> None:
        self._scheduled = False
        if self._writing is not None or not self._next or self._closed:
            return
        batch, self._next = self._next, []
        self._writing = batch
        loop = asyncio.get_running_loop()
        try:
            future = self._database.submit(lambda connection: _apply(connection, batch))
        except SurgeError as error:
            self._finish(batch, error)
            return

        def tell(finished: Future[None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._written, batch, finished)

        future.add_done_callback(tell)

    def _written(self, batch: list[_Entry], finished: Future[None]) -> None:
        error = finished.exception()
        if error is not None and not isinstance(error, SurgeError):
            log.error("a change of the journal failed", exc_info=error)
            error = InternalFault(f"a change of the journal failed: {error}")
        self._finish(batch, error)

    def _finish(self, batch: list[_Entry], error: SurgeError | None) -> None:
        self._writing = None
        if error is None:
            if self.fault:
                log.info("the journal can be written again")
            self.fault = ""
        elif isinstance(error, Unavailable):
            if not self.fault:
                log.warning("the journal cannot be written: %s", error)
            self.fault = error.message
        kept = [entry for entry in batch if entry.lasting] if isinstance(error, Unavailable) else []
        self._next = kept + self._next
        for entry in batch:
            if entry.done is not None and not (kept and entry.lasting):
                entry.done(error)
        if self.fault:
            self._idle.set()  # whoever waits sees the fault
            self._retry_later()
        elif self._next:
            self._schedule()
        else:
            self._idle.set()

    def _retry_later(self) -> None:
        """Write again after a while: what is kept, or a probe, so that an idle journal notices that there is room."""
        if self._closed or self._retry is not None:
            return

        def again() -> None:
            self._retry = None
            if self.fault and not self._next:
                self._next.append(_Entry(_probe, None, False))
            self._schedule()

        self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, again)


def _apply(connection: sqlite3.Connection, batch: list[_Entry]) -> None:
    for entry in batch:
        entry.change(connection)


def _probe(connection: sqlite3.Connection) -> None:
    """A write large enough to need a page of its own."""
    connection.execute("INSERT INTO settings VALUES ('probe', randomblob(8192)) ON CONFLICT DO UPDATE SET value = excluded.value")
    connection.execute("DELETE FROM settings WHERE name = 'probe'")
