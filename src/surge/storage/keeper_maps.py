"""A keeper's view of an object: its map as the network has it, brought together with the deals that are known here.

Whatever another keeper placed is taken over; whatever was placed here and is in no map yet is written. So a keeper that was killed between
placing a shard and writing the map writes it in its next round, and two keepers of one object do not undo each other's work.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from surge.core.storage import keeping
from surge.core.storage import map as pages
from surge.core.storage.map import Page, Placed
from surge.core.types import Address
from surge.errors import Unavailable
from surge.storage.charges import Charge
from surge.storage.client import Storage, adopted
from surge.storage.journal import DROPPED, KEPT, LOST, DealRow
from surge.storage.maps import read_page, write_page
from surge.storage.notes import Outdated

log = logging.getLogger("surge.storage")

TRIES: Final = 8
"""Times that a page is written, where others write it too."""


@dataclass(frozen=True, slots=True)
class View:
    """An object as its keeper sees it: the pages of its map as they are now."""

    charge: Charge
    pages: tuple[Page, ...]


async def view(storage: Storage, charge: Charge, first: Sequence[Address] = ()) -> View:
    """The map of an object, read, brought together with what is known here, and written where it changed. Raises `Unavailable`.

    `first` are devices that are known to be there.
    """
    await storage.adopt(charge.keys, charge.header, charge.name)
    found = [await _page(storage, charge, number, first) for number in range(pages.pages(charge.header.layout.segments))]
    return View(charge, tuple(found))


async def _page(storage: Storage, charge: Charge, number: int, first: Sequence[Address]) -> Page:
    keys, version = charge.keys, 0
    known = [each.device for each in await storage.journal.deals(object=keys.object, state=KEPT)]
    asked = list(dict.fromkeys([*(each for each in first if each in known), *known]))
    for _ in range(TRIES):
        page, version = await read_page(storage.notes, keys, charge.header, number, asked)
        merged = await _merged(storage, charge, page)
        if merged == page:
            return page
        devices = [shard.placed.device for segment in merged.segments for shard in segment.shards if shard.placed is not None]
        there = set(first)
        try:
            await write_page(
                storage.notes, storage.journal, keys, merged, version, sorted(dict.fromkeys(devices), key=lambda each: each not in there)
            )
        except Outdated:
            log.info("the map of %s was written by another keeper: its changes come first", charge.name)
            continue
        return merged
    raise Unavailable(f"other keepers changed the map of {charge.name} {TRIES} times meanwhile", object=keys.object)


async def _merged(storage: Storage, charge: Charge, page: Page) -> Page:
    """The page as it is to be; the deals that this gives or takes are on disk."""
    rows = await storage.journal.deals(object=charge.keys.object)
    by_id = {each.id: each for each in rows}
    lost = {each.id for each in rows if each.state in (LOST, DROPPED)}
    written = {shard.placed.deal for segment in page.segments for shard in segment.shards if shard.placed is not None}
    ours: dict[tuple[int, int], DealRow] = {}
    replaced: list[DealRow] = []
    for row in rows:
        if row.state == KEPT:
            other = ours.setdefault((row.segment, row.shard), row)
            if other is not row:  # cut off between the new pledge and giving up the old one: the map does not have the new one
                newer = row if other.id in written else other
                replaced.append(other if newer is row else row)
                ours[row.segment, row.shard] = newer
    await storage.journal.put_deals([replace(each, state=LOST) for each in replaced])
    lost |= {each.id for each in replaced}
    merged = keeping.merge(page, {slot: placed_of(row) for slot, row in ours.items()}, lost)
    penalty = await storage.penalty()
    fresh = [
        adopted(
            charge.keys.object, segment, index, page.segments[segment - page.first].layout.shard,
            page.segments[segment - page.first].shards[index].check, placed, penalty,
        )
        for segment, index, placed in merged.adopted
    ]  # fmt: skip
    given_up = [replace(by_id[deal], state=LOST) for deal in merged.given_up]
    await storage.journal.put_deals([*fresh, *given_up])
    return merged.page


def placed_of(row: DealRow) -> Placed:
    """A deal as a map has it."""
    return Placed(row.device, row.operator, row.id, row.root, row.price, row.ends)
