"""A provider killed at any moment, again and again: what a buyer was told stays true."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from provider_support import PRICE, Bench, Client, until, work
from surge.core.messages import Answer, ChannelOpened, Refusal, SignedReceipt
from surge.core.messages.fields import wei
from surge.provider import daemon
from surge.provider.daemon import Provider


class Life:
    """A buyer that remembers all it was told, and a provider that is killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.bench = Bench(folder)
        self.client = Client(self.bench)
        self.told: dict[int, SignedReceipt] = {}
        """Receipts by sequence."""
        self.units: dict[int, SignedReceipt] = {}
        """By unit."""
        self.waiting: dict[int, SignedReceipt] = {}
        self.history: list[object] = []
        """Acknowledgements sent, in the log's order."""
        self.provider: Provider

    async def start(self) -> None:
        self.provider = await self.bench.provider().__aenter__()
        await self.provider.ready()
        await self.reopen()

    async def reopen(self) -> None:
        opened = await self.client.open()
        assert isinstance(opened, ChannelOpened), opened
        log = self.client.side.log
        assert opened.root == log.root(opened.count), "its log is a state ours passed through"
        for receipt in opened.pending:
            self.check(receipt)
        for message in self.history[opened.count :]:
            await self.client.send(message)  # type: ignore[arg-type]
        await until(lambda: self.provider.reception.desks[0].account.channel.log.size == log.size)

    def check(self, receipt: SignedReceipt) -> None:
        """No sequence ever means two things."""
        assert self.told.setdefault(receipt.sequence, receipt) == receipt

    async def step(self) -> None:
        what = self.chance.choice(["ask", "ask", "ask", "again", "acknowledge", "acknowledge", "reopen", "kill", "hasty"])
        if what == "ask":
            await self.ask(len(self.units) + 100)
        elif what == "again" and self.waiting:
            await self.ask(self.chance.choice(list(self.waiting)))
        elif what == "acknowledge" and self.waiting:
            unit = self.chance.choice(list(self.waiting))
            message = self.client.acknowledgement(self.waiting.pop(unit))
            self.history.append(message)
            await self.client.send(message)
        elif what == "reopen":
            await self.reopen()
        elif what == "hasty":
            await self.client.call(work(number=len(self.units) + 100))
            await self.kill()
        elif what == "kill":
            await self.kill()

    async def ask(self, unit: int) -> None:
        answer = await self.client.ask(work(number=unit))
        if isinstance(answer, Refusal):
            assert answer.code == "window"
            return
        assert isinstance(answer, Answer)
        assert answer.receipt is not None
        self.check(answer.receipt)
        assert self.units.setdefault(unit, answer.receipt) == answer.receipt, "one unit, one receipt"
        self.waiting[unit] = answer.receipt

    async def kill(self) -> None:
        await self.bench.kill(self.provider)
        self.client.messages.clear()
        await self.start()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_no_receipt_changes_and_every_acknowledgement_arrives(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "ACKNOWLEDGE_SECONDS", 0.1)
    life = Life(tmp_path, seed)
    await life.start()
    for _ in range(40):
        await life.step()
    row = life.provider._journal.channel(life.client.channel)
    await life.provider.drain()
    assert row is not None
    assert life.client.side.amount == len(life.history) * PRICE
    assert life.bench.ledger.channels[life.client.channel].redeemed == life.client.side.amount
    assert all(wei(receipt.amount) == PRICE for receipt in life.told.values())
