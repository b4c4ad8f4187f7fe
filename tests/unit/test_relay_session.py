"""Sessions joined in memory: what the relay does to their frames is decided by the test."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from relay_support import BUYER, DEVICE
from surge.errors import InternalFault, InvalidInput, PeerFault, SurgeError, Unavailable
from surge.relay.client import session as session_module
from surge.relay.client.frames import FRAME_TARGET, MAX_MESSAGE, Kind, Sealer
from surge.relay.client.session import ALIVE_SECONDS, MESSAGE_COST, PATIENCE_SECONDS, WINDOW, Session


class Pair:
    """Two ends of a session. Frames go across when `carry` is called, or at once with `automatic`."""

    def __init__(self, *, automatic: bool = False, window: int = WINDOW) -> None:
        keys = os.urandom(32), os.urandom(32)
        self.automatic = False
        self.frames = 0
        self.ready: list[Session] = []
        self.caller = self._end(DEVICE.address, keys, window)
        self.device = self._end(BUYER.address, keys[::-1], window)
        self.caller.start()
        self.device.start()
        self.carry()
        self.frames = 0
        self.automatic = automatic

    def _end(self, peer: str, keys: tuple[bytes, bytes], window: int) -> Session:
        return Session(
            peer=peer,  # type: ignore[arg-type]
            login=peer,  # type: ignore[arg-type]
            token="0" * 16,
            relay="nats://nowhere",
            context=b"",
            keys=keys,
            wake=self._wake,
            forget=lambda ended: None,
            window=window,
        )

    def other(self, session: Session) -> Session:
        return self.device if session is self.caller else self.caller

    def _wake(self, session: Session) -> None:
        self.ready.append(session)
        if self.automatic:
            asyncio.get_running_loop().call_soon(self.carry)

    def carry(self) -> None:
        while self.ready:
            session = self.ready.pop(0)
            while (frame := session.next_frame()) is not None:
                self.frames += 1
                self.other(session).take_frame(frame)


async def test_messages_arrive_in_order_and_whole() -> None:
    pair = Pair(automatic=True)
    sent = [os.urandom(size) for size in (0, 1, 100, FRAME_TARGET - 5, FRAME_TARGET, FRAME_TARGET + 1, MAX_MESSAGE, 3)]
    for message in sent:
        await pair.caller.send(message)
    assert [await pair.device.receive() for _ in sent] == sent


async def test_messages_that_wait_share_a_frame() -> None:
    pair = Pair()
    for number in range(1000):
        await pair.caller.send(b"%d" % number)
    pair.carry()
    assert pair.frames == 1
    assert [await pair.device.receive() for _ in range(1000)] == [b"%d" % number for number in range(1000)]


async def test_a_message_over_the_limit_is_the_senders_error() -> None:
    with pytest.raises(InvalidInput, match="cut it up"):
        await Pair().caller.send(bytes(MAX_MESSAGE + 1))


async def test_a_sender_waits_for_a_slow_reader_and_goes_on_when_it_reads() -> None:
    pair = Pair(automatic=True)
    total, sent = 64, 0

    async def send() -> None:
        nonlocal sent
        for _ in range(total):
            await pair.caller.send(bytes(256 << 10))
            sent += 1

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        sending = group.create_task(send())
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not sending.done()
        assert sent <= WINDOW // (256 << 10)
        for _ in range(total):
            assert len(await pair.device.receive()) == 256 << 10
    assert sent == total


async def test_empty_messages_take_room_too() -> None:
    pair = Pair(automatic=True)
    sending = asyncio.create_task(send_many(pair.caller, b"", 2 * WINDOW // MESSAGE_COST))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not sending.done()
    assert len(pair.device._incoming) <= WINDOW // MESSAGE_COST
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def send_many(session: Session, message: bytes, times: int) -> None:
    for _ in range(times):
        await session.send(message)


async def test_a_cancelled_sender_leaves_nothing_behind_and_lets_the_next_go_on() -> None:
    pair = Pair(automatic=True)
    await send_many(pair.caller, bytes(MAX_MESSAGE), 7)
    stuck = asyncio.create_task(pair.caller.send(b"A" * MAX_MESSAGE))
    small = asyncio.create_task(pair.caller.send(b"B"))
    await asyncio.sleep(0.01)
    assert not stuck.done()
    assert not small.done()  # order is kept: nothing overtakes
    stuck.cancel()
    async with asyncio.timeout(5):
        await small
        assert [len(await pair.device.receive()) for _ in range(8)] == [MAX_MESSAGE] * 7 + [1]
    with pytest.raises(asyncio.CancelledError):
        await stuck


def forge(pair: Pair, records: list[tuple[int, bytes]]) -> None:
    """A frame from the real peer's key that says what an honest one never says."""
    pair.device.take_frame(pair.caller._sealer.seal(records, time.monotonic()))


async def expect(session: Session, kind: type[SurgeError], match: str) -> None:
    assert not session.is_open
    with pytest.raises(kind, match=match):
        await session.receive()
    with pytest.raises(kind, match=match):
        await session.send(b"x")


