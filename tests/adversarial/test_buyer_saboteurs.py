"""One hostile provider beside an honest one: it may cost its own units some time, and nobody the job."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from buyer_support import Bed
from made_up_provider import DOMAIN, ENGINE, FakeProvider
from made_up_wire import Wire
from surge.buyer import agreements, bounds
from surge.core.messages import Call, NewPrices, decode_run_unit
from surge.core.receipts import Signed, Terms
from surge.errors import GuestFault, NotEnough, PeerFault, Unavailable


def add_one(item: int) -> int:
    return item + 1


def slow() -> FakeProvider:
    return FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.02)


async def map_beside(bed: Bed, items: int = 60) -> Any:
    job, results = await bed.start(bed.plan(chunk=1), range(items))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 25) == list(range(1, items + 1))
    await asyncio.wait_for(job.settled.wait(), 5)
    return job


@dataclass
class NoSetup(FakeProvider):
    """Refuses setups with a code; every third one is done, if it is a `tease`."""

    code: str = "deposit"
    tease: bool = False
    asked: int = 0

    async def _setup(self, wire: Wire, call: Call) -> None:
        self.asked += 1
        if self.tease and self.asked % 3 == 0:
            return await super()._setup(wire, call)
        await self._refuse(wire, call.id, self.code, "no", deposit=self.deposit)

    async def _run(self, wire: Wire, call: Call) -> None:
        await self._refuse(wire, call.id, "missing", "no")


@pytest.mark.parametrize("code", ["guest", "local", "deposit", "storage"])
async def test_a_refusal_to_set_up_that_nobody_signed_costs_nobody_else_the_job(make_bed: Callable[..., Bed], code: str) -> None:
    bad = NoSetup(functions={"f": add_one}, code=code)
    job = await map_beside(make_bed(bad, slow()), 200)
    assert bad.device in job.lanes.left


@pytest.mark.parametrize("code", ["guest", "local"])
async def test_where_nobody_else_is_left_it_is_believed(make_bed: Callable[..., Bed], code: str) -> None:
    bed = make_bed(NoSetup(functions={"f": add_one}, code=code), NoSetup(functions={"f": add_one}, code=code))
    _, results = await bed.start(bed.plan(chunk=1), range(5))
    with pytest.raises(GuestFault):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)


@pytest.mark.parametrize("error", [NotEnough("the wallet is empty"), Unavailable("the channel is being closed")])
async def test_a_setup_whose_deposit_cannot_be_raised_costs_nobody_else_the_job(make_bed: Callable[..., Bed], error: Exception) -> None:
    bad = NoSetup(functions={"f": add_one})
    bed = make_bed(bad, slow())
    peer = await bed.peer(bad)

    async def fails(needed: int) -> int:
        raise error

    peer.payer._top_up = fails
    job = await map_beside(bed)
    assert isinstance(job.lanes.left[bad.device], type(error))


async def test_one_that_teases_until_its_bound_is_dropped_alone(make_bed: Callable[..., Bed]) -> None:
    bad = NoSetup(functions={"f": add_one}, tease=True)
    before = bad.deposit
    job = await map_beside(make_bed(bad, slow()), 400)
    assert isinstance(job.lanes.left[bad.device], PeerFault)
    assert bad.deposit <= before * 2**bounds.TOP_UPS


async def test_a_channel_that_ends_for_want_of_money_leaves_the_job_to_the_others(make_bed: Callable[..., Bed]) -> None:
    one = slow()
    bed = make_bed(one, slow())
    job, results = await bed.start(bed.plan(chunk=1), range(60))
    async with asyncio.timeout(5):
        while one.device not in job.lanes.peers or not one.ran:
            await asyncio.sleep(0.005)
    bed.peers[one.device].drop(NotEnough("the wallet is empty"))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 61))
    await asyncio.wait_for(job.settled.wait(), 5)


@dataclass
class Quoter(FakeProvider):
    """Quotes new prices all the time once it has done a unit."""

    quotes: int = 300
    same: bool = False

    async def _answer(self, wire: Wire, call: Call, *args: Any, **options: Any) -> None:
        await super()._answer(wire, call, *args, **options)
        if not self.ran:
            return
        for step in range(self.quotes):
            prices = dataclasses.replace(self.prices, gigafuel=self.prices.gigafuel + (1 if self.same else 1 + step))
            job = decode_run_unit(call.body).job
            terms = Terms(self.channel_id, job, b"o" * 32, ENGINE, prices, self.window, 3600, 3600)
            await self._say(wire, NewPrices(terms.encode(), self.signer.sign(terms.digest(DOMAIN))))


async def test_prices_that_change_again_and_again_are_a_fault(make_bed: Callable[..., Bed]) -> None:
    bad = Quoter(functions={"f": add_one})
    bed = make_bed(bad, slow())
    job = await map_beside(bed)
    assert isinstance(job.lanes.left[bad.device], PeerFault)
    ((events,),) = await bed.journal.read("SELECT count(*) FROM events WHERE text LIKE '%new prices%'")
    assert events == agreements.AGREEMENTS


async def test_prices_that_were_agreed_on_may_be_quoted_again(make_bed: Callable[..., Bed]) -> None:
    one = Quoter(functions={"f": add_one}, same=True, quotes=20)
    job = await map_beside(make_bed(one), 20)
    assert job.lanes.left == {}


@dataclass
class Refuses(FakeProvider):
    """Refuses every unit but the first."""

    code: str = "cancelled"
    calls: int = 0

    async def _run(self, wire: Wire, call: Call) -> None:
        self.calls += 1
        if self.calls == 1:
            return await super()._run(wire, call)
        await self._refuse(wire, call.id, self.code, "no")


async def test_refusals_without_end_are_rested_between(make_bed: Callable[..., Bed]) -> None:
    bad = Refuses(functions={"f": add_one})
    bed = make_bed(bad)
    job, _ = await bed.start(bed.plan(chunk=1), range(5))
    await asyncio.sleep(2)
    assert bad.calls < 64 + 8 * 12
    job.stop()


async def test_one_that_asks_for_prices_and_names_none_is_given_up(make_bed: Callable[..., Bed]) -> None:
    bad = Refuses(functions={"f": add_one}, code="price")
    job = await map_beside(make_bed(bad, slow()))
    assert "does not name" in str(job.lanes.left[bad.device])


async def test_a_deposit_is_raised_over_all_jobs_of_a_channel_and_not_for_each(make_bed: Callable[..., Bed]) -> None:
    @dataclass
    class Raises(FakeProvider):
        calls: int = 0

        async def _run(self, wire: Wire, call: Call) -> None:
            self.calls += 1
            if self.calls % bounds.TOP_UPS:
                return await self._refuse(wire, call.id, "deposit", "no", deposit=self.deposit)
            await super()._run(wire, call)

    bad = Raises(functions={"f": add_one})
    before = bad.deposit
    bed = make_bed(bad, slow())
    for _ in range(4):
        _, results = await bed.start(bed.plan(chunk=1, salt=bytes([bad.calls % 256]) * 32), range(3))
        assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [1, 2, 3]
        if bed.peers[bad.device].gone is not None:
            break
    assert isinstance(bed.peers[bad.device].gone, PeerFault)
    assert bad.deposit <= before * 2**bounds.TOP_UPS


async def test_one_sequence_for_many_receipts_is_a_fault_and_loses_no_result(make_bed: Callable[..., Bed]) -> None:
    class Odd(FakeProvider):
        def issue(self, *args: Any) -> Any:
            made = super().issue(*args)
            receipt = dataclasses.replace(self.channel.pending[made.sequence].signed.receipt, sequence=7)
            return self._wire_receipt(Signed(receipt, self.signer.sign(receipt.digest(DOMAIN))))

    bad = Odd(functions={"f": add_one})
    bad.channel.acknowledge = lambda *_: []  # type: ignore[method-assign]
    bed = make_bed(bad, slow())
    job = await map_beside(bed)
    assert isinstance(job.lanes.left[bad.device], PeerFault)
    assert sum(row.count for row in await bed.journal.results(job.plan.id)) == 60
