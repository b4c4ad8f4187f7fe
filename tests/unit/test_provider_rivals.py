"""Why a device gets no work, as far as it can see its market."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from offers_support import OFFER, who
from surge.core.offers import Offer, SignedOffer
from surge.core.pricing import typical_amount
from surge.errors import Unavailable
from surge.provider import rivals
from surge.provider.rivals import Rivals, compared, reasons
from surge.provider.status import explain, stands

OWN = OFFER

WAITS: dict[str, Any] = {
    **{"paused": "", "storage": "", "under_way": 0, "last_call": 0, "since": 0, "calls": 0, "sessions": 0, "offer_trouble": ""},
    **{"relays": ["nats://a"], "relay_troubles": {}, "offer": {"sequence": 1, "relays": 2, "expires": 9}, "refused": {}},
}
"""The status of a device that waits for work."""


def other(number: int, price: int = 10**15, **changes: Any) -> Offer:
    return replace(OFFER, device=who(number), prices=replace(OFFER.prices, gigafuel=price), **changes)


GOOD: dict[str, Any] = {
    **{"listed": True, "others": 3, "cheaper": 0, "own": 5, "median": 5, "cheapest": 5, "engine": 2},
    **{"bond": None, "least_bond": 10, "buyers": 1, "refused": 0},
}

SHORT = (
    "and the network's least bond is 10 wei: it gets one unit at a time, every result is checked, and its pay is kept until the bond is "
    "there; `surge stake`, with --data and the provider's folder,"
)


def test_an_offer_is_compared_with_those_of_its_own_service() -> None:
    found = [OWN, other(1, 10**14), other(2), other(3, 10**16), other(4, 3, services=("storage",)), other(5, 10**15, engine=b"\x09" * 32)]
    assert compared(OWN, found) == {
        "listed": True,
        "others": 4,
        "cheaper": 1,
        "own": typical_amount(OWN.prices),
        "median": typical_amount(OWN.prices),
        "cheapest": typical_amount(other(1, 10**14).prices),
        "engine": 3,
    }
    alone = compared(OWN, [])
    assert alone.pop("own") == typical_amount(OWN.prices)
    assert not any(alone.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "it asks no more than 3 others: there may be no work now"),
        ({"others": 0, "engine": 0}, "nobody else offers anything: there may be no work now"),
        ({"listed": False}, "no board shows its offer to those who ask: buyers cannot find it"),
        (
            {"cheaper": 2, "own": 9, "median": 4, "cheapest": 3},
            "of 3 other offers 2 ask less: it asks 9 wei for a typical unit, half of them 4 wei or less, the cheapest 3 wei",
        ),
        ({"engine": 0}, "nobody else has its engine, so nobody can check its results by running them again"),
        (
            {"bond": 0},
            f"its operator stakes nothing, {SHORT} puts in the 10 wei that are missing",
        ),
        (
            {"bond": 7},
            f"its operator stakes 7 wei, {SHORT} puts in the 3 wei that are missing",
        ),
        ({"buyers": 0}, "nobody has paid it yet: every buyer takes it for a newcomer, and of a job's providers one in eight is"),
        ({"refused": 2}, "2 receipts of it were refused, which lowers its standing with those buyers"),
    ],
)
def test_each_reason_is_said_where_it_holds(change: dict[str, Any], said: str) -> None:
    assert reasons({**GOOD, **change}) == [said]
    waiting = explain({**WAITS, "market": {**GOOD, **change}}, 1000)
    assert waiting == f"its offer is on 2 relays; no buyer has called in 16 minutes; {said}"
    assert explain({**WAITS, "market": {**GOOD, **change}, "under_way": 1}, 1000) == "", "one that works waits for nothing"


@pytest.mark.parametrize("bond", [{"bond": None}, {"bond": 10}, {"bond": 0, "least_bond": 0}])
def test_a_bond_that_is_enough_or_not_known_is_no_reason(bond: dict[str, int]) -> None:
    assert reasons({**GOOD, **bond}) == reasons({**GOOD, "bond": 11})
    assert "bond" not in stands({**WAITS, "at": 990, "waiting": "", "earnings_wait_for": "", "market": {**GOOD, **bond}}, 1000)


def test_a_device_that_works_is_told_of_its_bond_once() -> None:
    seen = {**WAITS, "at": 990, "waiting": "", "earnings_wait_for": "", "market": {**GOOD, "bond": 7}}
    assert stands(seen, 1000).startswith("it works; its operator stakes 7 wei, and the network's least bond is 10 wei")
    waiting = explain({**WAITS, "market": seen["market"]}, 1000)
    assert stands({**seen, "waiting": waiting}, 1000) == waiting
    assert waiting.count("least bond") == 1


@dataclass
class Boards:
    found: list[Offer] = field(default_factory=list)
    away: bool = False
    hangs: bool = False
    looks: int = 0

    async def offers(self) -> list[SignedOffer]:
        self.looks += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise Unavailable("no relay answered")
        return [SignedOffer(each, b"") for each in self.found]


@dataclass
class Row:
    buyer: str
    amount: int
    refused: int


class Journal:
    def channels(self, *, closed: bool) -> list[Row]:
        assert closed
        return [Row("a", 5, 1), Row("a", 5, 0), Row("b", 5, 0), Row("c", 0, 2)]


def looking(boards: Boards, bond: int | None = None) -> Rivals:
    async def stake() -> tuple[int, int]:
        assert bond is not None
        return bond, 10

    return Rivals(boards, cast(Any, Journal()), None if bond is None else stake)


async def test_what_is_seen_is_looked_at_now_and_then_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = Boards([OWN, other(1, 1)])
    found = looking(boards, bond=7)
    for _ in range(3):
        await found.look(OWN)
    assert boards.looks == 1
    assert found.seen is not None
    assert {name: found.seen[name] for name in ("listed", "cheaper", "bond", "least_bond", "buyers", "refused")} == {
        "listed": True, "cheaper": 1, "bond": 7, "least_bond": 10, "buyers": 2, "refused": 3,
    }  # fmt: skip
    monkeypatch.setattr(rivals, "LOOK_SECONDS", 0.0)
    boards.found.clear()
    await found.look(OWN)
    assert found.seen["listed"] is False


@pytest.mark.parametrize("trouble", ["away", "hangs"])
async def test_boards_that_do_not_answer_stop_nothing(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "ANSWER_SECONDS", 0.05)
    boards = Boards(**{trouble: True})
    found = looking(boards)
    await asyncio.wait_for(found.look(OWN), 5)
    assert found.seen is None
