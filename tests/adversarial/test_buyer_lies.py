"""Providers that lie, stall, repeat and garble: nothing wrong is delivered or paid, and an honest one does the work."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from buyer_support import Bed
from made_up_provider import FakeProvider
from made_up_wire import Wire
from surge.buyer.journal import unpack_receipt
from surge.buyer.payer import Answer as Paid
from surge.core import values
from surge.core.messages import Answer, ChannelOpened, Output, Refusal, Vouched, decode_unit_done, encode, encode_body
from surge.core.messages.fields import wei_bytes
from surge.core.receipts import ReceiptKind
from surge.errors import GuestFault, PeerFault, Unavailable


def add_one(item: int) -> int:
    return item + 1


def unit_answer(message: Any) -> bool:
    return isinstance(message, Answer) and message.receipt is not None and message.receipt.kind == ReceiptKind.UNIT


def change_receipt(**changes: Any) -> Callable[[FakeProvider, Any], Any]:
    """A provider whose unit receipts say something else, properly signed."""

    def mangle(provider: FakeProvider, message: Any) -> Any:
        if not unit_answer(message):
            return message
        receipt = msgspec.structs.replace(message.receipt, **changes)
        stated = provider.party().receipt(receipt).receipt
        signature = provider.signer.sign(stated.digest(provider.party().domain))
        return msgspec.structs.replace(message, receipt=msgspec.structs.replace(receipt, signature=signature))

    return mangle


def change_done(**changes: Any) -> Callable[[FakeProvider, Any], Any]:
    """A provider whose answers describe another outcome than its receipts."""

    def mangle(provider: FakeProvider, message: Any) -> Any:
        if not unit_answer(message):
            return message
        done = decode_unit_done(message.body)
        return msgspec.structs.replace(message, body=encode_body(msgspec.structs.replace(done, **changes)))

    return mangle


def forged(provider: FakeProvider, message: Any) -> Any:
    if not unit_answer(message):
        return message
    return msgspec.structs.replace(message, receipt=msgspec.structs.replace(message.receipt, signature=b"\x01" * 64 + b"\x1b"))


def without_receipt(provider: FakeProvider, message: Any) -> Any:
    return msgspec.structs.replace(message, receipt=None) if unit_answer(message) else message


def wrong_output(provider: FakeProvider, message: Any) -> Any:
    if not unit_answer(message):
        return message
    done = decode_unit_done(message.body)
    return msgspec.structs.replace(message, body=encode_body(msgspec.structs.replace(done, output=done.output[:-1] + b"?")))


def phantom_output(provider: FakeProvider, message: Any) -> Any:
    return msgspec.structs.replace(message, output=1 << 40) if unit_answer(message) else message


def another_call(provider: FakeProvider, message: Any) -> Any:
    return msgspec.structs.replace(message, id=4_000_000_000) if unit_answer(message) else message


def garbage(provider: FakeProvider, message: Any) -> Any:
    return b"\xc1" * 20 if unit_answer(message) else message


def truncated(provider: FakeProvider, message: Any) -> Any:
    return encode(message)[:-3] if unit_answer(message) else message


def oversized(provider: FakeProvider, message: Any) -> Any:
    return bytes(600 << 10) if unit_answer(message) else message


def empty_pieces(provider: FakeProvider, message: Any) -> Any:
    """Output is announced, and pieces come that hold none of it."""
    if isinstance(message, Output):
        return msgspec.structs.replace(message, offset=0, data=b"", last=False)
    return message


def stray_output(provider: FakeProvider, message: Any) -> Any:
    return Output(message.id, 0, b"x", True) if unit_answer(message) else message


def channel_twice(provider: FakeProvider, message: Any) -> Any:
    if not unit_answer(message):
        return message
    return ChannelOpened(provider.channel_id, bytes(65), 0, bytes(32), b"", 1, [])


LIES = {
    "asks for more": change_receipt(amount=wei_bytes(10**30)),
    "asks for less": change_receipt(amount=b""),
    "another subject": change_receipt(subject=b"x" * 32),
    "another result": change_receipt(result=b"x" * 32),
    "more fuel": change_receipt(quantity=10**15),
    "another kind": change_receipt(kind=7),
    "a forged signature": forged,
    "no receipt": without_receipt,
    "another output": wrong_output,
    "output that never comes": phantom_output,
    "fuel above the limit": change_done(fuel=10**15),
    "an exit code of a finished unit": change_done(exit_code=1),
    "a local ending as an answer": change_done(status=66 - 3),
    "an answer to no call": another_call,
    "garbage": garbage,
    "a truncated message": truncated,
    "an oversized message": oversized,
    "output of no call": stray_output,
    "a channel opened twice": channel_twice,
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_liar_is_dropped_and_not_paid_for_units(make_bed: Callable[..., Bed], lie: str) -> None:
    liar = FakeProvider(functions={"f": add_one}, mangle=LIES[lie])
    honest = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.01)
    bed = make_bed(liar, honest)
    plan = bed.plan(chunk=1)
    job, results = await bed.start(plan, range(12))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == list(range(1, 13))
    await asyncio.wait_for(job.settled.wait(), 5)
    assert isinstance(job.lanes.left[liar.device], PeerFault)
    paid = await bed.journal.read("SELECT count(*) FROM receipts WHERE kind = 1 AND accepted AND channel = ?", (liar.channel_id,))
    assert paid == [(0,)]


def large(item: int) -> bytes:
    return bytes(300_000 + item)


async def test_pieces_that_hold_no_output_end_the_session_with_a_liar(make_bed: Callable[..., Bed]) -> None:
    liar = FakeProvider(functions={"f": large}, mangle=empty_pieces)
    honest = FakeProvider(functions={"f": large}, seconds=lambda count: 0.01)
    bed = make_bed(liar, honest)
    job, results = await bed.start(bed.plan(chunk=1), range(6))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [large(item) for item in range(6)]
    await asyncio.wait_for(job.settled.wait(), 5)
    assert "empty" in str(job.lanes.left[liar.device])


class AnswersTwice(FakeProvider):
    """It gives bytes that nobody checked yet, begins its answer anew, and then gives the bytes that it signed for."""

    async def _say(self, wire: Wire, message: Any) -> None:
        junk = b"j" * 1000
        if unit_answer(message) and message.output:
            await super()._say(wire, message)
            await super()._say(wire, Output(message.id, 0, junk, False))
        if isinstance(message, Output):
            message = msgspec.structs.replace(message, offset=message.offset + len(junk))
        await super()._say(wire, message)


async def test_an_answer_that_begins_anew_gives_no_bytes_that_were_not_signed_for(make_bed: Callable[..., Bed]) -> None:
    liar = AnswersTwice(functions={"f": large})
    honest = FakeProvider(functions={"f": large}, seconds=lambda count: 0.01)
    bed = make_bed(liar, honest)
    job, results = await bed.start(bed.plan(chunk=1), range(6))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [large(item) for item in range(6)]
    await asyncio.wait_for(job.settled.wait(), 5)
    assert "twice" in str(job.lanes.left[liar.device])
    paid = await bed.journal.read("SELECT count(*) FROM receipts WHERE kind = 1 AND accepted AND channel = ?", (liar.channel_id,))
    assert paid == [(0,)]


async def test_a_unit_is_not_paid_twice_under_two_sequences(make_bed: Callable[..., Bed]) -> None:
    """A provider that forgets its answers, loses the session, and bills the same unit again."""
    one = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.05)
    bed = make_bed(one)
    plan = bed.plan(chunk=1)
    _, results = await bed.start(plan, range(2))
    first = await asyncio.to_thread(next, results)
    assert first == 1
    peer = bed.peers[one.device]
    await asyncio.wait_for(peer.payer.drain(), 5)
    ((packed, digest),) = await bed.journal.read("SELECT receipt, digest FROM receipts WHERE kind = 1 LIMIT 1")
    receipt = unpack_receipt(packed)
    again = dataclasses.replace(receipt, sequence=999)
    with pytest.raises(PeerFault, match="twice"):
        peer.payer.take(Paid(again, bytes(65), bytes(32), True, None, None, ()))
    assert not peer.payer.take(Paid(receipt, bytes(65), digest, True, None, None, ()))
    with pytest.raises(PeerFault, match="one sequence"):
        peer.payer.take(Paid(receipt, bytes(65), bytes(32), True, None, None, ()))


async def test_a_provider_with_another_log_is_dropped(make_bed: Callable[..., Bed]) -> None:
    def another_log(provider: FakeProvider, message: Any) -> Any:
        return msgspec.structs.replace(message, count=3, root=b"r" * 32) if isinstance(message, ChannelOpened) else message

    liar = FakeProvider(functions={"f": add_one}, mangle=another_log)
    bed = make_bed(liar, FakeProvider(functions={"f": add_one}))
    job, results = await bed.start(bed.plan(chunk=1), range(5))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [1, 2, 3, 4, 5]
    assert isinstance(job.lanes.left[liar.device], PeerFault)


async def test_terms_that_another_key_signed_are_no_terms(make_bed: Callable[..., Bed]) -> None:
    def other_key(provider: FakeProvider, message: Any) -> Any:
        if not isinstance(message, ChannelOpened):
            return message
        return msgspec.structs.replace(message, signature=provider.session.sign(provider.terms().digest(provider.party().domain)))

    liar = FakeProvider(functions={"f": add_one}, mangle=other_key)
    bed = make_bed(liar, FakeProvider(functions={"f": add_one}))
    job, results = await bed.start(bed.plan(chunk=1), range(3))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 20) == [1, 2, 3]
    assert isinstance(job.lanes.left[liar.device], PeerFault)


async def test_a_provider_that_refuses_everything_is_passed_over(make_bed: Callable[..., Bed]) -> None:
    def refuse(provider: FakeProvider, message: Any) -> Any:
        return Refusal(message.id, "internal", "not today", b"") if unit_answer(message) else message

    bed = make_bed(FakeProvider(functions={"f": add_one}, mangle=refuse), FakeProvider(functions={"f": add_one}))
    assert await bed.map(bed.plan(chunk=1), range(20)) == list(range(1, 21))


async def test_a_window_of_nothing_does_not_hang_the_job(make_bed: Callable[..., Bed]) -> None:
    def shut(provider: FakeProvider, message: Any) -> Any:
        if isinstance(message, ChannelOpened | Vouched):
            return msgspec.structs.replace(message, window=0)
        return message

    bed = make_bed(FakeProvider(functions={"f": add_one}, mangle=shut), FakeProvider(functions={"f": add_one}))
    assert await bed.map(bed.plan(chunk=1), range(10)) == list(range(1, 11))


async def test_a_device_that_says_it_took_no_time_does_not_get_everything(make_bed: Callable[..., Bed]) -> None:
    hasty = FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.002 * count)
    hasty.mangle = change_done(seconds_us=0)
    bed = make_bed(hasty, FakeProvider(functions={"f": add_one}, seconds=lambda count: 0.002 * count))
    job, results = await bed.start(bed.plan(), range(1500))
    assert await asyncio.wait_for(asyncio.to_thread(list, results), 30) == list(range(1, 1501))
    assert min(job.progress.units.values()) > 1


async def test_a_value_that_is_no_list_of_results_is_the_guests_fault(make_bed: Callable[..., Bed]) -> None:
    """The device signed for these bytes: whoever runs the unit again gets them. It is paid, and the items are in error."""
    one = FakeProvider(functions={"f": add_one})
    execute = one._execute

    def odd(body: Any, data: bytes) -> Any:
        ran = execute(body, data)
        ran.value = values.dumps("not a list")
        return ran

    one._execute = odd  # type: ignore[method-assign]
    bed = make_bed(one)
    found = await bed.map(bed.plan(chunk=2), range(4), errors="return")
    assert all(isinstance(item, GuestFault) for item in found)


async def test_a_lone_liar_leaves_the_job_resumable(make_bed: Callable[..., Bed], monkeypatch: Any) -> None:
    monkeypatch.setattr("surge.buyer.reach.PATIENCE", 0.5)
    monkeypatch.setattr("surge.buyer.lanes.LOOK_AGAIN", 0.1)
    monkeypatch.setattr("surge.buyer.lanes.LOOK_PAUSE", 0.05)
    bed = make_bed(FakeProvider(functions={"f": add_one}, mangle=LIES["asks for more"]))
    job, results = await bed.start(bed.plan(chunk=1), range(3))
    with pytest.raises(Unavailable, match="job resume"):
        await asyncio.to_thread(list, results)
    await asyncio.wait_for(job.settled.wait(), 5)
    states = await bed.journal.read("SELECT state FROM jobs")
    assert states == [("failed",)]
