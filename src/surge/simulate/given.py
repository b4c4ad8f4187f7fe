"""What an attempt to cheat takes place in, and what it is dealt with there: chances of a check, fees, a case's split. In wei; no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from surge.core import credibility, emission, pricing
from surge.core.court import SIZES, Outcome
from surge.core.economics import FOUNDING, Economics
from surge.core.pricing import Prices
from surge.core.settling import Split, split
from surge.core.types import GIGA

JOB = 1_000
"""Units of one job that a device does: what is run again, and can be claimed to be wrong, when it is caught."""


@dataclass(frozen=True)
class Given:
    """What the lines are computed with."""

    economics: Economics = FOUNDING
    """The parameters that the network is founded with."""
    certainty: float = credibility.CERTAINTY
    """What the buyer asks for."""
    least_chance: float = credibility.LEAST_CHANCE
    """The lowest chance of a check."""
    unit: int = 10
    """Gigafuel of a unit; its limit is twice that."""
    floor: int = 10**16
    """Wei: the floor of a channel, as offers ask for it by default."""
    ring: float = 0.05
    """The part of the devices that belongs to a ring."""
    by_price: bool = True
    """Whether units are drawn by their price over the bond as well, as the auditor does."""
    courts: bool = True
    """Whether buyers take wrong receipts to court."""

    @property
    def bond(self) -> int:
        """Wei that the operator has staked itself."""
        return self.economics.network.min_bond

    @property
    def limit(self) -> int:
        """The unit's fuel limit."""
        return 2 * self.unit * GIGA

    def amount(self, fuel: int) -> int:
        """Wei for a unit at the default prices."""
        prices = Prices(self.economics.gigafuel, self.economics.memory, self.economics.transfer, self.economics.compile, GIGA)
        return pricing.unit_amount(prices, fuel, pricing.TYPICAL_MEMORY, self.unit * pricing.TYPICAL_MOVED)

    @cached_property
    def price(self) -> int:
        """Wei for a unit that was billed as it should be."""
        return self.amount(self.unit * GIGA)

    def after_fee(self, amount: int) -> int:
        """What a provider gets of a payment, in wei."""
        return amount - self.fee_of(amount)

    def fee_of(self, amount: int) -> int:
        """The protocol's part of a payment, in wei."""
        return amount * self.economics.network.fee_bps // emission.BPS

    @property
    def fee(self) -> int:
        """Wei that a juror is paid."""
        return self.economics.court.fee(self.limit)

    @property
    def worth(self) -> int:
        """The most that a case with the smallest jury may be worth, in wei."""
        return self.economics.court.max_worth(self.limit, SIZES[0])

    @property
    def opener_bond(self) -> int:
        """Wei that the opener of such a case risks beside the costs."""
        return self.economics.court.bond(self.worth)

    def ended(self, outcome: Outcome, paid: int = SIZES[0]) -> Split:
        """Who gets what of such a case."""
        pot = SIZES[0] * self.fee
        return split(outcome, worth=self.worth, fee=self.fee, bond=self.opener_bond, pot=pot, held=self.bond, paid=paid, own=self.bond)

    def opener_loses(self, outcome: Outcome, paid: int = SIZES[0]) -> int:
        """Wei that a case costs its opener."""
        return self.economics.court.deposit(self.limit, SIZES[0], self.worth) - self.ended(outcome, paid).opener

    @property
    def case(self) -> int:
        """Wei that a case costs an accused that is convicted."""
        return self.ended(Outcome.CONVICTED).slashed

    def chance(self, amount: int) -> float:
        """The chance of a check of a device that is as well known as any, for a unit that is billed with so many wei."""
        needed = credibility.checks_needed(self.certainty)
        known = credibility.audit_chance(credibility.MEMORY, needed, needed, self.least_chance)
        dear = min(1.0, amount / self.bond) if self.by_price and self.bond else 0.0
        return 1 - (1 - known) * (1 - dear)

    def taken(self, found: float) -> int:
        """Wei that the court takes when a cheat is found whose every unit is wrong, where a wrong unit is found with this chance.

        With N wrong units that passed before, geometrically distributed, it takes a case for each of N + 1 until the bond is gone, or the
        job's units are: of K cases at most, and the expectation of min(K, N + 1) is (1 - (1 - found)^K) / found.
        """
        if not self.courts or not self.case:
            return 0
        most = min(self.bond / self.case, float(JOB))
        return int(self.case * ((1 - (1 - found) ** most) / found))

    @property
    def escapes(self) -> bool:
        """Whether a bond can be out before the longest case about the oldest claim has ended."""
        court = self.economics.court
        return self.economics.network.unbonding_seconds <= court.max_claim_age + court.longest_case
