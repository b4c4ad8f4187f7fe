"""Opening channels in sessions: what the ledger, the offer and the journal must say before a buyer is trusted with a window."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Protocol

from surge.core import offers
from surge.core.channels import ProviderChannel
from surge.core.messages import OpenChannel
from surge.core.receipts import ReceiptKind, Terms
from surge.core.signing import check_signed
from surge.core.types import ZERO, Address
from surge.errors import InvalidInput, LedgerError, PeerFault, Unavailable
from surge.provider.account import Account
from surge.provider.backing import Common
from surge.provider.buyers import Buyers
from surge.provider.desk import Desk
from surge.provider.journal import Overdue
from surge.provider.schema import ChannelRow
from surge.provider.service import Refused
from surge.store import Blobs

log = logging.getLogger("surge.provider")

LEDGER_SECONDS = 10.0
"""How long the ledger may take to show a channel."""

LOOKS_AT_ONCE = 4
"""Questions to the ledger at the same time: strangers ask them through us."""

HONOURED = 600
"""Seconds after its end that an offer is still honoured: opening a channel on it takes a while."""

DEPOSIT_PAUSE = 1.0
"""Seconds between two looks at one channel's deposit."""


class ChainState(Protocol):
    """A channel on the ledger, as `surge.ledger.ChannelState` is one."""

    @property
    def buyer(self) -> Address:
        """Who opened it."""
        ...

    @property
    def provider(self) -> Address:
        """Who is paid."""
        ...

    @property
    def device(self) -> Address:
        """Who signs receipts."""
        ...

    @property
    def session_key(self) -> Address:
        """Who signs vouchers."""
        ...

    @property
    def deposit(self) -> int:
        """Wei."""
        ...

    @property
    def redeemed(self) -> int:
        """Wei."""
        ...

    @property
    def count(self) -> int:
        """Receipts that the voucher last redeemed counts."""
        ...

    @property
    def floor(self) -> int:
        """Wei: the least the provider is paid."""
        ...

    @property
    def challenge_seconds(self) -> int:
        """Between the start and the end of a one-sided close."""
        ...

    @property
    def closing_at(self) -> int:
        """Unix seconds at which a one-sided close may end; 0 if none began."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        ...

    @property
    def exists(self) -> bool:
        """Whether the channel was ever opened."""
        ...


class Chain(Protocol):
    """What a provider asks of the ledger, as `surge.ledger.Ledger` answers it."""

    async def channel(self, channel: bytes, *, confirmed: bool = False) -> ChainState:
        """A channel's state."""
        ...


