"""A holder's days: shards come, are pledged, read, proved, paid for, dropped and forgotten; and are there again after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from holder_support import DOMAIN, PERIOD, PRICE, ROOM, Holder, Shard, User, replace, seed
from provider_support import until
from surge.core import offers
from surge.core.messages import Answer, ChannelOpened, encode_body
from surge.core.messages import storage as m
from surge.core.messages.fields import wei
from surge.core.receipts import ReceiptKind
from surge.core.storage import accounts
from surge.core.storage.accounts import Held
from surge.core.storage.deals import UNKEPT_SECONDS
from surge.core.storage.layout import TRANSFER_LEAF
from surge.core.storage.tree import verify_range
from surge.storage.service import StorageConfig


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


async def test_an_offer_says_what_storage_costs_and_how_much_room_there_is(holder: Holder) -> None:
    async with holder.running():
        assert holder.bench.relays.offer is not None
        offer = offers.decode(holder.bench.relays.offer).offer
        assert (offer.storage, offer.room) == (PRICE, ROOM)
        assert "storage" in offer.services


async def test_a_shard_comes_is_read_and_proved_and_goes(holder: Holder) -> None:
    shard = Shard.made(500_000)
    async with holder.running():
        user, now = await holder.user(), holder.now
        assert m.decode_here((await user.done("open", shard.open(now))).body).leaves == 0
        for write, here in zip(shard.writes(count=3), (3, 6, 8), strict=True):
            assert m.decode_here((await user.done("write", write)).body).leaves == here
        body, receipt = await user.owes("keep", m.Keep(shard.deal))
        shard.pledge(now, now + PERIOD).verify(DOMAIN, m.decode_pledged(body).signature)
        said = (receipt.kind, receipt.subject, receipt.result, receipt.quantity)
        assert said == (ReceiptKind.TRANSFER, shard.tree.root, shard.tree.root, len(shard.data))
        assert wei(receipt.amount) == -(-len(shard.data) * user.terms_agreed.prices.transfer // 10**9)
        await user.acknowledge(receipt)

        for first, count, end in ((0, 7, 7), (6, 7, 8), (7, 1, 8), (3, 2, 5)):
            leaves = m.decode_leaves((await user.done("read", m.Read(shard.deal, first, count))).body)
            assert leaves.data == shard.data[first * TRANSFER_LEAF : end * TRANSFER_LEAF]
            assert verify_range(shard.tree.root, len(shard.data), first, leaves.data, leaves.proof)
        for number in range(20):
            (proof,) = await user.shown(seed(number), shard)
            assert shard.shows(seed(number), proof)
            assert not shard.shows(seed(number + 1), proof)

        listed = m.decode_listed((await user.done("list", m.ListDeals(b"", 10))).body)
        assert listed == m.Listed([(shard.deal, now + PERIOD)], False)
        _, receipt = await user.owes("drop", m.Drop(shard.deal, shard.release()))
        said = (receipt.kind, receipt.subject, receipt.result, receipt.quantity)
        assert said == (ReceiptKind.DROPPED, shard.deal, shard.tree.root, len(shard.data))
        assert wei(receipt.amount) == 0
        await user.acknowledge(receipt)
        assert (await user.done("drop", m.Drop(shard.deal, shard.release()))).receipt is None, "it is stated once"
        assert not holder.paths()
        await user.refused("read", m.Read(shard.deal, 0, 1), "missing")
        assert holder.storage.shelf.free() == ROOM


async def test_calls_about_a_shard_need_not_wait_for_one_another(holder: Holder) -> None:
    shard = Shard.made(1_000_000)
    async with holder.running():
        user = await holder.user()
        numbers = [await user.call(encode_body(shard.open(holder.now)), "open", "storage")]
        numbers += [await user.call(encode_body(write), "write", "storage") for write in shard.writes(count=1)]
        numbers.append(await user.call(encode_body(m.Keep(shard.deal)), "keep", "storage"))
        answers = [await user.answer(number) for number in numbers]
        assert all(isinstance(answer, Answer) for answer in answers), answers


async def test_reads_are_billed_by_the_smaller_count_and_once(holder: Holder) -> None:
    shard = Shard.made(300_000)
    async with holder.running():
        user = await holder.user()
        await user.put(shard, holder.now)
        await user.done("read", m.Read(shard.deal, 0, 3))
        _, receipt = await user.owes("bill", m.BillReads(0, 10**9))
        subject = accounts.reads(user.channel, 0)
        assert (receipt.kind, receipt.subject, receipt.result, receipt.quantity) == (
            ReceiptKind.TRANSFER,
            subject,
            subject,
            3 * TRANSFER_LEAF,
        )
        assert (await user.done("bill", m.BillReads(0, 10**9))).receipt is None
        await user.acknowledge(receipt)
        assert (await user.done("bill", m.BillReads(0, 10**9))).receipt is None
        await user.done("read", m.Read(shard.deal, 0, 2))
        _, receipt = await user.owes("bill", m.BillReads(1, 1000))
        assert receipt.quantity == 1000


async def test_a_renewal_pays_for_the_time_that_ended_and_pledges_on(holder: Holder) -> None:
    shards = [Shard.made(100_000 + number, seed=number) for number in range(3)]
    async with holder.running():
        user, began = await holder.user(), holder.now
        for shard in shards:
            await user.put(shard, began)
        for period in range(2):
            holder.clock.now += PERIOD
            now = holder.now
            proofs = await user.shown(seed(period), *shards)
            assert all(shard.shows(seed(period), proof) for shard, proof in zip(shards, proofs, strict=True))
            asked = m.Renew(period, now - PERIOD, now, now + PERIOD, [each.deal for each in shards])
            body, receipt = await user.owes("renew", asked)
            for shard, signature in zip(shards, m.decode_renewed(body).signatures, strict=True):
                shard.pledge(now, now + PERIOD).verify(DOMAIN, signature)
            helds = [Held(each.deal, len(each.data), PRICE, now - PERIOD, now) for each in shards]
            subject = accounts.subject(user.channel, period)
            assert (receipt.kind, receipt.subject, receipt.result) == (ReceiptKind.STORAGE, subject, accounts.result(subject, helds))
            assert (receipt.quantity, wei(receipt.amount)) == (accounts.byte_hours(helds), accounts.total(helds))
            again = await user.done("renew", asked)
            assert (again.body, again.receipt) == (body, receipt), "a call whose answer was lost is answered the same"
            await user.acknowledge(receipt)
            await user.refused("renew", asked, "invalid", "renewed before")
        index = holder.storage.shelf.index
        await until(lambda: not index.waiting(shards[0].deal))
        deal = index.deal(shards[0].deal)
        assert deal is not None
        assert (deal.paid, deal.proved, deal.until) == (now, 0, now + PERIOD)


async def test_a_shard_that_nobody_renews_stays_a_while_and_goes(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user = await holder.user()
        await user.put(shard, holder.now)
        holder.clock.now += PERIOD + UNKEPT_SECONDS - 1
        await holder.storage.look(holder.now)
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])
        holder.clock.now += 2
        await holder.storage.look(holder.now)
        assert await user.shown(seed(), shard) == [None]
        assert not holder.paths()
        assert holder.storage.shelf.free() == ROOM


async def test_an_upload_goes_on_after_the_holder_was_killed(holder: Holder) -> None:
    shard = Shard.made(900_000)
    writes = shard.writes(count=2)
    provider = await holder.start()
    user = await holder.user()
    began = holder.now
    await user.done("open", shard.open(began))
    for write in writes[:3]:
        await user.done("write", write)
    await holder.killed(provider)
    with holder.paths(".part")[0].open("ab") as file:
        file.write(b"half a leaf")  # what a crash may leave of a write that nobody was told of
    async with holder.running():
        assert isinstance(await user.open(), ChannelOpened)
        assert m.decode_here((await user.done("open", shard.open(began))).body).leaves == 6
        await user.refused("write", writes[2], "invalid", "leaf 4 comes where 6 are here")
        for write in writes[3:]:
            await user.done("write", write)
        await user.owes("keep", m.Keep(shard.deal))
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])


async def test_what_was_kept_is_there_after_a_kill_and_is_billed_once(holder: Holder) -> None:
    shard = Shard.made()
    provider = await holder.start()
    user = await holder.user()
    pledge = await user.put(shard, holder.now, pay=False)
    await holder.killed(provider)
    async with holder.running():
        opened = await user.open()
        assert isinstance(opened, ChannelOpened)
        assert [each.kind for each in opened.pending] == [ReceiptKind.TRANSFER], "its receipt is told again"
        again = await user.done("keep", m.Keep(shard.deal))
        assert (m.decode_pledged(again.body).signature, again.receipt) == (pledge, None)
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])
        assert holder.storage.status()["kept"] == len(shard.data)


async def test_a_holder_killed_between_file_and_row_finishes(holder: Holder) -> None:
    shard = Shard.made()
    provider = await holder.start()
    user = await holder.user()
    await user.done("open", shard.open(holder.now))
    for write in shard.writes():
        await user.done("write", write)
    await holder.killed(provider)
    beside = holder.paths(".part")[0]
    beside.replace(beside.with_suffix(""))
    stray = beside.with_name("ab" * 32)
    stray.write_bytes(b"a file without a row")
    async with holder.running():
        assert isinstance(await user.open(), ChannelOpened)
        await user.owes("keep", m.Keep(shard.deal))
        assert holder.paths() == [beside.with_suffix("")]


async def test_a_device_that_leaves_says_so_and_goes_when_it_has_nothing_left(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        owner, began = await holder.user(), holder.now
        await owner.put(shard, began, ends=began + PERIOD + 1)
    holder.config = replace(holder.config, leaving=True)
    async with holder.running():
        stranger = await holder.user(51)
        await stranger.refused("open", Shard.made(seed=2).open(holder.now), "draining", "leaves")
        assert holder.storage.describe().room == 0
        await owner.open()
        assert m.decode_listed((await owner.done("list", m.ListDeals(b"", 5))).body).leaving
        holder.clock.now += PERIOD
        longer = m.Renew(0, began, holder.now, holder.now + PERIOD, [shard.deal])
        await owner.refused("renew", longer, "draining", "the term's end")
        await owner.owes("renew", m.Renew(0, began, holder.now, began + PERIOD + 1, [shard.deal]))
        await holder.storage.look(holder.now)
        assert not holder.storage.gone.is_set()
        await owner.owes("drop", m.Drop(shard.deal, shard.release()))
        await holder.storage.look(holder.now)
        assert holder.storage.gone.is_set()


async def test_what_was_promised_goes_on_while_the_device_takes_no_new_work(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running() as provider:
        user = await holder.user()
        await user.put(shard, holder.now)
        provider.reception.close_doors("it is not idle")
        await user.refused("open", Shard.made(seed=2).open(holder.now), "draining", "not idle")
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])
        await user.done("read", m.Read(shard.deal, 0, 1))


async def test_a_full_holder_says_what_is_free(tmp_path: Path) -> None:
    holder = Holder(tmp_path, StorageConfig(500_000, PRICE, spare=0))
    async with holder.running():
        user = await holder.user()
        await user.put(Shard.made(300_000), holder.now)
        said = await user.refused(
            "open", Shard.made(300_001, seed=2).open(holder.now), "storage", "no room for 300001 bytes: 200000 are free"
        )
        assert said.details
        await user.put(Shard.made(200_000, seed=3), holder.now)


async def test_a_wallets_deals_are_listed_page_by_page_for_it_and_for_their_owner(holder: Holder) -> None:
    shards = sorted((Shard.made(2000, seed=number) for number in range(5)), key=lambda each: each.deal)
    owner = User(holder.bench, 77)
    async with holder.running():
        user = await holder.user()
        for shard in shards:
            await user.put(shard, holder.now, owner=owner.buyer)
        await owner.open()
        for reader in (user, owner):
            first = m.decode_listed((await reader.done("list", m.ListDeals(b"", 3))).body).deals
            rest = m.decode_listed((await reader.done("list", m.ListDeals(first[-1][0], 3))).body).deals
            assert [deal for deal, _ in [*first, *rest]] == [each.deal for each in shards]
        stranger = await holder.user(78)
        assert m.decode_listed((await stranger.done("list", m.ListDeals(b"", 3))).body).deals == []
