"""Buyers that lie, flood, skip steps, replay and vanish: each is told why, and costs at most its window."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provider_support import DEVICE, NETWORK, PRICE, Bench, Client, key, until, work
from surge.core import canonical
from surge.core.channels import BuyerChannel
from surge.core.eip712 import channels_domain
from surge.core.messages import (
    Acknowledge,
    Answer,
    Call,
    Cancel,
    ChannelOpened,
    Chunk,
    CloseChannel,
    NewPrices,
    OpenChannel,
    Received,
    Refusal,
    Reprice,
    encode,
)
from surge.core.messages.fields import MAX_CHUNK
from surge.core.pricing import Prices
from surge.core.types import ZERO
from surge.provider import daemon, session
from surge.provider.config import ProviderConfig
from surge.provider.uploads import MAX_UPLOADS


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


# Acknowledgements


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


# Uploads


async def _wanted(client: Client, data: bytes, size: int | None = None) -> bytes:
    content = hashlib.sha256(data).digest()
    await client.ask(work("want", job=content, size=len(data) if size is None else size), "free")
    return content


async def test_a_content_that_nobody_asked_for_is_refused_and_the_rest_of_it_passed_over(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        refusal = await client.upload(bytes(4 * MAX_CHUNK))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "unknown"
        assert isinstance(await client.ask(work(number=1)), Answer)
        assert len(client.refusals()) == 1
        assert not list((bench.folder / "provider" / "contents").iterdir())


@pytest.mark.parametrize("offset", [1, 2 * MAX_CHUNK])
async def test_a_gap_in_an_upload_is_a_fault(bench: Bench, offset: int) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        data = bytes(3 * MAX_CHUNK)
        content = await _wanted(client, data)
        await client.send(Chunk(90, content, 0, data[:MAX_CHUNK], False), Chunk(90, content, offset, data[:10], False))
        assert "was due" in await client.ended()
        await until(lambda: not list((bench.folder / "provider" / "contents").iterdir()))


async def test_an_upload_that_begins_in_the_middle_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        content = await _wanted(client, b"12")
        await client.send(Chunk(90, content, 1, b"2", True))
        assert "begins at 1" in await client.ended()


async def test_an_upload_that_changes_its_content_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        one, two = await _wanted(client, b"1" * 20), await _wanted(client, b"2" * 20)
        await client.send(Chunk(90, one, 0, b"1" * 10, False), Chunk(90, two, 10, b"2" * 10, True))
        assert "was due" in await client.ended()


async def test_an_upload_past_its_announced_size_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        content = await _wanted(client, bytes(100), size=99)
        await client.send(Chunk(90, content, 0, bytes(100), True))
        assert "announced" in await client.ended()


async def test_an_upload_of_other_bytes_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        content = await _wanted(client, b"good")
        await client.send(Chunk(90, content, 0, b"evil", True))
        assert "sha256" in await client.ended()
        await until(lambda: not list((bench.folder / "provider" / "contents").iterdir()))


async def test_uploads_under_way_are_bounded_and_dropped_with_the_session(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        for number in range(MAX_UPLOADS + 1):
            data = b"%d" % number * 100
            content = await _wanted(client, data)
            await client.send(Chunk(90 + number, content, 0, data[:10], False))
        await until(client.refusals)
        assert client.refusals()[0].code == "busy"
        folder = bench.folder / "provider" / "contents"
        assert len(list(folder.iterdir())) == MAX_UPLOADS
        await client.link.close("gone")
        await until(lambda: not list(folder.iterdir()))


async def test_unvouched_uploads_are_bounded(tmp_path: Path) -> None:
    config = ProviderConfig(upload_window=1000, earnings_seconds=0.2)
    bench = Bench(tmp_path, config=config)
    async with bench.running():
        client = Client(bench)
        await client.open()
        one, two = b"1" * 800, b"2" * 800
        await _wanted(client, one)
        await _wanted(client, two)
        received = await client.upload(one)
        assert isinstance(received, Received)
        refusal = await client.upload(two)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "window"
        await client.acknowledge(received.receipt)
        assert isinstance(await client.upload(two), Received)


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
