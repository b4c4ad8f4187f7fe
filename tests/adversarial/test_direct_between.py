"""Who stands between a buyer and a device, is at an address that is not its own, or says again what was said elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from direct_support import HEAD, Stranger, announce, between, doors, round_trip
from relay_support import BUYER, BUYER_SESSION, DEVICE, NETWORK, STRANGER, Key, Queue, echo, join, make_offer, relay_server
from surge.core.reach import DirectAddress
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.relay.client.frames import MAX_FRAME, Kind, Opener, Sealer
from surge.relay.client.handshake import MAX_HANDSHAKE, Caller, Parties, read_hello
from surge.relay.direct import door, wire
from surge.relay.direct.dialling import Dialler
from surge.relay.direct.wire import GREETING, MAGIC
from surge.relay.server import RelayServer

Packet = tuple[bytes, bytes]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RelayServer]:
    async with relay_server(tmp_path) as server:
        yield server


# Hellos that were made for another way


async def test_a_hello_is_good_for_one_greeting_only(relay: RelayServer) -> None:
    async with doors(relay, echo) as (_, _buyer, where):
        first, second = await Stranger.at(where), await Stranger.at(where)
        hello = first.caller().hello
        second.send(b"h", hello)
        letter, reason = await second.packet()
        assert letter == b"x"
        assert b"signed by another key" in reason
        first.send(b"h", hello)
        assert (await first.packet())[0] == b"a"


async def test_a_hello_made_for_a_relay_opens_no_door_and_the_reverse(relay: RelayServer) -> None:
    for login in (BUYER.address, BUYER_SESSION.address, STRANGER.address):
        made = Caller(Parties(NETWORK, login, DEVICE.address), BUYER_SESSION, b"").hello
        async with doors(relay, echo) as (_, _buyer, where):
            stranger = await Stranger.at(where)
            stranger.send(b"h", made)
            letter, reason = await stranger.packet()
            assert letter == b"x"
            assert b"signed by another key" in reason
    direct = Caller(Parties(NETWORK, b"\x05" * 32, DEVICE.address), BUYER_SESSION, b"").hello
    for login in (BUYER.address, BUYER_SESSION.address):
        with pytest.raises(PeerFault, match="signed by another key"):
            read_hello(direct, Parties(NETWORK, login, DEVICE.address))


# Who is at an address


class Impostor:
    """Somebody else's server, at the address that a device states: notes what it is sent."""

    def __init__(self, *says: bytes, closes: bool = False) -> None:
        self.heard = bytearray()
        self.says, self.closes = says, closes
        self.came = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        for each in self.says:
            writer.write(each)
        if self.closes:
            writer.close()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                self.heard += data
        writer.close()


NOT_SURGE: dict[str, tuple[bytes, ...]] = {
    "nothing": (),
    "a mail server": (b"220 mail.example ESMTP ready\r\n" * 10,),
    "a shell": (b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(100),),
    "nearly Surge": (b"surge direct 2\r\n" + bytes(32),),
    "a greeting that is cut": (MAGIC,),
}


@pytest.mark.parametrize("says", NOT_SURGE.values(), ids=NOT_SURGE.keys())
async def test_a_server_that_does_not_greet_as_surge_is_sent_nothing(
    relay: RelayServer, monkeypatch: pytest.MonkeyPatch, says: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr("surge.relay.direct.dialling.DIRECT_SECONDS", 0.5)
    impostor = Impostor(*says)
    server = await asyncio.start_server(impostor.serve, "127.0.0.1", 0)
    async with server, doors(relay, echo, at=address(server)) as (_, buyer, _where):
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert session.relay == relay.url
        await round_trip(session)
        await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert impostor.came == 1
    assert impostor.heard == b""


def address(server: asyncio.Server) -> str:
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "after",
    [
        HEAD.pack(ord("a"), MAX_HANDSHAKE + 1),
        HEAD.pack(ord("a"), 300) + bytes(300),
        HEAD.pack(ord("s"), 24) + bytes(24),
        HEAD.pack(ord("x"), wire.MAX_REASON + 1),
        HEAD.pack(ord("h"), 1) + b"h",
        b"\xff" * 300,
        HEAD.pack(ord("x"), 5) + b"\x1b[2J\xff",
    ],
    ids=["an answer too long", "a false answer", "a frame", "a reason too long", "a hello", "garbage", "an ugly refusal"],
)
async def test_what_greets_and_then_lies_is_left_for_a_relay(relay: RelayServer, after: bytes) -> None:
    impostor = Impostor(MAGIC + bytes(32), after)
    server = await asyncio.start_server(impostor.serve, "127.0.0.1", 0)
    async with server, doors(relay, echo, at=address(server)) as (_, buyer, _where):
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert session.relay == relay.url
        await round_trip(session)


async def test_a_device_that_announces_anothers_door_is_not_taken_for_it(relay: RelayServer) -> None:
    async with (
        doors(relay, echo) as (_, buyer, where),
        await join(STRANGER, relay) as crook,
    ):
        crook.listen(echo, identity=STRANGER)
        await announce(crook, buyer, str(where), key=STRANGER)
        session = await buyer.dial(STRANGER.address, identity=BUYER_SESSION)  # the door is that of DEVICE
        assert (session.peer, session.relay) == (STRANGER.address, relay.url)
        await round_trip(session)
        # The crook made the address one that failed: DEVICE's buyers go through relays for a while, and reach it.
        await round_trip(await buyer.dial(DEVICE.address, identity=BUYER_SESSION))


