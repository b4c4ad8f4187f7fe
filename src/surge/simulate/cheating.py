"""What cheats do in a day of the economy, and what they get for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from surge.simulate.cheats import CHEATS, IDENTITY
from surge.simulate.devices import Array
from surge.simulate.given import JOB
from surge.simulate.rules import SURGE_GRAINS, Rules

if TYPE_CHECKING:
    from surge.simulate.economy import Economy

RATE = np.array([0.0, *(each.rate for each in CHEATS)])
WAITS = np.array([0, *(each.waits for each in CHEATS)])
INFLATED = np.array([0.0, *(each.inflated for each in CHEATS)])
RING = np.array([0.0, *(each.ring for each in CHEATS)])
STAYS = np.array([True, *(each.stays for each in CHEATS)])
WASHES = np.array([False, *(each.washes for each in CHEATS)])


@dataclass(slots=True)
class Tally:
    """What each kind of cheat came to so far, in the order of `CHEATS`."""

    gain: Array = field(default_factory=lambda: np.zeros(len(CHEATS)))
    """US dollars that cheating added to what honest work would have brought."""
    caught: Array = field(default_factory=lambda: np.zeros(len(CHEATS)))
    """Careers that ended."""
    passed: Array = field(default_factory=lambda: np.zeros(len(CHEATS)))
    """Wrong results that were accepted."""
    slashed: Array = field(default_factory=lambda: np.zeros(len(CHEATS)))
    """SURGE that the court took."""

    def add(self, kind: Array, **what: Array) -> None:
        """Add amounts of agents of these kinds."""
        for name, amount in what.items():
            found = np.bincount(kind - 1, weights=amount, minlength=len(CHEATS))
            setattr(self, name, getattr(self, name) + found)


@dataclass(frozen=True, slots=True)
class Tried:
    """What the working cheats did in a day."""

    at: Array
    """Their places among those who work today."""
    who: Array
    """Their indices among the agents."""
    kind: Array
    """Their kinds."""
    passed: Array
    """Wrong results of each that were accepted."""
    caught: Array
    """Who was caught."""
    idle: Array
    """Units of each for which no work was done."""
    units: Array
    """Units that each is paid for."""


def _falling(rules: Rules, behind: Array, checks: Array, units: Array) -> tuple[Array, Array, Array, Array]:
    """Where the chance of a check changes while devices work: units that are all checked, and between which it falls as one over them.

    Gives those units; the units behind a device from where it falls; to where; and the checks between, as expected.
    """
    first = np.minimum(units, np.maximum(rules.needed - checks, 0.0))
    start = np.maximum(behind + first, max(rules.needed, 1))
    end = np.clip(rules.needed / rules.floor, start, np.maximum(behind + units, start))
    return first, start, end, rules.needed * np.log(end / start)


def checks_within(rules: Rules, behind: Array, checks: Array, units: Array) -> Array:
    """How many of the next units of devices are checked, as expected: the sum of `credibility.audit_chance` over them, as an integral.

    All are, until enough were; then the chance falls as one over the units; then it is the lowest.
    """
    first, _, end, falling = _falling(rules, behind, checks, units)
    return first + falling + np.maximum(behind + units - end, 0.0) * rules.floor


def units_until(rules: Rules, behind: Array, checks: Array, units: Array, spent: Array) -> Array:
    """The unit at which so many of a day's checks were made: the inverse of `checks_within`."""
    first, start, _, falling = _falling(rules, behind, checks, units)
    left = np.maximum(spent - first, 0.0)
    within = first + start * np.expm1(np.minimum(left, falling) / max(rules.needed, 1))
    beyond = np.maximum(left - falling, 0.0) / rules.floor
    return np.where(spent <= first, spent, np.minimum(within + beyond, units))


