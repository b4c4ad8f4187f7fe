"""Who connects to a device's door, and means no good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from direct_support import HEAD, Stranger, doors, round_trip
from relay_support import BUYER_SESSION, DEVICE, STRANGER, Queue, echo, relay_server, until
from surge.errors import PeerFault, Unavailable
from surge.relay.client import Session
from surge.relay.client.frames import MAX_FRAME, Kind, Sealer
from surge.relay.client.handshake import MAX_HANDSHAKE
from surge.relay.client.session import FIRST_CREDIT, MESSAGE_COST, WINDOW
from surge.relay.direct import door, wire
from surge.relay.direct.wire import MAGIC
from surge.relay.server import RelayServer

Packet = tuple[bytes, bytes]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RelayServer]:
    async with relay_server(tmp_path) as server:
        yield server


# Who connects


async def test_who_connects_and_says_nothing_is_dropped_and_so_is_who_says_it_letter_by_letter(
    relay: RelayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "HELLO_SECONDS", 0.3)
    async with doors(relay, echo) as (device, buyer, where):
        silent, slow = await Stranger.at(where), await Stranger.at(where)
        hello = slow.caller().hello
        slow.writer.write(HEAD.pack(ord("h"), len(hello)))
        dripping = asyncio.create_task(drip(slow, hello))
        assert await silent.turned_away() == b""
        assert await slow.turned_away() == b""
        dripping.cancel()
        assert device._door is not None
        await until(lambda: device._door is not None and not device._door._hosts)
        await round_trip(await buyer.dial(DEVICE.address, identity=BUYER_SESSION))


async def drip(stranger: Stranger, data: bytes) -> None:
    for byte in data:
        stranger.writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_hellos_that_are_answered_and_never_confirmed_are_given_up(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.client.listener.CONFIRM_SECONDS", 0.3)
    async with doors(relay, echo) as (device, _buyer, where):
        stranger = await Stranger.at(where)
        stranger.send(b"h", stranger.caller().hello)
        assert (await stranger.packet())[0] == b"a"
        assert device._listener is not None
        assert len(device._listener._half_open) == 1
        await stranger.turned_away()
        assert not device._listener._half_open


GARBAGE: dict[str, bytes] = {
    "a request to a web server": b"GET / HTTP/1.1\r\nHost: device\r\n\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "a hello of four gigabytes": HEAD.pack(ord("h"), (1 << 32) - 1),
    "a hello that is one byte too long": HEAD.pack(ord("h"), MAX_HANDSHAKE + 1),
    "a hello of nothing": HEAD.pack(ord("h"), 0),
    "a hello of garbage": HEAD.pack(ord("h"), 500) + bytes(range(250)) * 2,
    "a frame before any hello": HEAD.pack(ord("s"), 24) + bytes(24),
    "an answer nobody asked for": HEAD.pack(ord("a"), 24) + bytes(24),
    "an empty frame": HEAD.pack(ord("s"), 0),
    "the greeting, sent back": MAGIC + bytes(32),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_closes_its_connection_and_hurts_nobody(relay: RelayServer, garbage: bytes) -> None:
    async with doors(relay, echo) as (device, buyer, where):
        held = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        stranger = await Stranger.at(where)
        stranger.writer.write(garbage)
        said = await stranger.turned_away()
        assert len(said) <= HEAD.size + wire.MAX_REASON
        await round_trip(held)
        await until(lambda: device._door is not None and device._door._hosts == {"127.0.0.1": 1})


async def test_a_second_hello_on_a_connection_ends_it(relay: RelayServer) -> None:
    async with doors(relay, echo) as (_, _buyer, where):
        stranger = await Stranger.at(where)
        stranger.send(b"h", stranger.caller().hello)
        stranger.send(b"h", stranger.caller().hello)
        await stranger.turned_away()


async def test_connections_that_wait_are_few_and_the_oldest_goes(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_WAITING", 4)
    async with doors(relay, echo) as (device, buyer, where):
        strangers = [await Stranger.at(where) for _ in range(12)]
        for stranger in strangers[:8]:
            await stranger.turned_away()
        assert device._door is not None
        assert len(device._door._waiting) == 4
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert session.relay == f"direct {where}"
        await round_trip(session)


async def test_a_host_has_so_many_connections_and_all_together_too(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_OF_HOST", 3)
    async with doors(relay, echo) as (_, buyer, where):
        strangers = [await Stranger.at(where) for _ in range(3)]
        late = await Stranger.at(where, greeted=False)
        assert await late.turned_away() == b""
        assert (await buyer.dial(DEVICE.address, identity=BUYER_SESSION)).relay == relay.url
        for stranger in strangers:
            stranger.leave()
        monkeypatch.setattr(door, "MAX_CONNECTIONS", 0)
        assert await (await Stranger.at(where, greeted=False)).turned_away() == b""


async def test_hellos_of_one_host_are_paced(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.client.listener.HELLOS_PER_SENDER", 0.001)
    monkeypatch.setattr("surge.relay.client.listener.MAX_PER_CALLER", 1000, raising=False)
    async with doors(relay, echo, max_per_caller=1000) as (device, _buyer, where):
        assert device._listener is not None
        device._listener._senders._rate, device._listener._senders._burst = 0.25, 8.0  # two at once, and then one in four seconds
        for expected in (True, True, False):
            stranger = await Stranger.at(where)
            stranger.send(b"h", stranger.caller().hello)
            assert ((await stranger.turned_away_or_answered()) == b"a") == expected


@pytest.mark.parametrize(
    ("host", "counts"),
    [
        ("203.0.112.7", "203.0.112.7"),
        ("::ffff:203.0.112.7", "203.0.112.7"),
        ("2600:1:2:3:aaaa::1", "2600:1:2:3::/64"),
        ("2600:1:2:3:bbbb::1", "2600:1:2:3::/64"),
        ("nowhere", "nowhere"),
    ],
)
def test_whoever_has_a_whole_ipv6_network_counts_once(host: str, counts: str) -> None:
    connection = wire.Connection(limits={}, took=lambda *_: None)
    connection.host = host
    assert door.host_of(connection) == counts


async def test_a_flood_of_empty_frames_gets_a_bounded_share(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FRAMES_PER_SECOND", 100.0)
    accepted = Queue()
    async with doors(relay, accepted) as (_, buyer, where):
        stranger = await Stranger.at(where)
        caller = stranger.caller(STRANGER)
        stranger.send(b"h", caller.hello)
        keys = caller.finish((await stranger.packet())[1])
        sealer = Sealer(keys.to_listener, 0.0)
        for _ in range(20_000):
            stranger.send(b"s", sealer.seal([(Kind.ALIVE, b"")], 0.0))
        far = await accepted.next()
        began, taken = asyncio.get_running_loop().time(), []
        await round_trip_of(buyer, accepted)
        while asyncio.get_running_loop().time() - began < 0.5:
            taken.append(far._opener._counter)
            await asyncio.sleep(0.01)
        assert taken[-1] < 20_000
        assert far.is_open


async def round_trip_of(buyer: object, accepted: Queue) -> None:
    near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)  # type: ignore[attr-defined]
    await near.send(b"hello")
    assert await (await accepted.next()).receive() == b"hello"


# Who reads nothing


async def test_who_never_reads_costs_a_window_and_a_buffer(relay: RelayServer) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (_, _buyer, where):
        stranger = await Stranger.at(where)
        stranger.reader._limit = 1 << 10  # type: ignore[attr-defined]
        caller = stranger.caller(STRANGER)
        stranger.send(b"h", caller.hello)
        keys = caller.finish((await stranger.packet())[1])
        sealer = Sealer(keys.to_listener, 0.0)
        stranger.send(b"s", sealer.seal([(Kind.CREDIT, (1 << 50).to_bytes(8, "big"))], 0.0))
        far = await accepted.next()
        stranger.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(send_for_ever(far))
        size = -1
        async with asyncio.timeout(30):
            while size != (size := far._sent):  # until no more is taken
                await asyncio.sleep(0.3)
        connection = far._wake.__self__  # type: ignore[attr-defined]
        assert far._outgoing_size <= WINDOW + (256 << 10) + MESSAGE_COST
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() <= wire.WRITE_BUFFER + MAX_FRAME
        stranger.leave()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await sending


async def send_for_ever(session: Session) -> None:
    while True:
        await session.send(bytes(256 << 10))


async def test_who_sends_more_than_it_was_given_credit_for_is_at_fault(relay: RelayServer) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (_, _buyer, where):
        stranger = await Stranger.at(where)
        keys = await stranger.shakes_hands(STRANGER)
        sealer = Sealer(keys.to_listener, 0.0)
        for _ in range(2 + WINDOW // FIRST_CREDIT * 4):
            stranger.send(b"s", sealer.seal([(Kind.MESSAGE, bytes(256 << 10))], 0.0))
        far = await accepted.next()
        with pytest.raises(PeerFault, match="credit"):
            await drained(far)


async def drained(session: Session) -> None:
    async with asyncio.timeout(10):
        while session._error is None:
            await asyncio.sleep(0.01)
        while True:
            await session.receive()


async def test_those_that_connect_at_once_each_make_another_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is dropped is gone only when the loop comes to it: by then more came."""
    monkeypatch.setattr(door, "MAX_WAITING", 4)
    kept = door.Door(cast(Any, None))
    aborted: list[wire.Connection] = []
    for number in range(20):
        connection = wire.Connection(limits={}, took=lambda *about: None)
        connection.host = f"192.0.2.{number % 2}"
        connection.greet = lambda challenge: None  # type: ignore[method-assign]
        connection.abort = lambda reason, gone=connection: aborted.append(gone)  # type: ignore[assignment,misc]
        kept.came(connection)
        assert len(kept._waiting) <= 4
    assert len(aborted) == len(set(map(id, aborted))) == 16
    for connection in aborted:
        connection.lost(connection)
    assert (len(kept._waiting), sum(kept._hosts.values()), len(kept._challenges)) == (4, 4, 4)
    for timer in kept._waiting.values():
        timer.cancel()
