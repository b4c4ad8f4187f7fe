"""The model's rules are the network's: evaluated for many at once, and in whole grains."""

from __future__ import annotations

import numpy as np
import pytest

from surge.core import court, credibility, emission, pricing, settling
from surge.core.economics import FOUNDING
from surge.core.pricing import Prices
from surge.core.types import GIGA
from surge.simulate.cheating import checks_within, units_until
from surge.simulate.rules import GRAIN, SURGE_GRAINS, Rules


def test_what_a_unit_costs_is_what_the_network_bills() -> None:
    rules = Rules(unit=7)
    asks = np.array([1.0, 999.0, 1e6, 123_456_789.0])
    for ask, amount in zip(asks, rules.unit_amounts(asks), strict=True):
        prices = Prices(int(ask) * GRAIN, FOUNDING.memory, FOUNDING.transfer, FOUNDING.compile, GIGA)
        billed = pricing.unit_amount(prices, rules.unit * GIGA, pricing.TYPICAL_MEMORY, rules.unit * pricing.TYPICAL_MOVED)
        assert 0 <= billed - int(amount) * GRAIN < GRAIN


def test_fees_are_rounded_down() -> None:
    assert Rules().fees(np.array([0, 99, 100, 10**15 + 1])).tolist() == [0, 0, 1, 10**13]


def test_chances_of_checks_are_the_buyers() -> None:
    rules = Rules(certainty=0.999, least_chance=0.002)
    units, checks = np.array([0.0, 50, 5_000, 10**7]), np.array([0.0, 20, 900, 10**4])
    expected = [
        credibility.audit_chance(float(one), float(other), credibility.checks_needed(0.999), 0.002)
        for one, other in zip(units, checks, strict=True)
    ]
    assert rules.chances(units, checks).tolist() == expected
    assert rules.kept() == credibility.decayed(1.0, 86_400)


@pytest.mark.parametrize("fees", [[0, 0], [1, 2, 3], [10**6, 10**9, 10**12], [10**14, 10**14, 3]])
def test_rewards_are_the_contracts_to_a_grain(fees: list[int]) -> None:
    rules = Rules()
    minted = FOUNDING.emission
    for epoch in (0, 1, 104, 3_000):
        budget = emission.budget(minted.first_budget, minted.decay, epoch)
        assert rules.budget(epoch) == budget // GRAIN
        exact = [emission.reward(budget, each * GRAIN, sum(fees) * GRAIN, minted.work_bps) // GRAIN for each in fees]
        found = rules.rewards(epoch, np.array(fees, dtype=np.int64))
        assert all(abs(int(one) - other) <= 1 for one, other in zip(found, exact, strict=True))
        assert found.sum() <= rules.budget(epoch)
        assert all(int(one) * 10_000 <= each * minted.work_bps for one, each in zip(found, fees, strict=True))


def test_what_is_burnt_is_what_the_court_burns() -> None:
    rules = Rules()
    terms, fee = FOUNDING.court, FOUNDING.court.fee(rules.limit)
    worth = terms.max_worth(rules.limit, 5)
    assert rules.case == (worth + 5 * fee) // GRAIN
    for held in (0, fee, 3 * fee, worth + 4 * fee, worth + 5 * fee):
        split = settling.split(court.Outcome.CONVICTED, worth=worth, fee=fee, bond=worth, pot=5 * fee, held=held, paid=5)
        assert int(rules.burnt(np.array([held // GRAIN]))[0]) == pytest.approx(split.burnt // GRAIN, abs=10)
        assert split.slashed == held
    full = int(rules.burnt(np.array([rules.case]))[0])
    assert rules.burnt(np.array([3 * rules.case + 5])).tolist() == [3 * full]
    assert 2 * full >= rules.case - rules.jury, "at least half of what is lost beside the costs"


def test_other_parameters_change_nothing_else() -> None:
    rules = Rules().with_(bond=7.5, chance=0.5, unit=3)
    assert (rules.min_bond, rules.least_chance, rules.unit) == (15 * SURGE_GRAINS // 2, 0.5, 3)
    assert rules.with_(bond=100, chance=credibility.LEAST_CHANCE, unit=10) == Rules()


def test_a_lowest_chance_is_reached() -> None:
    for chance in (1e-5, 3e-4, 0.001, 0.02, 1.0):
        assert Rules().with_(chance=chance).floor == pytest.approx(chance)
    assert Rules(certainty=0.9999).floor == pytest.approx(0.092)


@pytest.mark.parametrize(
    ("behind", "checks", "units"), [(0, 0, 5), (0, 0, 3_000), (20, 4, 50), (500, 60, 9_000), (8_000, 90, 40_000), (10**5, 99, 500)]
)
@pytest.mark.parametrize("certainty", [0.99, 0.999])
def test_a_days_checks_are_the_chances_summed_up(behind: int, checks: int, units: int, certainty: float) -> None:
    rules = Rules(certainty=certainty)
    chances, made = [], float(checks)
    for unit in range(units):
        chances.append(credibility.audit_chance(behind + unit, made, rules.needed, rules.least_chance))
        made += chances[-1]
    arrays = [np.array([float(each)]) for each in (behind, checks, units)]
    total = checks_within(rules, *arrays)
    assert total[0] == pytest.approx(sum(chances), rel=0.01, abs=0.6)
    for part in (0.1, 0.5, 0.9):
        until = units_until(rules, *arrays, part * total)
        assert checks_within(rules, *arrays[:2], until)[0] == pytest.approx(part * total[0])


def test_without_checks_needed_the_lowest_chance_is_left() -> None:
    rules = Rules(certainty=0.5)
    assert rules.needed == 0
    zero, many = np.zeros(1), np.array([1_000.0])
    assert checks_within(rules, zero, zero, many)[0] == pytest.approx(1.0, rel=0.01)
    assert units_until(rules, zero, zero, many, np.array([0.5]))[0] == pytest.approx(500, rel=0.01)
