"""Repairing: what `core.storage.repair` decides is done here. Shards are rebuilt out of any k others, or copied from holders that leave.

Nothing is opened: the mask secret takes masks off and puts new ones on, and what is under them stays sealed. Before anything is asked for,
the new deal is on disk with the root of what it is to hold; the same deal and bytes give the same shard, so a keeper that was killed goes
on with it and pays for its way once. The map is written when an object is mended.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from surge.buyer.calls import Refused
from surge.core.pricing import transfer_amount
from surge.core.storage import keeping, repair
from surge.core.storage.asking import Usual
from surge.core.storage.map import Segment as MapSegment
from surge.core.storage.masks import Mask, Place, mask_key
from surge.core.storage.placement import PRIOR_UPTIME, Candidate
from surge.core.storage.pledges import Release
from surge.core.storage.repair import Move, Presence, Repair
from surge.core.types import Address
from surge.errors import InternalFault, SurgeError, Unavailable
from surge.storage.charges import Charge
from surge.storage.client import Storage
from surge.storage.coding import CodedShard, moved, rebuilt
from surge.storage.deals import FOREVER, term
from surge.storage.holder import Shard as HeldShard
from surge.storage.journal import DROPPED, KEPT, LOST, OPENING, DealRow
from surge.storage.keeper_journal import KeeperJournal, Work
from surge.storage.keeper_maps import View, view
from surge.storage.putting import bring
from surge.storage.reading import shards_of, sources, whole_fragments, whole_shard
from surge.wallet import KeySigner

log = logging.getLogger("surge.storage")

MOST_DEARER: Final = 4
"""A new holder may ask for so many times what the dearest one of the segment gets."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Holders, as they are now."""

    presence: Mapping[Address, Presence]
    """How devices are that hold something."""
    candidates: Sequence[Candidate]
    """Devices that may take shards."""
    usual: Usual
    """What is usually asked: what another keeper placed for many times that goes to a new place."""


Lost = Mapping[tuple[int, int], DealRow]
"""The deals of an object that were lost last, by segment and shard."""


def segments_of(seen: View, sight: Sight, lost: Lost) -> list[repair.Segment]:
    """An object's segments as repairs are planned by."""
    charge, there = seen.charge, {each.device: each for each in sight.candidates}
    found = []
    for page in seen.pages:
        for number, segment in enumerate(page.segments, page.first):
            shards = []
            for index, shard in enumerate(segment.shards):
                if (placed := shard.placed) is not None:
                    known = there.get(placed.device) or Candidate(placed.device, placed.operator, uptime=PRIOR_UPTIME)
                    presence = sight.presence.get(placed.device, Presence.AWAY)
                    if presence is Presence.HERE and not sight.usual.allows_keeping(placed.price):
                        presence = Presence.LEAVING
                    shards.append(repair.Shard(index, known, presence))
                elif (row := lost.get((number, index))) is not None:
                    shards.append(repair.Shard(index, Candidate(row.device, row.operator), Presence.GONE))
            layout = segment.layout
            key = charge.keys.mask + number.to_bytes(4, "big")
            threshold = keeping.threshold(layout.k, layout.n)
            found.append(repair.Segment(key, layout.k, layout.n, threshold, layout.shard, tuple(shards)))
    return found


@dataclass(slots=True)
class Cost:
    """What is done, and what it costs so far."""

    what: str = ""
    why: str = ""
    read: int = 0
    """Bytes."""
    written: int = 0
    """Bytes."""
    wei: int = 0
    shards: Mapping[int, memoryview] = field(default_factory=dict)
    """What was read, unmasked, by index."""


class _NotGiven(Unavailable):
    """A holder that leaves does not give its shard: it is not for the new one to answer for."""


