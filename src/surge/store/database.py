"""A SQLite journal whose writers share commits.

Every `write` runs on one thread, inside a transaction with whatever else is waiting, and answers once that transaction is on disk
(WAL, synchronous=FULL: one fsync for many writes). A write that raises is undone alone; the others of its transaction stand.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from surge.errors import InternalFault, InvalidInput, Unavailable

T = TypeVar("T")

MAX_BATCH = 512
"""Writes in one transaction: bounds how long the first of them waits for the last."""

BUSY_SECONDS = 10.0
"""Seconds to wait for another process that writes to the same file."""

_Task = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


def translate(error: sqlite3.Error, path: Path) -> Exception:
    """Our error for SQLite's."""
    text = str(error)
    if "disk is full" in text or "disk I/O" in text:
        return Unavailable(f"the disk that holds {path} is full or failing: free some space; nothing was lost", path=str(path))
    if "locked" in text:
        return Unavailable(f"{path} is in use by another process: try again", path=str(path))
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text):
        return InternalFault(f"{path} is damaged: move it away and start again", path=str(path))
    return InternalFault(f"{path}: {text}", path=str(path))


class Database:
    """A journal.

    Args:
        path: the file; its folder is made.
        migrations: SQL scripts; the ones a file has not seen are run, in order.
        exclusive: refuse a file that another process holds exclusively.
    """

    def __init__(self, path: Path, migrations: Sequence[str], *, exclusive: bool = False) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = self._take_lock() if exclusive else None
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._reader_lock = threading.Lock()
        try:
            if not path.exists():
                path.touch(0o600)  # what SQLite puts beside it gets the same rights: inputs and results are nobody else's
            self._writer = self._connect()
            try:
                self._migrate(migrations)
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise
        except sqlite3.Error as error:
            self._release_lock()
            raise translate(error, path) from error
        except OSError as error:
            self._release_lock()
            raise Unavailable(f"the journal {path} cannot be made: {error.strerror}; make room, or mend its rights", path=path) from error
        except BaseException:
            self._release_lock()
            raise
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"journal {path.name}", daemon=True)
        self._thread.start()

    # Writing

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` and return what it returns, but no cursor, once that is on disk."""
        return await asyncio.wrap_future(self.submit(change))

    def write_now(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """`write` for callers without an event loop."""
        return self.submit(change).result()

    def submit(self, change: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Queue `change`; the future answers once it is on disk. Changes take effect in the order of their submission."""
        future: Future[T] = Future()
        with self._gate:  # nothing is queued behind the end
            if self._closed:
                raise Unavailable(f"{self.path} is closed", path=str(self.path))
            self._queue.put((change, future))
        return future

    # Reading

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on committed state, off the event loop."""
        return await asyncio.to_thread(self.read_now, query)

    def read_now(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """`read` for callers without an event loop, and for reads that take microseconds."""
        with self._reader_lock:
            try:
                return query(self._reader)
            except sqlite3.Error as error:
                raise translate(error, self.path) from error

    def close(self) -> None:
        """Finish what was submitted, and close. May be called twice."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._writer.close()
        with self._reader_lock:
            self._reader.close()
        self._release_lock()

    # Inside

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self, migrations: Sequence[str]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            self._writer.execute("ROLLBACK")
            raise InvalidInput(f"{self.path} was written by a newer version of this program", version=version)
        try:
            for script in migrations[version:]:
                for statement in filter(str.strip, script.split(";")):
                    self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version={len(migrations)}")
            self._writer.execute("COMMIT")
        except sqlite3.Error:
            self._writer.execute("ROLLBACK")
            raise

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch: list[_Task] = [first]
            last = False
            while len(batch) < MAX_BATCH:
                try:
                    task = self._queue.get_nowait()
                except queue.Empty:
                    break
                if task is None:
                    last = True
                    break
                batch.append(task)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[_Task]) -> None:
        # A caller that stopped waiting gets no answer; its change is made all the same. From here on nobody can cancel.
        waiting = {future for _, future in batch if future.set_running_or_notify_cancel()}
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], Exception]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for change, future in batch:
                self._apply(change, future, done, failed)
            self._writer.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            wrong = translate(error, self.path) if isinstance(error, sqlite3.Error) else Unavailable("memory ran out: nothing was written")
            own = dict(failed)
            failed = [(future, own.get(future, wrong)) for _, future in batch]
            done = []
        for future, value in done:
            if future in waiting:
                future.set_result(value)
        for future, fault in failed:
            if future in waiting:
                future.set_exception(fault)

    def _apply(
        self,
        change: Callable[[sqlite3.Connection], Any],
        future: Future[Any],
        done: list[tuple[Future[Any], Any]],
        failed: list[tuple[Future[Any], Exception]],
    ) -> None:
        """Run one change under a savepoint; a fault of its own goes to its caller, a fault of the disk to all."""
        self._writer.execute("SAVEPOINT one")
        try:
            value = change(self._writer)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
            failed.append((future, error))
        else:
            if isinstance(value, sqlite3.Cursor):  # let go of on another thread, it would reset a statement that is in use here
                value.close()
                value = None
            self._writer.execute("RELEASE one")
            done.append((future, value))

    def _take_lock(self) -> int:
        lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise Unavailable(f"{self.path} is in use by another process", path=str(self.path)) from error
        return lock

    def _release_lock(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
