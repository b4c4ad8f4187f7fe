"""Shards on a holder's disk: how they come, piece by piece and again after a cut, how they are read and proved, and how they go.

A shard that comes lies beside its place, as far as it is: the file's length says how far. Once whole it is read back and verified against
its root, made durable and put in its place; only then is its deal kept. Room is reserved when a deal begins, so that what was promised is
there. Calls about one deal are done one after another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from surge.core.storage.crown import PER_TRANSFER_LEAF, Crown, node
from surge.core.storage.deals import UNKEPT_SECONDS, Deal, NotAgreed
from surge.core.storage.layout import PROOF_LEAF, TRANSFER_LEAF
from surge.core.storage.tree import HASH, transfer_leaves
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.storage.index import Index

log = logging.getLogger("surge.storage")

SPARE = 256 << 20
"""Bytes of the disk that are left to others."""

MOST_UNKEPT = 1024
"""Deals that are not kept yet, all together: each is a row and a place in memory."""

MOST_UNKEPT_OF_ONE = 64
"""Of one wallet: what puts at full speed have under way at one holder."""

PIECE = 16 * TRANSFER_LEAF
"""Bytes that are read at once when a shard is verified."""


@dataclass(slots=True)
class Coming:
    """A deal that is not kept yet."""

    deal: Deal
    touched: int
    """When it was last called about, Unix seconds."""
    here: int = 0
    """Bytes of the shard that are here: whole transfer leaves, or all of it."""
    nodes: bytes = b""
    """The hashes of the transfer leaves that came since the start of this process, as long as they are from the first on."""

    @property
    def leaves(self) -> int:
        """Transfer leaves that are here."""
        return -(-self.here // TRANSFER_LEAF)


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Shelf:
    """See the module. `start` before anything else.

    Args:
        folder: where shards and the index lie; one process uses it.
        room: bytes lent, records included.
        spare: bytes of the disk that are left free.
    """

    def __init__(self, folder: Path, room: int, spare: int = SPARE) -> None:
        self.index: Index
        self._folder, self._room, self._spare = folder, room, spare
        self._coming: dict[bytes, Coming] = {}
        self._turns: dict[bytes, _Turn] = {}
        self._named: set[Path] = set()
        """Folders of shards whose names are durable."""
        self._reserved = 0
        self._shards = self._kept = 0

    # Life

    async def start(self, now: int) -> None:
        """Open the index, and take up what was cut off."""
        await asyncio.to_thread(self._begin, now)

    def _begin(self, now: int) -> None:
        (self._folder / "shards").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.index = Index(self._folder / "index.db")
        self._shards, self._kept, self._reserved = self.index.totals()
        for deal in self.index.deals():
            place, beside = self._place(deal.id), self._beside(deal.id)
            if place.exists():  # cut off between the rename and its row
                place.replace(beside)
            size = beside.stat().st_size if beside.exists() else 0
            self._coming[deal.id] = Coming(deal, now, size if size == deal.size else size - size % TRANSFER_LEAF)
        for path in (self._folder / "shards").glob("*/*"):
            if re.fullmatch("[0-9a-f]{64}", path.stem) and self.index.deal(bytes.fromhex(path.stem)) is None:
                path.unlink()  # cut off between its row and the file

    async def close(self) -> None:
        """Close the index."""
        if hasattr(self, "index"):
            await asyncio.to_thread(self.index.close)

    def _place(self, deal: bytes) -> Path:
        name = deal.hex()
        return self._folder / "shards" / name[:2] / name

    def _beside(self, deal: bytes) -> Path:
        return self._place(deal).with_suffix(".part")

    # Room

    @property
    def totals(self) -> tuple[int, int]:
        """Shards kept, and their bytes."""
        return self._shards, self._kept

    def free(self) -> int:
        """Bytes that may still be promised: of what is lent, and of what the disk has."""
        return max(0, self._left())

    def _left(self) -> int:
        missing = sum(coming.deal.size - coming.here for coming in self._coming.values())
        return min(self._room - self._reserved, shutil.disk_usage(self._folder).free - self._spare - missing)

    def promised(self, buyer: Address) -> int:
        """Bytes that a wallet opened deals for, and that did not come yet."""
        return sum(each.deal.size - each.here for each in self._coming.values() if each.deal.buyer == buyer)

    async def reserve(self, size: int) -> None:
        """Take room for so many bytes; less than nothing gives some back. Raises `NotAgreed` where there is none."""
        self._reserved += size  # before anything is waited for: the next one sees it
        if size > 0 and (left := await asyncio.to_thread(self._left)) < 0:
            self._reserved -= size
            free = max(0, left + size)
            raise NotAgreed("storage", f"no room for {size} bytes: {free} are free on this device", free=free, size=size)

    @asynccontextmanager
    async def turn(self, deal: bytes) -> AsyncIterator[None]:
        """A deal's turn: after all that was called about it before, and before all that is called after."""
        turn = self._turns.setdefault(deal, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[deal]

    # What comes

    def coming(self, deal: bytes) -> Coming | None:
        """A deal that is not kept yet."""
        return self._coming.get(deal)

    async def open(self, deal: Deal, agree: Callable[[], None], now: int) -> int:
        """Begin a deal, once `agree` raised nothing, or go on with one. Gives the transfer leaves that are here. Raises `NotAgreed`.

        1. The same deal again goes on, however far it is; another one with its id does not.
        2. The holder agrees.
        3. No other shard of the segment is here.
        4. Not too many are open, and there is room.
        """
        # 1
        coming = self._coming.get(deal.id)
        known = coming.deal if coming is not None else self.index.deal(deal.id)
        if known is not None and _same(known, deal):
            if coming is None:
                return transfer_leaves(deal.size)
            coming.touched = now
            return coming.leaves
        if known is not None or self.index.released(deal.id) is not None:
            raise NotAgreed("invalid", "a deal with this id was opened here and says something else, or was dropped", deal=deal.id)
        # 2
        agree()
        # 3
        if (other := self.index.tagged(deal.tag)) is not None:
            raise NotAgreed("invalid", "another shard of this segment is here: both would be lost with this device", deal=other)
        # 4
        own = sum(each.deal.buyer == deal.buyer for each in self._coming.values())
        if own >= MOST_UNKEPT_OF_ONE or len(self._coming) >= MOST_UNKEPT:
            raise NotAgreed("busy", f"{own} shards of yours, of {len(self._coming)} in all, are opened and not kept: finish them first")
        self._coming[deal.id] = Coming(deal, now)
        try:
            await self.reserve(deal.size)
            try:
                await self.index.add(deal)
            except BaseException:
                await self.reserve(-deal.size)
                raise
        except sqlite3.IntegrityError as error:
            del self._coming[deal.id]
            raise NotAgreed("invalid", "another shard of this segment comes just now") from error
        except BaseException:
            del self._coming[deal.id]
            raise
        return 0

    async def write(self, deal: bytes, first: int, data: bytes, now: int) -> int:
        """The next transfer leaves of a shard. Gives those that are here. Raises `NotAgreed`, also where the disk is full."""
        coming = self._find(deal)
        coming.touched = now
        if first * TRANSFER_LEAF != coming.here or coming.here == coming.deal.size:
            raise NotAgreed("invalid", f"leaf {first} comes where {coming.leaves} are here", leaves=coming.leaves)
        end = coming.here + len(data)
        if end > coming.deal.size or (end < coming.deal.size and len(data) % TRANSFER_LEAF):
            raise NotAgreed("invalid", f"the shard ends after {coming.deal.size} bytes, and only its last leaf may be short")
        try:
            nodes = await asyncio.to_thread(_append, self._beside(deal), coming.here, data, coming.deal.size <= TRANSFER_LEAF)
        except OSError as error:
            raise NotAgreed("storage", f"the shard cannot be written: {error.strerror}") from error
        if len(coming.nodes) == coming.leaves * HASH:
            coming.nodes += nodes
        coming.here = end
        return coming.leaves

    def _find(self, deal: bytes) -> Coming:
        coming = self._coming.get(deal)
        if coming is None:
            raise NotAgreed("missing", "no such shard is on its way here: open its deal", deal=deal)
        return coming

    async def keep(self, deal: bytes) -> Deal:
        """Verify a shard and make it durable. Gives its deal, kept. Raises `NotAgreed`; another shard than was said is thrown away."""
        known = self.index.deal(deal)
        if known is not None and known.kept:
            return known
        coming = self._find(deal)
        if coming.here < coming.deal.size:
            raise NotAgreed("invalid", f"{coming.leaves} of {transfer_leaves(coming.deal.size)} leaves are here", leaves=coming.leaves)
        try:
            crown = await asyncio.to_thread(self._verify, coming)
            if crown is None:
                coming.here, coming.nodes = 0, b""
                raise NotAgreed("invalid", "the shard is not the one with this root: send it again", leaves=0)
            place = self._place(deal)
            await asyncio.to_thread(_put, self._beside(deal), place, place.parent not in self._named)
            self._named.add(place.parent)
        except OSError as error:
            raise NotAgreed("storage", f"the shard cannot be kept: {error.strerror}") from error
        kept = replace(coming.deal, kept=True)
        await self.index.kept(kept, crown.nodes)
        del self._coming[deal]
        self._shards, self._kept = self._shards + 1, self._kept + kept.size
        return kept

    def _verify(self, coming: Coming) -> Crown | None:
        """What came was hashed as it came; a shard that was begun before this process is read for it."""
        deal, nodes = coming.deal, coming.nodes
        path, total = self._beside(deal.id), transfer_leaves(deal.size) * HASH
        if len(nodes) != total:
            with path.open("rb") as file:
                nodes = b"".join(_nodes(piece, deal.size <= TRANSFER_LEAF) for piece in iter(lambda: file.read(PIECE), b""))
        crown = Crown(deal.size, nodes) if len(nodes) == total and path.stat().st_size == deal.size else None
        if crown is not None and crown.root == deal.root:
            return crown
        path.unlink()
        return None

    # What is here

    def _kept_here(self, deal: bytes) -> tuple[Deal, Crown]:
        known, nodes = self.index.deal(deal), self.index.crown(deal)
        if known is None or not known.kept or nodes is None:
            raise NotAgreed("missing", "this shard is not here", deal=deal)
        return known, Crown(known.size, nodes)

    def _leaves(self, deal: Deal, first: int, count: int) -> bytes:
        try:
            with self._place(deal.id).open("rb", buffering=0) as file:
                return os.pread(file.fileno(), count * TRANSFER_LEAF, first * TRANSFER_LEAF)
        except OSError as error:
            log.error("the shard of deal %s cannot be read: %s", deal.id.hex(), error)
            raise NotAgreed("missing", f"this shard cannot be read here: {error.strerror}", deal=deal.id) from error

    async def read(self, deal: bytes, first: int, count: int) -> tuple[bytes, bytes]:
        """Transfer leaves, and their range proof. Raises `NotAgreed`."""
        return await asyncio.to_thread(self._read, deal, first, count)

    def _read(self, deal: bytes, first: int, count: int) -> tuple[bytes, bytes]:
        known, crown = self._kept_here(deal)
        end = min(first + count, transfer_leaves(known.size))
        if first >= end:
            raise NotAgreed("invalid", f"the shard has {end} leaves: there is no leaf {first}")
        data = self._leaves(known, first, end - first)
        if len(data) != min(known.size, end * TRANSFER_LEAF) - first * TRANSFER_LEAF:
            log.error("the shard of deal %s is shorter than it was", deal.hex())
            raise NotAgreed("missing", "this shard is damaged here", deal=deal)
        return data, crown.range_proof(first, end)

    def prove(self, deal: bytes, leaf: int) -> tuple[bytes, bytes]:
        """A proof leaf and its way to the root; costs one transfer leaf read. Raises `NotAgreed`, also for a damaged shard."""
        known, crown = self._kept_here(deal)
        number, at = divmod(leaf, PER_TRANSFER_LEAF)
        inside = self._leaves(known, number, 1)
        try:
            path = crown.proof(leaf, inside)
        except InvalidInput as error:
            log.error("the shard of deal %s is damaged: %s", deal.hex(), error)
            raise NotAgreed("missing", "this shard is damaged here", deal=deal) from error
        return inside[at * PROOF_LEAF : (at + 1) * PROOF_LEAF], path

    # What goes

    async def forget(self, deal: Deal, release: bytes = b"", at: int = 0) -> int | None:
        """Remove a shard, on its keeper's `release` at a time or without. Gives the bytes that came of one that was not kept.

        None where `Index.forget` changes nothing.
        """
        if not await self.index.forget(deal, release, at):
            return None
        coming = self._coming.pop(deal.id, None)
        await self.reserve(-deal.size)
        if deal.kept:
            self._shards, self._kept = self._shards - 1, self._kept - deal.size
        for path in (self._place(deal.id), self._beside(deal.id)):
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return 0 if coming is None else coming.here

    async def expire(self, now: int, least: int) -> list[tuple[Deal, int]]:
        """Forget what nobody finished or renewed in time; `least` as in `Deal.stays`.

        Gives the deals, and the bytes that came of those that were not kept.
        """
        gone = []
        for coming in list(self._coming.values()):
            async with self.turn(coming.deal.id):
                if coming.touched + UNKEPT_SECONDS < now and coming.deal.id in self._coming:
                    gone.append((coming.deal, await self.forget(coming.deal)))
        for deal in self.index.over(now):
            if deal.stays(least) < now:
                async with self.turn(deal.id):
                    gone.append((deal, await self.forget(deal)))
        return [(deal, came) for deal, came in gone if came is not None]

    async def sweep(self, before: int, small: int) -> None:
        """Forget records that nobody pays for any more, and that shards were dropped before. See `Index.sweep`."""
        await self.reserve(-await self.index.sweep(before, small))


def _same(one: Deal, other: Deal) -> bool:
    """Whether two deals of one id are one; what moves on as it is renewed is left out."""
    return (one.buyer, one.owner, one.keeper, one.root, one.size, one.tag, one.price, one.penalty) == (
        *(other.buyer, other.owner, other.keeper, other.root, other.size, other.tag, other.price, other.penalty),
    )


def _nodes(data: bytes, only: bool) -> bytes:
    """The hashes of the transfer leaves in some bytes; `only` as for `crown.node`."""
    view = memoryview(data)
    return b"".join(node(view[at : at + TRANSFER_LEAF], only=only) for at in range(0, len(view), TRANSFER_LEAF))


def _append(path: Path, at: int, data: bytes, only: bool) -> bytes:
    """Write at the end of what is here; what was written half before, and nobody was told of, is cut off. Gives the leaves' hashes."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        file.truncate(at)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
    return _nodes(data, only)


def _put(beside: Path, place: Path, fresh: bool) -> None:
    """Make a file durable, and then its name; that of its folder, too, if it is `fresh`."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(place)
    for folder in (place.parent, place.parent.parent)[: 1 + fresh]:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
