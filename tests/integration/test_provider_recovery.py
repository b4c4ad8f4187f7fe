"""A provider that is killed, whose disk fills, whose ledger or relays go away, that drains: nothing promised is lost."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path

import pytest

from provider_support import DEVICE, NETWORK, PRICE, Bench, Client, until, work
from surge.core import canonical
from surge.core.messages import Answer, ChannelOpened, CloseChannel, ClosedTogether, Received, Refusal
from surge.core.messages.fields import wei, wei_bytes
from surge.core.receipts import Close
from surge.core.signing import recover
from surge.errors import NotEnough, Unavailable
from surge.provider import batches, daemon


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_killed_after_the_receipt_was_sent_it_answers_the_same_and_uses_no_sequence_twice(bench: Bench) -> None:
    provider = await bench.provider().__aenter__()
    await provider.ready()
    client = Client(bench)
    await client.open()
    await client.vouch(3)
    answer = await client.ask(work(number=10, size=5000))
    assert isinstance(answer, Answer)
    await bench.kill(provider)
    async with bench.running():
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        assert (opened.count, wei(opened.amount)) == (3, 3 * PRICE)
        assert opened.pending == [answer.receipt]
        number = await client.call(work(number=10, size=5000))
        again = await client.answer(number)
        assert isinstance(again, Answer)
        assert (again.receipt, again.body, again.output) == (answer.receipt, answer.body, 5000)
        await until(lambda: len(client.outputs.get(number, b"")) == 5000)
        assert bench.works.runs.count(10) == 1
        await client.acknowledge(answer.receipt)
        following = await client.ask(work(number=11))
        assert isinstance(following, Answer)
        assert following.receipt is not None
        assert following.receipt.sequence == 4
    assert bench.ledger.channels[client.channel].redeemed == 4 * PRICE


async def test_killed_in_the_middle_of_a_unit_the_unit_is_simply_done_again(bench: Bench) -> None:
    provider = await bench.provider().__aenter__()
    await provider.ready()
    client = Client(bench)
    await client.open()
    await client.call(work("gate", 1))
    await until(lambda: bench.works.runs == [1])
    await bench.kill(provider)
    bench.works.gate.set()
    async with bench.running():
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        assert (opened.pending, opened.window) == ([], 1)
        answer = await client.ask(work("gate", 1))
        assert isinstance(answer, Answer)
        assert answer.receipt is not None
        assert answer.receipt.sequence == 0, "no receipt was ever told of"


async def test_an_acknowledgement_that_was_lost_with_the_process_is_taken_again(bench: Bench) -> None:
    provider = await bench.provider().__aenter__()
    await provider.ready()
    client = Client(bench)
    await client.open()
    answer = await client.ask(work(number=1))
    assert isinstance(answer, Answer)
    message = client.acknowledgement(answer.receipt)
    await bench.kill(provider)
    async with bench.running() as provider:
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        assert opened.count == 0
        await client.send(message)
        await until(lambda: provider.reception.desks[0].account.channel.log.size == 1)
        assert provider.reception.desks[0].account.window == 2


async def test_the_window_a_buyer_earned_outlives_restarts(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.vouch(3)
        for number in range(10, 12):
            assert isinstance(await client.ask(work(number=number)), Answer)
    async with bench.running() as provider:
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        assert opened.window == 4
        assert len(opened.pending) == 2
        answers = [await client.ask(work(number=20 + number)) for number in range(3)]
        assert [type(each) for each in answers] == [Answer, Answer, Refusal], "what is unvouched still counts"
        assert provider.reception.desks[0].account.buyer.standing.outstanding == 4


async def test_a_unit_is_finished_when_its_session_breaks_and_waits_for_the_buyer(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.call(work("gate", 1))
        await until(lambda: bench.works.runs)
        await client.link.close("broken")
        bench.works.gate.set()
        await until(lambda: not provider.reception.desks)
        opened = await client.open()
        assert isinstance(opened, ChannelOpened)
        assert len(opened.pending) == 1
        assert isinstance(await client.ask(work("gate", 1)), Answer)
        assert bench.works.runs == [1]


async def test_a_unit_asked_again_while_it_runs_is_answered_where_it_was_asked_last(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.call(work("gate", 1))
        await until(lambda: bench.works.runs)
        old = client.link
        await client.open()
        await until(lambda: old.closed_because)
        assert "another session" in old.closed_because
        number = await client.call(work("gate", 1))
        bench.works.gate.set()
        assert isinstance(await client.answer(number), Answer)
        assert bench.works.runs == [1]


# A full disk


def _fill(provider: daemon.Provider) -> None:
    """Leave the journal no further page."""

    def full(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    full(provider._journal.database._writer)


def _free(provider: daemon.Provider) -> None:
    provider._journal.database._writer.execute("PRAGMA max_page_count = 1000000")


async def test_on_a_full_disk_units_are_refused_nothing_is_lost_and_it_recovers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "RETRY_SECONDS", 0.05)
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.vouch(3)
        kept = [await client.ask(work(number=10 + number)) for number in range(3)]
        _fill(provider)
        refused = 0
        for number in range(20, 60):
            answer = await client.ask(work(number=number))
            if isinstance(answer, Refusal) and answer.code == "storage":
                refused += 1
                break
            assert isinstance(answer, Answer | Refusal)
            if isinstance(answer, Answer):
                kept.append(answer)
                client.acknowledgement(answer.receipt)
                await client.send(client.signed(client.side.state(), [(answer.receipt.sequence, True)]))
                kept.pop()
        assert refused, "the disk was never full"
        ran = len(bench.works.runs)
        again = await client.ask(work(number=99))
        assert isinstance(again, Refusal)
        assert again.code == "storage"
        assert len(bench.works.runs) == ran, "nothing is run whose receipt could not be written"
        assert "disk" in provider.status()["waiting"]
        # An acknowledgement that cannot be written counts in memory and is written later.
        message = client.acknowledgement(*(each.receipt for each in kept if isinstance(each, Answer)))
        await client.send(message)
        await until(lambda: provider.reception.desks[0].account.channel.log.size == message.count)
        _free(provider)
        await until(lambda: not provider._journal.batches.fault)
        await until(lambda: (row := provider._journal.channel(client.channel)) is not None and row.count == message.count)
        assert isinstance(await client.ask(work(number=100)), Answer)
    async with bench.running():
        opened = await client.open()
        assert isinstance(opened, ChannelOpened), opened
        assert opened.count == message.count


async def test_an_upload_on_a_full_disk_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from surge.store import BlobWriter

    def full(self: BlobWriter, data: bytes) -> None:
        raise Unavailable("the disk is full")

    async with bench.running():
        client = Client(bench)
        await client.open()
        data = bytes(300 << 10)
        content = hashlib.sha256(data).digest()
        await client.ask(work("want", job=content, size=len(data)), "free")
        with monkeypatch.context() as patch:
            patch.setattr(BlobWriter, "write", full)
            refusal = await client.upload(data)
            assert isinstance(refusal, Refusal)
            assert refusal.code == "storage"
        assert isinstance(await client.upload(data), Received)


# The ledger


async def test_while_the_ledger_is_away_known_channels_work_and_new_ones_wait(bench: Bench) -> None:
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        bench.ledger.away = True
        assert isinstance(await client.open(), ChannelOpened)
        assert isinstance(await client.ask(work(number=5)), Answer)
        refusal = await Client(bench, 51).open()
        assert isinstance(refusal, Refusal)
        assert refusal.code == "busy"
        await until(lambda: "no endpoint answers" in provider.status()["earnings_wait_for"])
        bench.ledger.away = False
        await until(lambda: bench.ledger.channels[client.channel].redeemed == PRICE)


async def test_a_restart_while_the_ledger_is_away_goes_on_with_what_was_known(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.vouch(1)
    bench.ledger.away = True
    async with bench.running():
        assert isinstance(await client.open(), ChannelOpened)
        assert isinstance(await client.ask(work(number=5)), Answer)


async def test_a_new_device_waits_for_the_registry(bench: Bench) -> None:
    bench.ledger.away = True
    async with bench.provider() as provider:
        with pytest.raises(Unavailable, match="registry cannot be asked"):
            await provider.ready(0.1)


async def test_without_money_for_gas_the_voucher_is_kept_and_said_so(bench: Bench) -> None:
    bench.ledger.refuse = NotEnough("the account has nothing to pay gas with")
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        await until(lambda: "gas" in provider.status()["earnings_wait_for"])
        bench.ledger.refuse = None
        await until(lambda: bench.ledger.channels[client.channel].redeemed == PRICE)


async def test_a_channel_lost_with_the_chains_last_blocks_is_redeemed_when_it_is_back(bench: Bench) -> None:
    bench.ledger.cost = PRICE // 2
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        state = bench.ledger.channels.pop(client.channel)
        await provider.earnings.settle(last_chance=True)
        assert provider.earnings.waits_for == ""
        bench.ledger.channels[client.channel] = state
        await provider.earnings.settle(last_chance=True)
        assert state.redeemed == PRICE


async def test_on_a_channel_that_the_ledger_lost_no_work_is_done_until_it_is_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from surge.provider import reception

    monkeypatch.setattr(reception, "DEPOSIT_PAUSE", 0.0)
    async with bench.running() as provider:
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        state = bench.ledger.channels.pop(client.channel)
        await provider.earnings.settle(last_chance=True)
        refusal = await client.ask(work(number=5))
        assert isinstance(refusal, Refusal)
        assert (refusal.code, canonical.decode(refusal.details)["deposit"]) == ("deposit", 0)
        bench.ledger.channels[client.channel] = state
        answer = await client.ask(work(number=5))
        assert isinstance(answer, Answer)
        await client.acknowledge(answer.receipt)


async def test_when_a_close_begins_on_the_ledger_the_voucher_is_redeemed_and_no_more_work_taken(bench: Bench) -> None:
    bench.ledger.cost = PRICE // 2
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        assert bench.ledger.channels[client.channel].redeemed == 0, "it is not worth its gas yet"
        bench.ledger.channels[client.channel].closing_at = int(time.time()) + 3600
        await until(lambda: bench.ledger.channels[client.channel].redeemed == PRICE)
        refusal = await client.ask(work(number=5))
        assert isinstance(refusal, Refusal)
        assert "close has begun" in refusal.text


async def test_a_channel_emptied_in_the_middle_of_a_job_is_refused_redeemed_and_works_on_after_a_top_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surge.provider import reception

    monkeypatch.setattr(reception, "DEPOSIT_PAUSE", 0.0)
    bench.ledger.cost = PRICE
    async with bench.running():
        client = Client(bench)
        bench.ledger.channels[client.channel].deposit = client.side.deposit = 3 * PRICE + 1
        await client.open()
        await client.vouch(3)
        refusal = await client.ask(work(number=5))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "deposit"
        await until(lambda: bench.ledger.channels[client.channel].redeemed == 3 * PRICE)
        bench.ledger.channels[client.channel].deposit = client.side.deposit = 10 * PRICE
        answer = await client.ask(work(number=5))
        assert isinstance(answer, Answer), "the ledger was asked again"


def _close(client: Client) -> CloseChannel:
    """The buyer's half of a close at the state it holds."""
    state = client.side.state()
    close = Close(client.channel, state.amount, state.count, state.root)
    signature = client.session_key.sign(close.digest(NETWORK.channels_domain))
    return CloseChannel(wei_bytes(state.amount), state.count, state.root, signature)


