"""Bringing a case's inputs to its jurors: sealed for each of them, to a device of theirs that says it does juror duty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from surge.core.messages import Bring, Declined, Deliver, Kept, Part, ToOpener, decode_for_opener, encode_visit, visit_context
from surge.core.messages.fields import MAX_CHUNK
from surge.core.network import NetworkFile
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import Unavailable
from surge.relay.board import OfferQuery

if TYPE_CHECKING:
    from surge.ledger import Ledger
    from surge.relay.client import Relays, Session

log = logging.getLogger("surge.buyer")

SERVICE: Final = "juror"

ANSWER_SECONDS: Final = 30.0
"""How long a juror may take to answer, beside what the bytes take."""

SLOWEST: Final = 128 << 10
"""Bytes a second that a juror is expected to take at least."""

MAX_DEVICES: Final = 8
"""Devices of a juror that are tried: it may name any number."""


class Courier:
    """Visits jurors. `identity` must be the key that opened the case: jurors take inputs from nobody else."""

    def __init__(self, network: NetworkFile, ledger: Ledger, relays: Relays, identity: Signer) -> None:
        self._network, self._ledger, self._relays, self._identity = network, ledger, relays, identity

    async def devices(self, juror: Address) -> Sequence[Address]:
        """The devices of a juror that may do its duty: those that offer it first, then all that the registry names."""
        offers = await self._relays.offers(OfferQuery(service=SERVICE))
        offering = [each.offer.device for each in offers if each.offer.operator == juror]
        confirmed = [device for device in offering if await self._ledger.operator_of(device) == juror]
        members = await self._ledger.members()
        named = (each.address for each in members if each.operator == juror and each.kind == "device")
        return list(dict.fromkeys([*confirmed, *named]))[:MAX_DEVICES]

    async def deliver(self, juror: Address, case: int, envelope: bytes) -> Kept | Declined:
        """Bring an envelope to a juror; what it says. Raises `Unavailable` when none of its devices can be reached, `PeerFault`."""
        failures = []
        for device in await self.devices(juror):
            try:
                return await self._visit(device, case, envelope)
            except Unavailable as error:
                failures.append(error.message)
        raise Unavailable(f"no device of the juror {juror} can be reached: {'; '.join(failures) or 'it has none'}", juror=juror)

    async def _visit(self, device: Address, case: int, envelope: bytes) -> Kept | Declined:
        context = visit_context(self._network.network_id, SERVICE)
        async with await self._relays.dial(device, identity=self._identity, context=context) as session:
            await session.send(encode_visit(Deliver(case, len(envelope))))
            said = await _answer(session, ANSWER_SECONDS)
            if isinstance(said, Bring):
                said = await self._bring(session, envelope)
            return said

    async def _bring(self, session: Session, envelope: bytes) -> Kept | Declined:
        async def send() -> None:
            for at in range(0, len(envelope), MAX_CHUNK):
                await session.send(encode_visit(Part(envelope[at : at + MAX_CHUNK])))

        sending = asyncio.create_task(send())
        try:
            said = await _answer(session, ANSWER_SECONDS + len(envelope) / SLOWEST)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return Declined("invalid", "it asked twice") if isinstance(said, Bring) else said


async def _answer(session: Session, seconds: float) -> ToOpener:
    try:
        async with asyncio.timeout(seconds):
            return decode_for_opener(await session.receive())
    except TimeoutError as error:
        raise Unavailable(f"the juror's device {session.peer} did not answer within {seconds:.0f} s") from error
