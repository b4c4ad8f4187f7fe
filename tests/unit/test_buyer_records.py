"""Reading the journal: what listings show."""

from __future__ import annotations

from collections.abc import Callable

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.records import find_job, list_jobs
from surge.core.units import Status


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
