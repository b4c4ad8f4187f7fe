"""The storage service: a device lends disk, shows that it has what it was given, and is paid for that.

`core.storage.deals` says what a holder agrees to, `shelf` has the shards, `recorder` the records. Here calls become orders, and what was
done becomes receipts. A device that leaves takes no new deals, and stays until those it has were moved or ran out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surge.core import canonical
from surge.core.eip712 import Domain, challenges_domain
from surge.core.messages import encode_body
from surge.core.messages import storage as m
from surge.core.messages.fields import wei
from surge.core.network import NetworkFile
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.signing import Signer
from surge.core.storage import accounts, deals
from surge.core.storage.accounts import HOUR_SECONDS
from surge.core.storage.deals import Deal, NotAgreed, Policy
from surge.core.storage.pledges import Pledge, Release
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError
from surge.provider.outbox import Link
from surge.provider.service import Claim, Context, Description, Order, Refused, Reply, Weight
from surge.storage.orders import StorageOrder
from surge.storage.permitting import Permitting
from surge.storage.proving import Proving
from surge.storage.recorder import MOST_OF_GUEST, Recorder
from surge.storage.shelf import SPARE, Shelf
from surge.storage.tolls import Tolls

log = logging.getLogger("surge.storage")

SERVICE = "storage"
"""What offers and calls name the service by."""

LOOK_SECONDS = 20.0
"""Between looks for deals that are over."""

MOST_PROMISED = 16
"""Windows of a channel's traffic for which room is kept before the bytes come: for a newcomer a gigabyte, four of the largest shards."""

REMEMBERED_SECONDS = 90 * 86400
"""For so long a holder knows that it dropped a shard, and keeps records of those who have none here."""


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """What a device lends of its disk."""

    room: int
    """Bytes."""
    price: int
    """Wei for 10^9 bytes over 30 days."""
    penalty: int = 10**19
    """Wei: the most it pledges for one shard, 10 SURGE. The ledger holds a part of the operator's bond at most, whatever was pledged."""
    leaving: bool = False
    """Whether it leaves."""
    spare: int = SPARE
    """Bytes of the disk that are left free."""
    grace: int = HOUR_SECONDS
    """Seconds that a shard stays at least after its pledge: no less than a challenge on the ledger may wait for its answer."""


def pledge_domain(network: NetworkFile) -> Domain:
    """Where pledges hold: the network's contract for challenges; on a network without one they bind nobody."""
    return network.challenges_domain if network.challenges else challenges_domain(network.chain_id, Address("0x" + "00" * 20))


