"""The buyer's journal: what must survive a kill, in `buyer.db`.

What is written before what: a job before its first unit; a unit's cut and try before the unit is sent; a result, its
receipt, its acknowledgement and the voucher that covers it, all in one transaction, before the acknowledgement is sent.
So a buyer that comes back knows every unit it ever asked for, and asks the same channels for the same unit ids before
anything else.

Amounts are kept as decimal text: SQLite's integers stop at 63 bits.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from surge.buyer import signed_terms
from surge.buyer.audits import AuditRow, Doubted, put_audit, put_doubts
from surge.buyer.counting import count_old
from surge.buyer.pieces import Block, ResultRow, put_inputs, put_results, read_inputs, read_results
from surge.buyer.plan import Plan
from surge.buyer.schema import MIGRATIONS
from surge.core import canonical
from surge.core.channels import Answered
from surge.core.messages.fields import wei, wei_bytes
from surge.core.pricing import Prices
from surge.core.receipts import Receipt, Terms, Voucher
from surge.errors import InternalFault
from surge.store import Database

T = TypeVar("T")

RUNNING, DONE, FAILED, STOPPED, CANCELLED = "running", "done", "failed", "stopped", "cancelled"
"""States of a job. One that failed, was stopped or is running in a process that is gone can be resumed."""

SETUP = -1
"""In place of a cut's number: the job's setup."""

OPENING, OPEN, CLOSING, CLOSED, BROKEN = "opening", "open", "closing", "closed", "broken"
"""States of a channel as its buyer sees it. Opening: its deposit may be on the ledger, and nobody has seen it there. Broken: its
provider broke the protocol, and it is not used again."""


@dataclass(frozen=True, slots=True)
class TryRow:
    """A unit that was sent, or is about to be."""

    number: int
    channel: bytes
    unit: bytes
    fuel: int
    """Its fuel limit."""
    prices: Prices
    """What it was asked at."""


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """An answered receipt."""

    leaf: Answered
    """The answer and its place in the channel's log."""
    receipt: Receipt
    signature: bytes
    """The device's."""
    digest: bytes
    """What the device signed."""
    outcome: bytes | None
    """What the result hash is over, as canonical bytes."""
    job: bytes | None


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel of ours."""

    id: bytes
    device: str
    operator: str
    key: str
    """The session key's name in the keystore."""
    terms: bytes
    deposit: int
    state: str
    opened: float
    amount: int = 0
    """Wei of the last voucher."""
    count: int = 0
    root: bytes | None = None
    signature: bytes | None = None
    salt: bytes | None = None
    """What its id was made with, and its opening transaction carries; None in rows of older versions."""
    floor: int = 0
    """Wei it pays at least; 0 in rows of older versions."""
    job: bytes | None = None
    """The job that it was opened for, or that raised its floor: its budget bears the floor."""


def pack_receipt(receipt: Receipt) -> bytes:
    """A receipt as the journal keeps it: quick to write, because there is one for every unit."""
    fields = [getattr(receipt, name) for name in Receipt.__slots__]
    fields[_AMOUNT] = wei_bytes(receipt.amount)
    return _packer.encode(fields)


def unpack_receipt(data: bytes) -> Receipt:
    """The receipt in a journal."""
    fields = msgspec.msgpack.decode(data)
    fields[_AMOUNT] = wei(fields[_AMOUNT])
    return Receipt(*fields)


_packer = msgspec.msgpack.Encoder()
_AMOUNT = Receipt.__slots__.index("amount")


@lru_cache(maxsize=64)
def _prices(prices: Prices) -> bytes:
    return canonical.encode(prices.fields())


