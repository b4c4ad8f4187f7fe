"""What is seen of a provider, what is made of it, and how it stands then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from offers_support import OFFER, who
from surge.buyer import experience, judge
from surge.buyer.experience import Audits, experiences
from surge.buyer.journal import ChannelRow, Journal, ReceiptRow
from surge.buyer.judge import Judge, Whom
from surge.buyer.watch import WRITE_ROWS, Seen, Watch
from surge.core.channels import Answered
from surge.core.receipts import Receipt, ReceiptKind, Voucher
from surge.core.standing import Fault, Payment
from surge.core.types import Address
from surge.errors import LedgerError
from surge.ledger.bonds import Slash

NOW = 1_800_000_000.0
DAY = 86_400
DEVICE = who(1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watch with a clock of its own, and what it counted."""

    def __init__(self, *, cores: int = 1, speed: int = 10**9) -> None:
        self.clock = Clock()
        self.counts: dict[str, float] = {}
        self.watch = Watch(self.note, cores=cores, speed=speed, clock=self.clock)

    def note(self, what: str, count: float) -> None:
        self.counts[what] = self.counts.get(what, 0) + count

    def after(self, seconds: float) -> Watch:
        self.clock.now += seconds
        return self.watch


def receipt(fuel: int = 10**9, device: str = DEVICE, kind: int = ReceiptKind.UNIT, finished: int = int(NOW)) -> Receipt:
    return Receipt(kind, Address(device), Address(device), b"c" * 32, 0, b"s" * 32, b"r" * 32, fuel, 5, finished)


def test_units_that_end_with_no_result_are_told_from_those_that_were_declined() -> None:
    seen = Watched()
    for number, code in enumerate(["local", "internal", "busy", "draining", "cancelled", "invalid", "storage"]):
        seen.watch.asked(number)
        seen.watch.refused(number, code)
    seen.watch.refused(99, "local")
    assert seen.counts == {"asked": 2, "local": 2}


def test_a_unit_that_is_called_off_in_its_time_was_only_slower_than_another() -> None:
    seen = Watched()
    seen.watch.asked(1)
    seen.watch.asked(2)
    seen.after(60).called_off(1, 120_000)
    assert seen.counts == {"asked": 2}
    seen.after(71).called_off(2, 120_000)
    seen.watch.called_off(2, 120_000)
    assert seen.counts == {"asked": 2, "local": 1}


def test_what_was_under_way_when_it_stayed_away_was_never_answered() -> None:
    seen = Watched()
    for number in range(3):
        seen.watch.asked(number)
    seen.watch.answered(0, receipt())
    seen.watch.gone(broke=False)
    assert (seen.counts["local"], "broke" in seen.counts) == (2, False)
    seen.watch.gone(broke=True)
    assert (seen.counts["local"], seen.counts["broke"]) == (2, 1)


def test_a_session_that_breaks_counts_once_however_often_it_is_dialled_in_vain() -> None:
    seen = Watched()
    seen.watch.away()
    assert not seen.counts, "it was never there"
    seen.watch.opened()
    for _ in range(5):
        seen.watch.away()
    assert seen.counts == {"away": 1}


def test_speed_is_measured_by_our_own_clock_for_as_many_cores_as_were_busy() -> None:
    seen = Watched(cores=2)
    seen.watch.asked(1)
    seen.after(2).answered(1, receipt(4 * 10**9))
    assert (seen.counts["fuel"], seen.counts["seconds"]) == (4 * 10**9, 2)
    seen.after(100)
    for number in (2, 3, 4):
        seen.watch.asked(number)
    for number in (2, 3, 4):
        seen.after(1).answered(number, receipt(10**9))
    assert seen.counts["seconds"] == 2 + 2 + 2 + 1, "two cores, two cores, one unit"
    assert seen.counts["fuel"] == 7 * 10**9


def test_units_too_short_to_tell_are_left_out_and_so_is_the_time_away() -> None:
    seen = Watched()
    seen.watch.asked(1)
    seen.after(3).answered(1, receipt(10**7))
    assert set(seen.counts) == {"asked"}
    seen.watch.asked(2)
    seen.after(1000).opened()
    seen.after(1).answered(2, receipt())
    assert seen.counts["seconds"] == 1


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path / "buyer.db")
    yield made
    await made.close()


