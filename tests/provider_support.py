"""What the provider's tests share: a buyer driven by hand, sessions joined in memory, a ledger and relays that are made up."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from provider_works import PRICE, Works, work
from provider_world import DEVICE, NETWORK, OPERATOR, Host, Ledger, Link, Relays, State, key
from surge.core import offers
from surge.core.channels import BuyerChannel
from surge.core.messages import (
    Acknowledge,
    Answer,
    Call,
    ChannelOpened,
    Chunk,
    OpenChannel,
    Output,
    Received,
    Refusal,
    SignedReceipt,
    ToBuyer,
    ToProvider,
    Vouched,
    decode_for_buyer,
    encode,
)
from surge.core.messages.fields import MAX_CHUNK, wei, wei_bytes
from surge.core.receipts import Receipt, Signed, Terms, Voucher
from surge.core.types import ZERO
from surge.errors import Unavailable
from surge.provider.config import ProviderConfig
from surge.provider.daemon import Provider
from surge.wallet.keystore import KeySigner

__all__ = [
    "DEVICE",
    "NETWORK",
    "OPERATOR",
    "PRICE",
    "Bench",
    "Client",
    "Host",
    "Ledger",
    "Link",
    "Relays",
    "State",
    "Works",
    "key",
    "until",
    "work",
]


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until the condition is true; its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.005)
    return value


# A buyer


class Client:
    """A buyer driven by hand: it sends what the test says and keeps what arrives."""

    def __init__(self, bench: Bench, number: int = 50, *, session_key: KeySigner | None = None) -> None:
        self.bench = bench
        self.session_key = session_key or key(1000 + number)
        self.buyer = key(number).address
        self.channel = hashlib.sha256(b"channel %d" % number).digest()
        self.side = BuyerChannel(NETWORK.channels_domain, self.channel, self.buyer, DEVICE.address, self.session_key.address, 10**18)
        self.link: Link
        self.messages: list[ToBuyer] = []
        self.opened: ChannelOpened
        self.outputs: dict[int, bytearray] = {}
        self._number = 0
        self._reader: asyncio.Task[None] | None = None
        bench.ledger.channels.setdefault(self.channel, State(self.buyer, OPERATOR, DEVICE.address, self.session_key.address))

    def terms(self, **changes: Any) -> Terms:
        """The terms of the offer that stands."""
        assert self.bench.relays.offer is not None
        offer = offers.decode(self.bench.relays.offer).offer
        terms = Terms(
            self.channel, ZERO, offer.digest(), offer.engine, offer.prices, offer.window, offer.audit_seconds, offer.offline_seconds
        )
        return replace(terms, **changes)

    async def dial(self, context: bytes | None = None) -> None:
        """A new session."""
        if self._reader is not None:
            self._reader.cancel()
        self.link = self.bench.relays.dial(self.session_key.address, context)
        self._reader = asyncio.ensure_future(self._read(self.link))

    async def _read(self, link: Link) -> None:
        while True:
            try:
                message = decode_for_buyer(await link.receive())
            except Unavailable:
                return
            if isinstance(message, Output):
                data = self.outputs.setdefault(message.id, bytearray())
                assert message.offset == len(data)
                data += message.data
            self.messages.append(message)

    async def send(self, *messages: ToProvider) -> None:
        """Send messages."""
        for message in messages:
            await self.link.send(encode(message))

    async def open(self, terms: Terms | None = None, *, signer: KeySigner | None = None, count: int | None = None) -> ToBuyer:
        """Dial, open the channel and return the answer."""
        await self.dial()
        return await self.open_again(terms, signer=signer, count=count)

    async def open_again(self, terms: Terms | None = None, *, signer: KeySigner | None = None, count: int | None = None) -> ToBuyer:
        """Open the channel in the session there is."""
        terms = self.terms_agreed = terms or getattr(self, "terms_agreed", None) or self.terms()
        signature = (signer or self.session_key).sign(terms.digest(NETWORK.channels_domain))
        log = self.side.log
        before = len(self.messages)
        await self.send(OpenChannel(self.channel, terms.encode(), signature, log.size if count is None else count, log.root()))
        answer = await until(lambda: self.messages[before:])
        if isinstance(answer[0], ChannelOpened):
            self.opened = answer[0]
        return answer[0]

    def next(self) -> int:
        """A number for a call."""
        self._number += 1
        return self._number

    async def call(self, body: bytes, method: str = "run", service: str = "works") -> int:
        """Send a call; its number."""
        number = self.next()
        await self.send(Call(number, service, method, body))
        return number

    async def answer(self, number: int) -> Answer | Refusal | Received:
        """The answer to a call or an upload."""
        return await until(
            lambda: next((each for each in self.messages if isinstance(each, Answer | Refusal | Received) and each.id == number), None)
        )

    async def ask(self, body: bytes, method: str = "run", service: str = "works") -> Answer | Refusal | Received:
        """Call and wait."""
        return await self.answer(await self.call(body, method, service))

    async def upload(self, data: bytes, content: bytes | None = None) -> Answer | Refusal | Received:
        """Send a content."""
        number = self.next()
        content = content or hashlib.sha256(data).digest()
        pieces = range(0, len(data), MAX_CHUNK)
        for at in pieces:
            await self.send(Chunk(number, content, at, data[at : at + MAX_CHUNK], at + MAX_CHUNK >= len(data)))
        return await self.answer(number)

    def receipt(self, wire: SignedReceipt) -> Signed:
        """The receipt on the wire."""
        receipt = Receipt(
            wire.kind, DEVICE.address, self.buyer, self.channel, wire.sequence, wire.subject, wire.result, wire.quantity,
            wei(wire.amount), wire.finished_at,
        )  # fmt: skip
        return Signed(receipt, wire.signature)

    def acknowledgement(self, *receipts: SignedReceipt, accepted: bool = True) -> Acknowledge:
        """The answer to receipts, after checking that the device signed them."""
        entries = []
        for wire in receipts:
            signed = self.receipt(wire)
            digest = signed.verify(NETWORK.channels_domain)
            self.side.answer(signed.receipt, digest, accepted=accepted)
            entries.append((wire.sequence, accepted))
        return self.signed(self.side.state(), entries)

    def signed(self, voucher: Voucher, entries: list[tuple[int, bool]], signer: KeySigner | None = None) -> Acknowledge:
        """An acknowledgement with this voucher, whatever it says."""
        signature = (signer or self.session_key).sign(voucher.digest(NETWORK.channels_domain))
        return Acknowledge(entries, wei_bytes(voucher.amount), voucher.count, voucher.root, signature)

    async def acknowledge(self, *receipts: SignedReceipt, accepted: bool = True) -> Vouched:
        """Acknowledge, and wait until that is durable."""
        message = self.acknowledgement(*receipts, accepted=accepted)
        await self.send(message)
        return await until(
            lambda: next((each for each in self.messages if isinstance(each, Vouched) and each.count == message.count), None)
        )

    async def vouch(self, units: int, first: int = 0) -> None:
        """Have units done and acknowledge each."""
        for number in range(first, first + units):
            answer = await self.ask(work(number=number))
            assert isinstance(answer, Answer), answer
            assert answer.receipt is not None
            await self.acknowledge(answer.receipt)

    async def ended(self) -> str:
        """Wait until the session is over; why."""
        return str(await until(lambda: self.link.closed_because))

    def refusals(self) -> list[Refusal]:
        """Refusals so far."""
        return [each for each in self.messages if isinstance(each, Refusal)]


# All together


@dataclass
class Bench:
    """A provider among made-up others."""

    folder: Path
    config: ProviderConfig = field(default_factory=lambda: ProviderConfig(earnings_seconds=0.2, drain_seconds=5.0))
    ledger: Ledger = field(default_factory=Ledger)
    relays: Relays = field(default_factory=Relays)
    host: Host = field(default_factory=Host)
    services: list[Any] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.works = Works(self.folder)

    def provider(self) -> Provider:
        """A provider that was not started."""
        return Provider(
            network=NETWORK,
            ledger=self.ledger,
            relays=self.relays,
            device=DEVICE,
            operator=OPERATOR,
            data=self.folder / "provider",
            services=self.services or [self.works],
            config=self.config,
            host=self.host,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Provider]:
        """A provider whose offer stands."""
        async with self.provider() as provider:
            await provider.ready(10.0)
            try:
                yield provider
            finally:
                for link in self.relays.links:
                    await link.close("the test is over")

    async def kill(self, provider: Provider) -> None:
        """End a provider as kill -9 would: nothing is said to anybody, nothing is finished."""
        await self.relays.close()
        for task in [*provider._tasks, *provider.reception._tasks]:
            task.cancel()
        provider._journal.batches.close()
        await asyncio.gather(*provider._tasks, *provider.reception._tasks, return_exceptions=True)
        provider._journal.database.close()
        provider._stopping = "killed"
        self.relays = Relays()
