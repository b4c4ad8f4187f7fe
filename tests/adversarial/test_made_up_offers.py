"""Offers of devices and operators that nobody registered, in masses, and a ledger that answers late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from surge.buyer import operators
from surge.buyer.market import Market
from surge.core.offers import Offer, SignedOffer
from surge.core.types import Address, address
from surge.errors import SurgeError, Unavailable

NETWORK = b"n" * 32
OPERATOR, OTHER = address("0x" + "22" * 20), address("0x" + "33" * 20)


def device(number: int) -> Address:
    return address(f"0x{number:040x}")


@dataclass(frozen=True)
class Claim:
    """What the market looks at in an offer."""

    device: Address
    operator: Address
    network: bytes = NETWORK


def offer(number: int, operator: Address = OPERATOR) -> SignedOffer:
    return SignedOffer(cast(Offer, Claim(device(number), operator)), b"")


@dataclass
class Registry:
    """A ledger that knows who is registered, and counts what it is asked."""

    registered: set[Address]
    fails: Callable[[Address], bool] = lambda device: False
    hangs: bool = False
    asked: list[Address] = field(default_factory=list)
    at_once: int = 0
    most: int = 0
    bonds: object = None

    async def operator_of(self, device: Address) -> Address | None:
        self.asked.append(device)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await (asyncio.Event().wait() if self.hangs else asyncio.sleep(0))
        finally:
            self.at_once -= 1
        if self.fails(device):
            raise Unavailable("429: too many requests")
        return OPERATOR if device in self.registered else None


@dataclass
class Board:
    """Relays that list these offers."""

    listed: Sequence[SignedOffer]

    async def offers(self, query: object) -> list[SignedOffer]:
        return list(self.listed)


@dataclass
class _Network:
    network_id: bytes = NETWORK


def market(registry: Registry, listed: Sequence[SignedOffer]) -> Market:
    nothing = cast(Any, None)
    return Market(cast(Any, _Network()), cast(Any, registry), cast(Any, Board(listed)), nothing, nothing, nothing)


def numbers(found: Sequence[SignedOffer]) -> list[int]:
    return [int(signed.offer.device, 16) for signed in found]


async def test_made_up_offers_cost_one_question_each_and_few_at_once() -> None:
    registry = Registry({device(500)})
    buyer = market(registry, [*map(offer, range(1000)), offer(500, OTHER)])
    looks = await asyncio.gather(buyer.offers(), buyer.offers())
    looks.append(await buyer.offers())
    assert [numbers(found) for found in looks] == [[500]] * 3
    assert len(registry.asked) == 1001
    assert registry.most <= 8


async def test_a_device_that_is_registered_later_is_found_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry({device(1)})
    buyer = market(registry, [offer(1), offer(2)])
    assert numbers(await buyer.offers()) == [1]
    registry.registered.add(device(2))
    assert numbers(await buyer.offers()) == [1], "a no is believed for a while"
    monkeypatch.setattr(operators, "DENIED_SECONDS", 0.0)
    assert numbers(await buyer.offers()) == [1, 2]


async def test_a_question_that_fails_costs_its_own_offer_only() -> None:
    registry = Registry({device(1), device(2)}, fails=lambda each: each != device(1))
    buyer = market(registry, [offer(0), offer(1), offer(2)])
    assert numbers(await buyer.offers()) == [1]
    registry.fails = lambda each: False
    assert numbers(await buyer.offers()) == [1, 2], "it is asked again at the next look"
    with pytest.raises(SurgeError, match="429"):
        await market(Registry(set(), fails=lambda each: True), [offer(1)]).offers()


async def test_what_could_not_be_asked_in_time_keeps_nobody_waiting_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "LOOK_SECONDS", 0.05)
    registry = Registry({device(1), device(9)})
    listed = [offer(0), offer(1), *map(offer, range(2, 9))]
    buyer = market(registry, listed)
    assert numbers(await buyer.offers()) == [1]
    registry.hangs = True
    buyer._relays = cast(Any, Board([*listed, offer(9)]))
    assert numbers(await buyer.offers()) == [1], "the ledger hangs: what is known is offered"
    registry.hangs = False
    monkeypatch.setattr(operators, "DENIED_SECONDS", 0.0)
    registry.asked.clear()
    assert numbers(await buyer.offers()) == [1, 9]
    assert registry.asked[0] == device(9), "one that was never judged comes before those that were"


async def test_answers_that_are_kept_are_bounded_and_what_was_confirmed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "MAX_KEPT", 10)
    registry = Registry({device(0)})
    buyer = market(registry, list(map(offer, range(100))))
    assert numbers(await buyer.offers()) == [0]
    assert len(buyer._operators._denied) == 10
    registry.asked.clear()
    assert numbers(await buyer.offers()) == [0]
    assert device(0) not in registry.asked