class Storage:
    """The service. `start` opens what is on disk; `gone` is set once a device that leaves has nothing left.

    Args:
        folder: where shards and records lie; one process uses it.
        config: what is lent.
        device: signs pledges.
        operator: whose bond answers for them.
        domain: that of pledges: the contract that challenges go to.
        channels: that of channels, in which buyers permit others to read; without it nobody reads by permit.
        clock: the time, Unix seconds.
    """

    name = SERVICE

    def __init__(
        self,
        folder: Path,
        config: StorageConfig,
        *,
        device: Signer,
        operator: Address,
        domain: Domain,
        channels: Domain | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.gone = asyncio.Event()
        self.shelf = Shelf(folder, config.room, config.spare)
        self.recorder = Recorder(self.shelf)
        self._proving = Proving(self.shelf, clock)
        self._permitting = None if channels is None else Permitting(self.shelf, channels, clock)
        self._device, self._operator, self._domain, self._clock = device, operator, domain, clock
        self._policy = Policy(config.price, config.penalty, config.leaving)
        self.tolls: Tolls
        self._up = 0
        self._looking: asyncio.Task[None] | None = None

    # The service

    async def start(self) -> None:
        """See `Service`."""
        now = self._now()
        await self.shelf.start(now)
        self.tolls = Tolls(self.shelf.index)
        self._up = now
        self._looking = asyncio.create_task(self._run(), name="looking after shards")

    async def close(self) -> None:
        """See `Service`."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.shelf.close()

    def describe(self) -> Description:
        """See `Service`."""
        return Description(storage=self.config.price, room=0 if self.config.leaving else self.shelf.free())

    async def visit(self, link: Link) -> None:
        """See `Visited`: records are told to everybody, and shards to those who show a permit."""
        shown = await self.recorder.visit(link)
        if shown is not None and self._permitting is not None:
            await self._permitting.visit(link, shown, self.tolls)

    def status(self) -> dict[str, Any]:
        """See `Telling`. `kept`, `free` and `room` are bytes, `earned` wei. Empty before the start."""
        if not self._up:
            return {}
        shards, kept = self.shelf.totals
        return {
            "shards": shards,
            "kept": kept,
            "free": self.shelf.free(),
            "room": self.config.room,
            "leaving": self.config.leaving,
            "earned": self.tolls.earned,
        }

    def _now(self) -> int:
        return int(self._clock())

    async def _run(self) -> None:
        while True:
            try:
                await self.look(self._now())
            except (SurgeError, OSError) as error:
                log.warning("shards cannot be looked after now: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, now: int) -> None:
        """Forget what is over, at `now` in Unix seconds."""
        for deal, came in await self.shelf.expire(now, self.config.grace):
            log.info("deal %s ended: %s", deal.id.hex()[:8], "it was not renewed" if deal.kept else "it was not finished")
            if came:
                self.tolls.given_up(deal.channel, came)
        await self.shelf.sweep(now - REMEMBERED_SECONDS, MOST_OF_GUEST)
        await self.shelf.index.forget_permits(now)
        if self.config.leaving and not self.shelf.totals[0]:
            self.gone.set()

    def ended(self, channels: frozenset[bytes]) -> None:
        """See `Outliving`."""
        if self._permitting is not None:
            self._permitting.forget(channels)

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """See `Service`."""
        self.tolls.answered(receipt, accepted)

    # Shards that come

    async def open(self, asked: m.Open, context: Context) -> Reply:
        """Begin a deal, or go on with it."""
        now, since = self._now(), asked.starts
        deal = Deal(
            asked.deal, context.channel, context.buyer, Address(asked.owner), Address(asked.keeper), asked.root, asked.size, asked.tag,
            wei(asked.price), wei(asked.penalty), since, asked.until, asked.ends, paid=since,
        )  # fmt: skip
        self.tolls.require_room(context.channel, own=1)

        def agree() -> None:
            deals.agree(deal, self._policy, now)
            promised, most = self.shelf.promised(deal.buyer), MOST_PROMISED * self.tolls.of(context.channel).window
            if promised and promised + deal.size > most:
                raise NotAgreed("busy", f"{promised} bytes for which room is kept did not come yet, of at most {most}: send them first")

        return Reply(encode_body(m.Here(await self.shelf.open(deal, agree, now))))

    async def write(self, asked: m.Write, context: Context) -> bytes:
        """The next leaves of a shard."""
        coming = self._coming(asked.deal, context)
        self.tolls.require_room(context.channel, own=coming)
        here = await self.shelf.write(asked.deal, asked.first, asked.data, self._now())
        self.tolls.moved_in(context.channel, len(asked.data))
        return encode_body(m.Here(here))

    def _coming(self, identity: bytes, context: Context) -> int:
        """Bytes that are here of a shard that this buyer sends."""
        coming = self.shelf.coming(identity)
        if coming is None or coming.deal.buyer != context.buyer:
            raise NotAgreed("missing", "no such shard is on its way here: open its deal", deal=identity)
        return coming.here

    async def keep(self, asked: m.Keep, context: Context) -> Reply:
        """A shard is whole: pledge. It is billed the first time."""
        self._deal(asked.deal, context)
        deal = await self.shelf.keep(asked.deal)
        return Reply(encode_body(m.Pledged(self._pledge(deal))), self.tolls.kept(context, deal.root, deal.size))

    def _deal(self, identity: bytes, context: Context) -> Deal:
        """A deal that this buyer pays for or owns. Raises `NotAgreed`."""
        deal = self._named(identity)
        if context.buyer not in (deal.buyer, deal.owner):
            raise NotAgreed("missing", "this shard is not here", deal=identity)
        return deal

    def _named(self, identity: bytes) -> Deal:
        """A deal, for whoever knows its id. Raises `NotAgreed`."""
        deal = self.shelf.index.deal(identity)
        if deal is None:
            raise NotAgreed("missing", "this shard is not here", deal=identity)
        return deal

    def _pledge(self, deal: Deal) -> bytes:
        pledge = Pledge(
            deal.id,
            self._device.address,
            self._operator,
            deal.owner,
            deal.keeper,
            deal.root,
            deal.size,
            deal.since,
            deal.until,
            deal.penalty,
        )
        return self._device.sign(pledge.digest(self._domain))

    # Shards that are read

    async def read(self, asked: m.Read, context: Context) -> bytes:
        """Leaves, for whoever names the deal and pays."""
        self.tolls.require_room(context.channel)
        data, proof = await self.shelf.read(asked.deal, asked.first, asked.count)
        self.tolls.moved_out(context.channel, len(data))
        return encode_body(m.Leaves(data, proof))

    async def bill(self, asked: m.BillReads, context: Context) -> Reply:
        """What was read, by the smaller count."""
        return Reply(b"", self.tolls.bill(context, asked.period, asked.size))

    async def permitted(self, context: Context) -> bytes:
        """What was read and is not billed."""
        return encode_body(m.PermittedRead(self.tolls.of(context.channel).read))

    # Pay

    async def renew(self, asked: m.Renew, context: Context) -> Reply:
        """Pledge deals on, for the receipt over the time that ended; for whoever pays."""
        self.tolls.require_good(context.channel)
        subject = accounts.subject(context.channel, asked.period)
        if context.issued(ReceiptKind.STORAGE, subject):
            raise Refused("invalid", f"period {asked.period} of this channel was renewed before")
        if len(set(asked.deals)) < len(asked.deals):
            raise PeerFault("a renewal names a deal twice")
        now, renewed = self._now(), []
        for identity in asked.deals:
            deal = self._named(identity)
            waiting = (until for each, until in self.shelf.index.waiting(identity) if context.issued(ReceiptKind.STORAGE, each))
            deal = replace(deal, paid=max([deal.paid, *waiting]))
            renewed.append(deals.renewed(deal, asked.since, asked.until, asked.pledged, policy=self._policy, now=now, up=self._up))
        helds = [held for _, held in renewed]
        await self.shelf.index.renewed(subject, [deal for deal, _ in renewed], helds)
        pledged = [replace(deal, since=asked.until, until=asked.pledged) for deal, _ in renewed]
        signatures = await asyncio.to_thread(lambda: list(map(self._pledge, pledged)))
        hours, amount = accounts.byte_hours(helds), accounts.total(helds)
        claim = Claim(ReceiptKind.STORAGE, subject, accounts.result(subject, helds), hours, amount)
        return Reply(encode_body(m.Renewed(signatures, [held.since for held in helds])), claim)

    # Shards that go

    async def drop(self, asked: m.Drop, context: Context) -> Reply:
        """Forget a shard, on its keeper's word."""
        deal = self.shelf.index.deal(asked.deal)
        known = deal or self.shelf.index.released(asked.deal)
        if known is None:
            raise NotAgreed("missing", "this shard is not here", deal=asked.deal)
        Release(asked.deal).verify(self._domain, asked.release, known.keeper)
        if deal is None:
            return Reply(b"")
        self.tolls.given_up(deal.channel, await self.shelf.forget(deal, asked.release, self._now()) or 0)
        if not deal.kept:
            return Reply(b"")
        return Reply(b"", Claim(ReceiptKind.DROPPED, deal.id, deal.root, deal.size, 0))

    async def listed(self, asked: m.ListDeals, context: Context) -> bytes:
        """Deals of this buyer."""
        rows = await asyncio.to_thread(self.shelf.index.listed, context.buyer, asked.after, asked.count)
        return encode_body(m.Listed(rows, self.config.leaving))

    # Calls

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        """See `Service`."""
        if self._permitting is not None:
            self._permitting.knows(context)
        if method == "open":
            opened = m.decode_open(body)
            return StorageOrder(lambda: self.open(opened, context), self.shelf, opened.deal, lasting=False)
        if method == "write":
            written = m.decode_write(body)
            return self._free(lambda: self.write(written, context), written.deal)
        if method == "keep":
            kept = m.decode_keep(body)
            return StorageOrder(lambda: self.keep(kept, context), self.shelf, kept.deal, subject=canonical.digest(["keep", kept.deal]))
        if method == "read":
            read = m.decode_read(body)
            return self._free(lambda: self.read(read, context))
        if method == "permitted":
            m.decode_permitted(body)
            return self._free(lambda: self.permitted(context))
        if method == "bill":
            billed = m.decode_bill_reads(body)
            return StorageOrder(lambda: self.bill(billed, context), self.shelf, subject=accounts.reads(context.channel, billed.period))
        if method == "prove":
            proved = m.decode_prove(body)
            return self._free(lambda: self._prove(proved, context))
        if method == "renew":
            renewed = m.decode_renew(body)
            subject = accounts.subject(context.channel, renewed.period)
            return StorageOrder(lambda: self.renew(renewed, context), self.shelf, subject=subject, weight=Weight.UNIT)
        if method == "drop":
            dropped = m.decode_drop(body)
            return StorageOrder(lambda: self.drop(dropped, context), self.shelf, dropped.deal)
        if method == "list":
            listed = m.decode_list(body)
            return self._free(lambda: self.listed(listed, context))
        if method == "put_record":
            put = m.decode_put_record(body)
            return self._free(lambda: self._put_record(put, context))
        if method == "get_record":
            asked = m.decode_get_record(body)
            return self._free(lambda: self._get_record(asked))
        raise Refused("unknown", f"storage has no method {method!r}")

    async def _put_record(self, asked: m.PutRecord, context: Context) -> bytes:
        return encode_body(await self.recorder.put(asked.record, context.buyer, self._now()))

    async def _prove(self, asked: m.Prove, context: Context) -> bytes:
        return encode_body(await self._proving.prove(asked, context))

    async def _get_record(self, asked: m.GetRecord) -> bytes:
        return encode_body(m.FoundRecord(await asyncio.to_thread(self.recorder.get, Address(asked.author), asked.label)))

    def _free(self, do: Callable[[], Awaitable[bytes]], deal: bytes | None = None) -> Order:
        async def reply() -> Reply:
            return Reply(await do())

        return StorageOrder(reply, self.shelf, deal)
