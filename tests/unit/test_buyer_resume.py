"""A killed buyer goes on: nothing accepted is run again, nothing is paid twice, nothing asked is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.journal import ChannelRow
from surge.buyer.plan import Wishes
from surge.buyer.records import find_job
from surge.core.messages import NewPrices
from surge.core.pricing import unit_amount
from surge.core.units import Limits, Status
from surge.errors import GuestFault, NotEnough


def add_one(item: int) -> int:
    return item + 1


async def read_some(results: Any, count: int) -> list[Any]:
    return await asyncio.to_thread(lambda: [next(results) for _ in range(count)])


@pytest.mark.parametrize("kill_after", [1, 3, 8, 20, 38])
async def test_a_killed_job_is_finished_and_each_unit_runs_and_is_paid_once(beds: Callable[..., Bed], kill_after: int) -> None:
    providers = [FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.02, window=4) for _ in range(2)]
    bed = beds(*providers)
    plan = bed.plan(chunk=1)
    await bed.start(plan, range(40), total=40)
    while sum(len(one.ran) for one in providers) < kill_after:
        await asyncio.sleep(0.002)
    await bed.kill()
    again = beds(*providers)
    job, results = await again.resume(plan.id)
    assert job.scheduler.available == 40
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 41))
    await asyncio.wait_for(job.settled.wait(), 5)
    ran = [unit for one in providers for unit in one.ran]
    assert len(ran) == len(set(ran)) == 40
    for one in providers:
        assert not one.channel.pending
    units = await again.journal.read("SELECT count(*), count(DISTINCT subject) FROM receipts WHERE kind = 1 AND accepted")
    assert units == [(40, 40)]


async def test_answers_that_fill_a_window_are_fetched_before_anything_else_is_asked(beds: Callable[..., Bed]) -> None:
    """A provider that would not even set the job up before they are acknowledged is not given up."""
    one = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.02, window=2, window_max=2, setups_need_room=True)
    bed = beds(one)
    plan = bed.plan(chunk=1)
    await bed.start(plan, range(12), total=12)
    while len(one.ran) < 3:
        await asyncio.sleep(0.002)
    one.mangle = lambda provider, message: None  # nothing that it does is heard of, until its window is full
    while one.busy or one.standing.room:
        await asyncio.sleep(0.002)
    await bed.kill()
    one.mangle = lambda provider, message: message
    again = beds(one)
    job, results = await again.resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 10) == list(range(1, 13))
    await asyncio.wait_for(job.settled.wait(), 5)
    assert len(one.ran) == len(set(one.ran)) == 12


async def test_a_resumed_job_gives_all_results_from_the_first_on(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    bed = beds(one)
    plan = bed.plan(chunk=5)
    assert await bed.map(plan, range(20), total=20) == list(range(1, 21))
    ran = len(one.ran)
    await bed.kill()
    job, results = await beds(one).resume(plan.id)
    assert await asyncio.to_thread(list, results) == list(range(1, 21))
    await asyncio.wait_for(job.settled.wait(), 5)
    assert len(one.ran) == ran


async def test_units_of_a_provider_that_does_not_come_back_go_elsewhere(beds: Callable[..., Bed], monkeypatch: Any) -> None:
    monkeypatch.setattr("surge.buyer.desk.HOLD_SECONDS", 0.5)
    gone = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.05)
    bed = beds(gone)
    plan = bed.plan(chunk=1)
    await bed.start(plan, range(10), total=10)
    await asyncio.sleep(0.2)
    await bed.kill()
    other = FakeProvider(functions={"f": add_one})
    again = beds(other)
    again.plan()
    _, results = await again.resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 11))


async def test_a_bad_ending_known_before_the_kill_is_not_paid_again(beds: Callable[..., Bed]) -> None:
    def trap(item: int) -> int:
        if item == 2:
            raise Ended(Status.TRAPPED)
        return item

    one = FakeProvider(functions={"f": trap}, seconds=lambda count: 0.05)
    bed = beds(one)
    plan = bed.plan(chunk=4)
    await bed.start(plan, range(4), total=4)
    while not one.acknowledged or len(one.ran) < 1 or len(one.acknowledged) < 2:
        await asyncio.sleep(0.01)
    await bed.kill()
    job, results = await beds(one).resume(plan.id, errors="return")
    found = await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    await asyncio.wait_for(job.settled.wait(), 5)
    assert isinstance(found[2], GuestFault)
    assert [found[0], found[1], found[3]] == [0, 1, 3]
    assert len(one.ran) == len(set(one.ran))


async def test_an_item_whose_budget_ran_out_is_run_again_with_more_and_not_blamed(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one}, fuel_each=10**9)
    limits = Limits(output=1 << 20)
    budget = 5 * unit_amount(one.prices, 10**9, limits.memory, limits.output) // 2
    bed = beds(one)
    plan = bed.plan(chunk=1, limits=limits, wishes=Wishes(budget=budget))
    job, results = await bed.start(plan, range(8), total=8)

    def read() -> None:
        with pytest.raises(NotEnough, match="with a larger --budget"):
            list(results)

    await asyncio.to_thread(read)
    await asyncio.wait_for(job.settled.wait(), 5)
    await bed.kill()
    _, results = await beds(one).resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 9))


async def test_prices_agreed_for_a_job_hold_after_a_kill(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.03)
    one.quote = replace(one.prices, gigafuel=one.prices.gigafuel * 2)
    bed = beds(one)
    plan = bed.plan(chunk=1)
    await bed.start(plan, range(10), total=10)
    while len(one.ran) < 3:
        await asyncio.sleep(0.01)
    await bed.kill()
    _, results = await beds(one).resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 11))


async def test_new_prices_that_were_not_heard_of_before_a_kill_are_agreed_on_after_it(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one}, mangle=lambda provider, message: None if isinstance(message, NewPrices) else message)
    one.quote = replace(one.prices, gigafuel=one.prices.gigafuel * 2)
    bed = beds(one)
    plan = bed.plan(chunk=1)
    await bed.start(plan, range(10), total=10)
    while "price" not in one.refused or len(one.acknowledged) < 2:
        await asyncio.sleep(0.01)
    await bed.kill()
    one.mangle = lambda provider, message: message
    _, results = await beds(one).resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 11))
    assert one.job_prices == {plan.id: one.quote}


async def test_a_job_resumed_with_little_left_uses_the_setups_that_are_there(beds: Callable[..., Bed], monkeypatch: Any) -> None:
    """The budget buys a setup at one provider and the items, but not a setup at the other as well."""
    monkeypatch.setattr("surge.buyer.lanes.LOOK_AGAIN", 0.05)
    limits = Limits(output=1 << 10)
    ready, bare = (FakeProvider(functions={"f": add_one}, fuel_each=10**8, setup_fuel=10**10, seconds=lambda count: 0.02) for _ in range(2))
    price = unit_amount(ready.prices, 10**10, limits.memory, 0)
    bed = beds(ready)
    plan = bed.plan(chunk=1, limits=limits, wishes=Wishes(budget=price * 9 // 5))
    job, results = await bed.start(plan, range(20), total=20)
    await read_some(results, 5)
    await bed.kill()
    again = beds(bare, ready)
    again.plan()
    job, results = await again.resume(plan.id, budget=price * 9 // 5)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 21))
    await asyncio.wait_for(job.settled.wait(), 5)
    assert not bare.setups
    assert job.purse.spent <= price * 9 // 5


async def test_a_setup_that_was_asked_before_a_kill_is_asked_again_as_it_was_and_paid_once(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one}, setup_seconds=0.3)
    limits = Limits(output=1 << 10)
    bed = beds(one)
    plan = bed.plan(chunk=1, limits=limits, wishes=Wishes(budget=10**17))
    job, _ = await bed.start(plan, range(3), total=3)
    while not one.setups or job.spool.count < 3:
        await asyncio.sleep(0.01)
    await asyncio.wrap_future(bed.journal.dispatch(plan.id, blocks=job.spool.unsaved()))
    await bed.kill()
    _, results = await beds(one).resume(plan.id, budget=2 * 10**17)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [1, 2, 3]
    assert len(set(one.setups)) == 1


async def test_the_floors_of_channels_that_a_job_opened_count_after_a_kill(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    bed = beds(one)
    plan = bed.plan(chunk=1, wishes=Wishes(budget=10**18))
    await bed.map(plan, range(3), total=3)
    mine = ChannelRow(b"m" * 32, "0x" + "33" * 20, "0x" + "22" * 20, "key", b"", 10**18, "open", 1.0, floor=10**16, job=plan.id)
    others = replace(mine, id=b"o" * 32, job=b"j" * 32)
    for row in (mine, others):
        await bed.journal.save_channel(row)
    assert mine in await bed.journal.channels()
    await bed.kill()
    job, _ = await beds(one).resume(plan.id, budget=10**18)
    assert job.purse.bound == 10**16


async def test_a_buyer_killed_before_its_first_unit_has_its_input_recorded(beds: Callable[..., Bed]) -> None:
    """Setups and transfers are paid by then."""
    one = FakeProvider(functions={"f": add_one}, setup_seconds=5)
    bed = beds(one)
    plan = bed.plan(chunk=1)
    job, _ = await bed.start(plan, range(30), total=30)
    while not one.setups or job.spool.count < 30:
        await asyncio.sleep(0.01)
    await bed.kill()
    again = beds(FakeProvider(functions={"f": add_one}))
    again.plan()
    record = find_job(again.journal, plan.id.hex())
    assert (record.spooled, record.total) == (30, 30)
    _, results = await again.resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 31))
