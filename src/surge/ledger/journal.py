"""Signed transactions and nonces on disk, shared by every process that uses an account.

A transaction is written down before it is sent, and sent again until it is final; so neither a crash of ours nor a chain that loses its
last blocks costs anybody money. One counter per account, behind SQLite's write lock, gives every process a nonce of its own.

One nonce may have several rows: copies of a transaction at rising prices, and what was refused. One of them is mined at most.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surge.core.types import Address
from surge.errors import InternalFault, Unavailable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS nonces (chain INTEGER, account TEXT, next INTEGER NOT NULL, PRIMARY KEY (chain, account));
CREATE TABLE IF NOT EXISTS transactions (
    hash TEXT PRIMARY KEY, chain INTEGER NOT NULL, account TEXT NOT NULL, nonce INTEGER NOT NULL, raw TEXT NOT NULL,
    purpose TEXT NOT NULL, made REAL NOT NULL, final INTEGER NOT NULL DEFAULT 0, mined REAL
);
CREATE INDEX IF NOT EXISTS unfinished ON transactions (chain, final);
CREATE INDEX IF NOT EXISTS by_nonce ON transactions (chain, account, nonce);
"""

_TRANSACTIONS = "SELECT hash, account, nonce, raw, purpose, made, mined, final FROM transactions"

_OPEN, _FINAL, _REFUSED = 0, 1, 2
"""What the column `final` says: to be sent until mined; done; refused, and not sent again, but what is signed can be mined."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's primary result codes, an extended one's low byte."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction in the journal."""

    hash: str
    """0x-hex."""
    account: Address
    """Who signed it."""
    nonce: int
    """The account's."""
    raw: str
    """0x-hex of the signed transaction."""
    purpose: str
    """What it is for, for people."""
    made: float
    """Unix seconds."""
    mined: float | None = None
    """Unix seconds since when it is seen mined."""
    refused: bool = False
    """Whether it was given up, and is kept only because somebody has it, signed."""


