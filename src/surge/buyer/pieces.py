"""A job's inputs and results in its journal; the large ones in rows of a MiB each.

SQLite copies what it is given, copies it again into a row, and keeps the last of it for as long as the statement is cached: in one row, a
value of 64 MiB takes 192 MiB for a moment and 64 for good.
"""

from __future__ import annotations

import io
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from surge.buyer.counting import failed_items

LARGE = 1 << 20
"""Bytes beyond which a value does not lie in its own row, and of a row of it."""

MAX_VALUE = 1 << 62
"""Bytes: more than any value has."""

_INPUT, _RESULT = 0, 1
"""Kinds: the items of a block of inputs, one behind the other; a result's value."""


@dataclass(frozen=True, slots=True)
class Block:
    """Items as they came, encoded one by one."""

    first: int
    items: Sequence[bytes]

    def sizes(self) -> bytes:
        """The items' lengths, 8 bytes each."""
        return struct.pack(f">{len(self.items)}Q", *map(len, self.items))


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The result of a run of items: a unit's output, or the error of one item as JSON."""

    job: bytes
    first: int
    count: int
    value: bytes | None
    error: str | None = None


def put_inputs(db: sqlite3.Connection, job: bytes, blocks: Sequence[Block]) -> None:
    """Write items, in the place of those that may be there."""
    for block in blocks:
        is_large = sum(map(len, block.items)) > LARGE
        data = None if is_large else b"".join(block.items)
        db.execute("INSERT OR REPLACE INTO inputs VALUES (?,?,?,?,?)", (job, block.first, len(block.items), block.sizes(), data))
        if is_large:
            _put(db, job, _INPUT, block.first, block.items)


def read_inputs(db: sqlite3.Connection, job: bytes, first: int, count: int) -> list[bytes]:
    """Those of these items that are there. Of a large block only the pieces that hold them are read."""
    query = "SELECT first, sizes, data FROM inputs WHERE job = ? AND first < ? AND first + count > ? ORDER BY first"
    items: list[bytes] = []
    for start, packed, data in db.execute(query, (job, first + count, first)).fetchall():
        sizes = struct.unpack(f">{len(packed) // 8}Q", packed)
        low = max(first - start, 0)
        wanted = sizes[low : first + count - start]
        begin = sum(sizes[:low])
        end = begin + sum(wanted)
        found = memoryview(_get(db, job, _INPUT, start, begin, end) if data is None else data[begin:end])
        at = 0
        for size in wanted:
            items.append(bytes(found[at : at + size]))
            at += size
    return items


def put_results(db: sqlite3.Connection, results: Sequence[ResultRow]) -> None:
    """Write results, where there are none yet."""
    for row in results:
        value = row.value
        is_large = value is not None and len(value) > LARGE
        failed = failed_items(db, row.job, row.count, value, row.error)
        fields = (row.job, row.first, row.count, None if is_large else value, row.error, failed)
        made = db.execute("INSERT OR IGNORE INTO results VALUES (?,?,?,?,?,?)", fields)
        if made.rowcount and value is not None and is_large:
            _put(db, row.job, _RESULT, row.first, [value])


def read_results(db: sqlite3.Connection, job: bytes, only: int | None = None) -> list[ResultRow]:
    """All results of a job, in order, or `only` that which begins with this item."""
    query = "SELECT first, count, value, error FROM results WHERE job = ?1 AND (?2 IS NULL OR first = ?2) ORDER BY first"
    rows = db.execute(query, (job, only)).fetchall()
    return [
        ResultRow(job, first, count, _get(db, job, _RESULT, first) if value is None and error is None else value, error)
        for first, count, value, error in rows
    ]


def _put(db: sqlite3.Connection, job: bytes, kind: int, first: int, parts: Iterable[bytes | memoryview]) -> None:
    """Write a value, given in parts, in the place of one that may be there."""
    db.execute("DELETE FROM pieces WHERE job = ? AND kind = ? AND first = ?", (job, kind, first))
    rows = ((job, kind, first, number, piece) for number, piece in enumerate(cut(parts, LARGE)))
    db.executemany("INSERT INTO pieces VALUES (?,?,?,?,?)", rows)


def _get(db: sqlite3.Connection, job: bytes, kind: int, first: int, begin: int = 0, end: int = MAX_VALUE) -> bytes:
    """Read a value, or the bytes of it from `begin` to before `end`."""
    query = "SELECT data FROM pieces WHERE job = ? AND kind = ? AND first = ? AND number BETWEEN ? AND ? ORDER BY number"
    number = begin // LARGE
    skipped = number * LARGE
    found = io.BytesIO()
    for (piece,) in db.execute(query, (job, kind, first, number, (end - 1) // LARGE)):
        found.write(memoryview(piece)[max(begin - skipped, 0) : end - skipped])
        skipped += len(piece)
    return found.getvalue()


def cut(parts: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    """The bytes of these parts in pieces of `size`, the last one smaller; none for none."""
    gathered = bytearray()
    for part in parts:
        rest = memoryview(part)
        while rest:
            taken = rest[: size - len(gathered)]
            gathered += taken
            rest = rest[len(taken) :]
            if len(gathered) == size:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)
