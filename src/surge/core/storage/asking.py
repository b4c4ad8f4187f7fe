"""What holders ask, and which of them ask so much more than others that nothing is put, read or left there. Pure.

Who stores pays three things: for keeping, for moving, and a floor for each channel, whatever is done on it. A device is chosen by the first
alone, so without a bound on the others it would be paid whatever it likes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from surge.core import asking
from surge.core.asking import LEAST_OPENING, MOST_TIMES
from surge.core.economics import FOUNDING
from surge.core.offers import Offer

LEAST_STORAGE: Final = 2 * 10**15
"""Wei for 10^9 bytes over 30 days that count as usual, at least: what devices ask that were not told otherwise."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual, in wei."""

    storage: int = LEAST_STORAGE
    """For 10^9 bytes over 30 days."""
    transfer: int = FOUNDING.transfer
    """For 10^9 bytes moved."""
    opening: int = LEAST_OPENING
    """The floor of a channel."""

    def allows(self, offer: Offer) -> bool:
        """Whether a device asks for no more than some times as much."""
        moved, floor = offer.prices.transfer <= MOST_TIMES * self.transfer, offer.opening <= MOST_TIMES * self.opening
        return self.allows_keeping(offer.storage) and moved and floor

    def allows_keeping(self, price: int) -> bool:
        """Whether a price for keeping is no more than that."""
        return price <= MOST_TIMES * self.storage


def usual(offers: Iterable[Offer]) -> Usual:
    """What is usual: the median over operators of the least that each asks, and no less than what devices ask by themselves."""
    asked = list(offers)
    return Usual(
        asking.usual(asked, lambda offer: offer.storage, LEAST_STORAGE),
        asking.usual(asked, lambda offer: offer.prices.transfer, FOUNDING.transfer),
        asking.usual_opening(asked),
    )
