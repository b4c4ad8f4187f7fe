"""Who asks for many times what others ask is not used, whichever of the three prices it hides that in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from offers_support import OFFER, who
from surge.cli.lending import PRICE
from surge.core.asking import LEAST_OPENING, MOST_TIMES
from surge.core.offers import Offer, SignedOffer
from surge.core.storage.asking import LEAST_STORAGE, Usual, usual
from surge.provider.config import ProviderConfig, Rates
from surge.storage.fleet import Fleet

HONEST = replace(OFFER, services=("storage",), storage=PRICE, room=1 << 30, opening=10**16)


def offers_of(*changed: Offer, honest: int = 4) -> list[Offer]:
    plain = [replace(HONEST, device=who(number), operator=who(100 + number)) for number in range(honest)]
    return [*plain, *(replace(each, device=who(50 + at), operator=who(150 + at)) for at, each in enumerate(changed))]


DEAR = [
    replace(HONEST, storage=10**24),
    replace(HONEST, storage=1, prices=replace(HONEST.prices, transfer=10**24)),
    replace(HONEST, storage=1, opening=10**21),
]


def test_what_is_usual_is_at_least_what_devices_ask_by_themselves() -> None:
    assert Usual() == Usual(PRICE, Rates().transfer, ProviderConfig().opening)
    assert usual([]) == usual(offers_of(replace(HONEST, storage=1, opening=0), honest=0)) == Usual()
    assert (PRICE, ProviderConfig().opening) == (LEAST_STORAGE, LEAST_OPENING)


@pytest.mark.parametrize("dear", DEAR)
def test_one_who_asks_for_many_times_as_much_is_not_allowed_however_cheap_the_rest(dear: Offer) -> None:
    offers = offers_of(dear)
    assert [usual(offers).allows(each) for each in offers] == [True] * 4 + [False]
    assert usual([each for each in offers if each.operator != who(150)] + [dear] * 9).allows(dear) is False, "devices of one operator"


def test_prices_that_are_high_for_everybody_are_what_is_usual() -> None:
    offers = [replace(each, storage=100 * PRICE, opening=10**18) for each in offers_of()]
    assert all(map(usual(offers).allows, offers))
    assert not usual(offers).allows_keeping(MOST_TIMES * 100 * PRICE + 1)


@pytest.mark.parametrize("dear", DEAR)
async def test_nothing_is_put_read_or_left_with_one_who_asks_for_many_times_what_is_usual(dear: Offer) -> None:
    class Offering:
        async def offers(self, service: str) -> list[SignedOffer]:
            assert service == "storage"
            return [SignedOffer(each, bytes(65)) for each in offers_of(dear)]

    market: Any = Offering()
    nothing: Any = None
    fleet = Fleet(nothing, market, nothing, nothing)
    assert sorted(await fleet.offers()) == [who(number) for number in range(4)]
