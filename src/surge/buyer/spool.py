"""A job's inputs: in memory while they are few, in the journal always.

Items are kept encoded, one by one, so that a unit can be any run of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from surge.buyer.journal import Journal
from surge.buyer.pieces import LARGE, Block

MEMORY = 64 << 20
"""Bytes of inputs kept in memory; what lies further ahead is read back when it is needed."""

BLOCK_BYTES = 4 << 20
"""Bytes of inputs after which they are journalled even if no unit needs them yet, and of a block of them, unless it is one item."""


class Spool:
    """The inputs of one job."""

    def __init__(self, job: bytes, journal: Journal, *, count: int = 0) -> None:
        self._job = job
        self._journal = journal
        self._items: dict[int, bytes] = {}
        self._size = 0
        self._unsaved: list[bytes] = []
        self._unsaved_size = 0
        self.count = count
        """Items so far."""

    def add(self, items: Sequence[bytes]) -> int:
        """More items; returns their bytes."""
        size = 0
        for data in items:
            if self._size < MEMORY:
                self._items[self.count] = data
                self._size += len(data)
            self.count += 1
            size += len(data)
        self._unsaved += items
        self._unsaved_size += size
        return size

    def unsaved(self) -> list[Block]:
        """What the journal lacks, in blocks that are read back in one piece; the caller writes it."""
        blocks: list[Block] = []
        first = self.count - len(self._unsaved)
        gathered: list[bytes] = []
        size = 0
        for data in self._unsaved:
            if gathered and size + len(data) > BLOCK_BYTES:
                blocks.append(Block(first, gathered))
                first += len(gathered)
                gathered, size = [], 0
            gathered.append(data)
            size += len(data)
        if gathered:
            blocks.append(Block(first, gathered))
        self._unsaved, self._unsaved_size = [], 0
        return blocks

    @property
    def is_heavy(self) -> bool:
        """Whether what waits for the journal should not wait longer."""
        return self._unsaved_size >= BLOCK_BYTES

    def at_hand(self, first: int, count: int) -> list[bytes] | None:
        """The items, if they are all in memory."""
        try:
            return [self._items[index] for index in range(first, first + count)]
        except KeyError:
            return None

    async def load(self, first: int, count: int) -> list[bytes]:
        """The items, from memory or the journal."""
        found = self.at_hand(first, count)
        if found is not None:
            return found
        loaded = await self._journal.inputs(self._job, first, count)
        return [self._items.get(index) or loaded[index - first] for index in range(first, first + count)]

    def saved(self, first: int, count: int) -> None:
        """These are in the journal: memory forgets the large ones, and reads them back should they be needed again."""
        for index in range(first, first + count):
            if len(self._items.get(index, b"")) > LARGE:
                self._forget(index)

    def done(self, first: int, count: int) -> None:
        """These have their results: memory forgets them."""
        for index in range(first, first + count):
            self._forget(index)

    def _forget(self, index: int) -> None:
        data = self._items.pop(index, None)
        if data is not None:
            self._size -= len(data)
