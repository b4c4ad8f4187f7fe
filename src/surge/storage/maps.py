"""Where an object's shards are: its map, read from and written to the network."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from surge.core.storage import map as pages
from surge.core.storage import records
from surge.core.storage.catalogue import Keys
from surge.core.storage.header import Header
from surge.core.storage.map import Page, Segment
from surge.core.types import Address
from surge.errors import PeerFault, Unavailable
from surge.storage.journal import FilesJournal
from surge.storage.notes import Notes, Outdated, nearest
from surge.wallet import KeySigner

SMALL = 32 << 10
"""Bytes of a page up to which devices without a shard take it, too; a larger one is that of an object which is on many devices."""


@dataclass(frozen=True, slots=True)
class Map:
    """All pages of an object's map, as they were read."""

    pages: tuple[Page, ...]
    versions: tuple[int, ...]

    def segment(self, number: int) -> Segment:
        """Where the shards of a segment are."""
        page = self.pages[number // pages.PAGE]
        return page.segments[number - page.first]

    def devices(self) -> list[Address]:
        """Every device that has a shard."""
        placed = (shard.placed for page in self.pages for segment in page.segments for shard in segment.shards)
        return list(dict.fromkeys(each.device for each in placed if each is not None))


async def read_page(notes: Notes, keys: Keys, header: Header, number: int, devices: Sequence[Address] = ()) -> tuple[Page, int]:
    """A page of an object's map and its version.

    Raises `Unavailable` where nobody has it, `PeerFault` for one that is none of this object.
    """
    record = None
    if devices:
        with suppress(Unavailable):  # all of these are away: others may have it
            record = await notes.newest(keys.author, records.page_label(number), devices)
    if record is None:
        record = await notes.newest(keys.author, records.page_label(number))
    if record is None:
        raise Unavailable("the map of the object is not found: the devices that have it are away; try again later", object=keys.object)
    page = pages.open_page(record, keys.mask, keys.object)
    pages.check_page(page, keys.object, number, header.layout)
    return page, record.version


async def read_map(notes: Notes, keys: Keys, header: Header, devices: Sequence[Address] = ()) -> Map:
    """The whole map. Raises as `read_page` does."""
    found = []
    for number in range(pages.pages(header.layout.segments)):
        found.append(await read_page(notes, keys, header, number, devices))
        devices = devices or Map(tuple(page for page, _ in found), ()).devices()
    return Map(tuple(page for page, _ in found), tuple(version for _, version in found))


async def write_page(notes: Notes, journal: FilesJournal, keys: Keys, page: Page, version: int, devices: Sequence[Address]) -> int:
    """Write a page with the version after `version`; the version it has now. Raises `Outdated` where another keeper wrote it meanwhile."""
    if not keys.map:
        raise PeerFault("the map of an object that somebody shared is not this wallet's to write")
    record = pages.sealed_page(page, keys.mask, KeySigner(keys.map), version + 1)
    devices = nearest(keys.author, devices)
    if len(record.body) <= SMALL:
        devices = await notes.findable(keys.author, devices)
    await notes.leave(KeySigner(keys.map), record.label, record.version, record.body, devices)

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO maps VALUES (?, ?, ?)", (keys.object, page.number, record.version))

    await journal.write(change)
    return record.version


__all__ = ["Map", "Outdated", "read_map", "read_page", "write_page"]
