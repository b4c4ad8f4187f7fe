"""Journals: shared commits, faults that stay alone, full disks, locks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from surge.errors import InternalFault, InvalidInput, Unavailable
from surge.store import Database

SCHEMA = ["CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)"]


def insert(text: str) -> Callable[[sqlite3.Connection], int | None]:
    return lambda connection: connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid


def texts(database: Database) -> list[str]:
    return [row[0] for row in database.read_now(lambda connection: connection.execute("SELECT text FROM notes ORDER BY id").fetchall())]


class Held:
    """A database whose writer waits until it is told to go on, so that what comes meanwhile shares one transaction."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, SCHEMA)
        self.statements: list[str] = []
        self.database._writer.set_trace_callback(self.statements.append)
        self._gate, started = threading.Event(), threading.Event()

        def wait(connection: sqlite3.Connection) -> None:
            started.set()
            assert self._gate.wait(30)

        self.first = self.database.submit(wait)
        assert started.wait(30)

    def release(self) -> None:
        self._gate.set()
        self.first.result(30)

    def commits(self) -> int:
        return self.statements.count("COMMIT")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inside" / "journal.db"


async def test_what_was_written_is_there_after_opening_again(path: Path) -> None:
    database = Database(path, SCHEMA)
    assert await database.write(insert("one")) == 1
    assert await database.read(lambda connection: connection.execute("SELECT text FROM notes").fetchone()) == ("one",)
    database.close()
    database.close()
    again = Database(path, SCHEMA)
    assert texts(again) == ["one"]
    again.close()


def test_many_writes_share_one_commit_and_keep_their_order(path: Path) -> None:
    held = Held(path)
    futures = [held.database.submit(insert(str(number))) for number in range(300)]
    held.release()
    assert [future.result(30) for future in futures] == list(range(1, 301))
    assert held.commits() == 2
    assert texts(held.database) == [str(number) for number in range(300)]
    held.database.close()


def test_a_write_that_fails_is_undone_alone(path: Path) -> None:
    held = Held(path)

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES ('half')")
        raise ValueError("changed my mind")

    before = held.database.submit(insert("before"))
    mine = held.database.submit(half)
    double = held.database.submit(insert("before"))
    typo = held.database.submit(lambda connection: connection.execute("SELEKT 1"))
    after = held.database.submit(insert("after"))
    held.release()
    assert before.result(30) == 1
    with pytest.raises(ValueError, match="changed my mind"):
        mine.result(30)
    with pytest.raises(sqlite3.IntegrityError):
        double.result(30)
    with pytest.raises(sqlite3.OperationalError, match="SELEKT"):
        typo.result(30)
    after.result(30)
    assert texts(held.database) == ["before", "after"]
    held.database.close()


def test_no_answer_comes_before_the_commit(path: Path) -> None:
    held = Held(path)
    seen: list[bool] = []
    first = held.database.submit(insert("first"))
    held.database.submit(lambda connection: seen.append(first.done())).add_done_callback(lambda _: None)
    held.release()
    first.result(30)
    held.database.close()
    assert seen == [False]


def test_a_cursor_stays_on_the_thread_that_made_it(path: Path) -> None:
    """Dropped on another one, it would reset a statement that the writer just uses."""
    database = Database(path, SCHEMA)
    made: list[sqlite3.Cursor] = []

    def change(connection: sqlite3.Connection) -> sqlite3.Cursor:
        made.append(connection.execute("INSERT INTO notes (text) VALUES ('one')"))
        return made[0]

    assert database.write_now(change) is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        made[0].fetchall()
    assert texts(database) == ["one"]
    database.close()


async def test_a_caller_that_stops_waiting_does_not_stop_the_writer(path: Path) -> None:
    held = Held(path)

    def fail(connection: sqlite3.Connection) -> None:
        raise ValueError("nobody hears this")

    waiting = [asyncio.ensure_future(held.database.write(change)) for change in (fail, insert("kept"))]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    held.release()
    await asyncio.wait_for(held.database.write(insert("later")), 10)
    assert texts(held.database) == ["kept", "later"]
    held.database.close()


