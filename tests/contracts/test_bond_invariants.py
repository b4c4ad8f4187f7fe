"""Whatever stakers, operators, payers and the judge do in whatever order, the bonds' invariants hold."""

from __future__ import annotations

from collections import Counter

import boa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bonds_support import ALICE, BOB, ETHER, JUDGE, Bonds, now, wait
from contracts_support import OPERATOR, STRANGER, UNBONDING, deploy, rich

STAKERS = (OPERATOR, ALICE, BOB)
"""The first is an operator itself; the others stake behind it and behind Bob."""

people = st.sampled_from(STAKERS)
operators = st.sampled_from((OPERATOR, BOB))
amounts = st.one_of(st.integers(1, 2_000), st.integers(1, 100 * ETHER))
parts = st.sampled_from((1, 2, 3, 7, 1_000))


@pytest.fixture
def machine(deployers):
    class Staking(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.anchor = boa.env.anchor()
            self.anchor.__enter__()
            self.place = deploy(deployers, min_bond=ETHER)
            rich(self.place, *STAKERS, STRANGER, tokens=10**23)
            self.bonds = Bonds(self.place)
            self.bonds.judge()
            self.put: Counter[tuple[str, str]] = Counter()
            """Wei that went in as stake, by operator and staker."""
            self.taken: Counter[tuple[str, str]] = Counter()
            self.shared: Counter[str] = Counter()
            self.claimed: Counter[str] = Counter()
            self.tickets: dict[int, tuple] = {}
            self.donated = self.burnt = self.steps = 0

        def teardown(self) -> None:
            self.anchor.__exit__(None, None, None)

        @rule(who=people, behind=operators, amount=amounts)
        def stake(self, who, behind, amount: int) -> None:
            self.bonds.stake(who, amount, behind)
            self.put[behind.address, who.address] += amount

        @rule(who=people, behind=operators, part=parts)
        def unstake(self, who, behind, part: int) -> None:
            shares = self.bonds.shares(who, behind) // part
            before = self.bonds.contract.bond_of(behind.address)
            try:
                ticket = self.bonds.unstake(who, shares, behind)
            except boa.BoaError:
                assert shares * (self.bonds.pool(behind).assets + 1) < self.bonds.pool(behind).shares + 1_000, "worth less than a wei"
                return
            assert self.bonds.contract.bond_of(behind.address) == before, "what leaves is as much a bond"
            self.tickets[ticket] = (who, behind, now() + UNBONDING)

        @rule(data=st.data())
        def withdraw(self, data) -> None:
            if not self.tickets:
                return
            ticket = data.draw(st.sampled_from(sorted(self.tickets)))
            who, behind, ready = self.tickets[ticket]
            free, worth = self.bonds.contract.free_bond(behind.address), self.bonds.contract.leaving(ticket)
            held = self.place.balance(who)
            if now() < ready:
                with boa.reverts("bonds: not ready"):
                    self.bonds.withdraw(who, ticket)
                return
            try:
                got = self.bonds.withdraw(who, ticket)
            except boa.BoaError:
                assert self.bonds.pool(behind).reserved > 0, "only a reserve holds what is ready"
                return
            assert got == self.place.balance(who) - held <= min(free, worth)
            self.taken[behind.address, who.address] += got
            if int(str(self.bonds.contract.tickets(ticket)[0]), 16) == 0:
                del self.tickets[ticket]

        @rule(behind=operators, amount=amounts)
        def pay(self, behind, amount: int) -> None:
            before = self.place.balance(behind)
            self.bonds.by(STRANGER, "pay", behind.address, amount)
            self.shared[behind.address] += amount - (self.place.balance(behind) - before)

        @rule(behind=operators, amount=amounts)
        def pay_for_work(self, behind, amount: int) -> None:
            retained, shared = self.bonds.contract.route(behind.address, amount)
            assert retained + shared <= amount
            before = self.place.balance(behind)
            self.bonds.by(STRANGER, "pay_work", behind.address, retained, shared)
            assert self.place.balance(behind) == before
            self.put[behind.address, behind.address] += retained
            self.shared[behind.address] += shared
            if retained < amount:
                assert self.bonds.contract.own_stake(behind.address) >= ETHER - self.steps - 2, "the bond is there before pay is given out"

        @rule(who=people, behind=operators)
        def claim(self, who, behind) -> None:
            expected, held = self.bonds.claimable(who, behind), self.place.balance(who)
            assert self.bonds.by(who, "claim", behind.address) == expected == self.place.balance(who) - held
            self.claimed[behind.address] += expected

        @rule(who=operators, bps=st.integers(0, 10_000))
        def set_commission(self, who, bps: int) -> None:
            before = self.bonds.pool(who).commission_bps
            self.bonds.by(who, "set_commission", bps)
            assert self.bonds.pool(who).commission_bps == min(before, bps)

        @rule(who=operators, amount=amounts)
        def reserve(self, who, amount: int) -> None:
            free = self.bonds.contract.free_bond(who.address)
            assert self.bonds.reserve(amount, who) == min(amount, free)

        @rule(who=operators, part=parts)
        def release(self, who, part: int) -> None:
            self.bonds.release(self.bonds.pool(who).reserved // part, who)

        @rule(who=operators, part=parts, given=st.integers(0, 4))
        def slash(self, who, part: int, given: int) -> None:
            before = self.bonds.pool(who)
            amount = before.reserved // part
            supply, held = self.place.token.totalSupply(), self.bonds.held()
            self.bonds.by(JUDGE, "slash", who.address, amount, [STRANGER.address], [amount * given // 8])
            after = self.bonds.pool(who)
            assert held - self.bonds.held() == amount
            self.burnt += amount - amount * given // 8
            assert supply - self.place.token.totalSupply() == amount - amount * given // 8
            assert after.reserved == before.reserved - amount
            if after.assets and after.leaving_assets:
                whole = before.assets + before.leaving_assets
                gone = whole - after.assets - after.leaving_assets
                assert abs((before.assets - after.assets) * whole - gone * before.assets) <= whole, "both alike"

        @rule(amount=amounts)
        def donate(self, amount: int) -> None:
            with boa.env.prank(STRANGER.address):
                self.place.token.transfer(self.place.bonds.address, amount)
            self.donated += amount

        @rule(seconds=st.sampled_from((1, UNBONDING // 2, UNBONDING)))
        def time_goes_by(self, seconds: int) -> None:
            wait(seconds)

        @invariant()
        def the_contract_holds_what_it_owes_and_little_more(self) -> None:
            self.steps += 1
            owed = 0
            for behind in (OPERATOR, BOB):
                pool = self.bonds.pool(behind)
                owed += self.bonds.contract.free_bond(behind.address) + pool.reserved
                owed += sum(self.bonds.claimable(who, behind) for who in STAKERS)
                assert owed >= pool.assets + pool.leaving_assets
            assert 0 <= self.bonds.held() - self.donated - owed <= 3 * self.steps, "rounding, at most a wei for each who shares"

        @invariant()
        def no_pool_owes_more_than_it_holds(self) -> None:
            for behind in (OPERATOR, BOB):
                pool = self.bonds.pool(behind)
                assert sum(self.bonds.worth(who, behind) for who in STAKERS) <= pool.assets
                shares = sum(self.bonds.shares(who, behind) for who in STAKERS)
                assert 0 <= pool.shares - shares <= len(STAKERS) * self.steps, "a thinning leaves a share of each unclaimed, at most"
                leaving = [self.bonds.contract.leaving(each) for each, (_, whose, _) in self.tickets.items() if whose is behind]
                assert sum(leaving) <= pool.leaving_assets
                assert pool.shares < 2**128
                assert pool.leaving_shares < 2**128

        @invariant()
        def nobody_gets_out_more_than_was_put_in_for_them(self) -> None:
            for behind in (OPERATOR, BOB):
                for who in STAKERS:
                    pair = behind.address, who.address
                    left = [self.bonds.contract.leaving(each) for each, found in self.tickets.items() if found[:2] == (who, behind)]
                    assert self.taken[pair] + self.bonds.worth(who, behind) + sum(left) <= self.put[pair] + self.steps
                earned = sum(self.bonds.claimable(who, behind) for who in STAKERS)
                assert self.claimed[behind.address] + earned <= self.shared[behind.address]

    return Staking


@pytest.mark.parametrize("examples", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_bonds_hold_their_invariants_in_any_order(machine, examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)),
    )
