"""Receipts that nobody waits for, for what no job asked: transfers are paid as they are, periods are left to who states them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from buyer_support import Bed
from made_up_provider import PRICES, FakeProvider
from surge.buyer.orphans import STATED, Orphans
from surge.core.pricing import transfer_amount
from surge.core.receipts import ReceiptKind
from surge.core.types import ZERO

CONTENT, SIZE = b"c" * 32, 100


async def killed_asking(beds: Callable[..., Bed], one: FakeProvider, kind: ReceiptKind, amount: int) -> Bed:
    bed = beds(one)
    intents = (await bed.peer(one)).payer.intents
    async with intents.asking(kind, CONTENT, ZERO, SIZE, amount):
        pass
    await bed.kill()
    one.issue(kind, CONTENT, CONTENT, SIZE, amount)
    return beds(one)


async def test_a_transfer_for_no_job_is_paid(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={})
    bed = await killed_asking(beds, one, ReceiptKind.TRANSFER, transfer_amount(PRICES, SIZE))
    peer = await bed.peer(one)
    await peer.wait_open(5)
    await Orphans(bed.journal, lambda _: None).settle(peer)
    await asyncio.wait_for(peer.quiet(), 5)
    assert [accepted for _, accepted in one.acknowledged] == [True]


async def test_a_period_is_left_to_who_states_it(beds: Callable[..., Bed]) -> None:
    for kind in STATED:
        one = FakeProvider(functions={})
        bed = await killed_asking(beds, one, kind, 5)
        peer = await bed.peer(one)
        await peer.wait_open(5)
        await Orphans(bed.journal, lambda _: None).settle(peer)
        await asyncio.wait_for(peer.quiet(), 5)
        assert one.acknowledged == []
        assert not peer.payer.knows(0), "it is paid when it is stated again"
