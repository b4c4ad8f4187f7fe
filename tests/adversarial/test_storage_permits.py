"""Permits at a holder: whoever shows one reads what it says, once, and whoever has none reads nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from holder_support import Holder, Shard, User
from provider_support import Link, until
from provider_world import NETWORK, key
from surge.core.messages import encode_body, visit_context
from surge.core.messages import holder_visits as v
from surge.core.messages import storage as m
from surge.core.storage import accounts
from surge.core.storage.layout import TRANSFER_LEAF
from surge.core.storage.permits import LONGEST, ReadPermit, deals_root
from surge.core.storage.tree import verify_range
from surge.errors import Unavailable
from surge.provider import daemon
from surge.storage import permitting, recorder
from surge.wallet import KeySigner

READER, OTHER = key(810), key(811)
SHARD, SECOND = Shard.made(200_000), Shard.made(300_000, seed=2)


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


async def buyer(holder: Holder, *shards: Shard) -> User:
    """A buyer whose shards are there, all paid."""
    user = await holder.user()
    for shard in shards or (SHARD,):
        await user.put(shard, holder.now)
    return user


def permit(user: User, *shards: Shard, size: int = 10**6, now: int = 0, signer: KeySigner | None = None, **changes: object) -> v.ShowPermit:
    """What a device shows: a permit for these shards."""
    deals = [shard.deal for shard in shards or (SHARD,)]
    made = ReadPermit(user.channel, READER.address, deals_root(deals), size, now + 600, bytes(32))
    made = replace(made, **changes)  # type: ignore[arg-type]
    signature = (signer or user.session_key).sign(made.digest(NETWORK.channels_domain))
    return v.ShowPermit(made.channel, deals, made.size, made.until, made.salt, signature)


class Reader:
    """A device that visits."""

    def __init__(self, holder: Holder, who: KeySigner = READER) -> None:
        self.link: Link = holder.bench.relays.dial(who.address, visit_context(NETWORK.network_id, "storage"))

    async def says(self, message: v.ToHolder) -> v.ToReader:
        await self.link.send(v.encode_visit(message))
        return v.decode_for_reader(await asyncio.wait_for(self.link.receive(), 5))

    async def refused(self, message: v.ToHolder, code: str, *, ends: bool = True) -> None:
        said = await self.says(message)
        assert isinstance(said, v.NotPermitted), said
        assert said.code == code, said
        if ends:
            await until(lambda: self.link.closed_because)

    async def reads(self, shard: Shard, first: int, count: int) -> int:
        said = await self.says(v.ReadPermitted(shard.deal, first, count))
        assert isinstance(said, v.TellLeaves), said
        assert verify_range(shard.tree.root, len(shard.data), first, said.data, said.proof)
        return len(said.data)

    async def leaves(self) -> None:
        """End the visit, and wait until the holder has noticed."""
        await self.link.close()


async def unpaid(user: User) -> int:
    """What the holder counts as read for the channel."""
    return m.decode_permitted_read((await user.done("permitted", m.Permitted())).body).size


async def test_what_is_read_by_permit_is_the_buyers_to_pay_by_the_smaller_count(holder: Holder) -> None:
    async with holder.running():
        user, reader = await buyer(holder, SHARD, SECOND), Reader(holder)
        assert await reader.says(permit(user, SHARD, SECOND, now=holder.now)) == v.Shown()
        size = await reader.reads(SHARD, 0, 4) + await reader.reads(SECOND, 1, 2)
        assert size == len(SHARD.data) + 2 * TRANSFER_LEAF == await unpaid(user)
        _, receipt = await user.owes("bill", m.BillReads(0, size - 1000))
        assert (receipt.quantity, receipt.subject) == (size - 1000, accounts.reads(user.channel, 0))
        await user.acknowledge(receipt)
        assert await unpaid(user) == 1000, "what the device did not say it read waits in the channel's window"


async def test_a_permit_is_for_the_device_that_it_names_and_by_the_channels_own_key(holder: Holder) -> None:
    async with holder.running():
        user = await buyer(holder)
        good = permit(user, now=holder.now)
        await Reader(holder, OTHER).refused(good, "unknown")
        await Reader(holder).refused(permit(user, now=holder.now, signer=OTHER), "unknown")
        other = await holder.user(51)
        await other.done("list", m.ListDeals(b"", 1))
        await Reader(holder).refused(permit(user, now=holder.now, channel=other.channel), "unknown")
        await Reader(holder).refused(permit(user, now=holder.now, channel=bytes(32)), "unknown")
        for changed in ({"size": 10**7}, {"until": good.until + 1}, {"salt": bytes(31) + b"1"}, {"deals": [SECOND.deal]}):
            fields = {name: getattr(good, name) for name in good.__struct_fields__}
            await Reader(holder).refused(v.ShowPermit(**{**fields, **changed}), "unknown")
        assert await Reader(holder).says(good) == v.Shown()
        assert await unpaid(user) == 0


async def test_a_permit_is_for_its_deals_and_its_bytes_only(holder: Holder) -> None:
    async with holder.running():
        user = await buyer(holder, SHARD, SECOND)
        reader = Reader(holder)
        await reader.says(permit(user, SHARD, now=holder.now))
        await reader.refused(v.ReadPermitted(SECOND.deal, 0, 1), "invalid")
        reader = Reader(holder)
        shown = permit(user, SHARD, now=holder.now, size=2 * TRANSFER_LEAF, salt=bytes(31) + b"2")
        await reader.says(shown)
        await reader.refused(v.ReadPermitted(SHARD.deal, 9, 1), "missing", ends=False)
        assert await reader.reads(SHARD, 0, 2) == 2 * TRANSFER_LEAF
        await reader.refused(v.ReadPermitted(SHARD.deal, 2, 1), "spent")
        await Reader(holder).refused(shown, "spent")
        assert await unpaid(user) == 2 * TRANSFER_LEAF


async def test_a_permit_that_is_shown_again_is_good_for_what_is_left_of_it(holder: Holder) -> None:
    async with holder.running():
        user, reader = await buyer(holder), Reader(holder)
        shown = permit(user, now=holder.now, size=3 * TRANSFER_LEAF)
        await reader.says(shown)
        await reader.reads(SHARD, 0, 2)
        await Reader(holder).refused(shown, "spent")
        await reader.leaves()
        index = holder.storage.shelf.index
        await until(lambda: index.permits(user.channel) == 1 and _used(holder, user, shown) == 2 * TRANSFER_LEAF)
        again = Reader(holder)
        assert await again.says(shown) == v.Shown()
        await again.reads(SHARD, 2, 1)
        await again.refused(v.ReadPermitted(SHARD.deal, 0, 1), "spent")


def _used(holder: Holder, user: User, shown: v.ShowPermit) -> int:
    made = ReadPermit(user.channel, READER.address, deals_root(shown.deals), shown.size, shown.until, shown.salt)
    return holder.storage.shelf.index.used(made.digest(NETWORK.channels_domain))


async def test_a_permit_is_spent_when_its_holder_was_killed_meanwhile(holder: Holder) -> None:
    provider = await holder.start()
    user, reader = await buyer(holder), Reader(holder)
    shown = permit(user, now=holder.now, size=3 * TRANSFER_LEAF)
    await reader.says(shown)
    await reader.reads(SHARD, 0, 1)
    holder.storage.shelf.index.close()  # nothing more is written, as when the process is gone at once
    await holder.killed(provider)
    async with holder.running():
        await Reader(holder).refused(shown, "spent")
        fresh = permit(user, now=holder.now, salt=bytes(31) + b"3")
        assert await Reader(holder).says(fresh) == v.Shown(), "it knows who signs for the channel, though its buyer did not come back"


async def test_a_permit_ends_and_none_is_for_long(holder: Holder) -> None:
    async with holder.running():
        user, reader = await buyer(holder), Reader(holder)
        await Reader(holder).refused(permit(user, until=holder.now), "invalid")
        await Reader(holder).refused(permit(user, until=holder.now + LONGEST + 60), "invalid")
        await reader.says(permit(user, now=holder.now))
        await reader.reads(SHARD, 0, 1)
        holder.clock.now += 601
        await reader.link.send(v.encode_visit(v.ReadPermitted(SHARD.deal, 0, 1)))
        await until(lambda: reader.link.closed_because)
        await holder.storage.look(holder.now)
        assert holder.storage.shelf.index.permits(user.channel) == 0, "what is over is forgotten"


async def test_reading_by_permit_ends_with_the_channels_window(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "FREE_WINDOW", 2 * TRANSFER_LEAF)
    async with holder.running():
        user, reader = await buyer(holder, SHARD), Reader(holder)
        await reader.says(permit(user, now=holder.now, size=10**9))
        read = 0
        while isinstance(said := await reader.says(v.ReadPermitted(SHARD.deal, 0, 1)), v.TellLeaves):
            read += len(said.data)
        assert isinstance(said, v.NotPermitted)
        assert said.code == "window"
        assert 2 * TRANSFER_LEAF <= read == await unpaid(user) <= 2 * TRANSFER_LEAF + len(SHARD.data)
        await Reader(holder).refused(permit(user, now=holder.now, salt=bytes(31) + b"4"), "window")
        _, receipt = await user.owes("bill", m.BillReads(0, read))
        await user.acknowledge(receipt)
        assert await Reader(holder).says(permit(user, now=holder.now, salt=bytes(31) + b"5")) == v.Shown()


async def test_so_many_read_by_permits_at_once_and_so_many_permits_are_remembered(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permitting, "VISITS_OF_CHANNEL", 2)
    monkeypatch.setattr(permitting, "MOST_REMEMBERED", 3)
    async with holder.running():
        user = await buyer(holder)
        readers = [Reader(holder) for _ in range(4)]
        shown = [permit(user, now=holder.now, salt=bytes(31) + bytes([number])) for number in range(5)]
        for number in range(2):
            assert await readers[number].says(shown[number]) == v.Shown()
        await readers[2].refused(shown[2], "busy")
        await readers[0].leaves()
        await until(lambda: _used(holder, user, shown[0]) == 0)
        assert await readers[3].says(shown[3]) == v.Shown()
        await readers[1].leaves()
        await until(lambda: _used(holder, user, shown[1]) == 0)
        await Reader(holder).refused(shown[4], "window")


async def test_visitors_that_say_nothing_keep_no_reader_out(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "SILENT", 12)
    async with holder.running():
        user = await buyer(holder)
        crowd = [Reader(holder, key(900 + number)) for number in range(11)]
        assert await Reader(holder).says(permit(user, now=holder.now)) == v.Shown()
        crowd += [Reader(holder, key(950 + number)) for number in range(3)]
        told = v.decode_for_reader(await asyncio.wait_for(crowd[-1].link.receive(), 5))
        assert isinstance(told, v.NotNow), "but they are so many at once"


async def test_a_visit_that_began_with_something_else_reads_nothing(holder: Holder) -> None:
    async with holder.running():
        user = await buyer(holder)
        author, label = key(1).address, bytes(32)
        good, shown = permit(user, now=holder.now), v.ShowPermit
        for first, then in (
            (v.ReadPermitted(SHARD.deal, 0, 1), None),
            (v.AskRecord(author, label), good),
            (good, v.AskRecord(author, label)),
            (permit(user, now=holder.now, salt=bytes(31) + b"6"), shown(bytes(32), [SHARD.deal], 1, 1, bytes(32), bytes(65))),
        ):
            reader = Reader(holder)
            await reader.link.send(v.encode_visit(first))
            if then is not None:
                await asyncio.wait_for(reader.link.receive(), 5)
                await reader.link.send(v.encode_visit(then))
            with pytest.raises(Unavailable):
                await asyncio.wait_for(reader.link.receive(), 5)
        noisy = Reader(holder)
        await noisy.link.send(encode_body(m.Permitted()))
        with pytest.raises(Unavailable):
            await asyncio.wait_for(noisy.link.receive(), 5)
        assert await unpaid(user) == 0


@pytest.mark.parametrize("how", ["closed", "stopped"])
async def test_permits_hold_no_more_once_their_channel_is_over(holder: Holder, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    async with holder.running() as provider:
        user, reader, index = await buyer(holder), Reader(holder), holder.storage.shelf.index
        assert await reader.says(permit(user, now=holder.now)) == v.Shown()
        await reader.reads(SHARD, 0, 1)
        (row,) = provider._journal.channels()
        if how == "closed":
            provider._journal.on_ledger(row.number, redeemed=0, deposit=row.deposit, closed=True)
        else:
            provider._journal.stop(row.number, "its buyer refused a receipt")
        await until(lambda: index.signer(user.channel) is None)
        await reader.refused(v.ReadPermitted(SHARD.deal, 1, 1), "unknown")
        await Reader(holder).refused(permit(user, now=holder.now, salt=bytes(31) + b"1"), "unknown")
    async with holder.running():
        await Reader(holder).refused(permit(user, now=holder.now, salt=bytes(31) + b"2"), "unknown")


async def test_a_channel_that_goes_on_keeps_its_permits_while_others_end(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    async with holder.running() as provider:
        user, other = await buyer(holder), await holder.user(51)
        await other.done("list", m.ListDeals(b"", 1))
        (number,) = [row.number for row in provider._journal.channels() if row.id == other.channel]
        provider._journal.stop(number, "its buyer refused a receipt")
        await until(lambda: holder.storage.shelf.index.signer(other.channel) is None)
        assert await Reader(holder).says(permit(user, now=holder.now)) == v.Shown()
