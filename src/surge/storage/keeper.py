"""A keeper: it looks who is there, has everybody prove what they are paid for, pays, and mends what was lost, round after round.

    keeper = Keeper(storage, journal, charges)
    await keeper.round()

A period has one audit, in which those that prove are paid, and several looks, in which nobody is: who is away or leaves is noticed sooner.
The owner may run it, or a delegate that has no object key; several at once do no harm, and each says what it did in its journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from surge.core.storage import keeping, repair
from surge.core.storage.pledges import HELD_PART
from surge.core.storage.repair import Presence
from surge.core.text import counted
from surge.core.types import Address
from surge.errors import InvalidInput, SurgeError
from surge.storage.challenging import Challenging
from surge.storage.charges import Charge
from surge.storage.client import Storage
from surge.storage.fleet import at_most
from surge.storage.journal import GONE, KEPT, LOST, DealRow
from surge.storage.keeper_journal import Audit, Failure, KeeperJournal, Work, devices_seen, note_seen
from surge.storage.keeper_looking import Look, look
from surge.storage.keeper_maps import View, view
from surge.storage.keeper_paying import Paying
from surge.storage.keeper_repair import Repairing, Sight, segments_of
from surge.storage.objects import candidates
from surge.storage.releasing import let_go

log = logging.getLogger("surge.storage")

LOOKS: Final = 8
"""In a period."""

LEAST_PAUSE: Final = 1.0
"""Seconds between looks."""

AT_ONCE: Final = 16
"""Devices that are paid, and objects that are looked up, at once."""

UNBACKED: Final = 0.1
"""How a device stands whose operator's bond does not cover what it pledges: others are taken first."""

AUDIT, LOOK = "audit", "look"
"""Kinds of rounds."""

Charges = Callable[[], Awaitable[list[Charge]]]

Forget = Callable[[Charge], Awaitable[None]]


async def _forgets_nothing(_: Charge) -> None:
    """A delegate knows no names."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How an object is kept."""

    name: str
    size: int
    """Bytes."""
    needed: int
    """Shards of a segment that are enough."""
    shards: int
    """Shards of a segment that there should be."""
    sound: int
    """Shards of the worst segment that are not lost."""
    here: int
    """Shards of the worst segment whose devices are there now."""
    danger: str
    """"none", "waiting": some shards are lost, and few enough; "repair": it is due; "endangered": it is due and cannot be made now;
    "unreadable": too few shards are there to read it now; "unseen": no keeper here looked yet, so that nothing is known, and `sound` and
    `here` are 0."""
    pledged: int
    """When the first of its pledges ends, in Unix seconds; 0 where none is known."""
    expires: int
    """Until when it is kept, in Unix seconds; 0 for as long as its keeper goes on."""
    spent: int
    """Wei that this keeper paid for it."""
    pledges: int = 0
    """Its pledges that are known here."""
    over: int = 0
    """Those of them that ended."""


