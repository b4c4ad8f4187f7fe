"""Buyers that cheat about what they owe, and buyers that vanish: the last good voucher counts, and a window is the most they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provider_support import DEVICE, NETWORK, PRICE, Bench, Client, key, until, work
from surge.core.channels import BuyerChannel
from surge.core.eip712 import channels_domain
from surge.core.messages import (
    Acknowledge,
    Answer,
    Cancel,
    ChannelOpened,
    NewPrices,
    Refusal,
    Reprice,
)
from surge.core.pricing import Prices
from surge.provider import daemon, reception
from surge.provider.config import ProviderConfig


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


Wrong = Callable[[Client, Any], Acknowledge]


def _voucher(**changes: Any) -> Wrong:
    def make(client: Client, receipt: Any) -> Acknowledge:
        right = client.acknowledgement(receipt)
        return client.signed(replace(client.side.state(), **changes), right.entries)

    return make


def _other_chain(client: Client, receipt: Any) -> Acknowledge:
    right = client.acknowledgement(receipt)
    digest = client.side.state().digest(channels_domain(1, NETWORK.channels.address))
    return Acknowledge(right.entries, right.amount, right.count, right.root, client.session_key.sign(digest))


def _other_key(client: Client, receipt: Any) -> Acknowledge:
    right = client.acknowledgement(receipt)
    return client.signed(client.side.state(), right.entries, key(9))


def _entries(entries: list[tuple[int, bool]]) -> Wrong:
    def make(client: Client, receipt: Any) -> Acknowledge:
        client.acknowledgement(receipt)
        return client.signed(client.side.state(), entries)

    return make


WRONG: dict[str, Wrong] = {
    "root": _voucher(root=b"\x01" * 32),
    "count falls": _voucher(count=0),
    "count leaps": _voucher(count=7),
    "amount falls": _voucher(amount=0),
    "amount short": _voucher(amount=PRICE + 1),
    "amount beyond the deposit": _voucher(amount=10**19),
    "another channel": _voucher(channel=b"\x01" * 32),
    "another chain": _other_chain,
    "another key": _other_key,
    "unknown receipt": _entries([(99, True)]),
    "no receipt": _entries([]),
    "a receipt twice": _entries([(1, True), (1, True)]),
    "refused but paid": _entries([(1, False)]),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_acknowledgement_stops_the_channel_at_its_last_good_voucher(bench: Bench, wrong: Wrong) -> None:
    bench.ledger.cost = PRICE // 10
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        first = await client.ask(work(number=1))
        assert isinstance(first, Answer)
        await client.acknowledge(first.receipt)
        second = await client.ask(work(number=2))
        assert isinstance(second, Answer)
        await client.send(wrong(client, second.receipt))
        await client.ended()
        assert client.refusals()[-1].code == "invalid", "it is told why"
        # The last good voucher is redeemed at once, however small.
        await until(lambda: bench.ledger.channels[client.channel].redeemed == PRICE)
        row = provider._journal.channel(client.channel)
        assert row is not None
        assert (row.amount, row.count) == (PRICE, 1)
        assert "wrong acknowledgement" in row.stopped
        # And the channel takes no more work, in this session's successor either.
        again = Client(bench)
        again.side = client.side
        again.terms_agreed = client.terms_agreed
        await again.open(count=5)
        refusal = await again.ask(work(number=3))
        assert isinstance(refusal, Refusal)
        assert "wrong acknowledgement" in refusal.text


async def test_a_replayed_acknowledgement_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        answer = await client.ask(work(number=1))
        assert isinstance(answer, Answer)
        message = client.acknowledgement(answer.receipt)
        await client.send(message, message)
        await client.ended()
        await until(lambda: bench.ledger.channels[client.channel].redeemed == PRICE)


async def test_a_buyer_whose_log_differs_or_lags_is_refused(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.vouch(2)
        for count in (0, 1):
            refusal = await client.open(count=count)
            assert isinstance(refusal, Refusal)
            assert "behind" in refusal.text
        client.side = BuyerChannel(NETWORK.channels_domain, client.channel, client.buyer, DEVICE.address, client.session_key.address, 1)
        refusal = await client.open(count=2)
        assert isinstance(refusal, Refusal)
        assert "not ours" in refusal.text


async def test_refusing_receipts_costs_the_buyer_its_window(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.vouch(3)
        answer = await client.ask(work(number=10))
        assert isinstance(answer, Answer)
        vouched = await client.acknowledge(answer.receipt, accepted=False)
        assert vouched.window == 1


@pytest.mark.parametrize("method", ["run", "compile"])
async def test_a_buyer_that_refuses_one_receipt_after_another_gets_no_more_than_its_floor(tmp_path: Path, method: str) -> None:
    bench = Bench(tmp_path, config=ProviderConfig(opening=3 * PRICE, earnings_seconds=0.2, drain_seconds=5.0))
    async with bench.running() as provider:
        client = Client(bench)
        bench.ledger.channels[client.channel].floor = 3 * PRICE
        await client.open()
        for number in range(4):
            answer = await client.ask(work(number=number), method)
            assert isinstance(answer, Answer), (number, answer)
            await client.acknowledge(answer.receipt, accepted=False)
        refusal = await client.ask(work(number=4), method)
        assert isinstance(refusal, Refusal)
        assert "refused receipts" in refusal.text
        assert bench.works.runs == [0, 1, 2, 3]
        await provider._journal.batches.settled()
        row = provider._journal.channel(client.channel)
        assert row is not None
        assert "refused receipts" in row.stopped, "a restart or a new session changes nothing"


async def test_what_was_refused_is_remembered_over_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, config=ProviderConfig(opening=3 * PRICE, earnings_seconds=0.2, drain_seconds=5.0))
    client = Client(bench)
    bench.ledger.channels[client.channel].floor = 3 * PRICE
    for first in (0, 2):
        async with bench.running():
            assert isinstance(await client.open(), ChannelOpened)
            for number in (first, first + 1):
                answer = await client.ask(work(number=number))
                assert isinstance(answer, Answer)
                await client.acknowledge(answer.receipt, accepted=False)
            refusal = await client.ask(work(number=9))
            assert isinstance(refusal, Refusal if first else Answer)
            if isinstance(refusal, Answer):
                await client.acknowledge(refusal.receipt)


async def test_a_buyer_that_leaves_receipts_unanswered_gets_no_more_than_its_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each default frees the window again; what it left unpaid is not forgotten. Whoever answers late may go on."""
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    bench = Bench(tmp_path, config=ProviderConfig(opening=PRICE, audit_seconds=1, earnings_seconds=0.2, drain_seconds=3.0))
    async with bench.running() as provider:
        client = Client(bench)
        bench.ledger.channels[client.channel].floor = PRICE
        await client.open()
        receipts = []
        for number in range(2):
            answer = await client.ask(work(number=number))
            assert isinstance(answer, Answer)
            receipts.append(answer.receipt)
            await until(lambda: provider.tally.defaults == number + 1)  # noqa: B023
        refusal = await client.ask(work(number=2))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "window"
        refusal = await client.ask(work("want", job=bytes(32), size=1), "free")
        assert isinstance(refusal, Refusal), "nor does it upload"
        await client.acknowledge(*receipts)
        assert isinstance(await client.ask(work(number=2)), Answer)


