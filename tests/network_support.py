"""A whole network for the buyer's tests, on a thread of its own: embedded ledger, relays, providers with real workers.

with Town(tmp_path, providers=2) as town, surge.connect(town.file) as network:
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ledger_support import UNBONDED, founded
from surge.buyer.background import Background
from surge.buyer.home import cache_folder
from surge.cli.image import ensure_image
from surge.core.network import NetworkFile, RelayAddress
from surge.core.parameters import Parameters
from surge.core.receipts import DeviceConsent
from surge.ledger import EmbeddedLedger, Ledger
from surge.provider.compute import Compute
from surge.provider.config import ProviderConfig
from surge.provider.daemon import Provider
from surge.provider.retainers import Retainers
from surge.provider.service import Service
from surge.relay.client import Relays
from surge.relay.server import RelayServer
from surge.sandbox import Sandbox
from surge.storage.permitted import PermitReader
from surge.storage.service import Storage, StorageConfig, pledge_domain
from surge.wallet import KeySigner, Keystore

T = TypeVar("T")

TOKENS = 10_000 * 10**18
COIN = 10 * 10**18


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_SPEED: list[bytes] = []
"""What the first device of this process found when it measured itself: all are this machine."""


class Device:
    """A provider of the town."""

    def __init__(self, town: Town, number: int, config: ProviderConfig, compute: type[Compute] = Compute) -> None:
        self.town = town
        self.folder = town.folder / ("strangers" if town.strangers else "providers") / str(number)
        self.config = config
        self.compute = compute
        self.service: Compute
        self.storage: Storage | None = None
        keys = Keystore(self.folder / "wallet")
        self.key, self.operator = keys.load_or_create("device"), keys.load_or_create("operator")
        self.provider: Provider
        self._stack = contextlib.AsyncExitStack()

    @property
    def address(self) -> str:
        return self.key.address

    async def start(self) -> None:
        town = self.town
        ledger = await Ledger.connect(town.network, self.folder / "transactions.db")
        self._stack.push_async_callback(ledger.close)
        if await ledger.operator_of(self.key.address) is None:
            await town.ledger.transfer(town.treasury, self.operator.address, native=COIN)
            await town.ledger.transfer(town.treasury, self.key.address, native=COIN)
            consent = DeviceConsent(self.operator.address, self.key.address, await ledger.device_nonce(self.key.address))
            signature = self.key.sign(consent.digest(town.network.registry_domain))
            await ledger.register_device(self.operator, self.key.address, "", signature)
        relays = await Relays.connect(town.network.relays, self.key, network=town.network.network_id)
        self._stack.push_async_callback(relays.close)
        sandbox = Sandbox(cache_folder(), workers=self.config.cores, memory=self.config.memory)
        services = self.services(sandbox)
        self.service.stored.opener = PermitReader(town.network.network_id, relays, self.key, self.storage and self.storage.shelf)
        self.provider = Provider(
            network=town.network, ledger=ledger, relays=relays, device=self.key, operator=self.operator.address, data=self.folder,
            services=services, config=self.config,
        )  # fmt: skip
        speed = self.folder / "compute" / "speed.json"
        is_new = not speed.exists()
        if is_new and _SPEED:
            speed.parent.mkdir(parents=True, exist_ok=True)
            speed.write_bytes(_SPEED[0])
        await self._stack.enter_async_context(self.provider)
        if is_new and not _SPEED and speed.exists():
            _SPEED.append(speed.read_bytes())
        await self.provider.ready()

    def services(self, sandbox: Sandbox) -> list[Service]:
        """What it lends."""
        self.service = self.compute(sandbox, self.folder / "compute", self.config)
        retainers = [Retainers(self.service.turns, self.config.cores, self.config.retainer)] if self.config.retainer else []
        room = self.town.storage
        if room is not None:
            domain = pledge_domain(self.town.network)
            kind = self.town.holders.get(int(self.folder.name), Storage)
            self.storage = kind(self.folder / "storage", room, device=self.key, operator=self.operator.address, domain=domain,
                channels=self.town.network.channels_domain)  # fmt: skip
        return [self.service, *retainers, *([] if self.storage is None else [self.storage])]

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = contextlib.AsyncExitStack()


class Town:
    """The network; everything in it runs on one loop in the background."""

    def __init__(
        self,
        folder: Path,
        *,
        providers: int = 1,
        relays: int = 1,
        tokens: int = TOKENS,
        coin: int = COIN,
        config: ProviderConfig | None = None,
        strangers: bool = False,
        liars: Sequence[type[Compute]] = (),
        parameters: Parameters = UNBONDED,
        storage: StorageConfig | None = None,
        holders: Mapping[int, type[Storage]] | None = None,
    ) -> None:
        self.folder = folder
        self.holders = holders or {}
        """Which of them lend it in their own way, by number."""
        self.storage = storage
        """What its devices lend of their disks."""
        self.strangers = strangers
        """Whether the buyer takes the devices for those of others: it does not find their operators' keys."""
        self._liars = liars
        self._parameters = parameters
        self.background = Background("town")
        self.network: NetworkFile
        self.ledger: Ledger
        self.treasury: KeySigner
        self.file = folder / "network.json"
        self.relays: list[RelayServer] = []
        self.devices: list[Device] = []
        self._counts = (providers, relays)
        self._tokens, self._coin = tokens, coin
        self._config = config or ProviderConfig()
        self._chain: EmbeddedLedger
        self._mining: asyncio.Task[None]

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return self.background.call(work)

    def __enter__(self) -> Self:
        ensure_image()  # what is waited for with a bound in here is not the compiler
        try:
            self.call(self._start())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.call(self._stop())
        finally:
            self.background.stop()

    async def _start(self) -> None:
        providers, relays = self._counts
        deployed = await founded(self.folder / "ledger", self._parameters)
        self._chain = EmbeddedLedger(self.folder / "ledger", free_port())
        await self._chain.start()
        self._mining = asyncio.create_task(self._chain.run())
        genesis = self._chain.genesis
        self.treasury = KeySigner.from_mnemonic(genesis.mnemonic)
        journal = self.folder / "ledger" / "transactions.db"
        entries = []
        for number in range(relays):
            server = await self._relay(number, free_port())
            self.relays.append(server)
            entries.append(RelayAddress(server.url, server.identity))
        self.network = NetworkFile(
            name="town",
            kind="embedded",
            chain_id=genesis.chain_id,
            rpc=(self._chain.url,),
            relays=tuple(entries),
            confirmations=1,
            **deployed.contracts,
        )
        self.ledger = await Ledger.connect(self.network, journal)
        buyer = Keystore(self.folder / "buyer" / "wallet").load_or_create("buyer")
        await self.ledger.transfer(self.treasury, buyer.address, tokens=self._tokens, native=self._coin)
        self.file.write_bytes(self.network.encode())
        kinds = [*self._liars, *[Compute] * (providers - len(self._liars))]
        self.devices = [Device(self, number, self._config, kind) for number, kind in enumerate(kinds)]
        await asyncio.gather(*(device.start() for device in self.devices))

    async def _relay(self, number: int, port: int) -> RelayServer:
        identity = Keystore(self.folder / "relays").load_or_create(f"relay{number}")
        server = RelayServer(self.folder / f"relay{number}", identity, port=port)
        await server.__aenter__()
        return server

    def stop_relay(self, number: int) -> None:
        self.call(self.relays[number].__aexit__(None, None, None))

    def start_relay(self, number: int) -> None:
        """Start a relay that was stopped, where it was."""
        self.relays[number] = self.call(self._relay(number, self.relays[number].port))

    def stop_ledger(self) -> None:
        """The RPC endpoint goes away; its state stays."""

        async def stop() -> None:
            self._mining.cancel()
            await asyncio.gather(self._mining, return_exceptions=True)
            await self._chain.stop()

        self.call(stop())

    def start_ledger(self) -> None:
        async def start() -> None:
            self._chain = EmbeddedLedger(self.folder / "ledger", self._chain.port)
            await self._chain.start()
            self._mining = asyncio.create_task(self._chain.run())

        self.call(start())

    def fund(self, *, tokens: int = 0, coin: int = 0) -> None:
        """Send the buyer money."""
        buyer = Keystore(self.folder / "buyer" / "wallet").address("buyer")
        self.call(self.ledger.transfer(self.treasury, buyer, tokens=tokens, native=coin))

    async def _stop(self) -> None:
        await asyncio.gather(*(device.stop() for device in self.devices), return_exceptions=True)
        await asyncio.gather(*(server.__aexit__(None, None, None) for server in self.relays), return_exceptions=True)
        if hasattr(self, "ledger"):
            await self.ledger.close()
        if hasattr(self, "_mining"):
            self._mining.cancel()
            await asyncio.gather(self._mining, return_exceptions=True)
            await self._chain.stop()


def addresses(devices: Sequence[Device]) -> list[str]:
    """The devices' addresses."""
    return [device.address for device in devices]
