"""A juror's journal: which cases it is drawn in, and what it answers, durable before anybody else learns of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surge.core.court import Answer
from surge.core.types import Address
from surge.store import Database

MIGRATIONS = (
    """
    CREATE TABLE duties (
        case_id INTEGER NOT NULL, round INTEGER NOT NULL, opener TEXT NOT NULL, deliveries INTEGER NOT NULL DEFAULT 0,
        inputs INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, salt BLOB, result BLOB, fuel TEXT, witness BLOB,
        note TEXT NOT NULL DEFAULT '', over INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (case_id, round)
    ) WITHOUT ROWID;
    CREATE INDEX duties_open ON duties (over, case_id);
    """,
)


@dataclass(frozen=True, slots=True)
class Duty:
    """A case that the juror is drawn in."""

    case: int
    round: int
    opener: Address
    deliveries: int
    """Deliveries that were begun: each costs the juror traffic."""
    inputs: bool
    """Whether the sealed inputs are on disk, and are the unit's."""
    tries: int
    """Runs that were begun."""
    salt: bytes
    """32 bytes, secret until the answer is revealed; empty while there is none."""
    answer: Answer | None
    note: str
    """How it came to its answer, or to none, for people."""
    over: bool


_DUTIES = "SELECT case_id, round, opener, deliveries, inputs, tries, salt, result, fuel, witness, note, over FROM duties"


def _duty(row: Any) -> Duty:
    case, number, opener, deliveries, inputs, tries, salt, result, fuel, witness, note, over = row
    answer = None if salt is None else Answer(result, int(fuel), witness)
    return Duty(case, number, Address(opener), deliveries, bool(inputs), tries, salt or b"", answer, note, bool(over))


class Duties:
    """The journal. One process at a time uses it."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS, exclusive=True)

    def close(self) -> None:
        """Finish what was submitted, and close."""
        self._database.close()

    def open_ones(self) -> list[Duty]:
        """Duties that are not over, the oldest first."""
        query = f"{_DUTIES} WHERE over = 0 ORDER BY case_id"
        return self._database.read_now(lambda connection: [_duty(row) for row in connection.execute(query)])

    def latest(self, count: int = 100) -> list[Duty]:
        """The last duties, the newest first."""
        query = f"{_DUTIES} ORDER BY case_id DESC, round DESC LIMIT ?"
        return self._database.read_now(lambda connection: [_duty(row) for row in connection.execute(query, (count,))])

    def find(self, case: int) -> Duty | None:
        """The duty of a case's last round, or None."""
        query = f"{_DUTIES} WHERE case_id = ? ORDER BY round DESC LIMIT 1"

        def read(connection: sqlite3.Connection) -> Duty | None:
            row = connection.execute(query, (case,)).fetchone()
            return None if row is None else _duty(row)

        return self._database.read_now(read)

    async def drawn(self, case: int, number: int, opener: Address) -> None:
        """Write down that this juror is drawn in a round of a case; again changes nothing."""
        await self._change("INSERT OR IGNORE INTO duties (case_id, round, opener) VALUES (?, ?, ?)", case, number, opener)

    async def delivery(self, duty: Duty) -> None:
        """Write down that a delivery is begun."""
        await self._of(duty, deliveries=1)

    async def arrived(self, duty: Duty) -> None:
        """Write down that the inputs are on disk and are the unit's."""
        await self._of(duty, inputs=1)

    async def begun(self, duty: Duty) -> None:
        """Write down that the unit is run."""
        await self._of(duty, tries=1)

    async def answered(self, duty: Duty, salt: bytes, answer: Answer, note: str) -> None:
        """Settle the answer; on disk when this returns. One that was settled before stays: it may have been committed to."""
        values = (salt, answer.result, str(answer.fuel), answer.witness, note, duty.case, duty.round)
        statement = (
            "UPDATE duties SET salt = ?, result = ?, fuel = ?, witness = ?, note = ? WHERE case_id = ? AND round = ? AND salt IS NULL"
        )
        await self._change(statement, *values)

    async def noted(self, duty: Duty, note: str) -> None:
        """Write down something for people."""
        await self._of(duty, note=note)

    async def over(self, duty: Duty) -> None:
        """Write down that nothing is left to do."""
        await self._of(duty, over=1)

    async def _of(
        self, duty: Duty, *, deliveries: int = 0, inputs: int = 0, tries: int = 0, note: str | None = None, over: int = 0
    ) -> None:
        """Count deliveries and tries up, and say what has come about."""
        statement = (
            "UPDATE duties SET deliveries = deliveries + ?, inputs = max(inputs, ?), tries = tries + ?, note = coalesce(?, note), "
            "over = max(over, ?) WHERE case_id = ? AND round = ?"
        )
        await self._change(statement, deliveries, inputs, tries, note, over, duty.case, duty.round)

    async def _change(self, statement: str, *values: Any) -> None:
        await self._database.write(lambda connection: connection.execute(statement, values))