async def test_work_that_the_deposit_does_not_cover_is_done_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a unit costs is known when it is done: a deposit of next to nothing bought as many as one asked for."""
    monkeypatch.setattr(reception, "DEPOSIT_PAUSE", 0.0)
    bench = Bench(tmp_path, config=ProviderConfig(opening=1, earnings_seconds=0.2, drain_seconds=5.0))
    async with bench.running():
        client = Client(bench)
        bench.ledger.channels[client.channel].deposit = PRICE - 1
        await client.open()
        for number in range(1, 4):
            refusal = await client.ask(work(number=number, size=100))
            assert isinstance(refusal, Refusal)
            assert refusal.code == "deposit"
        assert bench.works.runs == [1]
        assert not list(bench.folder.glob("out-*"))
        assert not list((bench.folder / "provider" / "spool").iterdir())
        bench.ledger.channels[client.channel].deposit = PRICE
        answer = await client.ask(work(number=4))
        assert isinstance(answer, Answer), "after a top-up it goes on"


# Prices


async def test_prices_that_were_not_quoted_cannot_be_agreed_on(bench: Bench) -> None:
    job = b"\x0b" * 32
    async with bench.running():
        client = Client(bench)
        await client.open()
        terms = replace(client.terms_agreed, job=job, prices=Prices(1, 0, 0, 0, 10**9))
        await client.send(Reprice(terms.encode(), client.session_key.sign(terms.digest(NETWORK.channels_domain))))
        assert "not quoted" in await client.ended()


async def test_a_quote_is_agreed_only_as_it_stands_and_by_the_right_key(bench: Bench) -> None:
    job = b"\x0b" * 32
    async with bench.running():
        client = Client(bench)
        await client.open()
        answer = await client.ask(work("quote", 1, job))
        assert isinstance(answer, Answer)
        await client.acknowledge(answer.receipt)
        quote = await until(lambda: next((each for each in client.messages if isinstance(each, NewPrices)), None))
        refusal = await client.ask(work("", 2, job))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "price"
        assert isinstance(await client.ask(work("", 3)), Answer), "another job is not concerned"
        await client.send(Reprice(quote.terms, key(9).sign(bytes(32))))
        assert "signed by" in await client.ended()


# Vanishing


async def test_a_buyer_that_takes_its_window_and_vanishes_again_and_again_loses_it_and_its_floor_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standing outlives channels: after a default every new channel of the wallet starts at one unit."""
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    config = ProviderConfig(audit_seconds=1, offline_seconds=1, earnings_seconds=0.1, drain_seconds=3.0)
    bench = Bench(tmp_path, config=config)
    async with bench.running() as provider:
        first = Client(bench, 50)
        await first.open()
        await first.vouch(7)
        assert provider.reception.desks[0].account.window >= 4
        for number in range(10, 14):
            await first.ask(work(number=number))
        await first.link.close("vanished")
        await until(lambda: provider.tally.defaults == 4)
        await until(lambda: first.channel in bench.ledger.given_up, 15)
        for round_ in range(2):
            cheat = Client(bench, 51 + round_)
            bench.ledger.channels[cheat.channel].buyer = cheat.buyer = first.buyer
            opened = await cheat.open()
            assert isinstance(opened, ChannelOpened)
            assert opened.window == 1
            answers = [await cheat.ask(work(number=20 + number)) for number in range(3)]
            assert [type(each) for each in answers] == [Answer, Refusal, Refusal]
            await cheat.link.close("vanished")
            await until(lambda: provider.tally.defaults == 5 + round_)  # noqa: B023
            await until(lambda: cheat.channel in bench.ledger.given_up, 15)  # noqa: B023


