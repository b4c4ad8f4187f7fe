"""A holder that is challenged on the ledger answers there from its disk, shows its keeper's release, and is silent about what it lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from holder_support import Shard
from ledger_support import COIN, Chain
from surge.core.parameters import EMBEDDED
from surge.core.receipts import DeviceConsent
from surge.core.storage.deals import SKEW, Deal
from surge.core.storage.pledges import Pledge, Release
from surge.storage.answering import Answering
from surge.storage.shelf import Shelf
from surge.wallet import KeySigner

NUMBERS = EMBEDDED.storage
assert NUMBERS is not None


@dataclass
class Challenged:
    """A bonded operator's device with a shard on its shelf, and somebody who challenges it."""

    chain: Chain
    shelf: Shelf
    shard: Shard
    operator: KeySigner
    device: KeySigner
    keeper: KeySigner
    challenger: KeySigner
    deal: Deal

    @property
    def answering(self) -> Answering:
        return Answering(self.chain.ledger.challenges, self.shelf, self.device, self.operator.address)

    async def challenge(self, index: int, **changes: Any) -> Any:
        deal = self.deal
        people = (self.device.address, self.operator.address, deal.owner, deal.keeper)
        pledge = replace(Pledge(deal.id, *people, deal.root, deal.size, deal.since, deal.until, deal.penalty), **changes)
        signature = self.device.sign(pledge.digest(self.chain.network.challenges_domain))
        return await self.chain.ledger.challenges.open(self.challenger, pledge, signature, index)

    async def open_ones(self) -> list[int]:
        return [each.number for each in await self.chain.ledger.challenges.against(self.operator.address)]


@pytest.fixture
async def challenged(chain: Chain, tmp_path: Path) -> Any:
    operator, device, keeper = await chain.buyer(), await chain.buyer(tokens=0), KeySigner.random()
    await chain.ledger.bonds.stake(operator, operator.address, 20 * COIN)
    consent = DeviceConsent(operator.address, device.address, 0).digest(chain.network.registry_domain)
    await chain.ledger.register_device(operator, device.address, "", device.sign(consent))
    shard, now = Shard.made(1_700_000), await chain.ledger.court.clock()
    deal = Deal(
        shard.deal, bytes(32), operator.address, operator.address, keeper.address, shard.tree.root, len(shard.data), shard.tag, 1,
        NUMBERS.most_penalty, now - 5, now + NUMBERS.period_seconds, now + 10**6, paid=now,
    )  # fmt: skip
    shelf = Shelf(tmp_path / "shelf", 1 << 30, 0)
    await shelf.start(now)
    await shelf.open(deal, lambda: None, now)
    for write in shard.writes():
        await shelf.write(shard.deal, write.first, write.data, now)
    kept = await shelf.keep(shard.deal)
    try:
        yield Challenged(chain, shelf, shard, operator, device, keeper, await chain.buyer(tokens=COIN), kept)
    finally:
        await shelf.close()


async def test_a_challenge_is_answered_from_the_disk(challenged: Challenged) -> None:
    ledger = challenged.chain.ledger
    for index in (0, 1234, 1660):  # the last leaf is short
        await challenged.challenge(index)
    await challenged.answering.look()
    assert await challenged.open_ones() == []
    assert await ledger.challenges.owed(challenged.operator.address) == 3 * NUMBERS.fee
    assert await ledger.bonds.free_bond(challenged.operator.address) == 20 * COIN


async def test_the_daemons_task_answers_and_collects(challenged: Challenged) -> None:
    before = await challenged.chain.ledger.token_balance(challenged.operator.address)
    await challenged.challenge(7)
    task = asyncio.create_task(challenged.answering.run(challenged.operator))

    async def paid() -> bool:
        return await challenged.chain.ledger.token_balance(challenged.operator.address) == before + NUMBERS.fee

    try:
        await eventually(paid)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_a_shard_that_its_keeper_released_is_released_there(challenged: Challenged) -> None:
    word = challenged.keeper.sign(Release(challenged.shard.deal).digest(challenged.chain.network.challenges_domain))
    await challenged.shelf.forget(challenged.deal, word, challenged.deal.since)
    opened = await challenged.challenge(5)
    await challenged.answering.look()
    assert await challenged.open_ones() == []
    assert await challenged.chain.ledger.challenges.released(opened.pledge)


async def test_a_device_that_leaves_stays_until_nothing_that_it_dropped_is_pledged(
    challenged: Challenged, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = challenged.keeper.sign(Release(challenged.shard.deal).digest(challenged.chain.network.challenges_domain))
    await challenged.shelf.forget(challenged.deal, word, challenged.deal.since)
    answering = challenged.answering
    answers = asyncio.create_task(answering.run())
    leaving = asyncio.create_task(answering.until_free())
    try:
        opened = await challenged.challenge(5)  # after the drop

        async def shown() -> bool:
            return await challenged.chain.ledger.challenges.released(opened.pledge)

        await eventually(shown)
        assert not leaving.done(), "another pledge of the deal may be challenged still"
        monkeypatch.setattr("surge.storage.answering.time.time", lambda: challenged.deal.until + SKEW + 1)
        async with asyncio.timeout(30):
            await leaving
    finally:
        answers.cancel()
        leaving.cancel()
        await asyncio.gather(answers, leaving, return_exceptions=True)


async def test_what_is_lost_is_said_once_and_keeps_nobody_from_the_rest(challenged: Challenged, caplog: pytest.LogCaptureFixture) -> None:
    unknown = await challenged.challenge(1, deal=b"\x09" * 32)
    elsewhere = await challenged.challenge(2)
    answering = challenged.answering
    for _ in range(2):
        await answering.look()
    assert await challenged.open_ones() == [unknown.number]
    assert elsewhere.number != unknown.number
    assert sum("cannot be answered" in each.message for each in caplog.records) == 1
