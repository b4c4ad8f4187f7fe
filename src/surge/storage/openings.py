"""A wallet's stored files as its jobs use them: what names stand for, and what a device needs to read a part for itself.

What opens an object is looked up when a device is about to be asked, and goes to that device in its session. Nothing here writes it down.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from surge.buyer.stored import Unreadable
from surge.core.messages.stored import MOST_SEGMENTS, Fetch, Fetched, Opening, PermitField, SegmentField, ShardField
from surge.core.storage import catalogue
from surge.core.storage.catalogue import Entry, Keys
from surge.core.storage.header import Header, Kind
from surge.core.storage.layout import FRAGMENT, Layout
from surge.core.storage.stored import StoredPart
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.storage import sharing
from surge.storage.client import Storage, find_in
from surge.storage.maps import Map
from surge.storage.objects import where
from surge.storage.reading import Reader
from surge.storage.tree_reading import TreeReader

FRESH_SECONDS: Final = 5.0
"""How long names count as they were read: a map of many files reads them once."""

MAP_SECONDS: Final = 30.0
"""How long a map does: a keeper may move shards meanwhile, and then a device finds them gone, and is told anew."""

MOST_KNOWN: Final = 64
"""Objects whose maps and folders are remembered."""

SPARE: Final = 2
"""Holders that permits are made for beyond those that it takes, where the wallet has no session with more."""

PERMIT_SECONDS: Final = 900
"""For so long a device may read by a permit."""

TWICE: Final = 2
"""So many times what a part takes of a shard may be read: a holder may be asked again for what did not come."""

PIECE: Final = 4 << 20
"""Bytes that are read together, where a part is read here."""


log = logging.getLogger("surge.storage")


@dataclass(slots=True)
class _Known:
    """An object, as far as it was looked at."""

    keys: Keys
    header: Header
    where: Map
    read_at: float
    tree: TreeReader


class Openings:
    """See `surge.buyer.stored.StoredFiles`. `storage` gives the wallet's storage, opening it the first time."""

    def __init__(self, storage: Callable[[], Awaitable[Storage]]) -> None:
        self._storage = storage
        self._names: Mapping[str, Entry] = {}
        self._objects: dict[bytes, str] = {}
        """The names of objects."""
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._shared: dict[tuple[str, bytes], tuple[float, Entry]] = {}

    # Names

    async def part(self, name: str) -> StoredPart:
        """What a name stands for now. Raises `InvalidInput` for one that is gone, or that is a folder's; `Unavailable`."""
        storage = await self._storage()
        found = find_in(await self._read(storage), catalogue.check_name(name))
        if found is None:
            raise InvalidInput(f"nothing is stored as {name!r} any more: `surge ls` shows what is", name=name)
        entry = await self._current(storage, found[0], found[1])
        assert entry.keys is not None
        identity, size = entry.keys.object, entry.header.size
        if entry.header.kind == Kind.FILE:
            return StoredPart(identity, size, 0, size, name)
        if not found[2]:
            raise InvalidInput(f"{name!r} is a folder: name the files in it, as network.files.glob({name + '/*'!r}) does", name=name)
        member = await (await self._object(storage, entry.keys, entry.header)).tree.find(found[2])
        return StoredPart(identity, size, member.offset, member.size, name)

    def changed(self) -> None:
        """Names were changed here: they are read again."""
        self._read_at = float("-inf")

    async def _read(self, storage: Storage) -> Mapping[str, Entry]:
        async with self._reading:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                self._names = await storage.book.read()
                self._read_at = time.monotonic()
                self._objects = {entry.keys.object: name for name, entry in self._names.items() if entry.keys is not None}
        return self._names

    async def _current(self, storage: Storage, name: str, entry: Entry) -> Entry:
        """What somebody shared is as it is with them now."""
        if entry.source is None:
            return entry
        key = (entry.source.author, entry.source.label)
        read_at, current = self._shared.get(key, (float("-inf"), entry))
        if time.monotonic() - read_at > FRESH_SECONDS:
            current = await sharing.current(storage, name, entry)
            self._shared[key] = time.monotonic(), current
        return current

    async def _object(self, storage: Storage, keys: Keys, header: Header) -> _Known:
        known = self._known.get(keys.object)
        if known is None or time.monotonic() - known.read_at > MAP_SECONDS:
            found = await where(storage, keys, header)
            tree = TreeReader(Reader(storage.fleet, keys, header, found), header.size)
            self._known[keys.object] = known = _Known(keys, header, found, time.monotonic(), tree)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(keys.object)
        return known

    async def _behind(self, part: StoredPart) -> tuple[Storage, _Known]:
        """The object that a part is of. Raises `InvalidInput` where this wallet has none, `Unavailable` where its map is not found.

        1. It has a name still, with this wallet or with who shared it.
        2. It is as large as the part says.
        """
        storage = await self._storage()
        # 1
        names = await self._read(storage)
        known = self._objects.get(part.object)
        likely = [known] if known is not None else [name for name, entry in names.items() if entry.source is not None]
        for name in likely:
            entry = await self._current(storage, name, names[name])
            if entry.keys is not None and entry.keys.object == part.object:
                break
        else:
            raise InvalidInput(f"what was stored as {part.name!r} is gone, or another object has the name now", name=part.name)
        # 2
        if entry.header.size != part.size:
            raise InvalidInput(f"{part.name!r} is {entry.header.size} bytes, not {part.size}", name=part.name)
        assert entry.keys is not None
        return storage, await self._object(storage, entry.keys, entry.header)

    # For devices

    async def opening(self, part: StoredPart, job: bytes, device: Address) -> Fetch:
        """See `StoredFiles`."""
        try:
            storage, known = await self._behind(part)
            segments = sorted({each.segment for each in known.header.layout.ranges(part.offset, part.end)})
            if len(segments) > MOST_SEGMENTS:
                raise InvalidInput(
                    f"{part.name!r} lies in {len(segments)} segments; a device takes {MOST_SEGMENTS} at most", name=part.name
                )
            permits = await self._permits(storage, known, part, segments, device) if segments else []
        except Unavailable as error:
            raise Unreadable(f"{part.name!r} cannot be read now: {error.message}", **error.details) from error
        holders = {permit.holder for permit in permits}
        fields = []
        for number in segments:
            shards = [(index, shard.placed) for index, shard in enumerate(known.where.segment(number).shards)]
            listed = [ShardField(index, at.device, at.deal, at.root) for index, at in shards if at is not None and at.device in holders]
            fields.append(SegmentField(number, listed))
        header, keys = known.header, known.keys
        opening = Opening(keys.content, keys.mask, header.segment_size, header.k, header.n, fields)
        return Fetch(job, part.object, part.size, part.offset, part.length, part.name, opening, permits)

    async def _permits(
        self, storage: Storage, known: _Known, part: StoredPart, segments: Sequence[int], device: Address
    ) -> list[PermitField]:
        """A permit for each holder that is reached, as many as it takes and some more. Raises `Unavailable`."""
        deals, sizes = _needed(known, part, segments)
        open_ones = {each.device for each in await storage.fleet.known()}
        ranked = sorted(deals, key=lambda each: (storage.fleet.is_shunned(each), each not in open_ones))
        until, permits = int(time.time()) + PERMIT_SECONDS, dict[Address, PermitField]()
        lacking = {number: known.header.k + SPARE for number in segments}

        async def permit(holder: Address) -> None:
            try:
                permits[holder] = await (await storage.fleet.holder(holder)).permit(device, deals[holder].values(), sizes[holder], until)
            except SurgeError as error:
                storage.fleet.failed(holder, error)

        while ranked and (any(count > 0 for count in lacking.values()) or ranked[0] in open_ones):
            wanted = max(1, max(lacking.values()))
            batch = [each for at, each in enumerate(ranked) if each in open_ones or at < wanted]
            ranked = [each for each in ranked if each not in batch]
            await asyncio.gather(*map(permit, batch))
            for number in segments:
                lacking[number] = known.header.k + SPARE - sum(number in deals[holder] for holder in permits)
        for number in segments:
            reached = known.header.k + SPARE - lacking[number]
            if reached < known.header.k:
                raise Unavailable(f"{reached} of the {known.header.k} shards that it takes are within reach", have=reached)
        return list(permits.values())

    async def was_read(self, asked: Fetch, said: Fetched, device: Address, *, brought: bool, most: int) -> None:
        """See `StoredFiles`. No more counts than was permitted. A holder that cannot be billed now is another time."""
        if brought and sum(size for _, size in said.read) < (least := least_read(asked, device)):
            raise PeerFault(f"{device} bills for bringing {asked.length} bytes, and says that it read fewer than the {least} that takes")
        storage, sizes = await self._storage(), {permit.holder: permit.size for permit in asked.permits}
        for holder, size in dict(said.read).items():
            try:
                if counted := min(size, sizes.get(holder, 0), most):
                    most -= counted
                    await (await storage.fleet.holder(Address(holder))).read_by_permit(counted)
            except SurgeError as error:
                log.info("what was read at %s by permit is paid another time: %s", holder, error)

    async def holders(self, parts: Sequence[StoredPart]) -> Collection[Address]:
        """See `StoredFiles`."""
        found: set[Address] = set()
        for part in parts:
            _, known = await self._behind(part)
            segments = {each.segment for each in known.header.layout.ranges(part.offset, part.end)}
            found |= {at.device for number in segments for shard in known.where.segment(number).shards if (at := shard.placed) is not None}
        return found

    # Here

    @asynccontextmanager
    async def here(self, parts: Sequence[StoredPart]) -> AsyncIterator[Sequence[Path]]:
        """See `StoredFiles`."""
        storage = await self._storage()
        with tempfile.TemporaryDirectory(dir=storage.client.home.folder, prefix="stored-", ignore_cleanup_errors=True) as folder:
            paths = [Path(folder) / str(number) for number in range(len(parts))]
            for part, path in zip(parts, paths, strict=True):
                _, known = await self._behind(part)
                await _write(Reader(storage.fleet, known.keys, known.header, known.where), part, path)
            yield paths


