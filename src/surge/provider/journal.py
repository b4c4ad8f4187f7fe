"""The provider's journal: channels, buyers, receipts, acknowledgements, offers, as rows.

A receipt's row holds its answer's body until it is acknowledged, then its leaf. The rows of a channel have neighbouring ids
(channel number, then sequence), so that a unit costs one insert and one update.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from surge.core.channels import Answered
from surge.core.exposure import Owed, Standing
from surge.core.messages.fields import wei, wei_bytes
from surge.core.receipts import WINDOWED, Receipt, ReceiptKind, Signed, Voucher
from surge.core.types import ZERO, Address
from surge.provider.batches import Batches, Done
from surge.provider.schema import CHANNELS, MIGRATIONS, ChannelRow, channel_row
from surge.store import Database

_SHIFT = 40
"""Bits of a receipt's id that hold its sequence; the channel's number lies above them."""

_STOP = "UPDATE channels SET stopped = ? WHERE number = ? AND stopped = ''"


@dataclass(slots=True)
class History:
    """What a channel's rows hold, to rebuild its state from."""

    waiting: list[Signed] = field(default_factory=list)
    """Receipts without an acknowledgement."""
    leaves: list[Answered] = field(default_factory=list)
    """Acknowledgements in the log's order."""
    outputs: set[int] = field(default_factory=set)
    """Sequences of waiting receipts whose answer's output is a file."""
    defaulted: set[int] = field(default_factory=set)
    """Sequences of waiting receipts that cost the buyer its window already."""
    refused: int = 0
    """Wei of the receipts that the buyer refused."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Receipts of one channel that waited for too long."""

    channel: bytes
    buyer: Address
    sequences: tuple[int, ...]
    units: int
    """How many of them counted against the window."""


