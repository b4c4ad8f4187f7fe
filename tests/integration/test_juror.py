"""A juror with a real sandbox, before a made-up court: what it runs, what it says, and what it takes from whom."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from made_up_court import COURT, MadeUpCourt
from provider_support import until
from provider_world import NETWORK, Link, key
from python_support import Job, open_sandbox
from sandbox_support import HELLO, Runner, command, sandbox, wat
from surge.core import canonical, values
from surge.core.case_package import CasePackage, wanted
from surge.core.court import UNAVAILABLE, Answer, Phase
from surge.core.duty import inputs_until
from surge.core.messages import Bring, Declined, Deliver, Kept, Part, decode_for_opener, encode_envelope, encode_visit, inputs_info
from surge.core.messages.fields import MAX_CHUNK
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.types import ZERO
from surge.core.units import WORLD, Limits, UnitSpec, command_seed, result_hash, unit_id
from surge.errors import GuestFault, InvalidInput, Unavailable
from surge.provider import visits
from surge.provider.deliveries import MAX_DELIVERIES
from surge.provider.duties import Duties
from surge.provider.juror import Juror, JurorConfig
from surge.sandbox.again import run_unit
from surge.wallet import ReceivingKey, seal

OPENER, ACCUSED, JUROR = key(10), key(11), key(12)
KEY = ReceivingKey(hashlib.sha256(b"inputs").digest())
LIMITS = Limits(memory=1 << 20, fuel=10**6)
MODULE = wat(HELLO)
ONE_MORE = "(local.set $i (i32.add (local.get $i) (i32.const 1)))"


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def package(engine: bytes, module: bytes = MODULE, **changes: Any) -> CasePackage:
    """The package of a command, and a receipt for it with a wrong result."""
    unit = UnitSpec(WORLD, engine, sha(module), None, b"", canonical.encode([["p"], [], 0]), sha(b"input"), LIMITS, sha(b"salt"))
    unit = replace(unit, **changes)
    receipt = Receipt(ReceiptKind.UNIT, key(1).address, OPENER.address, sha(b"channel"), 1, unit_id(unit), sha(b"wrong"), 5, 1, 1)
    contents = {digest: {sha(module): module, sha(b"input"): b"input"}[digest] for digest in wanted(unit, setup=False)}
    return CasePackage(unit, receipt, sha(b"right"), 6, contents)


@dataclass
class Bench:
    """A court, a juror that can be started again, and an opener."""

    runner: Runner
    court: MadeUpCourt
    folder: Path

    def juror(self, **options: Any) -> Juror:
        made = {"config": JurorConfig(memory=1 << 20), "clock": lambda: 0.0, **options}
        return Juror(
            network=NETWORK,
            court=self.court,
            address=COURT,
            sandbox=self.runner.sandbox,
            operator=JUROR,
            key=KEY,
            folder=self.folder,
            **made,
        )

    def case(self, package: CasePackage, **changes: Any) -> int:
        receipt = package.receipt.digest(NETWORK.channels_domain)
        said = {"engine": self.runner.sandbox.engine, "memory": LIMITS.memory, "fuel_limit": LIMITS.fuel, **changes}
        number = self.court.open_case(opener=OPENER.address, accused=ACCUSED.address, receipt=receipt, **said)
        self.court.draw_jury(number, [JUROR.address])
        return number

    def envelope(self, number: int, package: CasePackage, *, about: int | None = None) -> bytes:
        info = inputs_info(NETWORK.network_id, COURT, number if about is None else about, JUROR.address)
        return encode_envelope(seal(KEY.public, info, package.encode()))


@contextlib.asynccontextmanager
async def on_duty(juror: Juror) -> AsyncIterator[Juror]:
    await juror.start()
    try:
        yield juror
    finally:
        await juror.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sandbox(tmp_path) as runner:
        yield Bench(runner, MadeUpCourt(), tmp_path / "juror")


async def deliver(juror: Juror, number: int, envelope: bytes, *, by: Any = OPENER, size: int | None = None) -> Kept | Declined:
    """Visit a juror until it says whether it keeps what was brought."""
    here, there = Link(JUROR.address, b""), Link(by.address, b"")
    here.other, there.other = there, here
    serving = asyncio.ensure_future(juror.visit(there))
    try:
        while True:
            await here.send(encode_visit(Deliver(number, size or len(envelope))))
            said = decode_for_opener(await here.receive())
            if isinstance(said, Bring):
                for at in range(0, len(envelope), MAX_CHUNK):
                    await here.send(encode_visit(Part(envelope[at : at + MAX_CHUNK])))
                said = decode_for_opener(await here.receive())
            assert not isinstance(said, Bring)
            return said
    finally:
        await asyncio.gather(serving, return_exceptions=True)
        assert by is OPENER or not there.kept


async def known(juror: Juror, number: int) -> None:
    await until(lambda: juror.duties.find(number))


async def test_a_juror_runs_the_unit_commits_reveals_and_collects(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    image = await bench.runner.image(MODULE)
    direct = await bench.runner.sandbox.run_command(image, ["p"], [], b"input", None, LIMITS, command_seed(sent.unit), witness=True)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)
        assert isinstance(await deliver(juror, number, bench.envelope(number, sent)), Kept)
        assert isinstance(await deliver(juror, number, bench.envelope(number, sent)), Kept | Declined)
        await until(lambda: bench.court.said(number, JUROR.address))
        assert bench.court.said(number, JUROR.address) == Answer(result_hash(direct.outcome), direct.outcome.fuel, direct.witness)
        bench.court.now = bench.court.cases[number].deadline
        await until(lambda: bench.court.cases[number].phase == Phase.OVER)
        bench.court.dues[JUROR.address] = 7
        await until(lambda: bench.court.collected.get(JUROR.address) == 7)
        assert not list((bench.folder / "envelopes").iterdir())
        assert bench.court.seats[JUROR.address]["key"] == KEY.public


async def test_a_juror_without_inputs_says_so_at_half_time_and_takes_none_afterwards(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)
        case = bench.court.cases[number]
        looks = bench.court.calls.count("ballot")
        bench.court.now = inputs_until(case.deadline, bench.court.window(case)) - 1
        await until(lambda: bench.court.calls.count("ballot") > looks + 2)
        assert bench.court.ballots[number, JUROR.address].commitment == ZERO
        bench.court.now += 1
        await until(lambda: bench.court.said(number, JUROR.address))
        assert bench.court.said(number, JUROR.address) == UNAVAILABLE
        late = await deliver(juror, number, bench.envelope(number, sent))
        assert isinstance(late, Declined)


async def test_a_juror_killed_between_commitment_and_answer_still_reveals_what_it_committed_to(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    others = [key(20).address]
    async with on_duty(bench.juror()) as juror:
        number = bench.court.open_case(
            opener=OPENER.address, accused=ACCUSED.address, receipt=sent.receipt.digest(NETWORK.channels_domain),
            engine=bench.runner.sandbox.engine, memory=LIMITS.memory, fuel_limit=LIMITS.fuel,
        )  # fmt: skip
        bench.court.draw_jury(number, [JUROR.address, *others])
        await known(juror, number)
        await deliver(juror, number, bench.envelope(number, sent))
        await until(lambda: bench.court.ballots[number, JUROR.address].commitment != ZERO)
    committed = bench.court.ballots[number, JUROR.address].commitment
    bench.court.now = bench.court.cases[number].deadline
    async with on_duty(bench.juror()):
        await until(lambda: bench.court.said(number, JUROR.address))
    assert bench.court.ballots[number, JUROR.address].commitment == committed
    assert bench.court.said(number, JUROR.address) != UNAVAILABLE


async def test_a_juror_killed_before_it_could_commit_commits_to_what_it_had_written_down(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)

        async def never(*_: Any) -> str:
            await asyncio.Event().wait()
            raise AssertionError

        bench.court.commit = never  # type: ignore[method-assign]
        await deliver(juror, number, bench.envelope(number, sent))
        found = await until(lambda: (duty := juror.duties.find(number)) and duty.answer)
    del bench.court.commit
    async with on_duty(bench.juror()):
        await until(lambda: bench.court.said(number, JUROR.address))
    assert bench.court.said(number, JUROR.address) == found


async def test_only_the_opener_of_a_case_is_asked_to_send_anything(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)
        bench.court.calls.clear()
        for by, case in ((ACCUSED, number), (key(99), number), (OPENER, number + 1)):
            said = await deliver(juror, case, bench.envelope(number, sent), by=by)
            assert isinstance(said, Declined)
        assert juror.duties.find(number).deliveries == 0
        assert "case_of" not in bench.court.calls


WRONG = {
    "another receipt's": (lambda right: replace(package(right.unit.engine, salt=sha(b"another"))), {}),
    "for another engine": (lambda _: package(b"\1" * 32), {}),
    "with more memory than the case says": (lambda right: right, {"memory": LIMITS.memory - 1}),
    "with more fuel than the case says": (lambda right: right, {"fuel_limit": LIMITS.fuel - 1}),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_not_the_unit_in_dispute_is_declined_and_the_inputs_do_not_count_as_there(bench: Bench, name: str) -> None:
    make, changes = WRONG[name]
    right = package(bench.runner.sandbox.engine)
    sent = make(right)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent if name == "for another engine" else right, **changes)
        await known(juror, number)
        said = await deliver(juror, number, bench.envelope(number, sent))
        assert isinstance(said, Declined)
        assert said.code == "invalid"
        assert not juror.duties.find(number).inputs
        bench.court.now = bench.court.cases[number].deadline - 1
        await until(lambda: bench.court.said(number, JUROR.address))
        assert bench.court.said(number, JUROR.address) == UNAVAILABLE


async def test_damaged_deliveries_are_declined_and_not_taken_without_end(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)
        whole = bench.envelope(number, sent)
        damaged = [whole[:-1] + bytes([whole[-1] ^ 1]), b"noise" * 100, bench.envelope(number, sent, about=number + 1)]
        for data in damaged:
            said = await deliver(juror, number, data)
            assert isinstance(said, Declined)
            assert said.code == "invalid"
        shorter = await deliver(juror, number, whole, size=len(whole) - 10)
        assert isinstance(shorter, Declined)
        for _ in range(MAX_DELIVERIES - len(damaged) - 1):
            await deliver(juror, number, b"noise")
        last = await deliver(juror, number, whole)
        assert isinstance(last, Declined)
        assert last.code == "unknown"
        assert not list((bench.folder / "envelopes").iterdir())


async def test_a_unit_that_cannot_be_run_from_its_inputs_counts_as_without_any(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine, module=b"no module at all")
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)
        assert isinstance(await deliver(juror, number, bench.envelope(number, sent)), Kept)
        await until(lambda: bench.court.said(number, JUROR.address), 30)
        assert bench.court.said(number, JUROR.address) == UNAVAILABLE


async def test_the_units_own_wall_time_does_not_bind_a_slow_juror(bench: Bench) -> None:
    module = command(f"(local $i i32) (loop $l {ONE_MORE} (br_if $l (i32.lt_u (local.get $i) (i32.const 200000000))))")
    sent = package(bench.runner.sandbox.engine, module=module, limits=replace(LIMITS, fuel=10**10, wall_ms=1))
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent, fuel_limit=10**10)
        await known(juror, number)
        await deliver(juror, number, bench.envelope(number, sent))
        await until(lambda: bench.court.said(number, JUROR.address), 30)
        assert bench.court.said(number, JUROR.address) != UNAVAILABLE


async def test_a_unit_that_takes_too_long_for_its_fuel_counts_as_without_inputs(bench: Bench) -> None:
    module = command("(loop $l (br $l))")
    sent = package(bench.runner.sandbox.engine, module=module, limits=replace(LIMITS, fuel=10**15))
    bench.court.periods = replace(bench.court.periods, commit_seconds=20, fuel_per_second=10**15)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent, fuel_limit=10**15)
        await known(juror, number)
        await deliver(juror, number, bench.envelope(number, sent))
        await until(lambda: bench.court.said(number, JUROR.address), 40)
        assert bench.court.said(number, JUROR.address) == UNAVAILABLE


async def test_a_setup_that_takes_more_than_the_case_allows_counts_as_without_inputs(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache) as box:
        job = Job(box, tmp_path, {"entry.py": "N = sum(range(1_000_000))\ndef f(x): return x + N\n"}, {"module": "entry"})
        made = (await job.setup()).outcome
        for snapshot in (True, False):
            if not snapshot:
                box.python.forget(job.bundle, job.description)
            for fuel_limit, status in ((made.fuel, True), (made.fuel // 2, False)):
                items = values.dumps([1])
                entry = canonical.encode(["f", 0, 0, bytes(32)])
                unit = UnitSpec(WORLD, box.engine, box.python_image, job.bundle, job.description, entry, sha(items), Limits(), bytes(32))
                running = run_unit(box, unit, setup=False, module=None, bundle=job.file, items=items, setup_fuel=fuel_limit, witness=True)
                if status:
                    assert (await running).outcome.status == 0
                else:
                    with pytest.raises(GuestFault, match="setup"):
                        await running
                if not snapshot:
                    box.python.forget(job.bundle, job.description)


async def test_a_ledger_that_is_away_for_a_while_costs_no_duty(bench: Bench) -> None:
    sent = package(bench.runner.sandbox.engine)
    async with on_duty(bench.juror()) as juror:
        number = bench.case(sent)
        await known(juror, number)
        await deliver(juror, number, bench.envelope(number, sent))
        bench.court.away = True
        count = len(bench.court.calls)
        await until(lambda: len(bench.court.calls) > count + 2)
        bench.court.away = False
        await until(lambda: bench.court.said(number, JUROR.address))


@pytest.mark.parametrize(("wanted", "seats"), [(10**11, 1), (10**13, 1), (10**13, 4)])
async def test_a_juror_takes_no_larger_units_than_its_seats_cover_a_fine_for(bench: Bench, wanted: int, seats: int) -> None:
    covered = bench.court.periods.covered(seats)
    async with on_duty(bench.juror(config=JurorConfig(seats=seats, fuel_cap=wanted))):
        assert bench.court.seats[JUROR.address]["fuel_cap"] == min(wanted, covered)
        assert 45 * bench.court.periods.fee(covered) <= seats * bench.court.periods.seat_stake


async def test_seats_that_cover_no_fine_are_not_taken(bench: Bench) -> None:
    bench.court.periods = replace(bench.court.periods, seat_stake=44 * bench.court.periods.base_fee)
    with pytest.raises(InvalidInput, match="1 seats cover no fine"):
        async with on_duty(bench.juror(config=JurorConfig(seats=1))):
            pass
    assert JUROR.address not in bench.court.seats


async def test_seats_are_given_up_when_none_are_wanted_and_two_devices_do_not_sit_for_one_operator(bench: Bench) -> None:
    async with on_duty(bench.juror()):
        assert JUROR.address in bench.court.seats
    bench.court.seats[JUROR.address]["key"] = b"another key" + bytes(21)
    with pytest.raises(InvalidInput, match="another key"):
        await bench.juror().start()
    async with on_duty(bench.juror(config=JurorConfig(seats=0))):
        assert JUROR.address not in bench.court.seats


async def test_a_visit_finds_its_service_and_nobody_else_is_visited(bench: Bench) -> None:
    from surge.core.messages import visit_context

    async with on_duty(bench.juror()) as juror:
        for context, served in ((visit_context(NETWORK.network_id, "juror"), True), (visit_context(NETWORK.network_id, "compute"), False)):
            here, there = Link(JUROR.address, context), Link(OPENER.address, context)
            here.other, there.other = there, here
            task = asyncio.ensure_future(visits.received(there, {"juror": juror, "compute": object()}))  # type: ignore[dict-item]
            if served:
                await here.send(encode_visit(Deliver(1, 5)))
                assert isinstance(decode_for_opener(await here.receive()), Declined)
            assert await task
            with pytest.raises(Unavailable):
                await here.receive()
        plain = Link(JUROR.address, canonical.encode({"version": 1}))
        plain.other = Link(OPENER.address, b"")
        assert not await visits.received(plain, {"juror": juror})


async def test_an_answer_is_settled_once(tmp_path: Path) -> None:
    duties = Duties(tmp_path / "duties.db")
    try:
        await duties.drawn(3, 1, OPENER.address)
        first, second = Answer(sha(b"r"), 1, sha(b"w")), UNAVAILABLE
        for salt, answer in ((b"1" * 32, first), (b"2" * 32, second)):
            await duties.answered(duties.find(3), salt, answer, "a note")  # type: ignore[arg-type]
        found = duties.find(3)
        assert found is not None
        assert (found.salt, found.answer) == (b"1" * 32, first)
    finally:
        duties.close()
