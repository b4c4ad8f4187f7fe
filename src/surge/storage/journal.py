"""What an owner or a keeper must not forget: objects on their way, deals, names as they were last read. In `files.db`.

What is written before what: an object's keys before its first shard leaves; a deal before its room is asked for, so that a shard that was
cut off goes on where it was; a pledge before the deal counts. Names are kept with the version they were read at, so that the changes made
here can be told from those made elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from surge.core.types import Address
from surge.store import Database

T = TypeVar("T")

PUTTING, STORED, GONE = "putting", "stored", "gone"
"""States of an object: shards are still on their way, its name may stand for it, it was given up."""

OPENING, KEPT, LOST, DROPPED = "opening", "kept", "lost", "dropped"
"""States of a deal: a holder may have some of the shard; it pledged; it failed for good; it was let go."""

MIGRATIONS: Final = (
    """
    CREATE TABLE objects (
        id BLOB PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, stamp TEXT NOT NULL, keys BLOB NOT NULL, kind TEXT NOT NULL,
        size INTEGER NOT NULL, segment_size INTEGER NOT NULL, k INTEGER NOT NULL, n INTEGER NOT NULL,
        created INTEGER NOT NULL, expires INTEGER NOT NULL, state TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE deals (
        id BLOB PRIMARY KEY, object BLOB NOT NULL, segment INTEGER NOT NULL, shard INTEGER NOT NULL, device TEXT NOT NULL,
        operator TEXT NOT NULL, root BLOB NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL, price TEXT NOT NULL, penalty TEXT NOT NULL,
        starts INTEGER NOT NULL, until INTEGER NOT NULL, ends INTEGER NOT NULL, paid INTEGER NOT NULL, signature BLOB, state TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX deals_of_object ON deals (object, segment, shard);
    CREATE INDEX deals_of_device ON deals (device, state);
    CREATE TABLE names (page INTEGER PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL);
    CREATE TABLE maps (object BLOB NOT NULL, page INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (object, page)) WITHOUT ROWID;
    CREATE TABLE devices (
        device TEXT PRIMARY KEY, there REAL NOT NULL, watched REAL NOT NULL, looked REAL NOT NULL, heard REAL NOT NULL,
        longest REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
    "CREATE TABLE leaving (object BLOB PRIMARY KEY) WITHOUT ROWID;",
    "CREATE TABLE spoiled (deal BLOB PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;",
)


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """An object that is put, or was."""

    id: bytes
    name: str
    source: str
    """The path it came from."""
    stamp: str
    """What tells whether the source changed since."""
    keys: bytes
    """Its keys, as `catalogue.encode_keys` writes them."""
    kind: str
    size: int
    segment_size: int
    k: int
    n: int
    created: int
    expires: int
    state: str


@dataclass(frozen=True, slots=True)
class DealRow:
    """A shard at a holder."""

    id: bytes
    object: bytes
    segment: int
    shard: int
    device: Address
    operator: Address
    root: bytes
    digest: bytes
    """Of the unmasked shard."""
    size: int
    price: int
    """Wei for a gigabyte over a month."""
    penalty: int
    starts: int
    """When the last pledge began."""
    until: int
    """When it ends."""
    ends: int
    """When the term ends."""
    paid: int
    """Until when it is paid."""
    signature: bytes | None
    """The device's, over the last pledge; None before the first."""
    state: str


class FilesJournal:
    """The journal."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """A change of one's own; on disk when this returns."""
        return await self._database.write(change)

    async def read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query."""
        return await self._database.read(lambda connection: connection.execute(query, values).fetchall())

    def close(self) -> None:
        """Finish and close."""
        self._database.close()

    # Objects

    async def put_object(self, row: ObjectRow) -> None:
        """An object begins, or its state changes."""
        values = (
            *(row.id, row.name, row.source, row.stamp, row.keys, row.kind, row.size, row.segment_size, row.k, row.n),
            *(row.created, row.expires, row.state),
        )
        query = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        await self.write(lambda connection: connection.execute(query, values))

    async def objects(self, *, id: bytes | None = None, state: str | None = None, source: str | None = None) -> list[ObjectRow]:
        """Objects, the newest first."""
        query = (
            "SELECT * FROM objects WHERE (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR source = ?3) "
            "ORDER BY created DESC"
        )
        return [ObjectRow(*row) for row in await self.read(query, (id, state, source))]

    async def leaves(self, object: bytes) -> None:
        """An object is about to lose its name: its shards go, unless it is found to have one."""
        await self.write(lambda connection: connection.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (object,)))

    async def stays(self, object: bytes) -> None:
        """It kept its name, or its shards are gone."""
        await self.write(lambda connection: connection.execute("DELETE FROM leaving WHERE object = ?", (object,)))

    async def leaving(self) -> set[bytes]:
        """Objects that are about to lose their names, or did."""
        return {bytes(object) for (object,) in await self.read("SELECT object FROM leaving")}

    # Deals

    async def put_deals(self, rows: Sequence[DealRow]) -> None:
        """Deals begin or change; all of them or none."""
        values = [
            (
                *(row.id, row.object, row.segment, row.shard, row.device, row.operator, row.root, row.digest, row.size, str(row.price)),
                *(str(row.penalty), row.starts, row.until, row.ends, row.paid, row.signature, row.state),
            )
            for row in rows
        ]
        query = "INSERT OR REPLACE INTO deals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        await self.write(lambda connection: connection.executemany(query, values))

    async def deals(
        self,
        *,
        object: bytes | None = None,
        segment: int | None = None,
        device: str | None = None,
        state: str | None = None,
    ) -> list[DealRow]:
        """Deals, segment by segment and shard by shard."""
        query = (
            "SELECT * FROM deals WHERE (?1 IS NULL OR object = ?1) AND (?2 IS NULL OR segment = ?2) AND (?3 IS NULL OR device = ?3) "
            "AND (?4 IS NULL OR state = ?4) ORDER BY object, segment, shard"
        )
        return [_deal(row) for row in await self.read(query, (object, segment, device, state))]

    async def spoil(self, deal: bytes, device: Address, root: bytes, why: str) -> None:
        """A read found that a device has other bytes than those of its shard; nothing, where the deal is not this one's and kept."""
        query = "INSERT OR IGNORE INTO spoiled SELECT id, ? FROM deals WHERE id = ? AND device = ? AND root = ? AND state = ?"
        await self.write(lambda connection: connection.execute(query, (why, deal, device, root, KEPT)))

    async def spoiled(self) -> dict[bytes, str]:
        """Deals whose shards a read found to be other bytes, and no keeper has heeded yet; each with why."""
        return {bytes(deal): why for deal, why in await self.read("SELECT deal, why FROM spoiled")}

    async def heeded(self, deals: Collection[bytes]) -> None:
        """A keeper has heeded what reads found."""
        rows = [(deal,) for deal in deals]
        await self.write(lambda connection: connection.executemany("DELETE FROM spoiled WHERE deal = ?", rows))

    async def holding(self) -> set[Address]:
        """Devices that hold something."""
        return {Address(device) for (device,) in await self.read("SELECT DISTINCT device FROM deals WHERE state = ?", (KEPT,))}

    async def put_maps(self, object: bytes, versions: Sequence[int]) -> None:
        """Which version each page of an object's map has."""
        rows = [(object, page, version) for page, version in enumerate(versions)]
        await self.write(lambda connection: connection.executemany("INSERT OR REPLACE INTO maps VALUES (?, ?, ?)", rows))

    # Devices

    async def seen(self, device: Address) -> tuple[float, float]:
        """Hours for which a device was there, and for which it was watched."""
        rows = await self.read("SELECT there, watched FROM devices WHERE device = ?", (device,))
        return (float(rows[0][0]), float(rows[0][1])) if rows else (0.0, 0.0)

    # Small things

    async def noted(self, name: str) -> bool:
        """Whether there is such a value."""
        return bool(await self.read("SELECT 1 FROM settings WHERE name = ?", (name,)))

    async def setting(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A value that is made once."""

        def change(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, make()))
            ((value,),) = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchall()
            return bytes(value)

        return await self.write(change)


def _deal(row: Sequence[Any]) -> DealRow:
    values = list(row)
    values[4:6] = [Address(each) for each in row[4:6]]
    values[9:11] = [int(each) for each in row[9:11]]
    return DealRow(*values)
