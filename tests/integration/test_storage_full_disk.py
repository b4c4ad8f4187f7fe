"""A holder on a disk that others fill up: it says so, keeps what it promised, and goes on once there is room."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holder_support import PRICE, Holder, Shard, seed
from surge.core.messages import Refusal
from surge.core.messages import storage as m
from surge.storage.service import StorageConfig

DISK = 8 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "holder" / "storage"
    folder.mkdir(parents=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=%d" % DISK):
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), 2)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            continue


async def test_a_disk_that_others_fill_is_said_and_what_was_promised_goes_on_after_it(disk: Path) -> None:
    holder = Holder(disk.parent, StorageConfig(1 << 40, PRICE, spare=0))
    kept, cut = Shard.made(1_000_000, seed=1), Shard.made(3_000_000, seed=2)
    async with holder.running():
        user = await holder.user()
        assert 0 < holder.storage.describe().room <= DISK
        await user.put(kept, holder.now)
        await user.refused("open", Shard.made(1, seed=3).open(holder.now, size=2 * DISK), "storage", "no room for 16777216 bytes")
        await user.done("open", cut.open(holder.now))
        writes = cut.writes()
        await user.done("write", writes[0])
        with pytest.raises(OSError, match="No space left"):
            fill(disk / "others")
        said = await user.use("write", writes[1])
        assert isinstance(said, Refusal)
        assert (said.code, "No space left on device" in said.text) == ("storage", True)
        await user.refused("open", Shard.made(5000, seed=4).open(holder.now), "storage", "0 are free")
        assert holder.storage.describe().room == 0
        assert kept.shows(seed(), (await user.shown(seed(), kept))[0]), "what is here is shown"
        (disk / "others").unlink()
        for write in writes[1:]:
            await user.done("write", write)
        await user.owes("keep", m.Keep(cut.deal))
        assert cut.shows(seed(), (await user.shown(seed(), cut))[0])
