"""Relays that lie: they hide, invent, keep, forge, replay, answer in a device's place."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from relay_support import (
    BUYER,
    BUYER_SESSION,
    DEVICE,
    NETWORK,
    OPERATOR,
    OTHER_RELAY,
    STRANGER,
    Key,
    Queue,
    echo,
    endpoint,
    join,
    make_offer,
    relay_server,
    until,
)
from surge.core.network import RelayAddress
from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.relay.board import OfferQuery, Page
from surge.relay.client import Relays
from surge.relay.client.frames import Kind, Sealer
from surge.relay.client.handshake import Parties, answer_hello, read_hello
from surge.relay.connection import Message, NatsConnection
from surge.relay.pace import Paces
from surge.relay.server import RelayLimits, RelayServer


async def almighty(server: RelayServer) -> NatsConnection:
    """What the relay's operator can do: hear everything, say anything as anybody."""
    return await server._connect("board", server._secrets.board)


async def seen(client: Relays, query: OfferQuery | None = None) -> list[tuple[str, int]]:
    return [(each.offer.device, each.offer.sequence) for each in await client.offers(query)]


async def test_offers_are_published_found_renewed_and_withdrawn(relay: RelayServer, second_relay: RelayServer) -> None:
    async with (
        await join(DEVICE, relay, second_relay, minimum=2) as device,
        await join(STRANGER, second_relay) as other,
        await join(BUYER, relay, second_relay, minimum=2) as buyer,
    ):
        assert await device.publish_offer(make_offer(DEVICE, 1).encode()) == 2
        assert await other.publish_offer(make_offer(STRANGER, 9, region="asia").encode()) == 1
        assert sorted(await seen(buyer)) == sorted([(DEVICE.address, 1), (STRANGER.address, 9)])
        assert await seen(buyer, OfferQuery(region="asia")) == [(STRANGER.address, 9)]
        assert await device.publish_offer(make_offer(DEVICE, 2).encode()) == 2
        assert (DEVICE.address, 2) in await seen(buyer)
        with pytest.raises(InvalidInput, match="newer"):
            await device.publish_offer(make_offer(DEVICE, 1).encode())
        assert await device.withdraw_offer(2) == 2
        assert await seen(buyer) == [(STRANGER.address, 9)]


async def test_many_offers_come_in_pages(relay: RelayServer) -> None:
    keys = [Key(5000 + number) for number in range(230)]
    for key in keys:
        relay.board.board.put(key.address, make_offer(key, 1).encode(), time.time())
    async with await join(BUYER, relay) as buyer:
        assert [device for device, _ in await seen(buyer)] == sorted(key.address for key in keys)
        assert len(await seen(buyer, OfferQuery(limit=100))) == 230


async def test_one_host_does_not_fill_the_board_with_keys_of_its_own(tmp_path: Path) -> None:
    """A device's key and its operator's cost nothing: each login publishes one offer, which stays when the connection goes."""
    async with relay_server(tmp_path, limits=RelayLimits(offers=6, offers_per_host=4)) as server:
        for number in range(6):
            key = Key(7000 + number)
            async with await join(key, server) as client:
                offer = make_offer(key, 1, operator=key.address).encode()
                if number < 4:
                    assert await client.publish_offer(offer) == 1
                else:
                    with pytest.raises(InvalidInput, match="this host"):
                        await client.publish_offer(offer)
        elsewhere = make_offer(DEVICE, 1)
        server.board.board.put(DEVICE.address, elsewhere.encode(), time.time(), "192.0.2.7")
        async with await join(Key(7000), server) as client:
            assert await client.publish_offer(make_offer(Key(7000), 2, operator=Key(7000).address).encode()) == 1, "its own is renewed"
            assert await client.withdraw_offer(2) == 1
        async with await join(Key(7005), server) as client:
            assert await client.publish_offer(make_offer(Key(7005), 1).encode()) == 1, "there is room again"
            assert (DEVICE.address, 1) in await seen(client)


async def test_a_relay_that_hides_offers_is_outdone_by_another(relay: RelayServer, second_relay: RelayServer) -> None:
    async with await join(DEVICE, relay, second_relay, minimum=2) as device, await join(BUYER, relay, second_relay) as buyer:
        await device.publish_offer(make_offer(DEVICE, 1).encode())
        relay.board.board._remove(DEVICE.address)
        assert await seen(buyer) == [(DEVICE.address, 1)]