async def test_closing_together_needs_both_at_the_same_state(bench: Bench) -> None:
    bench.ledger.cost = PRICE
    async with bench.running():
        client = Client(bench)
        await client.open()
        await client.vouch(1)
        answer = await client.ask(work(number=5))
        assert isinstance(answer, Answer)
        await client.send(_close(client))
        refusal = (await until(client.refusals))[0]
        assert refusal.code == "window", "a receipt waits"
        await client.acknowledge(answer.receipt)
        await client.send(_close(client))
        closed = await until(lambda: next((each for each in client.messages if isinstance(each, ClosedTogether)), None))
        state = client.side.state()
        digest = Close(client.channel, state.amount, state.count, state.root).digest(NETWORK.channels_domain)
        assert recover(digest, closed.signature) == DEVICE.address
        refusal = await client.ask(work(number=6))
        assert isinstance(refusal, Refusal)
        assert "closed together" in refusal.text


async def test_a_close_is_signed_only_once_it_is_on_disk_that_the_channel_takes_no_more_work(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "RETRY_SECONDS", 0.05)
    provider = await bench.provider().__aenter__()
    await provider.ready()
    client = Client(bench)
    await client.open()
    await client.vouch(1)
    writer = provider._journal.database._writer
    large = "BEGIN INSERT OR REPLACE INTO settings VALUES ('large', randomblob(1000000)); END"
    writer.execute(f"CREATE TEMP TRIGGER large BEFORE UPDATE OF stopped ON channels {large}")
    _fill(provider)
    await client.send(_close(client))
    answer = await until(lambda: next((each for each in client.messages if isinstance(each, ClosedTogether | Refusal)), None))
    assert isinstance(answer, Refusal), "a close was signed that a crash would have forgotten"
    assert answer.code == "storage"
    writer.execute("DROP TRIGGER large")
    _free(provider)
    await until(lambda: not provider._journal.batches.fault)
    await client.send(_close(client))
    await until(lambda: any(isinstance(each, ClosedTogether) for each in client.messages))
    await bench.kill(provider)
    async with bench.running():
        await client.open()
        refusal = await client.ask(work(number=6))
        assert isinstance(refusal, Refusal)
        assert "closed together" in refusal.text
