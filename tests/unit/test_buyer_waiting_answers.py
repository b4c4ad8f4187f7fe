"""Answers that wait for a check, when something happens to their cut, their device or their job meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from buyer_support import Bed
from made_up_checks import MadeUpChecks
from made_up_provider import FakeProvider
from made_up_units import Ended
from surge.buyer.evidence import Evidence
from surge.core.units import Status


def add_one(item: int) -> int:
    return item + 1


def honest(**options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": add_one}, **options)


def lying(**options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": lambda item: -item}, **options)


@pytest.fixture
def make_audited(make_bed: Callable[..., Bed]) -> Callable[..., Bed]:
    def make(*providers: FakeProvider, own: Sequence[str] = (), checks: MadeUpChecks | None = None, alone: bool = False) -> Bed:
        bed = make_bed(*providers)
        bed.evidence = Evidence(bed.journal, own)
        bed.checks = None if alone else checks or MadeUpChecks({"f": add_one})
        return bed

    return make


def taking_too_long(item: int) -> int:
    raise Ended(Status.WALL_TIME, "WALL_TIME")


@pytest.mark.parametrize("chunk", [1, 4])
async def test_an_answer_that_waits_is_not_lost_where_others_say_that_they_take_too_long(
    make_audited: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("surge.buyer.auditing.STUCK_SECONDS", 0.3)
    monkeypatch.setattr("surge.buyer.scheduler.REST_SECONDS", 0.1)
    one, slow = honest(), [FakeProvider(functions={"f": taking_too_long}, seconds=lambda count: 0.1) for _ in range(2)]
    bed = make_audited(one, *slow, alone=True)
    assert await bed.map(bed.plan(chunk=chunk), range(8)) == list(range(1, 9))
    assert bed.peers[one.device].payer.held == 0