async def test_a_relay_that_keeps_an_old_offer_is_outdone_by_another(relay: RelayServer, second_relay: RelayServer) -> None:
    async with await join(DEVICE, relay, second_relay, minimum=2) as device, await join(BUYER, relay, second_relay) as buyer:
        await device.publish_offer(make_offer(DEVICE, 7).encode())
        old = make_offer(DEVICE, 3)
        relay.board.board._offers[DEVICE.address] = (old, old.encode(), time.time() + 600)
        assert await seen(buyer) == [(DEVICE.address, 7)]


async def test_invented_altered_expired_and_foreign_offers_are_not_believed(
    relay: RelayServer, second_relay: RelayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make_offer(DEVICE, 1).encode()
    altered = good[:-1] + bytes([good[-1] ^ 1])
    expired = make_offer(STRANGER, 1, now=int(time.time()) - 601).encode()
    future = make_offer(STRANGER, 1, now=int(time.time()) + 3600).encode()
    foreign = make_offer(OPERATOR, 1, network=b"\x01" * 32).encode()
    lies = [altered, expired, future, foreign, b"", b"x" * 500, bytes(100_000)]
    monkeypatch.setattr(relay.board.board, "query", lambda query, now: Page(lies, ""))
    async with await join(DEVICE, second_relay) as device, await join(BUYER, relay, second_relay) as buyer:
        await device.publish_offer(good)
        assert await seen(buyer) == [(DEVICE.address, 1)]


async def test_pages_without_end_come_to_an_end(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def query(question: OfferQuery, now: float) -> Page:
        asked.append(question.after)
        return Page([], f"{len(asked):042d}")

    monkeypatch.setattr(relay.board.board, "query", query)
    relay.board._askers = Paces(1e9, burst_seconds=1.0)
    async with await join(BUYER, relay) as buyer:
        assert await seen(buyer) == []
    assert len(asked) <= 200


async def test_who_asks_too_fast_is_told_and_keeps_what_came_before(relay: RelayServer) -> None:
    for number in range(6):
        key = Key(6000 + number)
        relay.board.board.put(key.address, make_offer(key, 1).encode(), time.time())
    relay.board._askers = Paces(0.001, burst_seconds=4000.0)  # four questions: a hello and three pages
    async with await join(BUYER, relay) as buyer:
        assert len(await buyer.offers(OfferQuery(limit=1))) == 3
        with pytest.raises(Unavailable, match="more slowly"):
            await buyer.offers()


@pytest.mark.parametrize("after", ["", "0"])
async def test_a_page_that_leads_back_is_the_last(relay: RelayServer, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    monkeypatch.setattr(relay.board.board, "query", lambda query, now: Page([], after))
    async with await join(BUYER, relay) as buyer:
        assert await seen(buyer) == []


@pytest.mark.parametrize("answer", [b"", b"\xc1", b"\x92\x90", bytes(1 << 20)])
async def test_nonsense_for_an_answer_is_as_good_as_none(
    relay: RelayServer, second_relay: RelayServer, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async with await join(DEVICE, second_relay) as device, await join(BUYER, relay, second_relay, minimum=2) as buyer:
        await device.publish_offer(make_offer(DEVICE, 1).encode())
        monkeypatch.setattr(relay.board, "answer", lambda *question: answer)
        assert await seen(buyer) == [(DEVICE.address, 1)]
    monkeypatch.undo()


async def test_a_relay_without_its_key_is_not_believed(tmp_path: Path) -> None:
    """Someone runs a relay under another's name: without that key its welcome does not verify."""

    class Pretender(Key):
        def __init__(self) -> None:
            super().__init__(66)
            self.address = OTHER_RELAY.address

    async with relay_server(tmp_path, Pretender()) as server:
        with pytest.raises(Unavailable, match=f"is not {OTHER_RELAY.address}"):
            await Relays.connect([endpoint(server)], BUYER, network=NETWORK, timeout=2)


async def test_a_relay_under_another_name_is_refused(relay: RelayServer) -> None:
    wrong = RelayAddress(relay.url, OTHER_RELAY.address)
    with pytest.raises(Unavailable, match="calls itself"):
        await Relays.connect([wrong], BUYER, network=NETWORK, timeout=2)
    assert not relay._callout.logins


async def test_frames_forged_by_the_relay_end_the_session_and_give_nothing(relay: RelayServer) -> None:
    accepted = Queue()
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()
        operator = await almighty(relay)
        forged = Sealer(b"\0" * 32, 0.0).seal([(Kind.MESSAGE, b"pay the relay")], 0.0)
        counter = far._opener._counter.to_bytes(8, "big")
        operator.publish(f"node.{DEVICE.address}.{BUYER.address}.s.{near.token}", counter + forged[8:])
        async with asyncio.timeout(3):
            with pytest.raises(PeerFault, match="changed on its way"):
                await far.receive()


async def test_frames_replayed_by_the_relay_are_ignored(relay: RelayServer) -> None:
    accepted, overheard = Queue(), list[Message]()
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        operator = await almighty(relay)
        operator.on_message = overheard.append
        operator.subscribe(1, "node.>")
        await operator.flush(3)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()
        for number in range(5):
            await near.send(b"pay %d" % number)
            assert await far.receive() == b"pay %d" % number
        await operator.flush(3)
        assert all(b"pay" not in message.data for message in overheard)
        for message in list(overheard):
            operator.publish(message.subject, message.data)
        await operator.flush(3)
        await near.send(b"pay 5")
        assert await far.receive() == b"pay 5"
        assert accepted.sessions.empty()  # the hello was among what was replayed
        assert len(device._links[0].sessions) == 1


async def test_frames_dropped_by_the_relay_end_the_session(relay: RelayServer) -> None:
    accepted = Queue()
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()
        take, far.take_frame = far.take_frame, lambda frame: None  # type: ignore[method-assign]
        await near.send(b"dropped")
        await until(lambda: not near.has_frame)
        await relay_flush(buyer, device)
        far.take_frame = take  # type: ignore[method-assign]
        await near.send(b"arrives")
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable, match="lost"):
                await far.receive()


async def relay_flush(*clients: Relays) -> None:
    for client in clients:
        wire = client._links[0]._wire
        assert wire is not None
        await wire.flush(3)


async def test_a_relay_that_answers_in_the_devices_place_is_found_out(relay: RelayServer, second_relay: RelayServer) -> None:
    impostor = await almighty(relay)
    parties = Parties(NETWORK, BUYER.address, DEVICE.address)

    def answer(message: Message) -> None:
        _, _, _, _, token = message.subject.split(".")
        wire, _ = answer_hello(read_hello(message.data, parties), parties, STRANGER)
        impostor.publish(f"node.{BUYER.address}.{DEVICE.address}.a.{token}", wire)

    impostor.on_message = answer
    impostor.subscribe(1, f"node.{DEVICE.address}.*.h.*")
    await impostor.flush(3)
    async with await join(BUYER, relay) as buyer:
        with pytest.raises(PeerFault, match="another key than the device's"):
            await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
    async with await join(DEVICE, second_relay) as device, await join(BUYER, relay, second_relay, minimum=2) as buyer:
        device.listen(echo, identity=DEVICE)
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)  # the other relay is tried
        assert session.relay == second_relay.url


async def test_a_hello_taken_to_another_network_opens_nothing(relay: RelayServer) -> None:
    """The relay carries a buyer's hello to a device of another network, in the buyer's name."""
    overheard: list[Message] = []
    operator = await almighty(relay)
    operator.on_message = overheard.append
    operator.subscribe(1, "node.*.*.h.*")
    await operator.flush(3)
    async with await Relays.connect([endpoint(relay)], DEVICE, network=b"\x09" * 32) as device:
        accepted = Queue()
        device.listen(accepted, identity=DEVICE)
        async with await join(BUYER, relay) as buyer:
            with pytest.raises(Unavailable, match="another network"):
                await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        assert overheard
        assert accepted.sessions.empty()


async def test_an_offer_comes_back_with_its_relay(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device:
        await device.publish_offer(make_offer(DEVICE, 1).encode())
        relay.board.board._remove(DEVICE.address)  # the relay forgot, and the connection is lost
        assert device._links[0]._wire is not None
        device._links[0]._wire._connection.abort("lost")
        await until(lambda: len(relay.board.board) == 1)
