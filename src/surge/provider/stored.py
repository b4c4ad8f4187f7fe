"""Stored files on a device: brought here once for a buyer, before the units that read them, and dropped when others need the room.

`Opener` brings them; it stands above this room, since it reads from holders. What is here is plaintext, as uploaded inputs are. It is known
by buyer, object and part, never by what opens it, and is forgotten with the process.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from surge.core.messages.compute import encode_body
from surge.core.messages.stored import Fetch, Fetched, decode_fetch
from surge.core.pricing import transfer_amount
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.storage.stored import StoredPart
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.provider.service import Claim, Context, Refused, Reply, Weight
from surge.provider.turns import Turns

if TYPE_CHECKING:
    from surge.provider.compute import Compute

log = logging.getLogger("surge.provider")

AT_ONCE: Final = 4
"""Files that are brought here together."""

MOST_HERE: Final = 8192
"""Files that are here together: those without bytes cost nothing and take no room of the budget, but of the disk and of memory."""

LEAST_WASTE: Final = 1.0
"""Seconds that a file which could not be brought counts as wasted, at least."""

FETCH_SECONDS: Final = 540.0
"""How long one may take."""


class Opener(Protocol):
    """Brings parts of stored objects."""

    async def fetch(self, asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
        """Write a part to a file; the bytes that were read of each holder. Raises `InvalidInput`, `Unavailable`, `PeerFault`."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """Whose file, and which."""

    buyer: Address
    object: bytes
    size: int
    offset: int
    length: int

    @classmethod
    def of(cls, buyer: Address, part: StoredPart) -> Key:
        """The key of a part."""
        return cls(buyer, part.object, part.size, part.offset, part.length)


class StoredParts:
    """The files that are here.

    Args:
        folder: where they lie; what is left in it is removed.
        budget: bytes, at most.
        most: bytes of one, at most.
        unpaid: bytes that are brought for one channel beyond what its buyer paid, at most.
        opener: what brings them; without one nothing is brought.
    """

    def __init__(self, folder: Path, *, budget: int, most: int, unpaid: int, opener: Opener | None) -> None:
        self.most, self.opener = most, opener
        self.turns = Turns(AT_ONCE)
        self._folder, self._budget, self._unpaid = folder, budget, unpaid
        self._here: OrderedDict[Key, Path] = OrderedDict()
        self._pins: Counter[Key] = Counter()
        self._locks: dict[Key, asyncio.Lock] = {}
        self._wanted: Counter[Key] = Counter()
        self._reserved = 0
        """Bytes that are here, or on their way."""
        self._files = 0
        """Files that are."""
        self._number = 0
        self._owed: dict[tuple[bytes, bytes], int] = {}
        """Bytes on receipts that wait for an answer, by channel and subject."""

    def start(self) -> None:
        """Remove what an earlier process left."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._here.clear()

    def path(self, key: Key) -> Path | None:
        """Where a part lies here; None if it does not. Asking counts as use."""
        if key in self._here:
            self._here.move_to_end(key)
        return self._here.get(key)

    @contextmanager
    def pinned(self, keys: Iterable[Key]) -> Iterator[None]:
        """Keep parts from being dropped while inside."""
        held = list(keys)
        self._pins.update(held)
        try:
            yield
        finally:
            self._pins.subtract(held)
            self._pins += Counter()

    async def bring(self, key: Key, asked: Fetch) -> Sequence[tuple[str, int]] | None:
        """Bring a part; what was read of each holder, or None where it was here. Raises as `Opener.fetch` does."""
        self._wanted[key] += 1
        try:
            async with self._locks.setdefault(key, asyncio.Lock()):
                return None if self.path(key) is not None else await self._bring(key, asked)
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key], self._locks[key]

    async def _bring(self, key: Key, asked: Fetch) -> Sequence[tuple[str, int]]:
        if self.opener is None:
            raise Unavailable("this device brings no stored files")
        self._make_room(key.length)
        self._number += 1
        path = self._folder / f"{self._number}"
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                read = await self.opener.fetch(asked, path)
            self._here[key] = path
        except TimeoutError as error:
            raise Unavailable(f"a stored file did not come within {FETCH_SECONDS:.0f} s") from error
        finally:
            if key not in self._here:
                self._gives_back(key.length)
                path.unlink(missing_ok=True)
        return read

    def _make_room(self, size: int) -> None:
        """Reserve room; what was used least recently goes. Raises `Unavailable`."""
        while not self._has_room(size) and (key := next((key for key in self._here if not self._pins[key]), None)) is not None:
            self._here.pop(key).unlink(missing_ok=True)
            self._gives_back(key.length)
        if not self._has_room(size):
            kept = f"{self._budget} bytes, or {MOST_HERE} places, kept for them"
            raise Unavailable(f"stored files that are in use fill the {kept}: try again later")
        self._reserved, self._files = self._reserved + size, self._files + 1

    def _has_room(self, size: int) -> bool:
        return self._reserved + size <= self._budget and self._files < MOST_HERE

    def _gives_back(self, size: int) -> None:
        self._reserved, self._files = self._reserved - size, self._files - 1

    # What is owed for bringing them

    def owe(self, channel: bytes, subject: bytes, size: int) -> None:
        """A part is about to be brought, and will be owed for. Raises `Refused` where a channel's buyer owes for too much already."""
        owed = sum(each for (other, about), each in self._owed.items() if other == channel and about != subject)
        if owed and owed + size > self._unpaid:
            raise Refused("window", f"{owed} bytes of stored files were brought here unpaid: acknowledge first")
        self._owed[channel, subject] = size

    def owes_nothing(self, channel: bytes, subject: bytes) -> None:
        """Nothing is billed for it."""
        self._owed.pop((channel, subject), None)

    def answered(self, receipt: Receipt) -> None:
        """A receipt, of any kind, was answered."""
        self._owed.pop((receipt.channel, receipt.subject), None)


