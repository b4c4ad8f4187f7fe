"""The map: where an object's shards are, and what each must be. Pages of 64 segments, each kept as a record of the object's map key.

A page is sealed under a key that follows from the mask secret: a keeper reads it and writes the next version of it, after a repair, and
cannot read the object. It says no more about the object than the sizes of its sealed segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from surge.core import canonical
from surge.core.pricing import MAX_PRICE
from surge.core.signing import Signer
from surge.core.storage import sealing
from surge.core.storage.layout import LEAST_SEGMENT, MOST_SIZE, Layout, SegmentLayout, divided
from surge.core.storage.masks import CHECK, SECRET, Place
from surge.core.storage.records import MOST_BODY, Record, page_label, sign
from surge.core.types import Address, address_bytes
from surge.errors import InvalidInput, PeerFault

PAGE = 64
"""Segments of a page, but the last: with 32 shards each it still fits a record."""

MOST_SEGMENTS = MOST_SIZE // LEAST_SEGMENT


@dataclass(frozen=True, slots=True)
class Placed:
    """A shard at a holder."""

    device: Address
    """The device that keeps it."""
    operator: Address
    """Whose device that is: no other shard of the segment is with this operator."""
    deal: bytes
    """The deal's id: 32 bytes."""
    root: bytes
    """The root of the tree over the masked shard: 32 bytes."""
    price: int
    """Wei for a gigabyte over a month: what the deal pays."""
    ends: int
    """When the deal's term ends, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of a segment."""

    check: bytes
    """The check of the unmasked shard (`masks.Check`): 16 bytes."""
    placed: Placed | None
    """Where it is; nowhere, while it waits to be rebuilt."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment."""

    layout: SegmentLayout
    """Its size and its code."""
    shards: tuple[Shard, ...]
    """All n of them, in order."""


@dataclass(frozen=True, slots=True)
class Page:
    """The map of up to 64 segments in a row."""

    object_id: bytes
    """The object's id: 32 bytes."""
    number: int
    """The page's number, from 0: it begins with segment 64 times that."""
    total: int
    """Segments of the whole object."""
    segments: tuple[Segment, ...]
    """Those of this page."""

    @property
    def first(self) -> int:
        """The number of its first segment."""
        return self.number * PAGE

    def place(self, segment: int, index: int) -> Place | None:
        """Where a shard is, as its mask has it."""
        placed = self.segments[segment - self.first].shards[index].placed
        return None if placed is None else Place(self.object_id, segment, index, placed.device, placed.deal)


def pages(segments: int) -> int:
    """Pages of the map of so many segments."""
    return divided(segments, PAGE)


def encode(page: Page) -> bytes:
    """The canonical bytes of a page. Raises `InvalidInput` for what `decode` would refuse."""
    _check(page)
    return canonical.encode([page.object_id, page.number, page.total, [_segment_fields(each) for each in page.segments]])


def decode(data: bytes) -> Page:
    """The page in canonical bytes. Raises `PeerFault`.

    1. It is well formed, and every number is within its bounds.
    2. Its segments are as many as its number and the total say.
    3. A segment has as many shards as its code; its size is one that sealing gives; all but the object's last are equal in size and code.
    4. No operator, no device and no deal has two shards of one segment.
    """
    if len(data) > MOST_BODY:
        raise PeerFault(f"a page of a map of {len(data)} bytes is larger than {MOST_BODY}", size=len(data))
    try:
        object_id, number, total, rows = _row(canonical.decode(data), (bytes, int, int, list))
        if len(rows) > PAGE:
            raise InvalidInput(f"it has {len(rows)} segments; a page has {PAGE} at most")
        page = Page(object_id, number, total, tuple(_segment(row) for row in rows))
        _check(page)
    except InvalidInput as error:
        raise PeerFault(f"a page of a map cannot be read: {error}") from error
    return page


def check_page(page: Page, object_id: bytes, number: int, layout: Layout) -> None:
    """Raise `PeerFault` unless a page is this one of this object, cut as its header says: no size that a map states is believed else."""
    if page.object_id != object_id or page.number != number or page.total != layout.segments:
        raise PeerFault("a page of a map is not the one that was asked for, or counts other segments than the header", page=page.number)
    for offset, segment in enumerate(page.segments):
        if segment.layout != layout.segment(page.first + offset):
            raise PeerFault(
                f"the map has segment {page.first + offset} in another size or code than the header", segment=page.first + offset
            )


