"""A steady run, and what happens to it when something breaks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from surge.errors import InvalidInput
from surge.simulate.cheating import Tally
from surge.simulate.cheats import CHEATS, Career, Setting, career, least_bond
from surge.simulate.economy import Day, Economy, Settings, begin, step
from surge.simulate.rules import SURGE_GRAINS, Rules

AFTER = 180
"""Days that are watched after a shock."""

MOST_PROVIDERS = 5_000_000
"""Devices that fit into a usual machine's memory: a million take about half a gigabyte."""


@dataclass(frozen=True, slots=True)
class Shock:
    """Something that breaks."""

    name: str
    """What the command line calls it."""
    title: str
    """What the report calls it."""
    strike: Callable[[Economy], None]
    """What it does to an economy, in a day."""


def _more_demand(e: Economy) -> None:
    e.demand *= 10


def _token_falls(e: Economy) -> None:
    e.token /= 10
    e.holding /= 10


def _exodus(e: Economy) -> None:
    goes = e.active & (e.random.random(len(e.active)) < 0.5)
    e.books.leave(int(e.books.own[goes].sum()), e.day + e.settings.rules.unbonding_days)
    e.books.own[goes] = 0
    e.active[goes] = False


SHOCKS = (
    Shock("demand", "Ten times the demand", _more_demand),
    Shock("token", "The token falls by 90 %", _token_falls),
    Shock("exodus", "Half of the providers leave in a day", _exodus),
)
"""What may break."""

NAMES = ("steady", *(each.name for each in SHOCKS))
"""Every scenario, by the name that the command line has for it."""


@dataclass(frozen=True, slots=True)
class Curves:
    """What careers of cheats come to, in multiples of a unit's amount, over one parameter at a time."""

    setting: Setting
    """What they take place in."""
    chances: tuple[float, ...]
    """Lowest chances of a check."""
    by_chance: tuple[tuple[float, ...], ...]
    """For each kind of cheat the gain at each of these."""
    bonds: tuple[float, ...]
    """Bonds, in SURGE."""
    by_bond: tuple[tuple[float, ...], ...]
    """For each kind of cheat the gain at each of these."""
    careers: tuple[Career, ...]
    """For each kind of cheat a career at the network's parameters."""
    loopholes: tuple[Loophole, ...]
    """Where cheating would pay."""


@dataclass(frozen=True, slots=True)
class Loophole:
    """Parameters at which one kind of cheat wins."""

    kind: str
    """The cheat."""
    unit: int
    """Gigafuel of a unit."""
    disputed: float
    """The fraction of known wrong receipts that buyers take to court."""
    fallen: bool
    """Whether the token fell by 90 %, and prices in it rose."""
    gain: float
    """What cheating adds, in multiples of a unit's amount."""
    bond: float | None
    """The bond, in SURGE, from which on it would lose; None where no bond is enough."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was found."""

    settings: Settings
    steady: tuple[Day, ...]
    """The run in which nothing breaks."""
    cheated: Tally
    """What cheats came to in it."""
    minted: float
    """SURGE minted in it."""
    shocked: dict[str, tuple[Day, ...]]
    """For each shock the days from `AFTER` before it to `AFTER` after it."""
    struck: int
    """The day of the shocks."""
    curves: Curves


def simulate(settings: Settings, names: Sequence[str] = NAMES, tell: Callable[[int, int], None] = lambda done, total: None) -> Result:
    """Run the scenarios named.

    Args:
        settings: what is simulated.
        names: of `NAMES`; the steady run is always made, as the others begin from it.
        tell: is called after each day, with the days done and those to do.

    Raises `InvalidInput` for settings that cannot be simulated, `InternalFault` when the model's books do not balance.
    """
    if not 20 <= settings.providers <= MOST_PROVIDERS:
        raise InvalidInput(f"a simulation takes 20 to {MOST_PROVIDERS} providers", providers=settings.providers)
    if not 0 < settings.years <= 50:
        raise InvalidInput("a simulation takes up to 50 years", years=settings.years)
    shocks = [each for each in SHOCKS if each.name in names]
    struck, days = settings.days // 2, settings.days
    after = min(AFTER, days - struck)
    total, done = days + after * len(shocks), 0
    economy = begin(settings)
    steady: list[Day] = []
    shocked: dict[str, tuple[Day, ...]] = {}

    def run(which: Economy, count: int) -> list[Day]:
        nonlocal done
        found = []
        for _ in range(count):
            found.append(step(which))
            done += 1
            tell(done, total)
        which.books.check()
        return found

    steady += run(economy, struck)
    for shock in shocks:
        other = copy.deepcopy(economy)
        shock.strike(other)
        shocked[shock.name] = (*steady[-AFTER:], *run(other, after))
    steady += run(economy, days - struck)
    return Result(
        settings=settings,
        steady=tuple(steady),
        cheated=economy.cheated,
        minted=economy.books.minted / SURGE_GRAINS,
        shocked=shocked,
        struck=struck,
        curves=curves(settings.rules, steady[-1]),
    )


def curves(rules: Rules, day: Day) -> Curves:
    """What careers come to at a day's prices, for the device whose work costs most."""
    setting = setting_of(rules, day)
    chances = tuple(float(each) for each in np.logspace(-5, 0, 16))
    bonds = tuple(float(each) for each in np.logspace(-1, 4, 16))
    return Curves(
        setting=setting,
        chances=chances,
        by_chance=tuple(tuple(career(kind, rules.with_(chance=each), setting).gain for each in chances) for kind in CHEATS),
        bonds=bonds,
        by_bond=tuple(tuple(career(kind, rules.with_(bond=each), setting).gain for each in bonds) for kind in CHEATS),
        careers=tuple(career(kind, rules, setting) for kind in CHEATS),
        loopholes=tuple(_loopholes(rules, setting)),
    )


def setting_of(rules: Rules, day: Day, disputed: float = 1.0) -> Setting:
    """A career's setting at a day's prices. Its cost is that of the class with the least margin: what it saves by not working is most."""
    amount = float(rules.unit_amounts(np.array([day.asked * SURGE_GRAINS]))[0])
    cost = (1 - rules.fee) * min(1.0, 1 - min((each for each in day.margin if each), default=0.0))
    return Setting(amount=amount, cost=cost, token=day.token, disputed=disputed)


def _loopholes(rules: Rules, setting: Setting) -> list[Loophole]:
    found = []
    for unit in (1, 10, 100, 1000):
        for disputed in (1.0, 0.1, 0.0):
            for fallen in (False, True):
                amount = setting.amount * unit / rules.unit * (10 if fallen else 1)
                there = replace(setting, amount=amount, disputed=disputed)
                for kind in CHEATS:
                    gain = career(kind, rules.with_(unit=unit), there).gain
                    if gain >= 0:
                        bond = least_bond(kind, rules.with_(unit=unit), there)
                        found.append(Loophole(kind.name, unit, disputed, fallen, gain, bond))
    return found
