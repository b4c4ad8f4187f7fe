"""A network's economy as it is founded: its numbers, its court's, its emission and its prices, in one place for the network and its model.

Amounts are wei. What each number does in the long run, and where it stops being enough, stands in `docs/economics.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from surge.core import emission
from surge.core.court import CourtParameters
from surge.core.parameters import PUBLIC, SURGE, Parameters
from surge.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Emission:
    """What is minted for work."""

    first_budget: int = 6_600_000 * SURGE
    """Most that the first epoch mints."""
    decay: int = 993_357_000_000_000_000
    """Of 10^18: what each epoch's budget keeps of the one before. Half is left after two years of weeks."""
    work_bps: int = 8_000
    """Most that anybody's work is rewarded with, in basis points of the fees it brought in: paying oneself loses a fifth of the fee."""

    @property
    def most(self) -> int:
        """Wei that all epochs together mint at most."""
        return self.first_budget * emission.ONE // (emission.ONE - self.decay)


@dataclass(frozen=True, slots=True)
class Economics:
    """The parameters of a network's economy. The defaults are those that a public network is founded with."""

    network: Parameters = PUBLIC
    """Supply, fee, bonds and epochs."""
    court: CourtParameters = field(default_factory=CourtParameters)
    """Fees, bounds and periods of disputes."""
    emission: Emission = field(default_factory=Emission)
    """What is minted for work."""
    gigafuel: int = 10**15
    """The default price of 10^9 fuel: an hour of one core of a small computer, about 1 gigafuel a second, comes to 3.6 SURGE."""
    memory: int = 10**12
    """The default price of a gigabyte of reserved memory over a second: a thousandth of a core."""
    transfer: int = 10**15
    """The default price of 10^9 bytes moved: 0.001 SURGE."""
    compile: int = 10**14
    """The default price of 10^6 bytes of module compiled: a megabyte takes about 2 s of a core."""

    def __post_init__(self) -> None:
        minted = self.emission
        if not emission.MIN_DECAY <= minted.decay <= emission.MAX_DECAY or not 0 <= minted.work_bps <= emission.MAX_WORK_BPS:
            raise InvalidInput("the budget decays, and work is rewarded with less than its fees", decay=minted.decay, work=minted.work_bps)
        if self.network.supply + minted.most > self.network.cap:
            raise InvalidInput("emission would mint more than the cap leaves: a lower first budget, or a faster decay", most=minted.most)


FOUNDING = Economics()
"""What a public network is founded with unless its founder says otherwise."""
