"""Choosing among offers by price, standing and speed, so that newcomers get their chance. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from surge.core.offers import SignedOffer
from surge.core.pricing import Prices, typical_amount
from surge.core.standing import Standing
from surge.core.types import Address

NEWCOMERS = 8
"""One place in so many is kept for somebody whom the buyer does not know yet."""

NOBODY = Standing()
"""The standing of a device of which nothing is known."""


def effective_price(prices: Prices, standing: Standing, memory: int) -> float:
    """Wei for a typical unit, as offers are compared: a hundredth of standing is worth a hundredth of the price.

    A device with a standing of 1 is compared by its price, one with nothing to its name as if it asked half as much again: a newcomer's
    units are all checked, which costs the buyer about that, and its setup and channel may serve for little.
    """
    return typical_amount(prices, memory) * (2.0 - standing.value)


def places_for_newcomers(wanted: int, lot: bytes) -> int:
    """Of so many places, how many go to newcomers: an eighth in the long run, and all of it in jobs of eight or more.

    Args:
        wanted: providers that the job takes now.
        lot: random bytes of the job's own, at least one: they decide about what is left over.

    >>> places_for_newcomers(8, b"x"), places_for_newcomers(3, bytes([2])), places_for_newcomers(3, bytes([3]))
    (1, 1, 0)
    """
    whole, rest = divmod(wanted, NEWCOMERS)
    return whole + (lot[0] % NEWCOMERS < rest)


def in_order(
    offers: Sequence[SignedOffer],
    standings: Mapping[Address, Standing],
    memory: int,
    *,
    wanted: int = 0,
    lot: bytes = b"\x00",
    alone: bool = True,
) -> list[SignedOffer]:
    """Offers in the order in which a job that wants so many providers tries them; those of devices that were caught are left out.

    `alone`: whether the job has nobody yet.

    1. They come by effective price, then by speed: as measured here, otherwise as stated.
    2. Devices that never gave a result are there only where nobody else is.
    3. Of the first `wanted` places some are newcomers' (`places_for_newcomers`). Where fewer got there by themselves, the last of those go
       to newcomers that are no dearer than whom they replace, by lot, one of an operator: nobody buys these places by asking less.
    """
    of = {each.offer.device: standings.get(each.offer.device, NOBODY) for each in offers}

    def rank(signed: SignedOffer) -> tuple[float, float, str]:
        offer, held = signed.offer, of[signed.offer.device]
        speed = float(offer.prices.speed) if held.speed is None else min(held.speed, float(offer.prices.speed))
        return effective_price(offer.prices, held, memory), -speed, offer.device

    # 1
    ranked = sorted((each for each in offers if not of[each.offer.device].caught), key=rank)
    # 2
    useful = [each for each in ranked if not of[each.offer.device].in_vain]
    ranked = useful if useful or not alone else ranked
    # 3
    first, rest = ranked[:wanted], ranked[wanted:]
    kept = places_for_newcomers(wanted, lot) - sum(_is_new(of[each.offer.device]) for each in first)
    replaced = [each for each in first if not _is_new(of[each.offer.device])][::-1]
    drawn = _drawn([each for each in rest if _is_new(of[each.offer.device])], lot)
    for old in replaced[: max(kept, 0)]:
        most = typical_amount(old.offer.prices, memory)
        new = next((each for each in drawn if typical_amount(each.offer.prices, memory) <= most), None)
        if new is not None:
            drawn.remove(new)
            first[first.index(old)], rest[rest.index(new)] = new, old
    return first + sorted(rest, key=rank)


def _is_new(held: Standing) -> bool:
    return not held.known


def _drawn(newcomers: Sequence[SignedOffer], lot: bytes) -> list[SignedOffer]:
    """One newcomer of each operator, in the order of the job's lot."""
    found: dict[Address, SignedOffer] = {}
    for each in sorted(newcomers, key=lambda signed: _ticket(lot, signed.offer.device)):
        found.setdefault(each.offer.operator, each)
    return [found[operator] for operator in sorted(found, key=lambda operator: _ticket(lot, operator))]


def _ticket(lot: bytes, whose: Address) -> bytes:
    return hashlib.sha256(lot + whose.encode()).digest()
