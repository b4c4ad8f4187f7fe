"""Proofs cost nobody money, and their holder its disk: they are given as often as a keeper has reason to ask, and no more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holder_support import Holder, Shard, seed
from surge.buyer.calls import Refused
from surge.core.messages import Refusal
from surge.core.messages import storage as m
from surge.core.types import Address
from surge.storage import keeper_looking
from surge.storage.proving import BURST_SECONDS, PROOFS_PER_SECOND, Proving

MOST = int(PROOFS_PER_SECOND * BURST_SECONDS)


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


async def test_a_shard_that_is_asked_for_without_end_is_proved_so_many_times_and_then_later(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [Shard.made(100_000, seed=number) for number in range(2)]
    reads = []
    async with holder.running():
        user, other = await holder.user(), await holder.user(51)
        for shard in shards:
            await user.put(shard, holder.now)
        honest = holder.storage.shelf.prove

        def prove(deal: bytes, leaf: int) -> tuple[bytes, bytes]:
            reads.append(deal)
            return honest(deal, leaf)

        monkeypatch.setattr(holder.storage.shelf, "prove", prove)
        for number in range(3 * MOST):
            answer = await user.use("prove", m.Prove(seed(number), [shards[0].deal]))
            assert not isinstance(answer, Refusal) or answer.code == "later"
        assert MOST <= len(reads) <= MOST + 30 * PROOFS_PER_SECOND
        await user.refused("prove", m.Prove(seed(1), [shards[1].deal, shards[0].deal]), "later", "ask again")
        for asker, shard in ((user, shards[1]), (other, shards[0])):
            (proof,) = await asker.shown(seed(2), shard)
            assert shard.shows(seed(2), proof), "neither other shards nor other channels are short of it"


async def test_a_call_that_names_a_deal_twice_is_refused(holder: Holder) -> None:
    shard = Shard.made(100_000)
    async with holder.running():
        user = await holder.user()
        await user.put(shard, holder.now)
        await user.refused("prove", m.Prove(seed(1), [shard.deal] * 128), "invalid", "twice")


async def test_a_few_proofs_are_made_at_once_however_many_ask(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard.made(100_000)
    now, most = 0, 0
    async with holder.running():
        user = await holder.user()
        await user.put(shard, holder.now)
        honest = Proving._proof

        def proof(self: Proving, *about: Any) -> m.Proof | None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                return honest(self, *about)
            finally:
                now -= 1

        monkeypatch.setattr(Proving, "_proof", proof)
        proved = await asyncio.gather(*(user.shown(seed(number), shard) for number in range(MOST // 2)))
    assert all(shard.shows(seed(number), proof) for number, (proof,) in enumerate(proved))
    assert most <= 2


async def test_a_keeper_that_is_to_come_later_takes_no_shard_for_lost() -> None:
    device = Address("0x" + "11" * 20)

    class Later:
        async def list(self, count: int) -> Any:
            return SimpleNamespace(leaving=False)

        async def prove(self, seed: bytes, deals: Any) -> Any:
            raise Refused(Refusal(0, "later", "ask again in some seconds", b""))

    async def found(device: Address) -> Later:
        return Later()

    told: list[Address] = []

    def failed(device: Address, error: Exception) -> None:
        told.append(device)

    storage = cast(Any, SimpleNamespace(fleet=SimpleNamespace(holder=found, failed=failed)))
    (look,) = await keeper_looking.look(storage, {device: [cast(Any, SimpleNamespace(id=bytes(32), size=10, root=bytes(32)))]}, prove=True)
    assert look.here
    assert (look.passed, look.failed) == ([], {})
    assert told == [device], "others are asked first for a while"
    assert "ask again" in look.why