async def test_running_out_of_memory_fails_the_writes_and_not_the_writer(path: Path) -> None:
    database = Database(path, SCHEMA)

    def greedy(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES ('half')")
        raise MemoryError

    with pytest.raises(Unavailable, match="memory"):
        await asyncio.wait_for(database.write(greedy), 10)
    await asyncio.wait_for(database.write(insert("later")), 10)
    assert texts(database) == ["later"]
    database.close()


def test_closing_finishes_what_was_submitted_and_takes_no_more(path: Path) -> None:
    held = Held(path)
    futures = [held.database.submit(insert(str(number))) for number in range(5)]
    held.release()
    held.database.close()
    assert all(future.done() for future in futures)
    with pytest.raises(Unavailable, match="closed"):
        held.database.submit(insert("late"))


def test_migrations_run_once_and_newer_files_are_refused(path: Path) -> None:
    Database(path, SCHEMA, exclusive=True).close()
    more = [*SCHEMA, "ALTER TABLE notes ADD COLUMN more TEXT; CREATE TABLE others (id INTEGER)"]
    for _ in range(2):
        Database(path, more, exclusive=True).close()
    for _ in range(2):  # the lock is given back each time
        with pytest.raises(InvalidInput, match="newer"):
            Database(path, SCHEMA, exclusive=True)
    Database(path, more, exclusive=True).close()


def test_a_migration_that_fails_leaves_nothing_half_done(path: Path) -> None:
    Database(path, SCHEMA).close()
    with pytest.raises(InternalFault):
        Database(path, [*SCHEMA, "CREATE TABLE others (id INTEGER); CREATE TABLE notes (id INTEGER)"])
    database = Database(path, [*SCHEMA, "CREATE TABLE others (id INTEGER)"])
    database.close()


def test_a_damaged_file_says_so(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all" * 500)
    with pytest.raises(InternalFault, match="damaged"):
        Database(path, SCHEMA)


LOCKER = """
import sys
from pathlib import Path
from surge.errors import Unavailable
from surge.store import Database
try:
    database = Database(Path(sys.argv[1]), [], exclusive=True)
except Unavailable as error:
    print("refused:", error)
else:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_even_after_a_kill(path: Path) -> None:
    database = Database(path, [], exclusive=True)
    with pytest.raises(Unavailable, match="another process"):
        Database(path, [], exclusive=True)
    command = [sys.executable, "-c", LOCKER, str(path)]
    refused = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    assert refused.stdout.startswith("refused:")
    database.close()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        with pytest.raises(Unavailable):
            Database(path, [], exclusive=True)
        process.kill()
        process.wait(30)
        Database(path, [], exclusive=True).close()


FULL = """
import resource, signal, sys
from pathlib import Path
from surge.errors import Unavailable
from surge.store import Blobs, Database
folder = Path(sys.argv[1])
database = Database(folder / "journal.db", ["CREATE TABLE notes (text TEXT)"])
blobs = Blobs(folder / "blobs")
database.write_now(lambda connection: connection.execute("INSERT INTO notes VALUES ('first')"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
def much(connection):
    connection.execute("INSERT INTO notes VALUES ('half')")
    connection.execute("INSERT INTO notes VALUES (?)", ("x" * 3_000_000,))
futures = [database.submit(much) for _ in range(3)]
print([type(future.exception(60)).__name__ for future in futures])
try:
    blobs.put(b"y" * 1_000_000)
except Unavailable as error:
    print("Unavailable", "full" in str(error))
print(len(list((folder / "blobs").iterdir())), database.read_now(lambda c: c.execute("SELECT count(*) FROM notes").fetchone()))
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
database.write_now(lambda connection: connection.execute("INSERT INTO notes VALUES ('last')"))
blobs.put(b"y" * 1_000_000)
print(database.read_now(lambda connection: connection.execute("SELECT text FROM notes").fetchall()))
database.close()
"""


def test_a_full_disk_is_unavailable_and_nothing_is_half_written(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert found.stdout.splitlines() == [
        "['Unavailable', 'Unavailable', 'Unavailable']",
        "Unavailable True",
        "0 (1,)",
        "[('first',), ('last',)]",
    ], found.stderr
    assert found.returncode == 0


def test_a_journal_is_its_owners_only(tmp_path: Path) -> None:
    """Inputs and results stand in it, and so in what SQLite keeps beside it."""
    before = os.umask(0o022)
    try:
        database = Database(tmp_path / "journal.db", SCHEMA)
        database.write_now(insert("a"))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    database.close()
    assert "journal.db" in modes
    assert set(modes.values()) == {0}, modes
