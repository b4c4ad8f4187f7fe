"""How the devices that offer work stand with this buyer: what it saw of them, and what the ledger shows of their operators."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surge.buyer.experience import experiences
from surge.buyer.journal import Journal
from surge.buyer.payments import Payments
from surge.buyer.purse import in_surge
from surge.buyer.watch import Seen
from surge.core.offers import Offer
from surge.core.standing import Experience, Fault, Payment, Record, Standing, standing
from surge.core.types import Address
from surge.errors import SurgeError

if TYPE_CHECKING:
    from surge.ledger import Ledger

log = logging.getLogger("surge.buyer")

AGAIN_SECONDS = 30.0
"""Seconds for which what the journal says, and a standing that was made of it, is believed: a job looks for providers every few."""

FIRST_SECONDS, READ_SECONDS = 2.0, 300.0
"""Seconds that a job waits for the ledger's past where none of it was read yet, and for which it is read on in the background."""

ASK_SECONDS, HURRIED_SECONDS, AT_ONCE = 10.0, 1.0, 8
"""Seconds for asking the fee, and for all bonds that a job asks for in one look; and how many questions at the same time."""

KEPT_SECONDS = 600.0
"""Seconds for which an answer to those is believed."""

MAX_KEPT = 1 << 14
"""Bonds, and standings, that are remembered."""


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is judged."""

    device: Address
    operator: Address
    stated: int | None = None
    """Fuel per second of a core, as its offer states it; None where it offers nothing."""

    @classmethod
    def of(cls, offer: Offer) -> Whom:
        """The device behind an offer."""
        return cls(offer.device, offer.operator, offer.prices.speed)


class Judge:
    """Judges devices. `payments` is what the ledger was seen to pay; without it, the ledger says nothing of anybody."""

    def __init__(self, journal: Journal, ledger: Ledger, payments: Payments | None) -> None:
        self.seen = Seen(journal)
        self._journal = journal
        self._ledger = ledger
        self._payments = payments
        self._experiences: Mapping[str, Experience] = {}
        self._read_at = float("-inf")
        self._fee: tuple[float, int] | None = None
        self._bonds: dict[Address, tuple[float, int]] = {}
        self._held: dict[Whom, tuple[float, Standing]] = {}
        """Standings, and when they were made."""
        self._reading: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Write down what was seen, and stop reading."""
        self.seen.write()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._payments is not None:
            await asyncio.to_thread(self._payments.close)

    async def standings(self, devices: Iterable[Whom], *, patience: float | None = None) -> dict[Address, Standing]:
        """How each device stands.

        What the ledger shows is taken as far as it was read. It is waited for `patience` seconds, by default only where nothing was yet; by
        default, too, the last half a minute may be missing.
        """
        listed, fresh = list(devices), patience is not None
        until = time.monotonic() - (0.0 if fresh else AGAIN_SECONDS)
        stale = [each for each in listed if each not in self._held or self._held[each][0] < until]
        if stale:
            records = await self._records({each.operator for each in stale}, patience)
            seen = await self._experience(fresh=fresh)
            caught = {device: found.caught for device, found in seen.items() if found.caught}
            owners, fee, now = await self._owners() if caught else {}, await self._fee_bps(), time.time()

            def work() -> dict[Whom, tuple[float, Standing]]:
                return {each: (time.monotonic(), of(each)) for each in stale}

            def of(whom: Whom) -> Standing:
                others = [found for device, found in caught.items() if device != whom.device and owners.get(device) == whom.operator]
                siblings = [each for found in others for each in found]
                experience = seen.get(whom.device, Experience())
                return standing(records[whom.operator], experience, now=now, fee_bps=fee, stated=whom.stated, siblings=siblings)

            self._held |= await asyncio.to_thread(work)
        found = {each.device: self._held[each][1] for each in listed}
        while len(self._held) > MAX_KEPT:
            del self._held[next(iter(self._held))]
        return found

    def bond(self, operator: Address) -> int | None:
        """What an operator staked when it was last judged, in wei; None where that is not known."""
        return self._bonds[operator][1] if operator in self._bonds else None

    async def read_since(self) -> float | None:
        """Since when the ledger was read, Unix seconds; None where nothing was."""
        return None if self._payments is None else await self._payments.since()

    # What was seen

    async def _experience(self, *, fresh: bool) -> Mapping[str, Experience]:
        if fresh or time.monotonic() - self._read_at > AGAIN_SECONDS:
            self.seen.write()
            self._experiences = await experiences(self._journal, time.time())
            self._read_at = time.monotonic()
        return self._experiences

    async def _owners(self) -> dict[str, str]:
        """The operators of the devices that a channel was ever opened to."""
        return dict(await self._journal.read("SELECT device, operator FROM channels ORDER BY opened"))

    # What the ledger shows

    async def _records(self, operators: set[Address], patience: float | None) -> dict[Address, Record]:
        paid: Mapping[Address, tuple[Payment, ...]] = {}
        if self._payments is not None:
            if self._reading is None or self._reading.done():
                work = self._payments.look(self._ledger.histories, READ_SECONDS)
                self._reading = asyncio.create_task(work, name="reading the ledger's past")
            if patience is None:
                patience = FIRST_SECONDS if await self._payments.since() is None else 0.0
            if patience:
                await asyncio.wait((self._reading,), timeout=patience)
            paid = await self._payments.of(operators)
        bonds, faults = await self._ask_bonds(operators, patience or HURRIED_SECONDS), await proved(self._ledger, operators)
        return {each: Record(paid.get(each, ()), bonds.get(each), tuple(faults.get(each, ()))) for each in operators}

    async def _fee_bps(self) -> int:
        """The protocol's fee in basis points; 0, at which nothing on the ledger counts, while it is not known."""
        now = time.monotonic()
        if self._fee is None or now - self._fee[0] > KEPT_SECONDS:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    self._fee = now, await self._ledger.fee_bps()
            except (SurgeError, TimeoutError) as error:
                log.info("the protocol's fee cannot be read now: %s", error)
        return 0 if self._fee is None else self._fee[1]

    async def _ask_bonds(self, operators: Iterable[Address], seconds: float) -> dict[Address, int]:
        """What operators stake, in wei, as far as it can be had now."""
        now = time.monotonic()
        unknown = [each for each in operators if each not in self._bonds or now - self._bonds[each][0] > KEPT_SECONDS]
        waiting = iter(unknown)

        async def ask() -> None:
            for operator in waiting:
                try:
                    found = await staked(self._ledger, operator)
                except SurgeError as error:
                    return log.info("bonds cannot be read now: %s", error)
                if found is not None:
                    self._bonds[operator] = now, found
                    if len(self._bonds) > MAX_KEPT:
                        del self._bonds[next(iter(self._bonds))]

        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(unknown))):
                    group.create_task(ask())
        except TimeoutError:
            log.info("not all bonds could be read in time; the others are asked for later")
        return {each: self._bonds[each][1] for each in operators if each in self._bonds}


async def staked(ledger: Ledger, operator: Address) -> int | None:
    """What an operator stakes, in wei; None on a network without bonds."""
    bonds: Any = getattr(ledger, "bonds", None)
    return None if bonds is None else int((await bonds.pool(operator)).assets)


async def proved(ledger: Ledger, operators: Iterable[Address]) -> Mapping[Address, tuple[Fault, ...]]:
    """What the ledger proves against operators: what their bonds lost, in the court or for two receipts of one number."""
    bonds: Any = getattr(ledger, "bonds", None)
    if bonds is None:
        return {}
    try:
        async with asyncio.timeout(ASK_SECONDS):
            slashes = await bonds.slashes(operators)
            times = {} if not slashes else await ledger.histories.times({each.block for each in slashes})
    except (SurgeError, TimeoutError) as error:
        log.info("what bonds lost cannot be read now: %s", error)
        return {}
    found: dict[Address, list[Fault]] = {}
    for each in slashes:
        fault = Fault(times[each.block], f"its bond was slashed by {in_surge(each.amount)}")
        found.setdefault(each.operator, []).append(fault)
    return {operator: tuple(faults) for operator, faults in found.items()}
