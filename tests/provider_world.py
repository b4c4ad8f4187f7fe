"""A ledger, relays, sessions in memory and a machine that are made up, for the provider's tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from surge.core import canonical, offers
from surge.core.messages import (
    VERSION,
)
from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.offers import Offer
from surge.core.receipts import Voucher
from surge.core.types import Address
from surge.errors import LedgerError, Unavailable
from surge.provider.availability import Machine
from surge.wallet.keystore import KeySigner

RELAY = RelayAddress("nats://127.0.0.1:1", Address("0x" + "99" * 20))
OPERATOR = Address("0x" + "aa" * 20)

NETWORK = NetworkFile(
    name="tests",
    kind="embedded",
    chain_id=31337,
    rpc=("http://127.0.0.1:1",),
    token=Contract(Address("0x" + "11" * 20), bytes(32)),
    registry=Contract(Address("0x" + "22" * 20), bytes(32)),
    bonds=Contract(Address("0x" + "44" * 20), bytes(32)),
    channels=Contract(Address("0x" + "33" * 20), bytes(32)),
    relays=(RELAY,),
    confirmations=1,
)


def key(number: int) -> KeySigner:
    """A known key."""
    return KeySigner(number.to_bytes(32, "big"))


DEVICE = key(1)


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
    count: int = 0
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
    spoiled: set[bytes] = field(default_factory=set)
    """Channels whose redemption reverts."""
    sent: int = 0
    """Transactions that cost gas."""

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

    async def redeemable(self, voucher: Voucher, signature: bytes) -> int:
        self._check()
        if voucher.channel in self.spoiled:
            raise LedgerError("the ledger reverts: spoiled")
        return voucher.amount - self.channels[voucher.channel].redeemed

    async def redeem(self, signer: Any, vouchers: Sequence[tuple[Voucher, bytes]]) -> list[Redeemed]:
        self._check()
        if self.refuse is not None:
            raise self.refuse
        if len(vouchers) == 1:
            await self.redeemable(*vouchers[0])
        self.sent += 1
        done = []
        for voucher, signature in vouchers:
            if voucher.channel in self.spoiled:
                continue
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
        self.closed_because, self.kept = "", False
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

    def keep(self) -> None:
        self.kept = True

    async def close(self, reason: str = "closed") -> None:
        for end in (self, self.other):
            end.closed_because = end.closed_because or reason
            end._news.set()


class Relays:
    """Boards that take offers, and sessions dialled straight to the listener."""

    def __init__(self) -> None:
        self.endpoints = [RELAY]
        self.connected = [RELAY.url]
        self.troubles: dict[str, str] = {}
        self.offer: bytes | None = None
        self.published: list[Offer] = []
        self.withdrawn: list[int] = []
        self.others: list[offers.SignedOffer] = []
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

    async def offers(self) -> list[offers.SignedOffer]:
        return [*([offers.decode(self.offer)] if self.offer else []), *self.others]

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
