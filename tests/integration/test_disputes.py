"""Disputes before the real court: a real chain, relay, provider, defence and jurors, and an opener."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import surge
from buyer_functions import add_one
from court_town import CourtTown
from sandbox_support import HELLO, wat
from surge.buyer import disputing
from surge.buyer.courier import Courier
from surge.core import values
from surge.core.case_package import CasePackage
from surge.core.court import EMBEDDED, Answer, Outcome, Phase
from surge.core.types import ZERO
from surge.errors import InvalidInput, Unavailable
from surge.provider.duties import Duty
from surge.provider.juror import Juror

FUEL = 10**9


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CourtTown]:
    with CourtTown(tmp_path_factory.mktemp("court")) as town:
        yield town


@pytest.fixture(autouse=True)
def honest(town: CourtTown) -> Iterator[None]:
    yield
    town.accused.service.tell, town.accused.service.more = None, 0


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "hello.wasm"
    path.write_bytes(wat(HELLO))
    return path


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def receipt_of(network: surge.Network, module: Path, **options: Any) -> dict[str, Any]:
    """Have a command run once; the receipt for it."""
    network.run(module, fuel=FUEL, memory=1 << 20, deadline=30, **options)
    job = network.jobs()[0].id
    return next(row for row in network.receipts(job) if row["kind"] == 1)


class Books:
    """What everybody has, and how it changed since."""

    def __init__(self, town: CourtTown, network: surge.Network) -> None:
        self.town = town
        self.jurors = [seat.operator.address for seat in town.seats]
        self.opener, self.accused = network.address, town.accused.operator.address
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        bonds = {f"bond {each}": self.town.bonds_of(each) for each in [*self.jurors, self.accused]}
        owed = {each: self.town.call(self.town.ledger.court.owed(each)) for each in [*self.jurors, self.accused, self.opener]}  # type: ignore[arg-type]
        return {**bonds, **{each: amount + self.town.tokens_of(each) for each, amount in owed.items()}}

    def change(self, account: str, *, bond: bool = False) -> int:
        name = f"bond {account}" if bond else account
        return self._now()[name] - self._before[name]


def shouted(said: bytes) -> bytes:
    return said.replace(b"hello", b"HELLO")


def phase(town: CourtTown, number: int) -> int:
    return town.call(town.ledger.court.case(number)).phase


def without_a_larger_jury(town: CourtTown, network: surge.Network, receipt: dict[str, Any], case: int) -> dict[str, Any]:
    """Follow a case whose jurors say that they have no inputs, past the time in which its opener might call more of them."""
    town.travel(town.parameters.commit_window(FUEL) // 2 + 1)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(network.follow_dispute, receipt["receipt"])
        wait_until(lambda: phase(town, case) == Phase.EXTEND, 60)
        town.travel(town.parameters.extend_seconds)
        return following.result(60)


FEE = EMBEDDED.fee(FUEL)
WORTH = 3 * FEE
WORK = 10**12
"""Wei: more than the work is worth that the accused may be paid for meanwhile."""


def test_a_wrong_result_costs_who_gave_it_and_pays_who_showed_it(town: CourtTown, module: Path) -> None:
    town.accused.service.tell = shouted
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        books = Books(town, network)
        told = network.dispute(receipt["receipt"])
        assert told["outcome"] == Outcome.CONVICTED
        assert told["worth"] == WORTH
        assert books.change(books.accused, bond=True) == -(WORTH + 5 * FEE)
        assert books.change(books.opener) == WORTH // 4
        assert [books.change(each) for each in books.jurors] == [FEE + WORTH // 4 // 5] * 5
        assert [each["text"] for each in told["events"]][-1] == "the case is over"
        assert network.disputes()[0]["outcome"] == Outcome.CONVICTED
        with pytest.raises(InvalidInput, match="disputed already"):
            network.dispute(receipt["receipt"])


def test_the_right_result_for_inflated_fuel_costs_the_same(town: CourtTown, module: Path) -> None:
    town.accused.service.tell, town.accused.service.more = (lambda said: said), 1_000_000
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        assert network.dispute(receipt["receipt"])["outcome"] == Outcome.CONVICTED


def test_a_python_unit_is_disputed_with_its_setup(town: CourtTown) -> None:
    town.accused.service.tell = lambda said: said.replace(values.dumps(42)[1:], values.dumps(41)[1:])
    with surge.connect(town.file) as network:
        assert list(network.map(add_one, [41], memory=512 << 20, fuel=10**10, deadline=60)) == [41]
        job = network.jobs()[0].id
        receipt = next(row for row in network.receipts(job) if row["kind"] == 1)
        assert network.dispute(receipt["receipt"])["outcome"] == Outcome.CONVICTED
    sandbox = town.seats[0].juror._sandbox
    assert not list(sandbox._snapshots.folder.glob("*.memory")), "a unit in dispute is run for its witness alone"


def test_an_opener_that_disputes_good_work_loses_its_bond(town: CourtTown, module: Path) -> None:
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        books = Books(town, network)
        told = network.dispute(receipt["receipt"], b"\1" * 32, 5)
        assert told["outcome"] == Outcome.ACQUITTED
        bond = max(town.parameters.opener_bond, WORTH)
        assert books.change(books.opener) == -(bond + 5 * FEE)
        assert books.change(books.accused, bond=True) == 0
        assert 0 <= books.change(books.accused) - bond // 4 < WORK
        assert [books.change(each) for each in books.jurors] == [FEE + bond // 4 // 5] * 5


def test_jurors_who_sleep_pay_and_who_copy_are_not_paid(town: CourtTown, module: Path) -> None:
    town.accused.service.tell = shouted
    sleeper, copycat = town.seats[0], town.seats[1]
    town.call(sleeper.stop())
    town.call(copycat.stop())
    town.call(copycat.start(Copycat))
    try:
        with surge.connect(town.file) as network:
            receipt = receipt_of(network, module)
            Copycat.copied = Answer(bytes.fromhex(network.receipt(receipt["receipt"])["result"].hex()), receipt["quantity"], b"\7" * 32)
            books = Books(town, network)
            told = network.dispute(receipt["receipt"], wait=False)
            case = told["case"]
            court = town.ledger.court
            wait_until(lambda: town.call(court.case(case)).committed == 4)
            town.travel(town.parameters.commit_window(FUEL))
            assert network.follow_dispute(receipt["receipt"])["outcome"] == Outcome.CONVICTED
            asleep, copied, honest = sleeper.operator.address, copycat.operator.address, [seat.operator.address for seat in town.seats[2:]]
            assert (books.change(asleep), books.change(asleep, bond=True)) == (0, -FEE)
            assert (books.change(copied), books.change(copied, bond=True)) == (0, 0)
            assert [books.change(each) for each in honest] == [FEE + WORTH // 4 // 3] * 3
            assert town.call(court.ballot(case, copied)).answer == Copycat.copied.digest
    finally:
        town.call(copycat.stop())
        town.call(copycat.start())
        town.call(sleeper.start())


class Copycat(Juror):
    """Says what the accused said, with a witness of its own making: the memory that the unit leaves is nowhere to be read."""

    copied: Answer

    async def _run(self, duty: Duty) -> None:
        await self._settle(duty, self.copied, "copied")


def test_an_opener_that_withholds_the_inputs_loses_its_bond_and_the_accused_nothing(
    town: CourtTown, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def withheld(self: Courier, juror: str, case: int, envelope: bytes) -> Any:
        raise Unavailable("they are withheld")

    monkeypatch.setattr(Courier, "deliver", withheld)
    town.accused.service.tell = shouted
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        books = Books(town, network)
        case = network.dispute(receipt["receipt"], wait=False)["case"]
        wait_until(lambda: phase(town, case) == Phase.COMMIT)
        told = network.dispute_of(receipt["receipt"])
        assert "do not have the inputs" in " ".join(told["explained"])
        wait_until(lambda: [each["said"] for each in network.dispute_of(receipt["receipt"])["jurors"]] == ["they are withheld"] * 5)
        told = without_a_larger_jury(town, network, receipt, case)
        assert told["outcome"] == Outcome.NO_INPUTS
        assert books.change(books.accused, bond=True) == 0
        assert 0 <= books.change(books.accused) < WORK
        assert books.change(books.opener) == -(max(town.parameters.opener_bond, WORTH) + 5 * (FEE // 4))


def test_other_inputs_than_the_units_are_as_good_as_none(town: CourtTown, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = CasePackage.encode

    def other(self: CasePackage) -> bytes:
        return real(self)[:-1] + b"\0"

    monkeypatch.setattr(CasePackage, "encode", other)
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        case = network.dispute(receipt["receipt"], b"\1" * 32, 5, wait=False)["case"]
        wait_until(lambda: phase(town, case) == Phase.COMMIT)
        wait_until(lambda: len([each for each in network.dispute_of(receipt["receipt"])["jurors"] if "package" in each["said"]]) == 5)
        assert without_a_larger_jury(town, network, receipt, case)["outcome"] == Outcome.NO_INPUTS


def test_an_accused_that_keeps_its_link_loses(town: CourtTown, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert town.accused.defence is not None

    async def silent() -> None:
        return None

    monkeypatch.setattr(town.accused.defence, "look", silent)
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        case = network.dispute(receipt["receipt"], b"\1" * 32, 5, wait=False)["case"]
        assert phase(town, case) == Phase.ANSWER
        town.travel(town.parameters.answer_seconds)
        assert network.follow_dispute(receipt["receipt"])["outcome"] == Outcome.NO_LINK


def test_a_dispute_is_watched_to_its_verdict_whoever_follows_it(town: CourtTown, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disputing, "NEWS_SECONDS", 1e6)
    town.accused.service.tell = shouted
    with surge.connect(town.file) as network, surge.connect(town.file) as other, ThreadPoolExecutor() as threads:
        receipt = receipt_of(network, module)["receipt"]
        network.dispute(receipt, wait=False)
        beside = threads.submit(lambda: list(other.watch_dispute(receipt)))
        for seen in (list(network.watch_dispute(receipt)), beside.result()):
            assert {each["state"] for each in seen[:-1]} == {"open"}
            assert (seen[-1]["state"], seen[-1]["outcome"]) == ("over", Outcome.CONVICTED)
            assert "the case is over" in [each["text"] for each in seen[-1]["events"]]
        assert [each["state"] for each in network.watch_dispute(receipt)] == ["over"]


def test_an_opener_that_was_killed_goes_on_when_it_is_back(town: CourtTown, module: Path) -> None:
    town.accused.service.tell = shouted
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module)
        case = network.dispute(receipt["receipt"], wait=False)["case"]
    with surge.connect(town.file) as network:
        wait_until(lambda: network.disputes()[0]["state"] == "over", 60)
        told = network.dispute_of(str(case))
        assert told["outcome"] == Outcome.CONVICTED
        assert "the accused loses" in " ".join(told["explained"])


def test_a_job_whose_inputs_no_juror_may_see_is_not_disputed(town: CourtTown, module: Path) -> None:
    with surge.connect(town.file) as network:
        receipt = receipt_of(network, module, disputable=False)
        with pytest.raises(InvalidInput, match="disputable=False"):
            network.dispute(receipt["receipt"], b"\1" * 32, 5)
        assert town.call(town.ledger.court.case_of(bytes.fromhex(receipt["receipt"]))) is None
        assert ZERO.hex() not in str(network.disputes())


def test_what_an_audit_caught_and_refused_to_pay_is_taken_to_the_court(town: CourtTown, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last here: whoever is caught once gets no more work from this buyer."""
    monkeypatch.setattr("surge.buyer.auditing._draw", lambda: 0.0)
    town.accused.service.tell = lambda said: said.replace(values.dumps(42)[1:], values.dumps(41)[1:])
    with surge.connect(town.file) as network:
        with pytest.raises(Unavailable):
            list(network.map(add_one, [41], memory=512 << 20, fuel=10**10, deadline=8))
        (wrong,) = network.audits(network.jobs()[0].id).wrong
        receipt = network.receipt(wrong["receipt"])
        assert not receipt["accepted"]
        told = network.dispute(wrong["receipt"], bytes.fromhex(wrong["found_result"]), wrong["found_fuel"])
        assert told["outcome"] == Outcome.CONVICTED
