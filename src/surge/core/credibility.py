"""How far a device's results can be believed, and how often they are checked. Pure: ints, floats and NumPy arrays alike.

A unit can be run again, so a result can be checked, at the price of a second run. Checking every tenth catches whoever cheats often;
whoever cheats seldom does little harm. What follows makes that exact.

*The bound.* Before anything is known a stranger is a cheat with probability `doubt`, and a cheat's results are wrong with a rate r that it
chooses. It does not know which results will be checked, so k checks let it pass with probability (1 - r)^k. By Bayes, a result of a device
that passed k checks is wrong with probability r d (1 - r)^k / (1 - d + d (1 - r)^k), at most d / (1 - d) r (1 - r)^k. The worst rate for
us is r = 1 / (k + 1), so that, whatever the cheat does, the probability is at most

    d / (1 - d) · 1 / (k + 1) · (k / (k + 1))^k        which goes to d / (1 - d) / (e k).

This is the credibility of Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems", CCGrid 2001: spot-checking with
blacklisting. Checks until the bound is below what the job allows come to `checks_needed`.

*The chance.* Rates change: who was honest for a year may turn. So checking goes on: with n units behind it a device is checked with chance
`checks_needed / n`, where n counts at most `MEMORY`, and never less than `LEAST_CHANCE`. As in BOINC's adaptive replication the chance
falls with every result that was right, here as one over their number, so that checks come to `checks_needed` times 1 + ln(n /
checks_needed); of the latest half of the units always as much as ln 2 of it was checked. A cheat that turned is caught after 1 / (rate ·
chance) units, and what it did in the job that caught it is run again.

*Votes.* Where several devices answered, the groups of equal answers are weighed by how probably each member is wrong, again after Sarmenta
(the same paper, voting); iExec's Proof of Contribution accepts a result by the same rule, once its group's credibility is above a
threshold. Members of one operator count as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from surge.errors import InvalidInput

DOUBT = 0.2
"""Probability that a stranger is a cheat, before anything is known of it."""

OWN_DOUBT = 0.001
"""The same for a device of the buyer's own operator: it may be broken."""

CAUGHT_DOUBT = 0.5
"""The same for a device of an operator of whose devices one gave a wrong result."""

LEAST_CHANCE = 0.001
"""Nobody's results are checked more rarely."""

CERTAINTY = 0.99
"""What a job asks for where its user does not say."""

MEMORY = 10_000
"""Units beyond the latest so many lower nobody's chance: or whoever was honest for longest would be the best placed to turn."""

HIGHEST = 0.999999
"""The highest certainty a job may ask for: beyond it a check tells more of this machine's memory than of the device."""

HALF_LIFE = 180 * 86_400
"""Seconds after which what a device has shown counts for half."""


def wrong_bound(checks: float, doubt: float = DOUBT) -> float:
    """The highest probability that a result is wrong whose device passed so many checks and failed none.

    >>> round(wrong_bound(0), 3), round(wrong_bound(100), 5)
    (0.25, 0.00092)
    """
    bound: float = doubt / (1 - doubt) / (checks + 1) * (checks / (checks + 1)) ** checks
    return bound


@lru_cache(maxsize=256)
def checks_needed(certainty: float, doubt: float = DOUBT) -> int:
    """The fewest passed checks after which a device's results are right with this probability.

    >>> checks_needed(0.99), checks_needed(0.9999)
    (9, 920)
    """
    if not 0 <= certainty <= HIGHEST:
        raise InvalidInput(f"certainty={certainty!r} is no number from 0 to {HIGHEST}", certainty=certainty)
    allowed = 1 - certainty
    low, high = 0, 1
    while wrong_bound(high, doubt) > allowed:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if wrong_bound(middle, doubt) <= allowed else (middle + 1, high)
    return low


def audit_chance(units: float, checks: float, needed: float, least: float = LEAST_CHANCE) -> float:
    """The chance with which the next result of a device is checked.

    Args:
        units: results that were accepted of it, decayed.
        checks: of these, those that were checked and right, decayed.
        needed: `checks_needed` of the job.
        least: the lowest chance there is.

    >>> audit_chance(0, 0, 9), audit_chance(900, 50, 9), audit_chance(10**6, 100, 9)
    (1.0, 0.01, 0.001)
    """
    young = checks < needed
    rate = _most(least, _least(1.0, needed / _least(units + (units == 0), MEMORY)))
    chance: float = young * 1 + (1 - young) * rate
    return chance


