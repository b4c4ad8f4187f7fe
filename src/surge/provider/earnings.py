"""Turning vouchers into money: when a voucher is worth its gas, when a channel ends, and when the provider stops.

A voucher is cumulative and its holder's; nothing is lost by waiting but what a close on the ledger cuts off. So every channel that owes
something is looked at on the ledger again and again, and redeemed at the latest when a close has begun there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from surge.core.receipts import Voucher
from surge.core.signing import Signer
from surge.errors import LedgerError, NotEnough, Unavailable
from surge.provider.aside import SetAside
from surge.provider.config import ProviderConfig
from surge.provider.journal import Journal
from surge.provider.reception import Chain, ChainState
from surge.provider.schema import CLOSING_TOGETHER, ChannelRow

log = logging.getLogger("surge.provider")

BATCH = 64
"""Vouchers in one transaction, as the contract bounds it."""

NEARLY_EMPTY = 10
"""A channel with less than 1/NEARLY_EMPTY of its deposit left is as good as emptied."""

LOOKS_AT_ONCE = 8
"""Channels asked for together."""

LOOK_SECONDS = 15.0
"""How long the ledger may take to answer."""

SWEEP_SECONDS = 900.0
"""Between looks at channels that owe nothing, to notice which were closed."""

REDEEM_SECONDS = 180.0
"""How long a redemption may take to be mined."""


class Bank(Chain, Protocol):
    """What earning asks of the ledger, as `surge.ledger.Ledger` answers it."""

    async def redeemable(self, voucher: Voucher, signature: bytes) -> int:
        """Wei that redeeming a voucher would add now, asked for nothing. Raises `LedgerError` when the ledger would not redeem it."""
        ...

    async def redeem(self, signer: Signer, vouchers: Sequence[tuple[Voucher, bytes]]) -> Sequence[Any]:
        """Redeem vouchers; returns what was redeemed."""
        ...

    async def redemption_cost(self) -> int:
        """Wei of the chain's own coin that redeeming one voucher costs now."""
        ...

    async def close_by_provider(self, signer: Signer, channel: bytes) -> str:
        """Give a channel up as its provider: it is paid its floor, the buyer gets the rest."""
        ...


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of a channel when deciding whether to redeem."""

    row: ChannelRow
    state: ChainState
    overdue: bool
    """Whether receipts of it went unanswered and nobody has been heard of for the terms' longest offline time."""

    @property
    def tried(self) -> tuple[int, ...]:
        """What a try at the ledger depends on."""
        return (self.row.amount, self.row.count, self.state.redeemed, self.state.deposit)

    @property
    def worth(self) -> int:
        """Wei that redeeming would pay now."""
        return self.row.amount - self.state.redeemed if self.row.signature else 0


def worth_redeeming(prospect: Prospect, cost: int, factor: int, *, last_chance: bool) -> bool:
    """Whether to redeem a channel's voucher now. Pure.

    Args:
        prospect: the channel.
        cost: wei of tokens that the gas is worth.
        factor: how many times its gas a voucher must pay when there is no hurry.
        last_chance: whether the provider is about to stop.
    """
    row, state = prospect.row, prospect.state
    if state.closed or prospect.worth <= cost:
        return False
    emptied = (state.deposit - row.amount) * NEARLY_EMPTY < state.deposit
    hurry = last_chance or state.closing_at or row.stopped or emptied or prospect.overdue
    return bool(hurry) or prospect.worth >= factor * cost


def worth_giving_up(prospect: Prospect, cost: int) -> bool:
    """Whether to close a channel whose buyer vanished, for the sake of its floor. Pure."""
    state = prospect.state
    return prospect.overdue and not state.closed and state.floor - max(state.redeemed, prospect.row.amount) > cost