class Reception:
    """Desks by channel. One at a time opens a channel; a desk is kept while anything happens at it."""

    def __init__(self, common: Common, contents: Blobs, buyers: Buyers, chain: Chain, operator: Address) -> None:
        self._common = common
        self._contents = contents
        self._buyers = buyers
        self._chain = chain
        self._operator = operator
        self._desks: dict[bytes, Desk] = {}
        self._opening: dict[bytes, asyncio.Lock] = {}
        self._openers: Counter[bytes] = Counter()
        """Who holds a channel's lock or waits for it."""
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._looked: dict[bytes, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed_because = ""
        self._news = asyncio.Event()

    @property
    def desks(self) -> list[Desk]:
        """Desks in use."""
        return list(self._desks.values())

    def desk(self, channel: bytes) -> Desk | None:
        """The desk of a channel, while it is in use."""
        return self._desks.get(channel)

    # Opening

    async def open(self, message: OpenChannel, peer: Address) -> tuple[Desk, bytes]:
        """The channel's desk, and our signature over its terms. Raises `Refused`."""
        lock = self._opening.setdefault(message.channel, asyncio.Lock())
        self._openers[message.channel] += 1
        try:
            async with lock:
                return await self._open(message, peer)
        except PeerFault as fault:
            raise Refused("invalid", fault.message) from fault
        except Unavailable as error:
            raise Refused("storage", error.message) from error
        finally:
            self._openers[message.channel] -= 1
            if not self._openers[message.channel]:
                del self._opening[message.channel], self._openers[message.channel]

    async def _open(self, message: OpenChannel, peer: Address) -> tuple[Desk, bytes]:
        """Check and open.

        1. The terms are for this channel as a whole, signed by whoever speaks here.
        2. They are those agreed before, or those of an offer of ours that is still honoured.
        3. The ledger shows the channel: ours, the speaker's, with floor and challenge period as offered, and not closing. While the
           ledger is away, what it showed before holds.
        4. The buyer's log is ours, or goes on from ours.
        """
        common = self._common
        # 1
        try:
            terms = Terms.decode(message.terms)
        except InvalidInput as error:
            raise Refused("invalid", f"the terms cannot be read: {error}") from error
        if (terms.channel, terms.job) != (message.channel, ZERO):
            raise Refused("invalid", "the terms are for something else than this channel")
        digest = terms.digest(common.domain)
        check_signed(digest, message.signature, peer, "a channel's terms")
        # 2
        known = common.journal.channel(message.channel)
        if known is not None and known.session_key != peer:
            raise Refused("invalid", "the channel belongs to another session key")
        floor = 0
        if known is None or known.terms != message.terms:
            floor = self._check_terms(terms).opening
        # 3
        row = await self._row(message, terms, peer, known, floor)
        # 4
        desk = await self._desk(row)
        channel = desk.account.channel
        ahead = message.count - channel.log.size
        if ahead < 0 or (ahead == 0 and message.root != channel.log.root()):
            why = "the buyer's log is behind ours" if ahead < 0 else "the buyer's log is not ours"
            self._drop_if_idle(desk)
            raise Refused("invalid", why, count=channel.log.size)
        return desk, common.device.sign(digest)

    def _check_terms(self, terms: Terms) -> offers.Offer:
        data = self._common.journal.offer(terms.offer)
        if data is None:
            raise Refused("price", "the terms name an offer that is not ours, or is long over: ask for the present one")
        offer = offers.decode(data).offer
        if offer.expires + HONOURED < time.time():
            raise Refused("price", "the terms name an offer that is over: ask for the present one")
        said = (terms.engine, terms.prices, terms.window, terms.audit_seconds, terms.offline_seconds)
        if said != (offer.engine, offer.prices, offer.window, offer.audit_seconds, offer.offline_seconds):
            raise Refused("price", "the terms are not those of the offer they name")
        return offer

    async def _row(self, message: OpenChannel, terms: Terms, peer: Address, known: ChannelRow | None, floor: int) -> ChannelRow:
        common = self._common
        try:
            state = await self._look(message.channel)
        except (Unavailable, LedgerError) as error:
            if known is None or known.closed:
                raise Refused("busy", f"the ledger cannot be asked for the channel now: {error}") from error
            return known
        if not state.exists:
            raise Refused("unknown", "the ledger has no such channel, or not for long enough")
        wrong = [
            name
            for name, right in {
                "provider": state.provider == self._operator,
                "device": state.device == common.device.address,
                "session key": state.session_key == peer,
                "floor": known is not None or state.floor >= floor,
                "challenge period": state.challenge_seconds >= terms.offline_seconds,
            }.items()
            if not right
        ]
        if wrong:
            raise Refused("invalid", f"the channel on the ledger has the wrong {' and '.join(wrong)}")
        if state.closed or state.closing_at:
            raise Refused("invalid", f"the channel is {'closed' if state.closed else 'closing'} on the ledger")
        if known is None and (state.redeemed or state.count):
            raise Refused("invalid", "the channel was used before, and this device has no record of it")
        buyer = self._buyers.get(state.buyer)
        return await common.journal.keep_channel(
            message.channel,
            state.buyer,
            peer,
            deposit=state.deposit,
            floor=state.floor,
            challenge_seconds=state.challenge_seconds,
            terms=message.terms,
            audit_seconds=terms.audit_seconds,
            standing=buyer.standing,
            now=int(time.time()),
        )

    async def _desk(self, row: ChannelRow) -> Desk:
        desk = self._desks.get(row.id)
        if desk is not None:
            desk.account.channel.deposit = max(desk.account.channel.deposit, row.deposit)
            desk.account.raised(row.floor)
            desk.account.use(Terms.decode(row.terms))
            return desk
        common = self._common
        await common.journal.batches.settled()
        row = common.journal.channel(row.id) or row
        history = await asyncio.to_thread(common.journal.history, row)
        channel = ProviderChannel(common.domain, row.id, row.buyer, common.device.address, row.session_key, row.deposit)
        account = await asyncio.to_thread(Account, common, row, channel, history, self._buyers.get(row.buyer))
        account.use(account.terms)
        desk = self._desks[row.id] = Desk(account, self._contents, common.journal, common.tally, self._spawn, self._drop_if_idle)
        desk.closed_because = self._closed_because
        return desk

    def _drop_if_idle(self, desk: Desk) -> None:
        """Forget a desk at which nothing happens: the journal has all of it, once it has taken what is on its way."""
        self._news.set()
        if desk.port is None and not desk.busy and not self._common.journal.batches.fault and self._desks.get(desk.account.row.id) is desk:
            del self._desks[desk.account.row.id]

    # The ledger

    async def _look(self, channel: bytes) -> ChainState:
        try:
            async with self._looks, asyncio.timeout(LEDGER_SECONDS):
                return await self._chain.channel(channel, confirmed=True)
        except TimeoutError as error:
            raise Unavailable(f"the ledger does not answer within {LEDGER_SECONDS:.0f} s") from error

    async def state(self, channel: bytes) -> ChainState | None:
        """A channel on the ledger; None when it was just asked for, or cannot be."""
        now = time.monotonic()
        if now - self._looked.get(channel, -DEPOSIT_PAUSE) < DEPOSIT_PAUSE:
            return None
        self._looked[channel] = now
        if len(self._looked) > 1024:
            self._looked.pop(next(iter(self._looked)))
        try:
            return await self._look(channel)
        except (Unavailable, LedgerError) as error:
            log.info("the channel %s cannot be looked at: %s", channel.hex(), error)
            return None

    # Work and its end

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close_doors(self, why: str) -> None:
        """Take no new work, at any desk, because of `why`; empty to take work again."""
        self._closed_because = why
        for desk in self._desks.values():
            desk.closed_because = why

    async def quiet(self) -> None:
        """Wait until nothing is under way and all of it is written."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self._common.journal.batches.settled()

    async def answered(self) -> None:
        """Wait until connected buyers have acknowledged every unit, and that is written."""
        while any(desk.port is not None and desk.account.answers for desk in self._desks.values()):
            self._news.clear()
            await self._news.wait()
        await self._common.journal.batches.settled()

    def default(self, overdue: Overdue) -> None:
        """Receipts of a channel went unanswered past their time."""
        log.info("%s left %d receipts unanswered", overdue.buyer, len(overdue.sequences))
        desk = self._desks.get(overdue.channel)
        if desk is not None:
            desk.account.default(overdue.sequences)
            return
        row = self._common.journal.channel(overdue.channel)
        assert row is not None, "it was just read"
        buyer = self._buyers.get(overdue.buyer)
        buyer.default([ReceiptKind.UNIT] * overdue.units)
        buyer.cover.late(overdue.channel)
        self._common.journal.defaulted(row.number, overdue.sequences, overdue.buyer, buyer.standing)

    async def close(self) -> None:
        """Give up what is still under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
