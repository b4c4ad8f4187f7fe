"""Whatever is worked, claimed and scheduled, in whatever order: nobody gains by paying fees, and nothing unearned is minted."""

from __future__ import annotations

import boa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from contracts.test_emissions import DECAY, ETHER, FIRST, found
from contracts_support import OPERATOR, OWNER, STRANGER, deploy, key
from surge.core.emission import MAX_DECAY, MAX_WORK_BPS, MIN_DECAY

PEOPLE = [OPERATOR, key(500), key(501)]


@pytest.fixture
def machine(deployers):
    class Emissions(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.anchor = boa.env.anchor()
            self.anchor.__enter__()
            self.place = deploy(deployers)
            self.mint = found(deployers, self.place)
            self.start = self.mint.epoch()
            self.supply = self.place.token.totalSupply()
            self.fees: dict[tuple[int, str], int] = {}
            self.minted: dict[tuple[int, str], int] = {}
            self.frozen: dict[int, tuple] = {}
            self.number = 0

        def teardown(self) -> None:
            self.anchor.__exit__(None, None, None)

        @rule(who=st.sampled_from(PEOPLE), fee=st.integers(1, ETHER // 10))
        def work(self, who, fee: int) -> None:
            self.number += 1
            epoch = self.mint.work(who, fee, self.number)
            self.fees[epoch, who.address] = self.fees.get((epoch, who.address), 0) + fee

        @rule(who=st.sampled_from(PEOPLE), back=st.integers(0, 3))
        def claim(self, who, back: int) -> None:
            epoch = self.mint.epoch() - back
            if self.mint.emissions.claimable(who.address, epoch):
                amount = self.mint.claim(who, epoch)
                self.minted[epoch, who.address] = self.minted.get((epoch, who.address), 0) + amount
                assert (epoch, who.address) in self.fees
            else:
                with boa.reverts():
                    self.mint.claim(who, epoch)

        @rule(budget=st.integers(0, FIRST), decay=st.integers(MIN_DECAY, MAX_DECAY), work_bps=st.integers(0, MAX_WORK_BPS))
        def schedule(self, budget: int, decay: int, work_bps: int) -> None:
            with boa.env.prank(OWNER.address):
                self.mint.emissions.schedule(budget, decay, work_bps)
            with boa.reverts("ownable: caller is not the owner"), boa.env.prank(STRANGER.address):
                self.mint.emissions.schedule(budget, DECAY, work_bps)

        @rule(count=st.integers(1, 3))
        def wait(self, count: int) -> None:
            self.mint.next_epoch(count)

        @invariant()
        def nobody_is_paid_more_than_a_part_of_the_fees_it_brought_in(self) -> None:
            for known, amount in self.minted.items():
                assert amount <= self.fees[known] * MAX_WORK_BPS // 10_000 < self.fees[known]

        @invariant()
        def an_epochs_rewards_are_within_its_budget(self) -> None:
            for epoch in {epoch for epoch, _ in self.minted}:
                total = sum(amount for (each, _), amount in self.minted.items() if each == epoch)
                assert total <= self.mint.emissions.budget(epoch)

        @invariant()
        def what_is_not_earned_is_not_minted_and_the_cap_is_kept(self) -> None:
            assert self.place.token.totalSupply() == self.supply + sum(self.minted.values()) <= self.place.token.cap()
            assert self.place.balance(self.mint.emissions) == 0

        @invariant()
        def the_numbers_of_what_began_stay(self) -> None:
            for epoch in range(self.start, self.mint.epoch() + 1):
                numbers = (tuple(self.mint.emissions.schedule_of(epoch)), self.mint.emissions.budget(epoch))
                assert self.frozen.setdefault(epoch, numbers) == numbers

    return Emissions


def test_nobody_gains_by_paying_fees_and_nothing_unearned_is_minted(machine) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phases.generate],
        ),
    )
