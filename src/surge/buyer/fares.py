"""Fares: what a device pays the relays that carry its sessions.

A device that lends is a buyer too where its relays ask for pay: it counts what crosses its connections to each, states that before the
relay stops carrying, and pays by an ordinary channel. It pays for what it counted and a margin (`core.carriage`); a relay that bills
more is left for others at once, one whose count it cannot believe after some periods. One that offers nothing asks for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from surge.buyer.auditor import audit_carriage
from surge.buyer.market import Market
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.purse import Purse, in_surge
from surge.buyer.treasury import Bearer
from surge.core import carriage as rules
from surge.core.messages import Answer, Settle, decode_settled, encode_body
from surge.core.network import RelayAddress
from surge.core.offers import SignedOffer
from surge.core.pricing import transfer_amount
from surge.core.receipts import ReceiptKind
from surge.core.signing import Signer
from surge.core.types import ZERO, Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.store import Database

if TYPE_CHECKING:
    from surge.relay.client import Relays

log = logging.getLogger("surge.buyer")

SERVICE = "relay"
"""What offers of relays name their service."""

LOOK_SECONDS = 0.5
"""Between looks at what was carried: a fast device is through its free window in seconds."""

RETRY_SECONDS = 10.0
"""Until a settlement that failed is tried again."""

STOPPED_SECONDS = 5.0
"""Between settlements while a relay carries nothing: it needs a moment to see that it was paid."""

LEAST_WINDOW = 4 << 20
"""Bytes: however little a relay says that it carries unpaid, a receipt is for a part of this at least."""

OFFER_SECONDS = 60.0
"""How long a relay's offer is remembered."""

OPEN_SECONDS = 30.0
"""How long a relay may take to open a channel in a session."""

ANSWER_SECONDS = 20.0
"""How long it may take to answer a statement."""

CLOSE_SECONDS = 5.0
"""How long the end waits for what is under way."""

SCHEMA = ("CREATE TABLE unpaid (relay TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;",)


@dataclass(slots=True)
class _Relay:
    """A relay as the device sees it."""

    unpaid: int
    """Bytes counted and not stated yet; kept over restarts."""
    counted: int = 0
    """What the connection had counted at the last look."""
    written: int = 0
    window: int = field(default_factory=lambda: rules.FREE_WINDOW)
    again: int = 0
    """Of what is unpaid, bytes that were stated before and not billed."""
    doubts: int = 0
    offer: SignedOffer | None = None
    seen_at: float = float("-inf")
    """When its offer was looked for last."""


