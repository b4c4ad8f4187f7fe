"""Juror duty: a service that runs units in dispute again, and says to the court what came out.

It watches the ledger for cases in which its operator is drawn, takes the unit's inputs from the opener in visits, runs the unit with its
witness, and commits and reveals. Its salt and answer are on disk before it commits: a juror that is killed in between still reveals.
`core.duty` says what is done when.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from surge.core.case_package import CasePackage
from surge.core.court import UNAVAILABLE, Answer, Phase, commitment
from surge.core.duty import Knowledge, Sight, Step, inputs_until, next_step
from surge.core.messages import inputs_info
from surge.core.network import NetworkFile
from surge.core.receipts import Receipt
from surge.core.signing import Signer
from surge.core.types import GIGA, ZERO, Address
from surge.core.units import MAX_WALL_MS, PROVABLE, Status, result_hash
from surge.errors import GuestFault, InvalidInput, LedgerError, PeerFault, SurgeError, Unavailable
from surge.provider.court import CaseState, Court
from surge.provider.deliveries import Deliveries, NotTaken
from surge.provider.duties import Duties, Duty
from surge.provider.outbox import Link
from surge.provider.service import Context, Description, Order, Refused
from surge.sandbox import Execution, Sandbox
from surge.wallet import ReceivingKey

log = logging.getLogger("surge.juror")

MAX_RUNS: Final = 3
"""Times that a unit is begun: a worker may be lost, a device may be switched off."""

SPARE: Final = 10
"""Of the time to commit, this part is kept for committing: a run that lasts into it is ended."""

TOO_SLOW: Final = "the unit takes longer than the fuel that the opener named gives time for"

LOOKS: Final = 60
"""Looks at the ledger within the shortest of the court's periods."""

QUICKEST, SLOWEST = 0.5, 30.0
"""Seconds between looks, at least and at most."""

COLLECT_SECONDS: Final = 600.0
"""Seconds between looks at what the court owes."""


@dataclass(frozen=True, slots=True)
class JurorConfig:
    """What a juror opts in to."""

    seats: int = 1
    """Chances to be drawn, each with a stake of its own; none gives up those there are."""
    memory: int = 512 << 20
    """Bytes of the largest unit it takes."""
    fuel_cap: int = 10**13
    """Fuel of the largest unit it takes, or less where its seats do not cover a fine for that."""


