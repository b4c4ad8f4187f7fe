"""No provider is asked twice for what it was paid for: an honest one, which forgets what was acknowledged, would bill it twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.evidence import Evidence
from surge.buyer.job import Job
from surge.buyer.orphans import Orphans
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.plan import Plan, Wishes
from surge.core.messages import Answer
from surge.core.receipts import ReceiptKind
from surge.core.units import Status
from surge.errors import GuestFault, Unavailable


def add_one(item: int) -> int:
    return item + 1


def lending(**options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.02, cores=4, **options)


def mute(one: FakeProvider) -> None:
    """None of its answers to units arrives."""

    def dropped(provider: FakeProvider, message: Any) -> Any:
        return None if isinstance(message, Answer) and message.receipt is not None and message.receipt.kind == ReceiptKind.UNIT else message

    one.mangle = dropped


def heard(one: FakeProvider) -> None:
    one.mangle = lambda provider, message: message


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


async def killed(beds: Callable[..., Bed], *providers: FakeProvider, items: int, wishes: Wishes | None = None) -> tuple[Bed, Plan]:
    """A buyer that comes back after being killed with all of these units done at each of the providers, and answered to none."""
    bed = beds(*providers)
    plan = bed.plan(chunk=1, wishes=wishes or Wishes())
    for one in providers:
        peer = await bed.peer(one)
        await peer.wait_open(5)
    job, _ = await bed.start(plan, range(items), total=items)
    await until(lambda: len(job.scheduler.lanes) == len(providers) and all(lane.ready for lane in job.scheduler.lanes.values()))
    for one in providers:
        await until(lambda one=one: len(one.ran) == items and not one.busy)  # type: ignore[misc]
    await bed.kill()
    for one in providers:
        heard(one)
    return beds(*providers), plan


async def opened(bed: Bed, one: FakeProvider) -> Peer:
    peer = await bed.peer(one)
    await peer.wait_open(5)
    return peer


def settle_soon(bed: Bed, peer: Peer, jobs: Callable[[bytes], Job | None]) -> asyncio.Task[None]:
    bed.tasks.append(asyncio.create_task(Orphans(bed.journal, jobs, bed.evidence).settle(peer)))
    return bed.tasks[-1]


async def finished(job: Job, results: Any) -> list[Any]:
    found = await asyncio.wait_for(asyncio.to_thread(list, results), 10)
    await asyncio.wait_for(job.settled.wait(), 10)
    return found


async def assert_paid_once(bed: Bed, providers: Sequence[FakeProvider]) -> None:
    for one in providers:
        await until(lambda one=one: not one.channel.pending)  # type: ignore[misc]
        assert bed.peers[one.device].gone is None
        assert len(one.ran) == len(set(one.ran))
    rows = await bed.journal.read("SELECT count(*), count(DISTINCT channel || subject) FROM receipts WHERE kind = 1 AND accepted")
    assert rows[0][0] == rows[0][1]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of what is late are made at once."""
    monkeypatch.setattr("surge.buyer.stragglers.UNPROVEN_SECONDS", 0.1)
    monkeypatch.setattr("surge.buyer.stragglers.BACK_SECONDS", 0.0)
    monkeypatch.setattr("surge.buyer.orphans.LOOK_SECONDS", 0.05)


