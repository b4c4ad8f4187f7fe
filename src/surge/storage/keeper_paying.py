"""Paying holders for what they proved, period by period.

A period is on disk before a holder is asked, so that after a kill the same is asked again, which the holder answers as it did before: it is
paid once. Deals that did not prove are in no period.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from surge.buyer.calls import Refused
from surge.core.messages.storage import MOST_RENEWED, Renew
from surge.core.storage import keeping
from surge.core.storage.accounts import Held, total
from surge.core.storage.pledges import MAX_PERIODS
from surge.core.types import Address
from surge.errors import PeerFault
from surge.storage.client import Storage
from surge.storage.deals import pledge_of
from surge.storage.holder import Holder
from surge.storage.journal import DealRow
from surge.storage.keeper_journal import KeeperJournal

log = logging.getLogger("surge.storage")

CLOCKS = 290
"""Seconds before now that a period may end at the earliest: a holder takes 300, and time passes until it reads that."""

Authors = Mapping[bytes, Address]
"""Who may release the deals of an object: the address of its map key."""


class Paying:
    """Pays holders out of one wallet. `pay` is one period of one device."""

    def __init__(self, storage: Storage, journal: KeeperJournal) -> None:
        self._storage = storage
        self._journal = journal

    async def pay(self, holder: Holder, rows: Sequence[DealRow], authors: Authors, now: int) -> int:
        """Pay deals that were proved just now, and have them pledged on; the wei that were paid. Raises what kept it from that."""
        paid = await self.restate(holder, authors)
        period, missed = await self._storage.period(), await self._journal.missed(holder.device)
        fresh = {row.id: row for row in await self._storage.journal.deals(device=holder.device)}
        groups: dict[tuple[int, ...], list[DealRow]] = {}
        for row in (fresh[each.id] for each in rows):
            times = tuple(keeping.unpaid_since(row.paid, missed, ends_at(row, now), period))
            groups.setdefault((ends_at(row, now), pledged_until(row, now, period), *times), []).append(row)
        for (until, pledged, *later), group in groups.items():
            for first in range(0, len(group), MOST_RENEWED):
                paid += await self._group(holder, group[first : first + MOST_RENEWED], until, pledged, later, authors)
        return paid

    async def _group(
        self, holder: Holder, rows: Sequence[DealRow], until: int, pledged: int, times: Sequence[int], authors: Authors
    ) -> int:
        for since in times:
            helds = [Held(row.id, row.size, row.price, min(max(since, row.paid), until), until) for row in rows]
            asked = Renew(holder.renewals(), since, until, pledged, [row.id for row in rows])
            await self._journal.ask(holder.peer.terms.channel, holder.device, asked, helds)
            try:
                return await self._renew(holder, asked, helds, authors)
            except Refused as refused:
                await self._journal.settle(holder.peer.terms.channel, asked.period)
                if refused.code != "price" or since == times[-1]:
                    raise
                log.info("%s wants to be paid from before %d: %s", holder.device, since, refused)
        return 0

    async def restate(self, holder: Holder, authors: Authors) -> int:
        """Ask again for periods whose answers were not written down; the wei that they were paid with."""
        paid, channel = 0, holder.peer.terms.channel
        for asked, helds in await self._journal.asked(channel):
            if asked.period < holder.renewals():  # it was paid, and only what follows was not written down
                await self._keep(holder, asked, [(held, None) for held in helds], authors)
                continue
            try:
                paid += await self._renew(holder, asked, helds, authors)
            except Refused as refused:  # it was never asked, or long ago: nothing was billed
                log.info("%s does not answer a period of before: %s", holder.device, refused)
                await self._journal.settle(channel, asked.period)
        return paid

    async def _renew(self, holder: Holder, asked: Renew, helds: Sequence[Held], authors: Authors) -> int:
        renewed = await holder.renew(helds, asked)
        await self._keep(holder, asked, list(renewed), authors)
        return total(held for held, _ in renewed)

    async def _keep(self, holder: Holder, asked: Renew, renewed: Sequence[tuple[Held, bytes | None]], authors: Authors) -> None:
        """Write down what was paid, and the new pledges. Raises `PeerFault` for one that is not signed."""
        storage = self._storage
        rows = {row.id: row for row in await storage.journal.deals(device=holder.device)}
        kept, costs, fault = [], [], None
        for held, signature in renewed:
            if (row := rows.get(held.deal)) is None:
                continue
            costs.append((row.object, held))
            row = replace(row, paid=max(row.paid, held.until))
            if signature is not None:
                later = replace(row, starts=asked.until, until=asked.pledged, ends=max(row.ends, asked.pledged), signature=signature)
                try:
                    if row.object in authors:
                        pledge_of(later, storage.owner, authors[row.object]).verify(storage.domain, signature)
                    row = later
                except PeerFault as error:
                    fault = error
            kept.append(row)
        await storage.journal.put_deals(kept)
        await self._journal.settle(holder.peer.terms.channel, asked.period, costs)
        if fault is not None:
            raise fault


def ends_at(row: DealRow, now: int) -> int:
    """Until when a deal is paid now: not beyond its term, as far as the clocks allow that."""
    return max(min(now, row.ends), now - CLOCKS)


def pledged_until(row: DealRow, now: int, period: int) -> int:
    """Until when it is to be pledged: the period that follows, and the next; no longer than its term."""
    until = ends_at(row, now)
    return max(until + 1, min(until + MAX_PERIODS * period, row.ends))