async def _write(reader: Reader, part: StoredPart, path: Path) -> None:
    try:
        with await asyncio.to_thread(path.open, "wb", 0) as file:
            for at in range(part.offset, part.end, PIECE):
                data = memoryview(await reader.range(at, min(at + PIECE, part.end)))
                while data:
                    data = data[await asyncio.to_thread(os.write, file.fileno(), data) :]
    except OSError as error:
        raise Unavailable(f"the disk that holds {path.parent.parent} is full or failing: {error.strerror}") from error


def least_read(asked: Fetch, device: Address) -> int:
    """Bytes of shards that a device reads of others at least to bring a part: all of it, but what may be in a shard of its own."""
    layout = Layout(asked.size, asked.opening.segment_size, asked.opening.k, asked.opening.n)
    own = {each.number for each in asked.opening.segments if any(shard.device == device for shard in each.shards)}
    least = 0
    for part in layout.ranges(asked.offset, asked.offset + asked.length):
        stripes = part.size // (layout.k * FRAGMENT) + 2
        least += max(0, part.size - stripes * FRAGMENT) if part.segment in own else part.size
    return least


def _needed(known: _Known, part: StoredPart, segments: Sequence[int]) -> tuple[dict[Address, dict[int, bytes]], dict[Address, int]]:
    """By holder: its deals by segment, and the bytes that a device may read of them."""
    stripes = dict.fromkeys(segments, 0)
    for each in known.header.layout.ranges(part.offset, part.end):
        cut = known.header.layout.segment(each.segment)
        touched = [piece.stripe for piece in cut.pieces(*each.sealed(cut))]
        stripes[each.segment] = max(touched) - min(touched) + 1
    deals: dict[Address, dict[int, bytes]] = {}
    sizes: dict[Address, int] = {}
    for number in segments:
        for shard in known.where.segment(number).shards:
            if (at := shard.placed) is not None:
                deals.setdefault(at.device, {})[number] = at.deal
                sizes[at.device] = sizes.get(at.device, 0) + TWICE * stripes[number] * FRAGMENT
    return deals, sizes
