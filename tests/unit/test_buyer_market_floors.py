"""Who asks for many times the usual floor of a channel is not used, however little its work costs, but by those who name it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from offers_support import OFFER, who
from surge.buyer.market import Market
from surge.buyer.operators import Operators
from surge.buyer.plan import Wishes
from surge.buyer.retaining import SERVICE, suitable
from surge.core.asking import LEAST_OPENING, MOST_TIMES
from surge.core.offers import SignedOffer
from surge.core.standing import Standing
from surge.errors import NoProvider

DEAR = 9


def offers(dear: int, honest: int = LEAST_OPENING) -> list[SignedOffer]:
    """Of three honest operators and one that asks for another floor, on many devices."""
    plain = [replace(OFFER, device=who(number), operator=who(100 + number), opening=honest) for number in range(3)]
    others = [replace(OFFER, device=who(DEAR + number), operator=who(200), opening=dear) for number in range(8)]
    return [SignedOffer(each, bytes(65)) for each in (*plain, *others)]


class Board:
    connected = tuple(OFFER.relays)

    def __init__(self, found: list[SignedOffer]) -> None:
        self.found = found

    async def offers(self, query: object) -> list[SignedOffer]:
        return self.found


class Judge:
    async def standings(self, whom: Any, *, patience: float | None = None) -> dict[str, Standing]:
        return {each.device: Standing() for each in whom}


def market(found: list[SignedOffer], monkeypatch: pytest.MonkeyPatch) -> Market:
    async def confirmed(self: Operators, given: list[SignedOffer]) -> list[SignedOffer]:
        return given

    monkeypatch.setattr(Operators, "confirmed", confirmed)
    nothing, network = cast(Any, None), cast(Any, type("Network", (), {"network_id": OFFER.network}))
    return Market(network, nothing, cast(Any, Board(found)), nothing, nothing, cast(Any, Judge()))


async def kept_out(found: list[SignedOffer], monkeypatch: pytest.MonkeyPatch, wishes: Wishes) -> set[str | None]:
    rows = await market(found, monkeypatch).judged(wishes, 1 << 20)
    return {failed for signed, failed, _ in rows if signed.offer.operator == who(200)}


async def test_a_job_opens_no_channel_with_a_floor_of_many_times_what_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await kept_out(offers(MOST_TIMES * LEAST_OPENING + 1), monkeypatch, Wishes()) == {"max_opening"}
    assert await kept_out(offers(MOST_TIMES * LEAST_OPENING), monkeypatch, Wishes()) == {None}
    assert await kept_out(offers(10**19, honest=10**18), monkeypatch, Wishes()) == {None}, "where everybody asks for much, that is usual"
    plan = cast(Any, type("Plan", (), {"wishes": Wishes(), "limits": type("Limits", (), {"memory": 1 << 20}), "id": bytes(32)}))
    found = await market(offers(10**21), monkeypatch).matching(plan)
    assert {each.offer.device for each in found.chosen} == {who(number) for number in range(3)}
    assert found.excluded == {"max_opening": 8}


async def test_who_names_a_device_pays_the_floor_that_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = offers(10**21)
    (named,) = [each for each in found if each.offer.device == who(DEAR)]
    assert None in await kept_out(found, monkeypatch, Wishes(providers=(named.offer.device,)))


def test_no_core_is_held_on_a_channel_with_such_a_floor_but_where_it_is_named() -> None:
    found = [SignedOffer(replace(each.offer, retainer=1, services=(SERVICE,)), each.signature) for each in offers(10**21)]
    assert {each.offer.device for each in suitable(found, 3, 1, None)} == {who(number) for number in range(3)}
    with pytest.raises(NoProvider, match=r"8 ask more than 0\.16 SURGE for a channel"):
        suitable(found, 4, 1, None)
    assert [each.offer.device for each in suitable(found, [who(DEAR)], 1, None)] == [who(DEAR)]
