"""Relays that are paid and devices that pay them, over real nats-servers and a ledger that is made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provider_world import NETWORK, State
from provider_world import Ledger as MadeUpLedger
from relay_support import OPERATOR, RELAY, Key, echo
from surge.buyer import fares as fares_module
from surge.buyer.fares import Fares
from surge.cli.carrying import paid, paying
from surge.core import carriage as rules
from surge.core.channels import channel_id
from surge.core.network import RelayAddress
from surge.core.types import Address
from surge.provider import carriage as service
from surge.provider.carriage import Carriage
from surge.provider.daemon import Provider
from surge.relay.client import Relays, Session
from surge.relay.server import RelayServer
from surge.relay.server import relay as relay_module
from surge.wallet import Keystore

PRICE = 10**15
"""Wei for a gigabyte."""

FREE = 1 << 20
"""Bytes of the free window in these tests."""


@dataclass
class Ledger(MadeUpLedger):
    """The made-up ledger, for buyers too."""

    tokens: int = 10**20
    relays: dict[Address, Address] = field(default_factory=dict)
    """Operators of relays."""

    async def token_balance(self, account: Address) -> int:
        return self.tokens

    async def relay(self, relay: Address) -> Any:
        return SimpleNamespace(operator=self.relays[relay]) if relay in self.relays else None

    def wrote(self, data: bytes) -> bool:
        return False

    async def open_channel(
        self, signer: Any, *, provider: Address, device: Address, session_key: Address, amount: int, **said: Any
    ) -> bytes:
        channel = channel_id(NETWORK.channels_domain, signer.address, provider, said["salt"])
        self.channels[channel] = State(
            signer.address, provider, device, session_key, amount, floor=said["floor"], challenge_seconds=said["challenge_seconds"]
        )
        self.tokens -= amount
        return channel

    async def top_up(self, signer: Any, channel: bytes, amount: int) -> str:
        self.channels[channel].deposit += amount
        self.tokens -= amount
        return "0x" + "ef" * 32


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small windows and short pauses."""
    monkeypatch.setattr(rules, "FREE_WINDOW", FREE)
    monkeypatch.setattr(relay_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(fares_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(fares_module, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(fares_module, "STOPPED_SECONDS", 0.3)
    monkeypatch.setattr(fares_module, "OFFER_SECONDS", 1.0)
    monkeypatch.setattr(fares_module, "LEAST_WINDOW", FREE // 16)


class Village:
    """Relays, a device and a buyer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger()
        self.servers: list[RelayServer] = []
        self.paid: list[Provider] = []
        self.renewed = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Village:
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._stack.aclose()

    async def relay(
        self, identity: Key = RELAY, *, price: int = PRICE, wrap: Callable[[RelayServer], Any] = lambda server: server
    ) -> RelayServer:
        """A relay that asks for pay; `wrap` makes a liar of it."""
        server = RelayServer(self.folder / identity.address[2:8], identity, network=NETWORK.network_id, metered=True)
        await self._stack.enter_async_context(server)
        self.servers.append(server)
        self.ledger.relays[identity.address] = OPERATOR.address
        if price:
            charging = paid(
                wrap(server),
                network=NETWORK,
                ledger=self.ledger,
                identity=identity,
                operator=OPERATOR.address,
                gas=identity,
                price=price,
                data=self.folder / f"paid-{identity.address[2:8]}",
            )
            self.paid.append(await self._stack.enter_async_context(charging))
        return server

    def carriage(self, number: int = 0) -> Carriage:
        """The service of a relay."""
        return self.paid[number]._services["relay"]  # type: ignore[return-value]

    async def join(self, key: Key) -> Relays:
        """A client of all relays."""
        endpoints = [RelayAddress(server.url, server.identity) for server in self.servers]
        relays = await Relays.connect(endpoints, key, network=NETWORK.network_id)
        self._stack.push_async_callback(relays.close)
        return relays

    async def device(self, key: Key) -> Relays:
        """A device that sends back what it is sent."""
        relays = await self.join(key)
        relays.listen(echo, identity=key)
        return relays

    @asynccontextmanager
    async def fares(self, relays: Relays, key: Key, *, most: int = PRICE) -> AsyncIterator[Fares]:
        """The device pays."""

        def renew() -> None:
            self.renewed += 1

        told: Any = SimpleNamespace(offering=SimpleNamespace(renew=renew), unpaid_relays=dict)
        folder = self.folder / f"device-{key.address[2:8]}"
        async with paying(
            told,
            network=NETWORK,
            ledger=self.ledger,
            relays=relays,
            device=key,
            wallet=OPERATOR,
            keys=Keystore(folder / "wallet"),
            data=folder,
            most=most,
        ) as fares:
            yield fares


async def move(session: Session, size: int, piece: int = 64 << 10) -> None:
    """Have so many bytes echoed."""
    for _ in range(size // piece):
        await session.send(bytes(piece))
        async with asyncio.timeout(10):
            await session.receive()
