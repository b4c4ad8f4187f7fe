"""Counting the items of a job that failed: beside each result when it is journalled, so that listings read no results.

Rows of journals that were written before that do not have it: they are counted when their job is first listed.
"""

from __future__ import annotations

import sqlite3

from surge.buyer.plan import Plan
from surge.buyer.results import decode_piece
from surge.errors import GuestFault
from surge.store import Database

_ERROR = b"\x84\x65error"
"""How an entry that is an error begins among a Python unit's results (`results.decode_piece`): only values that hold it are decoded."""

BATCH = 64
"""Rows that are counted in one transaction: what another process writes meanwhile waits no longer than for these."""


def failed_items(db: sqlite3.Connection, job: bytes, count: int, value: bytes | None, error: str | None) -> int:
    """How many of a result's `count` items failed: all, where it is an error; of a Python job's unit, those that are one in its value."""
    if error is not None:
        return count
    if value is None or _ERROR not in value:
        return 0
    rows = db.execute("SELECT plan FROM jobs WHERE id = ?", (job,)).fetchall()
    if not rows or not Plan.decode(rows[0][0]).is_python:
        return 0
    try:
        return sum(entry[0] == "error" for entry in decode_piece(value, count))
    except GuestFault:
        return count


def count_old(database: Database, job: bytes) -> None:
    """Count the results of a job that an older version journalled."""

    def some(db: sqlite3.Connection) -> int:
        rows = db.execute(
            "SELECT first, count, CASE WHEN instr(value, ?) THEN value END, error FROM results INDEXED BY results_counted "
            "WHERE job = ? AND failed IS NULL LIMIT ?",
            (_ERROR, job, BATCH),
        ).fetchall()
        counted = [(failed_items(db, job, count, value, error), job, first) for first, count, value, error in rows]
        db.executemany("UPDATE results SET failed = ? WHERE job = ? AND first = ?", counted)
        return len(rows)

    while database.write_now(some) == BATCH:
        pass
