"""Careers of cheats: each loses at the network's parameters, and where one would not, it is said."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from surge.core.credibility import audit_chance
from surge.simulate.cheats import CHEATS, Cheat, Setting, career, least_bond
from surge.simulate.given import JOB
from surge.simulate.rules import SURGE_GRAINS, Rules
from surge.simulate.scenarios import _loopholes

RULES = Rules()
FIRST = Setting(amount=0.01 * SURGE_GRAINS, cost=0.97, token=0.005)
"""The default price, and work that costs nearly all that it is paid: nobody has more to gain by not doing it."""

TURNCOAT = next(each for each in CHEATS if each.name == "turncoat")


@pytest.mark.parametrize("kind", CHEATS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("unit", [1, 10, 50])
def test_every_cheat_loses_at_the_networks_parameters(kind: Cheat, unit: int) -> None:
    setting = replace(FIRST, amount=FIRST.amount * unit / 10)
    assert career(kind, RULES.with_(unit=unit), setting).gain < 0


def test_who_pays_itself_loses_what_emission_does_not_give_back() -> None:
    washer = next(each for each in CHEATS if each.washes)
    assert career(washer, RULES, FIRST).gain == pytest.approx(-0.01 * 0.2)


def test_a_career_is_what_many_are_on_the_average() -> None:
    """The expectation against careers that are lived through unit by unit."""
    kind = Cheat("sometimes", rate=0.2, waits=30, ring=0.25)
    rules = RULES.with_(chance=0.02)
    found = career(kind, rules, FIRST, units=2_000)
    dice, count = random.Random(1), 4_000
    gains, lengths, ended, accepted = [], [], 0, 0
    for _ in range(count):
        wrong, length, caught = 0, 0, False
        for unit in range(2_000):
            done = kind.waits + unit
            chance = audit_chance(done, min(done, rules.needed), rules.needed, rules.least_chance)
            length += 1
            if dice.random() < kind.rate:
                if dice.random() < chance and dice.random() >= kind.ring:
                    caught = True
                    break
                wrong += 1
        bond = min(rules.min_bond / FIRST.amount, done * 0.99)
        slash = min(bond, (1 + min(wrong, JOB * kind.rate)) * rules.case / FIRST.amount) if caught else 0.0
        gains.append(wrong * FIRST.cost - slash - (0.99 - FIRST.cost) * caught)
        lengths.append(length)
        ended += caught
        accepted += wrong
    assert found.units == pytest.approx(sum(lengths) / count, rel=0.05)
    assert found.passed == pytest.approx(accepted / count, rel=0.05)
    assert found.caught == pytest.approx(ended / count, abs=0.02)
    assert found.gain == pytest.approx(sum(gains) / count, rel=0.05)


def test_rarer_checks_and_smaller_bonds_make_cheating_pay() -> None:
    assert career(TURNCOAT, RULES.with_(chance=1e-5), FIRST, units=10**6).gain > 0
    assert career(TURNCOAT, RULES.with_(bond=1), FIRST).gain > 0


def test_the_least_bond_parts_those_who_win_from_those_who_lose() -> None:
    bond = least_bond(TURNCOAT, RULES, FIRST)
    assert bond is not None
    assert 0 < bond < RULES.economics.network.min_bond / 10**18
    assert career(TURNCOAT, RULES.with_(bond=bond), FIRST).gain < 0 < career(TURNCOAT, RULES.with_(bond=0.9 * bond), FIRST).gain
    assert least_bond(CHEATS[-1], RULES, FIRST) == 0
    assert least_bond(TURNCOAT, RULES, replace(FIRST, disputed=0.0)) is None


def test_where_cheating_would_pay_is_said() -> None:
    loopholes = _loopholes(RULES, FIRST)
    assert ("turncoat", 1000, 1.0) in {(each.kind, each.unit, each.disputed) for each in loopholes}
    assert not [each for each in loopholes if each.unit == RULES.unit and each.disputed == 1.0 and not each.fallen]
    assert {each.kind for each in loopholes if not each.disputed} >= {"turncoat", "inflated fuel"}
    for each in loopholes:
        assert each.gain >= 0
        setting = replace(FIRST, amount=FIRST.amount * each.unit / 10 * (10 if each.fallen else 1), disputed=each.disputed)
        kind = next(one for one in CHEATS if one.name == each.kind)
        if each.bond is not None:
            assert career(kind, RULES.with_(unit=each.unit, bond=each.bond), setting).gain < 0


@pytest.mark.parametrize("unit", [1, 100, 1_000, 5_000, 50_000])
def test_checking_by_a_units_price_over_the_bond_makes_every_cheat_lose(unit: int) -> None:
    amount = FIRST.amount * unit / 10
    rules = RULES.with_(unit=unit, chance=max(RULES.least_chance, amount / RULES.min_bond))
    for cost in (0.3, 0.97):
        for kind in CHEATS:
            assert career(kind, rules, replace(FIRST, amount=amount, cost=cost)).gain < 0, kind.name
    assert unit < 1_000 or career(TURNCOAT, RULES.with_(unit=unit), replace(FIRST, amount=amount)).gain > 0
