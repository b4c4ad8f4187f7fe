"""Reading the journal: what listings show."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.journal import DONE, ChannelRow, Journal
from surge.buyer.plan import COMMANDS, Wishes
from surge.buyer.records import _COUNTS, find_channel, find_job, list_jobs
from surge.buyer.schema import MIGRATIONS
from surge.core import values
from surge.core.units import Status
from surge.errors import InvalidInput, NotEnough, Unavailable
from surge.store import Database


async def test_a_listing_counts_the_items_that_failed(beds: Callable[..., Bed]) -> None:
    def function(item: int) -> str:
        if item in (3, 4):
            raise ValueError(item)
        if item == 6:
            raise Ended(Status.TRAPPED)
        return "error" if item % 2 else "\x84eerror"

    bed = beds(FakeProvider(functions={"f": function}))
    plan = bed.plan(chunk=4)
    await bed.map(plan, range(10), errors="return", total=10)
    found = find_job(bed.journal, plan.id.hex())
    assert (found.done, found.failed, found.total) == (10, 3, 10)
    assert [each.failed for each in list_jobs(bed.journal)] == [3]


class Held(FakeProvider):
    """Its setups wait for a gate."""

    gate: asyncio.Event

    async def _set_up(self, wire: Any, call: Any) -> None:
        self.setups.append(0)
        await self.gate.wait()
        await super()._set_up(wire, call)

    async def _setup(self, wire: Any, call: Any) -> None:
        self._spawn(self._set_up(wire, call))


async def test_a_setup_that_ends_after_the_job_counts_towards_its_price(beds: Callable[..., Bed]) -> None:
    quick, slow = FakeProvider(functions={"f": abs}, seconds=lambda count: 0.2), Held(functions={"f": abs})
    slow.gate = asyncio.Event()
    bed = beds(quick, slow)
    plan = bed.plan(chunk=5)
    await bed.map(plan, range(10), total=10)
    assert slow.setups
    assert not slow.acknowledged
    slow.gate.set()
    await asyncio.wait_for(asyncio.gather(*(peer.quiet() for peer in bed.peers.values())), 10)
    found = find_job(bed.journal, plan.id.hex())
    assert slow.channel.amount > 0
    assert found.price == quick.channel.amount + slow.channel.amount
    assert found.fuel == 10 * quick.fuel_each + 2 * quick.setup_fuel


@pytest.mark.parametrize("left", [True, False])
async def test_a_setup_that_nobody_waited_for_is_paid_only_from_what_is_left(beds: Callable[..., Bed], left: bool) -> None:
    """Its provider was given up in the middle of it, and what was set aside for it may be spent by then."""
    slow, other = Held(functions={"f": abs}), FakeProvider(functions={"f": abs}, seconds=lambda count: 0.05)
    slow.gate = asyncio.Event()
    bed = beds(other, slow)
    plan = bed.plan(chunk=1, wishes=Wishes(budget=10**24))
    job, results = await bed.start(plan, range(30), total=30)
    async with asyncio.timeout(5):
        while not slow.setups:
            await asyncio.sleep(0.005)
    job.lanes.dismiss(slow.device, Unavailable("given up"))
    if not left:
        job.purse.budget = 0
    slow.gate.set()
    async with asyncio.timeout(5):
        while not slow.acknowledged:
            await asyncio.sleep(0.005)
    assert [accepted for _, accepted in slow.acknowledged] == [left]
    assert (slow.channel.amount > 0) is left
    with contextlib.nullcontext() if left else pytest.raises(NotEnough):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    await asyncio.wait_for(job.settled.wait(), 5)
    assert find_job(bed.journal, plan.id.hex()).price == slow.channel.amount + other.channel.amount


async def test_a_resumed_jobs_progress_is_that_of_the_whole_job(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": abs})
    bed = beds(one)
    plan = bed.plan(chunk=1)
    job, results = await bed.start(plan, range(20), total=20)
    await asyncio.to_thread(next, results)
    await bed.kill()
    again = beds(one)
    job, results = await again.resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(20))
    await asyncio.wait_for(job.settled.wait(), 5)
    found, progress = find_job(again.journal, plan.id.hex()), job.progress
    assert progress.fuel == found.fuel == 20 * one.fuel_each + one.setup_fuel
    assert progress.price == found.price == one.channel.amount
    assert (progress.units, progress.pay) == ({one.device: 20}, {one.device: found.price})


async def test_what_channels_opened_for_a_job_pay_beyond_its_work_is_known(beds: Callable[..., Bed]) -> None:
    bed = beds(FakeProvider(functions={"f": abs}))
    plan = bed.plan()
    await bed.map(plan, range(3), total=3)
    mine = ChannelRow(b"m" * 32, "0x" + "33" * 20, "0x" + "22" * 20, "key", b"", 10**18, "open", 1.0, amount=4, floor=10, job=plan.id)
    for row in (mine, replace(mine, id=b"e" * 32, amount=11), replace(mine, id=b"o" * 32, job=b"j" * 32)):
        await bed.journal.save_channel(row)
    assert find_job(bed.journal, plan.id.hex()).floors == 6


def test_failures_in_a_journal_of_before_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later listings read an index, whatever the results weigh."""
    plans = [replace(Bed(tmp_path / "bed", ()).plan(), salt=bytes([number]) * 32) for number in range(3)]
    plans[2] = replace(plans[2], kind=COMMANDS)
    failing = values.dumps([["ok", 1], ["error", "E", "text", "trace"], ["ok", "\x84eerror"]])
    old = Database(tmp_path / "buyer.db", MIGRATIONS[:3])

    def write(db: sqlite3.Connection) -> None:
        for plan in plans:
            row = (plan.id, plan.name, DONE, 1.0, plan.encode(), 300)
            db.execute("INSERT INTO jobs (id, name, state, created, plan, total) VALUES (?,?,?,?,?,?)", row)
        job, other, command = (plan.id for plan in plans)
        rows = [(job, 3 * each, 3, failing, None) for each in range(100)]
        rows += [(job, 300, 5, b"\x84eerror", None), (job, 305, 1, None, '{"message": "it trapped"}'), (job, 306, 9, b"good", None)]
        rows += [(other, 0, 1, values.dumps([["ok", 1]]), None), (command, 0, 1, failing, None)]
        db.executemany("INSERT INTO results VALUES (?,?,?,?,?)", rows)

    old.write_now(write)
    old.close()
    for _ in range(2):
        journal = Journal(tmp_path / "buyer.db")
        found = [find_job(journal, plan.id.hex()) for plan in plans]
        assert [(each.done, each.failed) for each in found] == [(315, 106), (1, 0), (1, 0)]
        asyncio.run(journal.close())
        monkeypatch.setattr("surge.buyer.counting.decode_piece", lambda value, count: pytest.fail("it was counted before"))
    with closing(sqlite3.connect(tmp_path / "buyer.db")) as db:
        (plan,) = db.execute(f"EXPLAIN QUERY PLAN {_COUNTS}", (b"",)).fetchall()
        assert "COVERING INDEX results_counted (job=?)" in plan[-1]


async def test_several_that_are_meant_are_told_in_the_plural(beds: Callable[..., Bed]) -> None:
    bed = beds(FakeProvider(functions={"f": abs}))
    await bed.map(bed.plan(), [1], total=1)
    with pytest.raises(InvalidInput, match="no job here has an id that begins with 'zz'"):
        find_job(bed.journal, "zz")
    row = (await bed.journal.channels())[0]
    with pytest.raises(InvalidInput, match="2 channels begin with"):
        find_channel([row, row], row.id.hex()[:4])
    with pytest.raises(InvalidInput, match="no channel begins with 'zz'"):
        find_channel([row], "zz")
