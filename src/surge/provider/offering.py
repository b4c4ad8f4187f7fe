"""The device's offer on the relays' boards: made, renewed before it expires, and withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from surge.core import offers
from surge.core.network import RelayAddress
from surge.core.offers import LIFETIME, Offer, SignedOffer
from surge.core.signing import Signer
from surge.core.text import counted
from surge.core.types import ZERO, Address
from surge.errors import InternalFault, InvalidInput, Unavailable
from surge.provider import announcing
from surge.provider.announcing import Announced
from surge.provider.availability import parse_hours
from surge.provider.config import ProviderConfig
from surge.provider.journal import Journal
from surge.provider.reception import HONOURED
from surge.provider.rivals import Rivals
from surge.provider.service import Description, Service

log = logging.getLogger("surge.provider")

RENEW_SECONDS = LIFETIME / 3
"""An offer is renewed when a third of its life is over: two renewals may fail before it is gone."""

RETRY_SECONDS = 5.0
"""Seconds until a publication that reached no relay is tried again."""

LOOK_PAUSE = 5.0
"""Seconds between seeing whether it is time to look at what others offer."""

PUBLISH_SECONDS = 20.0
"""How long relays may take to answer."""


class Boards(Protocol):
    """Where offers go, as `surge.relay.client.Relays` is one."""

    @property
    def endpoints(self) -> list[RelayAddress]:
        """All relays in use."""
        ...

    async def publish_offer(self, offer: bytes) -> int:
        """Put an offer on every board; how many took it."""
        ...

    async def withdraw_offer(self, sequence: int) -> int:
        """Take offers up to this one off the boards."""
        ...

    async def offers(self) -> list[SignedOffer]:
        """Every offer that the boards hold."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """The offer that stands."""

    offer: Offer
    relays: int
    """Boards that took it at once."""


class Offering:
    """The offer of one device. `run` keeps it published while `wanted`."""

    def __init__(
        self,
        *,
        network: bytes,
        device: Signer,
        operator: Address,
        config: ProviderConfig,
        services: Sequence[Service],
        boards: Boards,
        journal: Journal,
        bond: Callable[[], Awaitable[tuple[int, int]]] | None = None,
    ) -> None:
        self.announced = Announced(config.announce)
        """Where the device is reached directly."""
        self.published: Published | None = None
        self.trouble = ""
        """Why the last publication failed; empty when it did not."""
        self.rivals = Rivals(boards, journal, bond)
        self._network = network
        self._device = device
        self._operator = operator
        self._config = config
        self._services = services
        self._boards = boards
        self._journal = journal
        self.wanted = False
        """Whether an offer should stand."""
        self._news = asyncio.Event()
        self._settled = asyncio.Event()

    def want(self, wanted: bool) -> None:
        """Have an offer stand, or none; or have it renewed, because it changed."""
        self.wanted = wanted
        self._settled.clear()
        self._news.set()

    def renew(self) -> None:
        """Have the offer published again, if one is wanted: what it says has changed."""
        self.want(self.wanted)

    async def settled(self) -> None:
        """Wait until what is wanted was tried once."""
        await self._settled.wait()

    async def stands(self) -> None:
        """Wait until an offer is published."""
        while self.published is None:
            await self._settled.wait()
            if self.published is None:
                self._settled.clear()

    async def run(self) -> None:
        """Publish, renew and withdraw, and look at what others offer, until cancelled."""
        tasks = [asyncio.create_task(self._keep_offering()), asyncio.create_task(self._look())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _look(self) -> None:
        while True:
            if self.published is not None:
                await self.rivals.look(self.published.offer)
            await asyncio.sleep(LOOK_PAUSE)

    async def _keep_offering(self) -> None:
        while True:
            self._news.clear()
            pause: float | None = None
            try:
                async with asyncio.timeout(PUBLISH_SECONDS):
                    if self.wanted:
                        await self._publish()
                        pause = RENEW_SECONDS
                    elif self.published is not None:
                        await self._withdraw(self.published.offer.sequence)
                self.trouble = ""
            except (Unavailable, InvalidInput, TimeoutError) as error:
                self.trouble = str(error) or "the relays do not answer"
                log.warning("the offer could not be %s: %s", "published" if self.wanted else "withdrawn", self.trouble)
                pause = RETRY_SECONDS if self.wanted else None
                if not self.wanted:
                    self.published = None  # it expires by itself
            if not self._news.is_set():
                self._settled.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _publish(self) -> None:
        """Keep the offer, then publish it: terms may name it as soon as anyone has seen it."""
        offer = self.make(int(time.time()), await self.announced.now())
        signed = offers.sign(offer, self._device)
        await self._journal.keep_offer(
            offer.digest(), signed.encode(), offer.sequence, offer.expires, forget_before=offer.issued - HONOURED
        )
        taken = await self._boards.publish_offer(signed.encode())
        self.published = Published(offer, taken)
        log.info("offer %d is on %s", offer.sequence, counted(taken, "relay"))

    async def _withdraw(self, sequence: int) -> None:
        await self._boards.withdraw_offer(sequence)
        self.published = None
        log.info("offer %d is withdrawn", sequence)

    def make(self, now: int, direct: str = "") -> Offer:
        """The offer as it would be made at `now`, Unix seconds, of a device that is reached directly at an address."""
        config = self._config
        described = [service.describe() for service in self._services]
        engine = next((each for each in described if each.engine is not None), None)
        if engine is None or engine.engine is None or engine.speed is None:
            raise InternalFault("no service says what its engine is and how fast")
        kept = self._journal.setting("sequence")
        disk = next((each for each in described if each.storage), Description())
        return offer_of(
            config,
            replace(engine, storage=disk.storage, room=disk.room),
            network=self._network,
            device=self._device.address,
            operator=self._operator,
            sequence=max(int(kept) + 1 if kept else 0, now),
            now=now,
            services=tuple(service.name for service in self._services),
            relays=tuple(relay.url for relay in self._boards.endpoints)[:16],
            direct=direct,
        )


def offer_of(
    config: ProviderConfig,
    described: Description,
    *,
    network: bytes,
    device: Address,
    operator: Address,
    sequence: int,
    now: int,
    services: tuple[str, ...],
    relays: tuple[str, ...],
    direct: str = "",
) -> Offer:
    """An offer of what `config` lends, as services describe it. Raises `InvalidInput` for what no offer may say."""
    assert described.engine is not None, "services that run nothing make no offer"
    assert described.speed is not None, "it was measured"
    return Offer(
        network=network,
        device=device,
        operator=operator,
        sequence=sequence,
        issued=now,
        expires=now + LIFETIME,
        prices=config.rates.prices(described.speed),
        cores=config.cores,
        memory=config.memory,
        engine=described.engine,
        engine_label=described.engine_label,
        images=described.images[:64],
        services=services,
        region=config.region,
        milliwatts=config.milliwatts,
        relays=relays,
        window=config.window,
        window_max=config.window_max,
        offline_seconds=config.offline_seconds,
        audit_seconds=config.audit_seconds,
        opening=config.opening,
        retainer=config.retainer,
        storage=described.storage,
        room=described.room,
        direct=direct,
    )


def check(config: ProviderConfig) -> None:
    """Raise `InvalidInput` for a configuration that no device could offer or keep, before anything is spent on it."""
    parse_hours(config.hours)
    announcing.check(config.listen, config.announce)
    nobody = Address("0x" + "00" * 20)
    anything = Description(engine=ZERO, speed=1)
    offer_of(config, anything, network=ZERO, device=nobody, operator=nobody, sequence=1, now=1, services=(), relays=("nats://relay",))
