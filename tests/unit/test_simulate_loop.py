"""The economy of arrays against one in plain Python, in which every agent is looked at by itself. Both draw the same numbers.

The plain one has no stakers: nobody shares its pay, so that they stake behind nobody; that they draw is kept.
"""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from surge.core.credibility import audit_chance
from surge.core.emission import reward
from surge.simulate import market
from surge.simulate.cheats import CHEATS, IDENTITY
from surge.simulate.economy import GROWTH, MARGIN, Economy, Settings, begin, step
from surge.simulate.given import JOB
from surge.simulate.rules import SURGE_GRAINS

AGENT = ("kind", "active", "ask", "units", "checks", "chance", "earned", "wants", "fees", "back", "wrong", "filled")


def plain(e: Economy) -> SimpleNamespace:
    """The same state, an agent at a time."""
    agents = [
        SimpleNamespace(
            **{name: getattr(e, name)[at].item() for name in AGENT},
            capacity=float(e.people.capacity[at]),
            cost=float(e.people.cost[at]),
            own=int(e.books.own[at]),
        )
        for at in range(len(e.kind))
    ]
    names = ("token", "holding", "spent", "demand", "checked", "price", "day")
    return SimpleNamespace(
        agents=agents,
        rules=e.settings.rules,
        buyers=copy.deepcopy(e.buyers),
        stakers=len(e.stakers.held),
        random=copy.deepcopy(e.random),
        market=e.books.market,
        sink=e.books.sink,
        burnt=0,
        minted=0,
        free={},
        gain=[0.0] * len(CHEATS),
        **{name: getattr(e, name) for name in names},
    )


def chance_of(p: SimpleNamespace, units: float, checks: float) -> float:
    return float(audit_chance(units, checks, p.rules.needed, p.rules.least_chance))


def checks_within(p: SimpleNamespace, behind: float, checks: float, units: float) -> float:
    first = min(units, max(p.rules.needed - checks, 0.0))
    start, last = max(behind + first, p.rules.needed), behind + units
    end = min(max(p.rules.needed / p.rules.floor, start), max(last, start))
    return first + p.rules.needed * math.log(end / start) + max(last - end, 0.0) * p.rules.floor


def units_until(p: SimpleNamespace, behind: float, checks: float, units: float, spent: float) -> float:
    first = min(units, max(p.rules.needed - checks, 0.0))
    if spent <= first:
        return spent
    start = max(behind + first, p.rules.needed)
    end = min(max(p.rules.needed / p.rules.floor, start), max(behind + units, start))
    falling = p.rules.needed * math.log(end / start)
    if spent - first <= falling:
        return first + start * math.expm1((spent - first) / p.rules.needed)
    return min(first + end - start + (spent - first - falling) / p.rules.floor, units)


