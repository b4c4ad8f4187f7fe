"""How an object is cut: segments, chunks, stripes, fragments, shards and leaves, and which leaves a range of the object needs.

Everything follows from four numbers: the object's size, the size of a segment, and the code's k and n. A segment's plaintext is cut into
chunks, each sealed by itself; the sealed segment is cut into stripes of k fragments, and a shard is one fragment of every stripe. All
stripes but the last have fragments of 64 KiB, so the transfer leaf of a shard is its fragment of the stripe with the same number.

    >>> layout = Layout(size=100_000_000)
    >>> layout.segments, layout.segment(2).plain, layout.segment(2).sealed, layout.segment(2).shard
    (3, 32891136, 32899168, 1644960)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surge.errors import InvalidInput

MIB = 1 << 20

CHUNK = 64 << 10
"""Plaintext bytes of a chunk: what a range read decrypts at least."""

TAG = 16
"""Bytes that sealing adds to a chunk."""

SEALED_CHUNK = CHUNK + TAG

FRAGMENT = 64 << 10
"""Bytes of a fragment, but in a segment's last stripe."""

ALIGNMENT = 32
"""The last stripe's fragments are multiples of so many bytes, which ISA-L works in."""

PROOF_LEAF = 1 << 10
"""Bytes of a leaf of a shard's tree: what an audit asks for, and what fits a transaction."""

TRANSFER_LEAF = 64 << 10
"""Bytes of a shard that travel and are verified together: a node of the tree's second level."""

SEGMENT = 32 * MIB
"""Plaintext bytes of a segment, if its writer says nothing else."""

LEAST_SEGMENT, MOST_SEGMENT = MIB, 256 * MIB

DATA, SHARDS = 20, 30
"""k and n, where there are operators enough."""

MOST_SHARDS = 32
"""Of a segment: what liberasurecode codes."""

MOST_SIZE = 1 << 48
"""Bytes of an object: 256 TiB, so that segments are numbered in four bytes whatever their size."""

MOST_SEALED = MOST_SEGMENT // CHUNK * SEALED_CHUNK

MOST_SHARD = MOST_SEALED
"""Bytes of a shard: a segment of the largest size that is kept whole, k = 1."""