async def test_a_peer_that_overruns_its_credit_is_at_fault() -> None:
    pair = Pair()
    for _ in range(WINDOW // (256 << 10)):
        forge(pair, [(Kind.MESSAGE, bytes(256 << 10))])
        if not pair.device.is_open:
            break
    assert not pair.device.is_open
    held = sum(len(message) + MESSAGE_COST for message in pair.device._incoming)
    assert held <= WINDOW
    pair.device._incoming.clear()
    await expect(pair.device, PeerFault, "credit")


async def test_credit_that_is_taken_back_or_malformed_is_a_fault() -> None:
    for body in ((0).to_bytes(8, "big"), (WINDOW - 1).to_bytes(8, "big"), b"", bytes(9)):
        pair = Pair()
        forge(pair, [(Kind.CREDIT, body)])
        await expect(pair.device, PeerFault, "credit")


async def test_a_peer_that_grants_without_end_does_not_fill_our_memory() -> None:
    pair = Pair()
    forge(pair, [(Kind.CREDIT, b"\xff" * 8)])
    sending = asyncio.create_task(send_many(pair.device, bytes(MAX_MESSAGE), 1000))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not sending.done()
    assert pair.device._outgoing_size <= WINDOW + MAX_MESSAGE + MESSAGE_COST
    sending.cancel()


@pytest.mark.parametrize("damage", ["forged", "truncated", "oversized"])
async def test_a_damaged_frame_ends_the_session_with_a_fault(damage: str) -> None:
    pair = Pair()
    await pair.caller.send(b"hello")
    frame = pair.caller.next_frame()
    assert frame is not None
    other_key = frame[:8] + Sealer(os.urandom(32), 0.0).seal([(Kind.MESSAGE, b"forged")], 0.0)[8:]
    pair.device.take_frame({"forged": other_key, "truncated": frame[:-1], "oversized": bytes(1 << 20)}[damage])
    await expect(pair.device, PeerFault, "frame")


async def test_a_replayed_frame_is_ignored() -> None:
    pair = Pair()
    await pair.caller.send(b"pay once")
    frame = pair.caller.next_frame()
    assert frame is not None
    for _ in range(3):
        pair.device.take_frame(frame)
    await pair.caller.send(b"next")
    pair.carry()
    assert [await pair.device.receive(), await pair.device.receive()] == [b"pay once", b"next"]
    assert pair.device._incoming == type(pair.device._incoming)()


async def test_a_lost_frame_ends_the_session_as_away() -> None:
    pair = Pair()
    await pair.caller.send(b"lost")
    pair.caller.next_frame()
    await pair.caller.send(b"arrives")
    pair.carry()
    await expect(pair.device, Unavailable, "lost")


async def test_what_came_before_the_end_can_still_be_read() -> None:
    pair = Pair(automatic=True)
    await pair.caller.send(b"last words")
    await pair.caller.close("done")
    assert await pair.device.receive() == b"last words"
    await expect(pair.device, Unavailable, "closed the session: done")
    await expect(pair.caller, Unavailable, "closed here")


async def test_all_that_was_sent_leaves_before_a_close() -> None:
    pair = Pair()
    for _ in range(7):
        await pair.caller.send(bytes(MAX_MESSAGE))
    closing = asyncio.create_task(pair.caller.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await pair.caller.send(b"too late")
    pair.carry()
    await closing
    assert [len(await pair.device.receive()) for _ in range(7)] == [MAX_MESSAGE] * 7


async def test_silence_ends_a_session_and_signs_of_life_keep_it() -> None:
    pair = Pair()
    now = time.monotonic()
    pair.caller.beat(now + ALIVE_SECONDS + 1)
    pair.carry()
    assert pair.frames == 1
    pair.device.beat(now + PATIENCE_SECONDS - 1)
    assert pair.device.is_open
    pair.device.beat(now + PATIENCE_SECONDS + 2)
    await expect(pair.device, Unavailable, "not heard of")


async def test_an_end_wakes_whoever_waits() -> None:
    pair = Pair(automatic=True)
    await send_many(pair.caller, bytes(MAX_MESSAGE), 7)
    waiting = [asyncio.create_task(pair.caller.send(bytes(MAX_MESSAGE))), asyncio.create_task(pair.caller.receive())]
    await asyncio.sleep(0.01)
    pair.caller.end(Unavailable("the relay was lost"))
    for task in waiting:
        with pytest.raises(Unavailable, match="the relay was lost"):
            await task


async def test_only_one_task_may_receive() -> None:
    pair = Pair()
    waiting = asyncio.create_task(pair.caller.receive())
    await asyncio.sleep(0)
    with pytest.raises(InternalFault):
        await pair.caller.receive()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_hostile_reason_for_a_close_is_only_text() -> None:
    pair = Pair()
    forge(pair, [(Kind.CLOSE, b"\xff\xfe" + b"x" * 100_000)])
    with pytest.raises(Unavailable) as raised:
        await pair.device.receive()
    assert len(raised.value.message) < 2000


def test_the_window_is_never_too_small_for_a_message() -> None:
    assert Pair(window=1).device.window >= MAX_MESSAGE + MESSAGE_COST
    assert session_module.WINDOW >= 4 * MAX_MESSAGE


async def test_a_small_window_only_makes_it_slower() -> None:
    pair = Pair(automatic=True, window=1)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(send_many(pair.caller, bytes(MAX_MESSAGE), 20))
        for _ in range(20):
            assert len(await pair.device.receive()) == MAX_MESSAGE
    assert pair.device.window == session_module.FIRST_CREDIT
