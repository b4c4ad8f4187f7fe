"""A session in memory."""

from __future__ import annotations

import asyncio

from surge.errors import Unavailable


class Wire:
    """One end of a session in memory."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: Wire
        self.closed = False

    @classmethod
    def pair(cls) -> tuple[Wire, Wire]:
        one, two = cls(), cls()
        one.other, two.other = two, one
        return one, two

    async def send(self, message: bytes) -> None:
        if self.closed or self.other.closed:
            raise Unavailable("the wire is cut")
        self.other.incoming.put_nowait(message)

    async def receive(self) -> bytes:
        message = await self.incoming.get()
        if message is None:
            raise Unavailable("the wire is cut")
        return message

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        for end in (self, self.other):
            if not end.closed:
                end.closed = True
                end.incoming.put_nowait(None)