async def test_what_is_seen_is_written_in_few_writes_and_added_up(journal: Journal) -> None:
    clock = Clock()
    seen = Seen(journal, now=clock)
    note = seen.noting(DEVICE)
    for _ in range(10_000):
        note("asked", 1)
    assert await journal.read("SELECT * FROM seen") == []
    clock.now += 6
    note("asked", 1)
    await journal.cancel_job(b"")  # whatever was queued before it is written
    assert await journal.read("SELECT * FROM seen") == [(DEVICE, 0, "asked", 10_001.0)]
    for number in range(WRITE_ROWS):
        seen.noting(who(number))("local", 1)
    await journal.cancel_job(b"")
    ((rows,),) = await journal.read("SELECT count(*) FROM seen WHERE what = 'local'")
    assert rows == WRITE_ROWS, "many at once are not kept in memory"
    note("asked", 1)
    seen.write()
    seen.write()
    await journal.cancel_job(b"")
    assert await journal.read("SELECT count FROM seen WHERE what = 'asked'") == [(10_002.0,)]


async def settle(journal: Journal, device: str, channel: bytes, answers: Sequence[tuple[int, bool, int]], operator: str = who(50)) -> None:
    """A channel with receipts: kind, whether it was accepted, and when the work was finished."""
    row = ChannelRow(channel, device, operator, "session-1", b"terms", 10, "open", NOW)
    await journal.save_channel(row)
    made = [replace(receipt(device=device, kind=kind, finished=finished), channel=channel) for kind, _, finished in answers]
    rows = [
        ReceiptRow(Answered(number, number, accepted, 5, b"l" * 32), made[number], b"s" * 65, bytes([number]) * 32, None, None)
        for number, (_, accepted, _) in enumerate(answers)
    ]  # fmt: skip
    await journal.settle(Voucher(channel, 5, len(rows), b"r" * 32), b"v" * 65, rows, [])


