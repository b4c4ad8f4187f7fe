"""A provider that never gives a result: it is given little, remembered, and asked again only where nobody else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from offers_support import OFFER, who
from surge.buyer import scheduler as scheduler_rules
from surge.buyer.cuts import Abandon, Lane
from surge.buyer.market import Market
from surge.buyer.scheduler import Scheduler
from surge.buyer.watch import Watch
from surge.core.messages import Answer, Refusal
from surge.core.offers import Offer, SignedOffer
from surge.core.standing import IN_VAIN, Standing
from surge.core.types import Address
from surge.errors import NoProvider


def ends(scheduler: Scheduler, times: int, lane: str = "bad") -> list[Any]:
    """So many local endings of a lane, one item each; the effects of the last."""
    effects: list[Any] = []
    for _ in range(times):
        scheduler.items_arrived(1)
        rested = scheduler.lanes[lane].rests_until
        (one,) = [each for each in scheduler.assign(rested, {lane: 1}) if each.lane == lane]
        effects = scheduler.ended_locally(one.number, lane, now=rested)
    return effects


def scheduling() -> Scheduler:
    scheduler = Scheduler(chunk=1)
    scheduler.lane_joined(Lane("bad", 1, price=1))
    scheduler.lane_joined(Lane("good", 1, price=1, ready=False))
    return scheduler


def test_a_lane_that_never_gave_a_result_while_another_does_is_given_up() -> None:
    scheduler = scheduling()
    scheduler.lanes["good"].done = 1
    assert not ends(scheduler, IN_VAIN - 1)
    assert ends(scheduler, 1) == [Abandon("bad")]


def test_where_nobody_gives_a_result_it_is_the_job() -> None:
    assert not ends(scheduling(), IN_VAIN * 2)


def test_a_lane_that_gave_a_result_only_rests() -> None:
    scheduler = scheduling()
    scheduler.lanes["good"].done = scheduler.lanes["bad"].done = 1
    assert not ends(scheduler, IN_VAIN * 2)
    assert scheduler.lanes["bad"].rests_until > 0


async def test_a_provider_whose_units_all_end_with_nothing_is_asked_a_few_times_and_seen_to_be_so(
    beds: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_rules, "REST_SECONDS", 0.0)

    def fails(provider: FakeProvider, message: Any) -> Any:
        is_unit = isinstance(message, Answer) and provider.ran
        return Refusal(message.id, "local", "the worker was lost", b"") if is_unit else message

    useless = FakeProvider(functions={"f": abs}, seconds=lambda count: 0.03, mangle=fails)
    good = FakeProvider(functions={"f": abs}, seconds=lambda count: 0.01)
    bed = beds(useless, good)
    seen: dict[str, Counter[str]] = {}
    for one in (useless, good):
        counts = seen[one.device] = Counter()
        (await bed.peer(one)).watch = Watch(lambda what, count, counts=counts: counts.update({what: count}))
    assert await bed.map(bed.plan(chunk=1), range(100)) == list(range(100))
    counts = seen[useless.device]
    assert IN_VAIN <= counts["asked"] <= 2 * IN_VAIN, "and not a third of all"
    assert counts["local"] >= IN_VAIN
    assert seen[good.device]["asked"] >= 90
    assert not seen[good.device]["local"]


@dataclass
class Board:
    """Relays that list these offers."""

    listed: list[SignedOffer]
    connected: list[str] = field(default_factory=lambda: list(OFFER.relays))

    async def offers(self, query: object) -> list[SignedOffer]:
        return self.listed


class Registry:
    bonds = None

    async def operator_of(self, device: Address) -> Address:
        return OFFER.operator


@dataclass
class Judged:
    """Standings as they were decided elsewhere."""

    held: dict[Address, Standing]

    async def standings(self, offers: Any, *, patience: float | None = None) -> dict[Address, Standing]:
        return {each.device: self.held.get(each.device, Standing()) for each in offers}


def offer(number: int) -> SignedOffer:
    made: Any = {name: getattr(OFFER, name) for name in Offer.__slots__}
    return SignedOffer(Offer(**{**made, "device": who(number)}), b"")


def market(count: int, held: dict[Address, Standing]) -> Market:
    nothing = cast(Any, None)
    network = cast(Any, type("Network", (), {"network_id": OFFER.network}))
    return Market(network, cast(Any, Registry()), cast(Any, Board([offer(each) for each in range(1, count + 1)])), nothing, nothing,
        cast(Any, Judged(held)))  # fmt: skip


@pytest.fixture
def plan(beds: Callable[..., Bed]) -> Any:
    return beds().plan()


async def test_offers_are_tried_by_standing_and_what_keeps_one_out_is_said(plan: Any) -> None:
    held = {who(1): Standing(0.0, caught=True), who(3): Standing(0.9, known=True), who(4): Standing(0.0, in_vain=True)}
    found = await market(5, held).matching(plan, wanted=2)
    assert [int(each.offer.device, 16) for each in found.chosen] == [3, 2, 5]
    assert found.excluded == {"standing": 2}
    assert found.explain() == "3 of 5 offers pass: standing excluded 2"


async def test_one_that_was_caught_is_not_had_even_where_nobody_else_is(plan: Any) -> None:
    caught = market(1, {who(1): Standing(0.0, caught=True)})
    with pytest.raises(NoProvider, match="standing excluded 1"):
        await caught.recruit(plan, 1, cast(Any, None), has=(), without=())


async def test_one_that_never_gave_a_result_is_had_where_nobody_else_is_and_not_beside_others(plan: Any) -> None:
    vain = market(1, {who(1): Standing(0.0, in_vain=True)})
    assert len((await vain.matching(plan, wanted=8)).chosen) == 1
    with pytest.raises(NoProvider, match="standing excluded 1"):
        await vain.recruit(plan, 1, cast(Any, None), has=[who(9)], without=())


async def test_what_an_order_of_offers_says_of_each(plan: Any) -> None:
    held = {who(1): Standing(0.0, caught=True)}
    rows = await asyncio.wait_for(market(2, held).judged(plan.wishes, 1 << 20), 5)
    assert [(int(signed.offer.device, 16), failed) for signed, failed, _ in rows] == [(2, None), (1, "standing")]
