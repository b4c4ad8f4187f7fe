"""Where offers and demand meet: an order book in steps of price, and the curve of what buyers want at each.

Buyers compare what a result costs them: a device's price, and as much again as often as they check it. Offers are sorted into steps by
that, a step is a fortieth of a factor of e wide, and the market clears at the first step whose supply from below is not less than what
buyers want there. Every provider is paid what it asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surge.simulate.devices import Array

LOWEST = 1e-8
"""US dollars for a gigafuel, of the lowest step."""

PER_E = 40
"""Steps in a factor of e."""

STEPS = 400
"""Steps of the book: up to 2.2e-4 dollars for a gigafuel."""

ON_DEMAND = 0.34 / 8 / 3600
"""US dollars for a gigafuel that a vCPU of the cloud on demand comes to, at a gigafuel a second: what buyers go to instead."""


def steps_of(log_price: Array) -> Array:
    """The step that each price falls into, given its natural logarithm in US dollars for a gigafuel."""
    return np.clip(((log_price - np.log(LOWEST)) * PER_E).astype(np.int32), 0, STEPS - 1)


def step_prices() -> Array:
    """The price in the middle of each step, in US dollars for a gigafuel."""
    return LOWEST * np.exp((np.arange(STEPS) + 0.5) / PER_E)


@dataclass(slots=True)
class Buyers:
    """Who buys. Each wants more where it is cheaper, and nothing where the cloud is cheaper to it."""

    wants: Array
    """What each wants at each step, per unit of its activity: steps by buyers."""
    activity: Array
    """How much each has to do now: 1 on the average."""
    curve: Array
    """Gigafuel a day that all of them want now at each step's price."""

    @classmethod
    def drawn(cls, count: int, daily: float, reference: float, random: Any) -> Buyers:
        """Draw buyers that together want `daily` gigafuel at the price `reference`, in US dollars for a gigafuel."""
        size = random.pareto(1.5, count) + 0.1
        elasticity = np.clip(1.2 * np.exp(0.3 * random.standard_normal(count)), 0.5, 3.0)
        most = ON_DEMAND * np.exp(0.5 * random.standard_normal(count))
        price = step_prices()[:, None]
        wants = size * (price / reference) ** -elasticity * (price <= most)
        first = float(np.sum(size * (reference <= most)))
        wants = wants * (daily / first)
        return cls(wants=wants.astype(np.float32), activity=np.ones(count, dtype=np.float32), curve=wants.sum(axis=1))

    def stir(self, random: Any) -> None:
        """A week passes: each buyer's activity wanders, and returns to 1."""
        noise = random.standard_normal(len(self.activity)).astype(np.float32)
        self.activity = np.exp(0.9 * np.log(self.activity) + 0.15 * noise - 0.0059).astype(np.float32)
        self.curve = (self.wants @ self.activity).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Cleared:
    """A day's market."""

    price: float
    """What a result costs buyers at the margin, in US dollars for a gigafuel."""
    wanted: float
    """Gigafuel wanted at that price."""
    sold: float
    """Gigafuel sold."""
    filled: Array
    """The fraction of each step's supply that is sold."""


def clear(supply: Array, wanted: Array) -> Cleared:
    """Clear a day's market.

    Args:
        supply: gigafuel offered in each step.
        wanted: gigafuel wanted at each step's price.
    """
    below = np.cumsum(supply)
    enough = below >= wanted
    at = int(np.argmax(enough)) if enough.any() else STEPS - 1
    demand = float(wanted[at])
    rest = np.clip(demand - (below - supply), 0, supply)
    filled = np.divide(rest, supply, out=np.zeros(STEPS), where=supply > 0)
    return Cleared(price=float(step_prices()[at]), wanted=demand, sold=float(rest.sum()), filled=filled)
