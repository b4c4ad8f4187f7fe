"""A stored file's bytes from its beginning to its end, for whoever hands them on."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from surge.core.storage.header import Kind
from surge.storage.client import Storage
from surge.storage.objects import reader, segments
from surge.storage.ranges import RangeReader

PIECE = 4 << 20
"""Bytes that are read together of a file in a folder."""


async def stream(storage: Storage, name: str) -> AsyncGenerator[bytes | memoryview, None]:
    """The bytes of a file, in pieces, the next of which is on its way already. Raises `InvalidInput` where there is no such file."""
    _, entry, _ = await storage.find(name)
    if entry.header.kind == Kind.FILE:
        return segments(await reader(storage, entry), 0, entry.header.layout.segments)
    return _part(await RangeReader.open(storage, name))


async def _part(ranges: RangeReader) -> AsyncGenerator[bytes | memoryview, None]:
    for start in range(0, ranges.size, PIECE):
        yield await ranges.read(start, min(start + PIECE, ranges.size))
