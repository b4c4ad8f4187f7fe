"""Buyers that lie, flood, skip steps, replay and vanish: each is told why, and costs at most its window."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provider_support import NETWORK, Bench, Client, State, key, until, work
from surge.core import canonical
from surge.core.eip712 import channels_domain
from surge.core.messages import (
    Acknowledge,
    Answer,
    Call,
    Cancel,
    ChannelOpened,
    Chunk,
    CloseChannel,
    OpenChannel,
    Refusal,
    Reprice,
    encode,
)
from surge.core.pricing import Prices
from surge.core.types import ZERO
from surge.provider import desk, outbox, session
from surge.provider.daemon import Provider


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_bytes_that_are_no_message_end_the_session_with_a_reason(bench: Bench) -> None:
    async with bench.running():
        for data in (b"", b"\xc1", b"\x93\x02", encode(Cancel(1)) + b"\x00", bytes(600 << 10), b"\x91" * 100_000):
            client = Client(bench)
            await client.dial()
            await client.link.send(data)
            assert "cannot be read" in await client.ended() or "larger than" in await client.ended()
        honest = Client(bench, 60)
        assert isinstance(await honest.open(), ChannelOpened), "others are not touched"


@pytest.mark.parametrize(
    "message",
    [
        Call(1, "works", "run", work()),
        Cancel(1),
        Chunk(1, ZERO, 0, b"", True),
        Acknowledge([], b"", 0, ZERO, bytes(65)),
        Reprice(b"", bytes(65)),
        CloseChannel(b"", 0, ZERO, bytes(65)),
    ],
)
async def test_nothing_is_done_before_a_channel_is_open(bench: Bench, message: Any) -> None:
    async with bench.running():
        client = Client(bench)
        await client.dial()
        await client.send(message)
        assert "begins with a channel" in await client.ended()
        assert bench.works.runs == []


@pytest.mark.parametrize(
    ("context", "why"),
    [
        (b"", "context"),
        (canonical.encode([1]), "another network"),
        (canonical.encode({"version": 1, "network_id": b"\x07" * 32}), "another network"),
        (canonical.encode({"version": 2, "network_id": NETWORK.network_id}), "version 2"),
    ],
)
async def test_a_session_for_elsewhere_or_from_the_future_is_refused(bench: Bench, context: bytes, why: str) -> None:
    async with bench.running():
        client = Client(bench)
        await client.dial(context)
        assert why in await client.ended()


async def test_a_session_that_opens_nothing_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "OPEN_SECONDS", 0.05)
    async with bench.running():
        client = Client(bench)
        await client.dial()
        assert "no channel was opened" in await client.ended()


def _state(**changes: Any) -> Callable[[Client], None]:
    def change(client: Client) -> None:
        for name, value in changes.items():
            setattr(client.bench.ledger.channels[client.channel], name, value)

    return change


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (_state(exists=False), "unknown", "no such channel"),
        (_state(provider=key(9).address), "invalid", "provider"),
        (_state(device=key(9).address), "invalid", "device"),
        (_state(session_key=key(9).address), "invalid", "session key"),
        (_state(floor=10**16 - 1), "invalid", "floor"),
        (_state(challenge_seconds=3599), "invalid", "challenge period"),
        (_state(closing_at=1), "invalid", "closing"),
        (_state(closed=True), "invalid", "closed"),
        (_state(redeemed=1), "invalid", "used before"),
        (_state(count=1), "invalid", "used before"),
    ],
)
async def test_a_channel_the_ledger_does_not_bear_out_is_refused(
    bench: Bench, change: Callable[[Client], None], code: str, why: str
) -> None:
    async with bench.running():
        client = Client(bench)
        change(client)
        refusal = await client.open()
        assert isinstance(refusal, Refusal)
        assert refusal.code == code
        assert why in refusal.text


@pytest.mark.parametrize(
    "change",
    [
        {"channel": b"\x09" * 32},
        {"job": b"\x09" * 32},
        {"offer": b"\x09" * 32},
        {"engine": b"\x09" * 32},
        {"prices": Prices(1, 1, 1, 1, 10**9)},
        {"window": 1000},
        {"audit_seconds": 10**9},
        {"offline_seconds": 1},
    ],
)
async def test_terms_that_were_not_offered_are_refused(bench: Bench, change: dict[str, Any]) -> None:
    async with bench.running():
        client = Client(bench)
        refusal = await client.open(client.terms(**change))
        assert isinstance(refusal, Refusal)
        assert refusal.code in ("invalid", "price")
        client.terms_agreed = client.terms()
        assert isinstance(await client.open_again(), ChannelOpened), "it may try again"


async def test_terms_signed_by_another_key_or_for_another_chain_are_refused(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        refusal = await client.open(signer=key(9))
        assert isinstance(refusal, Refusal)
        terms = client.terms()
        elsewhere = client.session_key.sign(terms.digest(channels_domain(1, NETWORK.channels.address)))
        before = len(client.messages)
        await client.send(OpenChannel(client.channel, terms.encode(), elsewhere, 0, client.side.log.root()))
        (refusal,) = await until(lambda: client.messages[before:])
        assert isinstance(refusal, Refusal)
        assert "signed by" in refusal.text


async def test_a_stranger_cannot_take_a_channel_by_its_id(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        thief = Client(bench, session_key=key(77))
        thief.channel = client.channel
        refusal = await thief.open(client.terms_agreed)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "invalid"
        assert isinstance(await client.ask(work(number=1)), Answer), "the owner's session goes on"


async def test_opening_again_and_again_wrongly_ends_the_session(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        client.channel = b"\x08" * 32
        await client.dial()
        for _ in range(10):
            if client.link.closed_because:
                break
            await client.open_again(client.terms())
        assert "too many" in await client.ended()
        assert bench.ledger.looks < 10


async def test_a_second_channel_in_one_session_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.open_again()
        assert "one channel" in await client.ended()


async def test_calls_over_the_window_are_refused_however_many_come(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        numbers = [await client.call(work("gate", number)) for number in range(50)]
        await until(lambda: len(client.refusals()) == 49)
        assert {refusal.code for refusal in client.refusals()} == {"window"}
        bench.works.gate.set()
        assert isinstance(await client.answer(numbers[0]), Answer)
        assert len(bench.works.runs) == 1


async def test_free_calls_are_bounded_too(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        for number in range(session.CALLS_BESIDE + 20):
            await client.call(work("gate", number), "free")
        await until(lambda: len(client.refusals()) == 19)
        assert {refusal.code for refusal in client.refusals()} == {"busy"}
        bench.works.gate.set()


async def test_two_calls_with_one_number_are_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.send(Call(5, "works", "run", work("gate", 1)), Call(5, "works", "run", work("gate", 2)))
        assert "number 5" in await client.ended()
        bench.works.gate.set()


async def test_senseless_calls_are_refused_and_many_end_the_session(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        refusal = await client.ask(work(), service="alchemy")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "unknown"
        assert "works" in refusal.text
        for _ in range(session.MAX_FAULTS):
            await client.call(work(), "transmute")
        assert "senseless" in await client.ended()


async def test_a_service_that_fails_refuses_its_call_and_nothing_more(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        refusal = await client.ask(work("bug"))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "internal"
        assert isinstance(await client.ask(work(number=1)), Answer)


async def test_a_local_ending_leaves_the_window_as_it_was(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        for number in range(5):
            refusal = await client.ask(work("local", number))
            assert isinstance(refusal, Refusal)
            assert refusal.code == "local"
            assert canonical.decode(refusal.details) == {"status": "WALL_TIME"}


async def test_a_channel_opened_from_many_sessions_at_once_has_one_desk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, shown, look = asyncio.Queue[None](), asyncio.Semaphore(0), bench.ledger.channel

    async def slow(channel: bytes, *, confirmed: bool = False) -> State:
        looked_at.put_nowait(None)
        await shown.acquire()
        return await look(channel, confirmed=confirmed)

    monkeypatch.setattr(bench.ledger, "channel", slow)
    async with bench.running() as provider:
        wrong, second, third = (Client(bench) for _ in range(3))
        wrong.side.log.append(bytes(32))
        refused = asyncio.create_task(wrong.open(count=0))
        await looked_at.get()
        openings = [asyncio.create_task(second.open())]
        await until(lambda: sum(provider.reception._openers.values()) == 2)
        shown.release()
        assert isinstance(await refused, Refusal)
        await looked_at.get()
        openings.append(asyncio.create_task(third.open()))
        await until(lambda: sum(provider.reception._openers.values()) == 2)
        for _ in openings:
            shown.release()
        assert all(isinstance(each, ChannelOpened) for each in await asyncio.gather(*openings))
        assert "another session has taken the channel" in await second.ended()
        assert not provider.reception._openers
        assert not provider.reception._opening
        answer = await third.ask(work())
        assert isinstance(answer, Answer)


async def test_a_large_output_asked_for_again_and_again_does_not_pile_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MANY_FILES", 20)
    made: list[outbox.Outbox] = []
    monkeypatch.setattr(session, "Outbox", lambda link: made.append(outbox.Outbox(link)) or made[-1])
    async with bench.running():
        client = Client(bench)
        await client.open()
        first = await client.ask(work(size=1000))
        assert isinstance(first, Answer)
        there = client.link.other
        there.stalled.clear()
        again = [await client.call(work(size=1000)) for _ in range(200)]
        await until(lambda: made[0].full)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(made[0]._files) <= 22
        there.stalled.set()
        await until(lambda: set(again) <= client.outputs.keys())
        assert isinstance(await client.ask(work("free"), "free"), Answer)


def under_way(provider: Provider, client: Client) -> list[Any]:
    """The works at a client's desk."""
    found = provider.reception.desk(client.channel)
    return [] if found is None else found.works


