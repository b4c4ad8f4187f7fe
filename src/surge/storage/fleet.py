"""The devices that lend disk, as one wallet sees them: what they offer, and sessions to those that are used."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from surge.buyer.calls import Refused
from surge.buyer.judge import Whom
from surge.buyer.market import Market
from surge.buyer.purse import Purse
from surge.buyer.treasury import Bearer
from surge.core.asking import MOST_TIMES
from surge.core.messages import encode_visit, visit_context
from surge.core.messages.holder_visits import AskRecord, TellRecord, decode_for_reader
from surge.core.network import NetworkFile
from surge.core.offers import Offer, SignedOffer
from surge.core.signing import Signer
from surge.core.standing import Standing
from surge.core.storage import asking
from surge.core.storage.asking import Usual
from surge.core.types import ZERO, Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.storage.holder import Holder, Spoiled
from surge.storage.service import SERVICE

if TYPE_CHECKING:
    from surge.relay.client import Relays

S = TypeVar("S")
T = TypeVar("T")

log = logging.getLogger("surge.storage")

OPEN_SECONDS: Final = 20.0
"""How long a device may take to open a channel in a session."""

VISIT_SECONDS: Final = 10.0
"""How long a device may take to tell a record."""

VISITS_PER_SECOND: Final = 4.0
"""Visits to one device: it answers five hellos of a caller in a second,"""

AT_ONCE: Final = 32
"""Devices that are asked the same at once."""

BURST_SECONDS: Final = 4.0
"""and as many at once as in so many seconds."""

FRESH_SECONDS: Final = 5.0
"""How long offers are taken as they were read."""

LEDGER_SECONDS: Final = 1.0
"""How long what the ledger shows of devices is waited for; what it showed before will do."""

SHUNNED_SECONDS: Final = 60.0
"""How long a device that failed is tried after all others."""

PATIENCE: Final = 2.0
"""Seconds that the others get once enough have answered,"""

SHUNNED_PATIENCE: Final = 0.25
"""and those that failed or let others wait a short while ago."""


class Fleet:
    """Holders by device. Sessions are shared with the wallet's jobs, and stay up until the market is closed."""

    def __init__(self, network: NetworkFile, market: Market, relays: Relays, login: Signer) -> None:
        self._network = network
        self._market = market
        self._relays = relays
        self._login = login
        self._holders: dict[Address, Holder] = {}
        self._offers: dict[Address, SignedOffer] = {}
        self._dear: set[Address] = set()
        """Devices whose offers are not used."""
        self._usual = Usual()
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._turns: dict[Address, float] = {}
        self._failed: dict[Address, float] = {}
        self._faulty: dict[Address, SurgeError] = {}
        self.spoiled: list[Spoiled] = []
        """What reads found that is not what it is to be, until it is noted."""

    async def offers(self) -> dict[Address, SignedOffer]:
        """What devices offer for storage now, by device; without those that ask for many times what is usual."""
        async with self._reading:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                found = [signed for signed in await self._market.offers(SERVICE) if signed.offer.storage > 0]
                self._usual = asking.usual(signed.offer for signed in found)
                self._offers = {signed.offer.device: signed for signed in found if self._usual.allows(signed.offer)}
                self._read_at = time.monotonic()
                dear = {signed.offer.device for signed in found} - self._offers.keys()
                if fresh := sorted(dear - self._dear):
                    log.info("asking for more than %d times what is usual, and not used: %s", MOST_TIMES, ", ".join(fresh))
                self._dear = dear
        return self._offers

    async def usual(self) -> Usual:
        """What is usually asked for storage now."""
        await self.offers()
        return self._usual

    async def holder(self, device: Address) -> Holder:
        """A device with a session. Raises `Unavailable` when it cannot be had now, and what else kept a channel from being opened."""
        if (fault := self._faulty.get(device)) is not None:
            raise Unavailable(f"{device} broke the protocol, and is not used any more: {fault}", device=device) from fault
        known = self._holders.get(device)
        if known is not None and known.peer.gone is None:
            if not known.peer.is_open:
                await self._noting(device, known.peer.wait_open(OPEN_SECONDS))
            return known
        signed = (await self.offers()).get(device)
        if signed is None:
            raise Unavailable(f"{device} offers no storage now", device=device)

        async def open_it() -> Holder:
            peer = await self._market.peer(signed, Bearer(ZERO, Purse(None), lambda: True))
            await peer.wait_open(OPEN_SECONDS)
            return Holder(peer, signed.offer)

        holder = await self._noting(device, open_it())
        return self._holders.setdefault(device, holder) if known is None else self._replace(device, holder)

    def _replace(self, device: Address, holder: Holder) -> Holder:
        self._holders[device] = holder
        return holder

    async def _noting(self, device: Address, work: Awaitable[T]) -> T:
        try:
            return await work
        except SurgeError as error:
            self.failed(device, error)
            raise

    def failed(self, device: Address, error: SurgeError) -> None:
        """A device did not do what was asked: others come first for a while. One that broke the protocol is not used again."""
        self._failed[device] = time.monotonic()
        if isinstance(error, Spoiled):
            self.spoiled.append(error)
        if isinstance(error, PeerFault):
            self._faulty[device] = error
            if (holder := self._holders.get(device)) is not None:
                holder.peer.drop(error)
        if not isinstance(error, Refused):
            log.info("%s: %s", device, error)

    async def standings(self, offers: Iterable[Offer]) -> dict[Address, Standing]:
        """How devices stand with this wallet, by what the ledger shows of them and what it saw itself."""
        return await self._market.judge.standings(map(Whom.of, offers), patience=LEDGER_SECONDS)

    def is_out(self, device: Address) -> bool:
        """Whether it broke the protocol, and is not used any more."""
        return device in self._faulty

    def late(self, device: Address) -> None:
        """A device lets others wait: they come first for a while."""
        self._failed[device] = time.monotonic()

    def is_shunned(self, device: Address) -> bool:
        """Whether it failed a short while ago."""
        return time.monotonic() - self._failed.get(device, float("-inf")) < SHUNNED_SECONDS

    async def known(self) -> list[Holder]:
        """Those with a session that stands."""
        return [each for each in self._holders.values() if each.peer.gone is None and each.peer.is_open]

    async def record_at(self, device: Address, author: Address, label: bytes) -> bytes:
        """A record as a device has it, in canonical bytes that are not verified yet; empty where it has none.

        By a visit, where there is no session.
        """
        known = self._holders.get(device)
        if known is not None and known.peer.gone is None and known.peer.is_open:
            return await known.get_record(author, label)
        return (await self.visit(device, author, [label]))[0]

    async def visit(self, device: Address, author: Address, labels: list[bytes]) -> list[bytes]:
        """Several records of an author, as `record_at` gives each. Raises `Unavailable`, `PeerFault`."""
        await self._turn(device)
        context = visit_context(self._network.network_id, SERVICE)
        found: list[bytes] = []
        try:
            async with asyncio.timeout(VISIT_SECONDS):
                session = await self._relays.dial(device, identity=self._login, context=context)
                try:
                    for label in labels:
                        await session.send(encode_visit(AskRecord(author, label)))
                        said = decode_for_reader(await session.receive())
                        if not isinstance(said, TellRecord):
                            raise Unavailable(
                                f"{device} tells no records now: {getattr(said, 'text', 'it says something else')}", device=device
                            )
                        found.append(said.record)
                finally:
                    await session.close()
        except TimeoutError as error:
            raise Unavailable(f"{device} does not tell its records within {VISIT_SECONDS:.0f} s", device=device) from error
        return found

    async def _turn(self, device: Address) -> None:
        """Wait until a device takes another visit: what comes faster it does not answer."""
        now = time.monotonic()
        turn = self._turns[device] = max(self._turns.get(device, 0.0), now - BURST_SECONDS) + 1.0 / VISITS_PER_SECOND
        await asyncio.sleep(max(0.0, turn - now))

    async def bill_all(self) -> None:
        """Pay what was read everywhere."""

        async def bill(holder: Holder) -> None:
            try:
                await holder.bill()
            except SurgeError as error:
                log.info("what was read at %s is paid another time: %s", holder.device, error)

        await asyncio.gather(*(bill(each) for each in await self.known()))