class FetchPart:
    """The order that brings one part. It is billed as an input of as many bytes that was uploaded, once for each job."""

    weight = Weight.FREE
    lasting = False
    begun = False

    def __init__(self, compute: Compute, body: bytes, context: Context) -> None:
        asked = decode_fetch(body)
        try:
            self._part = StoredPart(asked.object, asked.size, asked.offset, asked.length, asked.name)
        except InvalidInput as error:
            raise Refused("invalid", error.message) from error
        if asked.length > compute.stored.most:
            raise Refused("invalid", f"a stored file of {asked.length} bytes is more than the {compute.stored.most} that are taken here")
        self._compute, self._context, self._asked = compute, context, asked
        self.subject = self._part.subject(asked.job)
        self.job = asked.job

    async def run(self) -> Reply:
        """Bring it, unless it is here. What ends in vain counts as such, for a second at least: others were asked for it."""
        compute, context, part = self._compute, self._context, self._part
        stored, channel = compute.stored, context.channel
        compute.waste.check(context.buyer)
        stored.owe(channel, self.subject, part.length)
        billed = False
        try:
            await stored.turns.enter(context.buyer)
            began = time.monotonic()
            try:
                read = await stored.bring(Key.of(context.buyer, part), self._asked)
            except InvalidInput as error:
                raise Refused("invalid", f"what was sent opens no stored file: {error.message}") from error
            except (Unavailable, PeerFault) as error:
                compute.waste.add(context.buyer, max(LEAST_WASTE, time.monotonic() - began))
                if isinstance(error, PeerFault):  # the holders sent what the buyer's own roots prove
                    raise Refused("local", f"{part.name!r} does not open: {error.message}") from error
                raise Refused("local", f"{part.name!r} cannot be read here now: {error.message}") from error
            finally:
                stored.turns.leave(context.buyer)
            body, amount = encode_body(Fetched(list(read or []))), transfer_amount(context.prices(self.job), part.length)
            billed = read is not None and amount > 0 and not context.issued(ReceiptKind.TRANSFER, self.subject)
        finally:
            if not billed:
                stored.owes_nothing(channel, self.subject)
        claim = Claim(ReceiptKind.TRANSFER, self.subject, self.subject, part.length, amount) if billed else None
        return Reply(body, claim)
