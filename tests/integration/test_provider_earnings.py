"""Earning on a real chain: a channel that cannot be redeemed costs no gas and holds up no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger_support import COIN, Chain, Work
from surge.core.exposure import Standing
from surge.core.pricing import Prices
from surge.core.receipts import Terms, Voucher
from surge.core.types import ZERO
from surge.provider import earnings_of
from surge.provider.config import ProviderConfig
from surge.provider.earnings import Earnings
from surge.provider.journal import Journal
from surge.provider.reports import JOURNAL, STATUS
from surge.wallet import KeySigner


class Books:
    """A provider's journal with channels on the chain, and what earns from them."""

    def __init__(self, chain: Chain, folder: Path, operator: KeySigner, device: KeySigner) -> None:
        self.chain, self.folder, self.operator, self.device = chain, folder, operator, device
        self.journal = Journal(folder / JOURNAL, device.address)
        self.earnings = Earnings(
            self.journal, chain.ledger, device, device, ProviderConfig(), lambda channel, why: None, lambda channel: None
        )

    async def channel(self, *, units: int = 50, price: int = COIN // 10, forged: bool = False) -> tuple[Work, Voucher]:
        """A channel whose work was vouched for; by somebody else's key if `forged`."""
        buyer, session = await self.chain.buyer(), KeySigner.random()
        channel = await self.chain.ledger.open_channel(
            buyer,
            provider=self.operator.address,
            device=self.device.address,
            session_key=session.address,
            amount=10 * COIN,
            floor=COIN // 100,
            challenge_seconds=60,
        )
        work = Work(self.chain.network, channel, buyer, self.device, KeySigner.random() if forged else session)
        voucher, signature = work.voucher(units, price)
        terms = Terms(channel, ZERO, ZERO, ZERO, Prices(1, 1, 1, 1, 1), 1, 300, 3600)
        row = await self.journal.keep_channel(
            channel,
            buyer.address,
            session.address,
            deposit=10 * COIN,
            floor=COIN // 100,
            challenge_seconds=60,
            terms=terms.encode(),
            audit_seconds=300,
            standing=Standing(),
            now=0,
        )
        self.journal.acknowledged(
            row.number, [], voucher, signature, units=units, fuel=0, buyer=buyer.address, standing=Standing(), done=lambda error: None
        )
        await self.journal.batches.settled()
        work.session = session
        return work, voucher

    async def look(self) -> int:
        """Look and redeem; the gas money that went."""
        before = await self.chain.ledger.gas_balance(self.device.address)
        await self.earnings.settle()
        await self.journal.batches.settled()
        return before - await self.chain.ledger.gas_balance(self.device.address)


@pytest.fixture
async def books(chain: Chain, tmp_path: Path) -> AsyncIterator[Books]:
    books = Books(chain, tmp_path, await chain.buyer(tokens=0), await chain.buyer(tokens=0))
    yield books
    books.journal.close()


@pytest.mark.parametrize("bad", [1, 2])
async def test_channels_that_cannot_be_redeemed_cost_no_gas_and_hold_up_no_other(books: Books, bad: int) -> None:
    spoiled = [(await books.channel(forged=True))[0].channel for _ in range(bad)]
    assert await books.look() == 0, "gas was paid for nothing"
    good, voucher = await books.channel()
    assert await books.look() > 0
    assert (await books.chain.ledger.channel(good.channel)).redeemed == voucher.amount
    assert await books.look() == 0, "gas was paid for nothing"
    assert set(books.earnings.set_aside) == set(spoiled)
    assert all("not the session key's voucher" in why for why in books.earnings.set_aside.values())
    assert books.earnings.waits_for == ""


async def test_what_was_redeemed_by_somebody_else_and_what_pays_less_than_its_gas_is_not_sent(books: Books) -> None:
    ledger = books.chain.ledger
    cost = await ledger.redemption_cost()
    dust, _ = await books.channel(units=1, price=cost // 4)
    await ledger.start_close(dust.buyer, dust.channel)
    work, voucher = await books.channel()
    await ledger.redeem(work.buyer, [(voucher, work.session.sign(voucher.digest(books.chain.network.channels_domain)))])
    assert await books.look() == 0
    assert (await ledger.channel(dust.channel)).redeemed == 0


async def test_a_provider_that_stops_says_which_vouchers_it_keeps_for_paying_less_than_their_gas(books: Books) -> None:
    cost = await books.chain.ledger.redemption_cost()
    await books.channel(units=1, price=cost // 4)
    await books.channel()
    assert await books.look() > 0
    assert books.earnings.kept == "", "while it runs there may be more"
    await books.earnings.settle(last_chance=True)
    assert books.earnings.kept.startswith(f"1 voucher worth {cost // 4} wei of SURGE is kept until there is more on it")


async def test_a_redemption_costs_no_more_than_it_was_said_to(books: Books) -> None:
    cost = await books.chain.ledger.redemption_cost()
    await books.channel()
    spent = await books.look()
    assert cost // 2 < spent <= cost


async def test_what_was_set_aside_is_shown_beside_the_earnings(books: Books) -> None:
    work, _ = await books.channel(forged=True)
    await books.look()
    shown = {"0x" + channel.hex(): why for channel, why in books.earnings.set_aside.items()}
    (books.folder / STATUS).write_text(json.dumps({"earnings_set_aside": shown}))
    (row,) = await asyncio.to_thread(earnings_of, books.folder)
    assert row["channel"] == "0x" + work.channel.hex()
    assert "not the session key's voucher" in row["set_aside"]