class Journal:
    """Durable state of one provider. Writes go through `batches`; reads are of what is on disk."""

    def __init__(self, path: Path, device: Address, *, exclusive: bool = True) -> None:
        self.database = Database(path, MIGRATIONS, exclusive=exclusive)
        self.batches = Batches(self.database)
        self._device = device

    def close(self) -> None:
        """Finish and close."""
        self.batches.close()
        self.database.close()

    # Settings and offers

    def setting(self, name: str) -> bytes | None:
        """A value kept under a name."""
        row = self.database.read_now(lambda c: c.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone())
        return None if row is None else bytes(row[0])

    async def keep_offer(self, digest: bytes, offer: bytes, sequence: int, expires: int, forget_before: int) -> None:
        """Keep an offer that is about to be published, and its sequence; forget those that expired long ago."""

        def change(c: sqlite3.Connection) -> None:
            c.execute("INSERT OR REPLACE INTO offers VALUES (?, ?, ?)", (digest, offer, expires))
            c.execute("DELETE FROM offers WHERE expires < ?", (forget_before,))
            sql = "INSERT INTO settings VALUES ('sequence', ?) ON CONFLICT DO UPDATE SET value = excluded.value"
            c.execute(sql, (str(sequence).encode(),))

        await self.batches.write(change)

    def offer(self, digest: bytes) -> bytes | None:
        """An offer of ours, as it was published."""
        row = self.database.read_now(lambda c: c.execute("SELECT offer FROM offers WHERE digest = ?", (digest,)).fetchone())
        return None if row is None else bytes(row[0])

    # Buyers

    def standing(self, buyer: Address) -> Standing | None:
        """A buyer's standing, with what is outstanding by the receipts on disk; None for one that is new."""
        sql = "SELECT kind, COUNT(*) FROM receipts WHERE id >= ? AND id < ? AND position IS NULL AND defaulted IS NULL GROUP BY kind"

        def query(c: sqlite3.Connection) -> tuple[bytes | None, int]:
            row = c.execute("SELECT standing FROM buyers WHERE address = ?", (buyer,)).fetchone()
            numbers = [number for (number,) in c.execute("SELECT number FROM channels WHERE buyer = ? AND NOT closed", (buyer,))]
            outstanding = 0
            for number in numbers:
                found = c.execute(sql, (number << _SHIFT, (number + 1) << _SHIFT))
                outstanding += sum(count for kind, count in found if kind in WINDOWED)
            return (None if row is None else bytes(row[0])), outstanding

        data, outstanding = self.database.read_now(query)
        if data is None:
            return None
        kept = Standing.decode(data)
        return Standing(kept.window, kept.vouched, outstanding, kept.defaults, kept.credit)

    def owed(self, buyer: Address) -> dict[bytes, Owed]:
        """What is owed on each of a buyer's channels. Of one that is closed, what it lost and was not held against the buyer yet."""
        sql = (
            "SELECT amount FROM receipts WHERE id >= ? AND id < ? AND ((position IS NULL AND (defaulted IS NULL OR NOT ?3)) "
            "OR (accepted = 0 AND NOT ?3))"
        )

        def query(c: sqlite3.Connection) -> dict[bytes, Owed]:
            found: dict[bytes, Owed] = {}
            for number, channel, floor, vouched, stopped, closed in c.execute(
                "SELECT number, id, floor, amount, stopped_at, closed FROM channels WHERE buyer = ?", (buyer,)
            ).fetchall():
                rows = c.execute(sql, (number << _SHIFT, (number + 1) << _SHIFT, closed))
                unpaid = wei(stopped) + sum(wei(amount) for (amount,) in rows)
                if unpaid or not closed:
                    found[bytes(channel)] = Owed(wei(floor), wei(vouched), unpaid)
            return found

        return self.database.read_now(query)

    # Channels

    def channel(self, channel: bytes) -> ChannelRow | None:
        """A channel, if it was ever opened here."""
        row = self.database.read_now(lambda c: c.execute(f"{CHANNELS} WHERE id = ?", (channel,)).fetchone())
        return None if row is None else channel_row(row)

    def channels(self, *, closed: bool = False) -> list[ChannelRow]:
        """Channels that are not closed, or all of them."""
        sql = f"{CHANNELS} WHERE NOT closed OR ? ORDER BY number"
        return [channel_row(row) for row in self.database.read_now(lambda c: c.execute(sql, (closed,)).fetchall())]

    async def keep_channel(
        self,
        channel: bytes,
        buyer: Address,
        session_key: Address,
        *,
        deposit: int,
        floor: int,
        challenge_seconds: int,
        terms: bytes,
        audit_seconds: int,
        standing: Standing,
        now: int,
    ) -> ChannelRow:
        """Keep a channel that was opened here, or the new deposit and terms of one that was before."""
        sql = (
            "INSERT INTO channels (id, buyer, session_key, deposit, floor, challenge_seconds, terms, audit_seconds, opened_at, seen_at, "
            "amount, count, root, signature, redeemed, units, fuel, refused, stopped, closed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'', 0, ?, x'', x'', 0, 0, 0, '', 0) ON CONFLICT (id) DO UPDATE SET "
            "deposit = excluded.deposit, floor = excluded.floor, terms = excluded.terms, audit_seconds = excluded.audit_seconds, "
            "seen_at = excluded.seen_at"
        )
        values = (
            *(channel, buyer, session_key, wei_bytes(deposit), wei_bytes(floor), challenge_seconds, terms, audit_seconds),
            *(now, now, ZERO),
        )

        def change(c: sqlite3.Connection) -> None:
            c.execute(sql, values)
            c.execute("INSERT OR IGNORE INTO buyers VALUES (?, ?)", (buyer, standing.encode()))

        await self.batches.write(change)
        row = self.channel(channel)
        assert row is not None, "it was just written"
        return row

    def history(self, row: ChannelRow) -> History:
        """Everything that happened in a channel. Reads it all: call it off the event loop."""
        base = row.number << _SHIFT
        sql = "SELECT * FROM receipts WHERE id >= ? AND id < ? ORDER BY id"
        found = History()

        def query(c: sqlite3.Connection) -> None:
            for each in c.execute(sql, (base, base + (1 << _SHIFT))):
                number, kind, subject, result, quantity, amount, finished, signature, _, output, position, accepted, leaf, default = each
                sequence = number - base
                if position is None:
                    receipt = Receipt(*(kind, self._device, row.buyer, row.id, sequence, subject, result, quantity, wei(amount), finished))
                    found.waiting.append(Signed(receipt, signature))
                    if output:
                        found.outputs.add(sequence)
                    if default:
                        found.defaulted.add(sequence)
                else:
                    found.leaves.append(Answered(position, sequence, bool(accepted), wei(amount) if accepted else 0, leaf))
                    found.refused += 0 if accepted else wei(amount)

        self.database.read_now(query)
        found.leaves.sort(key=lambda each: each.index)
        return found

    def stop(self, number: int, why: str) -> None:
        """A channel takes no more work."""
        self.batches.put(lambda c: c.execute(_STOP, (why, number)), lasting=True)

    async def stopped(self, number: int, why: str) -> None:
        """The same, on disk when this returns. Raises `Unavailable` when the disk is full."""
        await self.batches.write(lambda c: c.execute(_STOP, (why, number)))

    def stopped_at(self, number: int, amount: int) -> None:
        """Units on a channel were stopped where their cover ended, of so many wei by now."""
        values = (wei_bytes(amount), number)
        self.batches.put(lambda c: c.execute("UPDATE channels SET stopped_at = ? WHERE number = ?", values), lasting=True)

    def floor(self, number: int, floor: int) -> None:
        """A channel's floor was raised."""
        self.batches.put(lambda c: c.execute("UPDATE channels SET floor = ? WHERE number = ?", (wei_bytes(floor), number)), lasting=True)

    def heard(self, number: int, now: int) -> None:
        """A buyer was heard of."""
        self.batches.put(lambda c: c.execute("UPDATE channels SET seen_at = ? WHERE number = ?", (now, number)), lasting=True)

    def ended(self) -> frozenset[bytes]:
        """Channels that are closed, or take no more work."""
        rows = self.database.read_now(lambda c: c.execute("SELECT id FROM channels WHERE closed OR stopped != ''").fetchall())
        return frozenset(channel for (channel,) in rows)

    def on_ledger(self, number: int, *, redeemed: int, deposit: int, closed: bool) -> None:
        """What the ledger says of a channel."""
        sql = "UPDATE channels SET redeemed = ?, deposit = ?, closed = ? WHERE number = ?"
        values = (wei_bytes(redeemed), wei_bytes(deposit), closed, number)
        self.batches.put(lambda c: c.execute(sql, values), lasting=True)

    def redemption(self, number: int, amount: int, paid: int, fee: int, transaction: str) -> None:
        """The ledger paid for a voucher."""
        row = (number, wei_bytes(amount), wei_bytes(paid), wei_bytes(fee), transaction, int(time.time()))
        self.batches.put(lambda c: c.execute("INSERT INTO redemptions VALUES (?, ?, ?, ?, ?, ?)", row), lasting=True)

    def redemptions(self) -> dict[int, list[dict[str, object]]]:
        """What the ledger paid, by channel number, the oldest first."""
        found: dict[int, list[dict[str, object]]] = {}
        rows = self.database.read_now(lambda c: c.execute("SELECT * FROM redemptions ORDER BY rowid").fetchall())
        for number, amount, paid, fee, transaction, at in rows:
            found.setdefault(number, []).append(
                {"amount": wei(amount), "paid": wei(paid), "fee": wei(fee), "transaction": transaction, "at": at}
            )
        return found

    def defaulters(self, before: int) -> list[bytes]:
        """Channels with work that went unpaid, unanswered or stopped, and whose buyer was last heard of before this time."""
        sql = (
            "SELECT channels.id FROM receipts JOIN channels ON channels.number = receipts.id >> ?1 "
            "WHERE defaulted = 1 AND position IS NULL AND seen_at < ?2 AND NOT closed "
            "UNION SELECT id FROM channels WHERE stopped_at > x'' AND seen_at < ?2 AND NOT closed"
        )
        return [bytes(row[0]) for row in self.database.read_now(lambda c: c.execute(sql, (_SHIFT, before)).fetchall())]

    # Receipts

    def issue(self, number: int, signed: Signed, body: bytes, output: int | None, done: Done) -> None:
        """Write a receipt with its answer; `output` is the size of the file that follows the answer, if one does."""
        receipt = signed.receipt
        row = (
            (number << _SHIFT) | receipt.sequence,
            receipt.kind,
            receipt.subject,
            receipt.result,
            receipt.quantity,
            wei_bytes(receipt.amount),
            receipt.finished_at,
            signed.signature,
            body,
            output,
        )
        sql = (
            "INSERT INTO receipts (id, kind, subject, result, quantity, amount, finished_at, signature, body, output) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self.batches.put(lambda c: c.execute(sql, row), done)

    def answer(self, number: int, sequence: int) -> tuple[bytes, int | None] | None:
        """The answer that came with a receipt: its body, and the size of the file that followed. None once acknowledged."""
        sql = "SELECT body, output FROM receipts WHERE id = ? AND position IS NULL"
        row = self.database.read_now(lambda c: c.execute(sql, ((number << _SHIFT) | sequence,)).fetchone())
        return None if row is None or row[0] is None else (bytes(row[0]), row[1])

    def issued(self, number: int, kind: ReceiptKind, subject: bytes) -> bool:
        """Whether a channel has a receipt of this kind about this subject; of kinds that are found so: setups, transfers, storage."""
        sql = "SELECT 1 FROM receipts WHERE kind IN (2, 3, 7) AND subject = ? AND kind = ? AND id >= ? AND id < ?"
        values = (subject, int(kind), number << _SHIFT, (number + 1) << _SHIFT)
        return self.database.read_now(lambda c: c.execute(sql, values).fetchone()) is not None

    def acknowledged(
        self,
        number: int,
        answers: Sequence[Answered],
        voucher: Voucher,
        signature: bytes,
        *,
        units: int,
        fuel: int,
        buyer: Address,
        standing: Standing,
        done: Done,
    ) -> None:
        """Write the buyer's answers with the voucher that covers them. Kept until the disk takes it."""
        base = number << _SHIFT
        rows = [(each.index, each.accepted, each.leaf, base | each.sequence) for each in answers]
        refused = sum(not each.accepted for each in answers)
        kept = standing.encode()

        def change(c: sqlite3.Connection) -> None:
            c.executemany("UPDATE receipts SET position = ?, accepted = ?, leaf = ?, body = NULL WHERE id = ?", rows)
            c.execute(
                "UPDATE channels SET amount = ?, count = ?, root = ?, signature = ?, units = units + ?, fuel = fuel + ?, "
                "refused = refused + ? WHERE number = ?",
                (wei_bytes(voucher.amount), voucher.count, voucher.root, signature, units, fuel, refused, number),
            )
            _keep_standing(c, buyer, kept)

        self.batches.put(change, done, lasting=True)

    def overdue(self, now: int, up_since: int) -> list[Overdue]:
        """Receipts that waited longer than their channel's terms allow, while this provider was there to be answered."""
        sql = (
            "SELECT receipts.id, receipts.kind, channels.id, channels.buyer FROM receipts JOIN channels "
            "ON channels.number = receipts.id >> ? WHERE position IS NULL AND defaulted IS NULL "
            "AND max(finished_at, ?) + audit_seconds < ?"
        )
        found: dict[tuple[bytes, Address], list[tuple[int, int]]] = {}
        rows = self.database.read_now(lambda c: c.execute(sql, (_SHIFT, up_since, now)).fetchall())
        for number, kind, channel, buyer in rows:
            found.setdefault((channel, buyer), []).append((number & ((1 << _SHIFT) - 1), kind))
        return [
            Overdue(channel, buyer, tuple(sequence for sequence, _ in each), sum(kind in WINDOWED for _, kind in each))
            for (channel, buyer), each in found.items()
        ]

    def defaulted(self, number: int, sequences: Sequence[int], buyer: Address, standing: Standing) -> None:
        """Write that receipts went unanswered for too long, and what that did to the buyer's standing."""
        base = number << _SHIFT
        kept = standing.encode()

        def change(c: sqlite3.Connection) -> None:
            c.executemany("UPDATE receipts SET defaulted = 1 WHERE id = ?", [(base | each,) for each in sequences])
            _keep_standing(c, buyer, kept)

        self.batches.put(change, lasting=True)

    # Prices of jobs

    def keep_job_terms(self, number: int, job: bytes, terms: bytes, signature: bytes, *, agreed: bool, done: Done) -> None:
        """Keep prices quoted for a job (with our signature), or agreed by the buyer (with its)."""
        sql = "INSERT OR REPLACE INTO job_terms VALUES (?, ?, ?, ?, ?)"
        self.batches.put(lambda c: c.execute(sql, (number, job, terms, signature, agreed)), done)

    def job_terms(self, number: int) -> list[tuple[bytes, bytes, bytes, bool]]:
        """(job, terms, signature, agreed) of every job of a channel that was quoted prices of its own."""
        sql = "SELECT job, terms, signature, agreed FROM job_terms WHERE channel = ?"
        return [(*row[:3], bool(row[3])) for row in self.database.read_now(lambda c: c.execute(sql, (number,)).fetchall())]


def _keep_standing(connection: sqlite3.Connection, buyer: Address, standing: bytes) -> None:
    sql = "INSERT INTO buyers VALUES (?, ?) ON CONFLICT DO UPDATE SET standing = excluded.standing"
    connection.execute(sql, (buyer, standing))
