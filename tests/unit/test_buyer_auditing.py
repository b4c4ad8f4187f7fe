"""The auditor at work over fake providers: who is checked, what a wrong answer costs, what the user gets in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from audited_support import add_one, honest, lying
from buyer_support import Bed
from made_up_checks import MadeUpChecks
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.bonded import Bond, Bonded
from surge.buyer.evidence import Evidence
from surge.buyer.plan import Wishes
from surge.core.credibility import checks_needed
from surge.core.types import Address, Wei
from surge.core.units import Status
from surge.errors import CorrectedResults, SurgeError, Unavailable

NEEDED = checks_needed(0.99)


async def audits(bed: Bed) -> list[tuple[Any, ...]]:
    await asyncio.gather(*(peer.payer.drain() for peer in bed.peers.values()))
    return await bed.journal.read("SELECT device, verdict, how, first, count FROM audits ORDER BY time")


def drawn(monkeypatch: pytest.MonkeyPatch, *, checked: bool) -> None:
    """Whether those who are checked by chance are."""
    monkeypatch.setattr("surge.buyer.auditing._draw", lambda: 0.0 if checked else 0.999_999_9)


async def test_a_newcomer_is_checked_until_it_is_credible(make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, checked=False)
    one = honest(window=1, window_max=1)
    bed = make_audited(one)
    assert await bed.map(bed.plan(chunk=1), range(40)) == list(range(1, 41))
    found = await audits(bed)
    assert [(verdict, how) for _, verdict, how, _, _ in found] == [("right", "here")] * (NEEDED + 1), "the chance is needed / units"
    assert all(accepted for _, accepted in one.acknowledged)
    assert len(one.acknowledged) == 41


async def test_devices_of_ones_own_are_checked_as_rarely_as_any(make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, checked=False)
    one = honest()
    bed = make_audited(one, own=[one.device])
    assert await bed.map(bed.plan(chunk=1), range(20)) == list(range(1, 21))
    assert await audits(bed) == []
    drawn(monkeypatch, checked=True)
    assert await bed.map(bed.plan(chunk=1, salt=b"2" * 32), range(3)) == [1, 2, 3]
    assert len(await audits(bed)) == 3, "never never"


async def test_what_costs_much_beside_the_bond_is_checked_more_often(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.auditing._draw", lambda: 0.49)
    one = honest()
    bed = make_audited(one, own=[one.device])
    peer = await bed.peer(one)
    await bed.map(bed.plan(chunk=1), range(2))
    assert await audits(bed) == []
    ((amount,),) = await bed.journal.read("SELECT max(CAST(amount AS INTEGER)) FROM receipts WHERE kind = 1")
    peer.bond = Bond(2 * amount, enough=True)
    await bed.map(bed.plan(chunk=1, salt=b"2" * 32), range(2))
    assert len(await audits(bed)) == 2, "a lie must cost more than it brings, and the bond is what it costs"


class Stakes:
    """A ledger that may be away."""

    def __init__(self) -> None:
        self.staked: dict[str, int] = {}
        self.anchors: dict[str, bytes] = {}
        self.away = False

    async def own_stake(self, operator: Address) -> Wei:
        if self.away:
            raise Unavailable("no endpoint answers")
        return Wei(self.staked.get(operator, 0))

    async def pool(self, operator: Address) -> Any:
        return type("Pool", (), {"anchor": self.anchors.get(operator, bytes(32))})

    async def min_bond(self) -> Wei:
        if self.away:
            raise Unavailable("no endpoint answers")
        return Wei(100)


async def test_an_endpoint_that_is_away_is_not_read_as_a_missing_bond(monkeypatch: pytest.MonkeyPatch) -> None:
    stakes = Stakes()
    bonded = Bonded(stakes, own=["0xme"])
    stakes.away = True
    assert (await bonded.of(Address("0xa"))).enough
    stakes.away = False
    assert not (await bonded.of(Address("0xa"))).enough
    assert (await bonded.of(Address("0xme"))).enough
    stakes.staked["0xa"] = 150
    monkeypatch.setattr("surge.buyer.bonded.AGAIN_SECONDS", 0.0)
    assert await bonded.of(Address("0xa")) == Bond(150, enough=True)
    stakes.away = True
    assert await bonded.of(Address("0xa")) == Bond(150, enough=True), "what was known still counts"


async def test_a_bond_that_no_court_can_take_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stakes = Stakes()
    stakes.staked["0xa"] = stakes.staked["0xb"] = 150
    stakes.anchors["0xb"] = b"h" * 32
    bonded = Bonded(stakes, court=True)
    assert await bonded.of(Address("0xa")) == Bond(150, enough=False)
    assert await bonded.of(Address("0xb")) == Bond(150, enough=True)


async def test_a_liar_is_not_paid_and_others_do_its_work(make_audited: Callable[..., Bed]) -> None:
    liar, other = lying(), honest(seconds=lambda count: 0.01)
    bed = make_audited(liar, other)
    job, results = await bed.start(bed.plan(chunk=1), range(30))
    assert await asyncio.to_thread(list, results) == list(range(1, 31))
    found = await audits(bed)
    assert {verdict for device, verdict, *_ in found if device == liar.device} == {"wrong"}
    assert {verdict for device, verdict, *_ in found if device == other.device} == {"right"}
    assert [accepted for _, accepted in liar.acknowledged] == [True, *[False] * (len(liar.acknowledged) - 1)], "all but its setup"
    assert "wrong result" in str(job.lanes.left[liar.device])
    assert job.progress.caught == 1
    assert bed.evidence is not None
    assert bed.evidence.is_caught(liar.device)


async def test_fuel_that_is_billed_too_high_is_as_wrong_as_a_result(make_audited: Callable[..., Bed]) -> None:
    greedy, other = honest(fuel_each=1001), honest(seconds=lambda count: 0.01)
    bed = make_audited(greedy, other)
    job, results = await bed.start(bed.plan(chunk=1), range(20))
    assert await asyncio.to_thread(list, results) == list(range(1, 21))
    assert "wrong fuel" in str(job.lanes.left[greedy.device])
    assert [accepted for _, accepted in greedy.acknowledged[1:]] == [False] * (len(greedy.acknowledged) - 1)


async def test_an_ending_that_did_not_happen_is_wrong_too(make_audited: Callable[..., Bed]) -> None:
    def trap(item: int) -> int:
        raise Ended(Status.TRAPPED)

    bed = make_audited(FakeProvider(functions={"f": trap}), honest(seconds=lambda count: 0.01))
    assert await bed.map(bed.plan(chunk=1), range(10)) == list(range(1, 11))


async def test_a_setup_that_is_billed_too_high_is_found(make_audited: Callable[..., Bed]) -> None:
    greedy, other = honest(setup_fuel=9000), honest(seconds=lambda count: 0.05)
    bed = make_audited(greedy, other)
    job, results = await bed.start(bed.plan(chunk=1), range(40))
    assert await asyncio.to_thread(list, results) == list(range(1, 41))
    assert "setup" in str(job.lanes.left[greedy.device])


async def test_a_setup_that_is_said_to_fail_and_does_not_costs_nobody_the_job(make_audited: Callable[..., Bed]) -> None:
    liar, other = honest(setup_status=Status.TRAPPED), honest(setup_seconds=0.3)
    bed = make_audited(liar, other)
    job, results = await bed.start(bed.plan(chunk=1), range(6))
    assert await asyncio.to_thread(list, results) == list(range(1, 7))
    assert "setup fails" in str(job.lanes.left[liar.device])


async def test_what_a_caught_device_gave_unchecked_is_computed_again(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    turncoat, other = lying(from_item=20, seconds=lambda count: 0.02), honest(seconds=lambda count: 0.02)
    bed = make_audited(turncoat, other, own=[turncoat.device])
    assert bed.evidence is not None
    drawn(monkeypatch, checked=False)
    job, results = await bed.start(bed.plan(chunk=1), range(100), total=100)
    await asyncio.wait_for(asyncio.to_thread(lambda: [next(results) for _ in range(30)]), 20)
    drawn(monkeypatch, checked=True)
    found: list[Any] = []
    with pytest.raises(CorrectedResults) as caught:
        await asyncio.wait_for(asyncio.to_thread(lambda: found.extend(results)), 30)
    await asyncio.wait_for(job.settled.wait(), 10)
    wrong = caught.value.details["items"]
    assert wrong, "it lied in what the user had read already"
    assert all(20 <= item < 100 for item in wrong)
    rows = sorted((row.first, row.value) for row in await bed.journal.results(job.plan.id))
    from surge.core import values

    assert [values.loads(value)[0][1] for _, value in rows if value is not None] == list(range(1, 101))
    assert job.progress.done == 100
    assert job.progress.again > 0
    lost = await bed.journal.read(
        "SELECT count(*) FROM receipts LEFT JOIN tries ON tries.channel = receipts.channel AND tries.unit = receipts.subject "
        "WHERE kind = 1 AND tries.unit IS NULL"
    )
    assert lost == [(0,)], "what was asked stays, so that wrong receipts can be taken to court"


async def test_results_that_nobody_has_read_are_corrected_in_silence(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    turncoat, other = lying(from_item=5, seconds=lambda count: 0.02), honest(seconds=lambda count: 0.02)
    bed = make_audited(turncoat, other, own=[turncoat.device])
    drawn(monkeypatch, checked=False)
    job, results = await bed.start(bed.plan(chunk=1), range(60), total=60)
    while job.progress.units.get(turncoat.device, 0) < 12:
        await asyncio.sleep(0.01)
    drawn(monkeypatch, checked=True)
    while not job.progress.again:
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == list(range(1, 61))
    assert job.progress.caught == 1


async def test_two_operators_check_each_other_where_this_machine_cannot(make_audited: Callable[..., Bed]) -> None:
    providers = [honest() for _ in range(6)]
    bed = make_audited(*providers, alone=True)
    _, results = await bed.start(bed.plan(chunk=1), range(12))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == list(range(1, 13))
    found = await audits(bed)
    assert {(verdict, how) for _, verdict, how, _, _ in found} == {("right", "elsewhere")}
    assert all(accepted for one in providers for _, accepted in one.acknowledged), "whoever checked is paid"


async def test_windows_full_of_answers_that_wait_for_each_other_are_no_deadlock(make_audited: Callable[..., Bed]) -> None:
    providers = [honest(window=1, window_max=1) for _ in range(6)]
    bed = make_audited(*providers, alone=True)
    assert await bed.map(bed.plan(chunk=1), range(12)) == list(range(1, 13))
    assert {(verdict, how) for _, verdict, how, _, _ in await audits(bed)} == {("right", "elsewhere")}


async def test_a_liar_among_others_is_outvoted(make_audited: Callable[..., Bed]) -> None:
    liar, others = lying(), [honest() for _ in range(6)]
    bed = make_audited(liar, *others, alone=True)
    assert bed.evidence is not None
    for one in others:  # newcomers alone cannot tell whom to believe
        for _ in range(5):
            bed.evidence.accepted(one.device, one.device, checked=True)
    assert await bed.map(bed.plan(chunk=1), range(7)) == list(range(1, 8))
    assert {device for device, verdict, *_ in await audits(bed) if verdict == "wrong"} == {liar.device}


async def test_who_was_caught_before_does_not_discredit_those_who_agree_with_it(make_audited: Callable[..., Bed]) -> None:
    known, others = honest(), [honest() for _ in range(5)]
    bed = make_audited(known, *others, alone=True)
    assert bed.evidence is not None
    bed.evidence.failed(known.device, known.device)
    plan = bed.plan(chunk=1, wishes=Wishes(certainty_ppm=950_000))
    assert await bed.map(plan, range(8)) == list(range(1, 9))


async def test_devices_of_one_operator_do_not_check_each_other(make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    ring = [lying(), lying(), lying()]
    bed = make_audited(*ring, alone=True)
    bed.operators = {one.device: "0x" + "33" * 20 for one in ring}
    job, results = await bed.start(bed.plan(chunk=1), range(3))
    told: list[str] = []
    job.progress.tell = told.append
    await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    assert {(verdict, how) for _, verdict, how, _, _ in await audits(bed)} == {("unsure", "elsewhere")}
    assert "could not be checked" in told[0]


async def test_a_job_that_asks_for_certainty_fails_where_there_is_none(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    bed = make_audited(honest(), alone=True)
    _, results = await bed.start(bed.plan(chunk=1, wishes=Wishes(certainty_ppm=999_900)), range(3))
    with pytest.raises(Unavailable, match="could not be checked"):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)


async def test_copies_go_to_different_operators_and_a_quorum_decides(make_audited: Callable[..., Bed]) -> None:
    liar, providers = lying(), [honest(), honest()]
    bed = make_audited(liar, *providers, alone=True)
    plan = bed.plan(chunk=1, wishes=Wishes(copies=3, quorum=2))
    assert await bed.map(plan, range(5)) == list(range(1, 6))
    found = await audits(bed)
    assert {(device, verdict) for device, verdict, *_ in found} == {
        (liar.device, "wrong"), *((one.device, "right") for one in providers)
    }  # fmt: skip
    assert sum(device == providers[0].device for device, *_ in found) == 5


async def test_copies_that_nobody_can_give_are_said_at_once(make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    bed = make_audited(honest(), honest(), alone=True)
    _, results = await bed.start(bed.plan(chunk=1, wishes=Wishes(copies=3, quorum=3)), range(3))
    with pytest.raises(Unavailable, match="copies=3"):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)


async def test_a_job_that_ends_in_the_middle_of_a_check_leaves_no_receipt_unanswered(make_audited: Callable[..., Bed]) -> None:
    checks = MadeUpChecks({"f": add_one})
    checks.may_run.clear()
    one = honest(window=1, window_max=1)
    bed = make_audited(one, checks=checks)
    job, results = await bed.start(bed.plan(chunk=1), range(5), total=5)
    while not job.auditing.busy:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(results.cancel)
    await asyncio.wait_for(job.settled.wait(), 15)
    peer = bed.peers[one.device]
    assert peer.payer.held == 0
    assert [wire.sequence for wire in peer.orphans] == [1], "it is settled as others whose asker is gone"


async def test_a_killed_buyer_asks_for_the_held_answer_again(make_audited: Callable[..., Bed], make_bed: Callable[..., Bed]) -> None:
    checks = MadeUpChecks({"f": add_one})
    checks.may_run.clear()
    one = honest(window=1)
    bed = make_audited(one, checks=checks)
    job, _ = await bed.start(bed.plan(chunk=1), range(5), total=5)
    while not job.auditing.busy:
        await asyncio.sleep(0.01)
    await bed.kill()
    again = make_bed(one)
    again.evidence, again.checks = Evidence(again.journal), MadeUpChecks({"f": add_one})
    _, results = await again.resume(job.plan.id)
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [1, 2, 3, 4, 5]
    assert len(one.ran) == 5, "nothing is run twice"


async def test_what_was_seen_outlives_the_process(make_audited: Callable[..., Bed], make_bed: Callable[..., Bed]) -> None:
    one = honest()
    bed = make_audited(one)
    await bed.map(bed.plan(chunk=1), range(30))
    later = Evidence(bed.journal)
    await later.load()
    assert later.of(one.device, one.device).passed == pytest.approx(bed.evidence.of(one.device, one.device).passed)  # type: ignore[union-attr]
    assert later.chance(one.device, one.device, 0.99) < 1
    assert later.chance(one.device, one.device, 0.9999) == 1


async def test_a_check_that_cannot_be_made_stops_nothing(make_audited: Callable[..., Bed]) -> None:
    checks = MadeUpChecks({"f": add_one})
    checks.broken = True
    bed = make_audited(honest(), honest(), honest(), honest(), honest(), checks=checks)
    assert await bed.map(bed.plan(chunk=1), range(8)) == list(range(1, 9))


async def test_a_late_copy_is_held_against_the_answer_that_was_taken(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(monkeypatch, checked=False)
    monkeypatch.setattr("surge.buyer.stragglers.SPECULATE_SECONDS", 0.05)
    slow = lying(seconds=lambda count: 1.5)
    quick = honest(seconds=lambda count: 0.0 if slow.ran else 0.5)  # it leaves the other time to begin
    bed = make_audited(quick, slow, own=[quick.device, slow.device])
    job, results = await bed.start(bed.plan(chunk=1), range(8))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == list(range(1, 9))
    async with asyncio.timeout(20):
        while slow.busy:
            await asyncio.sleep(0.02)
    accepted = [yes for _, yes in slow.acknowledged[1:]]
    assert not any(accepted), "a late answer is no way to be paid for nothing"
    assert isinstance(job.lanes.left.get(slow.device), SurgeError | None)
