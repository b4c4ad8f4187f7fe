"""Receipts nobody waits for: honest debts of a killed buyer are paid, inventions are refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import ENGINE, IMAGE, PRICES, FakeProvider
from surge.buyer import desk
from surge.buyer.job import Job
from surge.buyer.orphans import Orphans
from surge.buyer.payer import MAX_REFUSED
from surge.buyer.peers import Peer
from surge.buyer.plan import Plan, Wishes
from surge.core.messages import Answer, Refusal, decode_setup
from surge.core.pricing import compile_amount, transfer_amount
from surge.core.receipts import ReceiptKind
from surge.errors import NotEnough, PeerFault

CONTENT, SIZE = b"c" * 32, 1000


def add_one(item: int) -> int:
    return item + 1


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


async def settle(bed: Bed, one: FakeProvider, jobs: Callable[[bytes], Job | None] = lambda _: None) -> None:
    peer = await bed.peer(one)
    await peer.wait_open(5)
    await asyncio.wait_for(Orphans(bed.journal, jobs).settle(peer), 10)
    await asyncio.wait_for(peer.quiet(), 5)
    deadline = asyncio.get_running_loop().time() + 5
    while one.channel.pending:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


def settle_soon(bed: Bed, orphans: Orphans, peer: Peer) -> None:
    bed.tasks.append(asyncio.create_task(orphans.settle(peer)))


async def asked(bed: Bed, one: FakeProvider, plan: Plan) -> None:
    """A buyer that asked for an upload and a compilation, and was killed before it heard more."""
    await bed.journal.create_job(plan, None)
    intents = (await bed.peer(one)).payer.intents
    for kind, subject in ((ReceiptKind.TRANSFER, CONTENT), (ReceiptKind.COMPILE, IMAGE)):
        async with intents.asking(kind, subject, plan.id, SIZE, price(kind)):
            pass
    await bed.kill()


def price(kind: ReceiptKind) -> int:
    return transfer_amount(PRICES, SIZE) if kind == ReceiptKind.TRANSFER else compile_amount(PRICES, SIZE)


def bill(one: FakeProvider, kind: ReceiptKind, size: int = SIZE, more: int = 0) -> None:
    subject, result = (CONTENT, CONTENT) if kind == ReceiptKind.TRANSFER else (IMAGE, ENGINE)
    one.issue(kind, subject, result, size, price(kind) + more)


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


async def test_a_provider_that_goes_on_billing_what_was_never_asked_is_dropped(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    for number in range(MAX_REFUSED + 1):
        one.issue(ReceiptKind.TRANSFER, number.to_bytes(32, "big"), b"c" * 32, 100, 10**15)
    bed = beds(one)
    peer = await bed.peer(one)
    await peer.wait_open(5)
    await asyncio.wait_for(Orphans(bed.journal, lambda _: None).settle(peer), 10)
    assert isinstance(peer.gone, PeerFault)
    await asyncio.wait_for(peer.quiet(), 5)
    assert await bed.journal.read("SELECT count(*), sum(accepted) FROM receipts") == [(MAX_REFUSED, 0)]


async def test_an_upload_and_a_compilation_whose_job_was_cancelled_meanwhile_are_paid(beds: Callable[..., Bed]) -> None:
    """Unanswered, they would fill the buyer's window until they count as a default."""
    data = b"a module" * 100_000
    image = hashlib.sha256(data).digest()
    gate = asyncio.Event()

    class Slow(FakeProvider):
        held = ""

        async def _say(self, wire: Any, message: Any) -> None:
            if getattr(message, "receipt", None) is not None and not gate.is_set():
                self.held = type(message).__name__
                self._spawn(self._later(wire, message))
            else:
                await super()._say(wire, message)

        async def _later(self, wire: Any, message: Any) -> None:
            await gate.wait()
            await super()._say(wire, message)

    for upload in (True, False):
        gate.clear()
        one = Slow(functions={"f": add_one}, knows_image=False)
        bed = beds(one)
        if not upload:
            one.blobs[image] = data
        peer = await bed.peer(one)
        orphans = Orphans(bed.journal, bed.jobs.get)
        peer.on_orphan = partial(settle_soon, bed, orphans)
        plan = bed.plan(image=image, image_size=len(data), salt=bytes([upload]) * 32)
        job, _ = await bed.start(plan, range(3), contents={image: data})
        async with asyncio.timeout(5):
            while not one.held:
                await asyncio.sleep(0.005)
        job.cancel()
        await asyncio.wait_for(job.settled.wait(), 5)
        gate.set()
        async with asyncio.timeout(5):
            while one.channel.pending:
                await asyncio.sleep(0.005)
        assert [accepted for _, accepted in one.acknowledged] == [True]
        assert one.held == ("Received" if upload else "Answer")


ONCE = (ReceiptKind.TRANSFER, ReceiptKind.COMPILE)


