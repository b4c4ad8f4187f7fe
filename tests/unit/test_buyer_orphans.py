"""Receipts nobody waits for: honest debts of a killed buyer are paid, inventions are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from buyer_support import ENGINE, IMAGE, Bed, FakeProvider
from surge.buyer.orphans import Orphans
from surge.core.pricing import compile_amount, transfer_amount
from surge.core.receipts import ReceiptKind


def add_one(item: int) -> int:
    return item + 1


@pytest.fixture
async def beds(tmp_path: Path) -> AsyncIterator[Callable[..., Bed]]:
    made: list[Bed] = []

    def make(*providers: FakeProvider) -> Bed:
        made.append(Bed(tmp_path, providers))
        return made[-1]

    yield make
    await made[-1].close()


async def killed(beds: Callable[..., Bed], one: FakeProvider) -> Bed:
    """A buyer that came back after being killed with work unpaid; its job is not resumed."""
    bed = beds(one)
    await bed.start(bed.plan(chunk=1), range(30), total=30)
    while len(one.ran) < 6:
        await asyncio.sleep(0.002)
    await bed.kill()
    async with asyncio.timeout(5):
        while one.busy:
            await asyncio.sleep(0.002)
    assert one.channel.pending
    return beds(one)


async def settle(bed: Bed, one: FakeProvider, content: Callable[[bytes], Path | None] = lambda _: None) -> None:
    peer = await bed.peer(one)
    await peer.wait_open(5)
    await asyncio.wait_for(Orphans(bed.journal, content, lambda *_: False).settle(peer), 10)
    await asyncio.wait_for(peer.quiet(), 5)
    deadline = asyncio.get_running_loop().time() + 5
    while one.channel.pending:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


async def test_what_was_done_for_a_killed_buyer_is_paid_and_its_results_are_kept(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.02, window=8)
    bed = await killed(beds, one)
    ran = len(one.ran)
    await settle(bed, one)
    assert len(one.ran) == ran
    assert all(accepted for _, accepted in one.acknowledged)
    ((results,),) = await bed.journal.read("SELECT sum(count) FROM results")
    ((units,),) = await bed.journal.read("SELECT count(*) FROM receipts WHERE kind = 1 AND accepted")
    assert results == units == ran


async def test_what_was_never_asked_is_refused(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    one.issue(ReceiptKind.UNIT, b"x" * 32, b"y" * 32, 10, 10**15)
    one.issue(ReceiptKind.TRANSFER, b"c" * 32, b"c" * 32, 100, 10**15)
    one.issue(ReceiptKind.COMPILE, b"c" * 32, ENGINE, 100, 10**15)
    bed = beds(one)
    await settle(bed, one)
    assert [accepted for _, accepted in one.acknowledged] == [False] * 3
    assert one.channel.amount == 0


async def test_uploads_and_compiling_of_what_is_ours_are_paid_at_their_price(beds: Callable[..., Bed], tmp_path: Path) -> None:
    one = FakeProvider(functions={"f": add_one})
    (tmp_path / "content").write_bytes(bytes(1000))
    price = transfer_amount(one.prices, 1000)
    one.issue(ReceiptKind.TRANSFER, b"c" * 32, b"c" * 32, 1000, price)
    one.issue(ReceiptKind.TRANSFER, b"c" * 32, b"c" * 32, 1000, price + 1)
    one.issue(ReceiptKind.COMPILE, IMAGE, ENGINE, 1000, compile_amount(one.prices, 1000))
    bed = beds(one)
    await settle(bed, one, lambda _: tmp_path / "content")
    assert [accepted for _, accepted in one.acknowledged] == [True, False, True]


async def test_a_receipt_that_another_key_signed_ends_the_session(beds: Callable[..., Bed]) -> None:
    from surge.errors import PeerFault
    from surge.wallet import KeySigner

    one = FakeProvider(functions={"f": add_one})
    honest, one.signer_of_receipts = one.signer, KeySigner.random()
    one.issue(ReceiptKind.UNIT, b"x" * 32, b"y" * 32, 10, 10**15)
    one.signer_of_receipts = honest
    bed = beds(one)
    peer = await bed.peer(one)
    await peer.wait_open(5)
    await Orphans(bed.journal, lambda _: None, lambda *_: False).settle(peer)
    assert isinstance(peer.gone, PeerFault)