async def test_what_its_job_fetches_while_its_receipt_is_looked_up_is_not_asked_for_again(beds: Callable[..., Bed]) -> None:
    one = lending()
    mute(one)
    bed, plan = await killed(beds, one, items=4)
    read, fetched = bed.journal.read, asyncio.Event()

    async def slow(query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        rows = await read(query, values)
        if query.startswith("SELECT tries.job,"):
            await fetched.wait()
        return rows

    bed.journal.read = slow  # type: ignore[method-assign]
    peer = await opened(bed, one)
    job, results = await bed.resume(plan.id)
    settling = settle_soon(bed, peer, bed.jobs.get)
    assert await finished(job, results) == [1, 2, 3, 4]
    await until(lambda: len(one.acknowledged) >= 4)
    fetched.set()
    await asyncio.wait_for(settling, 5)
    await assert_paid_once(bed, [one])


async def test_what_a_straggler_s_second_provider_did_before_a_kill_is_taken_when_the_first_does_not_answer(
    beds: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = lending(), lending()
    mute(first)
    mute(second)
    bed, plan = await killed(beds, first, second, items=1)
    monkeypatch.setattr("surge.buyer.stragglers.UNPROVEN_SECONDS", 1000.0)
    mute(first)
    second.reachable = False
    job, results = await bed.resume(plan.id)
    await until(lambda: any(cut.tries for cut in job.scheduler.cuts.values()))
    second.reachable = True
    settle_soon(bed, await opened(bed, second), bed.jobs.get)
    assert await finished(job, results) == [1]
    assert first.channel.pending
    heard(first)
    await assert_paid_once(bed, [second])


async def test_a_unit_settled_without_its_job_is_not_done_again_where_it_was_done(beds: Callable[..., Bed]) -> None:
    """Its result was written down while the job that goes on had it at another provider, which then leaves."""
    first, second = lending(), lending()
    mute(first)
    mute(second)
    bed, plan = await killed(beds, first, second, items=1)
    mute(first)
    second.reachable = False
    job, results = await bed.resume(plan.id)
    await until(lambda: any(cut.tries for cut in job.scheduler.cuts.values()))
    second.reachable = True
    await asyncio.wait_for(settle_soon(bed, await opened(bed, second), lambda _: None), 5)
    await until(lambda: not second.channel.pending)
    bed.peers[first.device].drop(Unavailable("it went home"))
    assert await finished(job, results) == [1]
    await assert_paid_once(bed, [second])


async def test_answers_of_several_operators_are_all_fetched_after_a_kill(beds: Callable[..., Bed]) -> None:
    providers = [lending(), lending()]
    for one in providers:
        mute(one)
    bed, plan = await killed(beds, *providers, items=3, wishes=Wishes(copies=2))
    peers = [await opened(bed, one) for one in providers]
    job, results = await bed.resume(plan.id)
    for peer in peers:
        settle_soon(bed, peer, bed.jobs.get)
    assert await finished(job, results) == [1, 2, 3]
    await assert_paid_once(bed, providers)
    assert [len(one.ran) for one in providers] == [3, 3]


@pytest.mark.parametrize("chunk", [1, 3])
async def test_what_was_answered_while_its_job_was_being_resumed_is_taken_from_the_journal(beds: Callable[..., Bed], chunk: int) -> None:
    """The job is cancelled and resumed at once in one process, while its units are under way. In units of three items, one ends badly."""

    def trap(item: int) -> int:
        if item == 2 and chunk == 3:
            raise Ended(Status.TRAPPED)
        return item + 1

    one = lending()
    one.functions["f"] = trap
    mute(one)
    bed = beds(one)
    plan = bed.plan(chunk=chunk)
    job, _ = await bed.start(plan, range(3), total=3)
    await until(lambda: len(one.ran) == 3 // chunk and not one.busy)
    job.cancel()
    await asyncio.wait_for(job.settled.wait(), 5)
    recruit, answered = bed.recruit, asyncio.Event()

    async def later(*args: Any) -> list[Peer]:
        await answered.wait()
        return await recruit(*args)

    bed.recruit = later  # type: ignore[method-assign]
    job, results = await bed.resume(plan.id, errors="return")
    heard(one)
    one.cut()  # the session breaks: what is under way is asked for again in another
    await until(lambda: not one.channel.pending)
    answered.set()
    *good, last = await finished(job, results)
    assert good == [1, 2]
    assert isinstance(last, GuestFault) if chunk == 3 else last == 3
    await assert_paid_once(bed, [one])


async def test_a_unit_asked_for_twice_in_one_session_is_not_asked_for_in_the_next_when_it_is_paid(beds: Callable[..., Bed]) -> None:
    """Its job was cancelled and resumed at once; the session breaks between the two answers."""
    one = lending()
    mute(one)
    bed = beds(one)
    plan = bed.plan(chunk=1)
    job, _ = await bed.start(plan, range(3), total=3)
    await until(lambda: len(one.ran) == 3 and not one.busy)
    job.cancel()
    await asyncio.wait_for(job.settled.wait(), 5)
    job, results = await bed.resume(plan.id)
    peer = bed.peers[one.device]
    await until(lambda: len(peer.calls_of()) == 6)
    answered: set[bytes] = set()

    def once(provider: FakeProvider, message: Any) -> Any:
        if isinstance(message, Answer) and message.receipt is not None:
            if message.receipt.subject in answered:
                return None
            answered.add(message.receipt.subject)
        return message

    one.mangle = once
    one.cut()
    await until(lambda: not one.channel.pending)
    heard(one)
    one.cut()
    assert await finished(job, results) == [1, 2, 3]
    await assert_paid_once(bed, [one])


async def test_a_unit_that_was_paid_unchecked_for_a_killed_buyer_may_be_billed_again_when_its_job_goes_on(beds: Callable[..., Bed]) -> None:
    one = lending()
    mute(one)
    bed, plan = await killed(beds, one, items=2)
    bed.evidence = Evidence(bed.journal)
    bed.evidence.chance = lambda *_: 1.0  # type: ignore[method-assign]
    peer = await opened(bed, one)
    await asyncio.wait_for(settle_soon(bed, peer, bed.jobs.get), 5)
    await until(lambda: not one.channel.pending)
    bed.evidence = None
    job, results = await bed.resume(plan.id)
    assert await finished(job, results) == [1, 2]
    assert peer.gone is None


async def test_a_unit_whose_receipt_was_refused_is_paid_when_it_is_asked_for_and_done_again(beds: Callable[..., Bed]) -> None:
    """Its job had spent its budget; now it is resumed with a larger one."""
    one = lending(fuel_each=10**9)
    mute(one)
    bed, plan = await killed(beds, one, items=1, wishes=Wishes(budget=10**18))
    await bed.journal.write(lambda db: db.execute("UPDATE jobs SET plan = ?", (replace(plan, wishes=Wishes(budget=1)).encode(),)))
    peer = await opened(bed, one)
    await asyncio.wait_for(settle_soon(bed, peer, lambda _: None), 5)
    await until(lambda: not one.channel.pending)
    assert [accepted for _, accepted in one.acknowledged if not accepted]
    assert not any(map(peer.payer.has_paid, one.ran))
    job, results = await bed.resume(plan.id, budget=10**18)
    assert await finished(job, results) == [1]
    assert peer.gone is None


async def test_a_receipt_that_was_held_and_then_refused_is_not_paid(beds: Callable[..., Bed]) -> None:
    one = lending()
    bed = beds(one)
    payer = (await bed.peer(one)).payer
    signed = payer.party.receipt(one.issue(ReceiptKind.UNIT, b"u" * 32, b"r" * 32, 10, 10**12))
    paid = Paid(signed.receipt, signed.signature, signed.verify(payer.party.domain), True, None, None, ())
    assert payer.hold(paid)
    assert payer.has_paid(b"u" * 32)
    payer.take(replace(paid, accepted=False))
    assert not payer.has_paid(b"u" * 32)
