"""Reading by permit at a holder: a visitor shows what a buyer's session key signed, and what it reads counts as if the buyer had read it.

A permit counts as spent, on disk, from the moment in which it is shown; what was not read of it by the end of the visit is given back. So
nobody reads by it twice what it is good for, whoever is killed when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from surge.core.eip712 import Domain
from surge.core.messages.holder_visits import (
    NotPermitted,
    ReadPermitted,
    Shown,
    ShowPermit,
    TellLeaves,
    decode_for_holder,
    encode_visit,
)
from surge.core.storage.deals import NotAgreed
from surge.core.storage.permits import LONGEST, ReadPermit, deals_root
from surge.core.types import Address
from surge.errors import PeerFault
from surge.provider.outbox import Link
from surge.provider.service import Context, Refused
from surge.storage.shelf import Shelf
from surge.storage.tolls import Tolls

log = logging.getLogger("surge.storage")

VISITS: Final = 64
"""Visits by permit at once."""

VISITS_OF_CHANNEL: Final = 16
"""Of these, those that one channel pays for."""

MOST_REMEMBERED: Final = 4096
"""Permits of one channel that are remembered at once, as those that did not end yet are."""

IDLE_SECONDS: Final = 60.0
"""A visitor that asks for nothing for so long is gone."""


@dataclass(slots=True)
class _Reading:
    """A permit that is read by."""

    permit: ReadPermit
    deals: frozenset[bytes]
    read: int
    """Bytes so far."""


class Permitting:
    """See the module.

    Args:
        shelf: what there is to read; its index remembers permits.
        domain: that of channels, in which permits are signed.
        clock: the time, Unix seconds.
    """

    def __init__(self, shelf: Shelf, domain: Domain, clock: Callable[[], float] = time.time) -> None:
        self._shelf, self._domain, self._clock = shelf, domain, clock
        self._signers: dict[bytes, Address] = {}
        self._ended: frozenset[bytes] = frozenset()
        """Channels whose permits hold no more."""
        self._shown: dict[bytes, bytes] = {}
        """Permits that are read by just now, and their channels."""

    def knows(self, context: Context) -> None:
        """A channel is used here: its session key's permits hold from now on."""
        if self._signers.get(context.channel) != context.session_key:
            self._signers[context.channel] = context.session_key
            self._shelf.index.note_signer(context.channel, context.session_key)

    def forget(self, ended: frozenset[bytes]) -> None:
        """These channels are over: their permits hold no more, nor for those who read by them just now."""
        fresh, self._ended = ended - self._ended, ended
        for channel in fresh:
            self._signers.pop(channel, None)
        if fresh:
            self._shelf.index.forget_signers(fresh)

    def _require_open(self, channel: bytes) -> None:
        if channel in self._ended:
            raise Refused("unknown", "the channel is closed, or takes no more work: its permits hold no more")

    async def visit(self, link: Link, shown: ShowPermit, tolls: Tolls) -> None:
        """Serve a visit that began with a permit. It ends with the permit, or with what an honest reader does not ask."""
        try:
            identity, permit = self._accepted(link.peer, shown, tolls)
            self._shown[identity] = permit.channel
        except Refused as refused:
            await link.send(encode_visit(NotPermitted(refused.code, refused.message)))
            return
        index = self._shelf.index
        reading = _Reading(permit, frozenset(shown.deals), index.used(identity))
        try:
            await index.use(identity, permit.channel, permit.size, permit.until)
            link.keep()
            await link.send(encode_visit(Shown()))
            with contextlib.suppress(TimeoutError):
                await self._serve(link, reading, tolls)
        finally:
            del self._shown[identity]
            await index.use(identity, permit.channel, reading.read, permit.until)

    def _accepted(self, device: Address, shown: ShowPermit, tolls: Tolls) -> tuple[bytes, ReadPermit]:
        """A permit and its id. Raises `Refused`.

        1. It is signed by the session key of a channel that is open and used here, for the device that visits.
        2. It holds now, and not for too long.
        3. It is not spent, and nobody reads by it at the moment.
        4. The channel may have more moved, and not too many visits and permits at once.
        """
        # 1
        self._require_open(shown.channel)
        signer = self._signers.get(shown.channel) or self._shelf.index.signer(shown.channel)
        if signer is None:
            raise Refused("unknown", "no such channel is used here: its buyer calls `permitted` first")
        permit = ReadPermit(shown.channel, device, deals_root(shown.deals), shown.size, shown.until, shown.salt)
        try:
            identity = permit.verify(self._domain, shown.signature, signer)
        except PeerFault as fault:
            raise Refused("unknown", f"this permits {device} nothing here: {fault.message}") from fault
        # 2
        now = self._clock()
        if not now < shown.until <= now + LONGEST:
            raise Refused("invalid", f"the permit is over, or ends more than {LONGEST} s from now")
        # 3
        if self._shelf.index.used(identity) >= shown.size:
            raise Refused("spent", f"{shown.size} bytes were read by this permit, or it was cut off: that is all it is good for")
        if identity in self._shown:
            raise Refused("busy", "somebody reads by this permit")
        # 4
        tolls.require_room(shown.channel)
        of_channel = sum(channel == shown.channel for channel in self._shown.values())
        if len(self._shown) >= VISITS or of_channel >= VISITS_OF_CHANNEL:
            raise Refused("busy", "too many read by permits just now: come again")
        if self._shelf.index.permits(shown.channel) >= MOST_REMEMBERED:
            raise Refused("window", f"{MOST_REMEMBERED} permits of this channel did not end yet")
        return identity, permit

    async def _serve(self, link: Link, reading: _Reading, tolls: Tolls) -> None:
        permit = reading.permit
        while (left := permit.until - self._clock()) > 0:
            async with asyncio.timeout(min(IDLE_SECONDS, left)):
                asked = decode_for_holder(await link.receive())
            if not isinstance(asked, ReadPermitted):
                raise PeerFault("a visit by permit is for reading by that permit")
            try:
                if asked.deal not in reading.deals:
                    raise Refused("invalid", "the permit is not for this deal")
                self._require_open(permit.channel)
                tolls.require_room(permit.channel)
                data, proof = await self._shelf.read(asked.deal, asked.first, asked.count)
                if reading.read + len(data) > permit.size:
                    raise Refused("spent", f"the permit is good for {permit.size} bytes, and {reading.read} were read by it")
            except NotAgreed as error:
                await link.send(encode_visit(NotPermitted("missing", error.message)))
                continue
            except Refused as refused:
                await link.send(encode_visit(NotPermitted(refused.code, refused.message)))
                return
            reading.read += len(data)
            tolls.moved_out(permit.channel, len(data))
            await link.send(encode_visit(TellLeaves(data, proof)))
