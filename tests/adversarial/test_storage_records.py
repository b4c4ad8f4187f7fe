"""Records on a holder: the newest stays whoever tries what, for those who have a shard there; and anybody may ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from holder_support import KEEPER, PERIOD, ROOM, Holder, Shard, User
from provider_support import Link, until
from provider_world import NETWORK, key
from surge.core.messages import Refusal, encode_body, visit_context
from surge.core.messages import holder_visits as v
from surge.core.messages import storage as m
from surge.core.storage import records
from surge.core.storage.deals import UNKEPT_SECONDS
from surge.core.storage.records import MOST_BODY, Record
from surge.errors import Unavailable
from surge.storage import recorder
from surge.storage.service import REMEMBERED_SECONDS

AUTHOR, LABEL = key(700), bytes(31) + b"\x01"


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


def record(version: int, body: bytes = b"body", label: bytes = LABEL) -> Record:
    return records.sign(AUTHOR, label, version, body)


async def put(user: User, made: Record) -> m.RecordKept:
    return m.decode_record_kept((await user.done("put_record", m.PutRecord(made.encode()))).body)


async def got(user: User, label: bytes = LABEL) -> bytes:
    return m.decode_found_record((await user.done("get_record", m.GetRecord(AUTHOR.address, label))).body).record


async def test_the_newest_version_stays(holder: Holder) -> None:
    async with holder.running():
        user = await holder.user()
        await user.put(Shard.made(), holder.now)
        assert await got(user) == b""
        one, two, rival = record(1), record(2), record(2, b"another body")
        assert await put(user, one) == m.RecordKept(True, b"")
        assert await put(user, two) == m.RecordKept(True, b"")
        assert await put(user, two) == m.RecordKept(True, b""), "the same again is no conflict"
        assert await put(user, one) == m.RecordKept(False, two.encode()), "no way back"
        assert await put(user, rival) == m.RecordKept(False, two.encode())
        assert await got(user) == two.encode()
    async with holder.running():
        await user.open()
        assert await got(user) == two.encode()
        assert await put(user, one) == m.RecordKept(False, two.encode())


async def test_those_who_have_no_shard_here_bring_few_records(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST_OF_GUESTS", 100 << 10)
    body, labels = bytes(30 << 10), [bytes([number]) * 32 for number in range(4)]
    async with holder.running():
        user, guest, another = await holder.user(), await holder.user(51), await holder.user(52)
        for label in labels[:2]:
            assert (await put(guest, record(1, body, label))).kept
        assert (await put(guest, record(2, body, labels[0]))).kept, "in place of an older one"
        await guest.refused("put_record", m.PutRecord(record(1, body, labels[2]).encode()), "storage", "no shard here have")
        assert (await put(another, record(1, body, labels[2]))).kept
        await another.refused("put_record", m.PutRecord(record(1, body, labels[3]).encode()), "storage", "too many wallets")
        assert (await put(guest, record(3, b"", labels[0]))).kept, "what is smaller always fits"
        await user.put(Shard.made(), holder.now)
        assert (await put(user, record(1, bytes(MOST_BODY), labels[3]))).kept


async def test_few_records_of_those_who_have_no_shard_stay_for_a_time(holder: Holder) -> None:
    async with holder.running():
        guest = await holder.user()
        await put(guest, record(1))
        holder.clock.now += REMEMBERED_SECONDS - 1
        await holder.storage.look(holder.now)
        assert await got(guest) == record(1).encode()
        holder.clock.now += 2
        await holder.storage.look(holder.now)
        assert await got(guest) == b""
        assert holder.storage.shelf.free() == ROOM


async def test_a_keeper_writes_the_map_with_a_wallet_that_pays_for_no_shard_here(holder: Holder) -> None:
    async with holder.running():
        user, keeper = await holder.user(), await holder.user(51)
        await user.put(Shard.made(), holder.now)
        made = records.sign(KEEPER, LABEL, 1, b"a page")
        assert await put(keeper, made) == m.RecordKept(True, b"")


async def test_a_record_that_its_author_did_not_sign_is_refused(holder: Holder) -> None:
    async with holder.running():
        user = await holder.user()
        await user.put(Shard.made(), holder.now)
        forged = replace(record(1), author=key(701).address)
        for data in (forged.encode(), replace(record(1), version=9).encode(), b"noise", record(1).encode() + b"\x00"):
            await user.refused("put_record", m.PutRecord(data), "invalid")
        assert await got(user) == b""


async def test_records_have_a_bound_each_and_together(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST_OF_ONE", 3 * MOST_BODY)
    async with holder.running():
        user, large = await holder.user(), bytes(MOST_BODY)
        await user.put(Shard.made(), holder.now)
        labels = [bytes([number]) * 32 for number in range(3)]
        for label in labels[:2]:
            assert (await put(user, record(1, large, label))).kept
        assert (await put(user, record(2, large, labels[0]))).kept, "in place of an older one"
        await user.refused("put_record", m.PutRecord(record(1, large, labels[2]).encode()), "storage", "have")
        other = records.sign(key(701), LABEL, 1, large)
        await user.refused("put_record", m.PutRecord(other.encode()), "storage", "have")
        kept = [record(2, large, labels[0]), record(1, large, labels[1])]
        assert holder.storage.shelf.free() == ROOM - 200_000 - sum(len(each.encode()) for each in kept)


async def test_a_record_larger_than_a_record_is_refused_unread(holder: Holder) -> None:
    async with holder.running():
        user = await holder.user()
        await user.call(encode_body(m.PutRecord(bytes(m.MAX_RECORD + 1))), "put_record", "storage")
        assert "cannot be read" in await user.ended()


async def test_many_records_go_with_the_last_shard_of_who_pays(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user = await holder.user()
        await user.put(shard, holder.now)
        other, long = await holder.user(51), 20 * UNKEPT_SECONDS
        await other.put(Shard.made(seed=2), holder.now, until=holder.now + long, ends=holder.now + long)
        many = record(1, bytes(recorder.MOST_OF_GUEST))
        await put(user, many)
        await holder.storage.look(holder.now)
        assert await got(user) == many.encode()
        holder.clock.now += PERIOD + UNKEPT_SECONDS + 1
        await holder.storage.look(holder.now)
        assert await got(user) == b""
        assert holder.storage.shelf.free() == ROOM - 200_000


class Visitor:
    """Somebody without a channel."""

    def __init__(self, holder: Holder) -> None:
        self.link: Link = holder.bench.relays.dial(key(800).address, visit_context(NETWORK.network_id, "storage"))

    async def ask(self, label: bytes = LABEL) -> m.ToReader:
        await self.link.send(v.encode_visit(v.AskRecord(AUTHOR.address, label)))
        return await self.told()

    async def told(self) -> m.ToReader:
        return v.decode_for_reader(await asyncio.wait_for(self.link.receive(), 5))


async def test_a_visitor_finds_records_without_a_channel(holder: Holder) -> None:
    async with holder.running():
        user = await holder.user()
        await user.put(Shard.made(), holder.now)
        await put(user, record(3))
        visitor = Visitor(holder)
        assert await visitor.ask() == v.TellRecord(record(3).encode())
        assert await visitor.ask(bytes(32)) == v.TellRecord(b"")


async def test_a_visitor_asks_for_so_many_and_so_many_visit_at_once(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "VISITS", 2)
    async with holder.running():
        one, two = Visitor(holder), Visitor(holder)
        await one.ask()
        await two.ask()
        assert isinstance(await Visitor(holder).ask(), v.NotNow)
        for _ in range(v.MOST_ASKED - 1):
            assert isinstance(await one.ask(), v.TellRecord)
        assert isinstance(await one.told(), v.NotNow)
        await until(lambda: one.link.closed_because)
        assert isinstance(await Visitor(holder).ask(), v.TellRecord), "there is room again"


async def test_a_visitor_that_sends_noise_or_says_nothing_is_sent_away(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "VISIT_SECONDS", 0.2)
    monkeypatch.setattr(recorder, "FIRST_SECONDS", 0.2)
    async with holder.running():
        noisy, silent, slow = Visitor(holder), Visitor(holder), Visitor(holder)
        await slow.ask()
        await noisy.link.send(b"\xc1")
        with pytest.raises(Unavailable):
            await noisy.told()
        with pytest.raises(Unavailable):
            await silent.told()
        with pytest.raises(Unavailable):
            await slow.told()
        user = await holder.user()
        assert not isinstance(await user.use("list", m.ListDeals(b"", 1)), Refusal)


async def test_visitors_that_ask_and_then_say_nothing_make_way_for_others(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "VISITS", 2)
    monkeypatch.setattr(recorder, "PAUSE_SECONDS", 0.0)
    async with holder.running():
        one, two, three = Visitor(holder), Visitor(holder), Visitor(holder)
        await one.ask()
        await two.ask()
        assert isinstance(await three.ask(), v.TellRecord)
        await until(lambda: one.link.closed_because)
        assert isinstance(await two.ask(), v.TellRecord), "who was silent for longest went"
        assert isinstance(await Visitor(holder).ask(), v.TellRecord)
        await until(lambda: three.link.closed_because)
