"""What a buyer does where a device does no more before it is paid: it waits, asks for less at once, or pledges more; within bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import PRICES, FakeProvider
from surge.buyer.covering import RAISES
from surge.buyer.plan import Wishes
from surge.core.pricing import unit_amount
from surge.core.units import Limits
from surge.errors import NotEnough, Unavailable

FUEL = 10**6
"""Fuel of an item."""


def provider(covers: int, **fields: Any) -> FakeProvider:
    return FakeProvider(functions={"f": lambda item: item + 1}, fuel_each=FUEL, covers=covers, **fields)


async def test_a_unit_that_was_stopped_has_the_floor_raised_and_is_asked_again(tmp_path: Path) -> None:
    device = provider(FUEL // 8)
    bed = Bed(tmp_path, [device])
    floor = device.floor
    assert await bed.map(bed.plan(), [1, 2]) == [2, 3]
    assert device.refused.count("cover") <= 4, "each of the two is stopped twice at most"
    assert bed.floors[0] == 4 * floor
    said = await bed.journal.read("SELECT text FROM events")
    assert any("takes more than" in text for (text,) in said)
    await bed.close()


async def test_many_items_at_once_are_asked_for_in_parts_before_a_floor_is_raised(tmp_path: Path) -> None:
    device = provider(10 * FUEL)
    bed = Bed(tmp_path, [device])
    items = list(range(64))
    assert await bed.map(bed.plan(chunk=1), [1]) == [2]
    assert await bed.map(bed.plan(), items) == [item + 1 for item in items]
    assert not bed.floors
    await bed.close()


async def test_a_device_that_says_it_did_more_than_it_had_time_for_is_given_up(tmp_path: Path) -> None:
    liar, honest = provider(10**13, greedy=True), FakeProvider(functions={"f": lambda item: item + 1})
    bed = Bed(tmp_path, [liar, honest])
    assert await bed.map(bed.plan(), [1, 2, 3]) == [2, 3, 4]
    assert not bed.floors
    assert liar.refused.count("cover") <= 2
    await bed.close()


async def test_a_device_that_always_wants_a_higher_floor_gets_no_more_than_a_units_price_each_time_and_is_given_up(tmp_path: Path) -> None:
    greedy = provider(FUEL, greedy=True, seconds=lambda count: 0.05)
    bed = Bed(tmp_path, [greedy])
    limits = Limits(fuel=10**9)
    with pytest.raises(Unavailable):
        await bed.map(bed.plan(limits=limits, wishes=Wishes(deadline_ms=8_000)), [1])
    most = unit_amount(PRICES, limits.fuel, limits.memory, limits.output)
    steps = [high - low for low, high in pairwise([10**12, *bed.floors])]
    assert 2 < len(steps) <= RAISES
    assert max(steps) <= most
    await bed.close()


async def test_a_budget_bounds_what_is_pledged_and_says_so_with_figures(tmp_path: Path) -> None:
    device = provider(FUEL // 64)
    bed = Bed(tmp_path, [device])
    plan = bed.plan(wishes=Wishes(budget=8 * 10**12), limits=replace(Limits(), output=1))
    with pytest.raises(NotEnough, match="SURGE left"):
        await bed.map(plan, [1])
    assert all(floor <= 9 * 10**12 for floor in bed.floors)
    await bed.close()


async def test_a_wallet_that_cannot_pledge_ends_the_job_with_the_reason(tmp_path: Path) -> None:
    device = provider(FUEL // 8)
    bed = Bed(tmp_path, [device])
    bed.is_broke = True
    with pytest.raises(NotEnough, match="wallet is empty"):
        await bed.map(bed.plan(), [1])
    await bed.close()
