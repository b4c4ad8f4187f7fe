"""An opener before a made-up court: what is durable before what, who gets the inputs, and how a dispute ends."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from made_up_court import COURT, MadeUpCourt
from provider_support import until
from provider_world import NETWORK, key
from surge.buyer import docket
from surge.buyer.casefile import Case
from surge.buyer.disputes import Disputes
from surge.buyer.docket import FAILED, OPEN, OPENING, OVER, Dispute
from surge.buyer.journal import Journal
from surge.core import canonical, case_package
from surge.core.channels import Answered
from surge.core.court import UNAVAILABLE, Answer, Outcome, Phase, secret_commitment
from surge.core.duty import inputs_until
from surge.core.messages import Declined, Kept, decode_envelope, inputs_info
from surge.core.pricing import Prices
from surge.core.receipts import Receipt, ReceiptKind, Signed, Terms
from surge.core.types import ZERO, Address
from surge.core.units import WORLD, Limits, UnitSpec, unit_id
from surge.errors import InvalidInput, LedgerError, NotEnough, Unavailable
from surge.wallet import ReceivingKey

WALLET = key(10)
RIGHT = hashlib.sha256(b"right").digest()
MODULE, ITEMS = b"a module", b"input"
KEYS = {key(20 + n).address: ReceivingKey(bytes([n]) * 32) for n in range(5)}
JURORS = list(KEYS)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


UNIT = UnitSpec(
    WORLD, sha(b"engine"), sha(MODULE), None, b"", canonical.encode([["p"], [], 0]), sha(ITEMS), Limits(fuel=1000), sha(b"salt")
)


def case(unit: UnitSpec = UNIT, kind: int = ReceiptKind.UNIT, **changes: Any) -> Case:
    receipt = Receipt(kind, key(1).address, WALLET.address, sha(b"channel"), 3, unit_id(unit), sha(b"wrong"), 77, 5, 1)
    terms = Terms(sha(b"channel"), ZERO, sha(b"offer"), unit.engine, Prices(1, 1, 1, 1, 1), 1, 300, 3600)
    found = Case(
        network=NETWORK, terms=terms, signed=Signed(receipt, bytes(65)), answer=Answered(0, 3, True, 5, sha(b"leaf")), count=1,
        root=sha(b"root"), path=(sha(b"path"),), unit=unit, outcome=None, terms_signature=bytes(65),
        contents={sha(MODULE): MODULE, sha(ITEMS): ITEMS},
    )  # fmt: skip
    return replace(found, **changes)


@dataclass
class MadeUpCourier:
    """Jurors who take what is theirs, as long as they are not named here."""

    away: set[Address] = field(default_factory=set)
    busy: dict[Address, int] = field(default_factory=dict)
    taken: dict[Address, list[Any]] = field(default_factory=dict)

    async def deliver(self, juror: Address, case: int, envelope: bytes) -> Kept | Declined:
        if juror in self.away:
            raise Unavailable("no device of it can be reached")
        if self.busy.get(juror, 0):
            self.busy[juror] -= 1
            return Declined("busy", "come again")
        data = KEYS[juror].open(decode_envelope(envelope), inputs_info(NETWORK.network_id, COURT, case, juror))
        self.taken.setdefault(juror, []).append(case_package.decode(data))
        return Kept(case)


class Bench:
    """A court, an opener that can be started again, and jurors driven by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.court = MadeUpCourt(jury=JURORS)
        self.court.seats = {juror: {"key": each.public} for juror, each in KEYS.items()}
        self.courier = MadeUpCourier()
        self.journal = Journal(folder / "buyer.db")

    def disputes(self) -> Disputes:
        return Disputes(
            network=NETWORK, court=self.court, address=COURT, wallet=WALLET, journal=self.journal, folder=self.folder / "disputes",
            courier=self.courier, clock=lambda: 0.0,
        )  # fmt: skip

    async def answer(self, number: int = 1) -> None:
        await self.court.answer(None, number, b"l" * 32)

    async def verdict(self, answers: Callable[[int], Answer], number: int = 1) -> None:
        """Every juror of the present round commits and reveals."""
        jury = self.court.drawn_jurors[number][self.court.cases[number].first :]
        for at, _ in enumerate(jury):
            await self.court.commit(key(20 + at), number, bytes(32), answers(at))
        for at, _ in enumerate(jury):
            await self.court.reveal(key(20 + at), number, bytes(32), answers(at))

    async def phase(self, phase: Phase, number: int = 1) -> None:
        await until(lambda: self.court.cases[number].phase == phase)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.journal.close()


