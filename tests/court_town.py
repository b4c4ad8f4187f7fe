"""A network with a court: a provider that may cheat, its operator's defence, jurors, and time that can be moved on."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from lying_services import Told
from network_support import COIN, Device, Town
from surge.buyer import auditing
from surge.buyer.home import cache_folder
from surge.core.court import EMBEDDED, CourtParameters
from surge.core.receipts import DeviceConsent
from surge.ledger import Ledger
from surge.provider import visits
from surge.provider.config import ProviderConfig
from surge.provider.defence import Defence
from surge.provider.juror import Juror, JurorConfig
from surge.relay.client import Relays
from surge.sandbox import Sandbox
from surge.wallet import Keystore

SURGE = 10**18
STAKE = 100 * SURGE
"""Wei that the accused's operator and every juror stake."""


class Accused(Device):
    """A provider whose operator has a bond and a hash chain, and stands up for itself."""

    service: Told
    defence: Defence | None = None

    async def start(self) -> None:
        town = self.town
        assert isinstance(town, CourtTown)
        await super().start()
        await town.bond(self.operator, STAKE)
        keys = Keystore(self.folder / "wallet")
        keys.load_or_create("links")
        ledger = await Ledger.connect(town.network, self.folder / "defence.db")
        self._stack.push_async_callback(ledger.close)
        self.defence = Defence(
            ledger.court, ledger.anchors, self.operator.address, self.key, lambda number: keys.derive("links", b"chain %d" % number)
        )
        await self.defence.register(self.operator)
        self.defending = asyncio.create_task(self.defence.run())
        self._stack.callback(self.defending.cancel)


class JurorSeat:
    """A juror: an operator with a device of its own, hosting juror duty and nothing else."""

    def __init__(self, town: CourtTown, number: int) -> None:
        self.town = town
        self.folder = town.folder / "jurors" / str(number)
        self.keys = Keystore(self.folder / "wallet")
        self.device, self.operator = self.keys.load_or_create("device"), self.keys.load_or_create("operator")
        self.juror: Juror
        self._stack = contextlib.AsyncExitStack()

    async def prepare(self) -> None:
        """Be registered and bonded."""
        town = self.town
        await town.ledger.transfer(town.treasury, self.device.address, native=COIN)
        await town.bond(self.operator, STAKE)
        consent = DeviceConsent(self.operator.address, self.device.address, await town.ledger.device_nonce(self.device.address))
        signature = self.device.sign(consent.digest(town.network.registry_domain))
        await town.ledger.register_device(self.operator, self.device.address, "", signature)

    async def start(self, make: type[Juror] = Juror) -> None:
        town = self.town
        ledger = await Ledger.connect(town.network, self.folder / "transactions.db")
        self._stack.push_async_callback(ledger.close)
        relays = await Relays.connect(town.network.relays, self.device, network=town.network.network_id)
        self._stack.push_async_callback(relays.close)
        assert town.network.court is not None
        self.juror = make(
            network=town.network, court=ledger.court, address=town.network.court.address, sandbox=town.sandbox, operator=self.operator,
            key=self.keys.receiving("inputs"), folder=self.folder, config=JurorConfig(),
        )  # fmt: skip
        await self.juror.start()
        self._stack.push_async_callback(self.juror.close)

        async def accept(session: Any) -> None:
            await visits.received(session, {"juror": self.juror})

        relays.listen(accept, identity=self.device)

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = contextlib.AsyncExitStack()


class CourtTown(Town):
    """A town whose network has a court. `jurors` sit from the start. Buyers in this process check nothing by chance: lies come through."""

    def __init__(self, folder: Path, *, jurors: int = 5) -> None:
        super().__init__(folder, providers=0, config=ProviderConfig())
        self.parameters: CourtParameters = EMBEDDED
        self.seats: list[JurorSeat] = []
        self._jurors = jurors

    async def _start(self) -> None:
        self._drew, auditing._draw = auditing._draw, lambda: 1.0
        await super()._start()
        cache = self.folder / "jurors-cache"  # with others' code and nobody else's snapshots
        cache.mkdir()
        (cache / "code").symlink_to(cache_folder() / "code")
        self.sandbox = Sandbox(cache, workers=1, memory=2 << 30)
        await self.sandbox.start()
        self.accused = Accused(self, 0, self._config, Told)
        self.devices = [self.accused]
        await self.accused.start()
        self.seats = [JurorSeat(self, number) for number in range(self._jurors)]
        for seat in self.seats:
            await seat.prepare()
        await asyncio.gather(*(seat.start() for seat in self.seats))

    async def _stop(self) -> None:
        auditing._draw = self._drew
        await asyncio.gather(*(seat.stop() for seat in self.seats), return_exceptions=True)
        if hasattr(self, "sandbox"):
            await self.sandbox.close()
        await super()._stop()

    async def bond(self, operator: Any, amount: int) -> None:
        """Give an operator coin and stake, and have it stake behind itself."""
        await self.ledger.transfer(self.treasury, operator.address, tokens=amount, native=COIN)
        await self.ledger.bonds.stake(operator, operator.address, amount)

    def travel(self, seconds: int) -> None:
        """Move the ledger's time on, and mine a block in it."""

        async def work() -> None:
            await self.ledger._endpoints.call("evm_increaseTime", hex(seconds))
            await self.ledger._endpoints.call("evm_mine")

        self.call(work())

    def bonds_of(self, operator: str) -> int:
        """Wei behind an operator."""
        return self.call(self.ledger.bonds.pool(operator)).bond  # type: ignore[arg-type]

    def tokens_of(self, account: str) -> int:
        return self.call(self.ledger.token_balance(account))  # type: ignore[arg-type]
