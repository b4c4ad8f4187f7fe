"""A provider that drains, keeps its hours, loses its relays, and quotes prices."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from provider_support import DEVICE, NETWORK, PRICE, Bench, Client, until, work
from surge.core.messages import Answer, ChannelOpened, Draining, NewPrices, Refusal, Reprice
from surge.core.messages.fields import wei
from surge.core.receipts import Terms
from surge.core.signing import recover
from surge.errors import Unavailable
from surge.provider.config import Rates


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# Prices of single jobs


async def test_a_quote_and_its_agreement_outlive_restarts(bench: Bench) -> None:
    job = b"\x0b" * 32
    provider = await bench.provider().__aenter__()
    await provider.ready()
    client = Client(bench)
    await client.open()
    answer = await client.ask(work("quote", 1, job))
    assert isinstance(answer, Answer)
    assert answer.receipt is not None
    assert wei(answer.receipt.amount) == PRICE, "the first unit costs what was offered"
    await client.acknowledge(answer.receipt)
    await bench.kill(provider)
    async with bench.running():
        await client.open()
        client.messages.clear()
        refusal = await client.ask(work("", 2, job))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "price"
        quote = next(each for each in client.messages if isinstance(each, NewPrices))
        terms = Terms.decode(quote.terms)
        assert recover(terms.digest(NETWORK.channels_domain), quote.signature) == DEVICE.address
        await client.send(Reprice(quote.terms, client.session_key.sign(terms.digest(NETWORK.channels_domain))))
        dear = await client.ask(work("", 2, job))
        assert isinstance(dear, Answer)
        assert dear.receipt is not None
        assert wei(dear.receipt.amount) == 4 * PRICE
        await client.acknowledge(dear.receipt)
    async with bench.running():
        await client.open()
        dear = await client.ask(work("", 3, job))
        assert isinstance(dear, Answer)
        assert dear.receipt is not None
        assert wei(dear.receipt.amount) == 4 * PRICE


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_quote_that_waits_is_made_again_for_a_channel_opened_under_a_newer_offer(bench: Bench, restarts: bool) -> None:
    job = b"\x0b" * 32
    provider = await bench.provider().__aenter__()
    await provider.ready()
    client = Client(bench)
    await client.open()
    answer = await client.ask(work("quote", 1, job))
    assert isinstance(answer, Answer)
    await client.acknowledge(answer.receipt)
    first = await until(lambda: next((each for each in client.messages if isinstance(each, NewPrices)), None))
    if restarts:
        await bench.kill(provider)
        provider = await bench.provider().__aenter__()
        await provider.ready()
    else:
        await provider.offering._publish()
    newer = client.terms()
    assert newer.offer != client.terms_agreed.offer
    assert isinstance(await client.open(newer), ChannelOpened)
    client.messages.clear()
    refusal = await client.ask(work("", 2, job))
    assert isinstance(refusal, Refusal)
    quote = next(each for each in client.messages if isinstance(each, NewPrices))
    terms = Terms.decode(quote.terms)
    assert replace(terms, job=newer.job, prices=newer.prices) == newer
    assert terms.prices == Terms.decode(first.terms).prices
    await client.send(Reprice(quote.terms, client.session_key.sign(terms.digest(NETWORK.channels_domain))))
    assert isinstance(await client.ask(work("", 2, job)), Answer)
    await bench.kill(provider)


async def test_a_channel_keeps_its_terms_when_the_offer_changes_and_an_offer_is_honoured_for_a_while(bench: Bench) -> None:
    async with bench.running():
        client, other = Client(bench, 50), Client(bench, 51)
        await client.open()
        other.terms_agreed = other.terms()
    bench.config = replace(bench.config, rates=Rates(gigafuel=10**16))
    async with bench.running():
        assert isinstance(await client.open(), ChannelOpened)
        cheap = await client.ask(work(number=1))
        assert isinstance(cheap, Answer)
        assert cheap.receipt is not None
        assert wei(cheap.receipt.amount) == PRICE
        assert isinstance(await other.open(), ChannelOpened)


# Draining and availability


async def test_draining_finishes_what_is_under_way_and_takes_nothing_new(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        number = await client.call(work("gate", 1))
        await until(lambda: len(bench.works.runs) == 2)
        draining = asyncio.create_task(provider.drain())
        await until(lambda: any(isinstance(each, Draining) for each in client.messages))
        refusal = await client.ask(work(number=9))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "draining"
        bench.works.gate.set()
        answer = await client.answer(number)
        assert isinstance(answer, Answer)
        await client.acknowledge(answer.receipt)
        await draining
        assert bench.relays.offer is None
        assert bench.relays.withdrawn
        assert client.link.closed_because
        assert bench.works.closed == 1
    assert bench.ledger.channels[client.channel].redeemed == 2 * PRICE


async def test_draining_gives_up_on_what_takes_too_long(bench: Bench) -> None:
    bench.config = replace(bench.config, drain_seconds=0.1)
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.call(work("gate", 1))
        await until(lambda: bench.works.runs)
    assert client.link.closed_because


async def test_lending_stops_and_goes_on_with_hours_mains_and_idleness(bench: Bench) -> None:
    bench.config = replace(bench.config, hours="22:00-06:00", on_mains=True, when_idle=True)
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        first = bench.relays.published[-1].sequence
        for change, said in ({"minute": 720}, "22:00"), ({"on_battery": True}, "battery"), ({"others": 0.9}, "uses it"):
            bench.host.machine = replace(bench.host.machine, **change)
            provider.look_again()
            await until(lambda: bench.relays.offer is None)
            assert said in provider.status()["waiting"]
            await until(lambda said=said: any(isinstance(each, Draining) and said in each.text for each in client.messages))
            refusal = await client.ask(work(number=5))
            assert isinstance(refusal, Refusal)
            assert refusal.code == "draining"
            bench.host.machine = replace(bench.host.machine, minute=0, on_battery=False, others=0.0)
            provider.look_again()
            await until(lambda: bench.relays.offer is not None)
            assert "dial it again" in await client.ended()
            await client.open()
        assert bench.relays.published[-1].sequence > first
        assert isinstance(await client.ask(work(number=6)), Answer)


async def test_without_a_relay_the_offer_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from surge.provider import offering

    monkeypatch.setattr(offering, "RETRY_SECONDS", 0.05)
    bench.relays.away = True
    async with bench.provider() as provider:
        await until(lambda: provider.offering.trouble)
        assert "no relay answered" in provider.status()["waiting"]
        bench.relays.away = False
        assert await provider.ready() == ""


async def test_a_device_the_registry_does_not_name_says_so(bench: Bench) -> None:
    bench.ledger.operator = None
    async with bench.provider() as provider:
        with pytest.raises(Unavailable, match="register it"):
            await provider.ready(0.2)


async def test_offers_are_renewed_with_rising_sequences_across_restarts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from surge.provider import offering

    monkeypatch.setattr(offering, "RENEW_SECONDS", 0.02)
    for _ in range(2):
        async with bench.running():
            before = len(bench.relays.published)
            await until(lambda before=before: len(bench.relays.published) > before + 3)
    sequences = [offer.sequence for offer in bench.relays.published]
    assert sequences == sorted(set(sequences))