def plain_step(p: SimpleNamespace) -> None:
    rules = p.rules
    if p.day % 7 == 0:
        p.buyers.stir(p.random)
    p.market += p.free.pop(p.day, 0)
    worth = p.spent * p.holding / (p.market / SURGE_GRAINS)
    p.token *= (worth / p.token) ** (1 / 30) * math.exp(0.03 * p.random.standard_normal() - 0.00045)
    p.demand *= GROWTH ** (1 / 365)
    grain = p.token / SURGE_GRAINS
    curve = p.buyers.curve * (p.demand * (1 + p.checked))
    supply = [0.0] * market.STEPS
    for a in p.agents:
        a.filled, a.step = (
            0.0,
            int(np.clip(int((math.log(a.ask * (1 + a.chance) * grain) - math.log(market.LOWEST)) * market.PER_E), 0, 399)),
        )
        if a.active and not (a.kind and CHEATS[a.kind - 1].washes):
            supply[a.step] += a.capacity
    below, at = 0.0, market.STEPS - 1
    for number, each in enumerate(supply):
        below += each
        if below >= curve[number]:
            at = number
            break
    p.price, demand = float(market.step_prices()[at]), float(curve[at])
    parts, below = [], 0.0
    for each in supply:
        parts.append(min(max(demand - below, 0.0), each) / each if each else 0.0)
        below += each
    working = []
    for a in p.agents:
        if a.active and not (a.kind and CHEATS[a.kind - 1].washes):
            a.filled = parts[a.step]
            a.given = math.floor(a.capacity * a.filled / rules.unit)
            if a.given > 0:
                working.append(a)
    drawn = iter(p.random.exponential(size=sum(1 for a in working if a.kind)))
    total, done, checked = 0, 0, 0.0
    for a in p.agents:
        a.units, a.checks, a.pay, a.caught = a.units, a.checks, 0, False
    for a in working:
        kind = CHEATS[a.kind - 1] if a.kind else None
        a.passed, idle, given = 0.0, 0.0, float(a.given)
        if kind:
            right = min(max(kind.waits - a.units, 0.0), given)
            behind, checks = a.units + right, a.checks + checks_within(p, a.units, a.checks, right)
            every = checks_within(p, behind, checks, given - right)
            spent = next(drawn) / (kind.rate * (1 - kind.ring))
            a.caught, spent = spent < every, min(spent, every)
            if a.caught:
                a.given = math.floor(right + units_until(p, behind, checks, given - right, spent))
            a.passed = kind.rate * max(a.given - right - spent * (1 - kind.ring), 0.0)
            idle = 0.0 if kind.inflated else min(a.passed + a.caught, a.given)
            a.wrong += a.passed
        a.amount = math.ceil(a.ask * rules.unit) + rules.extras()
        paid = a.given * a.amount
        if kind and a.given:
            paid += math.floor(paid * (a.passed / a.given) * kind.inflated)
        fee = paid * rules.economics.network.fee_bps // 10_000
        net = paid - fee
        retained = min(net, max(rules.min_bond - a.own, 0))
        a.own += retained
        p.market += net - retained - paid
        p.sink += fee
        a.fees += fee
        total, done, a.pay = total + paid, done + a.given, net * grain - a.cost * (a.given - idle) * rules.unit
    for a in p.agents:
        a.units, a.checks, a.earned = a.units * rules.kept(), a.checks * rules.kept(), a.earned * (1 - 1 / 14) + a.pay / 14
    for a in working:
        if a.units < 2 * a.given or a.checks < rules.needed:
            new = checks_within(p, a.units, a.checks, a.given)
            chance = chance_of(p, a.units + a.given, a.checks + new)
        else:
            chance = chance_of(p, a.units + a.given / 2, a.checks)
            new = chance * a.given
        a.units, a.checks, a.chance, checked = a.units + a.given, a.checks + new, chance, checked + new
    for a in working:
        if a.kind:
            settle(p, a, grain)
    for a in p.agents:
        if a.kind and CHEATS[a.kind - 1].washes and a.active:
            amount = (math.ceil(a.ask * rules.unit) + rules.extras()) * math.floor(a.capacity / rules.unit)
            fee = amount * rules.economics.network.fee_bps // 10_000
            p.market, p.sink, a.fees = p.market - fee, p.sink + fee, a.fees + fee
            p.gain[a.kind - 1] -= fee * grain
    if (p.day + 1) % rules.epoch_days == 0:
        every = sum(a.fees for a in p.agents)
        for a in p.agents:
            minted = int(reward(rules.budget(p.day // rules.epoch_days), a.fees, every, rules.economics.emission.work_bps))
            retained = min(minted, max(rules.min_bond - a.own, 0))
            a.own, p.market, p.minted = a.own + retained, p.market + minted - retained, p.minted + minted
            a.earned, a.fees = a.earned + minted * (grain / 14), 0
            if a.kind and CHEATS[a.kind - 1].washes:
                p.gain[a.kind - 1] += minted * grain
        p.market, p.sink = p.market + p.sink, 0
    look(p, grain)
    p.checked = checked / done if done else 0.0
    p.spent += (total * grain - p.spent) / 30
    p.day += 1


def settle(p: SimpleNamespace, a: Any, grain: float) -> None:
    rules, kind, net = p.rules, CHEATS[a.kind - 1], 1 - p.rules.fee
    amount, cost = a.amount * grain, a.cost * rules.unit
    p.gain[a.kind - 1] += a.passed * (kind.inflated * amount * net if kind.inflated else cost)
    if a.caught:
        slash = min(int((1 + math.floor(min(a.wrong, JOB * kind.rate))) * rules.case), a.own)
        burnt = int(rules.burnt(np.array([slash]))[0])
        p.burnt, p.market = p.burnt + burnt, p.market + slash - burnt
        free = p.day + rules.unbonding_days
        p.free[free] = p.free.get(free, 0) + a.own - slash
        p.gain[a.kind - 1] -= amount * net - (0.0 if kind.inflated else cost) + slash * grain + IDENTITY
        a.own, a.wrong, a.units, a.checks, a.chance, a.back = 0, 0.0, 0.0, 0.0, 1.0, p.day + 7
        a.active = a.active and not kind.stays


def look(p: SimpleNamespace, grain: float) -> None:
    rules, mine = p.rules, p.agents[p.day % 7 :: 7]
    for a, draw in zip(mine, p.random.random(len(mine)), strict=True):
        a.chance = chance_of(p, a.units, a.checks)
        least, best = a.cost * MARGIN / (1 - rules.fee) / grain, p.price / (1 + a.chance) / grain
        if a.active:
            change = 1.01 if a.filled > 0.95 else 0.9 + 0.1 * a.filled
            a.ask = max(math.sqrt(a.ask * best) * change, least)
            if draw < (0.10 if a.earned < a.wants else 0.005):
                free = p.day + rules.unbonding_days
                p.free[free] = p.free.get(free, 0) + a.own
                a.active, a.own = False, 0
        elif (p.price * (1 - rules.fee) - a.cost) * a.capacity * 0.5 > 1.5 * a.wants and draw < 0.03 and a.back <= p.day:
            a.active, a.earned, a.ask = True, a.wants * 2, max(least, best)
    stakers = len(range(p.day % 7, p.stakers, 7))
    p.random.random(stakers)
    p.random.integers(0, len(p.agents), (2, stakers))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_arrays_do_what_a_loop_over_agents_does(seed: int) -> None:
    economy = begin(Settings(providers=120, seed=seed, cheats=0.5))
    economy.shares[:] = 0
    economy.yields[:] = 0
    p = plain(economy)
    assert set(economy.kind) == set(range(len(CHEATS) + 1)), "every kind is there"
    for _ in range(60):
        step(economy)
        plain_step(p)
        for name in AGENT:
            assert getattr(economy, name).tolist() == pytest.approx([getattr(a, name) for a in p.agents], rel=1e-9, abs=1e-9), name
        assert economy.books.own.tolist() == [a.own for a in p.agents]
        for name in ("token", "spent", "price", "demand", "checked"):
            assert getattr(economy, name) == pytest.approx(getattr(p, name), rel=1e-9), name
        books = economy.books
        assert (books.market, books.sink, books.burnt, books.minted, books.free) == (
            p.market,
            p.sink,
            p.burnt,
            p.minted,
            {day: each for day, each in p.free.items() if each},
        )
        assert economy.cheated.gain.tolist() == pytest.approx(p.gain, rel=1e-9, abs=1e-12)
    assert economy.cheated.caught.sum() > 10
    assert p.burnt > 0
    assert p.minted > 0
