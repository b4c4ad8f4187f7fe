"""From a segment's plaintext to its masked shards, and back: seal, code, mask, hash; verify, unmask, decode, open.

Going out, a helper thread seals and codes the next stripe while this one is masked and hashed; OpenSSL and ISA-L let both run. What is held
of a segment is its shards. Coming in, what strangers sent is verified and unmasked by `Received.accept`, and nothing else makes fragments:
a damaged one would decode to other bytes without a word.
"""

from __future__ import annotations

import contextlib
import mmap
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hmac import compare_digest

from surge.core.storage.chunks import Chunks
from surge.core.storage.layout import CHUNK, FRAGMENT, SEALED_CHUNK, ChunkRange, SegmentLayout, plain_size, sealed_size
from surge.core.storage.masks import Check, Mask, Place, mask_key
from surge.core.storage.tree import Tree, leaf_hashes, verify_range
from surge.errors import InternalFault, InvalidInput, PeerFault
from surge.storage.erasure import Bytes, Code, code_of

Fill = Callable[[memoryview], int]
"""Puts the next bytes into a buffer and says how many: a file's `readinto`."""

Fragments = Callable[[int], Mapping[int, Bytes]]
"""The unmasked fragments that are there of a stripe, by the numbers of their shards."""

_RUN = 16
"""Chunks that are read and sealed together: a megabyte."""

_HUGE = 2 << 20
"""Bytes of a large page."""

_AHEAD = 2
"""Stripes that are coded before they are masked."""


@dataclass(frozen=True, slots=True)
class CodedShard:
    """A shard as its holder gets it."""

    place: Place
    """Where it goes."""
    data: memoryview
    """The masked bytes."""
    tree: Tree
    """The tree over them."""
    check: bytes
    """The check of the unmasked shard, for the map."""

    @property
    def root(self) -> bytes:
        """The root of the tree: 32 bytes."""
        return self.tree.root


