"""Whatever openers, accused, jurors and strangers do or stop doing, in whatever order: the court's money is somebody's, or burnt."""

from __future__ import annotations

import boa
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from contracts_support import BUYER, OPERATOR, STRANGER, deploy
from court_support import ETHER, FALSE, FEE, JURORS, LIMIT, PARAMETERS, THIRD, TRUE, UNAVAILABLE, Courthouse, found_court
from surge.core import court as rules
from surge.core import settling
from surge.core.court import Outcome, Phase
from surge.core.keccak import keccak256
from surge.core.types import address

SITTING = 24
ANSWERS = st.sampled_from([TRUE, TRUE, TRUE, FALSE, THIRD, UNAVAILABLE])
JURIES = st.one_of(st.lists(ANSWERS, min_size=15, max_size=15), ANSWERS.map(lambda answer: [answer] * 15))
"""Jurors who say anything, and jurors who agree: else no larger jury would give a verdict, and nobody be fined."""


@pytest.fixture
def machine(deployers):
    class Court(RuleBasedStateMachine):
        ids = Bundle("ids")

        def __init__(self) -> None:
            super().__init__()
            self.anchor = boa.env.anchor()
            self.anchor.__enter__()
            self.house: Courthouse = found_court(deploy(deployers), deployers)
            self.secrets: dict[int, list[bytes]] = {}
            self.said: dict[tuple[int, str], object] = {}
            self.slashed: dict[int, int] = {}
            self.released = False

        @initialize(bond=st.integers(1, 40 * ETHER))
        def begin(self, bond: int) -> None:
            for who in JURORS[:SITTING]:
                self.house.enlist(who, 3)  # for several cases at once, and for a jury of fifteen
            boa.env.time_travel(seconds=10)
            self.house.accuse(bond)

        def teardown(self) -> None:
            try:
                self.finish()
            finally:
                self.anchor.__exit__(None, None, None)

        def secret(self, case: int) -> bytes:
            return self.secrets[case][-1]

        @rule(target=ids, worth=st.integers(1, 3 * FEE), answer=st.sampled_from([FALSE, THIRD]))
        def open(self, worth: int, answer) -> int:
            secret = keccak256(len(self.secrets).to_bytes(32, "big"))
            case = self.house.open(self.house.disputed(answer), worth=worth, secret=secret)
            self.secrets[case] = [secret]
            return case

        @rule(case=ids, forward=st.integers(0, 3))
        def answer(self, case: int, forward: int) -> None:
            found = self.house.state(case)
            timely = found.phase == Phase.ANSWER and boa.env.evm.patch.timestamp < found.deadline
            if timely and forward:
                self.house.court.answer(case, self.house.link(found.ordinal))
            else:
                with boa.reverts():
                    self.house.court.answer(case, self.house.link(found.ordinal + 1))

        @rule(case=ids)
        def draw(self, case: int) -> None:
            found = self.house.state(case)
            if found.phase == Phase.DRAW and boa.env.evm.patch.timestamp < found.deadline:
                self.house.court.draw(case, self.secret(case))
            else:
                with boa.reverts():
                    self.house.court.draw(case, self.secret(case))

        @rule(case=ids, answers=st.lists(st.one_of(ANSWERS, st.none()), min_size=15, max_size=15))
        def commit(self, case: int, answers) -> None:
            found = self.house.state(case)
            if found.phase != Phase.COMMIT or boa.env.evm.patch.timestamp >= found.deadline:
                with boa.reverts():
                    self.house.commit(case, JURORS[0], TRUE)
                return
            for who, answer in zip(self.house.jury(case), answers, strict=False):
                if answer is not None and (case, who.address) not in self.said:
                    self.house.commit(case, who, answer)
                    self.said[case, who.address] = answer

        @rule(case=ids, count=st.integers(1, 15))
        def reveal(self, case: int, count: int) -> None:
            found = self.house.state(case)
            now = boa.env.evm.patch.timestamp
            phase, deadline = rules.phase_at(found.phase, found.deadline, now, PARAMETERS.reveal_seconds) if found.phase else (0, 0)
            for who in self.house.jury(case)[:count]:
                answer = self.said.get((case, who.address))
                shown = self.house.court.ballot(case, who.address).answer != bytes(32)
                if phase == Phase.REVEAL and now < deadline and answer is not None and not shown:
                    self.house.reveal(case, who, answer)
                else:
                    with boa.reverts():
                        self.house.reveal(case, who, answer or TRUE)

        @rule(case=ids, steps=st.sampled_from([1, 4, 9, 9]), answers=JURIES, agreed=ANSWERS)
        def go_on(self, case: int, steps: int, answers, agreed) -> None:
            """What those who keep to the rules do next; a second jury agrees."""
            for _ in range(steps):
                phase = self.house.state(case).phase
                if phase == Phase.ANSWER:
                    self.answer(case, 1)
                elif phase == Phase.DRAW:
                    self.draw(case)
                elif phase == Phase.COMMIT:
                    self.commit(case, answers if self.house.state(case).round == 1 else [agreed] * 15)
                    self.advance(case)
                elif phase == Phase.REVEAL:
                    self.reveal(case, 15)
                    self.advance(case)
                elif phase == Phase.EXTEND:
                    self.extend(case)
                if boa.env.evm.patch.timestamp >= self.house.state(case).deadline:
                    self.advance(case)

        @rule(liars=st.integers(1, 4), agreed=st.sampled_from([TRUE, FALSE]))
        def split_jury(self, liars: int, agreed) -> None:
            """A case whose first jury disagrees, and whose second does not, as far as there are seats for it."""
            case = self.open(FEE, FALSE)
            self.go_on(case, 9, [THIRD] * liars + [agreed] * 14, agreed)

        @rule(case=ids)
        def extend(self, case: int) -> None:
            found = self.house.state(case)
            secret = keccak256(self.secret(case))
            with boa.env.prank(BUYER.address):
                if found.phase == Phase.EXTEND and boa.env.evm.patch.timestamp < found.deadline:
                    self.house.court.extend(case, rules.secret_commitment(secret))
                    self.secrets[case].append(secret)
                else:
                    with boa.reverts():
                        self.house.court.extend(case, rules.secret_commitment(secret))

        @rule(case=ids)
        def advance(self, case: int) -> None:
            with boa.env.prank(STRANGER.address):
                found = self.house.state(case)
                now = boa.env.evm.patch.timestamp
                phase, deadline = rules.phase_at(found.phase, found.deadline, now, PARAMETERS.reveal_seconds)
                heard = phase == Phase.REVEAL and found.revealed == found.committed
                if phase != Phase.OVER and (now >= deadline or heard):
                    self.house.court.advance(case)
                else:
                    with boa.reverts("court: nothing to move"):
                        self.house.court.advance(case)

        @rule(seconds=st.sampled_from([1, 60, 115, 135, 260]))
        def wait(self, seconds: int) -> None:
            boa.env.time_travel(seconds=seconds)

        @rule(who=st.sampled_from(JURORS[:SITTING]))
        def come_or_go(self, who) -> None:
            with boa.env.prank(who.address):
                if self.house.court.enlistment_of(who.address):
                    self.house.court.resign()
                elif self.house.bonds.free_bond(who.address) >= PARAMETERS.seat_stake:
                    self.house.court.enlist(1, [b"\x0e" * 32], 1 << 30, LIMIT, b"\x09" * 32)

        @rule()
        def unbond(self) -> None:
            shares, worth, _ = self.house.bonds.position(OPERATOR.address, OPERATOR.address)
            if worth > 10:
                with boa.env.prank(OPERATOR.address):
                    self.house.bonds.unstake(OPERATOR.address, shares // 2)

        @rule(who=st.sampled_from([BUYER, OPERATOR, *JURORS[:SITTING]]))
        def collect(self, who) -> None:
            owed = self.house.owed(who)
            with boa.env.prank(who.address):
                if owed:
                    assert self.house.court.collect() == owed
                else:
                    with boa.reverts("dues: nothing owed"):
                        self.house.court.collect()

        def everybody(self) -> list:
            return [BUYER, OPERATOR, STRANGER, *JURORS[:SITTING]]

        @invariant()
        def the_court_holds_what_it_owes_and_what_open_cases_took_in(self) -> None:
            owed = sum(self.house.owed(who) for who in self.everybody())
            cases = [self.house.state(case) for case in self.secrets]
            assert self.house.place.balance(self.house.court) == owed + sum(
                each.bond + each.pot for each in cases if each.phase != Phase.OVER
            )

        @invariant()
        def what_is_reserved_is_for_open_cases_and_seats(self) -> None:
            reserved: dict[str, int] = {}
            for each in map(self.house.state, self.secrets):
                if each.phase != Phase.OVER:
                    who = address(each.accused)
                    reserved[who] = reserved.get(who, 0) + each.reserved
            for seat in self.house.enlistments().values():
                reserved[seat.juror] = reserved.get(seat.juror, 0) + seat.stake
            for who in self.everybody():
                assert self.house.bonds.reserved_by(self.house.court.address, who.address) == reserved.get(who.address, 0)

        @invariant()
        def a_juror_loses_a_fee_or_one_fine_in_each_case_and_who_told_the_truth_or_had_no_inputs_no_fine_of_a_true_verdict(self) -> None:
            """Here fines are 15 fees in the first jury, 45 in the second; a case with a third is never heard, for want of jurors."""
            most: dict[str, int] = {}
            for case in self.secrets:
                found = self.house.state(case)
                for who in map(address, self.house.court.jurors(case)):
                    said, ballot = self.said.get((case, who)), self.house.court.ballot(case, who)
                    fined = found.outcome in settling.VERDICTS and ballot.answer not in (bytes(32), found.lead, UNAVAILABLE.digest)
                    fine = 15 * FEE if ballot.round == 1 else 45 * FEE
                    if said == TRUE and found.outcome == Outcome.CONVICTED and found.lead == TRUE.digest:
                        assert not fined
                    most[who] = most.get(who, 0) + (fine if fined else FEE if ballot.answer == bytes(32) else 0)
            lost = {}
            for seat in self.house.enlistments().values():
                lost[seat.juror] = lost.get(seat.juror, 0) + seat.seats * PARAMETERS.seat_stake - seat.stake
            if not self.released:
                assert all(wei <= most.get(who, 0) for who, wei in lost.items())
            event(f"fined: {any(wei >= 15 * FEE for wei in lost.values())}")

        def finish(self) -> None:
            """After everything is moved to its end nothing is left but what is owed, and no bond is held."""
            if not self.house.links:
                return
            for case in self.secrets:
                for _ in range(4):
                    found = self.house.state(case)
                    if found.phase == Phase.OVER:
                        break
                    boa.env.time_travel(seconds=PARAMETERS.longest_case)
                    self.house.court.advance(case)
                assert found.phase == Phase.OVER
                assert found.outcome in set(Outcome)
                event(Outcome(found.outcome).name)
            for who in self.everybody():
                if self.house.court.enlistment_of(who.address):
                    with boa.env.prank(who.address):
                        self.house.court.resign()
            self.released = True
            boa.env.time_travel(seconds=PARAMETERS.longest_case + 1)
            for number, seat in self.house.enlistments().items():
                if seat.stake:
                    self.house.court.release_seats(number)
            for who in self.everybody():
                assert self.house.bonds.reserved_by(self.house.court.address, who.address) == 0
                assert self.house.court.debts(who.address) == 0
                if self.house.owed(who):
                    with boa.env.prank(who.address):
                        self.house.court.collect()
            assert self.house.place.balance(self.house.court) == 0

    return Court


@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_the_courts_money_is_always_somebodys(machine, examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phases.generate]
        ),
    )