async def test_an_upload_and_a_compilation_that_were_asked_are_paid_once_however_often_they_are_billed(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    bed = beds(one)
    plan = bed.plan()
    await asked(bed, one, plan)
    for kind in ONCE:
        bill(one, kind, more=1)
        bill(one, kind, size=SIZE + 1)
        bill(one, kind)
        bill(one, kind)
    bed = beds(one)
    await settle(bed, one)
    assert [accepted for _, accepted in one.acknowledged] == [False, False, True, False] * 2
    ((job, amount),) = await bed.journal.read("SELECT job, sum(amount) FROM receipts WHERE accepted")
    assert (job, amount) == (plan.id, sum(map(price, ONCE)))
    await bed.kill()
    one.acknowledged.clear()
    for kind in ONCE:
        bill(one, kind)
    await settle(beds(one), one)
    assert [accepted for _, accepted in one.acknowledged] == [False, False]


async def test_what_is_billed_late_counts_against_the_budget(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    bed = beds(one)
    await asked(bed, one, bed.plan(wishes=Wishes(budget=sum(map(price, ONCE)) - 1)))
    for kind in ONCE:
        bill(one, kind)
    await settle(beds(one), one)
    assert [accepted for _, accepted in one.acknowledged] == [True, False]


async def test_what_is_billed_late_counts_for_the_job_that_runs_on(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    bed = beds(one)
    plan = bed.plan(wishes=Wishes(budget=10**24))
    await asked(bed, one, plan)
    bed = beds(one)
    job, _ = await bed.resume(plan.id, budget=sum(map(price, ONCE)) - 1)
    await asyncio.wait_for(job.settled.wait(), 10)
    assert job.purse.spent == 0
    for kind in ONCE:
        bill(one, kind)
    await settle(bed, one, {plan.id: job}.get)
    assert [accepted for _, accepted in one.acknowledged] == [True, False]
    assert job.purse.spent == price(ReceiptKind.TRANSFER)


async def test_a_module_is_paid_once_for_a_job_however_often_its_provider_compiles_it(beds: Callable[..., Bed]) -> None:
    """It says that it lost the bundle, and bills compiling whenever it is prepared."""
    one = FakeProvider(functions={"f": add_one}, knows_image=False)
    bed = beds(one)
    plan = bed.plan(chunk=1, image_size=SIZE)
    one.blobs[IMAGE] = bytes(SIZE)
    lost = [True] * 3

    def forget(provider: FakeProvider, message: Any) -> Any:
        if isinstance(message, Answer) and message.receipt is not None and message.receipt.kind == ReceiptKind.UNIT and lost:
            lost.pop()
            provider.knows_image = False
            return Refusal(message.id, "missing", "gone", b"")
        return message

    one.mangle = forget
    assert await bed.map(plan, range(6)) == list(range(1, 7))
    compiled = await bed.journal.read("SELECT accepted FROM receipts WHERE kind = 4 ORDER BY number")
    assert len(compiled) > 1
    assert [accepted for (accepted,) in compiled] == [1] + [0] * (len(compiled) - 1)


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
    await Orphans(bed.journal, lambda _: None).settle(peer)
    assert isinstance(peer.gone, PeerFault)


async def test_a_unit_billed_when_the_budget_is_spent_is_refused(beds: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch) -> None:
    """The job went on elsewhere, since who was asked stayed away; now that one comes back."""
    monkeypatch.setattr(desk, "HOLD_SECONDS", 0.3)
    monkeypatch.setattr(desk, "RETURN_SECONDS", 0.3)
    away = FakeProvider(functions={"f": add_one}, fuel_each=3 * 10**9, seconds=lambda count: 0.3, cores=8, window=8)
    other = FakeProvider(functions={"f": add_one}, fuel_each=3 * 10**9)
    bed = beds(away)
    budget = 10**17
    plan = bed.plan(chunk=1, wishes=Wishes(budget=budget))
    await bed.start(plan, range(100), total=100)
    async with asyncio.timeout(5):
        while len(away.ran) < 4:
            await asyncio.sleep(0.002)
    await bed.kill()
    async with asyncio.timeout(5):
        while away.busy:
            await asyncio.sleep(0.01)
    away.reachable = False
    bed = beds(other)
    bed.plan()
    job, results = await bed.resume(plan.id, budget=budget)
    with pytest.raises(NotEnough):
        await asyncio.wait_for(asyncio.to_thread(list, results), 25)
    await asyncio.wait_for(job.settled.wait(), 5)
    away.reachable = True
    assert away.channel.pending
    await settle(bed, away)
    rows = await bed.journal.read("SELECT amount FROM receipts WHERE job = ? AND accepted", (plan.id,))
    assert sum(int(amount) for (amount,) in rows) <= budget
    assert False in [accepted for _, accepted in away.acknowledged]


async def test_a_setup_answered_after_its_job_went_on_elsewhere_is_paid_from_what_is_left(beds: Callable[..., Bed]) -> None:
    """The first provider was asked for all that the budget had; the job was cancelled, resumed, and spent it at the other."""
    gate = asyncio.Event()

    class Late(FakeProvider):
        refuses = False

        async def _setup(self, wire: Any, call: Any) -> None:
            self._spawn(self._late(wire, call))

        async def _late(self, wire: Any, call: Any) -> None:
            if self.refuses:
                return await self._refuse(wire, call.id, "invalid", "no")
            self.setup_fuel = decode_setup(call.body).limits.limits().fuel
            self.setups.append(0)
            await gate.wait()
            await self._set_up(wire, call)

    late, other = Late(functions={"f": add_one}), FakeProvider(functions={"f": add_one}, fuel_each=10**9)
    bed = beds(late)
    budget = 3 * 10**16
    plan = bed.plan(chunk=1, wishes=Wishes(budget=budget))
    job, _ = await bed.start(plan, range(40), total=40)
    async with asyncio.timeout(5):
        while not late.setups:
            await asyncio.sleep(0.005)
    job.cancel()
    await asyncio.wait_for(job.settled.wait(), 15)
    late.refuses = True
    bed.providers.append(other)
    bed.plan()
    job, results = await bed.resume(plan.id, budget=budget)
    with pytest.raises(NotEnough):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    await asyncio.wait_for(job.settled.wait(), 5)
    late.refuses = False
    gate.set()
    async with asyncio.timeout(5):
        while not late.acknowledged:
            await asyncio.sleep(0.005)
    assert [accepted for _, accepted in late.acknowledged] == [False]
    rows = await bed.journal.read("SELECT amount FROM receipts WHERE job = ? AND accepted", (plan.id,))
    assert sum(int(amount) for (amount,) in rows) <= budget
