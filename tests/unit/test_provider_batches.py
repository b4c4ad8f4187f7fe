"""Writes that share commits, and a disk that fills."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider_support import until
from surge.errors import InternalFault, SurgeError, Unavailable
from surge.provider import batches
from surge.provider.batches import Batches
from surge.store import Database

SETUP = ("CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB); CREATE TABLE rows (number INTEGER PRIMARY KEY, data BLOB)",)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "x.db", SETUP)
    yield database
    database.close()


def insert(number: int, size: int = 10) -> batches.Change:
    return lambda c: c.execute("INSERT INTO rows VALUES (?, zeroblob(?))", (number, size))


def numbers(database: Database) -> list[int]:
    return [row[0] for row in database.read_now(lambda c: c.execute("SELECT number FROM rows ORDER BY number").fetchall())]


def limit(database: Database, *, full: bool) -> None:
    def change(c: sqlite3.Connection) -> None:
        (pages,) = c.execute("PRAGMA page_count").fetchone()
        c.execute(f"PRAGMA max_page_count = {pages if full else 1000000}")

    change(database._writer)


async def test_what_comes_at_once_is_committed_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = []
    submit = database.submit

    def counted(change: object) -> object:
        commits.append(1)
        return submit(change)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "submit", counted)
    writer = Batches(database)
    done: list[int] = []
    for number in range(100):
        writer.put(insert(number), lambda error, number=number: done.append(number))
    await writer.settled()
    assert done == list(range(100))
    assert numbers(database) == list(range(100))
    assert len(commits) == 1


async def test_a_change_is_told_only_when_it_is_on_disk(database: Database) -> None:
    writer = Batches(database)
    seen: list[list[int]] = []
    writer.put(insert(1), lambda error: seen.append(numbers(database)))
    await writer.settled()
    assert seen == [[1]]


async def test_a_bug_in_one_change_fails_its_batch_and_not_the_next(database: Database) -> None:
    writer = Batches(database)
    errors: list[SurgeError | None] = []
    writer.put(insert(1), errors.append)
    writer.put(insert(1), errors.append)
    await writer.settled()
    assert [type(each) for each in errors] == [InternalFault, InternalFault]
    assert numbers(database) == []
    await writer.write(insert(2))
    assert numbers(database) == [2]


async def test_on_a_full_disk_what_lasts_is_kept_the_rest_is_told_and_all_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "RETRY_SECONDS", 0.02)
    writer = Batches(database)
    limit(database, full=True)
    told: list[tuple[str, SurgeError | None]] = []
    writer.put(insert(1, 50_000), lambda error: told.append(("one", error)), lasting=True)
    writer.put(insert(2, 50_000), lambda error: told.append(("two", error)))
    await writer.settled()
    assert [(name, type(error)) for name, error in told] == [("two", Unavailable)]
    assert "full" in writer.fault
    with pytest.raises(Unavailable):
        await writer.write(insert(3, 50_000))
    limit(database, full=False)
    await until(lambda: not writer.fault)
    assert numbers(database) == [1]
    assert told[-1] == ("one", None)


async def test_an_idle_writer_notices_that_there_is_room_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "RETRY_SECONDS", 0.02)
    writer = Batches(database)
    limit(database, full=True)
    with pytest.raises(Unavailable):
        await writer.write(insert(1, 50_000))
    await asyncio.sleep(0.1)
    assert writer.fault, "a probe does not pass while the disk is full"
    limit(database, full=False)
    await until(lambda: not writer.fault)