def says(_: int) -> Answer:
    return Answer(RIGHT, 78, sha(b"witness"))


async def test_a_dispute_goes_from_its_opening_to_the_verdict(bench: Bench) -> None:
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78)
    assert (dispute.number, dispute.state, dispute.jurors) == (1, OPEN, 5)
    claim = bench.court.claims[0]
    assert (claim.result, claim.fuel, claim.memory, claim.fuel_limit) == (RIGHT, 78, UNIT.limits.memory, UNIT.limits.fuel)
    assert claim.worth == bench.court.periods.max_worth(UNIT.limits.fuel, 5)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await until(lambda: len(bench.courier.taken) == 5)
    assert bench.court.secrets == [dispute.secrets[0]]
    assert {each.unit for sent in bench.courier.taken.values() for each in sent} == {UNIT}
    assert all(len(sent) == 1 for sent in bench.courier.taken.values())
    bench.court.dues[WALLET.address] = 42
    await bench.verdict(says)
    done = await following
    assert (done.state, done.outcome, done.collected) == (OVER, Outcome.CONVICTED, 42)
    assert bench.court.collected[WALLET.address] == 42
    assert not list((bench.folder / "disputes").iterdir())
    assert [each["text"] for each in docket.events(bench.journal, dispute.receipt)][-1] == "the case is over"


async def test_the_secret_is_on_disk_before_the_court_hears_of_it(bench: Bench) -> None:
    seen: list[Dispute] = []
    real = bench.court.open

    async def look(*args: Any, **options: Any) -> int:
        seen.extend(docket.listed(bench.journal))
        return await real(*args, **options)

    bench.court.open = look  # type: ignore[method-assign]
    dispute = await bench.disputes().open(case(), RIGHT, 78)
    assert [each.state for each in seen] == [OPENING]
    assert secret_commitment(seen[0].secrets[0]) == bench.court.cases[1].commitment
    assert seen[0].secrets == dispute.secrets


@pytest.mark.parametrize("at", ["opening", "answered", "drawn", "revealed"])
async def test_an_opener_killed_anywhere_goes_on_where_it_was(bench: Bench, at: str) -> None:
    disputes = bench.disputes()
    if at == "opening":  # the court has the case, and its opener does not know
        real = bench.court.open

        async def lost(*args: Any, **options: Any) -> int:
            await real(*args, **options)
            raise Unavailable("the answer was lost")

        bench.court.open = lost  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await disputes.open(case(), RIGHT, 78)
        del bench.court.open
    else:
        dispute = await disputes.open(case(), RIGHT, 78)
        following = asyncio.ensure_future(disputes.follow(dispute))
        if at != "answered":
            await bench.answer()
            await bench.phase(Phase.COMMIT)
        if at == "revealed":
            await until(lambda: len(bench.courier.taken) == 5)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    await bench.journal.close()
    bench.journal = Journal(bench.folder / "buyer.db")
    (dispute,) = docket.listed(bench.journal)
    if bench.court.cases[1].phase == Phase.ANSWER:
        await bench.answer()
    following = asyncio.ensure_future(bench.disputes().follow(dispute))
    await until(lambda: len(bench.courier.taken) == 5)
    await bench.verdict(says)
    done = await following
    assert (done.state, done.outcome) == (OVER, Outcome.CONVICTED)
    assert all(len(sent) == 1 for sent in bench.courier.taken.values())


async def test_a_case_that_never_got_to_the_court_can_be_opened_again(bench: Bench) -> None:
    async def lost(*args: Any, **options: Any) -> int:
        raise Unavailable("no endpoint answers")

    bench.court.open = lost  # type: ignore[method-assign]
    disputes = bench.disputes()
    with pytest.raises(Unavailable):
        await disputes.open(case(), RIGHT, 78)
    del bench.court.open
    (dispute,) = docket.listed(bench.journal)
    bench.court.sent = {secret_commitment(dispute.secrets[0])}
    following = asyncio.ensure_future(disputes.follow(dispute))
    count = len(bench.court.calls)
    await until(lambda: len(bench.court.calls) > count + 4)
    assert docket.listed(bench.journal)[0].state == OPENING
    bench.court.sent = set()
    assert (await following).state == FAILED
    assert (await disputes.open(case(), RIGHT, 78)).state == OPEN