def room(size: int) -> memoryview:
    """Memory for a shard or a segment, from 1 byte up: it goes back to the system when nobody has it any more.

    What the allocator has given out once in megabytes it keeps, in pieces: three times as much is resident then as is in use. It comes in
    pages of 2 MiB where the system has them for who asks: the first touch of as many small ones costs more than what is done with them.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


class _Masker:
    """Makes one shard for its holder from its fragments as they come."""

    def __init__(self, mask_secret: bytes, place: Place, size: int) -> None:
        self._place = place
        self._stream = Mask(mask_key(mask_secret, place)).stream()
        self._check = Check(mask_secret, place.object_id, place.segment, place.index)
        self._data = room(size)
        self._leaves: list[bytes] = []
        self._at = 0

    def add(self, fragment: Bytes) -> None:
        end = self._at + len(fragment)
        masked = self._data[self._at : end]
        self._check.update(fragment)
        self._stream.update_into(fragment, masked)
        self._leaves.append(leaf_hashes(masked))  # while the fragment is in the processor's cache
        self._at = end

    def shard(self) -> CodedShard:
        return CodedShard(self._place, self._data, Tree(len(self._data), b"".join(self._leaves)), self._check.digest())


def code_segment(layout: SegmentLayout, chunks: Chunks, mask_secret: bytes, places: Sequence[Place], fill: Fill) -> list[CodedShard]:
    """The n shards of a segment, for the places where they go. Reads its plaintext once, from front to back.

    Raises `InvalidInput` if the plaintext ends early, or if the places are not those of the shards of one segment.
    """
    segment = places[0].segment if places else 0
    expected = [(chunks.object_id, segment, index) for index in range(layout.n)]
    if [(place.object_id, place.segment, place.index) for place in places] != expected:
        raise InvalidInput(f"a segment's {layout.n} shards go to as many places, in order", places=len(places))
    code = code_of(layout.k, layout.n)
    maskers = [_Masker(mask_secret, place, layout.shard) for place in places]
    stripes = _sealed_stripes(layout, chunks, segment, fill)
    with ThreadPoolExecutor(1, "surge-coding") as helper:
        ahead: deque[Future[list[Bytes] | None]] = deque(helper.submit(_next_coded, code, stripes) for _ in range(_AHEAD))
        while (fragments := ahead.popleft().result()) is not None:
            ahead.append(helper.submit(_next_coded, code, stripes))
            for masker, fragment in zip(maskers, fragments, strict=True):
                masker.add(fragment)
    return [masker.shard() for masker in maskers]


def _next_coded(code: Code, stripes: Iterator[bytes]) -> list[Bytes] | None:
    stripe = next(stripes, None)
    return None if stripe is None else code.encode(stripe)


def _sealed_stripes(layout: SegmentLayout, chunks: Chunks, segment: int, fill: Fill) -> Iterator[bytes]:
    """The stripes of a segment, sealed and padded."""
    plain = memoryview(bytearray(min(_RUN * CHUNK, layout.plain)))
    buffer = memoryview(bytearray(layout.stripe + _RUN * SEALED_CHUNK))
    held, chunk, left = 0, 0, layout.plain
    for stripe in range(layout.stripes):
        wanted = layout.stripe_bytes(stripe)
        while held < wanted:
            run = plain[: min(left, len(plain))]
            _fill(fill, run)
            sealed = sealed_size(len(run))
            chunks.seal_into(segment, chunk, run, buffer[held : held + sealed])
            held, chunk, left = held + sealed, chunk + _RUN, left - len(run)
        whole = layout.fragment(stripe) * layout.k
        yield bytes(buffer[:wanted]) + bytes(whole - wanted) if wanted < whole else bytes(buffer[:wanted])
        buffer[: held - wanted] = bytes(buffer[wanted:held])
        held -= wanted


def _fill(fill: Fill, run: memoryview) -> None:
    at = 0
    while at < len(run):
        more = fill(run[at:])
        if not more:
            raise InvalidInput("the file became shorter while it was read: put it again when nobody writes it", missing=len(run) - at)
        at += more


class Received:
    """One shard as a reader gets it: whatever its holder sends is verified, and unmasked."""

    __slots__ = ("_mask", "_root", "_size", "place")

    def __init__(self, layout: SegmentLayout, mask_secret: bytes, place: Place, root: bytes) -> None:
        self.place = place
        """Where it is."""
        self._size = layout.shard
        self._root = root
        self._mask = Mask(mask_key(mask_secret, place))

    def accept(self, first: int, data: Bytes, proof: bytes) -> dict[int, memoryview]:
        """The fragments, by their stripes, in the transfer leaves that a holder sent from `first` on. Raises `PeerFault` for others."""
        if not verify_range(self._root, self._size, first, data, proof):
            raise PeerFault(
                f"{self.place.holder} sent other bytes than it keeps of shard {self.place.index} of segment {self.place.segment}",
                holder=self.place.holder,
                segment=self.place.segment,
                index=self.place.index,
                leaf=first,
            )
        plain = memoryview(self._mask.apply(data, first * FRAGMENT))
        return {first + at // FRAGMENT: plain[at : at + FRAGMENT] for at in range(0, len(plain), FRAGMENT)}


def opened(layout: SegmentLayout, chunks: Chunks, part: ChunkRange, fragments: Fragments) -> Iterator[bytes]:
    """The plaintext that a range asks for, piece by piece, each as soon as its stripes are there.

    `fragments` is asked for each stripe once, in order, and gives those that the range needs (`ChunkRange.leaves`), or any k. Raises
    `PeerFault` if a chunk does not open.
    """
    start, end = part.sealed(layout)
    code = code_of(layout.k, layout.n)
    chunk, skip, left, sealed = part.first, part.skip, part.size, bytearray()
    for stripe in range(start // layout.stripe, -(-end // layout.stripe)):
        begin = stripe * layout.stripe
        first, last = max(start - begin, 0), min(end - begin, layout.stripe_bytes(stripe))
        for piece in _pieces(layout, code, begin + first, begin + last, fragments(stripe)):
            sealed += piece
        whole = len(sealed) if begin + last == end else len(sealed) // SEALED_CHUNK * SEALED_CHUNK
        if whole:
            plain = bytearray(plain_size(whole))
            chunks.open_into(part.segment, chunk, memoryview(sealed)[:whole], plain)
            del sealed[:whole]
            chunk += -(-whole // SEALED_CHUNK)
            given = memoryview(plain)[skip : skip + left]
            skip, left = max(0, skip - len(plain)), left - len(given)
            if given:
                yield bytes(given)


def open_segment(layout: SegmentLayout, chunks: Chunks, number: int, fragments: Fragments) -> memoryview:
    """The plaintext of a whole segment, opened into its place; `fragments` and what is raised as for `opened`."""
    plain, sealed, at, chunk = room(layout.plain), bytearray(), 0, 0
    code = code_of(layout.k, layout.n)
    for stripe in range(layout.stripes):
        begin = stripe * layout.stripe
        for piece in _pieces(layout, code, begin, begin + layout.stripe_bytes(stripe), fragments(stripe)):
            sealed += piece
        whole = len(sealed) if stripe == layout.stripes - 1 else len(sealed) // SEALED_CHUNK * SEALED_CHUNK
        if whole:
            size = plain_size(whole)
            with memoryview(sealed) as view:
                chunks.open_into(number, chunk, view[:whole], plain[at : at + size])
            del sealed[:whole]
            at, chunk = at + size, chunk + -(-whole // SEALED_CHUNK)
    return plain


def _pieces(layout: SegmentLayout, code: Code, start: int, end: int, fragments: Mapping[int, Bytes]) -> Iterator[Bytes]:
    """The sealed bytes from start to end, which are in one stripe."""
    pieces = list(layout.pieces(start, end))
    for piece, fragment in zip(pieces, code.rebuild(fragments, [piece.index for piece in pieces]), strict=True):
        yield memoryview(fragment)[piece.start : piece.end]


def rebuilt(layout: SegmentLayout, mask_secret: bytes, place: Place, check: bytes, fragments: Fragments) -> CodedShard:
    """A shard for the place where it goes now, from any k others, without opening anything.

    `fragments` is asked for each stripe once, in order, and gives any k. Raises `InternalFault` if it is not the shard that the map checks:
    no holder can bring that about, for what holders sent was verified.
    """
    code = code_of(layout.k, layout.n)
    masker = _Masker(mask_secret, place, layout.shard)
    for stripe in range(layout.stripes):
        masker.add(code.rebuild(fragments(stripe), [place.index])[0])
    shard = masker.shard()
    if not compare_digest(shard.check, check):
        raise InternalFault(
            f"shard {place.index} of segment {place.segment} came out otherwise than the map has it: nothing is placed",
            segment=place.segment,
            index=place.index,
        )
    return shard


def moved(shard: Bytes, mask_secret: bytes, old: Place, new: Place) -> CodedShard:
    """A verified masked shard for another place: unmasked and masked anew."""
    if (old.object_id, old.segment, old.index) != (new.object_id, new.segment, new.index):
        raise InvalidInput("a shard moves to another holder, not to another place in its object")
    view, mask = memoryview(shard), Mask(mask_key(mask_secret, old)).stream()
    masker = _Masker(mask_secret, new, len(view))
    for at in range(0, len(view), FRAGMENT):
        masker.add(mask.update(view[at : at + FRAGMENT]))
    return masker.shard()
