"""Objects made up for the tests of storage: their keys, the places of their shards, and what holders send."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass

from surge.core.storage.chunks import Chunks
from surge.core.storage.layout import ChunkRange, Layout, SegmentLayout
from surge.core.storage.masks import Place
from surge.core.storage.tree import transfer_leaves
from surge.core.types import Address
from surge.storage.coding import CodedShard, Received, code_segment

OBJECT_ID, OBJECT_KEY, MASK_SECRET = b"o" * 32, bytes(range(32)), bytes(range(32, 64))
CHUNKS = Chunks(OBJECT_KEY, OBJECT_ID)


def place(index: int, segment: int = 0, turn: int = 0) -> Place:
    """Where a shard is; with another turn, where it is later."""
    return Place(OBJECT_ID, segment, index, Address(f"0x{1000 * turn + index + 1:040x}"), bytes([turn, index]) * 16)


@dataclass(frozen=True)
class Stored:
    """One segment, and its shards at their holders."""

    plain: bytes
    layout: SegmentLayout
    shards: list[CodedShard]

    def sent(self, index: int, first: int, end: int, data: bytes | None = None) -> dict[int, memoryview]:
        """The fragments in some leaves that a holder sends, or in what it sends instead."""
        shard = self.shards[index]
        honest = bytes(shard.data[first * 65536 : end * 65536])
        received = Received(self.layout, MASK_SECRET, shard.place, shard.root)
        return received.accept(first, honest if data is None else data, shard.tree.range_proof(first, end))

    def from_holders(self, *indices: int) -> dict[int, dict[int, memoryview]]:
        """All fragments of these holders, by stripe."""
        whole = {index: self.sent(index, 0, transfer_leaves(self.layout.shard)) for index in indices}
        return {stripe: {index: whole[index][stripe] for index in indices} for stripe in range(self.layout.stripes)}

    @property
    def everything(self) -> ChunkRange:
        """The range that is the whole segment."""
        return ChunkRange(0, 0, self.layout.chunks, 0, self.layout.plain)


def stored(size: int, k: int, n: int) -> Stored:
    """A segment of so many bytes, coded."""
    plain = random.Random(size).randbytes(size)
    layout = Layout(size, 256 << 20, k, n).segment(0)
    source = io.BytesIO(plain)
    return Stored(plain, layout, code_segment(layout, CHUNKS, MASK_SECRET, [place(index) for index in range(n)], source.readinto))


def unmasked(whole: Mapping[int, Mapping[int, memoryview]], index: int) -> bytes:
    """A shard's own bytes."""
    return b"".join(bytes(whole[stripe][index]) for stripe in sorted(whole))