async def test_jurors_who_are_away_or_busy_are_visited_again_until_half_time(bench: Bench) -> None:
    bench.courier.busy = {JURORS[0]: 2}
    bench.courier.away = {JURORS[1], JURORS[2]}
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await until(lambda: len(bench.courier.taken) == 3)
    bench.courier.away = {JURORS[2]}
    await until(lambda: len(bench.courier.taken) == 4)
    found = bench.court.cases[1]
    bench.court.now = inputs_until(found.deadline, bench.court.window(found))
    bench.courier.away = set()
    looks = bench.court.calls.count("case")
    await until(lambda: bench.court.calls.count("case") > looks + 3)
    assert JURORS[2] not in bench.courier.taken
    assert all(len(sent) == 1 for sent in bench.courier.taken.values())
    told = await docket.inputs(bench.journal, dispute.receipt)
    assert told[JURORS[2]] == (False, "no device of it can be reached")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_accused_that_keeps_its_link_loses_by_default(bench: Bench) -> None:
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78)
    bench.court.now += bench.court.periods.answer_seconds
    done = await disputes.follow(dispute)
    assert (done.state, done.outcome) == (OVER, Outcome.NO_LINK)


async def test_a_larger_jury_is_called_with_a_new_secret_if_it_was_allowed_for(bench: Bench) -> None:
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78, most=15)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await until(lambda: len(bench.courier.taken) == 5)
    await bench.verdict(lambda at: Answer(RIGHT, at, sha(b"witness")))
    await until(lambda: bench.court.cases[1].round == 2)
    known = docket.find(bench.journal, "1")
    assert len(set(known.secrets)) == 2
    await bench.answer()
    await until(lambda: len(bench.court.secrets) == 2)
    assert bench.court.secrets == list(known.secrets)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_without_a_majority_and_a_larger_jury_the_case_ends_unresolved(bench: Bench) -> None:
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await until(lambda: len(bench.courier.taken) == 5)
    await bench.verdict(lambda at: Answer(RIGHT, at, sha(b"witness")))
    await bench.phase(Phase.EXTEND)
    bench.court.now = bench.court.cases[1].deadline
    assert (await following).outcome == Outcome.UNRESOLVED
    assert "extend" not in bench.court.calls


async def test_jurors_without_inputs_cost_the_opener(bench: Bench) -> None:
    bench.courier.away = set(JURORS)
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78, most=45)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await bench.phase(Phase.COMMIT)
    await bench.verdict(lambda _: UNAVAILABLE)
    await bench.phase(Phase.EXTEND)
    looks = bench.court.calls.count("case")
    await until(lambda: bench.court.calls.count("case") > looks + 2)
    bench.court.now = bench.court.cases[1].deadline
    assert (await following).outcome == Outcome.NO_INPUTS
    assert "extend" not in bench.court.calls


async def test_jurors_who_had_the_inputs_and_deny_it_are_answered_with_a_larger_jury(bench: Bench) -> None:
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78, most=45)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await until(lambda: len(bench.courier.taken) == 5)
    await until(lambda: sum("has the inputs" in each["text"] for each in docket.events(bench.journal, dispute.receipt)) == 5)
    await bench.verdict(lambda _: UNAVAILABLE)
    await until(lambda: any("15 jurors are called" in each["text"] for each in docket.events(bench.journal, dispute.receipt)))
    assert bench.court.cases[1].round == 2
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_jurors_who_disagree_call_larger_juries_up_to_the_largest(bench: Bench) -> None:
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78, most=45)
    following = asyncio.ensure_future(disputes.follow(dispute))
    for round_, size in ((1, 5), (2, 15)):
        await bench.answer()
        await bench.phase(Phase.COMMIT)
        bench.court.cases[1].jurors = size
        await bench.verdict(lambda at: says(at) if at else Answer(RIGHT, 1, sha(b"witness")))
        await until(lambda round_=round_: bench.court.cases[1].round == round_ + 1)
        for at in JURORS:  # the same five sit again: here that changes nothing
            bench.court.ballots[1, at].commitment = bench.court.ballots[1, at].answer = ZERO
    await bench.answer()
    await bench.phase(Phase.COMMIT)
    bench.court.cases[1].jurors = 45
    known = docket.find(bench.journal, "1")
    assert len(set(known.secrets)) == 3 == len(bench.court.secrets)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_an_opener_that_cannot_pay_for_a_larger_jury_says_so_once_and_pays_when_it_can(bench: Bench) -> None:
    real = bench.court.extend

    async def poor(*args: Any) -> str:
        raise NotEnough("the wallet holds 3 wei of 15")

    bench.court.extend = poor  # type: ignore[method-assign]
    disputes = bench.disputes()
    dispute = await disputes.open(case(), RIGHT, 78, most=15)
    following = asyncio.ensure_future(disputes.follow(dispute))
    await bench.answer()
    await until(lambda: len(bench.courier.taken) == 5)
    await bench.verdict(lambda at: Answer(RIGHT, at, sha(b"witness")))

    def told() -> list[str]:
        return [each["text"] for each in docket.events(bench.journal, dispute.receipt) if "cannot pay" in each["text"]]

    await until(lambda: len(told()) == 1)
    looks = bench.court.calls.count("case")
    await until(lambda: bench.court.calls.count("case") > looks + 2)
    assert len(told()) == 1
    bench.court.extend = real  # type: ignore[method-assign]
    await until(lambda: bench.court.cases[1].round == 2)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


