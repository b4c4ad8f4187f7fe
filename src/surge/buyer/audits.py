"""Audits in the journal: which results were checked, how, and what came of it; and what is computed again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass

HERE, ELSEWHERE, VOTE = "here", "elsewhere", "vote"
"""How a result was checked: run again on this machine, on a device of another operator, or by the answers of several from the start."""

RIGHT, WRONG, UNSURE = "right", "wrong", "unsure"
"""Verdicts. Unsure: nobody could run the unit again, or the answers did not agree; the result was accepted as it was."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One result that was checked."""

    job: bytes
    number: int
    """The cut's."""
    device: str
    operator: str
    channel: bytes
    receipt: bytes
    """The receipt's digest: 32 bytes."""
    unit: bytes
    """The unit id."""
    first: int
    """Its first item."""
    count: int
    """Its items."""
    how: str
    verdict: str
    claimed_result: bytes
    claimed_fuel: int
    found_result: bytes | None
    """What it should be; None where nobody knows."""
    found_fuel: int | None
    seconds: float
    """How long the check took."""
    time: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """A result of a device that was caught with another."""

    number: int
    """The cut's."""
    first: int
    count: int
    result: bytes
    """Its hash, as the device's receipt has it."""


def put_audit(db: sqlite3.Connection, row: AuditRow) -> None:
    """Write an audit down."""
    db.execute("INSERT INTO audits VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", astuple(row))


def put_doubts(db: sqlite3.Connection, job: bytes, results: Sequence[Doubted], cuts: Sequence[tuple[int, int, int]]) -> None:
    """Take results back; the cuts they were computed in are replaced by others. What was asked stays, as evidence of what was answered."""
    firsts = [(job, each.first) for each in results]
    numbers = [(job, each.number) for each in results]
    db.executemany("DELETE FROM results WHERE job = ? AND first = ?", firsts)
    db.executemany("DELETE FROM pieces WHERE job = ? AND kind = 1 AND first = ?", firsts)
    db.executemany("UPDATE cuts SET retired = 1 WHERE job = ? AND number = ?", numbers)
    db.executemany("INSERT OR REPLACE INTO cuts (job, number, first, count) VALUES (?,?,?,?)", [(job, *cut) for cut in cuts])


UNCHECKED = (
    "SELECT tries.number, cuts.first, cuts.count, receipts.receipt FROM receipts "
    "JOIN channels ON channels.id = receipts.channel "
    "JOIN tries ON tries.channel = receipts.channel AND tries.unit = receipts.subject "
    "JOIN cuts ON cuts.job = tries.job AND cuts.number = tries.number AND NOT cuts.retired "
    "JOIN results ON results.job = tries.job AND results.first = cuts.first "
    "WHERE receipts.job = ?1 AND receipts.accepted AND receipts.kind = 1 AND channels.device = ?2 AND NOT EXISTS "
    "(SELECT 1 FROM audits WHERE audits.job = ?1 AND audits.number = tries.number AND audits.verdict = 'right')"
)
"""A job's results by a device that nobody checked."""