class Keeper:
    """Keeps objects, for one wallet. `charges` says which, each time that it is asked; `forget` removes the name of what is over."""

    def __init__(
        self, storage: Storage, journal: KeeperJournal, charges: Charges, forget: Forget = _forgets_nothing, *, challenges: bool = False
    ) -> None:
        self._forget = forget
        self._storage = storage
        self.journal = journal
        self._charges = charges
        self._paying = Paying(storage, journal)
        self._repairing = Repairing(storage, journal)
        self.challenging = Challenging(storage, journal)
        self.challenges = challenges
        """Whether who fails or is silent is challenged on the ledger."""
        self._backed: dict[Address, bool] = {}

    # Rounds

    async def run(self, stop: asyncio.Event, told: Callable[[Sequence[Audit], Sequence[Work]], None] = lambda *_: None) -> None:
        """Go on until `stop` is set. What fails is told in the log, and tried again in the next round."""
        period = await self._storage.period()
        while not stop.is_set():
            try:
                due = time.time() - await self.journal.last(AUDIT) >= period
                audits, works = await self.round(pay=due)
                told(audits if due else [], works)
            except SurgeError as error:
                log.warning("this round did not end: %s", error)
            try:
                async with asyncio.timeout(max(LEAST_PAUSE, period / LOOKS)):
                    await stop.wait()
            except TimeoutError:
                continue

    async def round(self, names: Collection[str] = (), *, pay: bool = True) -> tuple[list[Audit], list[Work]]:
        """One round: let go what is over, look or audit, pay, mend; what was seen and done.

        `names` are the objects that it is about; all, where none are named.
        """
        await self._heed()
        charges, works = await self._let_go(await self.charges(names))
        looks, audits = await self._look(charges, prove=pay, pay=pay)
        works += await self.repair(names, charges=charges, looks=looks)
        if self.challenges:
            works += await self.challenging.go_on(charges)
        return audits, works

    async def audit(self, names: Collection[str] = (), *, pay: bool = True) -> list[Audit]:
        """Have devices prove what they hold, and pay those that do; what each came to."""
        if pay:
            await self._heed()
        _, audits = await self._look(await self.charges(names), prove=True, pay=pay)
        return audits

    async def repair(
        self, names: Collection[str] = (), *, charges: Sequence[Charge] | None = None, looks: Sequence[Look] | None = None
    ) -> list[Work]:
        """Mend what is due, the most endangered first; what was done."""
        await self._heed()
        if charges is None:
            charges = await self.charges(names)
        if looks is None:
            looks, _ = await self._look(charges, prove=False, pay=False)
        number, sight = await self.journal.begin(LOOK, int(time.time())), await self._sight()
        here = [each.device for each in looks if each.here]
        views = await at_most(AT_ONCE, charges, lambda each: view(self._storage, each, here))
        found: list[View] = []
        works: list[Work] = []
        for charge, seen in zip(charges, views, strict=True):
            if isinstance(seen, SurgeError):
                log.warning("%s is not looked after now: %s", charge.name, seen)
                works.append(Work(int(time.time()), charge.keys.object, 0, 0, Address(""), "failed", str(seen)))
            else:
                found.append(seen)
        dangers = [
            min((repair.danger(each)[:2] for each in segments_of(seen, sight, await self._repairing.lost(seen.charge))), default=(0, 0))
            for seen in found
        ]
        for _, seen in sorted(zip(dangers, found, strict=True), key=lambda each: each[0]):
            spared = await self.challenging.spared(wanted=self.challenges)
            works += await self._repairing.mend(seen, sight, number, spared)
            spared = await self.challenging.spared(wanted=self.challenges)
            await self._repairing.release(seen.charge, sight, spared)
        await self._heed()
        return works

    async def charges(self, names: Collection[str] = ()) -> list[Charge]:
        """The objects of these names, of all where none are named. Raises `InvalidInput` for a name that nothing has."""
        found = await self._charges()
        if not names:
            return found
        for name in names:
            if all(each.name != name for each in found):
                raise InvalidInput(f"nothing is kept as {name!r}: `surge storage status` shows what is", name=name)
        return [each for each in found if each.name in names]

    # What is over

    async def _let_go(self, charges: Sequence[Charge]) -> tuple[list[Charge], list[Work]]:
        """Objects whose time is over are paid to the end and let go; the others, and what was done."""
        now, works = int(time.time()), []
        over = [each for each in charges if each.expires and each.expires <= now]
        for charge in over:
            states = [row.state for row in await self._storage.journal.objects(id=charge.keys.object)]
            if states and states[0] == GONE:
                continue
            await self._look([charge], prove=True, pay=True)
            await self._forget(charge)
            dropped = await let_go(self._storage, charge.keys, charge.header)
            work = Work(now, charge.keys.object, 0, 0, Address(""), "let go", f"its time is over; {dropped} holders dropped their shards")
            await self.journal.did(work)
            works.append(work)
        return [each for each in charges if each not in over], works

    # Looking

    async def _look(self, charges: Sequence[Charge], *, prove: bool, pay: bool) -> tuple[list[Look], list[Audit]]:
        """Look at all devices that hold something of these objects.

        1. They are looked at; what is remembered of each is on disk.
        2. Who failed a proof lost that shard.
        3. Who proved is paid, but for what another keeper agreed to pay many times the usual price for.
        """
        storage, now = self._storage, int(time.time())
        authors = {each.keys.object: each.keys.author for each in charges}
        for charge in charges:
            try:
                await storage.adopt(charge.keys, charge.header, charge.name)
            except SurgeError as error:
                log.warning("the map of %s is not found now, so nobody is asked to prove it: %s", charge.name, error)
        held: dict[Address, list[DealRow]] = {}
        for row in await storage.journal.deals(state=KEPT):
            if row.object in authors:
                held.setdefault(row.device, []).append(row)
        if prove:
            await self.journal.begin(AUDIT, now)
        looks = await look(storage, held, prove=prove)
        # 1
        seen, offers, period = await devices_seen(storage.journal), await storage.fleet.offers(), await storage.period()
        told = await self.journal.told()
        for each in looks:
            await note_seen(storage.journal, each.device, keeping.looked(seen.get(each.device), time.time(), here=each.here, period=period))
            offered, before = offers.get(each.device), told.get(each.device, ("", False))
            region = offered.offer.region if offered is not None else before[0]
            await self.journal.tell(each.device, region, leaving=each.leaving if each.here else before[1])
            if prove and not each.here:
                await self.journal.miss(each.device, now)
        # 2
        for each in looks:
            await self._lost(each, held[each.device], now)
        # 3
        await self._look_at_bonds({row.operator for rows in held.values() for row in rows})
        paid = await at_most(AT_ONCE, looks, lambda each: self._paid(each, authors, pay=pay))
        audits = []
        for each, amount in zip(looks, paid, strict=True):
            why = f"{each.said}; it was not paid: {amount}" if isinstance(amount, SurgeError) else each.said
            wei = 0 if isinstance(amount, SurgeError) else amount
            asked = max(each.asked, len(held[each.device])) if prove else each.asked
            audits.append(Audit(now, each.device, asked, len(each.passed), wei, why, here=each.here))
        if prove:
            await self.journal.note(audits)
        return looks, audits

    async def _lost(self, found: Look, rows: Sequence[DealRow], now: int) -> None:
        """Proofs failed: these shards are lost, and why is written down before that."""
        for row in rows:
            if (failed := found.failed.get(row.id)) is not None:
                await self.journal.fail(Failure(row.id, now, row.device, failed.leaf, failed.why, None))
                await self._storage.journal.put_deals([replace(row, state=LOST)])
                await self.journal.did(Work(now, row.object, row.segment, row.shard, row.device, "lost", failed.why))

    async def _heed(self) -> None:
        """What reads found to be other bytes than those of its shard is lost, and why is written down before that.

        It is not challenged: a read does not tell which of the leaves that a challenge asks for is another.
        """
        journal, now = self._storage.journal, int(time.time())
        await self._storage.note_spoiled()
        spoiled = await journal.spoiled()
        rows = [row for row in await journal.deals(state=KEPT) if row.id in spoiled] if spoiled else []
        for row in rows:
            await self.journal.did(
                Work(now, row.object, row.segment, row.shard, row.device, "lost", f"when it was read, {spoiled[row.id]}")
            )
        await journal.put_deals([replace(row, state=LOST) for row in rows])
        await journal.heeded(spoiled)

    async def _paid(self, found: Look, authors: dict[bytes, Address], *, pay: bool) -> int:
        if not pay or not found.passed:
            return 0
        usual = await self._storage.fleet.usual()
        rows = [row for row in found.passed if row.starts or usual.allows_keeping(row.price)]
        if dear := len(found.passed) - len(rows):
            found.why = f"another keeper agreed to many times the usual price for {counted(dear, 'shard')}: not paid, and to be moved"
        if not rows:
            return 0
        holder = await self._storage.fleet.holder(found.device)
        return await self._paying.pay(holder, rows, authors, int(time.time()))

    async def _look_at_bonds(self, operators: Collection[Address]) -> None:
        """Whether what open challenges may hold of an operator's bond covers a pledge."""
        ledger, penalty = await self._storage.client.ledger(), await self._storage.penalty()
        for operator in operators:
            try:
                pool = await ledger.bonds.pool(operator)
            except SurgeError as error:
                log.info("the bond of %s is not known now: %s", operator, error)
                continue
            self._backed[operator] = pool.bond // HELD_PART >= penalty and pool.bond - pool.reserved >= penalty

    async def _sight(self) -> Sight:
        """Devices as they are after the last look."""
        storage, period = self._storage, await self._storage.period()
        seen, told = await devices_seen(storage.journal), await self.journal.told()
        held = await storage.journal.holding()
        regions: dict[str, list[bool]] = {}
        for device in held & seen.keys():
            if keeping.presence(seen[device], period) is not Presence.GONE:
                regions.setdefault(told.get(device, ("", False))[0], []).append(seen[device].silent > 0)
        presence = {}
        for device in seen:
            region, leaving = told.get(device, ("", False))
            away = regions.get(region, [])
            presence[device] = keeping.presence(seen[device], period, sum(away) / len(away) if len(away) > 1 else 0.0, leaving=leaving)
        bad = {device for device, how in presence.items() if how is not Presence.HERE}
        usable = [
            replace(each, standing=each.standing if self._backed.get(each.operator, True) else UNBACKED)
            for each in await candidates(storage, None)
            if each.device not in bad
        ]
        return Sight(presence, usable, await storage.fleet.usual())

    # How it stands

    async def named(self, works: Sequence[Work]) -> list[Work]:
        """The same works, with what their objects are called; what they were called here, where their names are gone or not told."""
        names = {row.id: row.name for row in await self._storage.journal.objects()}
        here = await self._storage.book.here()
        names |= {entry.keys.object: name for name, entry in here.items() if entry.keys is not None}
        return [replace(each, name=names.get(each.object, "")) for each in works]

    async def status(self) -> list[Kept]:
        """How objects are kept, as far as it was seen last. Asks no holder."""
        await self._storage.note_spoiled()
        sight, found, spoiled = await self._sight(), [], await self._storage.journal.spoiled()
        for charge in await self.charges():
            if charge.expires and charge.expires <= time.time():
                continue
            rows = [row for row in await self._storage.journal.deals(object=charge.keys.object, state=KEPT) if row.id not in spoiled]
            kept = _kept(charge, rows, sight, await self.journal.spent(charge.keys.object))
            known = await self._storage.journal.objects(id=charge.keys.object)
            found.append(kept if known else replace(kept, sound=0, here=0, danger="unseen"))
        return found


def _kept(charge: Charge, rows: Sequence[DealRow], sight: Sight, spent: int) -> Kept:
    header = charge.header
    segments = header.layout.segments
    gone = {device for device, how in sight.presence.items() if how is Presence.GONE}
    away = {device for device, how in sight.presence.items() if how in (Presence.AWAY, Presence.GONE)}
    sound, here = [0] * segments, [0] * segments
    for row in rows:
        sound[row.segment] += row.device not in gone
        here[row.segment] += row.device not in away
    least, there = min(sound, default=header.n), min(here, default=header.n)
    due = repair.is_due(least, header.n, keeping.threshold(header.k, header.n))
    danger = "none" if least >= header.n else "waiting"
    if due:
        danger = "repair" if there >= header.k else "endangered"
    elif there < header.k:
        danger = "unreadable"
    ends = [row.until for row in rows if row.until]
    pledged, now = min(ends, default=0), time.time()
    over = sum(each < now for each in ends)
    return Kept(charge.name, header.size, header.k, header.n, least, there, danger, pledged, charge.expires, spent, len(ends), over)