REFUSED: dict[str, tuple[Case, tuple[bytes, int], dict[str, Any], type[Exception]]] = {
    "the same result and fuel": (case(), (sha(b"wrong"), 77), {}, InvalidInput),
    "more fuel than the unit may burn": (case(), (RIGHT, 1001), {}, InvalidInput),
    "no result": (case(), (ZERO, 1), {}, InvalidInput),
    "a jury of another size": (case(), (RIGHT, 78), {"jurors": 7}, InvalidInput),
    "the largest jury at first": (case(), (RIGHT, 78), {"jurors": 45}, InvalidInput),
    "a smaller jury after a larger one": (case(), (RIGHT, 78), {"jurors": 15, "most": 5}, InvalidInput),
    "a receipt for an upload": (case(kind=ReceiptKind.TRANSFER), (RIGHT, 78), {}, InvalidInput),
    "a receipt without its unit": (case(unit=UNIT), (RIGHT, 78), {}, InvalidInput),
    "a unit that is not the receipt's": (replace(case(), unit=replace(UNIT, salt=sha(b"x"))), (RIGHT, 78), {}, Unavailable),
    "terms nobody signed": (case(terms_signature=None), (RIGHT, 78), {}, Unavailable),
}
REFUSED["a receipt without its unit"] = (replace(case(), unit=None), (RIGHT, 78), {}, InvalidInput)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_no_case_can_be_made_of_is_refused_and_leaves_nothing(bench: Bench, name: str) -> None:
    found, claim, options, error = REFUSED[name]
    with pytest.raises(error):
        await bench.disputes().open(found, *claim, **options)
    assert docket.listed(bench.journal) == []
    assert "open" not in bench.court.calls


async def test_a_case_that_the_court_does_not_take_can_be_tried_again_and_one_that_it_took_cannot(bench: Bench) -> None:
    bench.court.refuse = "too few seats"
    with pytest.raises(LedgerError, match="did not take the case: there are too few seats"):
        await bench.disputes().open(case(), RIGHT, 78)
    assert [each.state for each in docket.listed(bench.journal)] == [FAILED]
    bench.court.refuse = ""
    dispute = await bench.disputes().open(case(), RIGHT, 78)
    assert dispute.state == OPEN
    with pytest.raises(InvalidInput, match="disputed already"):
        await bench.disputes().open(case(), RIGHT, 79)
    assert docket.find(bench.journal, dispute.id[:8]).number == 1
    with pytest.raises(InvalidInput, match="no dispute here"):
        docket.find(bench.journal, "f00")


async def test_a_case_is_named_by_its_number_even_where_a_receipt_begins_with_it(bench: Bench) -> None:
    for number, first in ((1, "9"), (9, "1"), (2, "a")):
        receipt = bytes.fromhex(first + "0" * 63)
        fields = ("", RIGHT, 78, 5, 5, 1, (RIGHT,), 0, 0)
        await docket.create(bench.journal, Dispute(receipt, number, OPEN, float(number), *fields))
    assert docket.find(bench.journal, "9").number == 9
    assert docket.find(bench.journal, "1").number == 1
    assert docket.find(bench.journal, "90").number == 1
    assert docket.find(bench.journal, "a").number == 2
