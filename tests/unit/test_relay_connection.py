"""The NATS connection against servers that are frozen, hostile or not servers at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_support import DEVICE, OTHER_RELAY, RELAY, Key, until
from surge.core.signing import recover
from surge.errors import InvalidInput, Unavailable
from surge.relay import connection as connection_module
from surge.relay.client.wire import Wire, parse_url
from surge.relay.connection import MAX_ANNOUNCED, MAX_LINE, Message, NatsConnection
from surge.relay.login import login_digest

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
INFO = {"server_id": "N", "server_name": RELAY.address, "nonce": "abc", "max_payload": 1 << 20}


@asynccontextmanager
async def server(script: Script) -> AsyncIterator[int]:
    """A server that does as the script says; its port."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        await listening.wait_closed()


def accepting(then: bytes = b"", **info: Any) -> Script:
    """Lets the client in, then says something, then answers pings until the client goes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(INFO | info).encode() + b"\r\n")
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n" + then)
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")

    return script


async def connect(port: int, timeout: float = 1.0) -> NatsConnection:
    return await NatsConnection.open("127.0.0.1", port, lambda info: {}, timeout=timeout)


async def test_messages_are_read_however_they_are_cut() -> None:
    wire = b"MSG a.b 1 3\r\nabc\r\nMSG a.b 1 re.ply 0\r\n\r\nHMSG a 1 16 18\r\nNATS/1.0 503\r\n\r\nxy\r\n+OK\r\nPING\r\n"
    wanted = [Message("a.b", "", b"abc", 0), Message("a.b", "re.ply", b"", 0), Message("a", "", b"xy", 503)]
    for step in (1, 2, 3, 7, 1000):
        got: list[Message] = []
        connection = NatsConnection()
        connection.on_message = got.append
        for start in range(0, len(wire), step):
            connection.data_received(wire[start : start + step])
        assert got == wanted
        assert not connection.closed.is_set()


@pytest.mark.parametrize(
    "wire",
    [
        b"MSG a 1 %d\r\n" % (MAX_ANNOUNCED + 1),
        b"MSG a 1 999999999999999999999\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 r x 3\r\n",
        b"MSG a 1 three\r\n",
        b"MSG \xff 1 3\r\n",
        b"HMSG a 1 9 3\r\n",
        b"HMSG a 1 -2 3\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\r\n",
        b"x" * MAX_LINE,
    ],
)
async def test_a_server_that_breaks_the_protocol_is_dropped(wire: bytes) -> None:
    async with server(accepting(then=wire)) as port:
        connection = await connect(port)
        async with asyncio.timeout(2):
            await connection.closed.wait()
        assert "protocol" in connection.reason
        with pytest.raises(Unavailable):
            connection.publish("a", b"")
        assert len(connection._buffer) == 0


async def test_an_endless_message_is_refused_before_it_is_gathered() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepting(then=b"MSG a 1 10000000000\r\n" + bytes(1 << 20))(reader, writer)

    async with server(script) as port:
        connection = await connect(port)
        async with asyncio.timeout(2):
            await connection.closed.wait()
        assert len(connection._buffer) == 0


async def test_an_endless_greeting_is_refused() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"INFO {" + b" " * 100_000)
            await writer.drain()

    async with server(script) as port:
        with pytest.raises(Unavailable, match="protocol"):
            await connect(port)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-x\r\n", b"INFO \r\n", b"INFO []\r\n", b"INFO {\r\n", b""])
async def test_what_is_no_relay_is_refused(greeting: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with server(script) as port:
        with pytest.raises(Unavailable):
            await connect(port)


async def test_a_server_that_never_speaks_is_given_up() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(script) as port:
        with pytest.raises(Unavailable, match="did not answer within"):
            await connect(port, timeout=0.2)


async def test_a_server_that_falls_silent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "PING_SECONDS", 0.05)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(INFO).encode() + b"\r\n")
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        await reader.read()

    async with server(script) as port:
        connection = await connect(port)
        flushing = asyncio.create_task(connection.flush(5))
        async with asyncio.timeout(2):
            await connection.closed.wait()
        assert "pings" in connection.reason
        with pytest.raises(Unavailable):
            await flushing


async def test_a_server_that_does_not_read_holds_the_publisher_and_not_its_close() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(INFO).encode() + b"\r\n")
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    async with server(script) as port:
        connection = await connect(port)

        async def publish() -> None:
            for _ in range(100):
                connection.publish("a", bytes(1 << 20))
                await connection.drain()

        publishing = asyncio.create_task(publish())
        await until(lambda: not connection._writable.is_set())
        assert not publishing.done()
        async with asyncio.timeout(3):
            await connection.close()
        with pytest.raises(Unavailable):
            await publishing


class CountingKey(Key):
    """Notes what it signed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signed: list[bytes] = []

    def sign(self, digest: bytes) -> bytes:
        self.signed.append(digest)
        return super().sign(digest)


@pytest.mark.parametrize(
    "info",
    [
        {"server_name": OTHER_RELAY.address},
        {"server_name": None},
        {"server_name": {"a": 1}},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": 5},
        {"nonce": "x" * 257},
    ],
)
async def test_nothing_is_signed_for_another_relay(info: dict[str, Any]) -> None:
    key = CountingKey(1)
    async with server(accepting(**info)) as port:
        with pytest.raises(Unavailable, match=r"calls itself|no nonce"):
            await Wire.connect(f"nats://127.0.0.1:{port}", RELAY.address, key, None, 1.0)
    assert key.signed == []


async def test_what_is_signed_names_the_relay_that_was_meant() -> None:
    key = CountingKey(1)
    async with server(accepting()) as port:
        wire = await Wire.connect(f"nats://127.0.0.1:{port}", RELAY.address, key, None, 1.0)
        await wire.close()
    assert key.signed == [login_digest(RELAY.address, key.address, "abc")]
    assert recover(key.signed[0], key.sign(key.signed[0])) == DEVICE.address


async def test_why_nothing_connects_is_said_in_words() -> None:
    async with server(accepting()) as port:
        pass  # it listens no longer
    for host, said in (("127.0.0.1", "nobody listens there"), ("no-such-host.invalid", "no host of that name is known")):
        with pytest.raises(Unavailable, match=f"cannot connect to {host}:{port}: {said}$"):
            await Wire.connect(f"nats://{host}:{port}", RELAY.address, CountingKey(1), None, 5.0)


async def test_tls_is_not_talked_away() -> None:
    key = CountingKey(1)
    async with server(accepting()) as port:
        with pytest.raises(Unavailable, match="does not speak TLS"):
            await Wire.connect(f"tls://127.0.0.1:{port}", RELAY.address, key, None, 1.0)
    async with server(accepting(tls_required=True)) as port:
        with pytest.raises(Unavailable, match="tls://"):
            await Wire.connect(f"nats://127.0.0.1:{port}", RELAY.address, key, None, 1.0)
    assert key.signed == []


@pytest.mark.parametrize("url", ["", "nats://", "nats://h:99999", "nats://h:x", "http://h", "nats://h/path", "nats://[::"])
def test_malformed_urls(url: str) -> None:
    with pytest.raises(InvalidInput):
        parse_url(url)


def test_urls() -> None:
    assert parse_url("nats://host") == ("host", 4222, False)
    assert parse_url("tls://[::1]:5") == ("::1", 5, True)
