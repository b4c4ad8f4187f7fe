"""Who connects to a device's door, who stands between, and who announces what is not its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from direct_support import HEAD, Stranger, announce, between, doors
from relay_support import BUYER, BUYER_SESSION, DEVICE, NETWORK, STRANGER, Key, Queue, echo, join, make_offer, relay_server, until
from surge.core.reach import DirectAddress
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.relay.client import Session
from surge.relay.client.frames import MAX_FRAME, Kind, Opener, Sealer
from surge.relay.client.handshake import MAX_HANDSHAKE, Caller, Parties, read_hello
from surge.relay.client.session import FIRST_CREDIT, MESSAGE_COST, WINDOW
from surge.relay.direct import door, wire
from surge.relay.direct.dialling import Dialler
from surge.relay.direct.wire import GREETING, MAGIC
from surge.relay.server import RelayServer

Packet = tuple[bytes, bytes]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RelayServer]:
    async with relay_server(tmp_path) as server:
        yield server


async def round_trip(session: Session, message: bytes = b"ping") -> None:
    async with asyncio.timeout(10):
        await session.send(message)
        assert await session.receive() == message


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
        caller = stranger.caller(STRANGER)
        stranger.send(b"h", caller.hello)
        keys = caller.finish((await stranger.packet())[1])
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
        caller = stranger.caller(STRANGER)
        stranger.send(b"h", caller.hello)
        keys = caller.finish((await stranger.packet())[1])
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
        caller = stranger.caller(STRANGER)
        stranger.send(b"h", caller.hello)
        keys = caller.finish((await stranger.packet())[1])
        stranger.send(b"s", Sealer(keys.to_listener, 0.0).seal([(Kind.MESSAGE, b"hello")], 0.0))
        letter, frame = await stranger.packet()
        assert letter == b"s"
        with pytest.raises(PeerFault):
            Opener(keys.to_listener).open(frame)
        assert Opener(keys.to_caller).open(frame)[0][0] == Kind.CREDIT


def test_the_greeting_has_one_size() -> None:
    assert len(MAGIC) + 32 == GREETING == 48
