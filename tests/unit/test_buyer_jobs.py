"""Whole jobs over fake providers: what a user gets, what is paid, what happens on bad days."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import PRICES, FakeProvider
from made_up_units import Ended
from surge.buyer.job import Job
from surge.buyer.peers import Peer
from surge.buyer.plan import Wishes
from surge.core.messages import ChannelOpened, Refusal
from surge.core.pricing import unit_amount
from surge.core.units import Limits, Status
from surge.errors import GuestFault, NotEnough, RemoteError, Unavailable


def add_one(item: int) -> int:
    return item + 1


def picky(item: int) -> int:
    if item % 10 == 3:
        raise ValueError(f"not {item}")
    return item


def provider(function: Callable[..., Any] = add_one, **options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": function}, **options)


async def test_results_come_in_order_and_every_unit_is_paid(make_bed: Callable[..., Bed]) -> None:
    providers = [provider(), provider()]
    bed = make_bed(*providers)
    assert await bed.map(bed.plan(), range(3000)) == list(range(1, 3001))
    for one in providers:
        await asyncio.wait_for(bed.peers[one.device].payer.drain(), 5)
        assert not one.channel.pending
        assert all(accepted for _, accepted in one.acknowledged)
    assert sum(len(one.ran) for one in providers) < 200


@pytest.mark.parametrize("chunk", [1, 7])
async def test_the_results_do_not_depend_on_the_cut(make_bed: Callable[..., Bed], chunk: int) -> None:
    bed = make_bed(provider(), provider())
    assert await bed.map(bed.plan(chunk=chunk), range(60)) == list(range(1, 61))


async def test_an_exception_is_raised_at_its_place_and_the_others_go_on(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(provider(picky))
    _, results = await bed.start(bed.plan(), range(15))

    def read() -> list[Any]:
        found: list[Any] = []
        while True:
            try:
                found.append(next(results))
            except RemoteError as error:
                found.append(error)
            except StopIteration:
                return found

    found = await asyncio.to_thread(read)
    assert [value for value in found if isinstance(value, int)] == [index for index in range(15) if index % 10 != 3]
    assert isinstance(found[3], RemoteError)
    assert found[3].details["index"] == 3
    assert found[13].details["type"] == "ValueError"
    assert "picky" in str(found[13])


async def test_errors_can_be_returned(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(provider(picky))
    found = await bed.map(bed.plan(), range(5), errors="return")
    assert isinstance(found[3], RemoteError)


async def test_an_infinite_generator_is_pulled_no_further_than_useful(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(provider())
    pulled = 0

    def count() -> Any:
        nonlocal pulled
        for index in itertools.count():
            pulled += 1
            yield index

    job, results = await bed.start(bed.plan(chunk=1), count())
    assert await asyncio.to_thread(lambda: [next(results) for _ in range(50)]) == list(range(1, 51))
    results.cancel()
    await asyncio.wait_for(job.settled.wait(), 5)
    assert pulled < 500


async def test_an_error_of_the_generator_is_raised_after_the_results_before_it(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(provider())

    def items() -> Any:
        yield 1
        yield 2
        raise OSError("the file ended")

    _, results = await bed.start(bed.plan(), items())
    assert await asyncio.to_thread(lambda: [next(results), next(results)]) == [2, 3]
    with pytest.raises(OSError, match="the file ended"):
        await asyncio.to_thread(next, results)


async def test_one_trapping_item_is_found_and_named(make_bed: Callable[..., Bed]) -> None:
    def trap(item: int) -> int:
        if item == 41:
            raise Ended(Status.TRAPPED)
        return item

    bed = make_bed(provider(trap), provider(trap))
    found = await bed.map(bed.plan(chunk=16), range(64), errors="return")
    assert isinstance(found[41], GuestFault)
    assert found[41].details["status"] == "TRAPPED"
    assert [item for item in found if isinstance(item, int)] == [index for index in range(64) if index != 41]


async def test_a_unit_that_ends_locally_everywhere_is_the_items_fault(make_bed: Callable[..., Bed]) -> None:
    def slow(item: int) -> int:
        if item == 5:
            raise Ended(Status.WALL_TIME, local="WALL_TIME")
        return item

    bed = make_bed(provider(slow), provider(slow))
    found = await bed.map(bed.plan(chunk=4), range(8), errors="return")
    assert isinstance(found[5], GuestFault)
    assert found[5].message.startswith("item 5: it took longer than it may: raise timeout=")
    assert found[5].details["status"] == "WALL_TIME"
    assert [item for item in found if isinstance(item, int)] == [0, 1, 2, 3, 4, 6, 7]


async def test_a_broken_session_is_dialled_again_and_nothing_runs_or_is_paid_twice(make_bed: Callable[..., Bed]) -> None:
    one = provider(seconds=lambda count: 0.02)
    bed = make_bed(one)
    job, results = await bed.start(bed.plan(chunk=1), range(40))
    reading = asyncio.create_task(asyncio.to_thread(list, results))
    for _ in range(4):
        await asyncio.sleep(0.1)
        one.cut()
    assert await asyncio.wait_for(reading, 20) == list(range(1, 41))
    await asyncio.wait_for(job.settled.wait(), 5)
    assert one.dials >= 3
    assert len(one.ran) == len(set(one.ran))
    assert sum(1 for _ in one.acknowledged) == 41


async def test_a_provider_that_vanishes_loses_its_units_to_the_other(make_bed: Callable[..., Bed], monkeypatch: Any) -> None:
    monkeypatch.setattr("surge.buyer.peers.GRACE_SECONDS", 0.5)
    gone, stays = provider(seconds=lambda count: 0.05), provider(seconds=lambda count: 0.05)
    bed = make_bed(gone, stays)
    job, results = await bed.start(bed.plan(chunk=1), range(30))
    reading = asyncio.create_task(asyncio.to_thread(list, results))
    await asyncio.sleep(0.3)
    gone.reachable = False
    gone.cut()
    assert await asyncio.wait_for(reading, 20) == list(range(1, 31))
    assert "stays away: nobody answers" in str(job.lanes.left[gone.device])
    assert job.purse.idle, "money stays set aside for units of a provider that is gone"


async def test_units_of_providers_that_were_all_away_wait_for_their_return(make_bed: Callable[..., Bed], monkeypatch: Any) -> None:
    for name, seconds in (("lanes.LOOK_AGAIN", 0.1), ("lanes.LOOK_PAUSE", 0.05), ("peers.GRACE_SECONDS", 0.2)):
        monkeypatch.setattr(f"surge.buyer.{name}", seconds)
    both = [provider(seconds=lambda count: 0.05), provider(seconds=lambda count: 0.05)]
    bed = make_bed(*both)

    async def again(job: Job, count: int, first: Sequence[str]) -> list[Peer]:
        return [await bed.peer(one) for one in both if one.device not in job.lanes.peers and one.reachable][:count]

    monkeypatch.setattr(bed, "recruit", again)
    job, results = await bed.start(bed.plan(chunk=1), range(30))
    reading = asyncio.create_task(asyncio.to_thread(list, results))
    async with asyncio.timeout(20):
        while not all(len(one.ran) > 3 for one in both):
            await asyncio.sleep(0.01)
        for one in both:
            one.reachable = False
            one.cut()
        while len(job.lanes.left) < 2 or any(one.busy for one in both):
            await asyncio.sleep(0.01)
        for one in both:
            one.reachable = True
        assert await reading == list(range(1, 31))
    assert sum(len(one.ran) for one in both) == 30, "a unit was run by both"


async def test_a_provider_that_comes_back_only_to_refuse_does_not_keep_the_job_waiting(
    make_bed: Callable[..., Bed], monkeypatch: Any
) -> None:
    """Its reason reaches the user, however often it is found again."""
    for name, seconds in (("reach.PATIENCE", 1.0), ("lanes.LOOK_AGAIN", 0.1), ("lanes.LOOK_PAUSE", 0.05), ("peers.GRACE_SECONDS", 0.2)):
        monkeypatch.setattr(f"surge.buyer.{name}", seconds)
    busy = provider()
    busy.mangle = lambda _, message: (
        Refusal(0, "busy", "the ledger cannot be asked", b"") if isinstance(message, ChannelOpened) else message
    )
    bed = make_bed(busy)

    async def again(job: Job, count: int, first: Sequence[str]) -> list[Peer]:
        return [] if busy.device in job.lanes.peers else [await bed.peer(busy)]

    monkeypatch.setattr(bed, "recruit", again)
    _, results = await bed.start(bed.plan(chunk=1), range(3))
    with pytest.raises(Unavailable, match=r"no provider is left.*stays away: .*the ledger cannot be asked"):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    assert busy.dials > 2


async def test_a_provider_that_never_answers_does_not_hold_the_job_up(make_bed: Callable[..., Bed]) -> None:
    mute = provider()
    mute.mangle = lambda _, message: (
        None if type(message).__name__ == "Answer" and message.receipt and message.receipt.kind == 1 else message
    )
    bed = make_bed(mute, provider(seconds=lambda count: 0.01))
    assert await bed.map(bed.plan(chunk=1), range(20)) == list(range(1, 21))


async def test_the_window_is_kept(make_bed: Callable[..., Bed]) -> None:
    one = provider(window=1, window_max=4, cores=4)
    bed = make_bed(one)
    assert await bed.map(bed.plan(chunk=1), range(20)) == list(range(1, 21))
    assert "window" not in one.refused


async def test_a_setup_that_fails_ends_the_job_with_what_it_said(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(provider(setup_status=Status.TRAPPED))
    with pytest.raises(GuestFault, match=r"(?s)no such module.*__main__"):
        await bed.map(bed.plan(), range(5))


async def test_with_a_budget_a_setup_that_fails_is_paid_at_one_provider(make_bed: Callable[..., Bed]) -> None:
    providers = [provider(setup_status=Status.TRAPPED, setup_seconds=0.05) for _ in range(4)]
    bed = make_bed(*providers)
    with pytest.raises(GuestFault, match="the module's top level failed"):
        await bed.map(bed.plan(wishes=Wishes(budget=10**18)), range(5))
    assert sum(len(one.setups) for one in providers) == 1


async def test_a_job_does_without_providers_whose_setup_its_budget_does_not_buy(make_bed: Callable[..., Bed]) -> None:
    from surge.core.pricing import unit_amount

    limits = Limits(output=1 << 10)
    providers = [provider(setup_fuel=10**10, setup_seconds=0.05, seconds=lambda count: 0.01) for _ in range(3)]
    budget = unit_amount(PRICES, 10**10, limits.memory, 0) * 3 // 2
    bed = make_bed(*providers)
    job, results = await bed.start(bed.plan(chunk=1, limits=limits, wishes=Wishes(budget=budget)), range(20), total=20)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == list(range(1, 21))
    assert sum(len(one.setups) for one in providers) == 1
    assert job.purse.spent <= budget


async def test_when_nobody_can_be_reached_the_user_is_told_once_and_each_provider_is_named_once(
    make_bed: Callable[..., Bed], monkeypatch: Any
) -> None:
    for name, seconds in (("reach.PATIENCE", 1.5), ("reach.QUIET", 0.3), ("lanes.LOOK_PAUSE", 0.05), ("peers.GRACE_SECONDS", 0.2)):
        monkeypatch.setattr(f"surge.buyer.{name}", seconds)
    providers = [provider(seconds=lambda count: 0.02) for _ in range(2)]
    bed = make_bed(*providers)
    told: list[str] = []

    def away(device: str) -> Callable[[], Any]:
        async def dial() -> Any:
            raise Unavailable(f"{device} cannot be reached: no relay is connected")

        return dial

    job, results = await bed.start(bed.plan(chunk=1), range(1000), total=1000)
    job.progress.tell = told.append
    await asyncio.to_thread(lambda: [next(results) for _ in range(5)])
    while job.progress.reachable != 2:
        await asyncio.sleep(0.01)
    for one in providers:
        monkeypatch.setattr(bed.peers[one.device], "_dial", away(one.device))
        one.cut()
    with pytest.raises(Unavailable, match=r"no provider is left.* stays away: it cannot be reached: no relay") as caught:
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    assert job.progress.reachable == 0
    assert len(told) == 1
    assert told[0].startswith("no provider can be reached now: waiting 2 s at most for 0x")
    assert [str(caught.value).count(one.device) for one in providers] == [1, 1]


async def test_a_setup_that_ends_locally_again_and_again_says_what_to_do(
    make_bed: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.lanes.ATTEMPTS", 2)
    bed = make_bed(provider(setup_status=Status.NATIVE_STACK))
    with pytest.raises(GuestFault, match=r"the module's top level failed: its calls went deeper .* endless recursion"):
        await bed.map(bed.plan(), range(5))


async def test_the_budget_is_never_exceeded(make_bed: Callable[..., Bed]) -> None:
    from surge.core.pricing import unit_amount

    one = provider(fuel_each=10**9)
    limits = Limits(output=1 << 20)
    each = unit_amount(one.prices, 10**9, limits.memory, limits.output)
    budget = 10 * each
    bed = make_bed(one)
    job, results = await bed.start(bed.plan(chunk=1, limits=limits, wishes=Wishes(budget=budget)), range(100))

    def read() -> int:
        found: list[int] = []
        with pytest.raises(NotEnough, match="budget"):
            found.extend(results)
        return len(found)

    done = await asyncio.to_thread(read)
    await asyncio.wait_for(job.settled.wait(), 5)
    assert 5 <= done <= 10
    assert one.channel.amount == job.purse.spent <= budget


async def test_a_budget_for_one_item_and_most_of_another_gives_one_and_burns_nothing(make_bed: Callable[..., Bed]) -> None:
    one = provider(cores=4, fuel_each=6 * 10**9)
    bed = make_bed(one)
    limits = Limits(output=1 << 10)
    price = unit_amount(one.prices, 6 * 10**9, limits.memory, 1 << 11)
    job, results = await bed.start(bed.plan(chunk=1, limits=limits, wishes=Wishes(budget=price * 19 // 10)), range(5))
    found: list[int] = []
    with pytest.raises(NotEnough, match="items take 6 gigafuel"):
        await asyncio.wait_for(asyncio.to_thread(found.extend, results), 20)
    await asyncio.wait_for(job.settled.wait(), 5)
    assert found == [1]
    assert [each.quantity for each in await receipts(bed) if each.kind == 1] == [6 * 10**9]


async def test_large_inputs_and_outputs_travel_in_chunks(make_bed: Callable[..., Bed]) -> None:
    def double(item: bytes) -> bytes:
        return item + item

    one = provider(double)
    bed = make_bed(one)
    items = [bytes([index]) * 700_000 for index in range(3)]
    assert await bed.map(bed.plan(chunk=1), items) == [item + item for item in items]
    kinds = [each.kind for each in await receipts(bed)]
    assert kinds.count(3) == 3


async def receipts(bed: Bed) -> list[Any]:
    from surge.buyer.journal import unpack_receipt

    return [unpack_receipt(row[0]) for row in await bed.journal.read("SELECT receipt FROM receipts")]
