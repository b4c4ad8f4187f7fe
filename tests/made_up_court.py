"""A court in memory that keeps the contract's rules on who may do what and when, for the tests of jurors and openers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from surge.core.duty import Phase, commitment_of
from surge.core.keccak import keccak256
from surge.core.types import ZERO, Address
from surge.errors import LedgerError, Unavailable

COURT = Address("0x" + "c0" * 20)


@dataclass(frozen=True)
class Periods:
    answer_seconds: int = 100
    draw_seconds: int = 100
    commit_seconds: int = 100
    reveal_seconds: int = 10
    extend_seconds: int = 100
    fuel_per_second: int = 10**9


@dataclass
class Case:
    opener: Address
    accused: Address
    engine: bytes
    memory: int
    fuel_limit: int
    receipt: bytes
    deadline: int
    phase: int = Phase.ANSWER
    round: int = 1
    first: int = 0
    jurors: int = 5
    ordinal: int = 1
    commitment: bytes = ZERO
    link: bytes = ZERO
    outcome: int = 0


@dataclass
class Ballot:
    round: int
    commitment: bytes = ZERO
    answer: bytes = ZERO
    said: tuple[bytes, int, bytes] | None = None


@dataclass
class MadeUpCourt:
    """The court. Its clock is set by hand."""

    now: int = 1_000_000
    periods: Periods = field(default_factory=Periods)
    cases: dict[int, Case] = field(default_factory=dict)
    drawn_jurors: dict[int, list[Address]] = field(default_factory=dict)
    ballots: dict[tuple[int, Address], Ballot] = field(default_factory=dict)
    seats: dict[Address, dict[str, Any]] = field(default_factory=dict)
    dues: dict[Address, int] = field(default_factory=dict)
    collected: dict[Address, int] = field(default_factory=dict)
    away: bool = False
    calls: list[str] = field(default_factory=list)

    # For tests

    def open_case(self, *, opener: Address, receipt: bytes, engine: bytes, memory: int, fuel_limit: int, accused: Address) -> int:
        number = len(self.cases) + 1
        self.cases[number] = Case(opener, accused, engine, memory, fuel_limit, receipt, self.now + self.periods.answer_seconds)
        return number

    def draw_jury(self, number: int, jurors: Sequence[Address]) -> None:
        case = self.cases[number]
        case.phase, case.deadline, case.jurors = Phase.COMMIT, self.now + self.window(case), len(jurors)
        case.first = len(self.drawn_jurors.get(number, []))
        self.drawn_jurors[number] = [*self.drawn_jurors.get(number, []), *jurors]
        for juror in jurors:
            self.ballots[number, juror] = Ballot(case.round)

    def window(self, case: Case) -> int:
        return self.periods.commit_seconds + case.fuel_limit // self.periods.fuel_per_second

    def said(self, number: int, juror: Address) -> tuple[bytes, int, bytes] | None:
        return self.ballots[number, juror].said

    # As the ledger's client

    def _check(self, name: str) -> None:
        self.calls.append(name)
        if self.away:
            raise Unavailable("no endpoint answers")

    def _revert(self, reason: str) -> LedgerError:
        return LedgerError(f"the ledger reverts: court: {reason}", reason=f"court: {reason}")

    async def clock(self) -> int:
        self._check("clock")
        return self.now

    async def parameters(self) -> Periods:
        self._check("parameters")
        return self.periods

    async def drawn(self, juror: Address) -> list[int]:
        self._check("drawn")
        return [number for number, jurors in self.drawn_jurors.items() if juror in jurors]

    async def against(self, operator: Address) -> list[int]:
        self._check("against")
        return [number for number, case in self.cases.items() if case.accused == operator]

    async def case(self, case: int) -> Case:
        self._check("case")
        return replace(self.cases[case])

    async def jurors(self, case: int) -> list[Address]:
        self._check("jurors")
        return list(self.drawn_jurors.get(case, []))

    async def ballot(self, case: int, juror: Address) -> Ballot:
        self._check("ballot")
        return replace(self.ballots.get((case, juror), Ballot(0)))

    async def case_of(self, receipt: bytes) -> int:
        self._check("case_of")
        return next((number for number, case in self.cases.items() if case.receipt == receipt), 0)

    async def enlistment_of(self, juror: Address) -> int:
        self._check("enlistment_of")
        return 1 + list(self.seats).index(juror) if juror in self.seats else 0

    async def enlistment(self, number: int) -> Any:
        self._check("enlistment")

        class Enlistment:
            key: bytes = list(self.seats.values())[number - 1]["key"]

        return Enlistment

    async def enlist(self, signer: Any, **said: Any) -> str:
        self._check("enlist")
        if signer.address in self.seats:
            raise self._revert("enlisted already")
        self.seats[signer.address] = said
        return "0x"

    async def resign(self, signer: Any) -> str:
        self._check("resign")
        del self.seats[signer.address]
        return "0x"

    async def answer(self, signer: Any, case: int, link: bytes) -> str:
        self._check("answer")
        found = self.cases[case]
        if found.phase != Phase.ANSWER or self.now >= found.deadline:
            raise self._revert("too late")
        found.link, found.phase, found.deadline = link, Phase.DRAW, self.now + self.periods.draw_seconds
        return "0x"

    async def commit(self, signer: Any, case: int, commitment: bytes) -> str:
        self._check("commit")
        found, ballot = self.cases[case], self.ballots[case, signer.address]
        if found.phase != Phase.COMMIT or self.now >= found.deadline:
            raise self._revert("too late")
        if ballot.commitment != ZERO:
            raise self._revert("committed already")
        ballot.commitment = commitment
        jury = self.drawn_jurors[case][found.first :]
        if all(self.ballots[case, each].commitment != ZERO for each in jury):
            found.phase, found.deadline = Phase.REVEAL, self.now + self.periods.reveal_seconds
        return "0x"

    async def reveal(self, signer: Any, case: int, *, salt: bytes, result: bytes, fuel: int, witness: bytes) -> str:
        self._check("reveal")
        found, ballot = self.cases[case], self.ballots[case, signer.address]
        self._turn(found)
        if found.phase != Phase.REVEAL or self.now >= found.deadline:
            raise self._revert("not the time to reveal")
        if ballot.answer != ZERO or commitment_of(case, signer.address, salt, result, fuel, witness) != ballot.commitment:
            raise self._revert("not what was committed to")
        ballot.answer, ballot.said = keccak256(result + fuel.to_bytes(32, "big") + witness), (result, fuel, witness)
        return "0x"

    def _turn(self, case: Case) -> None:
        if case.phase == Phase.COMMIT and self.now >= case.deadline:
            case.phase, case.deadline = Phase.REVEAL, case.deadline + self.periods.reveal_seconds

    async def advance(self, signer: Any, case: int) -> str:
        self._check("advance")
        found = self.cases[case]
        self._turn(found)
        if found.phase == Phase.REVEAL and self.now >= found.deadline:
            found.phase = Phase.OVER
            return "0x"
        raise self._revert("nothing to move")

    async def owed(self, account: Address) -> int:
        self._check("owed")
        return self.dues.get(account, 0)

    async def collect(self, signer: Any) -> str:
        self._check("collect")
        self.collected[signer.address] = self.collected.get(signer.address, 0) + self.dues.pop(signer.address)
        return "0x"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
