"""Records on a holder: kept for those who have shards here, and a few for those who pay a channel; told to everybody who asks.

The newest version of each is kept; an older one never comes back, and of two with one version the first stays. What strangers may cost,
in a visit without a channel, is bounded.
"""

from __future__ import annotations

import asyncio
import logging

from surge.core.messages.holder_visits import (
    MOST_ASKED,
    AskRecord,
    NotNow,
    ShowPermit,
    TellRecord,
    ToHolder,
    decode_for_holder,
    encode_visit,
)
from surge.core.messages.storage import RecordKept
from surge.core.storage import records
from surge.core.storage.deals import NotAgreed
from surge.core.types import Address
from surge.errors import PeerFault
from surge.provider.outbox import Link
from surge.storage.shelf import Shelf

log = logging.getLogger("surge.storage")

MOST_OF_ONE = 64 << 20
"""Bytes of one author's records, and of those that one wallet brings."""

MOST_OF_GUEST = 64 << 10
"""Bytes of records that a wallet without a shard here may bring: its key for receiving, and the names of what others shared with it. Its
channel's floor pays for them."""

MOST_OF_GUESTS = 16 << 20
"""Bytes of all such wallets' records."""

VISIT_SECONDS = 60.0
"""How long a visit may last."""

VISITS = 8
"""Visits for records at once: each may have a record in memory."""

PAUSE_SECONDS = 1.0
"""A visitor that has its answer and says nothing for so long makes way for another, where there are too many."""

SILENT = 64
"""Visitors that have said nothing yet, at once."""

FIRST_SECONDS = 10.0
"""How long a visitor may say nothing."""


class Recorder:
    """See the module. Records lie in the shelf's index and take of its room."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._visits = self._silent = 0
        self._pausing: dict[asyncio.Timeout, float] = {}
        """Visits that wait for their next question, the longest first, and since when."""
        self._one_at_a_time = asyncio.Lock()

    async def put(self, data: bytes, buyer: Address, now: int) -> RecordKept:
        """Keep a record. Raises `NotAgreed`, and `PeerFault` for none.

        1. It is a record, signed by its author.
        2. What is here is older.
        3. Author and buyer have not too many, and there is room; few are taken where neither has a shard here.
        """
        # 1
        record = records.decode(data)
        index = self._shelf.index
        async with self._one_at_a_time:
            # 2
            known = index.record(record.author, record.label)
            if known is not None:
                old = records.decode(known)
                if old.version >= record.version:
                    return RecordKept(known == data, b"" if known == data else known)
            # 3
            of_author, of_buyer = index.others(record.author, record.label, buyer)
            if max(of_author, of_buyer) + len(data) > MOST_OF_ONE:
                raise NotAgreed("storage", f"the records of an author, and those of a wallet, have {MOST_OF_ONE} bytes at most here")
            if not index.pays(buyer, record.author):
                if of_buyer + len(data) > MOST_OF_GUEST:
                    raise NotAgreed("storage", f"the records of a wallet that has no shard here have {MOST_OF_GUEST} bytes at most")
                if index.guests(record.author, record.label) + len(data) > MOST_OF_GUESTS:
                    raise NotAgreed("storage", "too many wallets that have no shard here left records: try another device")
            more = len(data) - len(known or b"")
            await self._shelf.reserve(more)
            try:
                await index.keep_record(record.author, record.label, record.version, data, buyer, now)
            except BaseException:
                await self._shelf.reserve(-more)
                raise
        return RecordKept(True, b"")

    def get(self, author: Address, label: bytes) -> bytes:
        """The newest version here, or nothing."""
        return self._shelf.index.record(author, label) or b""

    async def visit(self, link: Link) -> ShowPermit | None:
        """Answer a visitor's questions, one after another, until it leaves or has asked for enough.

        Gives the permit of one that shows one first: nothing was answered then.
        """
        if self._silent >= SILENT:
            await link.send(encode_visit(NotNow("too many come just now: come again")))
            return None
        self._silent += 1
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                asked = decode_for_holder(await link.receive())
        except TimeoutError:
            raise PeerFault("a visitor says nothing") from None
        finally:
            self._silent -= 1
        if isinstance(asked, ShowPermit):
            return asked
        if self._visits >= VISITS and not self._made_way():
            await link.send(encode_visit(NotNow("too many ask just now: come again")))
            return None
        self._visits += 1
        try:
            async with asyncio.timeout(VISIT_SECONDS):
                await self._answer(link, asked)
        except TimeoutError:
            raise PeerFault("a visit lasts too long") from None
        finally:
            self._visits -= 1
        return None

    def _made_way(self) -> bool:
        """Whether a visit ends now that says nothing."""
        now = asyncio.get_running_loop().time()
        pause = next((pause for pause, since in self._pausing.items() if now - since >= PAUSE_SECONDS), None)
        if pause is None:
            return False
        del self._pausing[pause]
        pause.reschedule(now)
        return True

    async def _next(self, link: Link) -> ToHolder:
        async with asyncio.timeout(None) as pause:
            self._pausing[pause] = asyncio.get_running_loop().time()
            try:
                return decode_for_holder(await link.receive())
            finally:
                self._pausing.pop(pause, None)

    async def _answer(self, link: Link, asked: ToHolder) -> None:
        for number in range(MOST_ASKED):
            if number:
                asked = await self._next(link)
            if not isinstance(asked, AskRecord):
                raise PeerFault("a visit is for records, or for reading by a permit that is shown first")
            record = await asyncio.to_thread(self.get, Address(asked.author), asked.label)
            await link.send(encode_visit(TellRecord(record)))
        await link.send(encode_visit(NotNow(f"{MOST_ASKED} records are told in a visit: come again")))