class Journal:
    """`buyer.db`. Every method returns after what it wrote is on disk."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, MIGRATIONS)

    async def close(self) -> None:
        """Finish what was submitted and close the file."""
        await asyncio.to_thread(self._db.close)

    # Jobs

    async def create_job(self, plan: Plan, total: int | None) -> None:
        """A new job, running."""
        row = (plan.id, plan.name, RUNNING, time.time(), plan.encode(), total)
        await self._db.write(lambda db: db.execute("INSERT INTO jobs (id, name, state, created, plan, total) VALUES (?,?,?,?,?,?)", row))

    async def set_job(self, job: bytes, state: str, *, error: str = "", total: int | None = None) -> None:
        """The job's state changed; `total` is set once it is known."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE jobs SET state = ?, error = ? WHERE id = ?", (state, error, job))
            if total is not None:
                db.execute("UPDATE jobs SET total = ? WHERE id = ?", (total, job))

        await self._db.write(work)

    async def cancel_job(self, job: bytes) -> bool:
        """Mark a job as cancelled; whoever runs it looks for that. Returns False for one that is done."""

        def work(db: sqlite3.Connection) -> bool:
            return db.execute("UPDATE jobs SET state = ? WHERE id = ? AND state != ?", (CANCELLED, job, DONE)).rowcount == 1

        return await self._db.write(work)

    def dispatch(
        self,
        job: bytes,
        *,
        blocks: Sequence[Block] = (),
        cuts: Iterable[tuple[int, int, int]] = (),
        retired: Iterable[int] = (),
        tries: Iterable[TryRow] = (),
        total: int | None = None,
    ) -> Future[None]:
        """Inputs, cuts and tries, before any unit that needs them is sent; cuts that others replace go.

        The future answers once it is on disk: await it with `asyncio.wrap_future`, or leave it where nobody depends on it.
        """
        cut_rows = [(job, *cut) for cut in cuts]
        try_rows = [(job, one.number, one.channel, one.unit, one.fuel, _prices(one.prices)) for one in tries]
        gone = [(job, number) for number in retired]

        def work(db: sqlite3.Connection) -> None:
            if blocks:
                put_inputs(db, job, blocks)
                db.execute("UPDATE jobs SET spooled = max(spooled, ?) WHERE id = ?", (blocks[-1].first + len(blocks[-1].items), job))
            if total is not None:
                db.execute("UPDATE jobs SET total = ? WHERE id = ?", (total, job))
            if cut_rows:
                db.executemany("INSERT OR REPLACE INTO cuts (job, number, first, count) VALUES (?,?,?,?)", cut_rows)
            if gone:
                db.executemany("UPDATE cuts SET retired = 1 WHERE job = ? AND number = ?", gone)
            if try_rows:
                db.executemany("INSERT OR REPLACE INTO tries VALUES (?,?,?,?,?,?)", try_rows)

        return self._db.submit(work)

    async def save_results(self, results: Sequence[ResultRow]) -> None:
        """Results that come with no receipt."""
        await self._db.write(lambda db: put_results(db, results))

    async def settle(self, voucher: Voucher, signature: bytes, receipts: Sequence[ReceiptRow], results: Sequence[ResultRow]) -> None:
        """Answered receipts, the results they are for, and the voucher that covers them, all or nothing."""
        channel = voucher.channel
        rows = [
            (
                channel,
                row.leaf.index,
                row.leaf.sequence,
                pack_receipt(row.receipt),
                row.signature,
                row.digest,
                row.leaf.leaf,
                row.leaf.accepted,
                row.receipt.kind,
                row.receipt.subject,
                str(row.leaf.amount),
                row.receipt.quantity,
                row.outcome,
                row.job,
                row.receipt.finished_at,
            )
            for row in receipts
        ]
        billed = [(channel, row.receipt.kind, row.receipt.subject, row.job) for row in receipts if row.leaf.accepted]
        state = (str(voucher.amount), voucher.count, voucher.root, signature, channel)

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT INTO receipts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            db.executemany("UPDATE intents SET paid = paid + 1 WHERE channel = ? AND kind = ? AND subject = ? AND job = ?", billed)
            put_results(db, results)
            db.execute("UPDATE channels SET amount = ?, count = ?, root = ?, signature = ? WHERE id = ?", state)

        await self._db.write(work)

    def count_old(self, job: bytes) -> None:
        """Count the failed items among a job's results that an older version wrote, for callers without an event loop."""
        count_old(self._db, job)

    def results_soon(self, results: Sequence[ResultRow]) -> None:
        """`save_results` without waiting; the order of writes stays."""
        self._db.submit(lambda db: put_results(db, results))

    def event_soon(self, job: bytes, text: str) -> None:
        """Something a user may want to know about a job. Nobody waits for it."""
        row = (job, time.time(), text)
        self._db.submit(lambda db: db.execute("INSERT INTO events VALUES (?,?,?)", row))

    def seen_soon(self, rows: Sequence[tuple[str, int, str, float]]) -> None:
        """What was seen of devices: device, day since 1970, what, and how much more of it. Nobody waits for it."""
        query = "INSERT INTO seen VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        self._db.submit(lambda db: db.executemany(query, rows))

    def terms_soon(self, terms: Terms, signature: bytes) -> None:
        """New prices agreed on for a job, as its device signed them. Nobody waits for it; what depends on it is written later."""
        self._db.submit(lambda db: signed_terms.agree(db, terms, signature))

    def evidence_soon(self, device: str, operator: str, units: float, passed: float, failed: float, updated: float) -> None:
        """What was seen of a device. Nobody waits for it."""
        row = (device, operator, units, passed, failed, updated)
        self._db.submit(lambda db: db.execute("INSERT OR REPLACE INTO evidence VALUES (?,?,?,?,?,?)", row))

    def audit_soon(self, row: AuditRow) -> None:
        """A result that was checked. Nobody waits for it: it is written before the answer to its receipt."""
        self._db.submit(lambda db: put_audit(db, row))

    async def doubt(self, job: bytes, results: Sequence[Doubted], cuts: Sequence[tuple[int, int, int]]) -> None:
        """Results that are computed again, in these cuts: what is there of them goes."""
        await self._db.write(lambda db: put_doubts(db, job, results, cuts))

    async def keep_terms(self, terms: Terms, signature: bytes) -> None:
        """The terms under which a channel was opened, as its device signed them."""
        await self._db.write(lambda db: signed_terms.keep(db, terms, signature))

    def channel_broken_soon(self, channel: bytes) -> None:
        """A channel whose provider broke the protocol. Nobody waits for it."""
        self._db.submit(lambda db: db.execute("UPDATE channels SET state = ? WHERE id = ?", (BROKEN, channel)))

    async def intend(self, channel: bytes, kind: int, subject: bytes, job: bytes, *, size: int, amount: int, asked: int) -> None:
        """A provider is about to be asked to take or to compile something, for the so manieth time. See `intents`."""
        row = (channel, kind, subject, job, size, str(amount), asked)
        await self._db.write(
            lambda db: db.execute(
                "INSERT INTO intents (channel, kind, subject, job, size, amount, asked) VALUES (?,?,?,?,?,?,?) "
                "ON CONFLICT DO UPDATE SET size = excluded.size, amount = excluded.amount, asked = excluded.asked",
                row,
            )
        )

    async def tried(self, channel: bytes, unit: bytes) -> Prices | None:
        """The prices at which a unit was asked before on a channel; None if it never was."""
        rows = await self.read("SELECT prices FROM tries WHERE channel = ? AND unit = ?", (channel, unit))
        return Prices(*canonical.decode(rows[0][0])) if rows else None

    async def inputs(self, job: bytes, first: int, count: int) -> list[bytes]:
        """Items as they were spooled. Raises `InternalFault` when some are missing."""
        items = await self._db.read(lambda db: read_inputs(db, job, first, count))
        if len(items) != count:
            raise InternalFault(f"the journal lacks inputs of items {first} to {first + count}", job=job)
        return items

    async def results(self, job: bytes) -> list[ResultRow]:
        """What a job has, in order."""
        return await self._db.read(lambda db: read_results(db, job))

    async def result(self, job: bytes, first: int) -> ResultRow | None:
        """The result that begins with this item; None where there is none."""
        return next(iter(await self._db.read(lambda db: read_results(db, job, first))), None)

    # Channels

    async def save_channel(self, row: ChannelRow) -> None:
        """A channel that was opened, or whose row changed."""
        values = (
            row.id,
            row.device,
            row.operator,
            row.key,
            row.terms,
            str(row.deposit),
            row.state,
            row.opened,
            str(row.amount),
            row.count,
            row.root,
            row.signature,
            row.salt,
            str(row.floor),
            row.job,
        )
        await self._db.write(lambda db: db.execute("INSERT OR REPLACE INTO channels VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", values))

    async def drop_channel(self, channel: bytes) -> None:
        """A channel that was about to be opened and never will be."""
        await self._db.write(lambda db: db.execute("DELETE FROM channels WHERE id = ? AND state = ?", (channel, OPENING)))

    async def set_channel(
        self,
        channel: bytes,
        *,
        state: str | None = None,
        deposit: int | None = None,
        terms: bytes | None = None,
        floor: int | None = None,
        job: bytes | None = None,
    ) -> None:
        """A channel's state, deposit or terms changed; or its floor, at the cost of a job."""

        def work(db: sqlite3.Connection) -> None:
            if state is not None:
                db.execute("UPDATE channels SET state = ? WHERE id = ?", (state, channel))
            if deposit is not None:
                db.execute("UPDATE channels SET deposit = ? WHERE id = ?", (str(deposit), channel))
            if terms is not None:
                db.execute("UPDATE channels SET terms = ? WHERE id = ?", (terms, channel))
            if floor is not None:
                db.execute("UPDATE channels SET floor = ?, opened_for = ? WHERE id = ?", (str(floor), job, channel))

        await self._db.write(work)

    async def channels(self, *, device: str | None = None, state: str | None = None) -> list[ChannelRow]:
        """Channels, the newest first."""
        rows = await self.read(
            "SELECT id, device, operator, key, terms, deposit, state, opened, amount, count, root, signature, salt, floor, opened_for "
            "FROM channels WHERE (?1 IS NULL OR device = ?1) AND (?2 IS NULL OR state = ?2) ORDER BY opened DESC",
            (device, state),
        )
        return [
            ChannelRow(
                key, device, operator, name, terms, int(deposit), state, opened, int(amount), count, root, sign, salt, int(floor), job
            )
            for key, device, operator, name, terms, deposit, state, opened, amount, count, root, sign, salt, floor, job in rows
        ]

    async def floors(self, job: bytes) -> dict[bytes, int]:
        """Wei of their floors that the channels opened for a job have not promised yet, by channel."""
        rows = await self.read("SELECT id, floor, amount FROM channels WHERE opened_for = ?", (job,))
        return {channel: max(0, int(floor) - int(amount)) for channel, floor, amount in rows}

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change of tables that have a module of their own; on disk when this returns."""
        return await self._db.write(change)

    async def read(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query that only reads. The room's listings are built on it."""
        return await self._db.read(lambda db: db.execute(query, tuple(values)).fetchall())

    def read_now(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """`read` for callers without an event loop."""
        return self._db.read_now(lambda db: db.execute(query, tuple(values)).fetchall())
