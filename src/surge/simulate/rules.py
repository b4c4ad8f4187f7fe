"""The network's own rules, applied to arrays of agents.

Amounts here are whole *grains* of 10^9 wei: the world's tokens fit into 64 bits in them, so that every account is an exact integer and
what goes in comes out. The rules themselves are `core`'s; what is here turns their units, and evaluates them once for many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from surge.core import credibility, emission, pricing
from surge.core.court import PART, SIZES
from surge.core.economics import FOUNDING, Economics
from surge.core.parameters import SURGE
from surge.core.pricing import Prices
from surge.core.types import GIGA
from surge.simulate.devices import Array

GRAIN = 10**9
"""Wei in a grain."""

SURGE_GRAINS = SURGE // GRAIN
"""Grains of one SURGE."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one network, in grains."""

    economics: Economics = FOUNDING
    """The parameters that the network is founded with."""
    certainty: float = credibility.CERTAINTY
    """What buyers ask for."""
    least_chance: float = credibility.LEAST_CHANCE
    """The lowest chance of a check."""
    unit: int = 10
    """Gigafuel of a unit."""

    @property
    def needed(self) -> int:
        """Passed checks until a device is believed."""
        return credibility.checks_needed(self.certainty)

    @property
    def floor(self) -> float:
        """The chance of a check with any number of units behind a device."""
        return float(credibility.audit_chance(float(credibility.MEMORY), float(self.needed), self.needed, self.least_chance))

    @property
    def min_bond(self) -> int:
        """Grains."""
        return self.economics.network.min_bond // GRAIN

    @property
    def epoch_days(self) -> int:
        """Days of an epoch of emission."""
        return max(1, self.economics.network.epoch_seconds // 86_400)

    @property
    def unbonding_days(self) -> int:
        """Days until stake that leaves is free."""
        return -(-self.economics.network.unbonding_seconds // 86_400)

    def extras(self) -> int:
        """Grains that go with a unit beside its fuel: memory for as long as it takes, bytes moved. At the default prices and speed."""
        prices = Prices(0, self.economics.memory, self.economics.transfer, self.economics.compile, GIGA)
        amount = pricing.unit_amount(prices, self.unit * GIGA, pricing.TYPICAL_MEMORY, self.unit * pricing.TYPICAL_MOVED)
        return amount // GRAIN

    def unit_amounts(self, asks: Array) -> Array:
        """Grains for a unit at each price. As `pricing.unit_amount`, whose part for fuel is the price times the gigafuel.

        Args:
            asks: grains for a gigafuel.
        """
        return np.ceil(asks * self.unit).astype(np.int64) + self.extras()

    @property
    def fee(self) -> float:
        """The protocol's part of a payment, as a fraction."""
        return self.economics.network.fee_bps / emission.BPS

    def fees(self, amounts: Array) -> Array:
        """The protocol's part of payments, in grains, rounded down as the channel contract does."""
        return amounts * self.economics.network.fee_bps // emission.BPS

    def chances(self, units: Array, checks: Array) -> Array:
        """The chance with which the next result of each device is checked."""
        return credibility.audit_chance(units, checks, self.needed, self.least_chance)

    def kept(self, days: float = 1.0) -> float:
        """The fraction of evidence that is left after some days."""
        return credibility.decayed(1.0, days * 86_400)

    def budget(self, epoch: int) -> int:
        """Grains that an epoch may mint; the first is 0."""
        return int(emission.budget(self.economics.emission.first_budget, self.economics.emission.decay, epoch)) // GRAIN

    def rewards(self, epoch: int, fees: Array) -> Array:
        """Grains minted for each operator's work in an epoch.

        Args:
            epoch: its number, from 0.
            fees: grains of fees that each operator's work paid in.
        """
        earned = np.zeros_like(fees)
        some = np.flatnonzero(fees)
        paid, every = fees[some].astype(np.float64), float(fees.sum())
        earned[some] = np.floor(emission.reward(self.budget(epoch), paid, every, self.economics.emission.work_bps))
        return earned

    @property
    def limit(self) -> int:
        """The fuel limit of units, by which the court reckons: twice what they take. With a higher one a cheat would lose more."""
        return 2 * self.unit * GIGA

    @property
    def jury(self) -> int:
        """Grains that the smallest jury is paid for a case."""
        return SIZES[0] * self.economics.court.fee(self.limit) // GRAIN

    @property
    def case(self) -> int:
        """Grains that the accused loses in a case at most: what it may be worth, and what its smallest jury is paid."""
        return self.economics.court.max_worth(self.limit, SIZES[0]) // GRAIN + self.jury

    def burnt(self, slashed: Array) -> Array:
        """What of slashes for cases, in grains, nobody gets: for each case as `settling.split` has it; the last may be short."""

        def of(taken: Array) -> Array:
            lost = np.maximum(taken - self.jury, 0)
            return lost - lost // PART - lost // PART // SIZES[0] * SIZES[0]

        return slashed // self.case * of(np.array(self.case)) + of(slashed % self.case)

    def with_(self, *, bond: float | None = None, chance: float | None = None, unit: int | None = None) -> Rules:
        """These rules with other parameters.

        Args:
            bond: in SURGE.
            chance: the lowest chance of a check. As the passed checks that buyers ask for keep it from falling as well, fewer are asked for
                where it would not be reached otherwise.
            unit: in gigafuel.
        """
        network, certainty, least = self.economics.network, self.certainty, self.least_chance
        if bond is not None:
            network = replace(network, min_bond=int(bond * SURGE_GRAINS) * GRAIN)
        if chance is not None:
            enough = 1 - credibility.wrong_bound(int(chance * credibility.MEMORY))
            certainty, least = min(certainty, enough - 1e-12), chance
        economics = replace(self.economics, network=network)
        return replace(self, economics=economics, certainty=certainty, least_chance=least, unit=self.unit if unit is None else unit)