async def test_sessions_that_ask_for_a_running_unit_and_leave_are_not_held_by_it(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        for _ in range(5):
            await client.open()
            asked = [await client.call(work("gate", 1)) for _ in range(20)]
            await until(lambda: len(client.refusals()) >= 4)
            assert {refusal.code for refusal in client.refusals()} == {"busy"}, "one work's callers are bounded"
            client.messages.clear()
            (unit,) = under_way(provider, client)
            assert len(unit.callers) == desk.MAX_CALLERS
            assert len({port for port, _ in unit.callers}) == 1, "the sessions before were let go"
        await client.link.close("it vanishes")
        await until(lambda: not unit.callers)
        bench.works.gate.set()
        await client.open()
        answer = await client.ask(work("gate", 1))
        assert isinstance(answer, Answer), "what was begun is finished, and waits for whoever asks again"
        assert bench.works.runs == [1]
        assert answer.id not in asked


async def test_free_calls_of_sessions_that_left_are_called_off_and_those_under_way_bounded(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        for turn in range(4):
            await client.open()
            for number in range(60):
                await client.call(work("gate", number), "free")
            await until(lambda turn=turn: len(bench.works.runs) == 60 * (turn + 1))
            assert len(under_way(provider, client)) == 60
        await client.link.close("it vanishes")
        await until(lambda: provider.reception.desk(client.channel) is None)

        # Those that can no longer be called off stay, and count.
        await client.open()
        for _ in range(3):
            for number in range(60):
                await client.call(work("begun", number), "free")
            await until(lambda: len(under_way(provider, client)) + len(client.refusals()) >= 60)
            client.messages.clear()
            await client.open()
        assert len(under_way(provider, client)) <= client.opened.window + desk.MAX_FREE
        bench.works.gate.set()
        await until(lambda: not under_way(provider, client))
        assert isinstance(await client.ask(work(number=9)), Answer)
