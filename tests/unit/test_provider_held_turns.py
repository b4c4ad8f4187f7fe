"""Cores that are held for a buyer: nobody else has them, and it has them whenever it comes."""

from __future__ import annotations

import asyncio

import pytest

from surge.provider.turns import Turns


async def enters(turns: Turns, key: str) -> bool:
    """Whether a buyer gets a place at once."""
    try:
        async with asyncio.timeout(0.01):
            await turns.enter(key)
    except TimeoutError:
        return False
    return True


async def test_others_have_one_place_for_each_core_that_is_left() -> None:
    turns = Turns(4)
    turns.hold("retainer", "holder", 3)
    assert await enters(turns, "other")
    assert not await enters(turns, "other")
    assert not await enters(turns, "third")
    assert not turns.is_shut("other")


async def test_the_holder_has_its_cores_whenever_it_comes() -> None:
    turns = Turns(2)
    turns.hold("retainer", "holder", 1)
    assert await enters(turns, "other")
    waiting = asyncio.create_task(turns.enter("other"))
    await asyncio.sleep(0)
    assert await enters(turns, "holder"), "whoever waits for the rest does not stand before it"
    assert await enters(turns, "holder"), "the next is lined up behind it"
    assert not await enters(turns, "holder")
    turns.leave("other")
    await asyncio.wait_for(waiting, 1)


async def test_with_every_core_held_others_are_shut_out_until_they_are_let_go() -> None:
    turns = Turns(1)
    turns.hold("retainer", "holder", 1)
    assert turns.is_shut("other")
    assert not turns.is_shut("holder")
    waiting = asyncio.create_task(turns.enter("other"))
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.release("retainer")
    await asyncio.wait_for(waiting, 1)
    assert not turns.is_shut("other")


async def test_what_others_began_before_is_finished_and_not_taken_up_again() -> None:
    turns = Turns(2)
    for _ in range(4):
        assert await enters(turns, "other")
    turns.hold("retainer", "holder", 2)
    assert await enters(turns, "holder")
    turns.leave("other")
    assert not await enters(turns, "other")


async def test_one_that_gives_up_waiting_leaves_its_place_to_the_next() -> None:
    turns = Turns(1)
    turns.hold("retainer", "holder", 1)
    waiting = asyncio.create_task(turns.enter("other"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    turns.release("retainer")
    assert await enters(turns, "third")
    assert await enters(turns, "third")
    assert not await enters(turns, "third")