def divided(amount: int, part: int) -> int:
    """How many parts it takes to hold an amount."""
    return -(-amount // part)


def check_code(k: int, n: int) -> None:
    """Raise `InvalidInput` unless there is a code with these numbers."""
    if not 1 <= k <= n <= MOST_SHARDS:
        raise InvalidInput(f"no code makes {n} shards of which {k} are enough: 1 <= k <= n <= {MOST_SHARDS}", k=k, n=n)


def sealed_size(plain: int) -> int:
    """Bytes of the sealed chunks that hold so many bytes of plaintext."""
    return plain + divided(plain, CHUNK) * TAG


def plain_size(sealed: int) -> int:
    """Bytes of plaintext in so many bytes of sealed chunks. Raises `InvalidInput` for a size that no plaintext gives."""
    plain = sealed - divided(sealed, SEALED_CHUNK) * TAG
    if plain <= 0 or sealed_size(plain) != sealed:
        raise InvalidInput(f"no plaintext is sealed in {sealed} bytes", sealed=sealed)
    return plain


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of sealed bytes inside one transfer leaf."""

    stripe: int
    """The stripe's number, and the transfer leaf's in the shard."""
    index: int
    """Which shard, from 0: below k."""
    start: int
    """The first byte in the leaf."""
    end: int
    """The byte after the last."""


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """How one sealed segment lies in its shards."""

    sealed: int
    """Bytes of the sealed segment."""
    k: int
    """Shards that are enough."""
    n: int
    """Shards that there are."""

    def __post_init__(self) -> None:
        check_code(self.k, self.n)
        if not TAG < self.sealed <= MOST_SEALED:
            raise InvalidInput(f"a sealed segment of {self.sealed} bytes is not between {TAG + 1} and {MOST_SEALED}", sealed=self.sealed)

    @property
    def plain(self) -> int:
        """Bytes of the segment's plaintext."""
        return plain_size(self.sealed)

    @property
    def chunks(self) -> int:
        """Chunks in the segment."""
        return divided(self.sealed, SEALED_CHUNK)

    @property
    def stripe(self) -> int:
        """Sealed bytes in a stripe, but in the last."""
        return self.k * FRAGMENT

    @property
    def stripes(self) -> int:
        """Stripes in the segment, which are the transfer leaves of a shard."""
        return divided(self.sealed, self.stripe)

    def stripe_bytes(self, stripe: int) -> int:
        """Sealed bytes in a stripe, without what pads the last one."""
        return min(self.stripe, self.sealed - stripe * self.stripe)

    def fragment(self, stripe: int) -> int:
        """Bytes of each fragment of a stripe, which are the bytes of that transfer leaf."""
        return divided(divided(self.stripe_bytes(stripe), self.k), ALIGNMENT) * ALIGNMENT

    @property
    def shard(self) -> int:
        """Bytes of each shard."""
        last = self.stripes - 1
        return last * FRAGMENT + self.fragment(last)

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """Where the sealed bytes from start to end lie, in their order."""
        if not 0 <= start <= end <= self.sealed:
            raise InvalidInput(f"bytes {start} to {end} are not in a sealed segment of {self.sealed}", start=start, end=end)
        at = start
        while at < end:
            stripe, inside = divmod(at, self.stripe)
            size = self.fragment(stripe)
            index, first = divmod(inside, size)
            last = min(size, first + end - at)
            yield Piece(stripe, index, first, last)
            at += last - first


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """Whole chunks of one segment, and which of their bytes are asked for."""

    segment: int
    """The segment's number, from 0."""
    first: int
    """The first chunk in the segment."""
    end: int
    """The chunk after the last."""
    skip: int
    """Plaintext bytes before those that are asked for."""
    size: int
    """Plaintext bytes asked for."""

    def sealed(self, layout: SegmentLayout) -> tuple[int, int]:
        """The chunks' place in the sealed segment: the first byte, and the byte after the last."""
        return self.first * SEALED_CHUNK, min(self.end * SEALED_CHUNK, layout.sealed)

    def leaves(self, layout: SegmentLayout) -> list[tuple[int, int]]:
        """The transfer leaves that hold the chunks, as shard and number, each once: all that a reader needs, if none of them is lost.

        >>> part = next(Layout(50_000_000).ranges(1_000_000, 1_000_010))
        >>> part.leaves(Layout(50_000_000).segment(0))
        [(15, 0), (16, 0)]
        """
        return list(dict.fromkeys((piece.index, piece.stripe) for piece in layout.pieces(*self.sealed(layout))))


@dataclass(frozen=True, slots=True)
class Layout:
    """How an object is cut."""

    size: int
    """Bytes of the object."""
    segment_size: int = SEGMENT
    """Plaintext bytes of a segment, but the last."""
    k: int = DATA
    """Shards of a segment that are enough."""
    n: int = SHARDS
    """Shards of a segment that there are."""

    def __post_init__(self) -> None:
        check_code(self.k, self.n)
        if not 0 <= self.size <= MOST_SIZE:
            raise InvalidInput(f"an object of {self.size} bytes is not between 0 and {MOST_SIZE}", size=self.size)
        if not LEAST_SEGMENT <= self.segment_size <= MOST_SEGMENT or self.segment_size & (self.segment_size - 1):
            raise InvalidInput(
                f"a segment is a power of two of MiB, 1 to 256, not {self.segment_size} bytes", segment_size=self.segment_size
            )

    @property
    def segments(self) -> int:
        """Segments of the object: none, if it is empty."""
        return divided(self.size, self.segment_size)

    def segment(self, number: int) -> SegmentLayout:
        """How a segment lies in its shards. Raises `InvalidInput` for one that is not there."""
        if not 0 <= number < self.segments:
            raise InvalidInput(f"there is no segment {number} among {self.segments}", segment=number, segments=self.segments)
        plain = min(self.segment_size, self.size - number * self.segment_size)
        return SegmentLayout(sealed_size(plain), self.k, self.n)

    def ranges(self, start: int, end: int) -> Iterator[ChunkRange]:
        """The chunks that the object's bytes from start to end need, segment by segment."""
        if not 0 <= start <= end <= self.size:
            raise InvalidInput(f"bytes {start} to {end} are not in an object of {self.size}", start=start, end=end)
        at = start
        while at < end:
            number, inside = divmod(at, self.segment_size)
            last = min(self.segment_size, inside + end - at)
            first = inside // CHUNK
            yield ChunkRange(number, first, divided(last, CHUNK), inside - first * CHUNK, last - inside)
            at += last - inside
