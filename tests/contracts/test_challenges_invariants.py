"""Whatever challengers, holders, keepers and stakers do or stop doing: fees are conserved, slashes bounded, and nothing is stuck."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import boa
import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bonds_support import JUDGE
from challenges_support import CHALLENGER, ETHER, KEEPER, NUMBERS, OTHER, Storage, found_challenges
from contracts_support import BUYER, DEVICE, OPERATOR, OWNER, STRANGER, UNBONDING, deploy

EVERYBODY = (BUYER, CHALLENGER, KEEPER, OPERATOR, OTHER, STRANGER)


@pytest.fixture
def machine(deployers):
    class Challenging(RuleBasedStateMachine):
        ids = Bundle("ids")

        def __init__(self) -> None:
            super().__init__()
            self.anchor = boa.env.anchor()
            self.anchor.__enter__()
            self.open: dict[int, tuple] = {}
            """The pledge, the index and the fee of each challenge that is open."""
            self.slashed: Counter[bytes] = Counter()
            self.of_deal: Counter[bytes] = Counter()
            self.dearest: Counter[bytes] = Counter()
            self.collected = self.charged = self.owners = 0
            self.tickets: list[int] = []

        @initialize(bond=st.sampled_from((0, 1_000_003, 3 * ETHER, 40 * ETHER, 40 * ETHER)))
        def begin(self, bond: int) -> None:
            self.storage: Storage = found_challenges(deploy(deployers), deployers, bond)
            self.storage.by(OWNER, self.storage.bonds, "set_slasher", JUDGE.address)

        def teardown(self) -> None:
            try:
                self.finish()
            finally:
                self.anchor.__exit__(None, None, None)

        @rule(
            target=ids,
            deal=st.integers(0, 4),
            index=st.integers(0, 97),
            penalty=st.sampled_from((NUMBERS.least_penalty, 3 * ETHER, NUMBERS.most_penalty)),
            who=st.sampled_from((CHALLENGER, OTHER)),
        )
        def challenge(self, deal: int, index: int, penalty: int, who) -> int:
            storage = self.storage
            step = NUMBERS.period_seconds
            starts = storage.now // step * step
            pledge = storage.pledge(deal, penalty=penalty, starts=starts, until=starts + 2 * step)
            before = storage.reserved(), storage.bonds.bond_of(OPERATOR.address) // 4
            fee = storage.contract.fee()
            try:
                number = storage.challenge(pledge, index, who)
            except boa.BoaError:
                digest = pledge.digest(storage.domain)
                assert storage.contract.failed(digest) or storage.contract.released(KEEPER.address, pledge.deal)
                return 0
            self.open[number] = pledge, index, fee
            self.charged += fee
            assert storage.reserved() <= max(before), "a quarter of the bond at most"
            return number

        @rule(number=ids, wrong=st.integers(0, 4))
        def answer(self, number: int, wrong: int) -> None:
            if number not in self.open:
                return
            pledge, index, fee = self.open[number]
            timely = self.storage.now < self.storage.contract.open_challenge(number).deadline
            if not timely or not wrong:
                with boa.reverts():
                    self.storage.answer(number, pledge, index if wrong else (index + 1) % 98)
                return
            before, bond = self.storage.owed(OPERATOR), self.bond_and_debt()
            self.storage.answer(number, pledge, index)
            assert self.storage.owed(OPERATOR) == before + fee
            self.only_debts_were_taken(bond)
            event("answered")
            del self.open[number]

        @rule(number=ids, chance=st.integers(0, 3))
        def release(self, number: int, chance: int) -> None:
            if number not in self.open or chance:
                return
            pledge, _, _ = self.open[number]
            if self.storage.now >= self.storage.contract.open_challenge(number).deadline:
                with boa.reverts("challenges: too late"):
                    self.storage.release(number, pledge)
                return
            bond = self.bond_and_debt()
            self.storage.release(number, pledge)
            self.only_debts_were_taken(bond)
            event("released")
            del self.open[number]

        @rule(number=ids)
        def settle(self, number: int) -> None:
            if number not in self.open:
                return
            storage = self.storage
            pledge, _, fee = self.open[number]
            before, bond = self.gained(), self.bond_and_debt()
            due = storage.contract.open_challenge(number).deadline <= storage.now
            over = storage.contract.failed(pledge.digest(storage.domain)) or storage.contract.released(KEEPER.address, pledge.deal)
            if not due and not over:
                with boa.reverts("challenges: deadline not passed"):
                    storage.settle(number, pledge)
                return
            slashed = storage.settle(number, pledge)
            del self.open[number]
            digest = pledge.digest(storage.domain)
            self.slashed[digest] += slashed
            assert self.slashed[digest] <= pledge.penalty, "once, and no more than the penalty"
            self.dearest[pledge.deal] = max(self.dearest[pledge.deal], pledge.penalty)
            self.of_deal[pledge.deal] += slashed
            assert self.of_deal[pledge.deal] <= self.dearest[pledge.deal], "all pledges for a deal together as much as the dearest"
            assert slashed == 0 or not over
            if over:
                self.only_debts_were_taken(bond)
            else:
                taken, debt = bond[0] - storage.bonds.bond_of(OPERATOR.address), bond[1]
                assert slashed <= taken <= slashed + debt, "what was said is what was taken, and what was owed"
            owners = self.gained() - before - fee
            assert 0 <= owners <= slashed // 2, "half is burnt at least"
            self.owners += owners
            event("failed" if slashed else "settled for nothing")

        def bond_and_debt(self) -> tuple[int, int]:
            return self.storage.bonds.bond_of(OPERATOR.address), self.storage.contract.debts(OPERATOR.address)

        def only_debts_were_taken(self, before: tuple[int, int]) -> None:
            bond, debt = self.bond_and_debt()
            assert before[0] - bond == before[1] - debt, "nothing is slashed but what is owed for a challenge that failed"

        def gained(self) -> int:
            return sum(self.storage.owed(who) for who in EVERYBODY) + self.collected

        @rule(deal=st.integers(0, 4), penalty=st.sampled_from((3 * ETHER, NUMBERS.most_penalty)))
        def nobody_answers(self, deal: int, penalty: int) -> None:
            number = self.challenge(deal, 0, penalty, OTHER)
            self.time_goes_by(NUMBERS.deadline_seconds)
            self.settle(number)

        @rule(who=st.sampled_from(EVERYBODY))
        def collect(self, who) -> None:
            owed, held = self.storage.owed(who), self.storage.place.balance(who)
            if owed:
                self.storage.by(who, self.storage.contract, "collect")
                self.collected += owed
            assert self.storage.place.balance(who) == held + owed

        @rule(fee=st.sampled_from((NUMBERS.least_fee, NUMBERS.fee, NUMBERS.most_fee)))
        def set_fee(self, fee: int) -> None:
            self.storage.by(OWNER, self.storage.contract, "set_fee", fee)

        @rule(amount=st.sampled_from((7, ETHER, 20 * ETHER + 1)), own=st.booleans())
        def stake(self, amount: int, own: bool) -> None:
            self.storage.stake(amount, OPERATOR if own else OTHER)

        @rule(part=st.sampled_from((1, 2, 5)))
        def unstake(self, part: int) -> None:
            shares, pool = (
                self.storage.bonds.position(OPERATOR.address, OPERATOR.address)[0] // part,
                self.storage.bonds.pool(OPERATOR.address),
            )
            if shares > 1_000 and shares * pool.assets // (pool.shares + 1_000) > 0:  # what is worth nothing does not leave
                self.tickets.append(self.storage.by(OPERATOR, self.storage.bonds, "unstake", OPERATOR.address, shares))

        @rule()
        def withdraw(self) -> None:
            for ticket in self.tickets:
                if 0 < self.storage.bonds.tickets(ticket).ready_at <= self.storage.now and self.storage.bonds.free_bond(OPERATOR.address):
                    try:
                        self.storage.by(OPERATOR, self.storage.bonds, "withdraw", ticket)
                    except boa.BoaError:
                        assert self.storage.bonds.pool(OPERATOR.address).reserved > 0

        @rule(part=st.integers(1, 3))
        def another_slasher_holds_some(self, part: int) -> None:
            self.storage.by(JUDGE, self.storage.bonds, "reserve", OPERATOR.address, self.storage.bonds.free_bond(OPERATOR.address) // part)

        @rule()
        def another_slasher_lets_go(self) -> None:
            self.storage.by(
                JUDGE, self.storage.bonds, "release", OPERATOR.address, self.storage.bonds.reserved_by(JUDGE.address, OPERATOR.address)
            )

        @rule(seconds=st.sampled_from((1, 40, NUMBERS.deadline_seconds, UNBONDING)))
        def time_goes_by(self, seconds: int) -> None:
            self.storage.wait(seconds)

        @invariant()
        def the_contract_holds_what_it_owes_and_open_fees(self) -> None:
            if not hasattr(self, "storage"):
                return
            owed = sum(self.storage.owed(who) for who in EVERYBODY)
            fees = sum(fee for _, _, fee in self.open.values())
            assert self.storage.held() == owed + fees
            assert owed + self.collected == self.charged - fees + self.owners, "fees are conserved"

        @invariant()
        def what_is_reserved_is_for_open_challenges_and_covers_debts(self) -> None:
            if not hasattr(self, "storage"):
                return
            reserved = sum(self.storage.contract.open_challenge(number).reserved for number in self.open)
            assert self.storage.reserved() == reserved
            assert self.storage.contract.debts(OPERATOR.address) <= reserved

        def finish(self) -> None:
            """Once everything is settled and collected nothing is left, and no bond is held."""
            if not hasattr(self, "storage"):
                return
            self.storage.wait()
            for number in list(self.open):
                self.settle(number)
            for who in EVERYBODY:
                self.collect(who)
            assert self.storage.held() == self.storage.reserved() == self.storage.contract.debts(OPERATOR.address) == 0
            assert self.collected == self.charged + self.owners
            pledge = replace(self.storage.pledge(9), starts=self.storage.now, until=self.storage.now)
            assert self.storage.challenge(pledge, signer=DEVICE) == self.storage.contract.challenge_count()

    return Challenging


@pytest.mark.timeout(300)
def test_challenges_hold_their_invariants_in_any_order(machine) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
        ),
    )