class Juror:
    """The service. `start` takes seats, if they are wanted, and begins to watch; a juror away from its duty pays for it.

    Args:
        network: which network; its contract addresses are in what envelopes are about.
        court: its court.
        address: where the court's contract lies.
        sandbox: where units run. It is started and closed by whoever owns it.
        operator: sits, commits and reveals.
        key: opens what openers seal.
        folder: where its journal and what it was sent lie.
        config: what it opts in to.
        clock: the time, Unix seconds; the ledger's own counts where it is later.
    """

    name = "juror"

    def __init__(
        self,
        *,
        network: NetworkFile,
        court: Court,
        address: Address,
        sandbox: Sandbox,
        operator: Signer,
        key: ReceivingKey,
        folder: Path,
        config: JurorConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or JurorConfig()
        self.operator = operator.address
        self._network, self._court, self._address = network, court, address
        self._sandbox, self._signer, self._key, self._folder, self._clock = sandbox, operator, key, folder, clock
        self._duties: Duties | None = None
        self._deliveries: Deliveries
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[int] = set()
        self._one_at_a_time = asyncio.Semaphore(1)
        self._collected = 0.0
        self._news = asyncio.Event()

    # The service

    async def start(self) -> None:
        """Open the journal, take seats, and watch. Raises `LedgerError` when the court gives no seats, as with too low a bond."""
        self._duties = await asyncio.to_thread(Duties, self._folder / "duties.db")
        self._deliveries = Deliveries(self._folder / "envelopes", self._key, self._duties, self._expected, self._check, self._info)
        try:
            await self._sit()
        except BaseException:
            await self.close()
            raise
        self._spawn(self._watch(), "watching the court")

    async def close(self) -> None:
        """Stop. Duties stay: whoever starts it again goes on with them."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._duties is not None:
            await asyncio.to_thread(self._duties.close)
            self._duties = None

    def describe(self) -> Description:
        """See `Service`."""
        return Description()

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        """See `Service`: duty is to the court, and nobody orders it."""
        raise Refused("unknown", "a juror takes no orders: a case's opener visits it")

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """See `Service`. The court pays for duty."""

    async def visit(self, link: Link) -> None:
        """See `Visited`: the opener of a case brings its inputs."""
        task = asyncio.ensure_future(self._deliveries.visit(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await task
        self._news.set()

    @property
    def duties(self) -> Duties:
        """The journal, while it is open."""
        assert self._duties is not None, "the juror has started"
        return self._duties

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    # Sitting

    async def _sit(self) -> None:
        """See that the operator sits as its configuration says; what was said of it before stands until it resigns."""
        court, config = self._court, self.config
        number = await court.enlistment_of(self.operator)
        if number and not config.seats:
            await court.resign(self._signer)
            log.info("gave up the seats; cases opened before may still draw them")
        elif number and (await court.enlistment(number)).key != self._key.public:
            raise InvalidInput(
                f"the operator {self.operator} sits with another key, perhaps on another device: give those seats up first",
                operator=self.operator,
            )
        elif not number and config.seats:
            engines, key = [self._sandbox.engine], self._key.public
            fuel_cap = min(config.fuel_cap, (await court.parameters()).covered(config.seats))
            if fuel_cap < 0:
                raise InvalidInput(f"{config.seats} seats cover no fine of this court: take more with --seats", seats=config.seats)
            try:
                await court.enlist(self._signer, seats=config.seats, engines=engines, memory=config.memory, fuel_cap=fuel_cap, key=key)
            except LedgerError as error:
                raise LedgerError(
                    f"the court gives {self.operator} no seats ({error.message}): each takes a stake of the operator's own, which "
                    "`surge stake` puts in",
                    reason=error.details.get("reason", ""),
                ) from error
            log.info("sits as a juror, with %d seats, for units of %d gigafuel at most", config.seats, fuel_cap // GIGA)

    # Watching

    async def _watch(self) -> None:
        pause = QUICKEST
        while True:
            try:
                periods = await self._court.parameters()
                pause = min(SLOWEST, max(QUICKEST, min(periods.commit_seconds, periods.reveal_seconds) / LOOKS))
                await self.look()
                await self._collect()
            except (Unavailable, LedgerError) as error:
                log.warning("the court cannot be asked now: %s", error)
            self._news.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at every case this juror has a duty in, and do what is next."""
        known = {duty.case for duty in self.duties.latest(1000)}
        for case in await self._court.duties(self.operator):
            if case not in known:
                ballot = await self._court.ballot(case, self.operator)
                if ballot.round:  # else the chain lost the block in which it was drawn
                    await self.duties.drawn(case, ballot.round, (await self._court.case(case)).opener)
        await asyncio.gather(*(self._attend(duty) for duty in self.duties.open_ones()))

    async def _attend(self, duty: Duty) -> None:
        try:
            case = await self._court.case(duty.case)
            sight = await self._sight(duty, case)
            step = next_step(sight, Knowledge(duty.inputs, duty.answer is not None), await self._now())
            await self._do(step, duty, sight, case)
        except (Unavailable, LedgerError, InvalidInput) as error:  # another was quicker, the ledger is away, or lost the case: look again
            log.info("case %d: %s", duty.case, error)

    async def _sight(self, duty: Duty, case: CaseState) -> Sight:
        ballot = await self._court.ballot(duty.case, self.operator)
        jurors = await self._court.jurors(duty.case)
        mine = ballot.round != 0 and ballot.round == case.round
        place = list(jurors[case.first :]).index(self.operator) if mine else 0
        window = await self._window(case)
        return Sight(Phase(case.phase), case.deadline, window, mine, place, ballot.commitment, ballot.answer != ZERO)

    async def _window(self, case: CaseState) -> int:
        periods = await self._court.parameters()
        return periods.commit_seconds + case.fuel_limit // periods.fuel_per_second

    async def _now(self) -> int:
        """The time by which deadlines pass: that of the ledger's last block, or this machine's, whichever is later."""
        return max(await self._court.clock(), int(self._clock()))

    async def _do(self, step: Step, duty: Duty, sight: Sight, case: CaseState) -> None:
        if step is Step.RUN and duty.case not in self._running and duty.tries < MAX_RUNS:
            self._running.add(duty.case)
            self._spawn(self._run(duty), f"running the unit of case {duty.case}")
        elif step is Step.GIVE_UP:
            await self._settle(duty, UNAVAILABLE, "the inputs did not come in time")
        elif step is Step.COMMIT and duty.answer is not None:
            await self._court.commit(self._signer, duty.case, duty.salt, duty.answer)
            log.info("case %d: committed", duty.case)
        elif step is Step.REVEAL and duty.answer is not None:
            if self._commitment(duty, duty.answer) != sight.commitment:
                log.error(
                    "case %d: the court holds another commitment than this juror's; does another device serve its operator?", duty.case
                )
                await self.duties.over(duty)
                return
            await self._court.reveal(self._signer, duty.case, duty.salt, duty.answer)
            log.info("case %d: revealed", duty.case)
        elif step is Step.ADVANCE:
            await self._court.advance(self._signer, duty.case)
        elif step is Step.FORGET and duty.case not in self._running:
            await self.duties.over(duty)
            await asyncio.to_thread(self._deliveries.forget, duty.case)
            self._collected = 0.0

    def _commitment(self, duty: Duty, answer: Answer) -> bytes:
        return commitment(duty.case, self.operator, duty.salt, answer)

    async def _settle(self, duty: Duty, answer: Answer, note: str) -> None:
        """Settle the answer. What is committed to is what was written down first."""
        await self.duties.answered(duty, secrets.token_bytes(32), answer, note)
        log.info("case %d: %s", duty.case, note)
        self._news.set()

    async def _collect(self) -> None:
        """Collect what the court owes, once nothing is on its way that would add to it."""
        now = time.monotonic()
        if self._collected and now < self._collected + COLLECT_SECONDS:
            return
        self._collected = now
        if not self.duties.open_ones() and await self._court.owed(self.operator):
            await self._court.collect(self._signer)
            log.info("collected what the court owed")

    # Inputs

    def _info(self, case: int) -> bytes:
        return inputs_info(self._network.network_id, self._address, case, self.operator)

    async def _expected(self, number: int, peer: str) -> Duty:
        """The duty of a case if this peer may deliver for it now. Raises `NotTaken`."""
        duty = self.duties.find(number)
        if duty is None:
            raise NotTaken("busy", "no such duty is known here yet: come again in a moment")
        if peer != duty.opener or duty.over or duty.answer is not None:
            raise NotTaken("unknown", "nothing is waited for from you")
        case = await self._court.case(number)
        if case.phase != Phase.COMMIT or await self._now() >= inputs_until(case.deadline, await self._window(case)):
            raise NotTaken("late", "the time for inputs is over")
        return duty

    async def _check(self, duty: Duty, package: CasePackage) -> None:
        """Raise `PeerFault` unless a package is for the receipt in dispute, and its unit is as small as the case says."""
        case, unit = await self._court.case(duty.case), package.unit
        if await self._court.case_of(package.receipt.digest(self._network.channels_domain)) != duty.case:
            raise PeerFault("the package's receipt is not the one in dispute")
        if unit.engine != case.engine or unit.limits.memory > case.memory or unit.limits.fuel > case.fuel_limit:
            raise PeerFault("the package's unit is for another engine than the case, or larger than it says")

    # Running

    async def _run(self, duty: Duty) -> None:
        try:
            async with self._one_at_a_time:
                await self.duties.begun(duty)
                package = await self._deliveries.package(duty.case)
                execution = await self._execute(duty, package)
        except TimeoutError:
            await self._settle(duty, UNAVAILABLE, TOO_SLOW)
        except (GuestFault, InvalidInput) as error:  # a setup that fails, a module that does not compile: there is nothing to run
            await self._settle(duty, UNAVAILABLE, f"the unit cannot be run from its inputs: {error}")
        except SurgeError as error:
            log.warning("case %d: %s", duty.case, error)
            await self.duties.noted(duty, str(error))
        else:
            await self._conclude(duty, execution)
        finally:
            self._running.discard(duty.case)
            self._news.set()

    async def _conclude(self, duty: Duty, execution: Execution) -> None:
        outcome = execution.outcome
        execution.output.discard()
        if outcome.status in PROVABLE:
            note = f"the unit ended as {outcome.status.name}"
            await self._settle(duty, Answer(result_hash(outcome), outcome.fuel, execution.witness), note)
        elif outcome.status is Status.NATIVE_STACK:
            await self._settle(duty, UNAVAILABLE, "the unit ends in a way that nobody could prove")
        elif outcome.status is Status.WALL_TIME:
            await self._settle(duty, UNAVAILABLE, TOO_SLOW)
        else:
            log.warning("case %d: the unit ended here as %s: %s", duty.case, outcome.status.name, execution.detail)
            await self.duties.noted(duty, f"the unit ended here as {outcome.status.name}")

    async def _execute(self, duty: Duty, package: CasePackage) -> Execution:
        from surge.sandbox.again import run_unit

        unit, box = package.unit, self._sandbox
        case = await self._court.case(duty.case)
        left = max(1, case.deadline - await self._window(case) // SPARE - await self._now())
        had = bool(unit.setup) and box.python.snapshot(unit.bundle, unit.setup) is not None
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="case-") as name:
            paths: dict[bytes, Path] = {}
            for digest in (unit.bundle, unit.image):
                if digest is not None and digest in package.contents:
                    paths[digest] = Path(name) / digest.hex()
                    await asyncio.to_thread(paths[digest].write_bytes, package.contents[digest])
            try:
                async with asyncio.timeout(left + 1):  # compiling included, and what other cases take before
                    return await run_unit(
                        box,
                        unit,
                        setup=package.is_setup,
                        module=paths.get(unit.image),
                        bundle=None if unit.bundle is None else paths[unit.bundle],
                        items=package.contents.get(unit.items, b""),
                        wall_ms=min(MAX_WALL_MS, 1000 * left),
                        setup_fuel=case.fuel_limit,
                        witness=True,
                    )
            finally:
                if unit.setup and not had:
                    await asyncio.to_thread(box.python.forget, unit.bundle, unit.setup)
