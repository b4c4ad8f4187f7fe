"""One buyer and one provider: channels, calls, receipts, acknowledgements."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider_support import NETWORK, PRICE, Bench, Client, work
from surge.core.messages import Answer, Call, Cancel, ChannelOpened, Refusal
from surge.core.messages.fields import wei
from surge.core.signing import recover


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_unit_is_done_receipted_acknowledged_and_redeemed(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        terms = client.terms_agreed
        assert recover(terms.digest(NETWORK.channels_domain), opened.signature) == provider.device
        assert (opened.count, opened.window, opened.pending) == (0, 1, [])
        answer = await client.ask(work(number=7))
        assert isinstance(answer, Answer)
        assert answer.body == b"done 7"
        assert answer.receipt is not None
        assert wei(answer.receipt.amount) == PRICE
        vouched = await client.acknowledge(answer.receipt)
        assert (vouched.count, vouched.window) == (1, 2)
    assert bench.ledger.channels[client.channel].redeemed == PRICE
    assert bench.works.runs == [7]


async def test_the_same_unit_asked_again_gives_the_same_answer_and_is_run_once(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        first = await client.ask(work(number=1))
        again = await client.ask(work(number=1))
        assert isinstance(first, Answer)
        assert isinstance(again, Answer)
        assert (first.body, first.receipt) == (again.body, again.receipt)
        assert bench.works.runs == [1]


async def test_a_call_beyond_the_window_is_refused_and_an_acknowledgement_in_the_same_breath_makes_room(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        first = await client.ask(work(number=1))
        assert isinstance(first, Answer)
        assert first.receipt is not None
        refusal = await client.ask(work(number=2))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "window"
        await client.send(client.acknowledgement(first.receipt))
        third = await client.ask(work(number=3))
        assert isinstance(third, Answer)


async def test_a_large_output_follows_its_answer_in_pieces(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        size = (3 << 20) + 17
        number = await client.call(work(number=1, size=size))
        answer = await client.answer(number)
        assert isinstance(answer, Answer)
        assert answer.output == size
        from provider_support import until

        await until(lambda: len(client.outputs.get(number, b"")) == size)
        # Asked again, it comes again; acknowledged, it is gone.
        second = await client.call(work(number=1, size=size))
        await until(lambda: len(client.outputs.get(second, b"")) == size)
        assert answer.receipt is not None
        assert list(provider._spool.iterdir())
        await client.acknowledge(answer.receipt)
        assert not list(provider._spool.iterdir())


async def test_what_is_called_off_in_the_breath_it_was_asked_leaves_nothing_behind(bench: Bench) -> None:
    """Its task is cancelled before it ran a step: the caller hears of it all the same, and the window is free again."""
    async with bench.running():
        client = Client(bench)
        await client.open()
        for turn in range(3):
            number = client.next()
            await client.send(Call(number, "works", "run", work(number=turn)), Cancel(number))
            refusal = await client.answer(number)
            assert isinstance(refusal, Refusal)
            assert refusal.code == "cancelled"
        assert bench.works.runs == []
        assert isinstance(await client.ask(work(number=9)), Answer)