class Fares:
    """Pays the relays of one device. `run` keeps at it.

    Args:
        market: the network's relays as providers: a `Market` of the service `relay`, over the device's own connections.
        relays: those connections.
        device: signs what it counted.
        folder: where it keeps what is unpaid.
        most: wei for 10^9 bytes that the device pays at most.
        left: told when a relay was left.
    """

    def __init__(
        self, market: Market, relays: Relays, device: Signer, folder: Path, *, most: int, left: Callable[[], None] = lambda: None
    ) -> None:
        self.troubles: dict[str, str] = {}
        """Why relays are not paid, by URL, in words."""
        self._market = market
        self._relays = relays
        self._device = device
        self._most = most
        self._left = left
        self._db = Database(folder / "fares.db", SCHEMA, exclusive=True)
        rows = self._db.read_now(lambda c: c.execute("SELECT relay, size FROM unpaid").fetchall())
        self._known = {Address(relay): _Relay(size, written=size) for relay, size in rows}

    async def run(self) -> None:
        """Count and settle, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for endpoint in self._relays.endpoints:
                group.create_task(self._serve(endpoint))

    async def close(self) -> None:
        """Write down what is unpaid, give the channels back."""
        for endpoint in self._relays.endpoints:
            await self._count(endpoint)
        await self._market.close(CLOSE_SECONDS)
        await asyncio.to_thread(self._db.close)

    def unpaid(self, endpoint: RelayAddress) -> int:
        """Bytes that a relay carried, as the device counts them, and that were not paid or are being paid."""
        relay = self._relay(endpoint.address)
        return relay.unpaid + self._relays.carried(endpoint.url) - relay.counted

    def _relay(self, address: Address) -> _Relay:
        return self._known.setdefault(address, _Relay(0))

    async def _serve(self, endpoint: RelayAddress) -> None:
        """One relay, until it is left."""
        retry_at = 0.0
        while endpoint in self._relays.endpoints:
            await asyncio.sleep(LOOK_SECONDS)
            await self._count(endpoint)
            relay = self._relay(endpoint.address)
            due = rules.is_due(relay.unpaid, relay.window) or (relay.unpaid > 0 and self._relays.stopped(endpoint.url))
            if not due or time.monotonic() < retry_at:
                continue
            retry_at = time.monotonic() + RETRY_SECONDS
            try:
                await self._settle(endpoint, relay)
            except PeerFault as fault:
                self._note(endpoint, fault.message)
                self._leave(endpoint, fault.message)
            except SurgeError as error:
                self._note(endpoint, error.message)
            else:
                retry_at = time.monotonic() + (STOPPED_SECONDS if self._relays.stopped(endpoint.url) else 0)

    async def _count(self, endpoint: RelayAddress) -> None:
        relay, now = self._relay(endpoint.address), self._relays.carried(endpoint.url)
        relay.unpaid += now - relay.counted
        relay.counted = now
        if relay.unpaid != relay.written:
            row = (endpoint.address, relay.unpaid)
            try:
                await self._db.write(lambda c: c.execute("INSERT OR REPLACE INTO unpaid VALUES (?, ?)", row))
            except Unavailable as error:
                log.warning("what relays are owed cannot be written: %s", error)
            else:
                relay.written = row[1]

    def _note(self, endpoint: RelayAddress, why: str) -> None:
        if self.troubles.get(endpoint.url) != why:
            log.warning("the relay %s is not paid: %s", endpoint.url, why)
        self.troubles[endpoint.url] = why

    def _leave(self, endpoint: RelayAddress, why: str) -> None:
        if self._relays.leave(endpoint.url, why):
            self._left()
        else:
            log.warning("the relay %s would be left if there were another: %s", endpoint.url, why)

    # Settling

    async def _settle(self, endpoint: RelayAddress, relay: _Relay) -> None:
        """State what was counted, and pay. Raises `PeerFault` for a relay that bills what was not stated."""
        signed = await self._offer(endpoint, relay)
        if signed is None:
            if self._relays.stopped(endpoint.url):
                raise Unavailable("it asks for pay, and shows no offer of an operator that the registry confirms")
            relay.unpaid, relay.written = 0, -1
            self.troubles.pop(endpoint.url, None)
            return
        price = signed.offer.prices.transfer
        if price > self._most:
            raise Unavailable(f"it asks {in_surge(price)} for a gigabyte, and this device pays {in_surge(self._most)} at most")
        peer = await self._market.peer(signed, Bearer(ZERO, Purse(None), lambda: True))
        await peer.wait_open(OPEN_SECONDS)
        await self._pay(endpoint, relay, peer)
        if not relay.doubts:
            self.troubles.pop(endpoint.url, None)

    async def _offer(self, endpoint: RelayAddress, relay: _Relay) -> SignedOffer | None:
        """The relay's own offer, which its operator stands for; None where it asks for nothing."""
        if time.monotonic() - relay.seen_at > OFFER_SECONDS or relay.offer is None or relay.offer.offer.expires < time.time():
            found = await self._market.offers()
            relay.offer = next((each for each in found if each.offer.device == endpoint.address), None)
            relay.seen_at = time.monotonic()
        return relay.offer if relay.offer is not None and relay.offer.offer.prices.transfer else None

    async def _pay(self, endpoint: RelayAddress, relay: _Relay, peer: Peer) -> None:
        """One period.

        1. What is stated, and what it may cost, is on disk before it is said; a statement that was made before is made again.
        2. The deposit covers it.
        3. The receipt is for this period, at the terms' price, and signed; what it bills beyond what was counted is refused.
        """
        payer, prices, device = peer.payer, peer.terms.prices, self._device.address
        await payer.drain()
        # 1
        channel, period = peer.terms.channel, payer.count
        about = rules.subject(endpoint.address, device, channel, period)
        await self._count(endpoint)
        claim = payer.intents.size_of(ReceiptKind.RELAY, about, ZERO)
        if claim is None:
            claim = relay.unpaid
        cost = transfer_amount(prices, rules.most(claim))
        # 2
        if payer.amount + payer.owed + cost > payer.channel.deposit:
            await payer.fund()
        async with payer.intents.asking(ReceiptKind.RELAY, about, ZERO, claim, cost):
            signature = self._device.sign(rules.statement_digest(about, claim))
            body = encode_body(Settle(device, period, claim, signature))
            answer = await peer.question("settle", body, seconds=ANSWER_SECONDS, bills=True)
            # 3
            try:
                counted, billed = self._take(peer, about, claim, answer)
            except PeerFault:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await peer.quiet()  # it hears that its receipt is refused
                raise
        here = self.unpaid(endpoint)  # since the claim more may have come, which the relay may have counted
        self._paid(relay, claim, billed)
        relay.window = max(decode_settled(answer.body).window, LEAST_WINDOW)
        relay.doubts = relay.doubts + 1 if counted > rules.most(max(claim, here)) else 0
        if relay.doubts:
            self._note(endpoint, f"it says that it carried {counted} bytes, and this device counted {here}: that alone is paid")
        if relay.doubts >= rules.DOUBTS:
            raise PeerFault(f"its count cannot be believed: it says {counted} bytes where this device counted {here}", relay=endpoint.url)

    @staticmethod
    def _take(peer: Peer, about: bytes, claim: int, answer: Answer) -> tuple[int, int]:
        """Pay a receipt, or refuse it where it bills too much; the bytes that the relay counted, and those that it bills."""
        settled = decode_settled(answer.body)
        if answer.receipt is None:
            raise PeerFault(f"{peer.device} answers a statement without a receipt", answer=answer)
        receipt, digest = audit_carriage(answer.receipt, about, settled.counted, peer.terms.prices, peer.payer.party)
        believed = receipt.quantity <= rules.most(claim)
        peer.pay(Paid(receipt, answer.receipt.signature, digest, believed, None, ZERO, ()))
        if not believed:
            raise PeerFault(f"it bills {receipt.quantity} bytes where this device counted {claim}", receipt=receipt)
        return settled.counted, receipt.quantity

    @staticmethod
    def _paid(relay: _Relay, claim: int, billed: int) -> None:
        """What was stated and not billed is stated once more: the relay had not counted it yet. Twice is enough."""
        again = min(max(0, claim - billed), claim - relay.again)
        relay.unpaid = max(0, relay.unpaid - claim) + again
        relay.again = again
