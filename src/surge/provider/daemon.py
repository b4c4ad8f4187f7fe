"""The provider: a device that lends, from start to drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from surge.core.network import NetworkFile
from surge.core.receipts import Receipt
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import SurgeError, Unavailable
from surge.provider import visits
from surge.provider.announcing import endpoint
from surge.provider.availability import Host, LocalHost, unavailable
from surge.provider.backing import Common
from surge.provider.buyers import Buyers
from surge.provider.config import ProviderConfig
from surge.provider.doors import LedgerClient, RelayClient
from surge.provider.earnings import Earnings
from surge.provider.journal import Journal
from surge.provider.offering import Offering, check
from surge.provider.outbox import Link
from surge.provider.reception import Reception
from surge.provider.reports import JOURNAL, keep_status
from surge.provider.service import Outliving, Service, Telling
from surge.provider.session import BuyerSession
from surge.provider.spool import forget_closed
from surge.provider.status import explain
from surge.provider.tally import Tally
from surge.store import Blobs

log = logging.getLogger("surge.provider")

LOOK_SECONDS = 5.0
"""Seconds between looks at the machine, and at receipts that wait for too long."""

HEARD_SECONDS = 60.0
"""Seconds between notes that a connected buyer is there."""

TELL_SECONDS = 600.0
"""Seconds between notes of why no work comes, while none comes."""

ACKNOWLEDGE_SECONDS = 5.0
"""How long connected buyers may take, at the end, to acknowledge what they were given."""

REGISTRY_SECONDS = 10.0
"""How long the registry may take to answer."""


class Provider:
    """A device that lends. Use as a context manager; inside, it offers and works; leaving it drains it.

    Args:
        network: which network.
        ledger: its ledger.
        relays: its relays, logged in with the device's key. They stay the caller's to close.
        device: signs receipts and offers.
        operator: who is paid; the registry must name the device as its.
        data: folder of the journal and of contents; one process uses it at a time.
        services: what is lent.
        config: on which conditions.
        gas: pays for redemptions; the device by default.
        host: how the machine is asked about itself.
        operator_of: who says whose the device is; the ledger's registry of devices by default.
        bond: who says what the operator stakes, and the network's least bond, in wei; without it nothing is said of that.
    """

    def __init__(
        self,
        *,
        network: NetworkFile,
        ledger: LedgerClient,
        relays: RelayClient,
        device: Signer,
        operator: Address,
        data: Path,
        services: Sequence[Service],
        config: ProviderConfig | None = None,
        gas: Signer | None = None,
        host: Host | None = None,
        operator_of: Callable[[Address], Awaitable[Address | None]] | None = None,
        bond: Callable[[], Awaitable[tuple[int, int]]] | None = None,
    ) -> None:
        self.config = config = config or ProviderConfig()
        check(config)
        self.device = device.address
        self.operator = operator
        self.tally = Tally()
        self.unpaid_relays: Callable[[], Mapping[str, str]] = dict
        """Asked why relays that want pay are not paid, by URL."""
        self._network = network
        self._operator_of = operator_of or ledger.operator_of
        self._relays = relays
        self._signer = device
        self._gas = gas or device
        self._services = {service.name: service for service in services}
        self._host = host or LocalHost()
        self._spool = data / "spool"
        self._spool.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(data / JOURNAL, device.address)
        forget_closed(self._spool, {row.number for row in self._journal.channels()})
        self._blobs = Blobs(data / "contents", config.disk)
        self._sessions: set[BuyerSession] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._paused = "it is starting"
        self._stopping = ""
        self._registered: Address | None = None
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._unlent = ""
        self._data = data
        self.earnings = Earnings(self._journal, ledger, device, self._gas, config, self._stop_channel, self._lost_channel)
        common = Common(
            device=device,
            domain=network.channels_domain,
            config=config,
            journal=self._journal,
            spool=self._spool,
            tally=self.tally,
            state=lambda channel: self.reception.state(channel),
            owed=self.earnings.hurry,
            answered=self._paid,
        )
        self.reception = Reception(common, self._blobs, Buyers(self._journal, config.window), ledger, operator)
        self.offering = Offering(
            network=network.network_id,
            device=device,
            operator=operator,
            config=config,
            services=services,
            boards=relays,
            journal=self._journal,
            bond=bond,
        )

    def _paid(self, receipt: Receipt, accepted: bool) -> None:
        for service in self._services.values():
            service.answered(receipt, accepted)

    def _stop_channel(self, channel: bytes, why: str) -> None:
        desk = self.reception.desk(channel)
        if desk is not None:
            desk.account.stop(why)
        elif (row := self._journal.channel(channel)) is not None:
            self._journal.stop(row.number, why)

    def _lost_channel(self, channel: bytes) -> None:
        desk = self.reception.desk(channel)
        if desk is not None:
            desk.account.lost = True

    # Life

    async def __aenter__(self) -> Self:
        try:
            for service in self._services.values():
                await service.start()
            await self._look_around()
            await self._tell_ended()
            self._relays.listen(self._accept, identity=self._signer, max_sessions=self.config.max_sessions)
            if self.config.listen:
                self.offering.announced.door = await self._relays.open_door(*endpoint(self.config.listen, "--listen", least=0))
            self._tasks = [
                asyncio.create_task(self.offering.run(), name="offering"),
                asyncio.create_task(self.earnings.run(), name="earning"),
                asyncio.create_task(self._keep_watch(), name="watching"),
            ]
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.drain()

    async def run(self, stop: asyncio.Event) -> None:
        """Lend until `stop` is set. Raises what a part of the daemon failed with."""
        waiting = asyncio.create_task(stop.wait(), name="waiting for the end")
        try:
            done, _ = await asyncio.wait({waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
        finally:
            waiting.cancel()

    async def ready(self, seconds: float = 60.0) -> str:
        """Wait until the offer stands, or the device's owner wants none now; returns why, or the empty text.

        Raises `Unavailable` when neither comes about in time, saying what is in the way.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._looked.wait()
                if self._unlent:
                    return self._unlent
                await self.offering.stands()
            self.look_again()
        except TimeoutError as error:
            raise Unavailable(f"the device {self.device} does not lend yet: {self.status()['waiting']}") from error
        return ""

    async def drain(self) -> None:
        """Stop in order: no offer, no new work, what is in flight finished and answered, what is worth it redeemed."""
        if self._stopping:
            return
        self._stopping = "it stops"
        self._refresh()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await self.offering.settled()
        try:
            async with asyncio.timeout(self.config.drain_seconds):
                await self.reception.quiet()
                await self._answered()
        except TimeoutError:
            log.warning("work was still under way after %.0f s; it is given up", self.config.drain_seconds)
        await self._end_sessions("the provider stops")
        try:
            async with asyncio.timeout(self.config.drain_seconds):
                await self.earnings.settle(last_chance=True)
        except TimeoutError:
            log.warning("not everything was redeemed; it will be at the next start")
        await self._close()

    async def _answered(self) -> None:
        """Give connected buyers a moment to acknowledge what they were just given."""
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                await self.reception.answered()
        except TimeoutError:
            log.info("not every buyer acknowledged what it was given")

    async def _end_sessions(self, reason: str) -> None:
        sessions = list(self._sessions)
        for session in sessions:
            session.end(reason)
        for session in sessions:
            await session.over()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_sessions("the provider stops")
        await self.reception.close()
        for service in self._services.values():
            await service.close()
        await self._write_status()
        await asyncio.to_thread(self._journal.close)

    # Sessions

    async def _accept(self, link: Link) -> None:
        if await visits.received(link, self._services):
            return
        session = BuyerSession(
            link,
            network=self._network.network_id,
            reception=self.reception,
            services=self._services,
            blobs=self._blobs,
            config=self.config,
            tally=self.tally,
            draining=lambda: self._stopping or self._paused,
        )
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    # Watching

    async def _keep_watch(self) -> None:
        """Look at the machine, the registry, and receipts nobody answered."""
        heard = told = time.monotonic()
        while True:
            await self._look_around()
            await self._tell_ended()
            for each in self._journal.overdue(int(time.time()), self.tally.started_at):
                self.tally.defaults += len(each.sequences)
                self.reception.default(each)
            if time.monotonic() - heard > HEARD_SECONDS:
                heard = time.monotonic()
                await asyncio.to_thread(forget_closed, self._spool, {row.number for row in self._journal.channels()})
                for desk in self.reception.desks:
                    if desk.port is not None:
                        self._journal.heard(desk.account.row.number, int(time.time()))
            await self._write_status()
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                if waiting := self.status()["waiting"]:
                    log.info("no work: %s", waiting)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _tell_ended(self) -> None:
        ended = await asyncio.to_thread(self._journal.ended)
        for service in self._services.values():
            if isinstance(service, Outliving):
                service.ended(ended)

    async def _write_status(self) -> None:
        try:
            await asyncio.to_thread(keep_status, self._data, self.status())
        except OSError as error:
            log.warning("how the provider stands cannot be written: %s", error)

    async def _look_around(self) -> None:
        machine = await asyncio.to_thread(self._host.look)
        why = self._unlent = unavailable(machine, self.config)
        if not why and self._registered != self.operator:
            why = await self._check_registry()
        if why != self._paused:
            log.info("%s", f"not lending: {why}" if why else "lending")
            self._paused = why
            self._refresh()
        self._looked.set()

    async def _check_registry(self) -> str:
        """Why the registry keeps the device from lending: buyers believe no offer that it does not confirm.

        A device that lent before goes on while the registry cannot be asked.
        """
        try:
            async with asyncio.timeout(REGISTRY_SECONDS):
                self._registered = await self._operator_of(self.device)
        except (SurgeError, TimeoutError) as error:
            lent_before = self._journal.setting("sequence") is not None
            return "" if lent_before else f"the registry cannot be asked whose device this is: {error}"
        if self._registered is None:
            return f"the registry does not name the device {self.device}: register it"
        if self._registered != self.operator:
            return f"the registry names {self._registered} as the device's operator, not {self.operator}"
        return ""

    def look_again(self) -> None:
        """Look at the machine now rather than in some seconds."""
        self._wake.set()

    def _refresh(self) -> None:
        """Tell boards and buyers whether the device lends."""
        why = self._stopping or self._paused
        self.offering.want(not why)
        self.reception.close_doors(why)
        for session in list(self._sessions):
            if why:
                session.say_draining(why)
            else:
                session.lends_again()

    # For people

    def status(self) -> dict[str, Any]:
        """How the provider stands, as plain data; `waiting` says in a sentence why no work comes, if none does."""
        published = self.offering.published
        status: dict[str, Any] = {
            "device": self.device,
            "operator": self.operator,
            "lending": not (self._stopping or self._paused),
            "paused": self._stopping or self._paused,
            "offer": None
            if published is None
            else {
                "sequence": published.offer.sequence,
                "relays": published.relays,
                "expires": published.offer.expires,
                "direct": published.offer.direct,
            },
            "offer_trouble": self.offering.trouble,
            "market": self.offering.rivals.seen,
            "relays": self._relays.connected,
            "relay_troubles": self._relays.troubles,
            "relays_unpaid": dict(self.unpaid_relays()),
            "buyers_connected": len(self._sessions),
            "under_way": sum(len(desk.works) for desk in self.reception.desks),
            "storage": self._journal.batches.fault,
            "lends": {each.name: each.status() for each in self._services.values() if isinstance(each, Telling)},
            "earnings_wait_for": self.earnings.waits_for,
            "earnings_kept": self.earnings.kept,
            "earnings_set_aside": {"0x" + channel.hex(): why for channel, why in self.earnings.set_aside.items()},
            "redeemed": self.earnings.redeemed,
            "transactions": self.earnings.transactions,
            **self.tally.show(),
        }
        status["at"] = int(time.time())
        status["waiting"] = explain(status, status["at"])
        return status