async def test_who_answers_with_another_key_is_not_taken_for_the_device(relay: RelayServer) -> None:
    async with doors(relay, echo) as (_, buyer, _where), await join(STRANGER, relay) as crook:
        crook.listen(echo, identity=STRANGER)
        theirs = await crook.open_door("127.0.0.1", 0)
        assert buyer._dialler is not None
        buyer._dialler._known[DEVICE.address] = (1 << 60, str(theirs))
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert (session.peer, session.relay) == (DEVICE.address, relay.url)


def test_what_devices_say_and_where_they_failed_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.direct.dialling.REMEMBERED", 3)
    dialler = Dialler(NETWORK, ["nats://127.0.0.1:4222"])
    for number in range(10):
        dialler.note(make_offer(Key(1000 + number), 1, direct=f"127.0.0.1:{4000 + number}"))
        dialler._failed_at(DirectAddress(door.ipaddress.ip_address("127.0.0.1"), 4000 + number))
    assert len(dialler._known) == len(dialler._failed) == 3


# Who stands between


def nth(count: int, change: Callable[[Packet], list[Packet]]) -> Callable[[bytes, bytes], list[Packet]]:
    """Makes something else of the frame of this number, and leaves the others."""
    seen = 0

    def each(letter: bytes, body: bytes) -> list[Packet]:
        nonlocal seen
        if letter != b"s":
            return [(letter, body)]
        seen += 1
        return change((letter, body)) if seen == count else [(letter, body)]

    return each


def flipped(packet: Packet) -> list[Packet]:
    return [(packet[0], packet[1][:-1] + bytes([packet[1][-1] ^ 1]))]


def swapped() -> Callable[[bytes, bytes], list[Packet]]:
    held: list[Packet] = []

    def each(letter: bytes, body: bytes) -> list[Packet]:
        if letter != b"s":
            return [(letter, body)]
        held.append((letter, body))
        if len(held) == 3:
            return [held[2], held[1]]
        return [(letter, body)] if len(held) != 2 else []

    return each


BETWEEN: dict[str, tuple[Callable[[], Callable[[bytes, bytes], list[Packet]]], type[SurgeError] | None]] = {
    "changed": (lambda: nth(3, flipped), PeerFault),
    "cut": (lambda: nth(3, lambda packet: [(packet[0], packet[1][:-1])]), PeerFault),
    "cut to nothing": (lambda: nth(3, lambda packet: [(packet[0], b"")]), PeerFault),
    "left out": (lambda: nth(3, lambda packet: []), Unavailable),
    "in another order": (swapped, Unavailable),
    "twice": (lambda: nth(3, lambda packet: [packet, packet]), None),
    "and a frame of its own": (lambda: nth(3, lambda packet: [packet, (b"s", bytes(8) + bytes(30))]), None),
    "and one that comes too early": (lambda: nth(3, lambda packet: [packet, (b"s", b"\xff" * 8 + bytes(30))]), Unavailable),
    "and an announcement of a gigabyte": (lambda: nth(3, lambda packet: [packet, (b"s", bytes(MAX_FRAME + 1))]), Unavailable),
    "and a hello": (lambda: nth(3, lambda packet: [packet, (b"h", b"hello")]), Unavailable),
}


@pytest.mark.parametrize(("make", "fault"), BETWEEN.values(), ids=BETWEEN.keys())
async def test_whatever_is_done_to_frames_what_is_received_is_a_beginning_of_what_was_sent(
    relay: RelayServer, make: Callable[[], Callable[[bytes, bytes], list[Packet]]], fault: type[SurgeError] | None
) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (device, buyer, where), between(where, make()) as there:
        await announce(device, buyer, str(there))
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert near.relay == f"direct {there}"
        await near.send(b"0")
        far = await accepted.next()
        received = [await far.receive()]
        error: SurgeError | None = None
        for number in range(1, 8):
            try:
                await near.send(b"%d" % number)
                async with asyncio.timeout(5):
                    received.append(await far.receive())
            except SurgeError as raised:
                error = raised
                break
            except TimeoutError:
                continue  # the frame was left out: the next one shows it
        assert received == [b"%d" % number for number in range(len(received))]
        if fault is None:
            assert len(received) == 8
        else:
            assert isinstance(error, fault)
        await near.close()


async def test_a_frame_that_ends_in_the_middle_is_not_taken(relay: RelayServer) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (_, _buyer, where):
        stranger = await Stranger.at(where)
        keys = await stranger.shakes_hands(STRANGER)
        sealer = Sealer(keys.to_listener, 0.0)
        stranger.send(b"s", sealer.seal([(Kind.ALIVE, b"")], 0.0))
        far = await accepted.next()
        frame = sealer.seal([(Kind.MESSAGE, b"x" * 1000)], 0.0)
        stranger.writer.write(HEAD.pack(ord("s"), len(frame)) + frame[:500])
        await stranger.writer.drain()
        stranger.writer.close()
        with pytest.raises(Unavailable, match="was lost"):
            async with asyncio.timeout(5):
                await far.receive()


async def test_the_other_direction_is_sealed_by_another_key(relay: RelayServer) -> None:
    async with doors(relay, echo) as (_, _buyer, where):
        stranger = await Stranger.at(where)
        keys = await stranger.shakes_hands(STRANGER)
        stranger.send(b"s", Sealer(keys.to_listener, 0.0).seal([(Kind.MESSAGE, b"hello")], 0.0))
        letter, frame = await stranger.packet()
        assert letter == b"s"
        with pytest.raises(PeerFault):
            Opener(keys.to_listener).open(frame)
        assert Opener(keys.to_caller).open(frame)[0][0] == Kind.CREDIT


def test_the_greeting_has_one_size() -> None:
    assert len(MAGIC) + 32 == GREETING == 48
