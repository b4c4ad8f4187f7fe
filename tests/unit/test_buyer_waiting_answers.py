"""Answers that wait for a check, when something happens to their cut, their device or their job meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from audited_support import add_one, honest, lying
from buyer_support import Bed
from made_up_checks import MadeUpChecks
from made_up_provider import PRICES, FakeProvider
from made_up_units import Ended, Ran
from surge.buyer.evidence import Evidence
from surge.buyer.orphans import Orphans
from surge.buyer.peers import Peer
from surge.buyer.plan import Wishes
from surge.core import values
from surge.core.pricing import unit_amount
from surge.core.units import Limits, Outcome, Status, UnitSpec
from surge.errors import NotEnough


def taking_too_long(item: int) -> int:
    raise Ended(Status.WALL_TIME, "WALL_TIME")


@pytest.mark.parametrize("chunk", [1, 4])
async def test_an_answer_that_waits_is_not_lost_where_others_say_that_they_take_too_long(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    monkeypatch.setattr("surge.buyer.scheduler.REST_SECONDS", 0.1)
    one, slow = honest(), [FakeProvider(functions={"f": taking_too_long}, seconds=lambda count: 0.1) for _ in range(2)]
    bed = make_audited(one, *slow, alone=True)
    assert await bed.map(bed.plan(chunk=chunk), range(8)) == list(range(1, 9))
    assert bed.peers[one.device].payer.held == 0


async def test_answers_that_wait_for_one_another_where_no_more_is_covered_are_paid_early(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)  # for what three newcomers do not settle among themselves
    ones = [honest(covers_units=1) for _ in range(3)]
    bed = make_audited(*ones, alone=True)
    async with asyncio.timeout(20):
        assert await bed.map(bed.plan(chunk=1), range(4)) == list(range(1, 5))
    assert any("cover" in each.refused for each in ones)


def dear(item: int, provider: FakeProvider | None = None, checks: MadeUpChecks | None = None) -> None:
    """Make one item take a hundred times the fuel of the others."""
    if provider is not None:
        execute = provider._execute

        def run(body: Any, data: bytes) -> Ran:
            provider.fuel_each = 100_000 if values.loads(data) == [item] else 1000
            return execute(body, data)

        provider._execute = run  # type: ignore[method-assign]
    if checks is not None:
        check = checks.run

        async def again(spec: UnitSpec, items: bytes, *, setup: bool = False) -> Outcome:
            checks.fuel_each = 100_000 if not setup and values.loads(items) == [item] else 1000
            return await check(spec, items, setup=setup)

        checks.run = again  # type: ignore[method-assign]


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units get twice the fuel that items were seen to take."""
    monkeypatch.setattr("surge.buyer.purse.LEAST_FUEL", 1)
    monkeypatch.setattr("surge.buyer.purse.GENEROUS", 2)


@pytest.mark.usefixtures("tight")
async def test_who_ran_out_of_a_lowered_limit_is_no_liar_once_it_had_more(make_audited: Callable[..., Bed]) -> None:
    one, checks = honest(window=1, window_max=1), MadeUpChecks({"f": add_one})
    dear(7, one, checks)
    bed = make_audited(one, checks=checks)
    job, results = await bed.start(bed.plan(chunk=1), range(12))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 13))
    assert job.lanes.left == {}


@pytest.mark.usefixtures("tight")
async def test_two_that_ran_out_of_a_lowered_limit_do_not_use_a_budget_up(make_audited: Callable[..., Bed]) -> None:
    ones = [honest(window=1, window_max=1) for _ in range(2)]
    for one in ones:
        dear(7, one)
    bed = make_audited(*ones, alone=True)
    job, results = await bed.start(bed.plan(chunk=1, wishes=Wishes(copies=2)), range(12))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 13))
    assert job.lanes.left == {}


def of_another_engine(**options: Any) -> FakeProvider:
    return honest(engine=b"x" * 32, fuel_each=1003, setup_fuel=5100, **options)


async def test_devices_of_another_engine_are_not_held_against_what_this_one_takes(make_audited: Callable[..., Bed]) -> None:
    one, other = honest(seconds=lambda count: 0.02), of_another_engine(seconds=lambda count: 0.02)
    bed = make_audited(one, other, own=[other.device])
    job, results = await bed.start(bed.plan(chunk=1), range(30))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 31))
    assert job.lanes.left == {}


async def test_devices_of_different_engines_do_not_check_each_other(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    providers = [*(honest() for _ in range(5)), of_another_engine()]
    bed = make_audited(*providers, alone=True)
    job, results = await bed.start(bed.plan(chunk=1), range(12))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == list(range(1, 13))
    assert job.lanes.left == {}


async def test_a_copy_of_a_straggler_goes_to_a_device_of_the_same_engine(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.stragglers.SPECULATE_SECONDS", 0.05)
    quick, slow = honest(), of_another_engine(seconds=lambda count: 1.0)
    bed = make_audited(quick, slow, own=[slow.device])
    job, results = await bed.start(bed.plan(chunk=1), range(8))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 9))
    while slow.busy:
        await asyncio.sleep(0.02)
    assert job.lanes.left == {}
    assert not set(quick.ran) & set(slow.ran)


