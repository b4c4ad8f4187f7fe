"""Reading a stored file wherever one likes: only the chunks that are needed travel, and those that were just read are kept."""

from __future__ import annotations

from collections import OrderedDict

from surge.core.storage.header import Kind
from surge.core.storage.layout import CHUNK
from surge.errors import InvalidInput
from surge.storage.client import Storage
from surge.storage.objects import reader
from surge.storage.reading import Reader
from surge.storage.tree_reading import TreeReader

MOST_KEPT = 64
"""Blocks that are kept: 16 MiB."""

BLOCK = 4 * CHUNK
"""Bytes that are read together at least: a quarter of a MiB."""


class RangeReader:
    """A file, or one in a packed folder."""

    def __init__(self, read: Reader, first: int, size: int) -> None:
        self.size = size
        """Bytes."""
        self._read = read
        self._first = first
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    @classmethod
    async def open(cls, storage: Storage, name: str) -> RangeReader:
        """Raises `InvalidInput` where there is no such file."""
        found, entry, inside = await storage.find(name)
        read = await reader(storage, entry)
        if entry.header.kind == Kind.FILE:
            return cls(read, 0, entry.header.size)
        if not inside:
            raise InvalidInput(f"{name!r} is a folder: name a file in it, as {found}/FILE", name=name)
        member = await TreeReader(read, entry.header.size).find(inside)
        return cls(read, member.offset, member.size)

    async def read(self, start: int, end: int) -> bytes:
        """The bytes from start to end. Raises `Unavailable`."""
        blocks = range(start // BLOCK, -(-end // BLOCK))
        missing = [block for block in blocks if block not in self._kept]
        if missing:
            await self._fetch(missing[0], missing[-1] + 1)
        data = b"".join(self._kept[block] for block in blocks)
        for block in blocks:
            self._kept.move_to_end(block)
        while len(self._kept) > max(MOST_KEPT, len(blocks)):
            self._kept.popitem(last=False)
        begin = blocks[0] * BLOCK if blocks else 0
        return data[start - begin : end - begin]

    async def _fetch(self, first: int, end: int) -> None:
        start, stop = first * BLOCK, min(end * BLOCK, self.size)
        data = await self._read.range(self._first + start, self._first + stop)
        for block in range(first, end):
            self._kept[block] = data[block * BLOCK - start : (block + 1) * BLOCK - start]
