"""Devices held ready: what is held, what is paid for it, and how it ends. A real daemon, a real buyer, time by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from provider_support import Client, until, work
from retainer_support import PRICE, Holder
from surge.buyer import retaining
from surge.buyer.retaining import Retaining, suitable
from surge.core import offers
from surge.core import retainers as rules
from surge.core.messages import Answer
from surge.core.offers import SignedOffer
from surge.core.receipts import ReceiptKind
from surge.errors import InvalidInput, NoProvider, Unavailable


async def test_time_held_is_paid_period_by_period_and_the_cores_are_let_go_at_the_end(holder: Holder) -> None:
    async with holder.bench.running() as provider, holder.peer() as peer:
        held = Retaining(peer, 2, PRICE, 3600.0, holder.clock)
        await held.begin()
        assert holder.turns.is_shut("somebody else")
        for minutes in (1, 2, 3):
            await holder.pass_by(held, 60)
            await held._bill()
            assert held.state.seconds == 60 * minutes
            assert held.state.paid == 2 * 60 * 1000 * minutes
            (holding,) = holder.retainers.holdings.values()
            await until(lambda: next(iter(holder.retainers.holdings.values())).unpaid == 0)
        held.stop()
        await held.run()
        assert held.ended == "it was released"
        assert not holder.turns.is_shut("somebody else")
        assert not holder.retainers.holdings
        assert provider.tally.held == 180
        (row,) = provider._journal.channels()
        assert (row.amount, row.count) == (360_000, 3)
        assert holding.cores == 2


async def test_it_pings_and_pays_by_itself_until_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PING_SECONDS", 0.1)
    monkeypatch.setattr(rules, "PERIOD_SECONDS", 1)
    holder = Holder(tmp_path)
    async with holder.bench.running() as provider, holder.peer() as peer:
        held = Retaining(peer, 1, PRICE, 3.0)
        await held.begin()
        await asyncio.wait_for(held.run(), 20)
        assert held.ended == "its time is over"
        assert 2 <= held.seconds <= 3
        await provider._journal.batches.settled()
        (row,) = provider._journal.channels()
        assert row.amount == 1000 * held.seconds
        assert row.count >= 2


async def test_time_in_which_the_device_was_away_is_not_paid(holder: Holder) -> None:
    async with holder.bench.running(), holder.peer() as peer:
        held = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
        await held.begin()
        await holder.pass_by(held, 30)
        holder.clock.now += 600
        await held._ping()
        await holder.pass_by(held, 30)
        await held._bill()
        assert held.seconds == 60


async def test_a_buyer_that_is_not_heard_holds_nothing(holder: Holder) -> None:
    async with holder.bench.running(), holder.peer() as peer:
        held = Retaining(peer, 2, PRICE, 3600.0, holder.clock)
        await held.begin()
        await holder.pass_by(held, 10)
        holder.retainers.look(holder.clock.now + rules.GAP_SECONDS)
        assert holder.turns.is_shut("somebody else")
        holder.retainers.look(holder.clock.now + rules.GAP_SECONDS + 1)
        assert not holder.turns.is_shut("somebody else")
        await held.run()
        assert "not heard" in held.ended or "nothing is held" in held.ended


async def test_a_device_that_stops_lending_ends_it_and_says_why(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PING_SECONDS", 0.05)
    async with holder.bench.running() as provider, holder.peer() as peer:
        held = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
        await held.begin()
        running = asyncio.create_task(held.run())
        draining = asyncio.create_task(provider.drain())
        await asyncio.wait_for(running, 20)
        assert "stops" in held.ended
        await draining


async def test_a_statement_that_was_not_answered_is_made_again_and_paid_once(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retaining, "ANSWER_SECONDS", 0.2)
    async with holder.bench.running() as provider:
        async with holder.peer() as peer:
            held = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
            await held.begin()
            await holder.pass_by(held, 60)
            holder.bench.relays.links[-1].stalled.clear()
            with pytest.raises(Unavailable):
                await held._bill()
        monkeypatch.setattr(retaining, "ANSWER_SECONDS", 10.0)
        async with holder.peer() as peer:
            again = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
            await again.begin()
            await holder.pass_by(again, 15)
            await again._bill()
            assert again.seconds == 60 or again.seconds == 15
            await holder.pass_by(again, 45)
            await again._bill()
            await again._bill()
            await until(lambda: next(iter(holder.retainers.holdings.values())).unpaid < 1)
        (row,) = provider._journal.channels()
        assert row.amount <= 1000 * 120


async def test_cores_that_another_holds_cannot_be_held_and_its_units_go_on(holder: Holder) -> None:
    async with holder.bench.running(), holder.peer(60) as peer, holder.peer(70) as other:
        first, second = Retaining(peer, 2, PRICE, 3600.0, holder.clock), Retaining(other, 1, PRICE, 3600.0, holder.clock)
        await first.begin()
        with pytest.raises(Unavailable, match="0 cores of 2 can be held now"):
            await second.begin()
        client = Client(holder.bench)
        await client.open()
        assert isinstance(await client.ask(work(number=1)), Answer), "the made-up service runs on no core"
        first.stop()
        await first.run()
        await second.begin()


async def test_what_is_offered_is_found_and_what_is_not_is_said(holder: Holder) -> None:
    async with holder.bench.running():
        assert holder.bench.relays.offer is not None
        signed: SignedOffer = offers.decode(holder.bench.relays.offer)
    assert signed.offer.retainer == PRICE
    assert signed.offer.services == ("works", "retainer")
    device = signed.offer.device
    assert suitable([signed], 1, 2, PRICE) == suitable([signed], [device], 1, None) == [signed]
    for wanted, cores, most, said in (
        (2, 1, None, "1 of 2 devices"),
        (1, 3, None, "fewer than 3 cores"),
        (1, 1, PRICE - 1, "ask more than"),
        (["0x" + "ee" * 20], 1, None, "offer nothing now"),
    ):
        with pytest.raises(NoProvider, match=said):
            suitable([signed], wanted, cores, most)  # type: ignore[arg-type]
    for wanted, cores in ((0, 1), ([], 1), (1, 0)):
        with pytest.raises(InvalidInput):
            suitable([signed], wanted, cores, None)  # type: ignore[arg-type]
    assert ReceiptKind.RETAINER == 6