def trapping(item: int) -> int:
    if item == 5:
        raise Ended(Status.TRAPPED)
    return item + 1


@pytest.mark.usefixtures("tight")
async def test_all_who_run_a_unit_have_the_same_limit_of_fuel(make_audited: Callable[..., Bed]) -> None:
    quick = FakeProvider(functions={"f": trapping})
    slow = FakeProvider(functions={"f": trapping}, setup_seconds=0.5, window=1, window_max=1)
    bed = make_audited(quick, slow, alone=True)
    job, results = await bed.start(bed.plan(chunk=1, wishes=Wishes(copies=2)), range(6), errors="return")
    found = await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    assert found[:5] == list(range(1, 6))
    assert job.lanes.left == {}, "a trap is billed at the limit"


async def test_an_answer_that_comes_when_its_job_has_ended_is_paid(make_audited: Callable[..., Bed]) -> None:
    ones = [honest(seconds=lambda count: 0.5, window=1) for _ in range(2)]
    bed = make_audited(*ones, alone=True)
    job, results = await bed.start(bed.plan(chunk=1), range(5), total=5)
    while not all(one.busy for one in ones):
        await asyncio.sleep(0.01)
    await asyncio.to_thread(results.cancel)
    await asyncio.wait_for(job.settled.wait(), 15)
    while any(one.busy for one in ones):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    for one in ones:
        assert bed.peers[one.device].payer.held == 0, "nobody judges it any more"
        assert all(accepted for _, accepted in one.acknowledged)


async def test_a_late_copy_is_held_against_an_answer_that_was_checked(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.stragglers.SPECULATE_SECONDS", 0.05)
    monkeypatch.setattr(Peer, "cancel", lambda peer, call: setattr(call, "wanted", False))  # it had begun
    slow = lying(seconds=lambda count: 1.0)
    quick = honest(seconds=lambda count: 0.0 if slow.ran else 0.5)  # it leaves the other time to begin
    bed = make_audited(quick, slow)
    _, results = await bed.start(bed.plan(chunk=1), range(8))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 9))
    async with asyncio.timeout(20):
        while slow.busy or len(slow.acknowledged) == 1:
            await asyncio.sleep(0.02)
    assert not any(accepted for _, accepted in slow.acknowledged[1:])
    assert bed.evidence is not None
    assert bed.evidence.is_caught(slow.device)


async def test_a_budget_that_buys_one_unit_of_any_size_buys_the_check_of_a_small_one(make_audited: Callable[..., Bed]) -> None:
    bed = make_audited(honest(setup_fuel=1), honest(setup_fuel=1), alone=True)
    limits = bed.plan().limits
    most, least = unit_amount(PRICES, limits.fuel, limits.memory, 100 + limits.output), unit_amount(PRICES, 100, limits.memory, 0)
    assert await bed.map(bed.plan(chunk=1, wishes=Wishes(copies=2, budget=most + least)), range(8)) == list(range(1, 9))


