"""Stored files that units read: what a job asks of the wallet's files, and how a unit's files are brought to a device before it is asked.

The files themselves are not read here: the device reads them from their holders, by permits of this wallet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from surge.buyer.auditor import audit_transfer
from surge.buyer.peers import Peer
from surge.buyer.rereads import Rereads
from surge.core.messages.compute import encode_body
from surge.core.messages.stored import Fetch, Fetched, decode_fetched
from surge.core.pricing import transfer_amount
from surge.core.receipts import ReceiptKind
from surge.core.storage.stored import StoredPart, parts_in
from surge.core.types import Address
from surge.errors import InvalidInput, SurgeError, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job

FETCH_SECONDS: Final = 600.0
"""How long a device may take to bring a file from its holders."""

FEW_BYTES: Final = 1 << 20
"""Stored files that are read here to check a unit, all together, where devices of other operators could check it."""


AHEAD: Final = 16
"""Items that are looked at before they are handed out."""

log = logging.getLogger("surge.buyer")


class Unreadable(Unavailable):
    """Nobody can read a stored file now: too few of its holders are there."""


class StoredFiles(Protocol):
    """A wallet's stored files, as jobs use them."""

    async def opening(self, part: StoredPart, job: bytes, device: Address) -> Fetch:
        """What a device needs to bring a part there. Raises `InvalidInput` where the object is gone, `Unreadable`."""
        ...

    async def was_read(self, asked: Fetch, said: Fetched, device: Address, *, brought: bool, most: int) -> None:
        """What a device says that it read of holders by what it was sent: up to `most` bytes are paid, as far as they say so too.

        `brought`: it bills for having brought the part just now. Raises `PeerFault` where it says that it read less than that takes.
        """
        ...

    async def holders(self, parts: Sequence[StoredPart]) -> Collection[Address]:
        """Devices that have a shard of these."""
        ...

    def here(self, parts: Sequence[StoredPart]) -> AbstractAsyncContextManager[Sequence[Path]]:
        """The parts as files on this machine, read for this and removed afterwards. Raises `Unavailable`, `InvalidInput`."""
        ...


@asynccontextmanager
async def files_here(stored: StoredFiles | None, parts: Sequence[StoredPart]) -> AsyncIterator[Sequence[Path]]:
    """The parts as files on this machine; none for none."""
    if not parts:
        yield ()
        return
    if stored is None:
        raise Unavailable("stored files are read through `surge.connect`: here are none")
    async with stored.here(parts) as paths:
        yield paths


class Bringing:
    """Has devices bring the stored files of one job's units."""

    def __init__(self, job: Job, stored: StoredFiles | None) -> None:
        self._job = job
        self.files = stored
        self._looked = 0
        self._looking: set[asyncio.Task[None]] = set()
        self._rereads = Rereads()

    def look_ahead(self) -> None:
        """Find out who holds what the next items read: among equals, that device does it, since it has a part of it already."""
        scheduler, spool = self._job.scheduler, self._job.spool
        first = scheduler.uncut_from
        for index in [index for index in scheduler.holders if index < first]:
            del scheduler.holders[index]
        if self.files is None:
            return
        for index in range(max(first, self._looked), min(first + AHEAD, spool.count)):
            self._looked = index + 1
            if parts := parts_in(spool.at_hand(index, 1) or ()):
                task = asyncio.create_task(self._look(self.files, index, parts), name=f"who holds what item {index} reads")
                self._looking.add(task)
                task.add_done_callback(self._looking.discard)

    async def _look(self, files: StoredFiles, index: int, parts: Sequence[StoredPart]) -> None:
        try:
            self._job.scheduler.holders[index] = await files.holders(parts)
        except SurgeError as error:  # whoever is to bring it says so, where it matters
            log.info("who holds what item %d reads is not known: %s", index, error)

    def close(self) -> None:
        """Look for nothing more."""
        for task in self._looking:
            task.cancel()

    async def bring(self, peer: Peer, parts: Sequence[StoredPart]) -> None:
        """Have a device bring these. Raises `Refused`, `Unavailable`, `PeerFault`, `NotEnough`, and `InvalidInput` where they are gone."""
        for part in parts:
            if (part.offset, part.length) != (0, part.size):
                folder = part.name.rpartition("/")[0]
                text = f"a folder has one key: a device that reads files of {folder!r} could open the rest of it, if a holder gave it that"
                self._job.progress.tell_once(text)
        done = await asyncio.gather(*(self._bring(peer, part) for part in parts), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    async def _bring(self, peer: Peer, part: StoredPart) -> None:
        job, preparation = self._job, self._job.lanes.preparation
        if self.files is None:
            raise InvalidInput("stored files are read through `surge.connect`: this buyer has none")
        prices, subject, size = job.lanes.prices(peer), part.subject(job.plan.id), part.length
        job.lanes.bounds.check_sending(peer.device, subject)
        asked = await self.files.opening(part, job.plan.id, peer.device)
        if not self._rereads.may_read(peer.device, subject, least=size, permitted=sum(permit.size for permit in asked.permits)):
            asked = msgspec.structs.replace(asked, permits=[])  # which is enough for a device that has the part
        async with preparation.asking(peer, ReceiptKind.TRANSFER, subject, size, transfer_amount(prices, size)):
            answer = await peer.question("fetch", encode_body(asked), seconds=FETCH_SECONDS)
            said = decode_fetched(answer.body)
            if answer.receipt is not None:
                job.lanes.bounds.sent(peer.device, subject)
                preparation.pay(peer, *audit_transfer(answer.receipt, subject, size, prices, peer.payer.party), answer.receipt.signature)
        permitted = {permit.holder: permit.size for permit in asked.permits}
        counted = sum(min(read, permitted.get(holder, 0)) for holder, read in dict(said.read).items())
        most = self._rereads.read(peer.device, subject, counted, size=size) if counted else 0
        await self.files.was_read(asked, said, peer.device, brought=answer.receipt is not None, most=most)