async def test_a_late_answer_still_pays_but_no_longer_earns_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    config = ProviderConfig(audit_seconds=1, earnings_seconds=0.2, drain_seconds=3.0)
    bench = Bench(tmp_path, config=config)
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        answer = await client.ask(work(number=1))
        assert isinstance(answer, Answer)
        await until(lambda: provider.tally.defaults == 1)
        vouched = await client.acknowledge(answer.receipt)
        assert vouched.window == 1
        assert isinstance(await client.ask(work(number=2)), Answer), "it was released when it defaulted"
    assert bench.ledger.channels[client.channel].redeemed == PRICE


async def test_a_buyer_that_takes_nothing_is_let_go_and_its_units_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from surge.provider import outbox

    monkeypatch.setattr(outbox, "STUCK_SECONDS", 0.1)
    async with bench.running():
        client = Client(bench)
        await client.open()
        client.link.other.stalled.clear()
        await client.call(work(number=1))
        await until(lambda: client.link.closed_because)
        client.link.other.stalled.set()
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        assert [receipt.sequence for receipt in opened.pending] == [0]
        assert isinstance(await client.ask(work(number=1)), Answer)
        assert bench.works.runs == [1]


async def test_cancelling_calls_off_only_what_has_not_begun_and_only_ones_own(bench: Bench) -> None:
    async with bench.running():
        one, two = Client(bench, 50), Client(bench, 51)
        await one.open()
        await two.open()
        number = await one.call(work("gate", 1))
        await until(lambda: bench.works.runs)
        await two.send(Cancel(number))
        await one.send(Cancel(999), Cancel(number))
        refusal = await one.answer(number)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "cancelled"
        bench.works.gate.set()
        assert isinstance(await one.ask(work(number=2)), Answer), "the window is free again"