class Repairing:
    """Mends objects of one keeper."""

    def __init__(self, storage: Storage, journal: KeeperJournal) -> None:
        self._storage = storage
        self._journal = journal

    async def mend(self, seen: View, sight: Sight, round_number: int, spared: frozenset[bytes] = frozenset()) -> list[Work]:
        """Do what an object needs, the most endangered segment first; what was done. What could not be done is done in another round.

        `spared` are deals that are challenged: they are not released to make way.
        """
        planned = repair.plan(segments_of(seen, sight, await self.lost(seen.charge)), sight.candidates, round_number)
        done: list[Work] = []
        for each in planned:
            number = int.from_bytes(each.segment.key[-4:], "big")
            done += await self._segment(seen, number, each, sight, spared)
        if done:
            here = [device for device, how in sight.presence.items() if how in (Presence.HERE, Presence.LEAVING)]
            await view(self._storage, seen.charge, here)
        return done

    async def lost(self, charge: Charge) -> Lost:
        """What was lost of an object, and may still be where it was."""
        rows = await self._storage.journal.deals(object=charge.keys.object, state=LOST)
        return {(row.segment, row.shard): row for row in sorted(rows, key=lambda row: row.starts)}

    async def _segment(self, seen: View, number: int, planned: Repair, sight: Sight, spared: frozenset[bytes]) -> list[Work]:
        """Mend a segment.

        1. Moves that were begun before are gone on with; those that cannot be made are left before anything is read, and paid, for them.
        2. What is rebuilt is rebuilt out of shards that are read once.
        3. Each shard goes to its new place; where it was is told later.
        """
        charge = seen.charge
        page = next(page for page in seen.pages if page.first <= number < page.first + len(page.segments))
        segment = page.segments[number - page.first]
        dearest = max((shard.placed.price for shard in segment.shards if shard.placed is not None), default=0)
        lost = await self._storage.journal.deals(object=charge.keys.object, segment=number, state=LOST)
        challenged = {row.device for row in lost if row.id in spared}
        done: list[Work] = []
        moves: list[Move] = []
        for move in await self._going_on(charge, number, planned, sight):  # 1
            why = ""
            if dearest and move.to.price > MOST_DEARER * dearest:
                why = f"it asks for {move.to.price} wei for a GB-month, and others get {dearest}"
            elif move.to.device in challenged:
                why = "another shard of the segment is challenged there, and is not released before that is over"
            if why:
                done.append(await self._did(charge, number, move.index, move.to.device, Cost("failed", why)))
            else:
                moves.append(move)
        try:
            rebuilds = any(not move.copied for move in moves)
            cost = await self._read(charge, segment, number, planned) if rebuilds else Cost()  # 2
        except SurgeError as error:
            return [*done, await self._did(charge, number, 0, Address(""), Cost("failed", f"too few shards can be read: {error}"))]
        for move in moves:  # 3
            done.append(await self._move(charge, segment, number, move, cost))
            cost.read = cost.wei = 0  # what was read for all of them is told with the first
        return done

    async def _move(self, charge: Charge, segment: MapSegment, number: int, move: Move, cost: Cost) -> Work:
        keys, storage, device = charge.keys, self._storage, move.to.device
        begun = await self._begun(charge, number, move)
        deal = begun or await self._deal(charge, number, move, segment)
        place = Place(keys.object, number, move.index, device, deal.id)
        try:
            await self._make_way(charge, number, device)
            if move.copied:
                shard = await self._copied(charge, segment, number, move.index, place, cost)
            else:
                check = segment.shards[move.index].check
                shard = await asyncio.to_thread(rebuilt, segment.layout, keys.mask, place, check, whole_fragments(cost.shards))
            deal = replace(deal, root=shard.root, digest=shard.check)
            await storage.journal.put_deals([deal])
            try:
                await bring(storage, keys, deal, shard)
            except Refused as error:
                if begun is None or error.code != "invalid":
                    raise
                deal = await self._anew(charge, number, move, segment, deal, shard)
            wei = cost.wei + await self._price(device, deal.size)
        except InternalFault:
            raise
        except SurgeError as error:
            if not isinstance(error, _NotGiven):
                storage.fleet.failed(device, error)
            if not isinstance(error, Unavailable):
                await storage.journal.put_deals([replace(deal, state=LOST)])
            return await self._did(charge, number, move.index, device, Cost("failed", str(error)))
        await self._give_up(charge, number, move.index, deal.id)
        why = "its holder leaves" if move.copied else "its holder is gone, or could not prove it"
        why = "it was nowhere" if segment.shards[move.index].placed is None and not move.copied else why
        did = Cost("moved" if move.copied else "rebuilt", why, cost.read, deal.size, wei)
        return await self._did(charge, number, move.index, device, did)

    async def _going_on(self, charge: Charge, number: int, planned: Repair, sight: Sight) -> list[Move]:
        """The moves, each to where it was begun before if it can still go there."""
        rows = await self._storage.journal.deals(object=charge.keys.object, segment=number, state=OPENING)
        begun, there = {row.shard: row for row in rows}, {each.device: each for each in sight.candidates}
        kept = {each.holder.operator for each in planned.segment.shards if each.presence is not Presence.GONE}
        used = kept | {move.to.operator for move in planned.moves}
        moves = []
        for move in planned.moves:
            row = begun.get(move.index)
            if row is not None and row.device in there and row.operator not in used:
                used.add(row.operator)
                move = replace(move, to=there[row.device])
            moves.append(move)
        return moves

    async def _read(self, charge: Charge, segment: MapSegment, number: int, planned: Repair) -> Cost:
        """Any k shards where something is rebuilt, and what reading them cost."""
        if not planned.sources:
            return Cost()
        found = sources(charge.keys, segment, number)
        shards = await shards_of(self._storage.fleet, segment, found, charge.keys)
        size = segment.layout.shard
        wei = sum([await self._price(each.placed.device, size) for each in found if each.index in shards])
        return Cost(read=size * len(shards), wei=wei, shards=shards)

    async def _copied(self, charge: Charge, segment: MapSegment, number: int, index: int, place: Place, cost: Cost) -> CodedShard:
        """A shard of a holder that leaves, masked anew. Raises `_NotGiven`."""
        source = next(each for each in sources(charge.keys, segment, number) if each.index == index)
        try:
            plain = await whole_shard(self._storage.fleet, source, segment.layout.shard, charge.keys)
        except SurgeError as error:
            self._storage.fleet.failed(source.placed.device, error)
            raise _NotGiven(f"its holder, which leaves, does not give it: {error}") from error
        cost.read += len(plain)
        cost.wei += await self._price(source.placed.device, len(plain))

        def again() -> CodedShard:
            masked = Mask(mask_key(charge.keys.mask, source.place)).apply(plain)
            return moved(masked, charge.keys.mask, source.place, place)

        return await asyncio.to_thread(again)

    async def _price(self, device: Address, size: int) -> int:
        """What moving so many bytes there costs."""
        return transfer_amount((await self._storage.fleet.holder(device)).peer.terms.prices, size)

    async def _begun(self, charge: Charge, number: int, move: Move) -> DealRow | None:
        """The deal that was begun there before, where a keeper or a put was cut off."""
        rows = await self._storage.journal.deals(object=charge.keys.object, segment=number, device=move.to.device, state=OPENING)
        return next((each for each in reversed(rows) if each.shard == move.index), None)

    async def _anew(self, charge: Charge, number: int, move: Move, segment: MapSegment, old: DealRow, shard: CodedShard) -> DealRow:
        """Bring a shard by a new deal: the one that was begun before is not known there, and begins too long ago by now."""
        storage, device = self._storage, move.to.device
        await storage.journal.put_deals([replace(old, state=LOST)])
        await self._make_way(charge, number, device)
        deal = await self._deal(charge, number, move, segment)
        place = Place(charge.keys.object, number, move.index, device, deal.id)
        shard = await asyncio.to_thread(moved, shard.data, charge.keys.mask, shard.place, place)
        deal = replace(deal, root=shard.root, digest=shard.check)
        await storage.journal.put_deals([deal])
        try:
            return await bring(storage, charge.keys, deal, shard)
        except SurgeError as error:
            if not isinstance(error, Unavailable):
                await storage.journal.put_deals([replace(deal, state=LOST)])
            raise

    async def _deal(self, charge: Charge, number: int, move: Move, segment: MapSegment) -> DealRow:
        """A new deal."""
        storage, now = self._storage, int(time.time())
        period = await storage.period()
        seconds = max(period, charge.expires - now) if charge.expires else FOREVER
        deals = term(now, seconds, period, await storage.penalty())
        return DealRow(
            id=secrets.token_bytes(32),
            object=charge.keys.object,
            segment=number,
            shard=move.index,
            device=move.to.device,
            operator=move.to.operator,
            root=b"",
            digest=b"",
            size=segment.layout.shard,
            price=move.to.price,
            penalty=deals.penalty,
            starts=deals.starts,
            until=deals.until,
            ends=deals.ends,
            paid=deals.starts,
            signature=None,
            state=OPENING,
        )

    async def _give_up(self, charge: Charge, number: int, index: int, instead: bytes) -> None:
        """A shard is in a new place: where it was, and where else it was begun, it is not wanted any more."""
        rows = await self._storage.journal.deals(object=charge.keys.object, segment=number)
        old = [each for each in rows if each.shard == index and each.id != instead and each.state in (KEPT, OPENING)]
        await self._storage.journal.put_deals([replace(each, state=LOST) for each in old])

    async def _did(self, charge: Charge, segment: int, shard: int, device: Address, cost: Cost) -> Work:
        now = int(time.time())
        work = Work(now, charge.keys.object, segment, shard, device, cost.what, cost.why, cost.read, cost.written, cost.wei)
        log.info("%s: shard %d of segment %d %s at %s: %s", charge.name, shard, segment, cost.what, device, cost.why)
        await self._journal.did(work)
        return work

    # What is not wanted any more

    async def _make_way(self, charge: Charge, number: int, device: Address) -> None:
        """A device that lost its shard of a segment takes another one once it has dropped that."""
        for row in await self._storage.journal.deals(object=charge.keys.object, segment=number, device=device, state=LOST):
            await self._drop(charge, row, "to make way for another shard of the segment")

    async def _drop(self, charge: Charge, row: DealRow, why: str) -> bool:
        """Whether it has it no more; what it did not have anyway is not told."""
        there = False
        try:
            holder = await self._storage.fleet.holder(row.device)
            release = KeySigner(charge.keys.map).sign(Release(row.id).digest(self._storage.domain))
            there = await holder.drop(HeldShard(row.id, row.root, row.size), release) is not None
        except SurgeError as error:
            if not isinstance(error, Refused) or error.code != "missing":
                log.info("%s was not told to drop a shard: %s", row.device, error)
                return False
        await self._storage.journal.put_deals([replace(row, state=DROPPED)])
        if there:
            await self._did(charge, row.segment, row.shard, row.device, Cost("dropped", why))
        return True

    async def release(self, charge: Charge, sight: Sight, spared: frozenset[bytes]) -> int:
        """Tell holders that are there to drop what was lost and is in another place by now; how many did. `spared` are still challenged."""
        rows = await self._storage.journal.deals(object=charge.keys.object)
        kept = {(each.segment, each.shard) for each in rows if each.state == KEPT}
        dropped = 0
        for row in rows:
            here = sight.presence.get(row.device) in (Presence.HERE, Presence.LEAVING)
            if row.state == LOST and (row.segment, row.shard) in kept and row.id not in spared and here:
                dropped += await self._drop(charge, row, "it is in another place")
        return dropped
