"""Bringing a stored file to a device: read from its holders by the buyer's permits, verified, unmasked, decoded and opened, outside of the
sandbox.

What is read of a holder is counted here too, and told to the buyer: the holder is paid for the smaller of the two counts.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from surge.core.messages import encode_visit, visit_context
from surge.core.messages.holder_visits import (
    NotNow,
    NotPermitted,
    ReadPermitted,
    Shown,
    ShowPermit,
    TellLeaves,
    ToHolder,
    ToReader,
    decode_for_reader,
)
from surge.core.messages.stored import Fetch, PermitField, SegmentField
from surge.core.signing import Signer
from surge.core.storage.catalogue import Keys
from surge.core.storage.deals import NotAgreed
from surge.core.storage.header import Header, Kind
from surge.core.storage.layout import Layout
from surge.core.storage.map import Placed, Segment, Shard
from surge.core.storage.masks import CHECK
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.storage import holder
from surge.storage.reading import Leaves, Reader
from surge.storage.service import SERVICE
from surge.storage.shelf import Shelf

if TYPE_CHECKING:
    from surge.relay.client import Relays, Session

ANSWER_SECONDS: Final = 20.0
"""How long a holder may take to answer."""

PIECE: Final = 4 << 20
"""Bytes of the file that are read together."""

NOBODY: Final = Address("0x" + "00" * 20)


class PermitReader:
    """Fetches parts of stored objects for a device. See `surge.provider.stored.Opener`.

    Args:
        network: the network's id.
        relays: how holders are reached.
        device: whom permits name.
        shelf: the shards that this device has itself: it needs no permit for those.
    """

    def __init__(self, network: bytes, relays: Relays, device: Signer, shelf: Shelf | None = None) -> None:
        self.own = None if shelf is None else Own(device.address, shelf)
        self._context = visit_context(network, SERVICE)
        self._relays = relays
        self._device = device

    async def fetch(self, asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
        """Write the part to a file; the bytes that were read of each holder.

        Raises:
            InvalidInput: what was sent describes no part of an object.
            Unavailable: too few holders give what it takes, or the disk is full.
            PeerFault: what they gave, as its roots say, does not open with the key.
        """
        header, where = described(asked)
        keys = Keys(asked.object, asked.opening.key, asked.opening.mask, b"", NOBODY)
        visits = Visits(self, asked)
        try:
            reader, end = Reader(visits, keys, header, where), asked.offset + asked.length
            file = await asyncio.to_thread(to.open, "wb", 0)
            with file:
                for at in range(asked.offset, end, PIECE):
                    await asyncio.to_thread(_write, file.fileno(), await reader.range(at, min(at + PIECE, end)))
        except OSError as error:
            raise Unavailable(f"the disk of this device is full or failing: {error.strerror}") from error
        finally:
            await visits.close()
        return sorted(visits.read.items())

    async def dial(self, device: Address) -> Session:
        """A visit to a holder, by this device."""
        return await self._relays.dial(device, identity=self._device, context=self._context)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@dataclass(frozen=True, slots=True)
class Given:
    """A map as far as the buyer sent it."""

    segments: dict[int, Segment]

    def segment(self, number: int) -> Segment:
        """Where the shards of a segment are. Raises `InvalidInput` for one that was not sent."""
        if number not in self.segments:
            raise InvalidInput(f"segment {number} is not among those that were sent")
        return self.segments[number]


def described(asked: Fetch) -> tuple[Header, Given]:
    """The object's header and its map, as far as they are needed. Raises `InvalidInput`.

    1. The numbers are an object's, and the part is in it.
    2. Its segments are those that were sent, each with shards of its own code, on a device each.
    """
    # 1
    opening = asked.opening
    header = Header(asked.size, Kind.FILE, opening.segment_size, opening.k, opening.n)
    layout = header.layout
    if asked.offset + asked.length > asked.size:
        raise InvalidInput("the part ends after its object", end=asked.offset + asked.length, size=asked.size)
    # 2
    wanted = {each.segment for each in layout.ranges(asked.offset, asked.offset + asked.length)}
    if wanted != {each.number for each in opening.segments} or len(wanted) != len(opening.segments):
        raise InvalidInput("the segments that were sent are not those of the part")
    return header, Given({each.number: _segment(layout, each) for each in opening.segments})


def _segment(layout: Layout, field: SegmentField) -> Segment:
    cut = layout.segment(field.number)
    shards: list[Shard] = [Shard(bytes(CHECK), None)] * cut.n
    for shard in field.shards:
        if shard.index >= cut.n or shards[shard.index].placed is not None:
            raise InvalidInput(f"segment {field.number} has no shard {shard.index}, or it was sent twice")
        device = Address(shard.device)
        shards[shard.index] = Shard(bytes(CHECK), Placed(device, device, shard.deal, shard.root, 0, 0))
    if len({shard.device for shard in field.shards}) < len(field.shards) or len({shard.deal for shard in field.shards}) < len(field.shards):
        raise InvalidInput(f"segment {field.number} has two shards on one device, or of one deal")
    return Segment(cut, tuple(shards))


class Visits:
    """The holders of one part: each is visited when it is first asked for something, and shown its permit."""

    def __init__(self, reader: PermitReader, asked: Fetch) -> None:
        self.read: Counter[str] = Counter()
        """Bytes that came of each, and were what they should be."""
        self._reader = reader
        self._permits = {Address(permit.holder): permit for permit in asked.permits}
        self._deals: dict[Address, list[bytes]] = {}
        for segment in asked.opening.segments:
            for shard in segment.shards:
                self._deals.setdefault(Address(shard.device), []).append(shard.deal)
        self._visits: dict[Address, asyncio.Task[Visit]] = {}
        self._shunned: set[Address] = set()

    async def holder(self, device: Address) -> Leaves:
        """See `reading.Holders`."""
        if self._reader.own is not None and self._reader.own.device == device:
            return self._reader.own
        permit = self._permits.get(device)
        if permit is None:
            raise Unavailable(f"the buyer sent no permit for {device}", device=device)
        if device not in self._visits:
            self._visits[device] = asyncio.create_task(self._begin(device, permit))
        return await asyncio.shield(self._visits[device])

    async def _begin(self, device: Address, permit: PermitField) -> Visit:
        session = await self._reader.dial(device)
        visit = Visit(device, session, self.read)
        shown = ShowPermit(permit.channel, self._deals.get(device, []), permit.size, permit.until, permit.salt, permit.signature)
        try:
            said = await visit.ask(shown)
            if isinstance(said, NotNow):
                raise Unavailable(f"{device} takes no visit now: {said.text}", device=device)
            if not isinstance(said, Shown):
                raise PeerFault(f"{device} answers a permit with something else", device=device)
        except BaseException:
            await session.close()
            raise
        return visit

    def failed(self, device: Address, error: SurgeError) -> None:
        """See `reading.Holders`."""
        self._shunned.add(device)

    def late(self, device: Address) -> None:
        """See `reading.Holders`."""
        self._shunned.add(device)

    def is_shunned(self, device: Address) -> bool:
        """See `reading.Holders`."""
        return device in self._shunned

    async def close(self) -> None:
        """End the visits."""
        for task in self._visits.values():
            if not task.done():
                task.cancel()
        for found in await asyncio.gather(*self._visits.values(), return_exceptions=True):
            if isinstance(found, Visit):
                await found.close()


class Own:
    """The shards of this device."""

    def __init__(self, device: Address, shelf: Shelf) -> None:
        self.device = device
        self._shelf = shelf

    async def read(self, shard: holder.Shard, first: int, count: int) -> bytes:
        """See `reading.Leaves`."""
        try:
            data, proof = await self._shelf.read(shard.deal, first, count)
        except NotAgreed as error:
            raise Unavailable(error.message) from error
        holder.check_leaves(self.device, shard, first, count, data, proof)
        return data


class Visit:
    """A session in which a permit was shown."""

    def __init__(self, device: Address, session: Session, read: Counter[str]) -> None:
        self.session = session
        self._device = device
        self._read = read
        self._one_at_a_time = asyncio.Lock()
        self._asking: set[asyncio.Task[bytes]] = set()

    async def read(self, shard: holder.Shard, first: int, count: int) -> bytes:
        """See `reading.Leaves`. What was asked for is taken, and counted, also when nobody waits for it any more."""
        task = asyncio.create_task(self._read_leaves(shard, first, count))
        self._asking.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[bytes]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; else nobody asks

    async def _read_leaves(self, shard: holder.Shard, first: int, count: int) -> bytes:
        said = await self.ask(ReadPermitted(shard.deal, first, count))
        if not isinstance(said, TellLeaves):
            raise PeerFault(f"{self._device} answers a reader with something else", device=self._device)
        holder.check_leaves(self._device, shard, first, count, said.data, said.proof)
        self._read[self._device] += len(said.data)
        return said.data

    async def close(self) -> None:
        """End the visit."""
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self.session.close()

    async def ask(self, message: ToHolder) -> ToReader:
        """Say something and wait for the answer. A visit in which one was waited for in vain is of no further use."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self.session.send(encode_visit(message))
                    said = decode_for_reader(await self.session.receive())
            except TimeoutError as error:
                await self.session.close()
                raise Unavailable(f"{self._device} does not answer within {ANSWER_SECONDS:.0f} s", device=self._device) from error
        if isinstance(said, NotPermitted):
            raise Unavailable(f"{self._device} gives nothing ({said.code}): {said.text}", device=self._device, code=said.code)
        return said