def kept_in_words(worths: Sequence[int], cost: int) -> str:
    """Which of these vouchers, by what redeeming would pay, pay less than the gas: in a sentence, empty if none. Pure.

    >>> kept_in_words([5, 7, 0, 80], cost=10)
    '2 vouchers worth 12 wei of SURGE in all are kept until there is more on them: redeeming one takes gas worth 10 wei of SURGE'
    """
    small = [worth for worth in worths if 0 < worth <= cost]
    if not small:
        return ""
    worth = f"{sum(small)} wei of SURGE"
    if len(small) == 1:
        which = f"1 voucher worth {worth} is kept until there is more on it"
    else:
        which = f"{len(small)} vouchers worth {worth} in all are kept until there is more on them"
    return f"{which}: redeeming one takes gas worth {cost} wei of SURGE"


class Earnings:
    """The provider's channels on the ledger. `run` keeps them paid."""

    def __init__(
        self,
        journal: Journal,
        bank: Bank,
        signer: Signer,
        gas_signer: Signer,
        config: ProviderConfig,
        stop: Callable[[bytes, str], None],
        lost: Callable[[bytes], None],
    ) -> None:
        self.waits_for = ""
        """Why pay is not being redeemed now; empty when all is well."""
        self.kept = ""
        """Which vouchers were left when the provider stopped because they pay less than their gas; empty when none were, and before."""
        self.redeemed = 0
        """Wei redeemed since the start."""
        self.transactions: list[str] = []
        """The last redemptions' transactions."""
        self._journal = journal
        self._bank = bank
        self._device = signer
        self._gas = gas_signer
        self._config = config
        self._stop = stop
        self._lost = lost
        self._woken = asyncio.Event()
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        self._absent_since: dict[bytes, float] = {}
        self._aside = SetAside()
        self._working = asyncio.Lock()

    @property
    def set_aside(self) -> dict[bytes, str]:
        """Channels that the ledger would not pay for now, with its reasons. They are tried again; the others do not wait for them."""
        return self._aside.reasons

    def hurry(self, channel: bytes) -> None:
        """A channel's voucher should be redeemed soon."""
        log.info("the channel %s is to be redeemed", channel.hex())
        self._woken.set()

    async def run(self) -> None:
        """Look and redeem, until cancelled."""
        while True:
            await self.settle()
            try:
                async with asyncio.timeout(self._config.earnings_seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def settle(self, *, last_chance: bool = False) -> None:
        """Look at every channel that owes something or is being closed, redeem what is worth it. The ledger being away is only noted."""
        self._woken.clear()
        async with self._working:
            try:
                await self._settle(last_chance)
                self.waits_for = ""
            except NotEnough as error:
                self.waits_for = f"no money for gas: {error.message}"
            except (Unavailable, LedgerError, TimeoutError) as error:
                self.waits_for = f"the ledger: {error}"
            if self.waits_for:
                log.warning("earnings wait for %s", self.waits_for)

    async def _settle(self, last_chance: bool) -> None:
        overdue = set(self._defaulters())
        sweep = time.monotonic() >= self._sweep_at
        rows = [
            row
            for row in self._journal.channels()
            if sweep or row.amount > row.redeemed or row.id in overdue or row.stopped == CLOSING_TOGETHER
        ]
        if not rows:
            return
        async with asyncio.timeout(LOOK_SECONDS):
            cost = await self._bank.redemption_cost() * self._config.tokens_per_coin
        found: list[Prospect] = []
        for start in range(0, len(rows), LOOKS_AT_ONCE):
            some = rows[start : start + LOOKS_AT_ONCE]
            async with asyncio.timeout(LOOK_SECONDS):
                states = await asyncio.gather(*(self._bank.channel(row.id) for row in some))
            found += [Prospect(row, state, row.id in overdue) for row, state in zip(some, states, strict=True) if self._saw(row, state)]
        self._aside.keep_only({row.id for row in self._journal.channels()})
        due = [each for each in found if worth_redeeming(each, cost, self._config.gas_factor, last_chance=last_chance)]
        if last_chance:
            self.kept = kept_in_words([each.worth for each in found if not each.state.closed], cost)
            if self.kept:
                log.warning("%s", self.kept)
        for start in range(0, len(due), BATCH):
            await self._redeem(await self._payable(due[start : start + BATCH], last_chance))
        if sweep:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
        for prospect in found:
            if worth_giving_up(prospect, cost) and not self._waits(prospect, last_chance):
                await self._give_up(prospect)

    def _waits(self, prospect: Prospect, last_chance: bool) -> bool:
        return not last_chance and self._aside.waits(prospect.row.id, prospect.tried, time.monotonic())

    def _put_aside(self, prospect: Prospect, why: str) -> None:
        log.warning("the channel %s is set aside: %s", prospect.row.id.hex(), why)
        self._aside.put(prospect.row.id, prospect.tried, why, time.monotonic())

    async def _payable(self, due: list[Prospect], last_chance: bool) -> list[Prospect]:
        """Those of the due channels that the ledger says it would pay: asking costs no gas, and trying would."""
        payable = []
        for prospect in due:
            voucher = prospect.row.voucher
            if voucher is None or self._waits(prospect, last_chance):
                continue
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._bank.redeemable(voucher, prospect.row.signature)
            except LedgerError as error:
                self._put_aside(prospect, error.message)
            else:
                payable.append(prospect)
        return payable

    def _defaulters(self) -> list[bytes]:
        before = int(time.time()) - self._config.offline_seconds
        return self._journal.defaulters(before)

    def _saw(self, row: ChannelRow, state: ChainState) -> bool:
        """Note what the ledger says. False when there is nothing to be had."""
        if not state.exists:
            # The chain lost the blocks it was opened in; the buyer's wallet sends that transaction again, so the voucher is kept.
            since = self._absent_since.setdefault(row.id, time.monotonic())
            log.warning("the ledger has lost the channel %s, for %.0f s now", row.id.hex(), time.monotonic() - since)
            self._lost(row.id)
            return False
        self._absent_since.pop(row.id, None)
        if (state.redeemed, state.deposit, state.closed) != (row.redeemed, row.deposit, row.closed):
            self._journal.on_ledger(row.number, redeemed=state.redeemed, deposit=state.deposit, closed=state.closed)
        if (state.closing_at or state.closed) and not row.stopped:
            self._stop(row.id, "it is closed on the ledger" if state.closed else "its close has begun on the ledger")
        return not state.closed

    async def _redeem(self, batch: list[Prospect]) -> None:
        if not batch:
            return
        vouchers = [(each.row.voucher, each.row.signature) for each in batch if each.row.voucher is not None]
        try:
            async with asyncio.timeout(REDEEM_SECONDS):
                done = await self._bank.redeem(self._gas, vouchers)
        except NotEnough:
            raise
        except LedgerError as error:
            for prospect in batch:
                self._put_aside(prospect, error.message)
            return
        left = {each.row.id: each for each in batch}
        for redemption in done:
            if redemption.channel not in left:
                continue
            prospect = left.pop(redemption.channel)
            self._aside.drop(redemption.channel)
            self.redeemed += redemption.paid
            self.transactions = [*self.transactions[-63:], redemption.transaction]
            state, row = prospect.state, prospect.row
            self._journal.redemption(row.number, redemption.amount, redemption.paid, redemption.fee, redemption.transaction)
            self._journal.on_ledger(row.number, redeemed=redemption.amount, deposit=state.deposit, closed=False)
            log.info("redeemed %d wei of the channel %s", redemption.paid, row.id.hex())
        for prospect in left.values():
            self._put_aside(prospect, "the ledger passed its voucher over")

    async def _give_up(self, prospect: Prospect) -> None:
        row = prospect.row
        log.info("the buyer of the channel %s has vanished: it is closed for its floor", row.id.hex())
        self._stop(row.id, "its buyer vanished")
        try:
            async with asyncio.timeout(REDEEM_SECONDS):
                await self._bank.close_by_provider(self._device, row.id)
        except NotEnough:
            raise
        except LedgerError as error:
            self._put_aside(prospect, error.message)
            return
        self._aside.drop(row.id)
        self._journal.on_ledger(row.number, redeemed=prospect.state.floor, deposit=prospect.state.deposit, closed=True)
