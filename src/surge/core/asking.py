"""What is usual to ask, and how much more than that may be asked. Pure.

A channel pays its floor whatever is done on it, and offers are compared by what work costs: without a bound a device would be paid any
floor that it likes. What a few operators ask does not move what is usual, however many devices they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median_low
from typing import Final

from surge.core.offers import Offer
from surge.core.types import Address

MOST_TIMES: Final = 16
"""So many times what is usual may be asked."""

LEAST_OPENING: Final = 10**16
"""Wei of a channel's floor that count as usual, at least: what devices ask that were not told otherwise."""


def usual(offers: Iterable[Offer], asks: Callable[[Offer], int], least: int) -> int:
    """What is usual of one price, in wei: the median over operators of the least that each asks, and no less than `least`."""
    asked: dict[Address, int] = {}
    for offer in offers:
        asked[offer.operator] = min(asked.get(offer.operator, asks(offer)), asks(offer))
    return max(least, median_low(asked.values())) if asked else least


def usual_opening(offers: Iterable[Offer]) -> int:
    """The floor of a channel that is usual, in wei."""
    return usual(offers, lambda offer: offer.opening, LEAST_OPENING)


def most_opening(offers: Iterable[Offer]) -> int:
    """The floor of a channel that may be asked beside these offers, in wei."""
    return MOST_TIMES * usual_opening(offers)
