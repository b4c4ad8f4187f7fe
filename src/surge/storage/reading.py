"""Reading an object: whole segments from the devices that are quickest, and ranges from those that have just these bytes.

Everything that comes is verified against the root of its shard's tree before it is used, so a device that sends garbage costs a moment and
is asked no more. A range is read from the shards that hold it as it is; only where one of them fails are the other shards' parts of the
same stripe fetched, and the missing one computed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from surge.core.messages.storage import MOST_LEAVES
from surge.core.storage.catalogue import Keys
from surge.core.storage.chunks import Chunks
from surge.core.storage.header import Header
from surge.core.storage.layout import FRAGMENT, ChunkRange, SegmentLayout
from surge.core.storage.map import Placed, Segment
from surge.core.storage.masks import Mask, Place, mask_key
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.storage.coding import Fragments, open_segment, opened, room
from surge.storage.holder import Shard

T = TypeVar("T")


class Leaves(Protocol):
    """A device that leaves are read from."""

    async def read(self, shard: Shard, first: int, count: int) -> bytes:
        """Transfer leaves of a shard, verified against its root."""
        ...


class Holders(Protocol):
    """Where leaves come from: a fleet, or devices that a permit opens."""

    async def holder(self, device: Address) -> Leaves:
        """A device to read from."""
        ...

    def failed(self, device: Address, error: SurgeError) -> None:
        """It did not do what was asked."""
        ...

    def late(self, device: Address) -> None:
        """It lets others wait."""
        ...

    def is_shunned(self, device: Address) -> bool:
        """Whether others come first."""
        ...


class Where(Protocol):
    """A map, as far as it is needed."""

    def segment(self, number: int) -> Segment:
        """Where the shards of a segment are."""
        ...


log = logging.getLogger("surge.storage")

SPARE: Final = 4
"""Shards that are begun beyond those that are needed, at most: the slowest are called off."""

AHEAD: Final = 3
"""Pieces of a shard that are asked for before the first has come."""

PATIENCE: Final = 2.0
"""Seconds for which nothing comes, after which further shards are begun."""

STRIPES: Final = 4
"""Stripes of a range that are computed at once, where a fragment does not come."""


@dataclass(frozen=True, slots=True)
class Source:
    """One shard, where it is."""

    index: int
    placed: Placed
    place: Place


class Reader:
    """Reads one object."""

    def __init__(self, fleet: Holders, keys: Keys, header: Header, where: Where) -> None:
        self._fleet = fleet
        self._keys = keys
        self._layout = header.layout
        self._chunks = Chunks(keys.content, keys.object)
        self._map = where
        self._coming = asyncio.Lock()
        """The shards of one segment come at a time, but for the last of them: it is opened while the next one's come."""
        self._opening = asyncio.Lock()
        """One segment is opened at a time: it takes its shards and its plaintext."""

    # Whole segments

    async def segment(self, number: int) -> memoryview:
        """A segment's plaintext. Raises `Unavailable` when fewer shards can be had than are needed."""
        layout = self._layout.segment(number)
        async with _until_told(self._coming) as last:
            shards = await shards_of(self._fleet, self._map.segment(number), self._sources(number), self._keys, last=last)
        async with self._opening:
            return await asyncio.to_thread(open_segment, layout, self._chunks, number, whole_fragments(shards))

    def _opened(self, layout: SegmentLayout, part: ChunkRange, fragments: Fragments) -> memoryview:
        plain, at = room(part.size), 0
        for piece in opened(layout, self._chunks, part, fragments):
            plain[at : at + len(piece)] = piece
            at += len(piece)
        return plain

    def _sources(self, number: int) -> list[Source]:
        return sources(self._keys, self._map.segment(number), number)

    # Ranges

    async def range(self, start: int, end: int) -> bytes:
        """The object's bytes from start to end. Raises `Unavailable`."""
        parts = await asyncio.gather(*(self._chunk_range(each) for each in self._layout.ranges(start, end)))
        return b"".join(parts)

    async def _chunk_range(self, wanted: ChunkRange) -> memoryview:
        layout = self._layout.segment(wanted.segment)
        pieces = layout.pieces(*wanted.sealed(layout))
        leaves = await self._leaves(wanted.segment, layout, {(piece.stripe, piece.index) for piece in pieces})
        return await asyncio.to_thread(self._opened, layout, wanted, lambda stripe: leaves[stripe])

    async def _leaves(self, number: int, layout: SegmentLayout, wanted: set[tuple[int, int]]) -> dict[int, dict[int, bytes]]:
        """Unmasked fragments, by stripe and index: those wanted, or k of a stripe of which one does not come.

        Devices that failed just now are not asked for what others give as well, and who lets a reader wait is not waited for.
        """
        by_index = {source.index: source for source in self._sources(number)}
        found: dict[int, dict[int, bytes]] = {stripe: {} for stripe, _ in wanted}
        async with _called_off() as tasks:
            for index, first, count in _runs(wanted):
                if index in by_index and not self._fleet.is_shunned(by_index[index].placed.device):
                    tasks[asyncio.ensure_future(self._run(by_index[index], layout, first, count))] = by_index[index]
            while tasks:
                done, _ = await asyncio.wait(tasks, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                for task in done:
                    source = tasks.pop(task)
                    for stripe, fragment in task.result():
                        found[stripe][source.index] = fragment
            for source in tasks.values():
                self._fleet.late(source.placed.device)
            missing = sorted({stripe for stripe, index in wanted if index not in found[stripe]})
            for at in range(0, len(missing), STRIPES):
                together = missing[at : at + STRIPES]
                others = [[each for each in by_index.values() if each.index not in found[stripe]] for stripe in together]
                works = [self._stripe(number, layout, each, left, len(found[each])) for each, left in zip(together, others, strict=True)]
                for stripe, more in zip(together, await asyncio.gather(*works), strict=True):
                    found[stripe] |= more
        return found

    async def _run(self, source: Source, layout: SegmentLayout, first: int, count: int) -> list[tuple[int, bytes]]:
        """Leaves in a row of one shard, by stripe; none, if they cannot be had there."""
        try:
            data = await _read(self._fleet, source, layout.shard, self._keys, first, count)
        except SurgeError as error:
            self._fleet.failed(source.placed.device, error)
            return []
        return [(first + at, data[at * FRAGMENT : (at + 1) * FRAGMENT]) for at in range(count)]

    async def _stripe(self, number: int, layout: SegmentLayout, stripe: int, others: list[Source], have: int) -> dict[int, bytes]:
        """As many further fragments of a stripe as it takes to compute it."""
        ranked = sorted(others, key=lambda source: (self._fleet.is_shunned(source.placed.device), source.index))

        async def fetch(source: Source) -> tuple[int, bytes]:
            return source.index, await _read(self._fleet, source, layout.shard, self._keys, stripe, 1)

        return dict(await first_of(self._fleet, ranked, fetch, layout.k - have, f"segment {number}", have))


def whole_fragments(shards: Mapping[int, memoryview]) -> Fragments:
    """The fragments of whole shards, by stripe."""
    return lambda stripe: {index: shard[stripe * FRAGMENT : (stripe + 1) * FRAGMENT] for index, shard in shards.items()}


def sources(keys: Keys, segment: Segment, number: int) -> list[Source]:
    """Where the shards of a segment are, those that are nowhere left out."""
    return [
        Source(index, shard.placed, Place(keys.object, number, index, shard.placed.device, shard.placed.deal))
        for index, shard in enumerate(segment.shards)
        if shard.placed is not None
    ]


async def shards_of(
    fleet: Holders,
    segment: Segment,
    found: list[Source],
    keys: Keys,
    last: Callable[[], None] = lambda: None,
) -> dict[int, memoryview]:
    """Any k whole shards of a segment, unmasked, from the devices that are quickest. Raises `Unavailable`.

    More than k are begun when only as many are missing, or nothing comes: where all are as quick, they would take a part of the way from
    those. `last` is called then.
    """
    layout = segment.layout
    ranked = sorted(
        found,
        key=lambda source: (fleet.is_shunned(source.placed.device), source.index >= layout.k, source.index),
    )

    async def fetch(source: Source) -> tuple[int, memoryview]:
        return source.index, await whole_shard(fleet, source, layout.shard, keys)

    return dict(await first_of(fleet, ranked, fetch, layout.k, "a segment", last=last))


async def whole_shard(fleet: Holders, source: Source, size: int, keys: Keys) -> memoryview:
    """A shard's bytes, unmasked. Raises what kept one piece of it from coming."""
    total, gate, shard = -(-size // FRAGMENT), asyncio.Semaphore(AHEAD), room(size)
    mask = Mask(mask_key(keys.mask, source.place))

    async def piece(first: int) -> None:
        async with gate:
            data = await _masked(fleet, source, size, first, min(MOST_LEAVES, total - first))
        at = first * FRAGMENT
        mask.stream(at).update_into(data, shard[at : at + len(data)])

    try:
        async with asyncio.TaskGroup() as group:
            for first in range(0, total, MOST_LEAVES):
                group.create_task(piece(first))
    except BaseException as error:
        shard.release()  # who is called off may be held by its own traceback for long
        inner = _inner(error)
        if inner is None or inner is error:
            raise
        raise inner from error
    return shard


async def _read(fleet: Holders, source: Source, size: int, keys: Keys, first: int, count: int) -> bytes:
    data = await _masked(fleet, source, size, first, count)
    return Mask(mask_key(keys.mask, source.place)).apply(data, first * FRAGMENT)


async def _masked(fleet: Holders, source: Source, size: int, first: int, count: int) -> bytes:
    """Leaves as their holder has them, verified."""
    placed = source.placed
    holder = await fleet.holder(placed.device)
    return await holder.read(Shard(placed.deal, placed.root, size), first, count)


async def first_of(
    fleet: Holders,
    ranked: list[Source],
    fetch: Callable[[Source], Awaitable[tuple[int, T]]],
    needed: int,
    what: str,
    have: int = 0,
    last: Callable[[], None] | None = None,
) -> list[tuple[int, T]]:
    """Fetch from sources, some more than needed, until enough have come; the others are called off. Raises `Unavailable`.

    `have` are there besides: they are counted in what is said when it cannot be read. Those beyond what is needed are begun at once or,
    with `last`, which is called then, when no more than as many are missing, or nothing comes for a while.
    """
    waiting = list(ranked)
    came: list[tuple[int, T]] = []
    why: SurgeError | None = None
    async with _called_off() as under_way:

        def begin(count: int) -> None:
            for source in waiting[:count]:
                under_way[asyncio.ensure_future(fetch(source))] = source
            del waiting[:count]

        spare = min(SPARE, max(1, needed // 4)) if needed > 1 else 0
        begin(needed + spare if last is None else needed)
        while len(came) < needed:
            if not under_way:
                raise Unavailable(
                    f"{what} cannot be read now: {have + len(came)} of the {have + needed} shards that it takes came, "
                    f"of {have + len(ranked)} that there are" + (f"; the last one said: {why}" if why else ""),
                    have=have + len(came),
                    needed=have + needed,
                )
            done, _ = await asyncio.wait(under_way, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                for source in under_way.values():
                    fleet.late(source.placed.device)
                begin(SPARE)
                if last is not None:
                    last()
            for task in done:
                source = under_way.pop(task)
                error = _inner(task.exception())
                if error is None:
                    came.append(task.result())
                    if last is not None and len(came) == needed - spare:
                        begin(spare)
                        last()
                elif isinstance(error, SurgeError):
                    why = error
                    fleet.failed(source.placed.device, error)
                    begin(1)
                else:
                    raise error
    return came[:needed]


@asynccontextmanager
async def _until_told(lock: asyncio.Lock) -> AsyncIterator[Callable[[], None]]:
    """Hold a lock until what this gives is called, or to the end."""
    await lock.acquire()
    held = True

    def release() -> None:
        nonlocal held
        if held:
            held = False
            lock.release()

    try:
        yield release
    finally:
        release()


@asynccontextmanager
async def _called_off() -> AsyncIterator[dict[asyncio.Task[Any], Source]]:
    """Tasks by what they ask; those that are left at the end are called off."""
    tasks: dict[asyncio.Task[Any], Source] = {}
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _inner(error: BaseException | None) -> BaseException | None:
    """What is in a group of errors: a fault before what is merely away."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [_inner(each) for each in error.exceptions]
    return next((each for each in found if isinstance(each, PeerFault)), found[0])


def _runs(wanted: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int, int]]:
    """(index, first stripe, count) of leaves that lie in a row in one shard, `MOST_LEAVES` at most."""
    by_index: dict[int, list[int]] = {}
    for stripe, index in sorted(wanted):
        by_index.setdefault(index, []).append(stripe)
    for index, stripes in by_index.items():
        first, count = stripes[0], 1
        for stripe in stripes[1:]:
            if stripe == first + count and count < MOST_LEAVES:
                count += 1
            else:
                yield index, first, count
                first, count = stripe, 1
        yield index, first, count
