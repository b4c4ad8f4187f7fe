"""What a keeper must not forget, in `keeper.db`: periods that it asked to pay, what audits came to, what it repaired and what that cost.

A period is on disk before it is asked for, and is asked for again unchanged after a kill. Audits and works say in words why: no device
loses a shard, or its pay, without a reason that can be read.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from surge.core import canonical
from surge.core.messages.storage import Renew
from surge.core.storage.accounts import Held, amount
from surge.core.storage.keeping import Seen
from surge.core.types import Address
from surge.storage.journal import FilesJournal
from surge.store import Database

T = TypeVar("T")

KEEPER: Final = "keeper.db"

REMEMBERED_SECONDS: Final = 90 * 86_400
"""For so long audits are kept."""

MIGRATIONS: Final = (
    """
    CREATE TABLE renewals (
        channel BLOB NOT NULL, period INTEGER NOT NULL, device TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
        pledged INTEGER NOT NULL, helds BLOB NOT NULL, PRIMARY KEY (channel, period)
    ) WITHOUT ROWID;
    CREATE TABLE audits (
        at INTEGER NOT NULL, device TEXT NOT NULL, asked INTEGER NOT NULL, passed INTEGER NOT NULL, paid TEXT NOT NULL, why TEXT NOT NULL
    );
    CREATE INDEX audits_of ON audits (device, at);
    CREATE TABLE failures (
        deal BLOB PRIMARY KEY, at INTEGER NOT NULL, device TEXT NOT NULL, leaf INTEGER NOT NULL, why TEXT NOT NULL, challenge INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE misses (device TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE told (device TEXT PRIMARY KEY, region TEXT NOT NULL, leaving INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE works (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, object BLOB NOT NULL, segment INTEGER NOT NULL,
        shard INTEGER NOT NULL, device TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, read INTEGER NOT NULL,
        written INTEGER NOT NULL, wei TEXT NOT NULL
    );
    CREATE TABLE spent (object BLOB PRIMARY KEY, wei TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE rounds (kind TEXT PRIMARY KEY, at INTEGER NOT NULL, count INTEGER NOT NULL) WITHOUT ROWID;
    """,
    "CREATE TABLE answered (device TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;",
)


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that a keeper did."""

    at: int
    """When, in Unix seconds."""
    object: bytes
    """The object's id; empty where it is about a device."""
    segment: int
    shard: int
    device: Address
    """Where it was done."""
    what: str
    """"rebuilt", "moved", "lost", "dropped", "challenged", "settled", "failed" or "let go"."""
    why: str
    """In words."""
    read: int = 0
    """Bytes read for it."""
    written: int = 0
    """Bytes written."""
    wei: int = 0
    """What moving them cost, or what was slashed."""
    name: str = ""
    """What the object is called, where that is known; not kept."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What one look at a device came to."""

    at: int
    """When, in Unix seconds."""
    device: Address
    asked: int
    """Shards that a proof was asked of, or would have been, had it been there."""
    passed: int
    """Shards that it proved."""
    paid: int
    """Wei that it was paid for their time."""
    why: str
    """In words."""
    here: bool = True
    """Whether it answered; not kept."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A deal whose proof failed."""

    deal: bytes
    at: int
    device: Address
    leaf: int
    """The proof leaf that was asked for."""
    why: str
    challenge: int | None
    """The challenge on the ledger about it."""


class KeeperJournal:
    """The journal of one keeper."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS)

    def close(self) -> None:
        """Finish and close."""
        self._database.close()

    async def _write(self, query: str, *rows: Sequence[Any]) -> None:
        await self._database.write(lambda connection: connection.executemany(query, rows))

    async def _change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return await self._database.write(change)

    async def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self._database.read(lambda connection: connection.execute(query, values).fetchall())

    # Periods that are paid

    async def ask(self, channel: bytes, device: Address, asked: Renew, helds: Sequence[Held]) -> None:
        """A period is about to be asked for."""
        body = canonical.encode([[held.deal, held.size, held.price, held.since, held.until] for held in helds])
        row = (channel, asked.period, device, asked.since, asked.until, asked.pledged, body)
        await self._write("INSERT OR REPLACE INTO renewals VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    async def asked(self, channel: bytes) -> list[tuple[Renew, list[Held]]]:
        """Periods of a channel that were asked for, and whose answer was not written down."""
        query = "SELECT period, since, until, pledged, helds FROM renewals WHERE channel = ? ORDER BY period"
        found = []
        for period, since, until, pledged, body in await self._read(query, (channel,)):
            helds = [Held(*row) for row in canonical.decode(body)]
            found.append((Renew(period, since, until, pledged, [held.deal for held in helds]), helds))
        return found

    async def settle(self, channel: bytes, period: int, paid: Sequence[tuple[bytes, Held]] = ()) -> None:
        """A period is over: what each object's shards cost is summed up."""

        def change(connection: sqlite3.Connection) -> None:
            gone = connection.execute("DELETE FROM renewals WHERE channel = ? AND period = ?", (channel, period)).rowcount
            for object_id, held in paid if gone else ():
                _spend(connection, object_id, amount(held.price, held.size, held.seconds))

        await self._change(change)

    async def spent(self, object_id: bytes) -> int:
        """Wei that an object cost so far: its shards' time, and their moves."""
        rows = await self._read("SELECT wei FROM spent WHERE object = ?", (object_id,))
        return int(rows[0][0]) if rows else 0

    # What was seen

    async def note(self, audits: Sequence[Audit]) -> None:
        """Audits ended."""

        def change(connection: sqlite3.Connection) -> None:
            rows = [(each.at, each.device, each.asked, each.passed, str(each.paid), each.why) for each in audits]
            connection.executemany("INSERT INTO audits VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.execute("DELETE FROM audits WHERE at < ?", (int(time.time()) - REMEMBERED_SECONDS,))

        await self._change(change)

    async def audits(self, device: str | None = None, count: int = 100) -> list[Audit]:
        """Audits, the newest first."""
        query = "SELECT * FROM audits WHERE ?1 IS NULL OR device = ?1 ORDER BY at DESC, rowid DESC LIMIT ?2"
        rows = await self._read(query, (device, count))
        return [Audit(at, Address(of), asked, passed, int(paid), why) for at, of, asked, passed, paid, why in rows]

    async def fail(self, failure: Failure) -> None:
        """A deal's proof failed, or it is challenged. A challenge that is open stays with it, whatever fails meanwhile."""
        row = (failure.deal, failure.at, failure.device, failure.leaf, failure.why, failure.challenge)
        query = (
            "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (deal) DO UPDATE SET at = excluded.at, device = excluded.device, "
            "leaf = excluded.leaf, why = excluded.why, challenge = COALESCE(excluded.challenge, challenge)"
        )
        await self._write(query, row)

    async def clear(self, deal: bytes, *, answered: bool) -> None:
        """A challenge is over; if the leaf that failed was shown there, it is not asked for again."""
        query = "DELETE FROM failures WHERE deal = ?" if answered else "UPDATE failures SET challenge = NULL WHERE deal = ?"
        await self._write(query, (deal,))

    async def answer(self, device: Address, at: int) -> None:
        """A silent device answered a challenge."""
        await self._write("INSERT OR REPLACE INTO answered VALUES (?, ?)", (device, at))

    async def answered(self, since: int) -> set[Address]:
        """Devices that were silent and answered a challenge since."""
        return {Address(device) for (device,) in await self._read("SELECT device FROM answered WHERE at >= ?", (since,))}

    async def failures(self) -> dict[bytes, Failure]:
        """Deals whose proofs failed."""
        rows = await self._read("SELECT * FROM failures")
        return {row[0]: Failure(row[0], row[1], Address(row[2]), *row[3:]) for row in rows}

    async def miss(self, device: Address, at: int) -> None:
        """A device did not answer an audit."""
        await self._write("INSERT OR REPLACE INTO misses VALUES (?, ?)", (device, at))

    async def missed(self, device: Address) -> int:
        """When a device did not answer an audit last; 0 for never."""
        rows = await self._read("SELECT at FROM misses WHERE device = ?", (device,))
        return int(rows[0][0]) if rows else 0

    async def tell(self, device: Address, region: str, *, leaving: bool) -> None:
        """What a device says of itself."""
        await self._write("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", (device, region, int(leaving)))

    async def told(self) -> dict[Address, tuple[str, bool]]:
        """Where devices say they are, and whether they leave."""
        return {Address(device): (region, bool(leaving)) for device, region, leaving in await self._read("SELECT * FROM told")}

    # What was done

    async def did(self, work: Work) -> None:
        """Something was done."""
        row = (work.at, work.object, work.segment, work.shard, work.device, work.what, work.why, work.read, work.written, str(work.wei))

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO works VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            if work.object and work.written:
                _spend(connection, work.object, work.wei)

        await self._change(change)

    async def works(self, object_id: bytes | None = None, count: int = 100) -> list[Work]:
        """What was done, the newest first."""
        query = "SELECT * FROM works WHERE ?1 IS NULL OR object = ?1 ORDER BY number DESC LIMIT ?2"
        rows = await self._read(query, (object_id, count))
        return [
            Work(at, object, segment, shard, Address(device), what, why, read, written, int(wei))
            for _, at, object, segment, shard, device, what, why, read, written, wei in rows
        ]

    async def begin(self, kind: str, now: int) -> int:
        """A round begins; its number."""

        def change(connection: sqlite3.Connection) -> int:
            rows = connection.execute("SELECT count FROM rounds WHERE kind = ?", (kind,)).fetchall()
            count = int(rows[0][0]) + 1 if rows else 0
            connection.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?)", (kind, now, count))
            return count

        return await self._change(change)

    async def last(self, kind: str) -> int:
        """When the last round of a kind began; 0 for never."""
        rows = await self._read("SELECT at FROM rounds WHERE kind = ?", (kind,))
        return int(rows[0][0]) if rows else 0


def _spend(connection: sqlite3.Connection, object_id: bytes, wei: int) -> None:
    rows = connection.execute("SELECT wei FROM spent WHERE object = ?", (object_id,)).fetchall()
    total = wei + (int(rows[0][0]) if rows else 0)
    connection.execute("INSERT OR REPLACE INTO spent VALUES (?, ?)", (object_id, str(total)))


async def devices_seen(journal: FilesJournal) -> dict[Address, Seen]:
    """What is remembered of devices."""
    rows = await journal.read("SELECT device, there, watched, looked, heard, longest FROM devices")
    return {Address(device): Seen(*values) for device, *values in rows}


async def note_seen(journal: FilesJournal, device: Address, seen: Seen) -> None:
    """Remember a device."""
    row = (device, seen.there, seen.watched, seen.looked, seen.heard, seen.longest)
    await journal.write(lambda connection: connection.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?)", row))