async def soon(
    fleet: Fleet,
    things: Sequence[S],
    device: Callable[[S], Address],
    work: Callable[[S], Awaitable[T]],
    answers: list[tuple[S, T | SurgeError]],
    enough: Callable[[], bool],
) -> None:
    """Do the same with many things at their devices, and add what each came to; those that are left once that is `enough` are called off.

    They have their patience first, and come last for a while.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    tasks = {asyncio.create_task(_tried(gate, work, thing)): thing for thing in things}
    left, until = set(tasks), float("inf")
    try:
        while left:
            if enough():
                slow = all(fleet.is_shunned(device(tasks[task])) for task in left)
                until = min(until, time.monotonic() + (SHUNNED_PATIENCE if slow else PATIENCE))
            rest = None if until == float("inf") else max(0.0, until - time.monotonic())
            done, left = await asyncio.wait(left, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
            answers += [(tasks[task], task.result()) for task in done]
            if not done:
                for task in left:
                    fleet.late(device(tasks[task]))
                break
    finally:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def at_most(limit: int, things: Iterable[S], work: Callable[[S], Awaitable[T]]) -> list[T | SurgeError]:
    """Do the same with many things, so many at once; what each came to."""
    gate = asyncio.Semaphore(limit)
    return list(await asyncio.gather(*(_tried(gate, work, thing) for thing in things)))


async def _tried(gate: asyncio.Semaphore, work: Callable[[S], Awaitable[T]], thing: S) -> T | SurgeError:
    async with gate:
        try:
            return await work(thing)
        except SurgeError as error:
            return error
