"""What the provider's tests share: a buyer driven by hand, sessions joined in memory, a ledger and relays that are made up."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from surge.core import canonical, offers
from surge.core.channels import BuyerChannel
from surge.core.messages import (
    VERSION,
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
from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.offers import Offer
from surge.core.receipts import Receipt, ReceiptKind, Signed, Terms, Voucher
from surge.core.types import ZERO, Address
from surge.errors import LedgerError, Unavailable
from surge.provider.availability import Machine
from surge.provider.config import ProviderConfig
from surge.provider.daemon import Provider
from surge.provider.service import Claim, Context, Description, Order, Refused, Reply, Weight
from surge.wallet.keystore import KeySigner

RELAY = RelayAddress("nats://127.0.0.1:1", Address("0x" + "99" * 20))
OPERATOR = Address("0x" + "aa" * 20)
ENGINE = b"\x01" * 32
PRICE = 1000
"""Wei of one unit of the made-up service."""

NETWORK = NetworkFile(
    name="tests",
    kind="embedded",
    chain_id=31337,
    rpc=("http://127.0.0.1:1",),
    token=Contract(Address("0x" + "11" * 20), bytes(32)),
    registry=Contract(Address("0x" + "22" * 20), bytes(32)),
    channels=Contract(Address("0x" + "33" * 20), bytes(32)),
    relays=(RELAY,),
    confirmations=1,
)


def key(number: int) -> KeySigner:
    """A known key."""
    return KeySigner(number.to_bytes(32, "big"))


DEVICE = key(1)


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until the condition is true; its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.005)
    return value


# The ledger


@dataclass
class State:
    """A channel on the made-up ledger."""

    buyer: Address
    provider: Address
    device: Address
    session_key: Address
    deposit: int = 10**18
    redeemed: int = 0
    floor: int = 10**16
    challenge_seconds: int = 3600
    closing_at: int = 0
    closed: bool = False
    exists: bool = True


@dataclass(frozen=True)
class Redeemed:
    """What a redemption gave."""

    channel: bytes
    amount: int
    paid: int
    fee: int
    transaction: str


@dataclass
class Ledger:
    """Channels, and what was redeemed."""

    channels: dict[bytes, State] = field(default_factory=dict)
    vouchers: list[Voucher] = field(default_factory=list)
    given_up: list[bytes] = field(default_factory=list)
    away: bool = False
    cost: int = 1
    operator: Address | None = OPERATOR
    looks: int = 0
    refuse: LedgerError | None = None

    def _check(self) -> None:
        if self.away:
            raise Unavailable("no endpoint answers")

    async def channel(self, channel: bytes, *, confirmed: bool = False) -> State:
        self._check()
        self.looks += 1
        nobody = Address("0x" + "00" * 20)
        return replace(self.channels.get(channel, State(nobody, nobody, nobody, nobody, exists=False)))

    async def redemption_cost(self) -> int:
        self._check()
        return self.cost

    async def redeem(self, signer: Any, vouchers: Sequence[tuple[Voucher, bytes]]) -> list[Redeemed]:
        self._check()
        if self.refuse is not None:
            raise self.refuse
        done = []
        for voucher, signature in vouchers:
            state = self.channels[voucher.channel]
            voucher.verify(NETWORK.channels_domain, signature, state.session_key)
            if voucher.amount > state.redeemed and not state.closed:
                done.append(Redeemed(voucher.channel, voucher.amount, voucher.amount - state.redeemed, 0, "0x" + "ab" * 32))
                state.redeemed = voucher.amount
                self.vouchers.append(voucher)
        return done

    async def close_by_provider(self, signer: Any, channel: bytes) -> str:
        self._check()
        assert signer.address == self.channels[channel].device
        self.channels[channel].closed = True
        self.given_up.append(channel)
        return "0x" + "cd" * 32

    async def operator_of(self, device: Address) -> Address | None:
        self._check()
        return self.operator


# Relays and sessions


class Link:
    """One end of a session in memory. `stall` keeps what is sent from being taken."""

    def __init__(self, peer: Address, context: bytes) -> None:
        self.peer, self.context, self.relay = peer, context, RELAY.url
        self.other: Link
        self.closed_because = ""
        self.stalled = asyncio.Event()
        self.stalled.set()
        self._inbox: deque[bytes] = deque()
        self._news = asyncio.Event()

    async def send(self, message: bytes) -> None:
        await self.stalled.wait()
        if self.closed_because:
            raise Unavailable(f"the session is closed: {self.closed_because}")
        self.other._inbox.append(message)
        self.other._news.set()

    async def receive(self) -> bytes:
        while not self._inbox:
            if self.closed_because:
                raise Unavailable(f"the session is closed: {self.closed_because}")
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    async def close(self, reason: str = "closed") -> None:
        for end in (self, self.other):
            end.closed_because = end.closed_because or reason
            end._news.set()


class Relays:
    """Boards that take offers, and sessions dialled straight to the listener."""

    def __init__(self) -> None:
        self.endpoints = [RELAY]
        self.connected = [RELAY.url]
        self.offer: bytes | None = None
        self.published: list[Offer] = []
        self.withdrawn: list[int] = []
        self.away = False
        self.links: list[Link] = []
        self._accept: Callable[[Any], Awaitable[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish_offer(self, offer: bytes) -> int:
        if self.away:
            raise Unavailable("no relay answered")
        self.offer = offer
        self.published.append(offers.decode(offer).offer)
        return 1

    async def withdraw_offer(self, sequence: int) -> int:
        self.withdrawn.append(sequence)
        self.offer = None
        return 1

    def listen(self, accept: Callable[[Any], Awaitable[None]], *, identity: Any, max_sessions: int = 0, max_per_caller: int = 0) -> None:
        self._accept = accept

    def dial(self, peer: Address, context: bytes | None = None) -> Link:
        assert self._accept is not None
        right = canonical.encode({"version": VERSION, "network_id": NETWORK.network_id})
        context = right if context is None else context
        here, there = Link(DEVICE.address, context), Link(peer, context)
        here.other, there.other = there, here
        self.links.append(here)
        task = asyncio.ensure_future(self._accept(there))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return here

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Host:
    """A machine that says what it is told."""

    def __init__(self) -> None:
        self.machine = Machine(minute=0, on_battery=False, others=0.0)

    def look(self) -> Machine:
        return self.machine


# A made-up service


class Work:
    """An order of the made-up service. Its body is canonical: [what, number, job, size]."""

    def __init__(self, service: Works, method: str, body: bytes, context: Context) -> None:
        what, number, job, size = canonical.decode(body)
        self.service, self.context, self.what, self.number, self.size, self.job = service, context, what, number, size, job
        self.weight = {"free": Weight.FREE, "compile": Weight.COMPILE}.get(method, Weight.UNIT)
        self.subject = None if self.weight is not Weight.UNIT else hashlib.sha256(body).digest()
        self.begun = False

    async def run(self) -> Reply:
        service = self.service
        service.runs.append(self.number)
        if self.what == "gate":
            await service.gate.wait()
            self.begun = True
        if self.what == "local":
            raise Refused("local", "it took too long", status="WALL_TIME")
        if self.what == "bug":
            raise ZeroDivisionError
        if self.what == "want":
            self.context.want(self.job, self.size, ZERO)
        if self.what == "quote":
            prices = self.context.prices(self.job)
            self.context.quote(self.job, replace(prices, gigafuel=prices.gigafuel * 4))
        if self.weight is Weight.FREE:
            return Reply(b"free")
        kind = ReceiptKind.COMPILE if self.weight is Weight.COMPILE else ReceiptKind.UNIT
        subject = self.subject or bytes(32)
        price = PRICE * self.context.prices(self.job).gigafuel // 10**15
        claim = Claim(kind, subject, hashlib.sha256(subject).digest(), 5, price)
        if not self.size:
            return Reply(b"done %d" % self.number, claim)
        path = service.folder / f"out-{self.number}"
        path.write_bytes(bytes(self.size))
        return Reply(b"done %d" % self.number, claim, path, self.size)


class Works:
    """A service that does what it is told."""

    name = "works"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = asyncio.Event()
        self.runs: list[int] = []
        self.started = self.closed = 0

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None:
        self.closed += 1

    def describe(self) -> Description:
        return Description(ENGINE, "engine", (), 10**9)

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        if method not in ("run", "free", "compile"):
            raise Refused("unknown", f"no method {method}")
        return Work(self, method, body, context)


def work(what: str = "", number: int = 0, job: bytes = ZERO, size: int = 0) -> bytes:
    """The body of a call of `Works`."""
    return canonical.encode([what, number, job, size])


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
