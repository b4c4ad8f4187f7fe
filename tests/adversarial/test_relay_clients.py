"""Clients that attack a relay, or others through it. They speak the bare protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay_support import (
    BUYER,
    BUYER_SESSION,
    DEVICE,
    NETWORK,
    OTHER_RELAY,
    RELAY,
    SMALL,
    STRANGER,
    Key,
    Queue,
    echo,
    join,
    relay_server,
    until,
)
from surge.errors import Unavailable
from surge.relay.board import Kept, OfferQuery
from surge.relay.client.handshake import Caller, Parties
from surge.relay.connection import Message, NatsConnection
from surge.relay.login import login_digest
from surge.relay.server import RelayLimits, RelayServer


def honest(key: Key, relay: Key = RELAY) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What an honest client says."""
    return lambda info: {
        "auth_token": key.address,
        "sig": key.sign(login_digest(relay.address, key.address, info["nonce"])).hex(),
    }


async def raw(server: RelayServer, login: Callable[[dict[str, Any]], dict[str, Any]]) -> NatsConnection:
    """A bare connection to the relay."""
    return await NatsConnection.open("127.0.0.1", server.port, login, timeout=6.0)


def claims(signer: Key, named: str, relay: Key = RELAY) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda info: {
        "auth_token": named,
        "sig": signer.sign(login_digest(relay.address, named, info["nonce"])).hex(),  # type: ignore[arg-type]
    }


