"""What a session sends: messages in order, files in pieces between them, and never more in memory than a bound."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import BinaryIO, Protocol

from surge.core.messages import Output, ToBuyer, encode
from surge.core.messages.fields import MAX_CHUNK
from surge.core.types import Address
from surge.errors import InternalFault, Unavailable

FULL = 4 << 20
"""Bytes waiting to be sent beyond which nothing more is read from the buyer."""

STREAM_ROOM = 1 << 20
"""Bytes waiting below which a file's next piece is added: a few pieces per session in memory."""

MANY_FILES = 1024
"""Files waiting beyond which it is the same: one may be asked for again and again."""

STUCK_SECONDS = 60.0
"""A buyer that takes nothing for so long is gone."""


class Link(Protocol):
    """A session as `surge.relay.client.Session` is one."""

    @property
    def peer(self) -> Address:
        """The identity the peer proved."""
        ...

    @property
    def context(self) -> bytes:
        """What the caller's hello said."""
        ...

    @property
    def relay(self) -> str:
        """The relay it goes through."""
        ...

    async def send(self, message: bytes) -> None:
        """Queue a message, in order; waits for room."""
        ...

    async def receive(self) -> bytes:
        """The next message."""
        ...

    def keep(self) -> None:
        """Do not end the session to make room for strangers."""
        ...

    async def close(self, reason: str = "closed") -> None:
        """End the session."""
        ...


class Outbox:
    """One session's sending side. `run` must run while it is used."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._messages: deque[bytes] = deque()
        self._files: deque[tuple[int, Path, int]] = deque()
        self._size = 0
        self._woken = asyncio.Event()
        self._roomy = asyncio.Event()
        self._roomy.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether the buyer should be read no further for now."""
        return self._size > FULL or len(self._files) > MANY_FILES

    def post(self, message: ToBuyer) -> None:
        """Send a message."""
        if self._closed:
            return
        data = encode(message)
        self._messages.append(data)
        self._size += len(data)
        self._empty.clear()
        self._weigh()
        self._woken.set()

    def stream(self, number: int, path: Path, size: int) -> None:
        """Send a file in pieces, after the files that were asked before it, between messages."""
        if not self._closed:
            self._files.append((number, path, size))
            self._empty.clear()
            self._weigh()
            self._woken.set()

    def _weigh(self) -> None:
        """Let the buyer be read, or not, by what waits now."""
        if self.full:
            self._roomy.clear()
        else:
            self._roomy.set()

    async def room(self) -> None:
        """Wait until what waits is no longer too much."""
        await self._roomy.wait()

    async def emptied(self) -> None:
        """Wait until everything was handed to the session."""
        await self._empty.wait()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._messages.clear()
        self._files.clear()
        self._size = 0
        self._roomy.set()
        self._empty.set()

    async def run(self) -> None:
        """Send, until cancelled. Raises `Unavailable` when the session has ended or the buyer takes nothing."""
        file: BinaryIO | None = None
        number = at = left = 0
        try:
            while True:
                if file is None and self._files:
                    number, path, left = self._files.popleft()
                    self._weigh()
                    file, at = await asyncio.to_thread(path.open, "rb"), 0
                if file is not None and self._size < STREAM_ROOM:
                    piece = await asyncio.to_thread(file.read, min(MAX_CHUNK, left))
                    if not piece:
                        raise InternalFault("an output's file is shorter than its outcome says", path=file.name)
                    left -= len(piece)
                    self.post(Output(number, at, piece, not left))
                    at += len(piece)
                    if not left:
                        file.close()
                        file = None
                if self._messages:
                    await self._send(1 if file is not None else len(self._messages))
                elif file is None and not self._files:
                    self._empty.set()
                    self._woken.clear()
                    await self._woken.wait()
        finally:
            if file is not None:
                file.close()

    async def _send(self, count: int) -> None:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                for _ in range(count):
                    data = self._messages[0]
                    await self._link.send(data)
                    if not self._messages:
                        return  # closed meanwhile
                    self._messages.popleft()
                    self._size -= len(data)
        except TimeoutError as error:
            raise Unavailable(f"{self._link.peer} takes nothing for {STUCK_SECONDS:.0f} s", peer=self._link.peer) from error
        self._weigh()
