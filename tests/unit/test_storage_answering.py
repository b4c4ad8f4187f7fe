"""A holder answers what is asked of it on the ledger, however much that is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from surge.core.storage.pledges import Pledge
from surge.core.types import Address, Wei
from surge.errors import NotEnough, Unavailable
from surge.ledger.challenges import Challenge
from surge.storage.answering import AT_ONCE, Answering

DEVICE, OTHER = Address("0x" + "11" * 20), Address("0x" + "22" * 20)


def challenge(number: int) -> Challenge:
    pledge = Pledge(bytes(32), DEVICE, OTHER, OTHER, OTHER, bytes(32), 1024, 0, 10, 1)
    return Challenge(number, pledge, OTHER, 0, Wei(1), Wei(0), 100 + number)


class Ledger:
    """Answers are mined together, once `together` of them wait; some of them fail."""

    def __init__(self, count: int, together: int, failing: dict[int, Exception] | None = None) -> None:
        self.count, self.together, self.failing = count, together, failing or {}
        self.waiting, self.mined = 0, asyncio.Event()
        self.answered: list[int] = []

    async def against(self, _: Address) -> list[Challenge]:
        return [challenge(number) for number in range(self.count)]

    async def answer(self, _: object, answered: Challenge, *__: bytes) -> None:
        if answered.number in self.failing:
            raise self.failing[answered.number]
        self.waiting += 1
        if self.waiting >= self.together:
            self.mined.set()
        await self.mined.wait()
        self.answered.append(answered.number)


def answering(ledger: Ledger) -> Answering:
    device: Any = SimpleNamespace(address=DEVICE)
    shelf: Any = SimpleNamespace(prove=lambda *_: (b"leaf", b"path"))
    chain: Any = ledger
    return Answering(chain, shelf, device, OTHER)


async def test_challenges_are_answered_many_at_once() -> None:
    ledger = Ledger(3 * AT_ONCE, AT_ONCE)
    async with asyncio.timeout(10):
        await answering(ledger).look()
    assert sorted(ledger.answered) == list(range(3 * AT_ONCE))


async def test_one_that_cannot_be_answered_now_keeps_no_other_from_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(4, 1, {0: Unavailable("not mined yet"), 1: NotEnough("the device has no coin")})
    await answering(ledger).look()
    assert sorted(ledger.answered) == [2, 3]
    assert [each.levelname for each in caplog.records if "no coin" in each.message] == ["ERROR"], "the operator has to do something"
