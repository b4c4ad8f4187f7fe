"""Disputes in the journal: what was claimed, the secrets of the draw, who has the inputs, and how it went.

A dispute, with its secret, is on disk before the court hears of it, and so is the secret of every larger jury: an opener that forgot its
secret would lose.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from surge.buyer.journal import Journal
from surge.core import canonical
from surge.errors import InvalidInput

OPENING, OPEN, OVER, FAILED = "opening", "open", "over", "failed"
"""States of a dispute. Opening: the court may have heard of it. Failed: the court did not take it."""

_DISPUTES: Final = (
    "SELECT receipt, number, state, opened, accused, result, fuel, jurors, most, worth, secrets, outcome, collected FROM disputes"
)


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute of ours."""

    receipt: bytes
    """32 bytes: the digest of the receipt."""
    number: int | None
    """What the court calls the case; None until it is known."""
    state: str
    opened: float
    """Unix seconds, by this machine's clock."""
    accused: str
    """The operator whose device gave the receipt; empty until the case is open."""
    result: bytes
    """32 bytes: what should have come out."""
    fuel: int
    """What it should have taken."""
    jurors: int
    """Of the first jury."""
    most: int
    """Of the largest jury that is paid for, should smaller ones have no majority."""
    worth: int
    """Wei that the accused may lose beside the costs."""
    secrets: tuple[bytes, ...]
    """32 bytes each: of the first draw, and of each later one."""
    outcome: int
    """The court's number for how it ended; 0 while it is open."""
    collected: int
    """Wei that the court owed when it was over, and paid."""

    @property
    def id(self) -> str:
        """Hex of the receipt's digest, by which people name it."""
        return self.receipt.hex()


class Looks:
    """Looks at disputes, to be waited for by whoever shows how they go on."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def done(self) -> None:
        """A dispute was looked at: wake who waits."""
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """What the next look sets. Ask for it before reading how a dispute stands, so that no look is missed."""
        return self._next


def _dispute(row: Sequence[Any]) -> Dispute:
    receipt, number, state, opened, accused, result, fuel, jurors, most, worth, secrets, outcome, collected = row
    found = tuple(canonical.decode(secrets))
    return Dispute(receipt, number, state, opened, accused, result, int(fuel), jurors, most, int(worth), found, outcome, int(collected))


async def create(journal: Journal, dispute: Dispute) -> None:
    """Write a new dispute down, in place of one with this receipt that failed. Raises `InvalidInput` if there is another."""
    each = dispute
    row = (
        *(each.receipt, each.number, each.state, each.opened, each.accused, each.result, str(each.fuel), each.jurors, each.most),
        *(str(each.worth), canonical.encode(list(each.secrets)), each.outcome, str(each.collected)),
    )

    def work(db: sqlite3.Connection) -> bool:
        db.execute("DELETE FROM disputes WHERE receipt = ? AND state = ?", (dispute.receipt, FAILED))
        return db.execute("INSERT OR IGNORE INTO disputes VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", row).rowcount == 1

    if not await journal.write(work):
        raise InvalidInput(f"the receipt {dispute.id[:12]} is disputed already: `surge dispute show {dispute.id[:12]}`", receipt=dispute.id)


async def change(
    journal: Journal,
    receipt: bytes,
    *,
    number: int | None = None,
    state: str | None = None,
    accused: str | None = None,
    secrets: Sequence[bytes] | None = None,
    outcome: int | None = None,
    collected: int | None = None,
) -> Dispute:
    """Change what is named, and leave the rest; the dispute as it is then."""
    statement = (
        "UPDATE disputes SET number = coalesce(?, number), state = coalesce(?, state), accused = coalesce(?, accused), "
        "secrets = coalesce(?, secrets), outcome = coalesce(?, outcome), collected = coalesce(?, collected) WHERE receipt = ?"
    )
    encoded = None if secrets is None else canonical.encode(list(secrets))
    values = (number, state, accused, encoded, outcome, None if collected is None else str(collected), receipt)
    await journal.write(lambda db: db.execute(statement, values))
    return await of(journal, receipt)


async def of(journal: Journal, receipt: bytes) -> Dispute:
    """The dispute about a receipt. Raises `InvalidInput` if there is none."""
    rows = await journal.read(f"{_DISPUTES} WHERE receipt = ?", (receipt,))
    if not rows:
        raise InvalidInput(f"the receipt {receipt.hex()[:12]} is not disputed", receipt=receipt)
    return _dispute(rows[0])


def listed(journal: Journal) -> list[Dispute]:
    """Every dispute, the newest first."""
    rows = journal.read_now(f"{_DISPUTES} ORDER BY opened DESC")
    return [_dispute(row) for row in rows]


def find(journal: Journal, named: str) -> Dispute:
    """The dispute with this case number, or about the receipt whose id begins with these hex digits. Raises `InvalidInput`."""
    text = named.lower().removeprefix("0x")
    every = listed(journal)
    found = [each for each in every if str(each.number) == text] or [each for each in every if text and each.id.startswith(text)]
    if len(found) != 1:
        what = "no dispute here has" if not found else f"{len(found)} disputes here have"
        raise InvalidInput(f"{what} an id that begins with {named!r}: `surge dispute list` shows them", dispute=named)
    return found[0]


async def note(journal: Journal, receipt: bytes, text: str) -> None:
    """Write down what happened, for people."""
    await journal.write(lambda db: db.execute("INSERT INTO dispute_events VALUES (?,?,?)", (receipt, time.time(), text)))


def events(journal: Journal, receipt: bytes) -> list[dict[str, Any]]:
    """What happened to a dispute: `time` in Unix seconds, and `text`."""
    rows = journal.read_now("SELECT time, text FROM dispute_events WHERE receipt = ? ORDER BY time", (receipt,))
    return [{"time": at, "text": text} for at, text in rows]


async def delivered(journal: Journal, receipt: bytes, juror: str, *, kept: bool, text: str) -> None:
    """Write down whether a juror keeps the inputs, and what it said."""
    row = (receipt, juror, kept, text)
    await journal.write(lambda db: db.execute("INSERT OR REPLACE INTO dispute_inputs VALUES (?,?,?,?)", row))


async def inputs(journal: Journal, receipt: bytes) -> dict[str, tuple[bool, str]]:
    """What is known of each juror's inputs: whether it keeps them, and what it said last."""
    rows = await journal.read("SELECT juror, kept, text FROM dispute_inputs WHERE receipt = ?", (receipt,))
    return {juror: (bool(kept), text) for juror, kept, text in rows}
