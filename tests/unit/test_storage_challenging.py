"""What a keeper challenges on the ledger, and how often: each answer brings the holder a fee."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from surge.core.storage.keeping import Seen
from surge.core.types import Address, Wei
from surge.ledger.challenges import Challenge
from surge.storage.challenging import Challenging
from surge.storage.journal import KEPT, LOST, DealRow, FilesJournal
from surge.storage.keeper_journal import Failure, KeeperJournal, note_seen

OBJECT, PERIOD, OWNER = b"\x01" * 32, 86_400, Address("0x" + "0a" * 20)
DEVICE, OPERATOR, KEEPER = Address("0x" + "11" * 20), Address("0x" + "22" * 20), Address("0x" + "33" * 20)


class Ledger:
    """The ledger's challenges, in memory."""

    def __init__(self) -> None:
        self.opened: list[Challenge] = []
        self.over: set[int] = set()

    async def open(self, _: object, pledge: Any, __: bytes, index: int) -> Challenge:
        deadline = int(time.time()) + PERIOD
        self.opened.append(Challenge(len(self.opened) + 1, pledge, OWNER, index, Wei(1), Wei(0), deadline))
        return self.opened[-1]

    async def about(self, number: int) -> Challenge:
        return self.opened[number - 1]

    async def is_open(self, challenge: Challenge) -> bool:
        return challenge.number not in self.over


@dataclass
class World:
    ledger: Ledger
    files: FilesJournal
    journal: KeeperJournal
    challenging: Challenging

    async def go_on(self) -> list[Challenge]:
        """A round of challenges; those that it opened."""
        before = len(self.ledger.opened)
        charge: Any = SimpleNamespace(keys=SimpleNamespace(object=OBJECT, author=KEEPER))
        await self.challenging.go_on([charge])
        return self.ledger.opened[before:]

    async def answered(self) -> None:
        """The holder answers everything that is open; the keeper sees it."""
        self.ledger.over |= {each.number for each in self.ledger.opened}
        await self.challenging.settle()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ledger, files, journal = Ledger(), FilesJournal(tmp_path / "files.db"), KeeperJournal(tmp_path / "keeper.db")

    async def chain() -> Any:
        return SimpleNamespace(challenges=ledger)

    async def period() -> int:
        return PERIOD

    storage: Any = SimpleNamespace(journal=files, client=SimpleNamespace(ledger=chain), wallet=None, owner=OWNER, period=period)
    yield World(ledger, files, journal, Challenging(storage, journal))
    journal.close()
    files.close()


def row(shard: int, state: str) -> DealRow:
    now = int(time.time())
    times = {"starts": now - 10, "until": now + 2 * PERIOD, "ends": now + 9 * PERIOD, "paid": now}
    return DealRow(
        id=bytes([shard]) * 32, object=OBJECT, segment=0, shard=shard, device=DEVICE, operator=OPERATOR, root=b"\x05" * 32, digest=b"",
        size=1 << 20, price=1, penalty=1, signature=bytes(65), state=state, **times,
    )  # fmt: skip


async def silent(world: World) -> None:
    await note_seen(world.files, DEVICE, Seen(1.0, 1.0, time.time(), time.time() - 100, 0.0))


async def test_a_leaf_that_was_shown_on_the_ledger_is_not_asked_for_again(world: World) -> None:
    lost = row(1, LOST)
    await world.files.put_deals([lost])
    await world.journal.fail(Failure(lost.id, 0, DEVICE, 77, "it says that it does not have it", None))
    assert [each.index for each in await world.go_on()] == [77]
    await world.answered()
    for _ in range(3):
        assert await world.go_on() == [], "each would bring the holder another fee"


async def test_who_is_silent_and_answers_is_challenged_once_a_period(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await silent(world)
    await world.files.put_deals([row(shard, KEPT) for shard in range(5)])
    assert len(await world.go_on()) == 1
    for _ in range(3):
        await world.answered()
        assert await world.go_on() == []
    later = time.time() + PERIOD + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert len(await world.go_on()) == 1


async def test_which_shard_a_silent_device_is_asked_for_is_drawn_by_lot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await silent(world)
    await world.files.put_deals([row(shard, KEPT) for shard in range(5)])
    now, deals = time.time(), set()
    for each in range(64):
        monkeypatch.setattr(time, "time", lambda each=each: now + each)
        (opened,) = await world.go_on()
        deals.add(opened.pledge.deal)
        await world.answered()
        await world.journal.answer(DEVICE, 0)
    assert len(deals) > 1, "who is asked for the same one every time keeps that one"


async def test_a_proof_that_fails_while_its_shard_is_challenged_leaves_the_challenge_to_be_settled(world: World) -> None:
    await silent(world)
    kept = row(1, KEPT)
    await world.files.put_deals([kept])
    (first,) = await world.go_on()
    await world.journal.fail(Failure(kept.id, 0, DEVICE, first.index + 1, "it says that it does not have it", None))
    await world.files.put_deals([replace(kept, state=LOST)])
    assert (await world.journal.failures())[kept.id].challenge == first.number
    assert await world.challenging.spared(wanted=False) == {kept.id}, "a release would end the challenge"
    assert await world.go_on() == [], "one fee at a time"
    await world.answered()
    assert [each.index for each in await world.go_on()] == [first.index + 1], "another leaf than the one that was shown"
