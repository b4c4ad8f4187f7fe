"""Buyers and strangers that lie to a holder, flood it, or want what is not theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holder_support import DOMAIN, KEEPER, OWNER, PERIOD, PRICE, ROOM, Holder, Shard, seed
from provider_support import until
from surge.core.messages import Refusal, encode_body
from surge.core.messages import storage as m
from surge.core.messages.fields import wei, wei_bytes
from surge.core.storage import accounts, deals
from surge.core.storage.deals import SKEW, UNKEPT_SECONDS
from surge.core.storage.layout import TRANSFER_LEAF
from surge.storage import service as services
from surge.storage import shelf as shelves
from surge.storage.service import StorageConfig


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


# What comes


async def test_leaves_come_in_order_whole_and_not_beyond_the_end(holder: Holder) -> None:
    shard = Shard.made(300_000)
    async with holder.running():
        user = await holder.user()
        await user.refused("write", shard.writes()[0], "missing", "open its deal")
        await user.done("open", shard.open(holder.now))
        one, two = shard.writes(count=1)[:2]
        await user.refused("write", two, "invalid", "leaf 1 comes where 0 are here")
        await user.done("write", one)
        await user.refused("write", one, "invalid", "leaf 0 comes where 1 are here")
        await user.refused("write", m.Write(shard.deal, 1, bytes(1000)), "invalid", "only its last leaf may be short")
        await user.refused("write", m.Write(shard.deal, 1, bytes(7 * TRANSFER_LEAF)), "invalid", "ends after 300000 bytes")
        await user.refused("keep", m.Keep(shard.deal), "invalid", "1 of 5 leaves are here")
        for write in shard.writes(first=1):
            await user.done("write", write)
        await user.refused("write", m.Write(shard.deal, 5, b"more"), "invalid")
        await user.owes("keep", m.Keep(shard.deal))
        await user.refused("write", one, "missing")


async def test_another_shard_than_was_said_is_thrown_away_and_not_billed(holder: Holder) -> None:
    shard = Shard.made(300_000)
    async with holder.running():
        user = await holder.user()
        await user.done("open", shard.open(holder.now))
        flipped = bytearray(shard.data)
        flipped[150_000] ^= 1
        for write in replace(shard, data=bytes(flipped)).writes():
            await user.done("write", write)
        await user.refused("keep", m.Keep(shard.deal), "invalid", "not the one with this root")
        assert not holder.paths(".part")
        assert await user.shown(seed(), shard) == [None]
        for write in shard.writes():
            await user.done("write", write)
        await user.owes("keep", m.Keep(shard.deal))


async def test_a_second_shard_of_a_segment_is_refused(holder: Holder) -> None:
    one = Shard.made(seed=1)
    other = replace(Shard.made(seed=2), tag=one.tag)
    async with holder.running():
        user = await holder.user()
        await user.done("open", one.open(holder.now))
        await user.refused("open", other.open(holder.now), "invalid", "another shard of this segment")
        await user.put(one, holder.now)
        stranger = await holder.user(51)
        await stranger.refused("open", other.open(holder.now), "invalid", "another shard of this segment")
        await user.owes("drop", m.Drop(one.deal, one.release()))
        await user.put(other, holder.now)


async def test_a_deal_is_what_it_was_opened_as(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, stranger = await holder.user(), await holder.user(51)
        await user.done("open", shard.open(holder.now))
        changed: list[dict[str, Any]] = [
            {"root": bytes(32)}, {"size": 5}, {"owner": KEEPER.address}, {"keeper": OWNER.address}, {"penalty": b""},
            {"price": wei_bytes(PRICE + 1)},
        ]  # fmt: skip
        for changes in changed:
            await user.refused("open", shard.open(holder.now, **changes), "invalid", "says something else")
        await stranger.refused("open", shard.open(holder.now), "invalid", "says something else")
        await user.put(shard, holder.now)
        await user.done("open", shard.open(holder.now))
        await user.refused("open", shard.open(holder.now, size=5), "invalid", "says something else")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price": wei_bytes(PRICE - 1)}, "price"),
        ({"price": wei_bytes(10**31)}, "price"),
        ({"penalty": wei_bytes(10**19 + 1)}, "price"),
        ({"starts": -SKEW - 10}, "invalid"),
        ({"starts": SKEW + 10}, "invalid"),
        ({"until": 0}, "invalid"),
        ({"until": deals.MOST_PLEDGED + SKEW + 10}, "invalid"),
        ({"ends": PERIOD - 1}, "invalid"),
        ({"ends": deals.MOST_TERM + 10}, "invalid"),
    ],
)
async def test_a_holder_agrees_to_no_deal_that_is_too_cheap_too_risky_or_too_long(
    holder: Holder, changes: dict[str, Any], code: str
) -> None:
    async with holder.running():
        user, now = await holder.user(), holder.now
        meant = {name: value if isinstance(value, bytes) else now + value for name, value in changes.items()}
        await user.refused("open", Shard.made().open(now, **meant), code)
        assert holder.storage.shelf.free() == ROOM


async def test_thousands_of_deals_that_nobody_keeps_cost_a_bound_and_an_hour(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MOST_UNKEPT", 150)
    refused = 0
    async with holder.running():
        for number in range(3):
            user = await holder.user(50 + number)
            for at in range(400):
                answer = await user.use("open", Shard.made(1000, seed=1000 * number + at).open(holder.now))
                refused += isinstance(answer, Refusal)
                assert not isinstance(answer, Refusal) or answer.code == "busy"
        assert refused == 1200 - 150
        assert not holder.paths(".part"), "a deal without a byte costs no file"
        holder.clock.now += UNKEPT_SECONDS + 1
        await holder.storage.look(holder.now)
        assert holder.storage.shelf.free() == ROOM
        await user.put(Shard.made(seed=9), holder.now)


async def test_room_is_kept_for_no_more_than_a_channels_traffic_stands_for(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_PROMISED", 2)
    monkeypatch.setattr(accounts, "FREE_WINDOW", 1_000_000)
    async with holder.running():
        user, other = await holder.user(), await holder.user(51)
        first = Shard.made(1_200_000, seed=1)
        await user.done("open", first.open(holder.now))
        await user.refused("open", Shard.made(1_200_000, seed=2).open(holder.now), "busy", "send them first")
        await other.done("open", Shard.made(1_200_000, seed=3).open(holder.now))
        await user.put(first, holder.now)
        await user.done("open", Shard.made(1_200_000, seed=4).open(holder.now))


# Who may do what


async def test_what_is_anothers_is_neither_written_kept_nor_dropped(holder: Holder) -> None:
    shard, coming = Shard.made(seed=1), Shard.made(seed=2)
    async with holder.running():
        user, stranger, now = await holder.user(), await holder.user(51), holder.now
        await user.put(shard, now)
        await user.done("open", coming.open(now))
        await stranger.refused("write", coming.writes()[0], "missing")
        await stranger.refused("keep", m.Keep(shard.deal), "missing")
        assert m.decode_listed((await stranger.done("list", m.ListDeals(b"", 10))).body).deals == []
        for signer in (OWNER, stranger.session_key):
            await stranger.refused("drop", m.Drop(shard.deal, shard.release(signer)), "invalid", "signed by")
        await stranger.refused("drop", m.Drop(shard.deal, coming.release()), "invalid", "signed by")
        await stranger.refused("drop", m.Drop(bytes(32), shard.release()), "missing")
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])


async def test_a_keeper_with_another_wallet_has_a_deal_shown_and_pays_for_it(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, keeper = await holder.user(), await holder.user(51)
        began = holder.now
        await user.put(shard, began)
        holder.clock.now += PERIOD // 2
        assert shard.shows(seed(), (await keeper.shown(seed(), shard))[0])
        body, receipt = await keeper.owes("renew", m.Renew(0, began, holder.now, holder.now + PERIOD, [shard.deal]))
        shard.pledge(holder.now, holder.now + PERIOD).verify(DOMAIN, m.decode_renewed(body).signatures[0])
        assert wei(receipt.amount) == accounts.amount(PRICE, len(shard.data), holder.now - began)
        assert m.decode_renewed(body).since == [began]
        await keeper.acknowledge(receipt)
        paid = holder.now
        await until(lambda: not holder.storage.shelf.index.waiting(shard.deal))
        holder.clock.now += PERIOD // 2
        body, receipt = await user.owes("renew", m.Renew(0, began, holder.now, holder.now + PERIOD, [shard.deal]))
        assert m.decode_renewed(body).since == [paid], "the owner, who does not know what the keeper paid, is told"
        assert wei(receipt.amount) == accounts.amount(PRICE, len(shard.data), holder.now - paid)


async def test_whoever_names_a_deal_reads_it_and_pays(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, friend = await holder.user(), await holder.user(51)
        await user.put(shard, holder.now)
        await friend.done("read", m.Read(shard.deal, 0, 2))
        _, receipt = await friend.owes("bill", m.BillReads(0, 2 * TRANSFER_LEAF))
        assert receipt.quantity == 2 * TRANSFER_LEAF
        await friend.refused("read", m.Read(bytes(32), 0, 2), "missing")


async def test_a_shard_that_is_not_here_or_not_as_it_was_is_not_proved(holder: Holder) -> None:
    shards = [Shard.made(300_000, seed=number) for number in range(4)]
    async with holder.running():
        user = await holder.user()
        for shard in shards:
            await user.put(shard, holder.now)
        paths = {each.name: each for each in holder.paths()}
        flipped, cut, gone = (paths[shard.deal.hex()] for shard in shards[:3])
        data = bytearray(flipped.read_bytes())
        for at in range(0, len(data), TRANSFER_LEAF):
            data[at] ^= 1
        flipped.write_bytes(data)
        cut.write_bytes(cut.read_bytes()[:TRANSFER_LEAF])
        gone.unlink()
        unknown = Shard.made(seed=99)
        proofs = await user.shown(seed(1), *shards, unknown)
        assert [proof is None for proof in proofs] == [True, True, True, False, True]
        await user.refused("read", m.Read(shards[1].deal, 0, 7), "missing", "damaged")
        await user.refused("read", m.Read(shards[2].deal, 0, 7), "missing")


# Pay


async def test_no_more_moves_unpaid_than_the_window(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "FREE_WINDOW", 250_000)
    one, two = Shard.made(300_000, seed=1), Shard.made(300_000, seed=2)
    async with holder.running():
        user = await holder.user()
        await user.done("open", one.open(holder.now))
        await user.done("open", two.open(holder.now))
        for write in one.writes():
            await user.done("write", write)
        await user.refused("write", two.writes()[0], "window", "300000 bytes were moved unpaid, of at most 250000")
        _, receipt = await user.owes("keep", m.Keep(one.deal))
        await user.refused("write", two.writes()[0], "window", "moved unpaid")
        await user.refused("open", Shard.made(seed=3).open(holder.now), "window", "moved unpaid")
        await user.acknowledge(receipt)
        for write in two.writes():
            await user.done("write", write)
        _, receipt = await user.owes("keep", m.Keep(two.deal))
        await user.acknowledge(receipt)
        for _ in range(2):
            await user.done("read", m.Read(two.deal, 0, 7))
        await user.refused("read", m.Read(two.deal, 0, 7), "window", "at most 600000")
        _, receipt = await user.owes("bill", m.BillReads(0, 900_000))
        await user.refused("read", m.Read(two.deal, 0, 7), "window")
        await user.acknowledge(receipt)
        await user.done("read", m.Read(two.deal, 0, 7))


async def test_one_shard_larger_than_the_window_is_finished(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "FREE_WINDOW", 100_000)
    async with holder.running():
        await (await holder.user()).put(Shard.made(1_000_000), holder.now)


async def test_a_refused_receipt_ends_the_service_on_its_channel_for_good(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, now = await holder.user(), holder.now
        await user.put(shard, now)
        await user.done("read", m.Read(shard.deal, 0, 3))
        _, receipt = await user.owes("bill", m.BillReads(0, 10**9))
        await user.acknowledge(receipt, accepted=False)
        await user.refused("read", m.Read(shard.deal, 0, 1), "window", "was refused")
        await user.refused("open", Shard.made(seed=2).open(now), "window", "was refused")
        await user.refused("renew", m.Renew(0, now, now, now + PERIOD, [shard.deal]), "window", "was refused")
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])
    async with holder.running():
        await user.open()
        await user.refused("read", m.Read(shard.deal, 0, 1), "window", "was refused")


async def test_a_renewal_that_is_refused_does_not_pay(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, began = await holder.user(), holder.now
        await user.put(shard, began)
        holder.clock.now += PERIOD
        _, receipt = await user.owes("renew", m.Renew(0, began, holder.now, holder.now + PERIOD, [shard.deal]))
        index = holder.storage.shelf.index
        assert index.waiting(shard.deal)
        await user.acknowledge(receipt, accepted=False)
        await until(lambda: not index.waiting(shard.deal))
        deal = index.deal(shard.deal)
        assert deal is not None
        assert deal.paid == began


async def test_times_are_not_lied_about_in_renewals(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, began = await holder.user(), holder.now
        await user.put(shard, began)
        holder.clock.now += PERIOD
        now, mine = holder.now, [shard.deal]
        await user.shown(seed(), shard)
        await user.refused("renew", m.Renew(0, began, now + SKEW + 9, now + PERIOD + SKEW, mine), "invalid", "clocks may differ")
        await user.refused("renew", m.Renew(0, began, now - SKEW - 9, now + PERIOD, mine), "invalid", "clocks may differ")
        await user.refused("renew", m.Renew(0, now, began, now + PERIOD, mine), "invalid")
        await user.refused("renew", m.Renew(0, began, now, now, mine), "invalid", "is empty")
        await user.refused("renew", m.Renew(0, began, now, now + deals.MOST_PLEDGED + SKEW + 9, mine), "invalid", "further")
        holder.clock.now += 100
        later = holder.now
        left_out = await user.refused("renew", m.Renew(0, now + 50, later, later + PERIOD, mine), "price", "was not paid")
        assert left_out.details
        for period in range(2):
            await user.refused("renew", m.Renew(period, later, later, later + PERIOD, mine), "price", "was not paid")
        await user.refused("renew", m.Renew(0, began, later, later + PERIOD, [shard.deal, shard.deal]), "invalid", "twice")
        await user.refused("renew", m.Renew(0, began, later, later + PERIOD, [shard.deal, bytes(32)]), "missing")
        _, receipt = await user.owes("renew", m.Renew(0, began - 10_000, later, later + PERIOD, mine))
        assert receipt.quantity == -(-len(shard.data) * (later - began) // 3600), "from the beginning, not from before"


async def test_a_renewal_that_the_deposit_does_not_cover_is_not_taken_for_paid(holder: Holder) -> None:
    shard = Shard.made(50_000_000)
    async with holder.running():
        user, began = await holder.user(), holder.now
        await user.put(shard, began, price=wei_bytes(10**24))
        user.bench.ledger.channels[user.channel].deposit = 10**18
        holder.clock.now += PERIOD
        for period in range(2):
            await user.refused("renew", m.Renew(period, began, holder.now, holder.now + PERIOD, [shard.deal]), "deposit")
        user.bench.ledger.channels[user.channel].deposit = 10**24
        asked = encode_body(m.Renew(2, began, holder.now, holder.now + PERIOD, [shard.deal]))
        answers = []

        async def paid() -> bool:
            answers.append(await user.use("renew", asked))
            return not isinstance(answers[-1], Refusal)

        while not await paid():  # the ledger is asked once a second at most
            await until(lambda: True)
        receipt = answers[-1].receipt
        assert receipt is not None
        assert receipt.quantity == -(-len(shard.data) * PERIOD // 3600)


async def test_a_keeper_pays_for_the_time_that_it_could_have_seen(holder: Holder) -> None:
    """Time from before the holder started again may be left out: it was away, and nobody could ask it."""
    shard = Shard.made()
    async with holder.running():
        user, began = await holder.user(), holder.now
        await user.put(shard, began)
    holder.clock.now += 10 * PERIOD // 9
    async with holder.running():
        await user.open()
        up = holder.now
        holder.clock.now += 300
        await user.refused("renew", m.Renew(0, up + 200, holder.now, holder.now + PERIOD, [shard.deal]), "price", "was not paid")
        _, receipt = await user.owes("renew", m.Renew(0, up + 100, holder.now, holder.now + PERIOD, [shard.deal]))
        assert receipt.quantity == -(-len(shard.data) * 200 // 3600)


@pytest.mark.parametrize("method", ["open", "write", "keep", "read", "bill", "prove", "renew", "drop", "list", "put_record", "get_record"])
async def test_noise_is_refused_and_ends_nothing_else(holder: Holder, method: str) -> None:
    shard = Shard.made()
    async with holder.running():
        user, noisy = await holder.user(), await holder.user(51)
        await user.put(shard, holder.now)
        await noisy.call(b"\xc1 noise", method, "storage")
        assert "cannot be read" in await noisy.ended()
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])


async def test_a_method_that_there_is_not_is_refused(holder: Holder) -> None:
    async with holder.running():
        await (await holder.user()).refused("format", b"", "unknown", "'format'")


async def test_a_disk_that_fills_up_under_way_is_said_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder(tmp_path, StorageConfig(ROOM, PRICE, spare=0))
    shard = Shard.made(300_000)
    append = shelves._append
    full = True

    def fails(path: Path, at: int, data: bytes, only: bool) -> bytes:
        if full and at:
            append(path, at, data[:1000], only)  # what the disk still took
            raise OSError(28, "No space left on device")
        return append(path, at, data, only)

    monkeypatch.setattr(shelves, "_append", fails)
    async with holder.running():
        user = await holder.user()
        await user.done("open", shard.open(holder.now))
        writes = shard.writes(count=2)
        await user.done("write", writes[0])
        await user.refused("write", writes[1], "storage", "No space left on device")
        full = False
        for write in writes[1:]:
            await user.done("write", write)
        await user.owes("keep", m.Keep(shard.deal))
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0])