def decayed(count: float, seconds: float) -> float:
    """What is left of a count of evidence after so many seconds. Its half-life is `HALF_LIFE`."""
    return float(count * 0.5 ** (_most(0.0, seconds) / HALF_LIFE))


def _most(one: float, other: float) -> float:
    return (one >= other) * one + (one < other) * other


def _least(one: float, other: float) -> float:
    return (one <= other) * one + (one > other) * other


@dataclass(frozen=True, slots=True)
class Votes:
    """Equal answers to one unit."""

    answer: bytes
    """The result hash and the fuel."""
    operators: tuple[str, ...]
    """Who gave it: every operator once."""


def grouped(votes: Sequence[tuple[str, bytes]]) -> list[Votes]:
    """(operator, answer) pairs as groups, the largest first. An operator's second answer adds nothing; one that differs takes both away."""
    said: dict[str, bytes] = {}
    liars: set[str] = set()
    for operator, answer in votes:
        if said.setdefault(operator, answer) != answer:
            liars.add(operator)
    groups: dict[bytes, list[str]] = {}
    for operator, answer in said.items():
        if operator not in liars:
            groups.setdefault(answer, []).append(operator)
    return sorted((Votes(answer, tuple(them)) for answer, them in groups.items()), key=lambda group: -len(group.operators))


def group_credibility(groups: Sequence[Sequence[float]]) -> list[float]:
    """The probability that each group's answer is the right one.

    Args:
        groups: for each answer the probabilities that its givers, taken alone, are wrong. Wrong answers are taken to agree, as those of
            a ring do; that givers err independently is what different operators are asked for.

    >>> [round(each, 4) for each in group_credibility([[0.1, 0.1], [0.1]])]
    [0.8901, 0.0989]
    """
    wrong = [prod(group) for group in groups]
    right = [prod(1 - each for each in group) for group in groups]
    alone = [right[at] * prod(wrong[:at]) * prod(wrong[at + 1 :]) for at in range(len(groups))]
    total = prod(wrong) + sum(alone)
    return [each / total if total else 0.0 for each in alone]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job comes to."""

    wrong: float
    """Wrong results among those accepted at the end, as a fraction."""
    extra: float
    """Units run beyond one for each result, as a fraction: checks, and results that are run again as their device was caught."""
    caught: float
    """Cheats that are caught, as a fraction of them."""


def forecast(
    *, cheats: float, rate: float, behind: int, units: int, needed: int, blind: float = 0.0, least: float = LEAST_CHANCE
) -> Forecast:
    """What is to be expected of a job in which a fraction of the devices cheats from its first unit on.

    Each result is checked with the chance of `audit_chance`. Whoever is caught has its unchecked results run again by honest others, and
    what it would still have done is done by them; they are checked as often as the honest are on the average of the job.

    Args:
        cheats: the fraction of devices that cheat.
        rate: the fraction of their results that is wrong.
        behind: right results that every device has behind it.
        units: units of this job that a device does, if it stays.
        needed: `checks_needed` of the job.
        blind: the fraction of checks that a wrong result passes: 0 for checks here, the ring's share of devices for checks by others.
        least: as in `audit_chance`.
    """
    free, checks, wrong, unchecked = 1.0, 0.0, 0.0, 0.0
    rerun, moved, honest = 0.0, 0.0, 0.0
    for done in range(units):
        chance = audit_chance(behind + done, behind + done if needed > behind + done else needed, needed, least)
        honest += chance
        checks += free * chance
        unchecked += 1 - chance
        caught = rate * chance * (1 - blind)
        rerun += free * caught * (unchecked - (1 - chance))
        moved += free * caught * (units - done - 1)
        wrong = wrong + rate * (1 - chance * (1 - blind)) / (1 - caught)
        free *= 1 - caught
    checked_again = (rerun + moved) * honest / units
    extra = ((1 - cheats) * honest + cheats * (checks + rerun + checked_again)) / units
    return Forecast(wrong=cheats * free * wrong / units, extra=extra, caught=1 - free)
