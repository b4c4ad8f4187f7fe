"""Challenging on the ledger: a holder that pledged a shard and does not prove it has to answer there, or loses a part of its bond.

Silence off the chain proves nothing; silence on it does. A challenge asks for the leaf that was not proved, costs a fee that comes back
when nobody answers, and is settled after its deadline.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from surge.core.storage.layout import PROOF_LEAF
from surge.errors import InvalidInput, SurgeError
from surge.storage.charges import Charge
from surge.storage.client import Storage
from surge.storage.deals import pledge_of
from surge.storage.journal import KEPT, LOST, DealRow
from surge.storage.keeper_journal import Failure, KeeperJournal, Work, devices_seen

log = logging.getLogger("surge.storage")


class Challenging:
    """Challenges for one keeper's wallet, which pays the fees."""

    def __init__(self, storage: Storage, journal: KeeperJournal) -> None:
        self._storage = storage
        self._journal = journal

    async def go_on(self, charges: Sequence[Charge]) -> list[Work]:
        """Challenge what failed or is silent and whose pledge holds, and settle what is over; what was done."""
        return [*await self.open(charges), *await self.settle()]

    async def spared(self, *, wanted: bool) -> frozenset[bytes]:
        """Deals that are not released, for they are challenged; or are to be, if that is `wanted`, while their pledges hold."""
        failures, now = await self._journal.failures(), int(time.time())
        rows = {row.id: row for row in await self._storage.journal.deals(state=LOST)}
        waiting = {deal for deal, row in rows.items() if deal in failures and row.signature is not None and row.until >= now}
        return frozenset({deal for deal, each in failures.items() if each.challenge is not None} | (waiting if wanted else set()))

    async def open(self, charges: Sequence[Charge]) -> list[Work]:
        """Challenge each deal of these objects whose proof failed, and one of each silent device, whose pledges hold now.

        One in a period, drawn by lot, is enough of a device that is silent: it answers for that, or it is found out; and each answer
        brings it the fee. A leaf that was shown is not asked for again.
        """
        ledger, now = await self._storage.client.ledger(), int(time.time())
        failures, seen, works = await self._journal.failures(), await devices_seen(self._storage.journal), []
        asked = {each.device for each in failures.values() if each.challenge is not None}
        asked |= await self._journal.answered(now - await self._storage.period())
        rows = [(charge, row) for charge in charges for row in await self._storage.journal.deals(object=charge.keys.object)]
        secrets.SystemRandom().shuffle(rows)  # who is silent does not know which shard it needs
        for charge, row in rows:
            failure = failures.get(row.id)
            silent = row.state == KEPT and row.device in seen and seen[row.device].silent > 0 and row.device not in asked
            failed = row.state == LOST and failure is not None and failure.challenge is None
            if row.signature is None or not row.starts <= now <= row.until or not (silent or failed):
                continue
            asked.add(row.device)
            leaf = failure.leaf if failure is not None else secrets.randbelow(-(-row.size // PROOF_LEAF))
            pledge = pledge_of(row, self._storage.owner, charge.keys.author)
            try:
                opened = await ledger.challenges.open(self._storage.wallet, pledge, row.signature, leaf)
            except SurgeError as error:
                works.append(await self._did(row, "failed", f"it cannot be challenged: {error}"))
                continue
            why = failure.why if failure is not None else "it is silent"
            await self._journal.fail(Failure(row.id, now, row.device, leaf, why, opened.number))
            works.append(await self._did(row, "challenged", f"{why}; challenge {opened.number} is to be answered before {opened.deadline}"))
        return works

    async def settle(self) -> list[Work]:
        """Settle challenges whose deadline is over; those that were answered are closed."""
        ledger, works = await self._storage.client.ledger(), []
        rows = {row.id: row for row in await self._storage.journal.deals()}
        for deal, failure in (await self._journal.failures()).items():
            if failure.challenge is None or deal not in rows:
                continue
            try:
                challenge = await ledger.challenges.about(failure.challenge)
                if challenge is None:
                    raise InvalidInput(f"there is no challenge {failure.challenge}", number=failure.challenge)
                if not await ledger.challenges.is_open(challenge):
                    works.append(await self._did(rows[deal], "settled", f"challenge {challenge.number} was answered, or settled by others"))
                    if rows[deal].state == KEPT:
                        await self._journal.answer(failure.device, int(time.time()))
                    await self._journal.clear(deal, answered=challenge.index == failure.leaf)
                    continue
                if time.time() <= challenge.deadline:
                    continue
                slashed = await ledger.challenges.settle(self._storage.wallet, challenge)
                collected = await ledger.challenges.collect(self._storage.wallet)
            except SurgeError as error:
                log.info("challenge %d is settled another time: %s", failure.challenge, error)
                continue
            why = f"nobody answered challenge {challenge.number}: {slashed} wei were slashed, {collected} collected"
            works.append(await self._did(rows[deal], "settled", why, slashed))
            await self._storage.journal.put_deals([replace(rows[deal], state=LOST, signature=None)])
            await self._journal.clear(deal, answered=False)
        return works

    async def _did(self, row: DealRow, what: str, why: str, wei: int = 0) -> Work:
        work = Work(int(time.time()), row.object, row.segment, row.shard, row.device, what, why, wei=wei)
        await self._journal.did(work)
        return work