class Journal:
    """The transactions of one folder."""

    def __init__(self, path: Path, chain_id: int) -> None:
        """Raises `InternalFault` when the file is damaged, `Unavailable` when it cannot be opened."""
        self._path = path
        self._chain = chain_id
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(0o600)
        with self._translated("opened"):
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        try:
            with self._translated("opened"):
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
            if self._is_early():
                with self._writing():
                    if self._is_early():  # and no other process was quicker
                        self._db.execute("ALTER TABLE transactions ADD COLUMN mined REAL")
        except BaseException:
            self._db.close()
            raise

    def _is_early(self) -> bool:
        """Whether the file is of an earlier version, which kept no times of mining."""
        return "mined" not in {name for _, name, *_ in self._found("PRAGMA table_info(transactions)")}

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
                raise InternalFault(
                    f"{self._path} is damaged ({error}): put a copy of it back, or move it away once no transaction of your accounts waits "
                    "to be mined, for it says what was signed",
                    path=str(self._path),
                ) from error
            raise Unavailable(f"{self._path} cannot be {done}: {error}", path=str(self._path)) from error

    def add(self, account: Address, chain_nonce: int, purpose: str, sign: Callable[[int], tuple[str, str]]) -> Sent:
        """Take the account's next nonce, sign with it (`sign` gives hash and raw), and write the transaction down."""
        with self._writing():
            row = self._db.execute("SELECT next FROM nonces WHERE chain=? AND account=?", (self._chain, account)).fetchone()
            end = max(row[0], chain_nonce) if row else chain_nonce
            nonce = self._gap(account, chain_nonce, end)
            tx_hash, raw = sign(nonce)
            self._db.execute("DELETE FROM transactions WHERE hash=? AND final=?", (tx_hash, _REFUSED))
            self._db.execute("INSERT OR REPLACE INTO nonces VALUES (?, ?, ?)", (self._chain, account, max(end, nonce + 1)))
            return self._insert(Sent(tx_hash, account, nonce, raw, purpose, time.time()))

    def reprice(self, rows: Sequence[Sent], tx_hash: str, raw: str) -> Sent | None:
        """Write another copy of a transaction down, beside all the rows of its nonce.

        None when they are not what they were: another process has done it, or given the transaction up, or the nonce is used.
        """
        last = rows[-1]
        with self._writing():
            there = self._db.execute(
                "SELECT hash, final FROM transactions WHERE chain=? AND account=? AND nonce=?", (self._chain, last.account, last.nonce)
            )
            if set(there) != {(each.hash, _REFUSED if each.refused else _OPEN) for each in rows}:
                return None
            return self._insert(Sent(tx_hash, last.account, last.nonce, raw, last.purpose, time.time()))

    def _insert(self, sent: Sent) -> Sent:
        self._db.execute(
            "INSERT INTO transactions (hash, chain, account, nonce, raw, purpose, made) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sent.hash, self._chain, sent.account, sent.nonce, sent.raw, sent.purpose, sent.made),
        )
        return sent

    def _gap(self, account: Address, start: int, end: int) -> int:
        """The first nonce that nothing here uses: one below `end` was refused or dropped, and everything above it waits for it."""
        rows = self._db.execute(
            "SELECT nonce FROM transactions WHERE chain=? AND account=? AND nonce>=? AND nonce<? AND final<>?",
            (self._chain, account, start, end, _REFUSED),
        )
        used = {nonce for (nonce,) in rows}
        return next((nonce for nonce in range(start, end) if nonce not in used), end)

    def drop(self, sent: Sent) -> None:
        """Forget a transaction that can never be mined: its nonce was used by another."""
        with self._writing():
            self._db.execute("DELETE FROM transactions WHERE hash=?", (sent.hash,))

    def refuse(self, sent: Sent) -> None:
        """Send a transaction no more, in none of its copies.

        The account's next one takes its nonce: whatever a node does with them, one is mined.
        """
        with self._writing():
            self._db.execute(
                "UPDATE transactions SET final=? WHERE chain=? AND account=? AND nonce=? AND final=?",
                (_REFUSED, self._chain, sent.account, sent.nonce, _OPEN),
            )

    def seen(self, sent: Sent, *, mined: bool) -> float:
        """Keep in mind since when a transaction is seen mined, or that it no longer is. Returns since when, in Unix seconds."""
        since = (sent.mined or time.time()) if mined else None
        if since != sent.mined:
            with self._writing():
                self._db.execute("UPDATE transactions SET mined=? WHERE hash=?", (since, sent.hash))
        return since or float("inf")

    def finished(self, tx_hash: str) -> None:
        """A transaction is final: it need not be sent again, and no other of its nonce can be mined."""
        with self._writing():
            self._db.execute("UPDATE transactions SET final=? WHERE hash=?", (_FINAL, tx_hash))
            self._db.execute(
                "DELETE FROM transactions WHERE hash<>?"
                " AND (chain, account, nonce)=(SELECT chain, account, nonce FROM transactions WHERE hash=?)",
                (tx_hash, tx_hash),
            )

    def reopen(self, account: Address, count: int) -> list[Sent]:
        """Have what was final sent again from nonce `count` on: the chain uses no more, so it lost those blocks. Returns what it was."""
        lost = self._rows("account=? AND nonce>=? AND final=?", account, count, _FINAL)
        if lost:
            with self._writing():
                self._db.execute(
                    "UPDATE transactions SET final=?, mined=NULL WHERE chain=? AND account=? AND nonce>=? AND final=?",
                    (_OPEN, self._chain, account, count, _FINAL),
                )
        return lost

    def accounts(self) -> list[Address]:
        """The accounts that signed something here."""
        return [Address(account) for (account,) in self._found("SELECT account FROM nonces WHERE chain=?", self._chain)]

    def has(self, data: bytes) -> bool:
        """Whether a transaction here carries these bytes. One that can never be mined is not here (`drop`)."""
        return bool(self._found("SELECT 1 FROM transactions WHERE chain=? AND instr(raw, ?) LIMIT 1", self._chain, data.hex()))

    def unfinished(self) -> list[Sent]:
        """Transactions that are not final yet, in the order of their nonces."""
        return self._rows("final=?", _OPEN)

    def refused(self) -> list[Sent]:
        """Transactions that were refused and whose nonce is not known to be used."""
        return self._rows("final=?", _REFUSED)

    def at(self, account: Address, nonce: int) -> list[Sent]:
        """Every row of a nonce, the oldest first."""
        return self._rows("account=? AND nonce=?", account, nonce)

    def waiting(self, account: Address) -> list[list[Sent]]:
        """The rows of each nonce at which a transaction is sent until it is mined; the lowest nonce first, what is sent last."""
        rows = self._rows("account=? AND final IN (?, ?)", account, _OPEN, _REFUSED)
        found = [list(group) for _, group in itertools.groupby(rows, lambda each: each.nonce)]
        return [sorted(group, key=lambda each: not each.refused) for group in found if not all(each.refused for each in group)]

    def _rows(self, condition: str, *values: object) -> list[Sent]:
        """Rows under a condition that is written here, never one that came from elsewhere."""
        rows = self._found(f"{_TRANSACTIONS} WHERE chain=? AND {condition} ORDER BY account, nonce, made", self._chain, *values)
        return [replace(Sent(*row), refused=final == _REFUSED) for *row, final in rows]

    def _found(self, question: str, *values: object) -> list[Any]:
        """Raises `Unavailable` when the file cannot be read, `InternalFault` when it is damaged."""
        with self._translated("read"):
            return self._db.execute(question, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, all or nothing. Raises `Unavailable` when the disk is full or another process holds the file for long."""
        with self._translated("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()
