"""Units of 64 MiB each way pass through without being held."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from pathlib import Path

from provider_support import Bench, Client, until, work
from surge.core.messages import Answer, Chunk, Output, Received, decode_for_buyer, encode
from surge.core.messages.fields import MAX_CHUNK
from surge.errors import Unavailable

SIZE = 64 << 20
ROOM = 16 << 20
"""Bytes the provider may hold while 64 MiB pass: some chunks, both sides of the session in memory."""


class Sink(Client):
    """A buyer that keeps nothing of what it receives, and takes it no faster than it comes."""

    received = 0

    async def _read(self, link: object) -> None:
        while True:
            try:
                message = decode_for_buyer(await self.link.receive())
            except Unavailable:
                return
            if isinstance(message, Output):
                assert message.offset == self.received
                self.received += len(message.data)
            else:
                self.messages.append(message)
            await asyncio.sleep(0)


async def test_64_mib_in_and_out_leave_memory_flat(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    piece = bytes(MAX_CHUNK)
    digest = hashlib.sha256()
    for _ in range(SIZE // MAX_CHUNK):
        digest.update(piece)
    content = digest.digest()
    async with bench.running():
        client = Sink(bench)
        await client.open()
        await client.ask(work("want", job=content, size=SIZE), "free")
        tracemalloc.start()
        try:
            for at in range(0, SIZE, MAX_CHUNK):
                await client.send(_chunk(content, at, piece))
                await until(lambda: not client.link.other._inbox)
            received = await client.answer(90)
            assert isinstance(received, Received)
            assert received.receipt is not None
            assert tracemalloc.get_traced_memory()[1] < ROOM
            await client.acknowledge(received.receipt)
            number = await client.call(work(number=1, size=SIZE))
            answer = await client.answer(number)
            assert isinstance(answer, Answer)
            made = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            await until(lambda: client.received == SIZE, 60)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - made < ROOM
            assert answer.receipt is not None
            await client.acknowledge(answer.receipt)
        finally:
            tracemalloc.stop()


def _chunk(content: bytes, at: int, piece: bytes) -> Chunk:
    chunk = Chunk(90, content, at, piece, at + len(piece) == SIZE)
    assert len(encode(chunk)) < len(piece) + 100
    return chunk
