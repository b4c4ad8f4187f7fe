"""What goes to one provider: messages in order, and contents in chunks between them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from surge.buyer.calls import Refused
from surge.buyer.doors import Link
from surge.core.messages import Chunk, Received, Refusal, SignedReceipt, encode
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError, Unavailable

MAX_WAITING = 1 << 20
"""Bytes waiting to be sent beyond which uploads wait."""


class Outbox:
    """Messages on their way into the session. Posting never waits; sending waits for the session's credit."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def post(self, message: bytes) -> None:
        """Send a message, behind those before it."""
        self._messages.append(message)
        self._size += len(message)
        self._empty.clear()
        if self._size >= MAX_WAITING:
            self._room.clear()
        self._wake.set()

    def clear(self) -> None:
        """The session is gone, and with it what was to be said in it."""
        self._messages.clear()
        self._size = 0
        self._room.set()
        self._empty.set()

    async def room(self) -> None:
        """Wait until little is waiting."""
        await self._room.wait()

    async def emptied(self) -> None:
        """Wait until everything was handed to the session, or the session is gone."""
        await self._empty.wait()

    async def run(self, session: Link) -> None:
        """Send until cancelled. Raises `Unavailable` when the session has ended."""
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._size -= len(message)
                await session.send(message)
                if self._size < MAX_WAITING:
                    self._room.set()
            self._empty.set()
            self._wake.clear()
            await self._wake.wait()


class Uploads:
    """Contents on their way to a provider."""

    def __init__(self, device: Address, outbox: Outbox) -> None:
        self._device = device
        self._outbox = outbox
        self._under_way: dict[int, tuple[bytes, asyncio.Future[SignedReceipt | None]]] = {}
        self._sending: dict[bytes, asyncio.Event] = {}

    async def send(
        self, number: int, content: bytes, size: int, pieces: Callable[[], Iterator[bytes]], seconds: float
    ) -> SignedReceipt | None:
        """Send a content in chunks as upload `number`; returns the receipt, where transfers are priced.

        Raises `Unavailable` when the session breaks or the provider does not take it in time, `Refused` when it will not.
        """
        done: asyncio.Future[SignedReceipt | None] = asyncio.get_running_loop().create_future()
        self._under_way[number] = content, done
        try:
            async with asyncio.timeout(seconds):
                await self._chunks(number, content, done, pieces())
                return await done
        except TimeoutError as error:
            raise Unavailable(f"{self._device} did not take a content of {size} bytes in {seconds:.0f} s") from error
        finally:
            self._under_way.pop(number, None)

    async def arrives(self, content: bytes) -> bool:
        """Wait for a content that somebody here is `sending`; False when nobody is."""
        arriving = self._sending.get(content)
        if arriving is not None:
            await arriving.wait()
        return arriving is not None

    @contextmanager
    def sending(self, content: bytes) -> Iterator[None]:
        """While a content is sent: once, for all who want it there."""
        arriving = self._sending[content] = asyncio.Event()
        try:
            yield
        finally:
            del self._sending[content]
            arriving.set()

    async def _chunks(self, number: int, content: bytes, done: asyncio.Future[SignedReceipt | None], pieces: Iterator[bytes]) -> None:
        at = 0
        piece = await asyncio.to_thread(next, pieces, b"")
        while True:
            following = await asyncio.to_thread(next, pieces, b"")
            await self._outbox.room()
            if done.done():
                return
            self._outbox.post(encode(Chunk(number, content, at, piece, not following)))
            at += len(piece)
            piece = following
            if not piece:
                return

    def received(self, message: Received) -> bool:
        """The provider has a content. Whether somebody waits for that. Raises `PeerFault` when it is another."""
        content, done = self._under_way.get(message.id, (message.content, None))
        if message.content != content:
            raise PeerFault(f"{self._device} received another content than was sent", content=message.content)
        if done is None or done.done():
            return False
        done.set_result(message.receipt)
        return True

    def refused(self, refusal: Refusal) -> bool:
        """The provider refused something; whether that was an upload."""
        if refusal.id not in self._under_way:
            return False
        _, done = self._under_way[refusal.id]
        if not done.done():
            done.set_exception(Refused(refusal))
        return True

    def broke(self, error: SurgeError) -> None:
        """The session is gone: uploads begin again in another."""
        for _, done in self._under_way.values():
            if not done.done():
                done.set_exception(error)
