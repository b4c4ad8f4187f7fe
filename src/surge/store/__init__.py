"""Durable local state: journals in SQLite, contents as files.

What a caller was told is done is on disk: `Database.write` answers after the commit, `Blobs` after the rename. The rooms above decide
what is written; this room promises that it stays, and knows nothing of what it means.
"""

from surge.store.blobs import Blobs, BlobWriter
from surge.store.database import Database

__all__ = ["BlobWriter", "Blobs", "Database"]
