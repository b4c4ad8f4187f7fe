"""Terms as devices signed them, for channels and for single jobs: what proves a receipt's price to others.

A channel is opened again under each new offer, so it has terms for every time of its life; all of them stay.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from surge.core.receipts import Terms

if TYPE_CHECKING:
    from surge.buyer.journal import Journal


def keep(db: sqlite3.Connection, terms: Terms, signature: bytes) -> None:
    """Write down what a device signed; what is there already stays."""
    db.execute("INSERT OR IGNORE INTO signed_terms VALUES (?,?,?,?)", (terms.channel, terms.encode(), signature, time.time()))


def agree(db: sqlite3.Connection, terms: Terms, signature: bytes) -> None:
    """Write down new prices that were agreed on for a job."""
    db.execute("INSERT OR REPLACE INTO job_terms VALUES (?,?,?)", (terms.job, terms.channel, terms.encode()))
    keep(db, terms, signature)


async def of_channel(journal: Journal, channel: bytes) -> list[tuple[Terms, bytes]]:
    """Everything that a channel's device signed as terms, with its signature, the newest first. Journals of older versions have none."""
    rows = await journal.read("SELECT terms, signature FROM signed_terms WHERE channel = ? ORDER BY signed DESC", (channel,))
    return [(Terms.decode(terms), signature) for terms, signature in rows]
