"""What the ledger shows that operators were paid, kept in the buyer's folder as `payments.db`: read once for all of them, page by page.

New blocks are read oldest first and the past newest first, so that what was read is one run of blocks; each page is kept as it comes, and a
look that runs out of time goes on with the next. Fees are summed up by operator, channel and day.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Protocol

from surge.core.standing import HALF_LIFE, Payment
from surge.core.types import Address
from surge.errors import SurgeError
from surge.ledger import Page
from surge.store import Database

log = logging.getLogger("surge.buyer")

HORIZON = 6 * HALF_LIFE
"""Seconds back to which is read: what was paid before weighs less than a sixty-fourth."""

AGAIN_SECONDS = 60.0
"""Seconds after which the ledger is looked at again."""

DAY = 86_400

UNKNOWN = Address("0x" + "00" * 20)
"""In place of buyers whose channels were opened before the horizon: all of them count as one."""

_PAID = (
    "SELECT day / 7, coalesce(buyer, ?), sum(CAST(fee AS REAL)) FROM paid LEFT JOIN opened USING (channel) WHERE provider = ? GROUP BY 1, 2"
)

MIGRATIONS = (
    """
    CREATE TABLE span (low INTEGER NOT NULL, high INTEGER NOT NULL, since REAL NOT NULL);
    CREATE TABLE opened (channel BLOB PRIMARY KEY, buyer TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE paid (
        provider TEXT NOT NULL, day INTEGER NOT NULL, channel BLOB NOT NULL, fee TEXT NOT NULL, PRIMARY KEY (provider, day, channel)
    ) WITHOUT ROWID;
    """,
)


class Histories(Protocol):
    """What is asked of the ledger, as `surge.ledger.Histories` answers it."""

    async def head(self) -> int:
        """The newest block that counts."""
        ...

    def pages(self, first: int, last: int, *, newest_first: bool) -> AsyncIterator[Page]:
        """What happened in these blocks."""
        ...


class Payments:
    """`payments.db`: every process of the folder may use it at once."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, MIGRATIONS)
        self._looking = asyncio.Lock()
        self._looked = float("-inf")

    @classmethod
    def opened(cls, path: Path) -> Payments | None:
        """Open them; None where the file cannot be used: it only holds what can be read again, so it stops nobody."""
        try:
            return cls(path)
        except SurgeError as error:
            log.warning("what the ledger shows of providers counts nothing now: %s", error)
            return None

    def close(self) -> None:
        """Finish what was submitted and close the file."""
        self._db.close()

    async def look(self, histories: Histories, seconds: float) -> None:
        """Read on for so many seconds at most, unless that was done just now. What the ledger does not show is read another time."""
        try:
            async with asyncio.timeout(seconds), self._looking:
                if time.monotonic() - self._looked > AGAIN_SECONDS:
                    await self._read(histories)
                    self._looked = time.monotonic()
        except TimeoutError:
            log.info("the ledger's past was not read to its end in %.0f s: it is read on at the next look", seconds)
        except SurgeError as error:
            log.info("the ledger's past cannot be read now: %s", error)

    async def _read(self, histories: Histories) -> None:
        head = await histories.head()
        span = await self._span()
        if span is not None and span[1] < head:
            async for page in histories.pages(span[1] + 1, head, newest_first=False):
                if not await self._keep(page, span):
                    return
                span = span[0], page.last, span[2]
        horizon = time.time() - HORIZON
        last = head if span is None else span[0] - 1
        if span is not None and span[2] < horizon:
            return
        async for page in histories.pages(0, last, newest_first=True):
            if not await self._keep(page, span):
                return
            span = (page.first, page.last, page.since) if span is None else (page.first, span[1], page.since)
            if page.since < horizon:
                return

    async def _span(self) -> tuple[int, int, float] | None:
        """The blocks that were read, first and last, and when the first was made; None while none were."""
        rows = await self._db.read(lambda db: db.execute("SELECT low, high, since FROM span").fetchall())
        return rows[0] if rows else None

    async def _keep(self, page: Page, span: tuple[int, int, float] | None) -> bool:
        """Write a page down, if what was read before is still as it was: another process may have read it meanwhile."""

        def work(db: sqlite3.Connection) -> bool:
            rows = db.execute("SELECT low, high, since FROM span").fetchall()
            if (rows[0] if rows else None) != span:
                return False
            low, high, since = span or (page.first, page.last, page.since)
            if page.first < low:
                low, since = page.first, page.since
            db.execute("DELETE FROM span")
            db.execute("INSERT INTO span VALUES (?,?,?)", (low, max(high, page.last), since))
            db.executemany("INSERT OR IGNORE INTO opened VALUES (?,?)", [(each.channel, each.buyer) for each in page.opened])
            for each in page.paid:
                key = each.provider, int(each.time) // DAY, each.channel
                known = db.execute("SELECT fee FROM paid WHERE provider = ? AND day = ? AND channel = ?", key).fetchall()
                fee = each.fee + sum(int(text) for (text,) in known)
                db.execute("INSERT OR REPLACE INTO paid VALUES (?,?,?,?)", (*key, str(fee)))
            old = int(time.time() - HORIZON) // DAY - 1
            db.execute("DELETE FROM paid WHERE day < ?", (old,))
            return True

        return await self._db.write(work)

    async def of(self, operators: Collection[Address]) -> dict[Address, tuple[Payment, ...]]:
        """What these operators were paid, as far as it was read, by buyer and week: an entry for each that was paid anything."""
        found: dict[Address, tuple[Payment, ...]] = {}

        def work(db: sqlite3.Connection) -> None:
            for operator in operators:
                rows = db.execute(_PAID, (UNKNOWN, operator)).fetchall()
                if rows:
                    found[operator] = tuple(Payment((week * 7 + 3.5) * DAY, Address(buyer), int(fees)) for week, buyer, fees in rows)

        try:
            await self._db.read(work)
        except SurgeError as error:
            log.warning("what the ledger shows of providers counts nothing now: %s", error)
        return found

    async def since(self) -> float | None:
        """When the first block that was read was made, Unix seconds; None while none were read."""
        span = await self._span()
        return None if span is None else span[2]