async def test_experience_is_the_journals_by_device_and_day(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    today, old = int(NOW), int(NOW - experience.HORIZON - DAY)
    unit, setup = ReceiptKind.UNIT, ReceiptKind.SETUP
    await settle(journal, DEVICE, b"1" * 32, [(unit, True, today), (unit, True, today), (unit, False, today), (setup, False, today)])
    await settle(journal, DEVICE, b"2" * 32, [(unit, True, today - DAY), (setup, True, today), (unit, True, old)])
    journal.seen_soon(
        [(DEVICE, today // DAY, what, count) for what, count in (("local", 3), ("fuel", 4e9), ("seconds", 9.0), ("asked", 8))]
    )
    journal.seen_soon([(DEVICE, old // DAY, "local", 50), (who(2), today // DAY, "broke", 1)])
    await journal.cancel_job(b"")

    async def audited(journal: Journal) -> dict[str, Audits]:
        return {DEVICE: Audits(passed=((NOW, 2),)), who(3): Audits(caught=((NOW, 1),))}

    monkeypatch.setattr(experience, "audits", audited)
    found = await experiences(journal, NOW)
    assert set(found) == {DEVICE, who(2), who(3)}
    noon = today // DAY * DAY + DAY / 2
    device = found[DEVICE]
    assert sorted(device.accepted) == [(noon - DAY, 1), (noon, 2)]
    assert sum(count for _, count in device.unsigned) == 2, "a unit's and a setup's"
    assert (device.local, device.asked, device.passed, device.speed) == (((noon, 3),), ((noon, 8),), ((NOW, 2),), None)
    assert found[who(2)].broke == ((noon, 1),)
    assert found[who(3)].caught == ((NOW, 1),)
    journal.seen_soon([(DEVICE, today // DAY, "seconds", 1.0)])
    await journal.cancel_job(b"")
    assert (await experiences(journal, NOW))[DEVICE].speed == 4e8


class Ledger:
    """A ledger with a fee and, perhaps, bonds."""

    def __init__(self, fee: int = 100, bonds: dict[str, int] | None = None) -> None:
        self.fee = fee
        self.asked: list[str] = []
        self.histories = self
        self.lost: list[Slash] = []
        if bonds is not None:
            self.bonds = self
            self._bonds = bonds

    async def fee_bps(self) -> int:
        if self.fee < 0:
            raise LedgerError("away")
        return self.fee

    async def pool(self, operator: str) -> Any:
        self.asked.append(operator)
        if operator not in self._bonds:
            raise LedgerError("away")
        return cast(Any, type("Pool", (), {"assets": self._bonds[operator]}))

    async def slashes(self, operators: Iterable[Address]) -> list[Slash]:
        return [each for each in self.lost if each.operator in operators]

    async def times(self, blocks: set[int]) -> dict[int, float]:
        return {each: time.time() for each in blocks}


class Paid:
    """Payments that were read."""

    def __init__(self, paid: dict[Address, tuple[Payment, ...]], hangs: bool = False) -> None:
        self.paid, self.hangs, self.looks, self.closed = paid, hangs, 0, False

    async def look(self, histories: object, seconds: float) -> None:
        self.looks += 1
        if self.hangs:
            await asyncio.Event().wait()

    async def of(self, operators: object) -> dict[Address, tuple[Payment, ...]]:
        return self.paid

    async def since(self) -> float | None:
        return None if self.hangs else NOW

    def close(self) -> None:
        self.closed = True


def offer(number: int, operator: int = 50) -> Whom:
    return Whom.of(replace(OFFER, device=who(number), operator=who(operator)))


def judging(journal: Journal, ledger: Ledger | None = None, paid: Paid | None = None) -> Judge:
    return Judge(journal, cast(Any, ledger or Ledger()), cast(Any, paid))


async def test_devices_are_judged_by_what_was_seen_and_what_the_ledger_shows(journal: Journal) -> None:
    now = int(time.time())
    await settle(journal, DEVICE, b"1" * 32, [(ReceiptKind.UNIT, True, now)] * 20)
    found = judging(journal, Ledger(bonds={who(50): 10**20, who(51): 0}), Paid({who(51): (Payment(now, who(9), 10**17),)}))
    held = await found.standings([offer(1), offer(2), offer(3, 51)])
    assert held[who(1)].value > 0.9
    assert held[who(2)].value == pytest.approx(0.525)
    assert 0.5 < held[who(3)].value < 0.505
    assert [each.text for each in held[who(3)].reasons][-1] == "its operator stakes nothing"
    await found.close()


async def test_another_device_of_an_operator_that_was_caught_is_judged_by_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def audited(journal: Journal) -> dict[str, Audits]:
        return {DEVICE: Audits(caught=((time.time(), 1),))}

    monkeypatch.setattr(experience, "audits", audited)
    await settle(journal, DEVICE, b"1" * 32, [])
    held = await judging(journal).standings([offer(1), offer(2), offer(3, 51)])
    assert held[who(1)].caught
    assert not any("other devices" in each.text for each in held[who(1)].reasons)
    assert held[who(2)].value < 0.02
    assert not held[who(2)].caught
    assert held[who(3)].value == 0.5


async def test_a_ledger_that_hangs_or_is_away_keeps_no_job_waiting(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "FIRST_SECONDS", 0.05)
    paid = Paid({}, hangs=True)
    found = judging(journal, Ledger(fee=-1, bonds={}), paid)
    async with asyncio.timeout(5):
        for _ in range(3):
            assert (await found.standings([offer(1)]))[DEVICE].value == 0.5
        await found.close()
    assert paid.looks == 1, "it is read in the background, once at a time"
    assert paid.closed


async def test_a_job_goes_by_what_was_so_a_moment_ago_and_a_listing_by_what_is_so_now(journal: Journal) -> None:
    found = judging(journal)
    before = (await found.standings([offer(1)]))[DEVICE]
    assert before.value == 0.5
    await settle(journal, DEVICE, b"1" * 32, [(ReceiptKind.UNIT, True, int(time.time()))] * 20)
    assert (await found.standings([offer(1)]))[DEVICE] is before
    assert (await found.standings([offer(1)], patience=1.0))[DEVICE].value > 0.9
    assert (await found.standings([offer(1)]))[DEVICE].value > 0.9


async def test_standings_that_are_kept_are_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "MAX_KEPT", 10)
    found = judging(journal)
    assert len(await found.standings([offer(each) for each in range(1, 100)])) == 99
    assert len(found._held) == 10


async def test_while_the_fee_is_not_known_nothing_that_costs_it_counts(journal: Journal) -> None:
    paid = {who(50): (Payment(time.time(), who(9), 10**17),)}
    assert (await judging(journal, Ledger(fee=-1), Paid(paid)).standings([offer(1)]))[DEVICE].value == 0.5
    assert (await judging(journal, Ledger(), Paid(paid)).standings([offer(1)]))[DEVICE].value > 0.5


async def test_what_a_bond_lost_is_held_against_its_operator(journal: Journal) -> None:
    ledger = Ledger(bonds={who(50): 5, who(51): 5})
    ledger.lost = [Slash(who(50), 2 * 10**18, 7)]
    held = await judging(journal, ledger).standings([offer(1), offer(2, 51)])
    assert held[who(1)].value < held[who(2)].value
    assert any("slashed by 2 SURGE" in each.text for each in held[who(1)].reasons)


async def test_bonds_are_asked_for_once_in_a_while(journal: Journal) -> None:
    ledger = Ledger(bonds={who(50): 5})
    found = judging(journal, ledger)
    for _ in range(3):
        held = await found.standings([offer(1), offer(2)])
    assert ledger.asked == [who(50)]
    assert held[DEVICE].reasons[-1].text == "its operator stakes 5 wei"


async def test_faults_that_the_ledger_proves_count(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def proved(ledger: object, operators: object) -> dict[Address, tuple[Fault, ...]]:
        return {who(50): (Fault(time.time(), "it lost a case"),)}

    monkeypatch.setattr(judge, "proved", proved)
    assert (await judging(journal).standings([offer(1)]))[DEVICE].value < 0.02
