"""A job that is cancelled: whoever reads its results hears of it, unless it was the reader that cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from surge.buyer.job import Job
from surge.buyer.journal import CANCELLED, DONE
from surge.buyer.pieces import LARGE, Block
from surge.buyer.plan import CALLS
from surge.buyer.purse import Purse
from surge.buyer.records import find_job
from surge.buyer.results import Progress, Results, decode_piece
from surge.buyer.scheduler import Scheduler
from surge.buyer.spool import BLOCK_BYTES, Spool
from surge.buyer.submitting import Calls
from surge.core import values
from surge.errors import Cancelled


def add_one(item: int) -> int:
    return item + 1


def slow() -> FakeProvider:
    return FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.05, window=2, window_max=2)


def read(results: Results) -> tuple[list[Any], Cancelled | None]:
    found = []
    try:
        for value in results:
            found.append(value)
    except Cancelled as error:
        return found, error
    return found, None


async def test_the_reader_of_a_job_that_somebody_else_cancels_gets_an_error_behind_what_is_there(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(slow())
    plan = bed.plan(chunk=1)
    job, results = await bed.start(plan, range(80), total=80)
    assert await asyncio.to_thread(next, results) == 1
    job.cancel()
    found, error = await asyncio.wait_for(asyncio.to_thread(read, results), 10)
    assert found == list(range(2, 2 + len(found)))
    assert len(found) < 79
    assert error is not None
    assert error.details["job"] == plan.id.hex()
    assert f"`surge job resume {plan.id.hex()[:12]}`" in str(error)
    assert find_job(bed.journal, plan.id.hex()).state == CANCELLED
    with pytest.raises(StopIteration):
        next(results)


async def test_a_cancelled_job_keeps_its_input_and_is_resumed(beds: Callable[..., Bed]) -> None:
    one = slow()
    bed = beds(one)
    plan = bed.plan(chunk=1)

    def items() -> Iterator[int]:
        for item in range(40):
            time.sleep(0.02)
            yield item

    job, results = await bed.start(plan, items(), total=40)
    await asyncio.to_thread(next, results)
    job.cancel()
    await asyncio.wait_for(job.settled.wait(), 10)
    assert find_job(bed.journal, plan.id.hex()).spooled == 40
    await bed.kill()
    again = beds(one)
    job, results = await again.resume(plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 41))
    await asyncio.wait_for(job.settled.wait(), 10)
    assert find_job(again.journal, plan.id.hex()).state == DONE


async def test_a_reader_that_cancels_gets_no_error(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(slow())
    plan = bed.plan(chunk=1)
    job, results = await bed.start(plan, range(80), total=80)
    await asyncio.to_thread(next, results)
    results.cancel()
    found, error = await asyncio.wait_for(asyncio.to_thread(read, results), 10)
    assert error is None
    assert len(found) < 79
    await asyncio.wait_for(job.settled.wait(), 10)
    assert find_job(bed.journal, plan.id.hex()).state == CANCELLED


async def test_a_job_whose_results_are_all_there_is_done_though_it_is_cancelled(make_bed: Callable[..., Bed], monkeypatch: Any) -> None:
    bed = make_bed(slow())
    plan = bed.plan(chunk=1)
    job, results = await bed.start(plan, range(4), total=4)
    deliver = job.deliver

    def cancel_at_the_last(piece: Any, result: bytes = b"") -> None:
        deliver(piece, result)
        if job.progress.done == 4:
            job.cancel()

    monkeypatch.setattr(job, "deliver", cancel_at_the_last)
    assert await asyncio.wait_for(asyncio.to_thread(read, results), 10) == ([1, 2, 3, 4], None)
    await asyncio.wait_for(job.settled.wait(), 10)
    assert find_job(bed.journal, plan.id.hex()).state == DONE
    assert not await bed.journal.cancel_job(plan.id), "one that is done is not cancelled afterwards"
    assert find_job(bed.journal, plan.id.hex()).state == DONE


async def test_the_futures_of_a_cancelled_job_get_the_error(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(slow())
    plan = bed.plan(kind=CALLS, chunk=1)
    await bed.journal.create_job(plan, None)
    loop = asyncio.get_running_loop()
    job: Job
    calls = Calls(values.dumps, decode_piece, lambda: loop.call_soon_threadsafe(job.poke))
    job = Job(
        plan, bed.journal, calls, calls, bed.recruit, contents={}, scheduler=Scheduler(chunk=1, wall_seconds=60),
        spool=Spool(plan.id, bed.journal), purse=Purse(None), progress=Progress(), in_order=False,
    )  # fmt: skip
    bed.tasks.append(asyncio.create_task(job.run()))
    futures = [calls.submit(item) for item in range(200)]
    assert await asyncio.wait_for(asyncio.wrap_future(futures[0]), 10) == 1
    job.cancel()
    ended = await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True), 10)
    errors = [each for each in ended if not isinstance(each, int)]
    assert len(errors) > 100
    assert {type(each) for each in errors} == {Cancelled}
    assert "ask again for what has no result" in str(errors[0])
    with pytest.raises(Cancelled):
        calls.submit(1)


async def test_a_long_input_is_written_while_it_is_pulled_when_its_job_is_cancelled(make_bed: Callable[..., Bed]) -> None:
    """So that it is never in memory as a whole, nor one block of the journal."""
    one, count, unwritten = LARGE, 48, 12
    bed = make_bed(FakeProvider(functions={"f": len}, seconds=lambda count: 0.05, window=2, window_max=2))
    written, cancelled = threading.Semaphore(unwritten), threading.Event()
    sizes: list[int] = []
    dispatch = bed.journal.dispatch

    def counted(job: bytes, *, blocks: Sequence[Block] = (), **more: Any) -> Any:
        for block in blocks:
            sizes.append(sum(map(len, block.items)))
            for _ in block.items:
                written.release()
        return dispatch(job, blocks=blocks, **more)

    bed.journal.dispatch = counted  # type: ignore[method-assign]

    def items() -> Iterator[bytes]:
        for number in range(count):
            if number == 4:
                cancelled.wait(5)
            assert written.acquire(timeout=5), "nothing was written while so much was pulled"
            yield bytes([number]) * one

    plan = bed.plan(chunk=1)
    job, results = await bed.start(plan, items(), total=count)
    assert await asyncio.to_thread(next, results) == one
    job.cancel()
    cancelled.set()
    await asyncio.wait_for(job.settled.wait(), 20)
    assert find_job(bed.journal, plan.id.hex()).state == CANCELLED
    assert await bed.journal.inputs(plan.id, 0, count) == [values.dumps(bytes([number]) * one) for number in range(count)]
    assert max(sizes) <= BLOCK_BYTES
