"""What it costs to keep something, and which code the devices at hand allow: before it is put, and afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from surge.buyer.journal import OPEN
from surge.core.pricing import transfer_amount
from surge.core.storage.accounts import MONTH_SECONDS, amount
from surge.core.storage.header import Header
from surge.core.storage.layout import SEGMENT
from surge.core.storage.map import Placed
from surge.core.storage.placement import place
from surge.core.types import Address
from surge.storage.client import Storage, Stored, stored
from surge.storage.deals import check_seconds, first_pledge
from surge.storage.journal import KEPT
from surge.storage.objects import candidates, chosen_code, described, where
from surge.storage.packing import Content


@dataclass(frozen=True, slots=True)
class Quote:
    """What a put would cost, by the offers there are now."""

    size: int
    """Bytes of the file, or of a folder with its index."""
    kept: int
    """Bytes that holders would keep: those with the parity."""
    k: int
    """Shards of a segment that are enough."""
    n: int
    """Shards that there are."""
    operators: int
    """Operators that offer storage now: each gets one shard of a segment at most."""
    availability: float
    """How probably a segment can be read at once."""
    loss: float
    """How probably a segment is lost within a year."""
    month: int
    """Wei for a month of 30 days."""
    moving: int
    """Wei for bringing it there, once."""
    term: int
    """Wei for the whole term, with bringing it there; for one without an end, for its first month."""
    why: str
    """Why this code."""
    pledged: int
    """Seconds for which holders pledge at first: who keeps it has them proved and paid before that is over."""
    floors: int
    """Wei that channels to new holders pay at least, whatever is done on them; most of their deposits come back when they are closed."""


async def quote(
    storage: Storage,
    content: Content,
    *,
    seconds: int,
    code: tuple[int, int] | None = None,
    max_price: int | None = None,
    segment_size: int = SEGMENT,
) -> Quote:
    """What putting this costs. Raises `Unavailable` where nobody offers storage, `InvalidInput` for a code that is not to be had."""
    check_seconds(seconds, await storage.period())
    found = await candidates(storage, max_price)
    chosen, why = chosen_code(found, code, max_price)
    layout = Header(content.size, content.kind, segment_size, chosen.k, chosen.n).layout
    month = moving = kept = floors = 0
    opened = {row.device for row in await storage.client.journal.channels(state=OPEN)}
    offers = await storage.fleet.offers()
    for number in range(min(layout.segments, 64)):  # more say no more about the price
        segment = layout.segment(number)
        for each in place(found, number.to_bytes(4, "big"), chosen.k, chosen.n, segment.shard):
            month += amount(each.price, segment.shard, MONTH_SECONDS)
            moving += transfer_amount(offers[each.device].offer.prices, segment.shard)
            floors += 0 if each.device in opened else offers[each.device].offer.opening
            opened.add(each.device)
        kept += segment.shard * chosen.n
    if layout.segments > 64:
        plain = 64 * segment_size
        month, moving, kept = (value * content.size // plain for value in (month, moving, kept))
    term = month if not seconds else -(-month * seconds // MONTH_SECONDS)
    operators = len({each.operator for each in found})
    return Quote(
        *(content.size, kept, chosen.k, chosen.n, operators, chosen.availability, chosen.loss),
        *(month, moving, term + moving, why, first_pledge(await storage.period()), floors),
    )


async def missing(storage: Storage, stored: Stored) -> int:
    """Shards of what was just put that no device pledged for."""
    entry = (await storage.book.here())[stored.name]
    assert entry.keys is not None
    kept = len(await storage.journal.deals(object=entry.keys.object, state=KEPT))
    return max(0, entry.header.layout.segments * entry.header.n - kept)


@dataclass(frozen=True, slots=True)
class Details:
    """What a name stands for, with where it is."""

    stored: Stored
    folder: str
    """What it is in and is kept with as a whole; empty for what was put by itself. All that follows is about that."""
    segments: int
    """Into how many it is cut."""
    shards: int
    """That its map has at holders now."""
    missing: int
    """That are nowhere, for its keeper to place."""
    devices: tuple[Address, ...]
    """Holders."""
    kept: int
    """Bytes that they keep."""
    month: int
    """Wei for a month of 30 days; 0 for what another pays."""
    shared_by: str
    """Who shared it: the key that signs their names. Empty for one's own."""


async def details(storage: Storage, name: str) -> Details:
    """What a name stands for, a file in a folder too, as its map says.

    Raises `InvalidInput`, and `Unavailable` when the map is not found.
    """
    found, entry, inside = await storage.find(name)
    assert entry.keys is not None
    what = stored(found, entry)
    if inside:
        what = await described(storage, name)
    own = bool(entry.keys.map)
    pages = (await where(storage, entry.keys, entry.header)).pages
    placed: list[tuple[int, Placed]] = []
    missing = 0
    for page in pages:
        for segment in page.segments:
            for shard in segment.shards:
                if shard.placed is None:
                    missing += 1
                else:
                    placed.append((segment.layout.shard, shard.placed))
    return Details(
        stored=what,
        folder=found if inside else "",
        segments=entry.header.layout.segments,
        shards=len(placed),
        missing=missing,
        devices=tuple(sorted({each.device for _, each in placed})),
        kept=sum(size for size, _ in placed),
        month=sum(amount(each.price, size, MONTH_SECONDS) for size, each in placed) if own else 0,
        shared_by="" if entry.source is None else entry.source.author,
    )
