"""A device that keeps shards, as whoever stores, reads or audits there uses it: the calls of the service, checked and paid."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import cast

from surge.buyer.auditor import audit_simple, audit_transfer
from surge.buyer.calls import Question, Refused, answer_to
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.core.messages import Answer, encode_body
from surge.core.messages import storage as said
from surge.core.messages.compute import Body
from surge.core.messages.storage import (
    BillReads,
    Drop,
    GetRecord,
    Keep,
    ListDeals,
    Listed,
    Open,
    Permitted,
    Proof,
    Prove,
    PutRecord,
    Read,
    Renew,
    Write,
)
from surge.core.messages.stored import PermitField
from surge.core.offers import Offer
from surge.core.pricing import transfer_amount
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.signing import recover
from surge.core.storage import accounts, records, tree
from surge.core.storage.accounts import Held
from surge.core.storage.layout import TRANSFER_LEAF
from surge.core.storage.permits import ReadPermit, deals_root
from surge.core.storage.records import Record
from surge.core.types import ZERO, Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.storage.proving import leaf_asked
from surge.storage.service import SERVICE

log = logging.getLogger("surge.storage")

ANSWER_SECONDS = 20.0
"""How long a holder may take to answer: its disk may be asleep, and what others sent before stands in line."""

WRITES_AHEAD = 2
"""Writes of a shard that are on their way at once: the device has the next when it answers the one before."""

BILL_BYTES = 16 << 20
"""Bytes read after which they are billed: a quarter of what a holder moves for a stranger unpaid."""


@dataclass(frozen=True, slots=True)
class Shard:
    """What a reader must know of a shard to read it and believe what comes."""

    deal: bytes
    """32 bytes."""
    root: bytes
    """32 bytes: of the tree over its masked bytes."""
    size: int
    """Bytes."""


class Spoiled(PeerFault):
    """A device sent other bytes than those of a shard: seen by the root, so that it has lost the shard, as far as anybody can tell.

    `details` has `device`, `deal` and `root`.
    """


class Holder:
    """One device. Methods raise `Unavailable` where it does not answer, `Refused`, and `PeerFault` for what no honest device sends."""

    def __init__(self, peer: Peer, offer: Offer) -> None:
        self.peer = peer
        self.offer = offer
        self._unbilled = 0
        self._introduced = False
        """Whether it knows from this session on who signs for the channel."""
        self._billing = asyncio.Lock()
        self._bills: set[asyncio.Task[None]] = set()
        self._periods: dict[Callable[[bytes, int], bytes], int] = {}

    @property
    def device(self) -> Address:
        """Which it is."""
        return self.peer.device

    @property
    def operator(self) -> Address:
        """Who is paid."""
        return self.offer.operator

    # Shards come

    async def open(self, asked: Open) -> int:
        """Reserve room for a shard; how many of its transfer leaves are there already."""
        return said.decode_here((await self._ask("open", asked)).body).leaves

    async def write(self, deal: bytes, first: int, data: bytes | memoryview) -> int:
        """Send the next transfer leaves, `said.MOST_LEAVES` at most; how many are there now."""
        return said.decode_here((await self._ask("write", Write(deal, first, cast(bytes, data)))).body).leaves

    async def keep(self, asked: Open) -> bytes:
        """A shard is whole: pay for its way, and get the signature of the pledge for it."""
        prices = self.peer.terms.prices
        price = transfer_amount(prices, asked.size)
        await self._fund(price)
        async with self.peer.payer.intents.asking(ReceiptKind.TRANSFER, asked.root, ZERO, asked.size, price):
            answer = await self._ask("keep", Keep(asked.deal))
            if answer.receipt is not None:
                receipt, digest = audit_transfer(answer.receipt, asked.root, asked.size, prices, self.peer.payer.party)
                self._pay(receipt, digest, answer.receipt.signature)
        return said.decode_pledged(answer.body).signature

    async def put(self, asked: Open, data: memoryview, *, upto: Callable[[int], None] | None = None) -> bytes:
        """Bring a whole shard, from wherever it was cut off; the pledge's signature. `upto` is told how many bytes are there.

        Of what a holder says to have from before, it shows a leaf that it could not foresee.
        """
        claimed = here = sent = await self.open(asked)
        total = tree.transfer_leaves(asked.size)
        under_way: deque[tuple[int, asyncio.Task[int]]] = deque()
        try:
            while here < total:
                while sent < total and len(under_way) < WRITES_AHEAD:
                    start, end = sent, min(sent + said.MOST_LEAVES, total)
                    piece = data[start * TRANSFER_LEAF : end * TRANSFER_LEAF]
                    under_way.append((end, asyncio.create_task(self.write(asked.deal, start, piece))))
                    sent = end
                expected, task = under_way.popleft()
                here = await task
                if here != expected:
                    raise PeerFault(f"{self.device} was sent {expected} leaves, and has {here}", device=self.device)
                if upto is not None:
                    upto(min(here * TRANSFER_LEAF, asked.size))
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        if here > total:
            raise PeerFault(f"{self.device} has {here} leaves of a shard of {total}", device=self.device)
        signature = await self.keep(asked)
        if claimed:
            await self._check_held(asked)
        return signature

    async def _check_held(self, asked: Open) -> None:
        seed = secrets.token_bytes(32)
        (proof,) = await self.prove(seed, [asked.deal])
        leaf = leaf_asked(seed, asked.deal, asked.size)
        if proof is None or not tree.verify(asked.root, asked.size, leaf, proof.leaf, proof.path):
            raise PeerFault(f"{self.device} said that it had parts of a shard, and does not show them", device=self.device, deal=asked.deal)

    # They are read

    async def read(self, shard: Shard, first: int, count: int) -> bytes:
        """Transfer leaves of a shard, `said.MOST_LEAVES` at most, verified against its root."""
        if self._unbilled >= BILL_BYTES:
            await self.bill()
        answer = said.decode_leaves((await self._ask("read", Read(shard.deal, first, count))).body)
        check_leaves(self.device, shard, first, count, answer.data, answer.proof)
        self._unbilled += len(answer.data)
        return answer.data

    async def permit(self, device: Address, deals: Collection[bytes], size: int, until: int) -> PermitField:
        """Let a device read so many bytes of these deals, until a time in Unix seconds, for this wallet's account."""
        if not self._introduced:
            said.decode_permitted_read((await self._ask("permitted", Permitted())).body)
            self._introduced = True
        payer, salt = self.peer.payer, secrets.token_bytes(32)
        permit = ReadPermit(self.peer.terms.channel, device, deals_root(deals), size, until, salt)
        signature = payer.signer.sign(permit.digest(payer.party.domain))
        return PermitField(self.device, permit.channel, size, until, salt, signature)

    async def read_by_permit(self, size: int) -> None:
        """A device says that it read so much by a permit of this wallet: it is billed, as far as the holder says so too."""
        self._unbilled += size
        if self._unbilled >= BILL_BYTES:
            await self.bill()

    async def bill(self) -> None:
        """Pay for what was read. What is asked is on disk before; a bill that was not answered is asked again.

        A reader that is called off meanwhile does not call the bill off: its answer would come to nobody, and be refused.
        """
        bill = asyncio.create_task(self._in_turn(), name=f"bill of {self.device}")
        self._bills.add(bill)
        bill.add_done_callback(self._bills.discard)
        bill.add_done_callback(_unheard)
        await asyncio.shield(bill)

    async def _in_turn(self) -> None:
        async with self._billing:
            await self._pay_bill()

    async def _pay_bill(self) -> None:
        intents = self.peer.payer.intents
        period = self._period(ReceiptKind.TRANSFER, accounts.reads)
        about = accounts.reads(self.peer.terms.channel, period)
        before = intents.size_of(ReceiptKind.TRANSFER, about, ZERO)
        claim = self._unbilled if before is None else before
        if not claim:
            return
        prices = self.peer.terms.prices
        await self._fund(transfer_amount(prices, claim))
        async with intents.asking(ReceiptKind.TRANSFER, about, ZERO, claim, transfer_amount(prices, claim)):
            answer = await self._ask("bill", BillReads(period, claim))
            if answer.receipt is None:
                raise PeerFault(f"{self.device} answers a bill without a receipt", answer=answer)
            quantity = answer.receipt.quantity
            if quantity > claim:
                raise PeerFault(f"{self.device} bills {quantity} bytes where {claim} were read", quantity=quantity, claim=claim)
            receipt, digest = audit_transfer(answer.receipt, about, quantity, prices, self.peer.payer.party)
            self._pay(receipt, digest, answer.receipt.signature)
        self._periods[accounts.reads] = period + 1
        if before is None:
            self._unbilled -= claim

    # They are proved, and paid for

    async def prove(self, seed: bytes, deals: Sequence[bytes]) -> list[Proof | None]:
        """What a device answers to a challenge; it is for the asker to verify it."""
        answer = said.decode_proofs((await self._ask("prove", Prove(seed, list(deals)))).body)
        if len(answer.proofs) != len(deals):
            raise PeerFault(f"{self.device} answers for {len(answer.proofs)} deals where {len(deals)} were asked", device=self.device)
        return answer.proofs

    async def renew(self, helds: Sequence[Held], asked: Renew) -> list[tuple[Held, bytes]]:
        """Pay shards for their time, as `asked`: for each of `helds` the time that it is paid for, and the new pledge's signature.

        That time is what `helds` say, or less where another keeper paid until later. A period that was not answered is asked again
        unchanged.
        """
        about = accounts.subject(self.peer.terms.channel, asked.period)
        quantity, price = accounts.byte_hours(helds), accounts.total(helds)
        await self._fund(price)
        async with self.peer.payer.intents.asking(ReceiptKind.STORAGE, about, ZERO, quantity, price):
            answer = await self._ask("renew", asked, bills=True)
            renewed = said.decode_renewed(answer.body)
            if answer.receipt is None or not len(renewed.signatures) == len(renewed.since) == len(helds):
                raise PeerFault(f"{self.device} renews without a receipt, or other deals than were asked", answer=answer)
            if any(since < held.since for held, since in zip(helds, renewed.since, strict=True)):
                raise PeerFault(f"{self.device} bills time that was paid before", asked=asked, since=renewed.since)
            paid = [replace(held, since=since, until=max(since, held.until)) for held, since in zip(helds, renewed.since, strict=True)]
            party, stated = self.peer.payer.party, accounts.result(about, paid)
            quantity, price = accounts.byte_hours(paid), accounts.total(paid)
            receipt, digest = audit_simple(answer.receipt, ReceiptKind.STORAGE, about, stated, quantity, price, party)
            self._pay(receipt, digest, answer.receipt.signature)
        return list(zip(paid, renewed.signatures, strict=True))

    def renewals(self) -> int:
        """How many periods were asked for on this channel, and paid."""
        return self._period(ReceiptKind.STORAGE, accounts.subject)

    async def drop(self, shard: Shard, release: bytes) -> Receipt | None:
        """Have a shard forgotten; the receipt for that, or None where it was not there."""
        intents = self.peer.payer.intents
        async with intents.asking(ReceiptKind.DROPPED, shard.deal, ZERO, shard.size, 0):
            answer = await self._ask("drop", Drop(shard.deal, release))
            if answer.receipt is None:
                return None
            party = self.peer.payer.party
            receipt, digest = audit_simple(answer.receipt, ReceiptKind.DROPPED, shard.deal, shard.root, shard.size, 0, party)
            self._pay(receipt, digest, answer.receipt.signature)
            return receipt

    async def list(self, after: bytes = b"", count: int = 1024) -> Listed:
        """Deals that it keeps for this wallet, in order, and whether it leaves."""
        return said.decode_listed((await self._ask("list", ListDeals(after, count))).body)

    # Records

    async def put_record(self, record: Record) -> Record | None:
        """Leave a record there; None once it has it, or what it has in its place, which is newer or another of this version."""
        answer = said.decode_record_kept((await self._ask("put_record", PutRecord(record.encode()))).body)
        if answer.kept:
            return None
        other = records.decode(answer.record)
        if (other.author, other.label) != (record.author, record.label) or other.version < record.version or other == record:
            raise PeerFault(f"{self.device} keeps an older record, or another, in place of a newer", device=self.device)
        return other

    async def get_record(self, author: Address, label: bytes) -> bytes:
        """The newest that it has, in canonical bytes that are not verified yet; empty where it has none."""
        return said.decode_found_record((await self._ask("get_record", GetRecord(author, label))).body).record

    # Asking and paying

    async def _ask(self, method: str, body: Body, *, bills: bool = False) -> Answer:
        return await answer_to(self.peer, Question(method, encode_body(body), service=SERVICE, bills=bills), ANSWER_SECONDS)

    def _pay(self, receipt: Receipt, digest: bytes, signature: bytes) -> None:
        """Accept a receipt, once."""
        accepted = self.peer.payer.intents.is_open(receipt, ZERO)
        self.peer.pay(Paid(receipt, signature, digest, accepted, None, ZERO, ()))

    async def _fund(self, cost: int) -> None:
        payer = self.peer.payer
        if payer.amount + payer.owed + cost > payer.channel.deposit:
            await payer.fund()

    def _period(self, kind: ReceiptKind, subject: Callable[[bytes, int], bytes]) -> int:
        """The first period whose receipt was not paid."""
        intents, channel = self.peer.payer.intents, self.peer.terms.channel
        period = self._periods.get(subject, 0)
        while intents.size_of(kind, subject(channel, period), ZERO) is not None:
            if intents.is_unpaid(kind, subject(channel, period), ZERO):
                break
            period += 1
        self._periods[subject] = period
        return period


def _unheard(bill: asyncio.Task[None]) -> None:
    """What a bill came to whose readers were all called off; it is asked again."""
    if not bill.cancelled() and (error := bill.exception()) is not None:
        log.info("what was read is not paid yet: %s", error)


def check_leaves(device: Address, shard: Shard, first: int, count: int, data: bytes, proof: bytes) -> None:
    """Raise `PeerFault` unless a device sent these transfer leaves of a shard."""
    size = min(shard.size, (first + count) * TRANSFER_LEAF) - first * TRANSFER_LEAF
    if len(data) != size or not tree.verify_range(shard.root, shard.size, first, data, proof):
        raise Spoiled(f"{device} sends bytes that are not those of the shard", device=device, deal=shard.deal, root=shard.root)


def signed_by(digest: bytes, signature: bytes, device: Address) -> bool:
    """Whether a device signed this digest."""
    try:
        return recover(digest, signature) == device
    except SurgeError:
        return False


def is_away(error: SurgeError) -> bool:
    """Whether a device may do later what it did not do now."""
    return isinstance(error, Unavailable | Refused)
