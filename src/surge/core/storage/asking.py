"""What holders ask, and which of them ask so much more than others that nothing is put, read or left there. Pure.

Who stores pays three things: for keeping, for moving, and a floor for each channel, whatever is done on it. A device is chosen by the first
alone, so without a bound on the others it would be paid whatever it likes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from surge.core.economics import FOUNDING
from surge.core.offers import Offer
from surge.core.types import Address

MOST_TIMES: Final = 16
"""So many times what is usual may be asked."""

LEAST_STORAGE: Final = 2 * 10**15
"""Wei for 10^9 bytes over 30 days that count as usual, at least: what devices ask that were not told otherwise."""

LEAST_OPENING: Final = 10**16
"""Wei of a channel's floor that do."""


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
    asked: dict[Address, tuple[int, int, int]] = {}
    for offer in offers:
        asks = offer.storage, offer.prices.transfer, offer.opening
        before = asked.get(offer.operator, asks)
        asked[offer.operator] = min(before[0], asks[0]), min(before[1], asks[1]), min(before[2], asks[2])
    if not asked:
        return Usual()
    storage, transfer, opening = (median_low(each) for each in zip(*asked.values(), strict=True))
    least = Usual()
    return Usual(max(storage, least.storage), max(transfer, least.transfer), max(opening, least.opening))
