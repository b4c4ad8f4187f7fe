"""Providers that ask for the same over and over, to live off a job without doing a unit of it; and honest ones that ask twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_wire import Wire
from surge.buyer import bounds
from surge.core.messages import Answer, Call, Prepared, decode_prepared, decode_run_unit, encode_body
from surge.core.receipts import ReceiptKind
from surge.errors import GuestFault, NotEnough, PeerFault, Unavailable

BUNDLE = b"a bundle" * 1000
KEY = hashlib.sha256(BUNDLE).digest()
LARGE = 300_000


def add_one(item: int) -> int:
    return item + 1


def size(item: bytes) -> int:
    return len(item)


@dataclass
class Refuser(FakeProvider):
    """Refuses units with a code, for as long as it is `still` so."""

    code: str = "missing"
    still: Callable[[Refuser], bool] = lambda provider: True
    forgets: bool = False
    """Whether it forgets the inputs that it was sent."""
    says: Callable[[Refuser], dict[str, Any]] = lambda provider: {}
    calls: int = 0

    async def _run(self, wire: Wire, call: Call) -> None:
        self.calls += 1
        if not self.still(self):
            return await super()._run(wire, call)
        if self.forgets and (content := decode_run_unit(call.body).content):
            self.blobs.pop(content, None)
        await self._refuse(wire, call.id, self.code, "not yet", **self.says(self))


def slow(function: Callable[..., Any] = add_one) -> FakeProvider:
    """An honest provider that needs its time, so that the other one has its turn."""
    return FakeProvider(functions={"f": function}, seconds=lambda count: 0.02)


async def finish(bed: Bed, job: Any, results: Any, wanted: list[Any]) -> None:
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == wanted
    await asyncio.wait_for(job.settled.wait(), 5)


async def paid(bed: Bed, provider: FakeProvider, kind: ReceiptKind) -> int:
    sql = "SELECT count(*) FROM receipts WHERE kind = ? AND accepted AND channel = ?"
    ((count,),) = await bed.journal.read(sql, (int(kind), provider.channel_id))
    return int(count)


def misses(content: bytes) -> Callable[[FakeProvider, Any], Any]:
    """Says of every content that it is missing, whenever it is asked to prepare."""

    def change(provider: FakeProvider, message: Any) -> Any:
        if not isinstance(message, Answer) or message.receipt is not None:
            return message
        try:
            decode_prepared(message.body)
        except Exception:  # the answer to something else
            return message
        provider._wanted.add(content)
        return msgspec.structs.replace(message, body=encode_body(Prepared([content], 0)))

    return change


async def test_a_provider_that_never_has_the_bundle_is_sent_it_a_few_times_and_dropped(make_bed: Callable[..., Bed]) -> None:
    liar, honest = FakeProvider(functions={"f": add_one}, mangle=misses(KEY)), slow()
    bed = make_bed(liar, honest)
    plan = bed.plan(chunk=1, bundle=KEY, bundle_size=len(BUNDLE))
    job, results = await bed.start(plan, range(100), contents={KEY: BUNDLE})
    await finish(bed, job, results, list(range(1, 101)))
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    assert await paid(bed, liar, ReceiptKind.TRANSFER) == bounds.SENDINGS
    assert await paid(bed, honest, ReceiptKind.TRANSFER) == 1


async def test_a_content_asked_for_twice_in_one_answer_is_a_fault(make_bed: Callable[..., Bed]) -> None:
    def twice(provider: FakeProvider, message: Any) -> Any:
        changed = misses(KEY)(provider, message)
        if changed is message:
            return message
        return msgspec.structs.replace(message, body=encode_body(Prepared([KEY, KEY], 0)))

    liar, honest = FakeProvider(functions={"f": add_one}, mangle=twice), slow()
    bed = make_bed(liar, honest)
    job, results = await bed.start(bed.plan(chunk=1, bundle=KEY, bundle_size=len(BUNDLE)), range(50), contents={KEY: BUNDLE})
    await finish(bed, job, results, list(range(1, 51)))
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    assert await paid(bed, liar, ReceiptKind.TRANSFER) == 0


async def test_an_input_that_is_always_forgotten_is_sent_a_few_times(make_bed: Callable[..., Bed]) -> None:
    liar, honest = Refuser(functions={"f": size}, forgets=True), slow(size)
    bed = make_bed(liar, honest)
    items = [bytes([number]) * LARGE for number in range(60)]
    job, results = await bed.start(bed.plan(chunk=1), items)
    await finish(bed, job, results, [LARGE] * 60)
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    sent = [content for content in liar.blobs if content != b"b" * 32]
    assert await paid(bed, liar, ReceiptKind.TRANSFER) <= (bounds.PREPARINGS + 1) * 2, sent


async def test_a_provider_that_misses_what_it_has_is_dropped(make_bed: Callable[..., Bed]) -> None:
    liar, honest = Refuser(functions={"f": add_one}), slow()
    bed = make_bed(liar, honest)
    job, results = await bed.start(bed.plan(chunk=1), range(100))
    await finish(bed, job, results, list(range(1, 101)))
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    assert liar.calls <= (bounds.PREPARINGS + 1) * 2


async def test_a_provider_whose_cache_was_emptied_is_prepared_again(make_bed: Callable[..., Bed]) -> None:
    one = Refuser(functions={"f": add_one}, still=lambda provider: provider.calls <= 4)
    bed = make_bed(one)
    assert await bed.map(bed.plan(chunk=1), range(20)) == list(range(1, 21))


async def test_a_provider_that_calls_every_deposit_too_low_is_dropped(make_bed: Callable[..., Bed]) -> None:
    liar = Refuser(functions={"f": add_one}, code="deposit", says=lambda provider: {"deposit": provider.deposit})
    honest, before = slow(), liar.deposit
    bed = make_bed(liar, honest)
    job, results = await bed.start(bed.plan(chunk=1), range(100))
    await finish(bed, job, results, list(range(1, 101)))
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    assert liar.deposit == before * 2**bounds.TOP_UPS


async def test_a_provider_that_never_sees_a_deposit_is_dropped_and_adds_nothing(
    make_bed: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(bounds, "LOOKS", 10)
    liar, honest = Refuser(functions={"f": add_one}, code="deposit", says=lambda provider: {"deposit": 1}), slow()
    before = liar.deposit
    bed = make_bed(liar, honest)
    job, results = await bed.start(bed.plan(chunk=1), range(100))
    await finish(bed, job, results, list(range(1, 101)))
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    assert liar.deposit == before


async def test_many_refusals_at_once_raise_a_deposit_once(make_bed: Callable[..., Bed]) -> None:
    one = Refuser(functions={"f": add_one}, code="deposit", cores=4, says=lambda provider: {"deposit": provider.deposit})
    before = one.deposit
    one.still = lambda provider: provider.deposit == before
    bed = make_bed(one)
    assert await bed.map(bed.plan(chunk=1), range(40)) == list(range(1, 41))
    assert len(one.refused) > 1
    assert one.deposit == 2 * before


async def test_a_channel_that_nothing_is_left_for_leaves_the_job_to_the_others(make_bed: Callable[..., Bed]) -> None:
    empty, full = Refuser(functions={"f": add_one}, code="deposit"), slow()
    bed = make_bed(empty, full)
    bed.is_broke = True
    job, results = await bed.start(bed.plan(chunk=1), range(50))
    await finish(bed, job, results, list(range(1, 51)))
    assert isinstance(job.lanes.left[empty.device], NotEnough)


async def test_a_job_with_nobody_else_ends_when_nothing_is_left_for_its_channel(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(Refuser(functions={"f": add_one}, code="deposit"))
    bed.is_broke = True
    _, results = await bed.start(bed.plan(chunk=1), range(5))
    with pytest.raises(NotEnough, match="empty"):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)


@pytest.mark.parametrize("details", [b"", b"\xff\xff", b"\x01"])
async def test_a_refusal_with_odd_details_is_one_without(make_bed: Callable[..., Bed], details: bytes) -> None:
    def odd(provider: FakeProvider, message: Any) -> Any:
        return msgspec.structs.replace(message, details=details) if hasattr(message, "details") else message

    one = Refuser(functions={"f": add_one}, code="deposit", mangle=odd)
    before = one.deposit
    one.still = lambda provider: provider.deposit == before
    bed = make_bed(one)
    assert await bed.map(bed.plan(chunk=1), range(10)) == list(range(1, 11))
    assert one.deposit == 2 * before


async def test_equal_large_items_travel_once(make_bed: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": size}, cores=4)
    bed = make_bed(one)
    assert await bed.map(bed.plan(chunk=1), [b"x" * LARGE] * 12) == [LARGE] * 12
    assert await paid(bed, one, ReceiptKind.TRANSFER) == 1
    assert "unknown" not in one.refused


async def test_two_jobs_that_ship_the_same_bundle_send_it_once(make_bed: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    bed = make_bed(one)
    await bed.peer(one)
    plans = [bed.plan(chunk=1, salt=bytes([salt]) * 32, bundle=KEY, bundle_size=len(BUNDLE)) for salt in range(3)]
    started = [await bed.start(plan, range(9), contents={KEY: BUNDLE}) for plan in plans]
    for job, results in started:
        await finish(bed, job, results, list(range(1, 10)))
    assert await paid(bed, one, ReceiptKind.TRANSFER) == 1


async def test_a_content_that_came_in_another_way_is_no_reason_to_give_up(make_bed: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": add_one})
    chunk = one._chunk

    async def known(wire: Wire, message: Any) -> None:
        """Somebody else was faster."""
        one._wanted.discard(KEY)
        one.blobs[KEY] = BUNDLE
        await chunk(wire, message)

    one._chunk = known  # type: ignore[method-assign]
    bed = make_bed(one)
    job, results = await bed.start(bed.plan(chunk=1, bundle=KEY, bundle_size=len(BUNDLE)), range(9), contents={KEY: BUNDLE})
    await finish(bed, job, results, list(range(1, 10)))
    assert "unknown" in one.refused
    assert await paid(bed, one, ReceiptKind.TRANSFER) == 0


@dataclass
class Full(FakeProvider):
    """Takes no input in."""

    code: str = "busy"

    async def _chunk(self, wire: Wire, chunk: Any) -> None:
        if chunk.offset == 0:
            await self._refuse(wire, chunk.id, self.code, "no room", deposit=self.deposit)


@pytest.mark.parametrize("code", ["busy", "deposit", "local"])
async def test_an_input_that_one_does_not_take_in_goes_elsewhere(make_bed: Callable[..., Bed], code: str) -> None:
    full, honest = Full(functions={"f": size}, code=code), slow(size)
    bed = make_bed(full, honest)
    items = [bytes([number]) * LARGE for number in range(6)]
    job, results = await bed.start(bed.plan(chunk=1), items)
    await finish(bed, job, results, [LARGE] * 6)


async def test_an_input_that_nobody_takes_in_is_an_error_at_its_place(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(Full(functions={"f": size}, code="local"))
    found = await bed.map(bed.plan(chunk=1), [b"small", bytes(LARGE), b"another"], errors="return")
    assert isinstance(found[1], GuestFault)
    assert [found[0], found[2]] == [5, 7]


async def test_a_provider_that_only_says_that_it_is_draining_does_not_keep_a_job(
    make_bed: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surge.buyer.reach.PATIENCE", 0.5)
    one = Refuser(functions={"f": add_one}, code="draining")
    bed = make_bed(one)
    _, results = await bed.start(bed.plan(chunk=1), range(5))
    with pytest.raises(Unavailable, match="no provider is left"):
        await asyncio.wait_for(asyncio.to_thread(list, results), 20)