@pytest.mark.parametrize(
    "login",
    [
        claims(STRANGER, DEVICE.address),
        claims(DEVICE, DEVICE.address, relay=OTHER_RELAY),
        claims(DEVICE, "*"),
        claims(DEVICE, ">"),
        claims(DEVICE, "0x*"),
        claims(DEVICE, DEVICE.address.upper()),
        lambda info: {},
        lambda info: {"auth_token": DEVICE.address},
        lambda info: {"auth_token": DEVICE.address, "sig": "zz"},
        lambda info: {"auth_token": DEVICE.address, "sig": "00" * 64 + "1b"},
        lambda info: {"user": "system", "pass": ""},
        lambda info: {"user": "board", "pass": "board"},
        lambda info: {"user": "callout", "pass": "x" * 64},
        lambda info: {"jwt": "eyJ.eyJ.x", "sig": "x"},
    ],
)
async def test_a_stranger_does_not_get_in(relay: RelayServer, login: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with pytest.raises(Unavailable, match=r"Authorization Violation|gone"):
        await raw(relay, login)
    await until(lambda: not relay._callout.logins)


async def test_a_signature_seen_elsewhere_opens_nothing(relay: RelayServer) -> None:
    """A nonce belongs to one connection: a signature that was overheard is worth nothing on the next."""
    overheard: list[dict[str, Any]] = []

    def listen(info: dict[str, Any]) -> dict[str, Any]:
        overheard.append(honest(DEVICE)(info))
        return overheard[0]

    first = await raw(relay, listen)
    with pytest.raises(Unavailable):
        await raw(relay, lambda info: overheard[0])
    await first.close()


async def test_nobody_listens_to_others(relay: RelayServer) -> None:
    heard: list[Message] = []
    accepted = Queue()
    spy = await raw(relay, honest(STRANGER))
    spy.on_message = heard.append
    subjects = [
        f"node.{DEVICE.address}.>",
        f"node.{DEVICE.address}.{BUYER.address}.>",
        "node.>",
        "node.*.*.s.*",
        ">",
        "*.>",
        f"board.{DEVICE.address}.>",
        "board.>",
        "_INBOX.>",
        "$SYS.>",
        "$SYS.REQ.USER.AUTH",
        "$JS.API.>",
    ]
    for number, subject in enumerate(subjects):
        spy.complaints.clear()
        spy.subscribe(number + 1, subject)
        await spy.flush(3)
        assert any("Permissions Violation" in complaint for complaint in spy.complaints), subject
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        async with await buyer.dial(DEVICE.address, identity=BUYER_SESSION) as session:
            await session.send(b"private")
            assert await (await accepted.next()).receive() == b"private"
        await spy.flush(3)
    assert heard == []
    await spy.close()


async def test_nobody_speaks_for_others(relay: RelayServer) -> None:
    forger = await raw(relay, honest(STRANGER))
    async with await join(DEVICE, relay) as device:
        seen: list[str] = []
        device._links[0]._deliver = lambda subject, data, nobody: seen.append(subject)  # type: ignore[method-assign]
        device._links[0]._wire._deliver = device._links[0]._deliver  # type: ignore[union-attr]
        for subject in (
            f"node.{DEVICE.address}.{BUYER.address}.s.x",
            f"node.{DEVICE.address}.{RELAY.address}.r.x",
            f"node.{DEVICE.address}.{DEVICE.address}.n.x",
            f"node.{DEVICE.address}",
            f"board.{DEVICE.address}.withdraw",
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.USER.AUTH",
            "$JS.API.INFO",
            "_INBOX.x",
        ):
            forger.complaints.clear()
            forger.publish(subject, b"hi")
            await forger.flush(3)
            assert any("Permissions Violation" in complaint for complaint in forger.complaints), subject
        forger.publish(f"node.{DEVICE.address}.{STRANGER.address}.s.x", b"hi")
        await until(lambda: seen)
        assert seen == [f"node.{DEVICE.address}.{STRANGER.address}.s.x"]
    await forger.close()


async def test_the_board_answers_nobody_but_who_asked(relay: RelayServer) -> None:
    """A question that names another's subject for its answer would turn the board against them."""
    victim_heard: list[Message] = []
    victim, asker = await raw(relay, honest(DEVICE)), await raw(relay, honest(STRANGER))
    victim.on_message = victim_heard.append
    victim.subscribe(1, f"node.{DEVICE.address}.>")
    await victim.flush(3)
    elsewhere = await relay._connect("board", relay._secrets.board)  # sees what the clients' rights hide
    elsewhere.on_message = victim_heard.append
    elsewhere.subscribe(1, "x")
    await elsewhere.flush(3)
    query = msgspec.msgpack.encode(OfferQuery())
    for reply in (
        "x",
        f"node.{DEVICE.address}.{RELAY.address}.r.x",
        f"node.{DEVICE.address}.x",
        f"board.{STRANGER.address}.query",
        "board.x.y",
        "$SYS.REQ.USER.AUTH",
        f"node.{STRANGER.address}.{RELAY.address}.r.{'x' * 200}",
        f"node.{STRANGER.address}.{RELAY.address}.r.x.y",
        "",
    ):
        asker.publish(f"board.{STRANGER.address}.query", query, reply)
    answers: list[Message] = []
    asker.on_message = answers.append
    asker.subscribe(1, f"node.{STRANGER.address}.>")
    asker.publish(f"board.{STRANGER.address}.query", query, f"node.{STRANGER.address}.{RELAY.address}.r.good")
    await until(lambda: answers)
    await victim.flush(3)
    await elsewhere.flush(3)
    assert victim_heard == []
    assert [message.subject for message in answers] == [f"node.{STRANGER.address}.{RELAY.address}.r.good"]
    await asyncio.gather(victim.close(), asker.close())


async def test_too_large_a_message_costs_the_sender_its_connection(relay: RelayServer) -> None:
    client = await raw(relay, honest(STRANGER))
    client.publish(f"node.{DEVICE.address}.{STRANGER.address}.s.x", bytes((1 << 20) + 1))
    async with asyncio.timeout(3):
        await client.closed.wait()
    assert "Payload" in client.reason


async def test_subscriptions_are_bounded(tmp_path: Path) -> None:
    async with relay_server(tmp_path, limits=RelayLimits(subscriptions=4)) as server:
        client = await raw(server, honest(STRANGER))
        for number in range(1, 10):
            client.subscribe(number, f"node.{STRANGER.address}.*.x{number}")
        await client.flush(3)
        assert [complaint for complaint in client.complaints if "subscriptions" in complaint]
        heard: list[Message] = []
        client.on_message = heard.append
        for number in range(1, 10):
            client.publish(f"node.{STRANGER.address}.{STRANGER.address}.x{number}", b"")
        await client.flush(3)
        assert len(heard) <= 4
        await client.close()


async def test_connections_of_one_address_are_bounded(tmp_path: Path) -> None:
    async with relay_server(tmp_path, limits=RelayLimits(per_address=2)) as server:
        kept = [await raw(server, honest(STRANGER)) for _ in range(2)]
        with pytest.raises(Unavailable):
            await raw(server, honest(STRANGER))
        other = await raw(server, honest(DEVICE))
        await kept[0].close()
        await until(lambda: len(server._callout.logins) == 2)
        await (await raw(server, honest(STRANGER))).close()
        await asyncio.gather(kept[1].close(), other.close())


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_flood_gets_its_sender_cut_off_and_nobody_else(tmp_path: Path, size: int) -> None:
    async with relay_server(tmp_path, limits=SMALL) as server, await join(BUYER, server) as buyer:
        flooder = await raw(server, honest(STRANGER))
        subject = f"node.{DEVICE.address}.{STRANGER.address}.s.x"
        async with asyncio.timeout(15):
            while not flooder.closed.is_set():
                try:
                    for _ in range(50):
                        flooder.publish(subject, bytes(size))
                    await flooder.drain()
                except Unavailable:
                    break
                await asyncio.sleep(0.02)
            await flooder.closed.wait()
        with pytest.raises(Unavailable):  # and is refused for a while
            await raw(server, honest(STRANGER))
        assert buyer.connected
        await raw(server, honest(DEVICE))


async def test_an_honest_client_paces_itself_below_the_limits(tmp_path: Path) -> None:
    """Under limits far below its speed a transfer is slow, not cut off."""
    accepted = Queue()
    limits = RelayLimits(messages_per_second=100, bytes_per_second=2 << 20, burst_seconds=1.0)
    async with (
        relay_server(tmp_path, limits=limits) as server,
        await join(DEVICE, server) as device,
        await join(BUYER, server) as buyer,
    ):
        device.listen(accepted, identity=DEVICE)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()

        async def send() -> None:
            for _ in range(32):
                await near.send(bytes(256 << 10))

        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(send())
            for _ in range(32):
                await far.receive()
        assert asyncio.get_running_loop().time() - started > 2.0
        assert near.is_open
        assert buyer.connected


async def test_hellos_in_masses_are_ignored_and_half_open_ones_given_up(relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.client.listener.CONFIRM_SECONDS", 1.0)
    accepted = Queue()
    async with await join(DEVICE, relay) as device:
        device.listen(accepted, identity=DEVICE, max_per_caller=4)
        answers: list[Message] = []
        attacker = await raw(relay, honest(STRANGER))
        attacker.on_message = answers.append
        attacker.subscribe(1, f"node.{STRANGER.address}.>")
        parties = Parties(NETWORK, STRANGER.address, DEVICE.address)
        for _ in range(200):
            caller = Caller(parties, STRANGER, b"")
            attacker.publish(f"node.{DEVICE.address}.{STRANGER.address}.h.{caller.nonce[:8].hex()}", caller.hello)
        await attacker.flush(3)
        listener = device._listener
        assert listener is not None
        await until(lambda: listener._half_open)
        async with await join(BUYER, relay) as buyer:  # others still get through
            device._listener = listener
            async with await buyer.dial(DEVICE.address, identity=BUYER_SESSION):
                await accepted.next()
        assert len(listener._half_open) <= 4
        answered = [message for message in answers if ".a." in message.subject]
        assert len(answered) == 4
        assert len(answers) <= 30
        await until(lambda: not listener._half_open)
        assert accepted.sessions.empty()
        await attacker.close()


async def test_a_hello_that_is_sent_again_opens_nothing(relay: RelayServer) -> None:
    accepted = Queue()
    async with await join(DEVICE, relay) as device:
        device.listen(accepted, identity=DEVICE)
        answers: list[Message] = []
        caller = Caller(Parties(NETWORK, STRANGER.address, DEVICE.address), STRANGER, b"")
        attacker = await raw(relay, honest(STRANGER))
        attacker.on_message = answers.append
        attacker.subscribe(1, f"node.{STRANGER.address}.>")
        for token in ("aa", "aa", "bb"):
            attacker.publish(f"node.{DEVICE.address}.{STRANGER.address}.h.{token}", caller.hello)
        await until(lambda: answers)
        await attacker.flush(3)
        assert len(answers) == 1
        assert accepted.sessions.empty()
        await attacker.close()


@pytest.mark.parametrize("wire", [b"", b"\x01", b"\x02" + bytes(300), b"\x01" + bytes(100_000)])
async def test_nonsense_for_a_hello_is_refused_with_a_reason(relay: RelayServer, wire: bytes) -> None:
    async with await join(DEVICE, relay) as device:
        device.listen(echo, identity=DEVICE)
        answers: list[Message] = []
        attacker = await raw(relay, honest(STRANGER))
        attacker.on_message = answers.append
        attacker.subscribe(1, f"node.{STRANGER.address}.>")
        attacker.publish(f"node.{DEVICE.address}.{STRANGER.address}.h.aa", wire)
        await until(lambda: answers)
        assert answers[0].subject == f"node.{STRANGER.address}.{DEVICE.address}.x.aa"
        assert 0 < len(answers[0].data) < 300
        await attacker.close()


async def test_a_stranger_cannot_touch_anothers_session(relay: RelayServer) -> None:
    accepted = Queue()
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(accepted, identity=DEVICE)
        near = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        far = await accepted.next()
        attacker = await raw(relay, honest(STRANGER))
        for kind in ("s", "g", "a", "x", "n", "r"):
            for token in (near.token, f"{DEVICE.address}-{near.token}"):
                attacker.publish(f"node.{BUYER.address}.{STRANGER.address}.{kind}.{token}", b"x" * 40)
                attacker.publish(f"node.{DEVICE.address}.{STRANGER.address}.{kind}.{token}", b"x" * 40)
        await attacker.flush(3)
        await near.send(b"still here")
        assert await far.receive() == b"still here"
        await attacker.close()


async def test_odd_subjects_do_no_harm(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device, await join(BUYER, relay) as buyer:
        device.listen(echo, identity=DEVICE)
        attacker = await raw(relay, honest(STRANGER))
        base = f"node.{DEVICE.address}.{STRANGER.address}"
        for end in ("s", "s.a.b.c", "h", "s.*", "h.>", "zz.1", "S.1", "n.x-y", "h." + "x" * 1000):
            attacker.publish(f"{base}.{end}", b"data")
        await attacker.flush(3)
        session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
        await session.send(b"x")
        assert await session.receive() == b"x"
        await attacker.close()


async def test_a_refused_question_is_told_why(relay: RelayServer) -> None:
    async with await join(DEVICE, relay) as device:
        kept = msgspec.msgpack.decode(await device._links[0].ask("offer", b"nonsense" * 20), type=Kept)
        assert not kept.done
        assert "offer" in kept.reason
