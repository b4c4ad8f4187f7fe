"""What the tests of direct connections share: a device with a door, a buyer that knows where it is, and bare sockets between them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from relay_support import BUYER, BUYER_SESSION, DEVICE, NETWORK, Key, join, make_offer
from surge.core.reach import DirectAddress
from surge.relay.client import Relays, Session
from surge.relay.client.handshake import Caller, Parties, SessionKeys
from surge.relay.direct.wire import GREETING, MAGIC
from surge.relay.server import RelayServer

HEAD = struct.Struct(">BI")
_sequences = itertools.count(1)
_strangers: list[Stranger] = []


@contextlib.asynccontextmanager
async def doors(
    relay: RelayServer, accept: Callable[[Session], Awaitable[None]], *, at: str = "", buyer: bool = True, **options: int
) -> AsyncIterator[tuple[Relays, Relays, DirectAddress]]:
    """A device with a door, a buyer that read its offer, and where the door is; with `at` the offer says so instead."""
    async with await join(DEVICE, relay) as device, await join(BUYER, relay, direct=buyer) as near:
        device.listen(accept, identity=DEVICE, **options)
        where = await device.open_door("127.0.0.1", 0)
        await announce(device, near, at or str(where))
        try:
            yield device, near, where
        finally:
            while _strangers:
                await _strangers.pop().left()


async def announce(device: Relays, buyer: Relays, at: str, key: Key = DEVICE) -> None:
    """Have an offer name the address, and the buyer read it."""
    await device.publish_offer(make_offer(key, next(_sequences), direct=at).encode())
    await buyer.offers()


async def round_trip(session: Session, message: bytes = b"ping") -> None:
    """Have what is sent come back."""
    async with asyncio.timeout(10):
        await session.send(message)
        assert await session.receive() == message


class Stranger:
    """Somebody who connected to a door, and says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.challenge = b""
        _strangers.append(self)

    @classmethod
    async def at(cls, where: DirectAddress, *, greeted: bool = True) -> Stranger:
        stranger = cls(*await asyncio.open_connection(str(where.host), where.port))
        if greeted:
            greeting = await stranger.read(GREETING)
            assert greeting.startswith(MAGIC)
            stranger.challenge = greeting[len(MAGIC) :]
        return stranger

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readexactly(size)

    async def packet(self) -> tuple[bytes, bytes]:
        letter, size = HEAD.unpack(await self.read(HEAD.size))
        return bytes([letter]), await self.read(size)

    def send(self, letter: bytes, body: bytes) -> None:
        self.writer.write(HEAD.pack(letter[0], len(body)) + body)

    def caller(self, identity: Key = BUYER_SESSION, device: Key = DEVICE) -> Caller:
        """A handshake for this connection, begun."""
        return Caller(Parties(NETWORK, self.challenge, device.address), identity, b"")

    async def shakes_hands(self, identity: Key = BUYER_SESSION) -> SessionKeys:
        """Say hello; the keys that follow from the answer."""
        caller = self.caller(identity)
        self.send(b"h", caller.hello)
        return caller.finish((await self.packet())[1])

    async def turned_away(self) -> bytes:
        """What it is told before the connection is closed."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def turned_away_or_answered(self) -> bytes:
        """The letter of the packet that comes; nothing, if the connection is closed instead."""
        try:
            return (await self.packet())[0]
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    def leave(self) -> None:
        self.writer.transport.abort()

    async def left(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def between(where: DirectAddress, change: Callable[[bytes, bytes], list[tuple[bytes, bytes]]]) -> AsyncIterator[DirectAddress]:
    """Somebody between a buyer and a door, who makes of each packet from the buyer what it likes."""
    ended: list[asyncio.Event] = []

    async def back(stranger: Stranger, writer: asyncio.StreamWriter) -> None:
        while data := await stranger.reader.read(1 << 16):
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(over := asyncio.Event())
        stranger = await Stranger.at(where, greeted=False)
        backward = asyncio.create_task(back(stranger, writer))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                letter, size = HEAD.unpack(await reader.readexactly(HEAD.size))
                for each, body in change(bytes([letter]), await reader.readexactly(size)):
                    stranger.send(each, body)
        await stranger.left()
        await asyncio.gather(backward, return_exceptions=True)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield DirectAddress(where.host, server.sockets[0].getsockname()[1])
        server.close()
        for over in ended:
            await over.wait()
