"""What a holder answers to a renewal is believed only as far as it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from surge.core.messages import encode_body
from surge.core.messages.storage import Proof, Renew, Renewed
from surge.core.storage.accounts import Held
from surge.core.storage.map import Placed
from surge.core.storage.tree import Tree
from surge.core.types import Address
from surge.errors import PeerFault
from surge.storage import holder as module
from surge.storage.client import adopted
from surge.storage.holder import Holder
from surge.storage.keeper_looking import Failed, Look, judged
from surge.storage.proving import leaf_asked


class Intents:
    @asynccontextmanager
    async def asking(self, *_: object) -> AsyncIterator[None]:
        yield

    def size_of(self, *_: object) -> None:
        return None


def lying(since: list[int], signatures: int, monkeypatch: pytest.MonkeyPatch) -> Holder:
    payer = SimpleNamespace(amount=0, owed=0, channel=SimpleNamespace(deposit=10**30), intents=Intents(), party=None)
    peer: Any = SimpleNamespace(device="0x" + "11" * 20, payer=payer, terms=SimpleNamespace(channel=bytes(32), prices=None))

    async def answer(*_: object) -> Any:
        return SimpleNamespace(body=encode_body(Renewed([bytes(65)] * signatures, since)), receipt=object())

    monkeypatch.setattr(module, "answer_to", answer)
    monkeypatch.setattr(module, "Question", lambda *_, **__: None)
    offer: Any = None
    return Holder(peer, offer)


HELD = Held(bytes(32), 1000, 10**15, 100, 200)
ASKED = Renew(0, 100, 200, 400, [HELD.deal])


async def test_a_holder_that_bills_time_that_was_paid_is_paid_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerFault, match="was paid before"):
        await lying([99], 1, monkeypatch).renew([HELD], ASKED)


@pytest.mark.parametrize(("since", "signatures"), [([], 1), ([100], 0), ([100, 100], 1)])
async def test_an_answer_is_about_the_deals_that_were_asked(since: list[int], signatures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerFault, match="other deals"):
        await lying(since, signatures, monkeypatch).renew([HELD], ASKED)


async def test_a_reader_that_is_called_off_does_not_call_its_bill_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()
    holder = lying([], 0, monkeypatch)
    paid: list[object] = []

    async def answer(*_: object) -> Any:
        asked.set()
        await answered.wait()
        return SimpleNamespace(receipt=SimpleNamespace(quantity=5, signature=bytes(65)))

    monkeypatch.setattr(module, "answer_to", answer)
    monkeypatch.setattr(module, "audit_transfer", lambda *_: ("receipt", bytes(32)))
    monkeypatch.setattr(module, "transfer_amount", lambda *_: 1)
    monkeypatch.setattr(holder, "_pay", lambda *given: paid.append(given))
    monkeypatch.setattr(holder, "_period", lambda *_: 0)
    holder._unbilled = 5
    first, second = asyncio.create_task(holder.bill()), asyncio.create_task(holder.bill())
    await asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    answered.set()
    await second
    assert len(paid) == 1
    assert holder._unbilled == 0


def test_why_shards_are_lost_is_said_once() -> None:
    look = Look(Address("0x" + "11" * 20), here=True, asked=14)
    look.failed = {bytes([each]): Failed(each, "it says that it does not have it") for each in range(12)}
    look.failed[b"other"] = Failed(1, "what it shows is not in the shard")
    assert look.said == (
        "it proved 0 of 14 shards; 12 shards are lost: it says that it does not have it; 1 shard is lost: what it shows is not in the shard"
    )


def test_only_the_leaf_that_was_asked_for_is_a_proof() -> None:
    data, seed = bytes(range(256)) * 40, b"s" * 32
    made = Tree.of(data)
    row = adopted(
        bytes(32), 0, 0, len(data), bytes(16), Placed(Address("0x" + "11" * 20), Address("0x" + "22" * 20), bytes(32), made.root, 1, 1), 1
    )
    asked = leaf_asked(seed, row.id, len(data))

    def shown(leaf: int) -> Proof:
        return Proof(data[leaf * 1024 : (leaf + 1) * 1024], made.proof(leaf))

    assert judged(seed, row, shown(asked)) is None
    for proof in (shown((asked + 1) % 10), Proof(bytes(1024), shown(asked).path), Proof(shown(asked).leaf, b"")):
        failed = judged(seed, row, proof)
        assert failed is not None
        assert (failed.leaf, "not in the shard" in failed.why) == (asked, True)
    missing = judged(seed, row, None)
    assert missing is not None
    assert "does not have it" in missing.why
