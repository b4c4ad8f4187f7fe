"""A court in memory that keeps the contract's rules on who may do what and when, for the tests of jurors and openers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from provider_world import NETWORK
from surge.core.court import UNAVAILABLE, Answer, CourtParameters, Filing, Outcome, Phase, commitment, secret_commitment
from surge.core.settling import tally
from surge.core.types import ZERO, Address
from surge.errors import InvalidInput, LedgerError, Unavailable

COURT = Address("0x" + "c0" * 20)


PERIODS = CourtParameters(
    answer_seconds=100, draw_seconds=100, commit_seconds=100, reveal_seconds=10, extend_seconds=100, fuel_per_second=10**9
)


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
    committed: int = 0
    revealed: int = 0
    answers: int = 0
    lead_kind: int = 0


@dataclass
class Ballot:
    round: int
    enlistment: int = 0
    commitment: bytes = ZERO
    answer: bytes = ZERO
    said: Answer | None = None


@dataclass
class MadeUpCourt:
    """The court. Its clock is set by hand."""

    now: int = 1_000_000
    periods: CourtParameters = PERIODS
    cases: dict[int, Case] = field(default_factory=dict)
    drawn_jurors: dict[int, list[Address]] = field(default_factory=dict)
    ballots: dict[tuple[int, Address], Ballot] = field(default_factory=dict)
    seats: dict[Address, dict[str, Any]] = field(default_factory=dict)
    dues: dict[Address, int] = field(default_factory=dict)
    collected: dict[Address, int] = field(default_factory=dict)
    jury: list[Address] = field(default_factory=list)
    """Whom the next draw finds."""
    secrets: list[bytes] = field(default_factory=list)
    """What openers told."""
    claims: list[Filing] = field(default_factory=list)
    sent: set[bytes] = field(default_factory=set)
    """Commitments in transactions that were written down."""
    refuse: str = ""
    """Why no case is taken."""
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
            self.ballots[number, juror] = Ballot(case.round, 1 + list(self.seats).index(juror) if juror in self.seats else 0)

    def window(self, case: Case) -> int:
        return self.periods.commit_window(case.fuel_limit)

    def said(self, number: int, juror: Address) -> Answer | None:
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

    async def parameters(self) -> CourtParameters:
        self._check("parameters")
        return self.periods

    async def duties(self, juror: Address) -> list[int]:
        self._check("duties")
        return [number for number, jurors in self.drawn_jurors.items() if juror in jurors]

    async def against(self, operator: Address) -> list[int]:
        self._check("against")
        return [number for number, case in self.cases.items() if case.accused == operator]

    async def case(self, case: int) -> Case:
        self._check("case")
        if case not in self.cases:
            raise InvalidInput(f"there is no case {case}")
        return replace(self.cases[case])

    async def jurors(self, case: int) -> list[Address]:
        self._check("jurors")
        return list(self.drawn_jurors.get(case, []))

    async def ballot(self, case: int, juror: Address) -> Ballot:
        self._check("ballot")
        return replace(self.ballots.get((case, juror), Ballot(0)))

    def wrote(self, commitment: bytes) -> bool:
        return commitment in self.sent

    async def case_of(self, receipt: bytes) -> int | None:
        self._check("case_of")
        return next((number for number, case in self.cases.items() if case.receipt == receipt), None)

    async def enlistment_of(self, juror: Address) -> int | None:
        self._check("enlistment_of")
        return 1 + list(self.seats).index(juror) if juror in self.seats else None

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

    async def commit(self, signer: Any, case: int, salt: bytes, answer: Answer) -> str:
        self._check("commit")
        digest = commitment(case, signer.address, salt, answer)
        found, ballot = self.cases[case], self.ballots[case, signer.address]
        if found.phase != Phase.COMMIT or self.now >= found.deadline:
            raise self._revert("too late")
        if ballot.commitment != ZERO:
            raise self._revert("committed already")
        ballot.commitment = digest
        found.committed += 1
        jury = self.drawn_jurors[case][found.first :]
        if all(self.ballots[case, each].commitment != ZERO for each in jury):
            found.phase, found.deadline = Phase.REVEAL, self.now + self.periods.reveal_seconds
        return "0x"

    async def reveal(self, signer: Any, case: int, salt: bytes, answer: Answer) -> str:
        self._check("reveal")
        found, ballot = self.cases[case], self.ballots[case, signer.address]
        self._turn(found)
        if found.phase != Phase.REVEAL or self.now >= found.deadline:
            raise self._revert("not the time to reveal")
        if ballot.answer != ZERO or commitment(case, signer.address, salt, answer) != ballot.commitment:
            raise self._revert("not what was committed to")
        ballot.answer, ballot.said = answer.digest, answer
        found.revealed += 1
        return "0x"

    def _turn(self, case: Case) -> None:
        if case.phase == Phase.COMMIT and self.now >= case.deadline:
            case.phase, case.deadline = Phase.REVEAL, case.deadline + self.periods.reveal_seconds

    async def advance(self, signer: Any, case: int) -> str:
        self._check("advance")
        found = self.cases[case]
        self._turn(found)
        late = self.now >= found.deadline
        if found.phase == Phase.REVEAL and (late or found.committed == found.revealed):
            self._tally(case)
        elif found.phase in (Phase.ANSWER, Phase.DRAW, Phase.EXTEND) and late:
            stands = Outcome.NO_INPUTS if found.lead_kind == Outcome.NO_INPUTS else Outcome.UNRESOLVED
            found.outcome = {Phase.ANSWER: Outcome.NO_LINK, Phase.DRAW: Outcome.NO_SECRET}.get(Phase(found.phase), stands)
            found.phase = Phase.OVER
        else:
            raise self._revert("nothing to move")
        return "0x"

    def _tally(self, number: int) -> None:
        """What most of those who ran the unit found is what the opener claims; that of the accused is not known here."""
        case = self.cases[number]
        said = [self.said(number, juror) for juror in self.drawn_jurors[number][case.first :]]
        best = max((each for each in said if each not in (None, UNAVAILABLE)), key=said.count, default=UNAVAILABLE)
        assert best is not None
        found = tally([*said, *[None] * (case.jurors - len(said))], own=(ZERO, -1), claimed=(best.result, best.fuel))
        case.answers = len({each for each in said if each not in (None, UNAVAILABLE)})
        case.lead_kind = int(found.kind or 0)
        if found.verdict is not None:
            case.phase, case.outcome = Phase.OVER, found.verdict
        else:
            case.phase, case.deadline = Phase.EXTEND, self.now + self.periods.extend_seconds

    async def open(self, signer: Any, filing: Filing) -> int:
        self._check("open")
        if self.refuse:
            raise self._revert(self.refuse)
        receipt = filing.signed.receipt.digest(NETWORK.channels_domain)
        if any(each.receipt == receipt for each in self.cases.values()):
            raise self._revert("disputed before")
        number = self.open_case(
            opener=signer.address, receipt=receipt, engine=filing.terms.engine, memory=filing.memory, fuel_limit=filing.fuel_limit,
            accused=Address("0x" + "ac" * 20),
        )  # fmt: skip
        self.cases[number].commitment = secret_commitment(filing.secret)
        self.cases[number].jurors = filing.jurors
        self.claims.append(filing)
        return number

    async def draw(self, signer: Any, case: int, secret: bytes) -> str:
        self._check("draw")
        found = self.cases[case]
        if found.phase != Phase.DRAW or self.now >= found.deadline:
            raise self._revert("not the time to draw")
        if secret_commitment(secret) != found.commitment:
            raise self._revert("not the secret")
        self.secrets.append(secret)
        self.draw_jury(case, self.jury)
        return "0x"

    async def extend(self, signer: Any, case: int, secret: bytes) -> str:
        self._check("extend")
        digest = secret_commitment(secret)
        found = self.cases[case]
        if found.phase != Phase.EXTEND or self.now >= found.deadline or digest == found.commitment:
            raise self._revert("not the time to extend")
        found.round, found.commitment, found.phase = found.round + 1, digest, Phase.ANSWER
        found.committed = found.revealed = found.answers = 0
        found.deadline = self.now + self.periods.answer_seconds
        return "0x"

    async def owed(self, account: Address) -> int:
        self._check("owed")
        return self.dues.get(account, 0)

    async def collect(self, signer: Any) -> str:
        self._check("collect")
        self.collected[signer.address] = self.collected.get(signer.address, 0) + self.dues.pop(signer.address)
        return "0x"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
