"""Letting go of shards that nothing stands for any more: of what was removed or replaced, and of puts that were given up.

What is to go is on disk before its name goes, so that a program that ends in between, or a holder that is away, leaves nothing behind that
is paid for: the next put or removal takes it up.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from surge.buyer.accounts import Lease
from surge.core import canonical
from surge.core.storage.catalogue import Keys, keys_of
from surge.core.storage.header import Header
from surge.core.storage.pledges import Release
from surge.core.types import Address
from surge.errors import SurgeError
from surge.storage.client import Storage
from surge.storage.fleet import soon
from surge.storage.holder import Shard
from surge.storage.journal import DROPPED, GONE, KEPT, LOST, OPENING, PUTTING, STORED, DealRow, ObjectRow
from surge.wallet import KeySigner

log = logging.getLogger("surge.storage")

ABANDONED_SECONDS: Final = 7 * 86_400
"""A put that nobody goes on with is given up after so long."""


async def release(storage: Storage, keys: Keys, deals: Sequence[DealRow]) -> int:
    """Have holders drop shards; how many signed that they did. Those that are away drop them when they are not paid."""
    signer = KeySigner(keys.map)

    async def drop(deal: DealRow) -> bool:
        holder = await storage.fleet.holder(deal.device)
        signature = signer.sign(Release(deal.id).digest(storage.domain))
        receipt = await holder.drop(Shard(deal.id, deal.root, deal.size), signature)
        await storage.journal.put_deals([replace(deal, state=DROPPED)])
        return receipt is not None

    answers: list[tuple[DealRow, bool | SurgeError]] = []
    asked, heard = Counter(deal.device for deal in deals), Counter[Address]()

    def only_silent_left() -> bool:
        for deal, _ in answers[heard.total() :]:
            heard[deal.device] += 1
        waiting = {device for device, count in asked.items() if heard[device] < count}
        return all(storage.fleet.is_shunned(each) for each in waiting) or (bool(heard) and not any(heard[each] for each in waiting))

    await soon(storage.fleet, deals, _device, drop, answers, only_silent_left)
    came = {deal.id: answer for deal, answer in answers}
    for deal in deals:
        answer = came.get(deal.id)
        if not isinstance(answer, bool):
            log.info("%s was not told to drop a shard: %s", deal.device, answer or "it says nothing")
            await storage.journal.put_deals([replace(deal, state=LOST)])
    return sum(answer is True for _, answer in answers)


def _device(deal: DealRow) -> Address:
    return deal.device


async def let_go(storage: Storage, keys: Keys, header: Header) -> int:
    """Have the holders of an object drop its shards, and forget its keys; how many signed that they did."""
    deals = await storage.journal.deals(object=keys.object)
    dropped = await release(storage, keys, [deal for deal in deals if deal.state in (OPENING, KEPT)])
    for row in await storage.journal.objects(id=keys.object):
        empty = canonical.encode([keys.object, bytes(32), bytes(32), b"", keys.author])  # the keys were here too
        await storage.journal.put_object(replace(row, state=GONE, keys=empty))
    await storage.journal.stays(keys.object)
    return dropped


async def tidy(storage: Storage) -> None:
    """Let go of what was to go and did not, and of puts that were given up. What cannot be done now is done another time."""
    named = {entry.keys.object for entry in (await storage.book.here()).values() if entry.keys is not None}
    going = await storage.journal.leaving()
    for identity in going & named:
        await storage.journal.stays(identity)
    rows = [row for row in await storage.journal.objects() if row.state != GONE]
    over = [row for row in rows if row.id not in named and (row.id in going or _is_given_up(row, rows))]
    for row in over:
        lease = Lease(storage.leases, row.id)
        if not lease.held:  # it is being put
            continue
        try:
            await let_go(storage, keys_of(canonical.decode(row.keys)), Header(row.size))
        except SurgeError as error:
            log.info("what is left of %r goes another time: %s", row.name, error)
        finally:
            done_with(storage, lease, row.id)


def _is_given_up(row: ObjectRow, rows: Sequence[ObjectRow]) -> bool:
    """Whether nobody goes on with a put: it was of bytes in memory, its source was put again since as something else, or it is long ago."""
    if row.state != PUTTING:
        return False
    same = [each for each in rows if (each.source, each.name) == (row.source, row.name) and each.id != row.id]
    later = any(each.created > row.created or (each.state == STORED and each.created == row.created) for each in same)
    return not row.source or later or row.created < time.time() - ABANDONED_SECONDS


def done_with(storage: Storage, lease: Lease, identity: bytes) -> None:
    """An object is put no more by this program."""
    (storage.leases / f"{identity.hex()}.lock").unlink(missing_ok=True)
    lease.release()


__all__ = ["done_with", "let_go", "release", "tidy"]
