"""The line for a buyer's cover: who waits, for what, and how long."""

from __future__ import annotations

import asyncio

import pytest

from provider_support import until
from surge.core import exposure
from surge.core.exposure import Ask, Standing
from surge.provider import cover as covering
from surge.provider.cover import Cover, Part
from surge.provider.service import Refused

A, B = b"a" * 32, b"b" * 32


class Line:
    """A buyer's cover, with a channel whose floor is 100 wei."""

    def __init__(self, *, awaited: bool = False) -> None:
        self.standing = Standing(window=8)
        self.cover = Cover(lambda: self.standing)
        self.cover.owes(A, floor=100, vouched=0, unpaid=0, awaited=awaited)
        self.stopped: list[int] = []

    async def part(self, limit: int = 1000, expected: int = 0, *, units: int = 1, channel: bytes = A) -> Part:
        return await self.cover.reserve(channel, Ask(limit, expected), units, self.stopped.append)


async def test_what_is_set_aside_and_given_back_is_free_again_once() -> None:
    line = Line()
    part = await line.part()
    assert (part.amount, line.cover.free(A)) == (100, 0)
    part.release()
    part.release()
    assert line.cover.free(A) == 100
    part.use_up()
    assert (line.cover.free(A), line.stopped) == (100, [])


async def test_what_is_used_up_stays_owed_and_is_told_once() -> None:
    line = Line()
    part = await line.part()
    part.use_up()
    part.release()
    assert (line.cover.free(A), line.stopped) == (0, [100])
    with pytest.raises(Refused) as caught:
        await line.part()
    assert (caught.value.code, dict(caught.value.details)) == ("cover", {"covered": 0, "floor": 100, "fuel": 0})


async def test_work_waits_for_what_runs_in_the_order_in_which_it_came() -> None:
    line = Line()
    running = await line.part()
    order: list[int] = []

    async def one(number: int) -> None:
        part = await line.part(expected=30)
        order.append(number)
        await asyncio.sleep(0)
        part.release()

    waiting = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0.05)
    assert order == []
    running.release()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert line.cover.free(A) == 100


async def test_work_that_is_called_off_while_it_waits_leaves_the_line() -> None:
    line = Line()
    running = await line.part()
    first, second = asyncio.create_task(line.part()), asyncio.create_task(line.part())
    await asyncio.sleep(0.01)
    first.cancel()
    running.release()
    part = await asyncio.wait_for(second, 5)
    assert part.amount == 100


async def test_work_waits_for_a_voucher_that_may_come_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "VOUCHER_SECONDS", 0.3)
    line = Line()
    line.cover.owes(A, floor=100, vouched=0, unpaid=100, awaited=True)
    waiting = asyncio.create_task(line.part())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    line.standing = exposure.credited(line.standing, 100)
    line.cover.owes(A, floor=100, vouched=100, unpaid=0, awaited=False)
    part = await asyncio.wait_for(waiting, 5)
    assert part.amount == 100
    part.release()
    line.cover.owes(A, floor=100, vouched=100, unpaid=150, awaited=True)
    with pytest.raises(Refused, match="is certain to get"):
        await asyncio.wait_for(line.part(), 5)


async def test_work_behind_long_work_is_told_to_ask_again_before_its_buyer_gives_the_device_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "WAIT_SECONDS", 0.2)
    line = Line()
    await line.part()
    with pytest.raises(Refused) as caught:
        await asyncio.wait_for(line.part(), 5)
    assert caught.value.code == "window"


async def test_output_that_costs_more_is_covered_where_something_is_left() -> None:
    line = Line()
    part = await line.part(limit=40)
    assert part.extend(30)
    assert part.extend(90)
    assert (part.amount, line.cover.free(A)) == (90, 10)
    assert not part.extend(101)
    part.release()
    assert line.cover.free(A) == 100
    assert not part.extend(101)


async def test_a_floor_pays_for_its_own_channel_alone() -> None:
    line = Line()
    line.cover.owes(B, floor=0, vouched=0, unpaid=0, awaited=False)
    with pytest.raises(Refused):
        await line.part(channel=B)
    line.cover.owes(B, floor=70, vouched=0, unpaid=0, awaited=False)
    waiting = asyncio.create_task(line.part(channel=B))
    assert (await until(lambda: waiting.done() and waiting.result())).amount == 70