def sealed_page(page: Page, mask_secret: bytes, signer: Signer, version: int) -> Record:
    """The record that a page is kept as: sealed, and signed by the map key."""
    body = sealing.seal(mask_secret, _about(page.object_id, page.number), encode(page))
    return sign(signer, page_label(page.number), version, body)


def open_page(record: Record, mask_secret: bytes, object_id: bytes) -> Page:
    """The page in a verified record of an object's map key. Raises `PeerFault` as `decode` does, or if it is another object's or page's."""
    number = int.from_bytes(record.label, "big")
    if number >= pages(MOST_SEGMENTS):
        raise PeerFault("a record is labelled with no page of a map", label=record.label)
    page = decode(sealing.open_sealed(mask_secret, _about(object_id, number), record.body))
    if page.object_id != object_id or page.number != number:
        raise PeerFault("a page of a map is labelled as another", page=page.number)
    return page


def _about(object_id: bytes, number: int) -> list[object]:
    return ["surge map 1", object_id, number]


def _segment_fields(segment: Segment) -> list[Any]:
    layout = segment.layout
    return [layout.k, layout.n, layout.sealed, [_shard_fields(each) for each in segment.shards]]


def _shard_fields(shard: Shard) -> list[Any]:
    placed = shard.placed
    if placed is None:
        return [shard.check]
    holder = [address_bytes(placed.device), address_bytes(placed.operator)]
    return [shard.check, *holder, placed.deal, placed.root, placed.price, placed.ends]


def _segment(value: Any) -> Segment:
    k, n, sealed, rows = _row(value, (int, int, int, list))
    return Segment(SegmentLayout(sealed, k, n), tuple(_shard(row) for row in rows))


def _shard(value: Any) -> Shard:
    if isinstance(value, list) and len(value) == 1:
        (check,) = _row(value, (bytes,))
        return Shard(check, None)
    check, device, operator, deal, root, price, ends = _row(value, (*(bytes,) * 5, int, int))
    if len(device) != 20 or len(operator) != 20:
        raise InvalidInput("an address is 20 bytes")
    if not 0 <= price <= MAX_PRICE or not 0 <= ends < 1 << 40:
        raise InvalidInput("a deal's price or end is out of bounds")
    return Shard(check, Placed(Address("0x" + device.hex()), Address("0x" + operator.hex()), deal, root, price, ends))


def _row(value: Any, kinds: Sequence[type]) -> list[Any]:
    if not isinstance(value, list) or [type(each) for each in value] != list(kinds):
        raise InvalidInput("a field is missing or of another kind")
    return value


def _check(page: Page) -> None:
    # 1
    _check_sizes([page.object_id], SECRET)
    if not 0 <= page.number < pages(page.total) <= pages(MOST_SEGMENTS):
        raise InvalidInput(f"there is no page {page.number} of {page.total} segments", page=page.number, total=page.total)
    # 2
    if len(page.segments) != min(PAGE, page.total - page.first):
        raise InvalidInput(f"page {page.number} of {page.total} segments does not have {len(page.segments)} of them")
    # 3
    for offset, segment in enumerate(page.segments):
        last = page.first + offset == page.total - 1
        _check_segment(segment)
        _check_like_the_first(segment.layout, page.segments[0].layout, last=last)


def _check_segment(segment: Segment) -> None:
    if len(segment.shards) != segment.layout.n:
        raise InvalidInput(f"a segment has {len(segment.shards)} shards where its code makes {segment.layout.n}")
    placed = [shard.placed for shard in segment.shards if shard.placed is not None]
    _check_sizes((shard.check for shard in segment.shards), CHECK)
    _check_sizes((each for one in placed for each in (one.deal, one.root)), SECRET)
    # 4
    for what, each in (
        ("one operator has", {one.operator for one in placed}),
        ("one device has", {one.device for one in placed}),
        ("one deal is for", {one.deal for one in placed}),
    ):
        if len(each) != len(placed):
            raise InvalidInput(f"{what} two shards of a segment")


def _check_like_the_first(layout: SegmentLayout, first: SegmentLayout, *, last: bool) -> None:
    if (layout.k, layout.n) != (first.k, first.n):
        raise InvalidInput("the segments of an object have one code")
    if layout.plain > first.plain if last else layout.plain != first.plain:
        raise InvalidInput("the segments of an object are equal in size, but for a shorter last one")
    if not last:
        Layout(0, layout.plain)  # refuses what is no segment's size


def _check_sizes(fields: Iterable[bytes], size: int) -> None:
    if any(len(field) != size for field in fields):
        raise InvalidInput(f"an id, a root or a check is not of its {size} bytes")
