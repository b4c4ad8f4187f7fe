"""What a holder knows of its shards and records: rows beside the files, durable before anybody is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from surge.core.storage.accounts import Held
from surge.core.storage.deals import Deal, NotAgreed
from surge.core.types import Address
from surge.store import Database

T = TypeVar("T")

MIGRATIONS = (
    """
    CREATE TABLE deals (
        id BLOB PRIMARY KEY, channel BLOB NOT NULL, buyer TEXT NOT NULL, owner TEXT NOT NULL, keeper TEXT NOT NULL, root BLOB NOT NULL,
        size INTEGER NOT NULL, tag BLOB NOT NULL, price TEXT NOT NULL, penalty TEXT NOT NULL, since INTEGER NOT NULL,
        until INTEGER NOT NULL, ends INTEGER NOT NULL, paid INTEGER NOT NULL, proved INTEGER NOT NULL, kept INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX tags ON deals (tag);
    CREATE INDEX buyers ON deals (buyer, id);
    CREATE INDEX owners ON deals (owner, id);
    CREATE INDEX untils ON deals (kept, until);
    CREATE TABLE crowns (deal BLOB PRIMARY KEY, nodes BLOB NOT NULL);
    CREATE TABLE dropped (
        deal BLOB PRIMARY KEY, keeper TEXT NOT NULL, signature BLOB NOT NULL, at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE renewals (subject BLOB, deal BLOB, until INTEGER NOT NULL, PRIMARY KEY (subject, deal)) WITHOUT ROWID;
    CREATE INDEX waiting ON renewals (deal);
    CREATE TABLE channels (id BLOB PRIMARY KEY, paid INTEGER NOT NULL, stopped INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE totals (earned TEXT NOT NULL);
    INSERT INTO totals VALUES ('0');
    CREATE TABLE records (
        author TEXT NOT NULL, label BLOB NOT NULL, version INTEGER NOT NULL, record BLOB NOT NULL, size INTEGER NOT NULL,
        buyer TEXT NOT NULL, PRIMARY KEY (author, label)
    );
    CREATE INDEX sizes ON records (author, size);
    CREATE INDEX payers ON records (buyer, size);
    """,
    "ALTER TABLE records ADD COLUMN at INTEGER NOT NULL DEFAULT 0;",
    """
    CREATE INDEX keepers ON deals (keeper);
    CREATE VIEW guests AS SELECT * FROM records WHERE NOT EXISTS (
        SELECT 1 FROM deals WHERE (deals.buyer = records.buyer OR deals.keeper = records.author) AND kept = 1
    );
    """,
    """
    CREATE TABLE signers (channel BLOB PRIMARY KEY, session_key TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE permits (id BLOB PRIMARY KEY, channel BLOB NOT NULL, used INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX permitted ON permits (channel);
    CREATE INDEX ends ON permits (until);
    """,
    "ALTER TABLE dropped ADD COLUMN until INTEGER NOT NULL DEFAULT 0;",
)


def _deal(row: Any) -> Deal:
    identity, channel, buyer, owner, keeper, root, size, tag, price, penalty, since, until, ends, paid, proved, kept = row
    return Deal(
        identity, channel, Address(buyer), Address(owner), Address(keeper), root, size, tag, int(price), int(penalty),
        since, until, ends, paid, proved, bool(kept),
    )  # fmt: skip


def _row(deal: Deal) -> tuple[Any, ...]:
    return (
        deal.id, deal.channel, deal.buyer, deal.owner, deal.keeper, deal.root, deal.size, deal.tag, str(deal.price), str(deal.penalty),
        deal.since, deal.until, deal.ends, deal.paid, deal.proved, deal.kept,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Released:
    """A keeper's word that a shard was not wanted any more."""

    keeper: Address
    """Whose."""
    signature: bytes
    """Over `core.storage.pledges.Release`."""


class Index:
    """The rows. One process at a time uses them; what is read is what is on disk."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS, exclusive=True)

    def close(self) -> None:
        """Finish what was submitted, and close."""
        self._database.close()

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._database.read_now(lambda connection: connection.execute(query, values).fetchall())

    def _one(self, query: str, values: Sequence[Any] = ()) -> Any:
        return self._database.read_now(lambda connection: connection.execute(query, values).fetchone())

    async def _change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return await self._database.write(change)

    # Deals

    def deal(self, identity: bytes) -> Deal | None:
        """A deal, kept or not."""
        row = self._one("SELECT * FROM deals WHERE id = ?", (identity,))
        return None if row is None else _deal(row)

    def deals(self) -> list[Deal]:
        """All of them that are not kept yet."""
        return [_deal(row) for row in self._all("SELECT * FROM deals WHERE kept = 0")]

    def tagged(self, tag: bytes) -> bytes | None:
        """The deal with a tag."""
        row = self._one("SELECT id FROM deals WHERE tag = ?", (tag,))
        return None if row is None else bytes(row[0])

    def over(self, now: int) -> list[Deal]:
        """Deals whose pledge ran out; whether their grace did too is not looked at."""
        query = "SELECT * FROM deals WHERE kept = 1 AND until < ? ORDER BY until"
        return [_deal(row) for row in self._all(query, (now,))]

    def listed(self, buyer: Address, after: bytes, count: int) -> list[tuple[bytes, int]]:
        """Kept deals that this wallet pays for or owns, by id, and when their pledge ends."""
        query = "SELECT id, until FROM deals WHERE (buyer = ? OR owner = ?) AND kept = 1 AND id > ? ORDER BY id LIMIT ?"
        return self._all(query, (buyer, buyer, after, count))

    def pays(self, buyer: Address, keeper: Address) -> bool:
        """Whether a wallet pays for a deal that is kept, or there is one that this keeper may release."""
        query = "SELECT 1 FROM deals WHERE (buyer = ? OR keeper = ?) AND kept = 1 LIMIT 1"
        return self._one(query, (buyer, keeper)) is not None

    def totals(self) -> tuple[int, int, int]:
        """Shards kept, their bytes, and bytes reserved in all, records included."""
        shards, kept, reserved = self._one(
            "SELECT COALESCE(SUM(kept), 0), COALESCE(SUM(kept * size), 0), COALESCE(SUM(size), 0) FROM deals"
        )
        (records,) = self._one("SELECT COALESCE(SUM(size), 0) FROM records")
        return shards, kept, reserved + records

    async def add(self, deal: Deal) -> None:
        """A deal begins."""
        query = "INSERT INTO deals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        await self._change(lambda connection: connection.execute(query, _row(deal)))

    async def kept(self, deal: Deal, nodes: bytes) -> None:
        """A deal's shard is whole on disk, with the upper part of its tree."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO crowns VALUES (?, ?)", (deal.id, nodes))
            connection.execute("UPDATE deals SET kept = 1 WHERE id = ?", (deal.id,))

        await self._change(change)

    def crown(self, identity: bytes) -> bytes | None:
        """The upper part of a shard's tree."""
        row = self._one("SELECT nodes FROM crowns WHERE deal = ?", (identity,))
        return None if row is None else row[0]

    async def forget(self, deal: Deal, release: bytes = b"", at: int = 0) -> bool:
        """A deal is over; its keeper's `release` is kept, if there was one, with its time.

        False, and nothing changes, where it is gone; or was pledged on meanwhile, without a release.
        """

        def change(connection: sqlite3.Connection) -> bool:
            query, values = "DELETE FROM deals WHERE id = ? AND (until = ? OR ?)", (deal.id, deal.until, bool(release))
            if not connection.execute(query, values).rowcount:
                return False
            connection.execute("DELETE FROM crowns WHERE deal = ?", (deal.id,))
            connection.execute("DELETE FROM renewals WHERE deal = ?", (deal.id,))
            if release:
                until = deal.until if deal.kept and deal.penalty else 0
                connection.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?, ?, ?, ?)", (deal.id, deal.keeper, release, at, until))
            return True

        return await self._change(change)

    def released(self, identity: bytes) -> Released | None:
        """On whose word a deal was dropped not long ago."""
        row = self._one("SELECT keeper, signature FROM dropped WHERE deal = ?", (identity,))
        return None if row is None else Released(Address(row[0]), row[1])

    def bound(self) -> int:
        """When the last pledge ends of what was dropped on its keeper's word; 0 for none. Until then it may be challenged."""
        return int(self._one("SELECT COALESCE(MAX(until), 0) FROM dropped")[0])

    def shown(self, deals: Iterable[Deal]) -> None:
        """Deals were proved, the first time since they were paid. Does not wait: a disk that is full keeps nobody from showing."""
        rows, query = [(deal.proved, deal.id) for deal in deals], "UPDATE deals SET proved = ? WHERE id = ? AND proved = 0"
        self._database.submit(lambda connection: connection.executemany(query, rows))

    # Pay

    async def renewed(self, subject: bytes, deals: Sequence[Deal], helds: Sequence[Held]) -> None:
        """Deals are pledged on; what is paid once the receipt about `subject` is accepted waits.

        Raises `NotAgreed`, and nothing changes, where one of them was forgotten meanwhile.
        """
        rows = [(deal.since, deal.until, deal.ends, deal.id) for deal in deals]
        waiting = [(subject, held.deal, held.until) for held in helds]

        def change(connection: sqlite3.Connection) -> None:
            if connection.executemany("UPDATE deals SET since = ?, until = ?, ends = ? WHERE id = ?", rows).rowcount < len(rows):
                raise NotAgreed("missing", "a shard was dropped here just now")
            connection.executemany("INSERT OR REPLACE INTO renewals VALUES (?, ?, ?)", waiting)

        await self._change(change)

    def waiting(self, deal: bytes) -> list[tuple[bytes, int]]:
        """Subjects of receipts that may wait for an answer and pay for a deal, and until when."""
        return self._all("SELECT subject, until FROM renewals WHERE deal = ?", (deal,))

    def settled(self, subject: bytes, accepted: bool, paid: Callable[[Deal, int], Deal]) -> None:
        """The receipt about `subject` was answered. Does not wait: the answer itself is in the journal of receipts."""

        def change(connection: sqlite3.Connection) -> None:
            rows = connection.execute("SELECT deal, until FROM renewals WHERE subject = ?", (subject,)).fetchall()
            connection.execute("DELETE FROM renewals WHERE subject = ?", (subject,))
            for identity, until in rows if accepted else ():
                row = connection.execute("SELECT * FROM deals WHERE id = ?", (identity,)).fetchone()
                if row is not None:
                    deal = paid(_deal(row), until)
                    connection.execute("UPDATE deals SET paid = ?, proved = ? WHERE id = ?", (deal.paid, deal.proved, identity))

        self._database.submit(change)

    def channel(self, identity: bytes) -> tuple[int, bool]:
        """Bytes that a channel paid for being moved, and whether it is stopped."""
        row = self._one("SELECT paid, stopped FROM channels WHERE id = ?", (identity,))
        return (0, False) if row is None else (row[0], bool(row[1]))

    def note_channel(self, identity: bytes, paid: int, earned: int, *, stopped: bool) -> None:
        """How a channel stands now, and what was earned on all of them. Does not wait."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO channels VALUES (?, ?, ?)", (identity, paid, stopped))
            connection.execute("UPDATE totals SET earned = ?", (str(earned),))

        self._database.submit(change)

    def earned(self) -> int:
        """Wei that were earned on all channels."""
        return int(self._one("SELECT earned FROM totals")[0])

    # Permits

    def signer(self, channel: bytes) -> Address | None:
        """Whose permits hold for a channel."""
        row = self._one("SELECT session_key FROM signers WHERE channel = ?", (channel,))
        return None if row is None else Address(row[0])

    def note_signer(self, channel: bytes, session_key: Address) -> None:
        """Whose permits hold for a channel. Does not wait: a permit that comes too early is shown again."""
        values = (channel, session_key)
        self._database.submit(lambda connection: connection.execute("INSERT OR REPLACE INTO signers VALUES (?, ?)", values))

    def forget_signers(self, channels: Iterable[bytes]) -> None:
        """No permits hold for these channels any more. Does not wait."""
        values = [(channel,) for channel in channels]
        self._database.submit(lambda connection: connection.executemany("DELETE FROM signers WHERE channel = ?", values))

    def used(self, permit: bytes) -> int:
        """Bytes that were read by a permit, as far as that is known, or more."""
        row = self._one("SELECT used FROM permits WHERE id = ?", (permit,))
        return 0 if row is None else int(row[0])

    def permits(self, channel: bytes) -> int:
        """Permits of a channel that are remembered."""
        return int(self._one("SELECT COUNT(*) FROM permits WHERE channel = ?", (channel,))[0])

    async def use(self, permit: bytes, channel: bytes, used: int, until: int) -> None:
        """So many bytes of a permit count as read."""
        values = (permit, channel, used, until)
        await self._change(lambda connection: connection.execute("INSERT OR REPLACE INTO permits VALUES (?, ?, ?, ?)", values))

    async def forget_permits(self, before: int) -> None:
        """Forget permits that ended before."""
        await self._change(lambda connection: connection.execute("DELETE FROM permits WHERE until < ?", (before,)))

    # Records

    def record(self, author: Address, label: bytes) -> bytes | None:
        """The record kept."""
        row = self._one("SELECT record FROM records WHERE author = ? AND label = ?", (author, label))
        return None if row is None else row[0]

    def others(self, author: Address, label: bytes, buyer: Address) -> tuple[int, int]:
        """Bytes of an author's other records, and of other records that a wallet pays for."""
        own = self._one("SELECT COALESCE(SUM(size), 0) FROM records WHERE author = ? AND label != ?", (author, label))
        query = "SELECT COALESCE(SUM(size), 0) FROM records WHERE buyer = ? AND NOT (author = ? AND label = ?)"
        return own[0], self._one(query, (buyer, author, label))[0]

    def guests(self, author: Address, label: bytes) -> int:
        """Bytes of all records but this one whose wallets have no shard here."""
        query = "SELECT COALESCE(SUM(size), 0) FROM guests WHERE NOT (author = ? AND label = ?)"
        return int(self._one(query, (author, label))[0])

    async def keep_record(self, author: Address, label: bytes, version: int, record: bytes, buyer: Address, now: int) -> None:
        """Keep a record in place of an older one; one that came meanwhile and is not older stays."""
        query = (
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (author, label) DO UPDATE SET version = excluded.version, "
            "record = excluded.record, size = excluded.size, buyer = excluded.buyer, at = excluded.at WHERE excluded.version > version"
        )
        values = (author, label, version, record, len(record), buyer, now)
        await self._change(lambda connection: connection.execute(query, values))

    async def sweep(self, before: int, small: int) -> int:
        """Forget records that nobody pays for any more, and what was dropped before. Gives the bytes of those records.

        Those of a wallet that has `small` bytes of them at most stay until they are older than that.
        """

        def change(connection: sqlite3.Connection) -> int:
            over = connection.execute(
                "SELECT author, label, size FROM guests "
                "WHERE at < ?1 OR buyer IN (SELECT buyer FROM records GROUP BY buyer HAVING SUM(size) > ?2)",
                (before, small),
            ).fetchall()
            connection.executemany("DELETE FROM records WHERE author = ? AND label = ?", [(author, label) for author, label, _ in over])
            connection.execute("DELETE FROM dropped WHERE at < ?", (before,))
            return sum(size for _, _, size in over)

        return await self._change(change)
