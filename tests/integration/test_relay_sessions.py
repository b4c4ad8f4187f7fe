"""Clients through real relays: sessions, several relays, relays that die, freeze and come back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from relay_support import (
    BUYER,
    BUYER_SESSION,
    DEVICE,
    NETWORK,
    OTHER_RELAY,
    RELAY,
    STRANGER,
    Queue,
    echo,
    endpoint,
    join,
    relay_server,
    until,
)
from surge.core.network import RelayAddress
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.relay.client import Relays, Session
from surge.relay.client import session as session_module
from surge.relay.server import RelayLimits, RelayServer
from surge.wallet import KeySigner


async def round_trip(session: Session, message: bytes = b"ping") -> None:
    async with asyncio.timeout(5):
        await session.send(message)
        assert await session.receive() == message


async def test_a_session_carries_messages_both_ways(relay: RelayServer) -> None:
    accepted = Queue()
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        async with await buyer.dial(DEVICE.address, identity=BUYER_SESSION, context=b"terms") as near:
            far = await accepted.next()
            assert (near.peer, far.peer, far.peer_login) == (DEVICE.address, BUYER_SESSION.address, BUYER.address)
            assert far.context == b"terms"
            assert near.relay == far.relay == relay.url
            for size in (0, 1, 512 << 10):
                message = os.urandom(size)
                await near.send(message)
                assert await far.receive() == message
                await far.send(message)
                assert await near.receive() == message
        with pytest.raises(Unavailable, match="closed the session"):
            await far.receive()


async def test_many_sessions_at_once_do_not_mix(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(echo, identity=DEVICE, max_per_caller=20)
        sessions = [await buyer.dial(DEVICE.address, identity=BUYER_SESSION) for _ in range(10)]
        for number, session in enumerate(sessions):
            for repeat in range(20):
                await session.send(b"%d %d" % (number, repeat))
        for number, session in enumerate(sessions):
            for repeat in range(20):
                assert await session.receive() == b"%d %d" % (number, repeat)


async def test_64_mib_go_through_without_memory_growing(relay: RelayServer) -> None:
    accepted, chunk, chunks = Queue(), os.urandom(256 << 10), 256
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()

        async def send() -> None:
            for _ in range(chunks):
                await near.send(chunk)

        before = psutil.Process().memory_info().rss
        peak = 0
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(chunks):
                assert await far.receive() == chunk
                if number % 16 == 0:
                    peak = max(peak, psutil.Process().memory_info().rss)
        # both ends are in this process: a window on each side, some frames in the sockets
        assert peak - before < 40 << 20


async def test_a_slow_reader_holds_the_sender_and_nothing_is_lost(relay: RelayServer) -> None:
    accepted = Queue()
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()
        sending = asyncio.create_task(send_numbers(near, 100))
        await until(lambda: len(far._incoming) >= 15)
        assert not sending.done()
        assert sum(map(len, far._incoming)) <= session_module.WINDOW
        async with asyncio.timeout(30):
            for number in range(100):
                assert (await far.receive())[:8] == number.to_bytes(8, "big")
            await sending


async def send_numbers(session: Session, count: int) -> None:
    for number in range(count):
        await session.send(number.to_bytes(8, "big") + bytes(256 << 10))


async def test_a_device_that_is_not_there_is_known_at_once(relay: RelayServer) -> None:
    async with await join(BUYER, relay) as buyer:
        async with asyncio.timeout(2):
            with pytest.raises(Unavailable, match="not connected"):
                await buyer.dial(DEVICE.address, identity=BUYER_SESSION)


async def test_a_device_that_accepts_nothing_says_so(relay: RelayServer) -> None:
    async with await join(DEVICE, relay), await join(BUYER, relay) as buyer:
        with pytest.raises(Unavailable, match="accepts no sessions"):
            await buyer.dial(DEVICE.address, identity=BUYER_SESSION)


async def test_sessions_across_networks_are_refused(relay: RelayServer) -> None:
    async with (
        await join(DEVICE, relay) as device,
        await Relays.connect([endpoint(relay)], BUYER, network=b"\x08" * 32) as buyer,
    ):
        device.listen(echo, identity=DEVICE)
        with pytest.raises(Unavailable, match="another network"):
            await buyer.dial(DEVICE.address, identity=BUYER_SESSION)


async def test_a_caller_has_a_bounded_number_of_sessions(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(echo, identity=DEVICE, max_per_caller=2)
        first = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        with pytest.raises(Unavailable, match="too many sessions"):
            await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await round_trip(first)
        await first.close()
        await until(lambda: len(device._links[0].sessions) == 1)
        await round_trip(await buyer.dial(DEVICE.address, identity=BUYER_SESSION))


async def test_idle_strangers_keep_nobody_out(relay: RelayServer) -> None:
    """More silent sessions of throw-away keys than there are places; who was let in before stays, and the next gets in."""

    async def serve(session: Session) -> None:
        await session.send(await session.receive())
        session.keep()
        await echo(session)

    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer, await join(STRANGER, relay) as attacker:
        device.listen(serve, identity=DEVICE, max_sessions=4)
        known = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await round_trip(known)
        idle: list[Session] = []
        while len(idle) < 12:
            try:
                idle.append(await attacker.dial(DEVICE.address, identity=KeySigner.random()))
            except Unavailable:  # its login is paced
                await asyncio.sleep(0.1)
        await until(lambda: sum(each.is_open for each in idle) <= 4)
        late = await buyer.dial(DEVICE.address, identity=KeySigner.random())
        await round_trip(late)
        await round_trip(known)
        assert len(device._links[0].sessions) <= 6


async def test_a_handler_that_fails_ends_its_session_only(relay: RelayServer, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(session: Session) -> None:
        if await session.receive() == b"fail":
            raise RuntimeError("a bug in the service")
        await echo(session)

    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(handler, identity=DEVICE)
        bad, good = [await buyer.dial(DEVICE.address, identity=BUYER_SESSION) for _ in range(2)]
        await bad.send(b"fail")
        with pytest.raises(Unavailable):
            await bad.receive()
        await good.send(b"first")
        await round_trip(good)
    assert "a bug in the service" in caplog.text


async def test_with_two_relays_one_may_be_killed(relay: RelayServer, second_relay: RelayServer) -> None:
    async with await join(DEVICE, relay, second_relay) as device, await join(BUYER, relay, second_relay, minimum=2) as buyer:
        device.listen(echo, identity=DEVICE)
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION, relays=[relay.url])
        kept = await buyer.dial(DEVICE.address, identity=BUYER_SESSION, relays=[second_relay.identity])
        await round_trip(session)
        assert relay.pid is not None
        os.kill(relay.pid, signal.SIGKILL)
        async with asyncio.timeout(2):
            with pytest.raises(Unavailable, match="was lost"):
                await session.receive()
        await round_trip(kept)
        assert set(buyer.troubles) ^ set(buyer.connected) == {relay.url, second_relay.url}
        again = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert again.relay == second_relay.url or relay.restarts
        await round_trip(again)


async def test_a_killed_relay_comes_back_and_its_clients_with_it(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(echo, identity=DEVICE)
        await round_trip(await buyer.dial(DEVICE.address, identity=BUYER_SESSION))
        pid = relay.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: relay.restarts == 1 and relay.pid not in (None, pid))
        await until(lambda: not any(link.sessions for link in buyer._links))
        await until(lambda: buyer.connected and device.connected)
        await round_trip(await buyer.dial(DEVICE.address, identity=BUYER_SESSION))


async def test_both_relays_killed_and_one_started_again(tmp_path: Path, second_relay: RelayServer) -> None:
    relay = relay_server(tmp_path)
    await relay.start()
    async with await join(DEVICE, relay, second_relay) as device, await join(BUYER, relay, second_relay, minimum=2) as buyer:
        device.listen(echo, identity=DEVICE)
        port = relay.port
        await relay.close()
        await second_relay.close()
        await until(lambda: not buyer.connected and not device.connected)
        with pytest.raises(Unavailable):
            await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        async with relay_server(tmp_path, port=port):
            await until(lambda: buyer.connected and device.connected, 20)
            await round_trip(await buyer.dial(DEVICE.address, identity=BUYER_SESSION))


async def test_a_frozen_relay_is_noticed(relay: RelayServer, second_relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.connection.PING_SECONDS", 0.3)
    async with await join(DEVICE, relay, second_relay) as device, await join(BUYER, relay, second_relay, minimum=2) as buyer:
        device.listen(echo, identity=DEVICE)
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION, relays=[relay.url])
        assert relay.pid is not None
        frozen = psutil.Process(relay.pid)
        frozen.suspend()
        try:
            async with asyncio.timeout(5):
                with pytest.raises(Unavailable):
                    await session.receive()
            again = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
            assert again.relay == second_relay.url
            await round_trip(again)
        finally:
            if frozen.is_running():
                frozen.resume()


async def test_a_peer_that_vanishes_is_noticed(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(session_module, "PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr("surge.relay.client.link.BEAT_SECONDS", 0.1)
    async with await join(BUYER, relay) as buyer:
        device = await join(DEVICE, relay)
        device.listen(echo, identity=DEVICE)
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await asyncio.sleep(2.5)  # idle for longer than the patience: signs of life keep it
        await round_trip(session)
        for task in list(device._tasks):  # its process is gone without a word
            task.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await session.receive()
        await device.close()


async def test_logins_are_renewed_without_losing_a_message(tmp_path: Path) -> None:
    limits = RelayLimits(login_seconds=2)
    async with (
        relay_server(tmp_path, limits=limits) as relay,
        await join(DEVICE, relay) as device,
        await join(BUYER, relay) as buyer,
    ):
        device.listen(echo, identity=DEVICE)
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        first = buyer._links[0]._wire
        wires, count = {id(first)}, 0
        loop = asyncio.get_running_loop()
        end = loop.time() + 5.5
        sent = received = 0
        while loop.time() < end:
            while sent - received < 32:
                await session.send(b"%d" % sent)
                sent += 1
            async with asyncio.timeout(3):
                assert await session.receive() == b"%d" % received
            received += 1
            wires.add(id(buyer._links[0]._wire))
            count += 1
        assert len(wires) >= 3
        assert session.is_open
        assert count > 1000


async def test_connecting_needs_the_wanted_number_of_relays(relay: RelayServer) -> None:
    away = RelayAddress("nats://127.0.0.1:9", OTHER_RELAY.address)
    async with await Relays.connect([endpoint(relay), away], BUYER, network=NETWORK) as buyer:
        assert buyer.connected == [relay.url]
    with pytest.raises(Unavailable, match=r"1 of 2 relays answered, of 2 needed.*127.0.0.1:9.*See that they run"):
        await Relays.connect([endpoint(relay), away], BUYER, network=NETWORK, minimum=2, timeout=1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nats://", "127.0.0.1:4222", ""])
async def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        await Relays.connect([RelayAddress(url, RELAY.address)], BUYER, network=NETWORK)


async def test_an_unreachable_relay_fails_soon_and_plainly() -> None:
    with pytest.raises(Unavailable, match="0 of 1 relays"):
        async with asyncio.timeout(4):
            await Relays.connect([RelayAddress("nats://127.0.0.1:9", RELAY.address)], BUYER, network=NETWORK, timeout=1)
    away = RelayAddress("nats://127.0.0.1:9", RELAY.address)
    async with await Relays.connect([away], BUYER, network=NETWORK, minimum=0, timeout=1) as none:
        with pytest.raises(Unavailable, match=r"no relay answered: cannot connect to 127.0.0.1:9: nobody listens there$"):
            await none.withdraw_offer(1)


async def test_listening_is_only_possible_as_oneself(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device:
        with pytest.raises(InvalidInput):
            device.listen(echo, identity=STRANGER)


async def test_closing_ends_sessions_and_tasks(relay: RelayServer) -> None:
    device, buyer = await join(DEVICE, relay), await join(BUYER, relay)
    device.listen(echo, identity=DEVICE)
    session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
    await device.close()
    with pytest.raises(SurgeError):
        await session.receive()
    await buyer.close()
    await until(lambda: all("relay nats" not in task.get_name() for task in asyncio.all_tasks()))
    assert issubclass(PeerFault, SurgeError)
