"""Kinds of cheats, and what one career of each comes to.

A career begins with a new identity and ends when it is caught, or after a number of units. Its *gain* is what cheating added to what an
honest device would have had for the same units: work not done or fuel never burnt, less the refused unit, what the court takes, and a new
identity. Standing that is lost is left out, although it is what a device with thousands of units behind it would miss most: so a gain below
zero says that cheating loses even for one who does not mind starting again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surge.core.emission import BPS
from surge.simulate.devices import Array
from surge.simulate.given import JOB
from surge.simulate.rules import SURGE_GRAINS, Rules

IDENTITY = 0.05
"""US dollars for a new identity: the gas of registering an operator and a device, and of staking. Assumed; of a cheap rollup."""


NOBODY = 1e-8
"""Careers that go on with a smaller probability are not followed."""


@dataclass(frozen=True, slots=True)
class Cheat:
    """A kind of cheat."""

    name: str
    """What the report calls it."""
    rate: float
    """The fraction of its units that is wrong, once it cheats."""
    waits: int = 0
    """Right units that it does before."""
    inflated: float = 0.0
    """Fuel that it adds to what it burnt, as a fraction; 0: it does not work at all."""
    ring: float = 0.0
    """The fraction of all devices that belongs to its ring, and confirms its answers when it is asked to check them."""
    stays: bool = False
    """Whether it stops for a while when it is caught; otherwise it takes out what is left of its bond and is another the next day."""
    washes: bool = False
    """Whether it pays itself for nothing, for the sake of emission."""


CHEATS = (
    Cheat("wrong output", rate=0.1, stays=True),
    Cheat("inflated fuel", rate=1.0, waits=1_000, inflated=1.0, stays=True),
    Cheat("turncoat", rate=1.0, waits=100_000, stays=True),
    Cheat("Sybil that leaves", rate=1.0),
    Cheat("ring", rate=0.1, ring=0.05, stays=True),
    Cheat("wash trader", rate=0.0, washes=True),
)
"""Every kind in the model. A device's kind is its index here plus one; 0 is honest."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a career takes place in."""

    amount: float
    """Grains for a unit."""
    cost: float
    """What a unit's work costs, as a fraction of its amount."""
    token: float
    """US dollars of one SURGE."""
    disputed: float = 1.0
    """The fraction of the open job's wrong receipts, once they are known, that the buyer takes to court."""
    gas: float = 0.0
    """US dollars that a new identity costs: 0 counts for the cheat."""


@dataclass(frozen=True, slots=True)
class Career:
    """What is to be expected of a career, in multiples of a unit's amount."""

    gain: float
    """What cheating added."""
    slashed: float
    """Of it, what the court took."""
    units: float
    """Units until it was caught, or its end."""
    caught: float
    """The probability that it is."""
    passed: float
    """Wrong results that were accepted of it."""


def career(kind: Cheat, rules: Rules, setting: Setting, units: int = 200_000) -> Career:
    """What is to be expected of one career of at most `units` cheating units.

    The j-th unit is checked with `credibility.audit_chance`; a wrong one is caught if it is checked by somebody outside the ring. With h_j
    for the rate times that chance, the career ends at unit j with probability h_j (1 - h_0) ... (1 - h_(j-1)).
    """
    if kind.washes:
        return _washing(rules)
    needed = rules.needed
    each = kind.inflated * (1 - rules.fee) if kind.inflated else setting.cost
    lost = (1 - rules.fee) - (0.0 if kind.inflated else setting.cost) + setting.gas / (setting.token * setting.amount / SURGE_GRAINS)
    at, size, alive, passed = 0, 2_048, 1.0, 0.0
    gain = slashed = length = accepted = 0.0
    while at < units and alive > NOBODY:
        done: Array = kind.waits + np.arange(at, min(at + size, units), dtype=np.float64)
        chance = rules.chances(done, np.minimum(done, needed)) * (1 - kind.ring)
        hazard = kind.rate * chance
        living = alive * np.concatenate([[1.0], np.cumprod(1 - hazard)])
        ends = living[:-1] * hazard
        until = passed + np.concatenate([[0.0], np.cumsum(kind.rate * (1 - chance) / np.maximum(1 - hazard, 1e-300))])
        found = (1 + np.minimum(until[:-1], JOB * kind.rate)) * setting.disputed
        slash = np.minimum(bond_at(rules, setting, done), found * (rules.case / setting.amount))
        gain += float(np.sum(ends * (until[:-1] * each - slash - lost)))
        slashed += float(np.sum(ends * slash))
        length += float(np.sum(living[:-1]))
        accepted += float(np.sum(ends * until[:-1]))
        at, size, alive, passed = at + len(done), min(2 * size, 16_384), float(living[-1]), float(until[-1])
    gain, accepted = gain + alive * passed * each, accepted + alive * passed
    return Career(gain=gain, slashed=slashed, units=length, caught=1 - alive, passed=accepted)


def bond_at(rules: Rules, setting: Setting, done: Array) -> Array:
    """What a device that staked nothing has as its bond after so many units, in multiples of a unit's amount: its retained pay."""
    return np.minimum(rules.min_bond / setting.amount, done * (1 - rules.fee))


def _washing(rules: Rules) -> Career:
    """A payment of one unit's amount to oneself, for nothing: the fee is lost, and at most a fraction of it comes back."""
    return Career(gain=rules.fee * (rules.economics.emission.work_bps / BPS - 1), slashed=0.0, units=1.0, caught=0.0, passed=0.0)


def least_bond(kind: Cheat, rules: Rules, setting: Setting) -> float | None:
    """The least bond, in SURGE, with which this cheat loses; 0 where it loses without one, None where none up to a million is enough."""
    if career(kind, rules.with_(bond=0), setting).gain < 0:
        return 0.0
    low, high = 1.0, 1e6
    if career(kind, rules.with_(bond=high), setting).gain >= 0:
        return None
    while high / low > 1.05:
        middle = (low * high) ** 0.5
        loses = career(kind, rules.with_(bond=middle), setting).gain < 0
        low, high = (low, middle) if loses else (middle, high)
    return high