async def test_a_budget_that_buys_no_second_copy_is_used_up(make_audited: Callable[..., Bed]) -> None:
    ones = [honest(setup_fuel=1, fuel_each=10**11) for _ in range(2)]
    bed = make_audited(*ones, alone=True)
    limits = bed.plan().limits
    price = unit_amount(PRICES, 10**11, limits.memory, 100 + limits.output)
    _, results = await bed.start(bed.plan(chunk=1, wishes=Wishes(copies=2, budget=price + price // 2)), range(8))
    with pytest.raises(NotEnough):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)


def forgets_what_was_paid(provider: FakeProvider) -> None:
    """As devices do: what was acknowledged is run, and billed, anew."""
    acknowledge = provider.channel.acknowledge

    def forget(entries: Sequence[tuple[int, bool]], *rest: Any) -> Any:
        answers = acknowledge(entries, *rest)
        gone = {sequence for sequence, _ in entries}
        paid = [unit for unit, kept in provider.kept.items() if kept.receipt is not None and kept.receipt.sequence in gone]
        for unit in paid:
            if unit in provider.ran:
                del provider.kept[unit]
        return answers

    provider.channel.acknowledge = forget  # type: ignore[method-assign]


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("killed", [False, True])
async def test_who_was_paid_early_may_be_asked_again_where_the_job_was_cut_short(
    make_audited: Callable[..., Bed], make_bed: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch, forgets: bool, killed: bool
) -> None:
    monkeypatch.setattr("surge.buyer.desk.HOLD_SECONDS", 0.2)
    one, other = honest(window=1, window_max=1), honest(window=1, window_max=1, seconds=lambda count: 5.0)
    if forgets:
        forgets_what_was_paid(one)
    bed = make_audited(one, other, alone=True)
    job, _ = await bed.start(bed.plan(chunk=1, limits=Limits(fuel=10**9)), range(3), total=3)
    while len(one.acknowledged) < 2:
        await asyncio.sleep(0.01)
    if killed:
        await bed.kill()
        bed = make_bed(one)
        bed.evidence = Evidence(bed.journal)
    else:
        job.stop()
        await asyncio.wait_for(job.settled.wait(), 15)
        bed.providers = [one]
    bed.checks = MadeUpChecks({"f": add_one})
    job, results = await bed.resume(job.plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 8) == [1, 2, 3]
    assert bed.peers[one.device].gone is None
    assert job.lanes.left == {}


async def test_who_did_a_unit_of_a_caught_device_before_may_do_and_bill_it_again(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.stragglers.SPECULATE_SECONDS", 0.05)
    monkeypatch.setattr("surge.buyer.auditing._draw", lambda: 0.999_999_9)
    turncoat = FakeProvider(functions={"f": lambda item: item + 1 if item < 6 else -item}, setup_seconds=0.3)
    slow = honest(window=1, window_max=1, seconds=lambda count: 1.0)
    forgets_what_was_paid(slow)
    bed = make_audited(turncoat, slow, own=[turncoat.device, slow.device])
    more = threading.Event()

    def items() -> Iterator[int]:
        yield from range(6)
        more.wait()
        yield from range(6, 12)

    job, results = await bed.start(bed.plan(chunk=1, limits=Limits(fuel=10**9)), items())
    while len(slow.acknowledged) < 2 or slow.busy:
        await asyncio.sleep(0.01)
    monkeypatch.setattr("surge.buyer.auditing._draw", lambda: 0.0)
    more.set()
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 13))
    assert list(job.lanes.left) == [turncoat.device]
    assert len(slow.ran) > len(set(slow.ran)), "it did one twice"


async def test_a_liar_is_paid_early_for_some_windows_and_no_more(make_audited: Callable[..., Bed]) -> None:
    liar = FakeProvider(functions={"f": lambda item: -item}, window=8, window_max=8)
    slow = honest(window=1, window_max=1, seconds=lambda count: 60.0)
    bed = make_audited(liar, slow, alone=True)
    job, results = await bed.start(bed.plan(chunk=1), range(200))
    while not slow.busy:
        await asyncio.sleep(0.01)
    await asyncio.sleep(6)
    assert len(liar.acknowledged) <= 1 + 4 * 8, "it answers at once, and nobody has judged an answer"
    await asyncio.to_thread(results.cancel)
    await asyncio.wait_for(job.settled.wait(), 15)


async def test_what_waited_when_its_job_was_stopped_is_paid_and_not_believed(make_audited: Callable[..., Bed]) -> None:
    liar, checks = lying(window=4), MadeUpChecks({"f": add_one})
    checks.may_run.clear()
    bed = make_audited(liar, checks=checks)
    job, _ = await bed.start(bed.plan(chunk=1, wishes=Wishes(certainty_ppm=999_900)), range(3), total=3)
    while liar.device not in bed.peers or bed.peers[liar.device].payer.held < 3:
        await asyncio.sleep(0.01)
    job.stop()
    await asyncio.wait_for(job.settled.wait(), 15)
    await asyncio.wait_for(Orphans(bed.journal, lambda job: None, bed.evidence).settle(bed.peers[liar.device]), 10)
    while len(liar.acknowledged) < 4:
        await asyncio.sleep(0.01)
    assert all(accepted for _, accepted in liar.acknowledged)
    checks.may_run.set()
    bed.providers.append(honest())
    bed.plan()
    _, results = await bed.resume(job.plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [1, 2, 3]


async def test_who_is_always_busy_keeps_no_answer_waiting(make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    monkeypatch.setattr("surge.buyer.cuts.REFUSED", 4)
    one, busy = honest(), honest()
    serve = busy._call

    async def refuse(wire: Any, call: Any) -> None:
        await (busy._refuse(wire, call.id, "busy", "later") if call.method == "run" else serve(wire, call))

    busy._call = refuse  # type: ignore[method-assign]
    bed = make_audited(one, busy, alone=True)
    assert await bed.map(bed.plan(chunk=1), range(3)) == [1, 2, 3]


async def test_an_answer_waits_for_no_copy_that_never_comes(make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.buyer.stragglers.UNPROVEN_SECONDS", 0.1)
    copied = asyncio.Event()
    one, other = (honest(seconds=lambda count: copied.set() or 0.0) for _ in range(2))
    serve, first = one._call, True

    async def refuse_once(wire: Any, call: Any) -> None:
        nonlocal first
        if call.method == "run" and first:
            first = False
            await copied.wait()  # the other runs a copy by now, and answers while this one is waited for
            while bed.peers[other.device].payer.held == 0:
                await asyncio.sleep(0.01)
            return await one._refuse(wire, call.id, "busy", "later")
        return await serve(wire, call)

    one._call = refuse_once  # type: ignore[method-assign]
    other.setup_seconds = 0.3  # the first unit is asked of `one`
    bed = make_audited(one, other, alone=True)
    assert await bed.map(bed.plan(chunk=1), range(1)) == [1]
    assert not first
