"""Stored files over ten local providers, beside Tahoe-LAFS with the same k of n, and beside what the arithmetic alone takes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import surge
from benchmarks import floors, tahoe
from benchmarks.networks import network
from benchmarks.rows import Row, against
from holder_support import PRICE, ROOM, Holder, Shard
from surge.core.storage.layout import ALIGNMENT, FRAGMENT
from surge.core.storage.tree import PROOF_LEAF, verify
from surge.storage.erasure import code_of
from surge.storage.service import StorageConfig

PROVIDERS = 10
CODE = (6, 10)
LARGE = 100 * 10**6
SMALL, FILES = 10_000, 1_000
ROUNDS = 3
AUDITS = 1_000
SHARD = 1_677_792
"""Bytes of a shard of a whole segment, 20 of 30."""


def measure() -> Iterator[Row]:
    """Rows for putting and getting, for memory, and for audits; Tahoe-LAFS runs while the network is down."""
    if not tahoe.TAHOE.is_file():
        raise SystemExit("Tahoe-LAFS is not there: `make bench` installs it")
    with tempfile.TemporaryDirectory() as name:
        contents = Path(name) / "contents"
        _make(contents)
        theirs = _tahoe(Path(name), contents)
        ours = _surge(Path(name), contents)
    limit = _limit()
    for what in ("put of 100 MB", "get of 100 MB", "put of 1,000 files of 10 KB", "get of 1,000 files of 10 KB"):
        yield against(f"{what}, {CODE[0]} of {CODE[1]}", ours[what], "MB/s", "Tahoe-LAFS", theirs[what], 5)
    aim, share = "at least 0.4", ours["put of 100 MB"] / limit
    yield Row("put of 100 MB, part of the arithmetic alone", share, "ratio", "encode, seal and hash, MB/s", limit, share, aim, share >= 0.4)
    least, cores = statistics.median(floors.processor_seconds(LARGE, *CODE) for _ in range(ROUNDS)), os.cpu_count() or 1
    given = LARGE / 1e6 / (0.4 * limit) * cores
    yield Row("processor time that its bytes take at least", least, "s", f"what that aim leaves on {cores} cores, s", given, least / given)
    mine, other = ours["memory"], theirs["memory"]
    yield Row("memory of the client after all that", mine, "MB", "Tahoe-LAFS", other, other / mine)
    yield from _audits()


def _make(folder: Path) -> None:
    (folder / "small").mkdir(parents=True)
    (folder / "large").write_bytes(os.urandom(LARGE))
    for number in range(FILES):
        (folder / "small" / f"{number:04}").write_bytes(os.urandom(SMALL))


def _rate(size: int, work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """MB/s, the median of some rounds."""
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        rates.append(size / 1e6 / (time.perf_counter() - began))
    return statistics.median(rates)


def _tahoe(folder: Path, contents: Path) -> dict[str, float]:
    large = (contents / "large").read_bytes()
    small = [path.read_bytes() for path in sorted((contents / "small").iterdir())]
    caps: list[str] = []
    with tahoe.grid(folder / "grid", PROVIDERS, *CODE) as grid:
        grid.put(os.urandom(100_000))
        found = {}

        def put_large() -> None:
            salted = os.urandom(32) + large[32:]  # what is there already is not sent again
            caps[:] = [grid.put(salted)]

        def put_small() -> None:
            caps[:] = grid.put_all([os.urandom(32) + each[32:] for each in small])

        found["put of 100 MB"] = _rate(LARGE, put_large)
        found["get of 100 MB"] = _rate(LARGE, lambda: grid.get(caps[0]))
        found["put of 1,000 files of 10 KB"] = _rate(SMALL * FILES, put_small, 1)  # minutes
        found["get of 1,000 files of 10 KB"] = _rate(SMALL * FILES, lambda: grid.get_all(caps), 1)
        found["memory"] = grid.client.memory_info().rss / 1e6
        return found


def _surge(folder: Path, contents: Path) -> dict[str, float]:
    """In a process of its own, whose memory is only what putting and getting take."""
    with network(PROVIDERS) as (file, _):
        code = f"from benchmarks.files import put_and_get; put_and_get({str(file)!r}, {str(contents)!r}, {str(folder / 'back')!r})"
        said = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, timeout=1200).stdout
    return {name: float(value) for name, _, value in (line.partition("\t") for line in said.splitlines())}


def put_and_get(file: str, contents: str, back: str) -> None:
    """Measure Surge's side, and print it."""
    source, target = Path(contents), Path(back)
    number = iter(range(1000))
    with surge.connect(file) as joined:
        joined.wait_for_providers(PROVIDERS, 60)
        files = joined.files
        files.put(os.urandom(100_000), "first", code=CODE)
        found = {
            "put of 100 MB": _rate(LARGE, lambda: files.put(source / "large", f"large {next(number)}", code=CODE)),
            "get of 100 MB": _rate(LARGE, lambda: files.get("large 0", target.with_suffix(f".{next(number)}"))),
            "put of 1,000 files of 10 KB": _rate(SMALL * FILES, lambda: files.put(source / "small", f"small {next(number)}", code=CODE)),
        }
        name = next(each.name for each in files.ls() if each.name.startswith("small"))
        found["get of 1,000 files of 10 KB"] = _rate(SMALL * FILES, lambda: files.get(name, target.with_suffix(f".{next(number)}")))
        most = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        found["memory"] = int(most.split()[1]) * 1024 / 1e6
        assert files.get("large 0", target).read_bytes() == (source / "large").read_bytes()
    for what, value in found.items():
        print(what, value, sep="\t")


def _limit() -> float:
    """MB/s of plaintext that is encoded, sealed and hashed, on one core, with nothing else."""
    k, n = CODE
    stripe, key, code = os.urandom(k * FRAGMENT), AESGCM(bytes(32)), code_of(k, n)
    assert len(stripe) % ALIGNMENT == 0
    total = 40
    began = time.perf_counter()
    for number in range(total):
        key.encrypt(number.to_bytes(12, "big"), stripe, None)
        for fragment in code.encode(stripe):
            hashlib.sha256(fragment).digest()
    return total * len(stripe) / 1e6 / (time.perf_counter() - began)


def _audits() -> Iterator[Row]:
    """What an audit of a shard takes."""
    shown, verified, size = asyncio.run(_audit())
    yield Row("an audit of a shard, the holder's side", shown, "ms")
    yield Row("an audit of a shard, the owner's side", verified, "ms")
    yield Row("an audit of a shard, bytes of the answer", size, "bytes")


async def _audit() -> tuple[float, float, int]:
    """Milliseconds of a proof at the holder and of verifying it, medians, and its bytes."""
    with tempfile.TemporaryDirectory() as name:
        holder, shard = Holder(Path(name), StorageConfig(ROOM, PRICE, spare=0)), Shard.made(SHARD)
        async with holder.running():
            user = await holder.user()
            await user.put(shard, holder.now)
            shown, verified, size = [], [], 0
            for number in range(AUDITS):
                leaf = number * 7919 % -(-SHARD // PROOF_LEAF)
                began = time.perf_counter()
                data, path = holder.storage.shelf.prove(shard.deal, leaf)
                came = time.perf_counter()
                assert verify(shard.tree.root, SHARD, leaf, data, path)
                shown.append((came - began) * 1e3)
                verified.append((time.perf_counter() - came) * 1e3)
                size = max(size, len(data) + len(path))
            return statistics.median(shown), statistics.median(verified), size
