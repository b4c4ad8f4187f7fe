"""Sessions straight to a device: opened where it can be reached, through relays where it cannot, and otherwise as through relays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from direct_support import announce, doors, round_trip
from relay_support import BUYER, BUYER_SESSION, DEVICE, STRANGER, Queue, echo, join, make_offer, relay_server, until
from surge.core.reach import DirectAddress
from surge.errors import InvalidInput, Unavailable
from surge.relay.client import Session
from surge.relay.client.frames import MAX_MESSAGE
from surge.relay.direct import dialling
from surge.relay.server import RelayServer


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RelayServer]:
    async with relay_server(tmp_path) as server:
        yield server


async def ended(session: Session) -> None:
    """Receives until it ends."""
    async with asyncio.timeout(10):
        while True:
            await session.receive()


async def test_a_device_with_a_door_is_reached_without_a_relay(relay: RelayServer) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (device, buyer, where):
        before = (device.carried(relay.url), buyer.carried(relay.url))
        async with await buyer.dial(DEVICE.address, identity=BUYER_SESSION, context=b"terms") as near:
            await near.send(b"hello")
            far = await accepted.next()
            assert await far.receive() == b"hello"
            assert near.relay == f"direct {where}"
            assert (near.peer, far.peer, far.peer_login, far.context) == (DEVICE.address, BUYER_SESSION.address, "127.0.0.1", b"terms")
            for size in (0, 1, 100_000, MAX_MESSAGE):
                await far.send(bytes(size))
                assert await near.receive() == bytes(size)
        with pytest.raises(Unavailable, match="closed the session: closed"):
            await far.receive()
        assert (device.carried(relay.url), buyer.carried(relay.url)) == before


async def test_a_session_goes_on_while_all_relays_are_away(relay: RelayServer) -> None:
    async with doors(relay, echo) as (_, buyer, _where):
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await relay.close()
        await until(lambda: not buyer.connected)
        await round_trip(session)


async def test_who_does_not_want_to_be_seen_goes_through_a_relay(relay: RelayServer) -> None:
    async with doors(relay, echo, buyer=False) as (_, buyer, _where):
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert session.relay == relay.url
        await round_trip(session)


async def test_a_hundred_megabytes_go_each_way_in_order(relay: RelayServer) -> None:
    async with doors(relay, echo) as (_, buyer, _where), await buyer.dial(DEVICE.address, identity=BUYER_SESSION) as session:

        async def send() -> None:
            for number in range(400):
                await session.send(number.to_bytes(4, "big") * 65_536)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(400):
                assert await session.receive() == number.to_bytes(4, "big") * 65_536


async def test_where_nobody_is_the_relay_is_asked_and_the_address_left_for_a_while(
    relay: RelayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with doors(relay, echo) as (device, buyer, where):
        assert device._door is not None
        await device._door.close()
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert session.relay == relay.url
        assert buyer._dialler is not None
        assert buyer._dialler.address_of(DEVICE.address) is None
        monkeypatch.setattr(dialling, "AGAIN_SECONDS", 0.0)
        assert buyer._dialler.address_of(DEVICE.address) == where


async def test_a_newer_address_is_tried_at_once_and_an_older_offer_changes_nothing(relay: RelayServer) -> None:
    async with doors(relay, echo, at="127.0.0.1:9") as (device, buyer, where):
        assert (await buyer.dial(DEVICE.address, identity=BUYER_SESSION)).relay == relay.url
        await announce(device, buyer, str(where))
        assert (await buyer.dial(DEVICE.address, identity=BUYER_SESSION)).relay == f"direct {where}"
        assert buyer._dialler is not None
        buyer._dialler.note(make_offer(DEVICE, 0, direct="127.0.0.1:9"))
        assert buyer._dialler.address_of(DEVICE.address) == where
        await announce(device, buyer, "")
        assert buyer._dialler.address_of(DEVICE.address) is None


async def test_an_address_elsewhere_in_the_house_is_not_tried(relay: RelayServer) -> None:
    async with doors(relay, echo, at="192.168.1.1:80") as (_, buyer, _where):
        assert buyer._dialler is not None
        assert buyer._dialler.address_of(DEVICE.address) is None
        assert (await buyer.dial(DEVICE.address, identity=BUYER_SESSION)).relay == relay.url


async def test_a_connection_that_breaks_ends_the_session_on_both_sides_and_it_is_dialled_again(relay: RelayServer) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (_, buyer, _where):
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await near.send(b"hello")
        far = await accepted.next()
        assert buyer._dialler is not None
        buyer._dialler.sessions[near].abort("the cable was pulled")
        for session in (near, far):
            with pytest.raises(Unavailable, match=r"was lost: (the cable was pulled|.*reset.*|the other side)"):
                await ended(session)
        again = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert again.relay == relay.url  # it broke at once: the address is left for a while
        assert not buyer._dialler.sessions


async def test_a_connection_that_lasted_is_not_held_against_its_address(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "BRIEF_SECONDS", 0.0)
    async with doors(relay, echo) as (_, buyer, where):
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert buyer._dialler is not None
        buyer._dialler.sessions[near].abort("the cable was pulled")
        await until(lambda: not near.is_open)
        assert (await buyer.dial(DEVICE.address, identity=BUYER_SESSION)).relay == f"direct {where}"


async def test_a_device_that_refuses_is_asked_through_a_relay_and_again_directly(relay: RelayServer) -> None:
    async with doors(relay, echo, max_per_caller=1) as (_, buyer, where):
        first = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await round_trip(first)
        with pytest.raises(Unavailable, match="too many sessions"):
            await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await first.close()
        assert buyer._dialler is not None
        assert buyer._dialler.address_of(DEVICE.address) == where


async def test_both_ends_close_their_sessions_and_nothing_is_left(relay: RelayServer) -> None:
    accepted = Queue()
    async with doors(relay, accepted) as (device, buyer, where):
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await near.send(b"hello")
        await accepted.next()
        await device.close()
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="closed the session"):
                await near.receive()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(str(where.host), where.port)


async def test_a_silent_connection_is_noticed(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.client.session.PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("surge.relay.direct.wire.BEAT_SECONDS", 0.1)
    accepted = Queue()
    async with doors(relay, accepted) as (_, buyer, _where):
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await near.send(b"hello")
        far = await accepted.next()
        await until(lambda: not near.is_open and not far.is_open)
        assert any("was not heard of" in str(session._error) for session in (near, far))  # whoever noticed first


async def test_a_door_is_opened_for_those_who_listen_where_there_is_room(relay: RelayServer) -> None:
    async with await join(STRANGER, relay) as nobody:
        with pytest.raises(InvalidInput, match="opened once"):
            await nobody.open_door("127.0.0.1", 0)
    async with doors(relay, echo) as (_, _buyer, where), await join(STRANGER, relay) as late:
        late.listen(echo, identity=STRANGER)
        with pytest.raises(InvalidInput, match=f"cannot be taken at 127.0.0.1 port {where.port}"):
            await late.open_door("127.0.0.1", where.port)
    async with await join(STRANGER, relay) as wrong:
        wrong.listen(echo, identity=STRANGER)
        with pytest.raises(InvalidInput, match="cannot be taken at example"):
            await wrong.open_door("example", 0)


async def test_doors_work_over_ipv6(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(echo, identity=DEVICE)
        try:
            where: DirectAddress = await device.open_door("::1", 0)
        except InvalidInput:
            pytest.skip("this machine has no IPv6")
        await announce(device, buyer, str(where))
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert session.relay == f"direct [::1]:{where.port}"
        await round_trip(session)
