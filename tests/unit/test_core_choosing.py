"""Which offers a job tries first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from offers_support import OFFER, who
from surge.core.choosing import effective_price, in_order, places_for_newcomers
from surge.core.offers import SignedOffer
from surge.core.standing import Standing
from surge.core.types import Address

MEMORY = 512 << 20
KNOWN, BAD = Standing(0.99, known=True), Standing(0.2)


def offer(number: int, price: int = 10**15, *, operator: int | None = None, speed: int = 10**9) -> SignedOffer:
    prices = replace(OFFER.prices, gigafuel=price, speed=speed)
    return SignedOffer(
        replace(OFFER, device=who(number), operator=who(1000 + (number if operator is None else operator)), prices=prices), b""
    )


def numbers(found: list[SignedOffer]) -> list[int]:
    return [int(each.offer.device, 16) for each in found]


def test_price_standing_and_speed_decide_in_this_order() -> None:
    offers = [offer(1, 2 * 10**15), offer(2), offer(3, speed=10**10), offer(4, 11 * 10**14), offer(5)]
    assert numbers(in_order(offers, {}, MEMORY)) == [3, 2, 5, 4, 1]
    assert numbers(in_order(offers, {who(4): KNOWN, who(2): BAD}, MEMORY))[0] == 4, "a tenth dearer and well known"
    assert numbers(in_order(offers, {who(4): KNOWN, who(2): BAD}, MEMORY))[-2:] == [2, 1]
    slow = Standing(0.5, speed=1e8)
    assert numbers(in_order(offers, {who(3): slow}, MEMORY))[:3] == [2, 5, 3], "what was measured counts, not what is stated"
    boaster = Standing(0.5, speed=1e12)
    assert numbers(in_order(offers, {who(5): boaster}, MEMORY))[:3] == [3, 2, 5], "and never more than is stated"


def test_a_hundredth_of_standing_is_worth_a_hundredth_of_the_price() -> None:
    known, less = (effective_price(OFFER.prices, Standing(value), MEMORY) for value in (1.0, 0.99))
    assert less / known == pytest.approx(1.01)


def test_one_that_was_caught_is_left_out_and_one_that_never_gave_a_result_is_there_only_where_nobody_else_is() -> None:
    offers = [offer(1, 1), offer(2, 2), offer(3)]
    vain = Standing(0.0, in_vain=True)
    held = {who(1): Standing(0.0, caught=True), who(2): vain}
    assert numbers(in_order(offers, held, MEMORY, wanted=8)) == [3]
    assert numbers(in_order(offers[:2], held, MEMORY, wanted=8)) == [2]
    assert numbers(in_order(offers[:2], held, MEMORY, wanted=8, alone=False)) == []


def test_one_place_in_eight_is_a_newcomers() -> None:
    lots = [bytes([each]) for each in range(256)]
    for wanted in (1, 2, 7, 8, 9, 20):
        places = [places_for_newcomers(wanted, lot) for lot in lots]
        assert sum(places) / len(places) == pytest.approx(wanted / 8)
        assert max(places) - min(places) <= 1


def crowd(newcomers: int) -> tuple[list[SignedOffer], dict[Address, Standing]]:
    """Ten that are known, and newcomers at the same price."""
    return [offer(each) for each in range(1, 11 + newcomers)], {who(each): KNOWN for each in range(1, 11)}


def test_a_newcomer_gets_its_chance_beside_those_that_are_known() -> None:
    offers, held = crowd(5)
    drawn = Counter()
    for lot in range(200):
        first = numbers(in_order(offers, held, MEMORY, wanted=8, lot=lot.to_bytes(2, "big")))[:8]
        assert len(set(first)) == 8
        drawn.update(each for each in first if each > 10)
    assert sum(drawn.values()) == 200, "one of the eight, in every job"
    assert set(drawn) == {11, 12, 13, 14, 15}
    assert min(drawn.values()) > 20, "and each of them in its turn"


def test_nobody_buys_a_newcomers_place_by_many_devices_or_by_asking_less() -> None:
    offers, held = crowd(1)
    ring = [offer(100 + each, operator=7, price=10**15 - 1) for each in range(50)]
    first = Counter(
        next(each for each in numbers(in_order([*offers, *ring], held, MEMORY, wanted=8, lot=lot.to_bytes(2, "big")))[:8] if each > 10)
        for lot in range(200)
    )
    assert 60 < first[11] < 140, "fifty devices of one operator have the chance of one"


def test_a_newcomer_that_is_dearer_gets_no_place_and_one_that_is_cheapest_needs_none() -> None:
    offers, held = crowd(0)
    assert numbers(in_order([*offers, offer(50, 2 * 10**15)], held, MEMORY, wanted=8)) == [*range(1, 11), 50]
    assert numbers(in_order([*offers, offer(50, 10**14), offer(51)], held, MEMORY, wanted=8))[:8] == [50, *range(1, 8)]
