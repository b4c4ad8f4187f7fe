"""What whoever waits for a job is told while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.plan import Wishes
from surge.core.units import Status
from surge.errors import GuestFault, NotEnough


@pytest.mark.parametrize("status", ["WALL_TIME", "NATIVE_STACK"])
async def test_a_unit_that_is_tried_on_every_provider_in_turn_is_told_of_once(make_bed: Callable[..., Bed], status: str) -> None:
    def slow(item: int) -> int:
        if item in (2, 5):
            raise Ended(Status[status], local=status)
        return item

    bed = make_bed(*(FakeProvider(functions={"f": slow}) for _ in range(3)))
    told: list[str] = []
    job, results = await bed.start(bed.plan(chunk=1), range(8), errors="return", total=8)
    job.progress.tell = told.append
    found = await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    assert [isinstance(each, GuestFault) for each in found] == [index in (2, 5) for index in range(8)]
    (line,) = told
    assert line.startswith("a unit ended early: it" if status == "WALL_TIME" else "a unit ended early: its calls")
    assert line.endswith("It is tried on other providers in turn before its item fails")


async def test_one_thing_is_no_plural(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(FakeProvider(functions={"f": abs}))
    job, _ = await bed.start(bed.plan(chunk=1, wishes=Wishes(budget=10**18)), [0], total=1)
    await asyncio.wait_for(job.settled.wait(), 10)
    assert isinstance(job.out_of_money(), NotEnough)
    assert "; 1 item done: " in str(job.out_of_money())