def work(e: Economy, working: Array, units: Array) -> Tried:
    """The cheats' day. A result is wrong with their rate, a check by somebody outside the ring finds it, and the first find ends the day.

    Args:
        e: the economy.
        working: the indices of the agents that work today.
        units: units that each of them is given; of those that are caught, what was done until then stays.
    """
    rules = e.settings.rules
    at = np.flatnonzero(e.kind[working] > 0)
    who = working[at]
    kind, given = e.kind[who], units[at].astype(np.float64)
    right = np.clip(WAITS[kind] - e.units[who], 0.0, given)
    behind, checks = e.units[who] + right, e.checks[who] + checks_within(rules, e.units[who], e.checks[who], right)
    total = checks_within(rules, behind, checks, given - right)
    found = RATE[kind] * (1 - RING[kind])
    spent = e.random.exponential(size=len(who)) / found
    caught = spent < total
    spent = np.minimum(spent, total)
    until = np.where(caught, np.floor(right + units_until(rules, behind, checks, given - right, spent)), given)
    passed = RATE[kind] * np.maximum(until - right - spent * (1 - RING[kind]), 0.0)
    idle = np.where(INFLATED[kind] > 0, 0.0, passed + caught)
    units[at] = until.astype(np.int64)
    e.wrong[who] += passed
    return Tried(at=at, who=who, kind=kind, passed=passed, caught=caught, idle=np.minimum(idle, until), units=until)


def billed(paid: Array, tried: Tried) -> Array:
    """What is billed, in grains, with the fuel that was added to it."""
    part = np.divide(tried.passed, tried.units, out=np.zeros_like(tried.passed), where=tried.units > 0)
    paid[tried.at] += np.floor(paid[tried.at] * part * INFLATED[tried.kind]).astype(np.int64)
    return paid


def settle(e: Economy, tried: Tried, amounts: Array) -> None:
    """What cheating came to today: what passed is gained; for who was caught the court takes what it may, and it is nobody again."""
    rules, books = e.settings.rules, e.books
    grain, net = e.token / SURGE_GRAINS, 1 - rules.fee
    amount = amounts[tried.at] * grain
    cost = e.people.cost[tried.who] * rules.unit
    each = np.where(INFLATED[tried.kind] > 0, INFLATED[tried.kind] * amount * net, cost)
    gain = tried.passed * each
    e.cheated.add(tried.kind, gain=gain, passed=tried.passed)
    at = np.flatnonzero(tried.caught)
    if not len(at):
        return
    who, kind = tried.who[at], tried.kind[at]
    own, behind = books.own[who], books.behind[who]
    cases = 1 + np.floor(np.minimum(e.wrong[who], JOB * RATE[kind]))
    slash = np.minimum(cases * rules.case, own + behind).astype(np.int64)
    part = np.divide(own, own + behind, out=np.zeros(len(at)), where=own + behind > 0)
    mine = np.minimum(np.floor(slash * part).astype(np.int64), own)
    theirs = np.minimum(slash - mine, behind)
    slash = mine + theirs
    burnt = int(rules.burnt(slash).sum())
    books.own[who] -= mine
    books.behind[who] -= theirs
    books.market += int(slash.sum()) - burnt
    books.burnt += burnt
    refused = amount[at] * net - np.where(INFLATED[kind] > 0, 0.0, cost[at])
    e.cheated.add(kind, gain=-(refused + mine * grain + IDENTITY), caught=np.ones(len(at)), slashed=slash / SURGE_GRAINS)
    books.leave(int(books.own[who].sum()), e.day + rules.unbonding_days)
    books.own[who] = 0
    e.wrong[who] = 0.0
    e.units[who] = 0.0
    e.checks[who] = 0.0
    e.chance[who] = 1.0
    e.active[who[STAYS[kind]]] = False
    e.back[who] = e.day + 7


def wash(e: Economy) -> int:
    """Wash traders pay themselves for all that they could do, and do nothing: the fee is lost, and emission brings a part of it back.

    Gives the grains of their fees.
    """
    rules, books = e.settings.rules, e.books
    who = np.flatnonzero(WASHES[e.kind] & e.active)
    fees = rules.fees(rules.unit_amounts(e.ask[who]) * np.floor(e.people.capacity[who] / rules.unit).astype(np.int64))
    books.market -= int(fees.sum())
    books.sink += int(fees.sum())
    e.fees[who] += fees
    e.cheated.add(e.kind[who], gain=-fees * (e.token / SURGE_GRAINS))
    return int(fees.sum())


def reward_washing(e: Economy, rewards: Array) -> None:
    """What emission brought to wash traders."""
    who = np.flatnonzero(WASHES[e.kind])
    e.cheated.add(e.kind[who], gain=rewards[who] * (e.token / SURGE_GRAINS))
