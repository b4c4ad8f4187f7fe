"""New prices in the middle of a job: when they are agreed on, and when the provider is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import DOMAIN, PRICES, FakeProvider
from surge.buyer import signed_terms
from surge.buyer.journal import Journal
from surge.buyer.plan import Wishes
from surge.core.signing import check_signed
from surge.errors import InternalFault, PeerFault


def add_one(item: int) -> int:
    return item + 1


def provider(function: Callable[..., Any] = add_one, **options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": function}, **options)


async def test_new_prices_are_agreed_on_once_and_after_the_first_unit(make_bed: Callable[..., Bed]) -> None:
    one = provider()
    one.quote = replace(one.prices, gigafuel=one.prices.gigafuel * 7, speed=one.prices.speed // 7)
    bed = make_bed(one)
    plan = bed.plan(chunk=1)
    assert await bed.map(plan, range(5)) == [1, 2, 3, 4, 5]
    assert one.job_prices == {plan.id: one.quote}


async def test_what_the_device_signed_as_terms_is_kept(make_bed: Callable[..., Bed]) -> None:
    one = provider()
    one.quote = replace(one.prices, gigafuel=one.prices.gigafuel * 7, speed=one.prices.speed // 7)
    bed = make_bed(one)
    plan = bed.plan(chunk=1)
    await bed.map(plan, range(5))
    await bed.kill()
    journal = Journal(bed.folder / "buyer.db")
    kept = await signed_terms.of_channel(journal, one.channel_id)
    await journal.close()
    assert [terms for terms, _ in kept] == [replace(one.terms(), job=plan.id, prices=one.quote), one.terms()]
    for terms, signature in kept:
        check_signed(terms.digest(DOMAIN), signature, one.device, "terms")


async def test_a_signature_over_the_terms_is_on_disk_before_anything_is_asked(
    make_bed: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = provider()
    bed = make_bed(one)
    full = InternalFault("the disk is full")
    monkeypatch.setattr(bed.journal, "keep_terms", raising(full))
    peer = await bed.peer(one)
    with pytest.raises(InternalFault):
        await asyncio.wait_for(bed.tasks[0], 10)
    assert not peer.is_open


def raising(error: Exception) -> Callable[..., Any]:
    async def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("change", [{"memory": 10**24}, {"transfer": 10**24}, {"compile": 0}, {"gigafuel": 0, "memory": 2 * 10**9}])
async def test_new_prices_for_anything_but_fuel_are_a_fault(make_bed: Callable[..., Bed], change: dict[str, int]) -> None:
    greedy, fair = provider(), provider()
    greedy.quote = replace(greedy.prices, **change)
    bed = make_bed(greedy, fair)
    assert await bed.map(bed.plan(chunk=1), range(5)) == [1, 2, 3, 4, 5]
    assert isinstance(bed.peers[greedy.device].gone, PeerFault)
    assert not greedy.job_prices


@pytest.mark.parametrize(
    ("times", "slower", "max_price"),
    [
        (17, 1, None),
        (1, 17, None),
        (3, 3, 2 * PRICES.gigafuel),
        (1, 10**8, 2 * PRICES.gigafuel),
    ],
)
async def test_new_prices_above_the_bound_are_refused(make_bed: Callable[..., Bed], times: int, slower: int, max_price: int | None) -> None:
    dear, fair = provider(), provider()
    dear.quote = replace(dear.prices, gigafuel=dear.prices.gigafuel * times, speed=dear.prices.speed // slower)
    bed = make_bed(dear, fair)
    job, results = await bed.start(bed.plan(chunk=1, wishes=Wishes(max_price=max_price)), range(5), total=5)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == [1, 2, 3, 4, 5]
    assert not dear.job_prices
    assert dear.device in job.lanes.reach.left_for_good()


async def test_new_prices_up_to_the_users_bound_are_agreed_on(make_bed: Callable[..., Bed]) -> None:
    one = provider()
    one.quote = replace(one.prices, gigafuel=one.prices.gigafuel * 100, speed=one.prices.speed // 100)
    bed = make_bed(one)
    plan = bed.plan(chunk=1, wishes=Wishes(max_price=one.prices.gigafuel * 100))
    assert await bed.map(plan, range(5)) == [1, 2, 3, 4, 5]
    assert one.job_prices == {plan.id: one.quote}


async def test_new_prices_before_the_first_unit_are_not_agreed_on(make_bed: Callable[..., Bed]) -> None:
    early, fair = provider(), provider()
    early.quotes_early = True
    early.quote = replace(early.prices, gigafuel=early.prices.gigafuel * 2)
    bed = make_bed(early, fair)
    job, results = await bed.start(bed.plan(chunk=1), range(5), total=5)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == [1, 2, 3, 4, 5]
    assert not early.job_prices
    assert not early.ran
    assert early.device in job.lanes.reach.left_for_good()


async def test_a_unit_made_before_new_prices_were_agreed_is_made_again(make_bed: Callable[..., Bed], monkeypatch: Any) -> None:
    one, core = provider(), asyncio.Semaphore(0)
    one.quote = replace(one.prices, gigafuel=one.prices.gigafuel * 2)
    monkeypatch.setattr(one, "_cores", core)
    bed = make_bed(one)
    plan = bed.plan(chunk=1)
    journal = bed.journal.dispatch

    def slowly(job: bytes, **what: Any) -> Future[None]:
        """The first unit ends while the second is being journalled, and its new prices are agreed on meanwhile."""
        written, done = journal(job, **what), Future[None]()
        if [row.number for row in what.get("tries", ())] != [1]:
            return written

        async def finish() -> None:
            core.release()
            while not one.job_prices:
                await asyncio.sleep(0.01)
            core.release()
            await asyncio.wrap_future(written)
            done.set_result(None)

        bed.tasks.append(asyncio.create_task(finish()))
        return done

    def items() -> Iterator[int]:
        yield 0
        while not one.busy:
            time.sleep(0.01)
        yield 1

    monkeypatch.setattr(bed.journal, "dispatch", slowly)
    assert await bed.map(plan, items()) == [1, 2]
    assert bed.peers[one.device].gone is None
    assert one.job_prices == {plan.id: one.quote}
