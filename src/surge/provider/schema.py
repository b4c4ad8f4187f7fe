"""The journal's tables, and a channel's row in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surge.core.messages.fields import wei
from surge.core.receipts import Voucher
from surge.core.types import Address

MIGRATIONS = (
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE offers (digest BLOB PRIMARY KEY, offer BLOB NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE buyers (address TEXT PRIMARY KEY, standing BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE channels (
        number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, buyer TEXT NOT NULL, session_key TEXT NOT NULL,
        deposit BLOB NOT NULL, floor BLOB NOT NULL, challenge_seconds INTEGER NOT NULL,
        terms BLOB NOT NULL, audit_seconds INTEGER NOT NULL, opened_at INTEGER NOT NULL, seen_at INTEGER NOT NULL,
        amount BLOB NOT NULL, count INTEGER NOT NULL, root BLOB NOT NULL, signature BLOB NOT NULL,
        redeemed BLOB NOT NULL, units INTEGER NOT NULL, fuel INTEGER NOT NULL, refused INTEGER NOT NULL,
        stopped TEXT NOT NULL, closed INTEGER NOT NULL
    );
    CREATE TABLE job_terms (
        channel INTEGER NOT NULL, job BLOB NOT NULL, terms BLOB NOT NULL, signature BLOB NOT NULL, agreed INTEGER NOT NULL,
        PRIMARY KEY (channel, job)
    ) WITHOUT ROWID;
    CREATE TABLE receipts (
        id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, subject BLOB NOT NULL, result BLOB NOT NULL, quantity INTEGER NOT NULL,
        amount BLOB NOT NULL, finished_at INTEGER NOT NULL, signature BLOB NOT NULL, body BLOB, output INTEGER,
        position INTEGER, accepted INTEGER, leaf BLOB, defaulted INTEGER
    );
    CREATE TABLE redemptions (
        channel INTEGER NOT NULL, amount BLOB NOT NULL, paid BLOB NOT NULL, fee BLOB NOT NULL, hash TEXT NOT NULL, at INTEGER NOT NULL
    );
    CREATE INDEX waiting ON receipts (finished_at) WHERE position IS NULL AND defaulted IS NULL;
    CREATE INDEX setups ON receipts (subject) WHERE kind = 2;
    CREATE INDEX late ON receipts (id) WHERE defaulted = 1 AND position IS NULL;
    """,
    """
    DROP INDEX setups;
    CREATE INDEX subjects ON receipts (subject) WHERE kind IN (2, 3, 7);
    """,
    """
    ALTER TABLE channels ADD COLUMN stopped_at BLOB NOT NULL DEFAULT x'';
    """,
)


CLOSING_TOGETHER = "it is being closed together"
"""Why a channel takes no more work whose close both sides signed."""


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel as the journal knows it."""

    number: int
    """Its place in this journal."""
    id: bytes
    """32 bytes."""
    buyer: Address
    session_key: Address
    deposit: int
    """Wei, when the ledger was last asked."""
    floor: int
    """Wei the ledger pays at least."""
    challenge_seconds: int
    terms: bytes
    """The terms last agreed, as canonical bytes."""
    opened_at: int
    """Unix seconds."""
    seen_at: int
    """Unix seconds at which the buyer was last heard of."""
    amount: int
    """Wei of the last good voucher, cumulative."""
    count: int
    root: bytes
    signature: bytes
    """The session key's, over the voucher; empty when there is none."""
    redeemed: int
    """Wei that the ledger has paid."""
    units: int
    """Units and setups acknowledged."""
    fuel: int
    """Their fuel."""
    refused: int
    """Receipts the buyer refused."""
    stopped: str
    """Why it takes no more work; empty while it does."""
    closed: bool
    stopped_at: int = 0
    """Wei of units that were stopped where their cover ended: done, without a receipt."""

    @property
    def voucher(self) -> Voucher | None:
        """The last good voucher."""
        return Voucher(self.id, self.amount, self.count, self.root) if self.signature else None


CHANNELS = (
    "SELECT number, id, buyer, session_key, deposit, floor, challenge_seconds, terms, opened_at, seen_at, amount, count, root, signature, "
    "redeemed, units, fuel, refused, stopped, closed, stopped_at FROM channels"
)


def channel_row(row: tuple[Any, ...]) -> ChannelRow:
    """The row of a channel, as `CHANNELS` selects it."""
    values = list(row)
    for at in (4, 5, 10, 14, 20):
        values[at] = wei(values[at])
    values[19] = bool(values[19])
    return ChannelRow(*values)
