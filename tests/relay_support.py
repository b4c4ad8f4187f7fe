"""What the relay tests share: keys, a running relay, and sessions joined in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_hash.auto import keccak

from surge.core import offers
from surge.core.network import RelayAddress
from surge.core.offers import Offer, SignedOffer
from surge.core.pricing import Prices
from surge.core.types import Address
from surge.relay.client import Relays, Session
from surge.relay.server import RelayLimits, RelayServer

NETWORK = b"\x07" * 32


class Key:
    """A signer with a known key."""

    def __init__(self, number: int) -> None:
        self._key = PrivateKey(number.to_bytes(32, "big"))
        self.address = Address("0x" + keccak(self._key.public_key.format(compressed=False)[1:])[-20:].hex())

    def sign(self, digest: bytes) -> bytes:
        """65 bytes, r, s and v of 27 or 28."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + 27])


RELAY, OTHER_RELAY = Key(901), Key(902)
DEVICE, BUYER, BUYER_SESSION, STRANGER, OPERATOR = Key(1), Key(2), Key(3), Key(4), Key(5)


def relay_server(path: Path, identity: Key = RELAY, **options: Any) -> RelayServer:
    """A relay on a free port of loopback."""
    return RelayServer(path / f"relay-{identity.address[2:8]}", identity, **options)


def endpoint(server: RelayServer) -> RelayAddress:
    """How clients name this relay."""
    return RelayAddress(server.url, server.identity)


async def join(key: Key, *servers: RelayServer, **options: Any) -> Relays:
    """A client of these relays."""
    return await Relays.connect([endpoint(server) for server in servers], key, network=NETWORK, **options)


async def echo(session: Session) -> None:
    """Sends back what comes."""
    async for message in session.messages():
        await session.send(message)


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Waits until the condition is true, at most so long; its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.01)
    return value


class Queue:
    """An `accept` that hands sessions to the test and keeps them open until it is done with them."""

    def __init__(self) -> None:
        self.sessions: asyncio.Queue[Session] = asyncio.Queue()

    async def __call__(self, session: Session) -> None:
        """Takes a session."""
        await self.sessions.put(session)
        while session.is_open:
            await asyncio.sleep(0.05)

    async def next(self) -> Session:
        """The next session that was opened."""
        async with asyncio.timeout(5):
            return await self.sessions.get()


Handler = Callable[[Session], Awaitable[None]]
SMALL = RelayLimits(messages_per_second=200, bytes_per_second=1 << 20, burst_seconds=1.0, refused_seconds=60.0)


def make_offer(key: Key, sequence: int, *, now: int | None = None, **changes: Any) -> SignedOffer:
    """A signed offer of this device."""
    issued = int(time.time()) if now is None else now
    fields: dict[str, Any] = {
        "network": NETWORK,
        "device": key.address,
        "operator": OPERATOR.address,
        "sequence": sequence,
        "issued": issued,
        "expires": issued + 600,
        "prices": Prices(10**15, 10**12, 10**14, 10**13, 10**9),
        "cores": 2,
        "memory": 1 << 30,
        "engine": b"\x02" * 32,
        "engine_label": "wasmtime-49.0.0 x86_64 00000000",
        "images": (),
        "services": ("compute",),
        "region": "europe",
        "milliwatts": 0,
        "relays": ("nats://127.0.0.1:4222",),
        "window": 1,
        "window_max": 64,
        "offline_seconds": 3600,
        "audit_seconds": 600,
        "opening": 0,
    }
    return offers.sign(Offer(**fields | changes), key)
