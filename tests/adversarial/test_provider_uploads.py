"""Contents that nobody asked for, that have gaps, that grow, that are something else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from provider_support import Bench, Client, until, work
from surge.core.messages import (
    Answer,
    Chunk,
    Received,
    Refusal,
)
from surge.core.messages.fields import MAX_CHUNK
from surge.provider.config import ProviderConfig
from surge.provider.uploads import MAX_UPLOADS


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def _wanted(client: Client, data: bytes, size: int | None = None) -> bytes:
    content = hashlib.sha256(data).digest()
    await client.ask(work("want", job=content, size=len(data) if size is None else size), "free")
    return content


async def test_a_content_that_nobody_asked_for_is_refused_and_the_rest_of_it_passed_over(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        refusal = await client.upload(bytes(4 * MAX_CHUNK))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "unknown"
        assert isinstance(await client.ask(work(number=1)), Answer)
        assert len(client.refusals()) == 1
        assert not list((bench.folder / "provider" / "contents").iterdir())


@pytest.mark.parametrize("offset", [1, 2 * MAX_CHUNK])
async def test_a_gap_in_an_upload_is_a_fault(bench: Bench, offset: int) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        data = bytes(3 * MAX_CHUNK)
        content = await _wanted(client, data)
        await client.send(Chunk(90, content, 0, data[:MAX_CHUNK], False), Chunk(90, content, offset, data[:10], False))
        assert "was due" in await client.ended()
        await until(lambda: not list((bench.folder / "provider" / "contents").iterdir()))


async def test_an_upload_that_begins_in_the_middle_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        content = await _wanted(client, b"12")
        await client.send(Chunk(90, content, 1, b"2", True))
        assert "begins at 1" in await client.ended()


async def test_an_upload_that_changes_its_content_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        one, two = await _wanted(client, b"1" * 20), await _wanted(client, b"2" * 20)
        await client.send(Chunk(90, one, 0, b"1" * 10, False), Chunk(90, two, 10, b"2" * 10, True))
        assert "was due" in await client.ended()


async def test_an_upload_past_its_announced_size_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        content = await _wanted(client, bytes(100), size=99)
        await client.send(Chunk(90, content, 0, bytes(100), True))
        assert "announced" in await client.ended()


async def test_an_upload_of_other_bytes_is_a_fault(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        content = await _wanted(client, b"good")
        await client.send(Chunk(90, content, 0, b"evil", True))
        assert "sha256" in await client.ended()
        await until(lambda: not list((bench.folder / "provider" / "contents").iterdir()))


async def test_uploads_under_way_are_bounded_and_dropped_with_the_session(bench: Bench) -> None:
    async with bench.running():
        client = Client(bench)
        await client.open()
        for number in range(MAX_UPLOADS + 1):
            data = b"%d" % number * 100
            content = await _wanted(client, data)
            await client.send(Chunk(90 + number, content, 0, data[:10], False))
        await until(client.refusals)
        assert client.refusals()[0].code == "busy"
        folder = bench.folder / "provider" / "contents"
        assert len(list(folder.iterdir())) == MAX_UPLOADS
        await client.link.close("gone")
        await until(lambda: not list(folder.iterdir()))


async def test_unvouched_uploads_are_bounded(tmp_path: Path) -> None:
    config = ProviderConfig(upload_window=1000, earnings_seconds=0.2)
    bench = Bench(tmp_path, config=config)
    async with bench.running():
        client = Client(bench)
        await client.open()
        one, two = b"1" * 800, b"2" * 800
        await _wanted(client, one)
        await _wanted(client, two)
        received = await client.upload(one)
        assert isinstance(received, Received)
        refusal = await client.upload(two)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "window"
        await client.acknowledge(received.receipt)
        assert isinstance(await client.upload(two), Received)
