"""Files of awkward sizes, many of them, and large ones: in a memory that does not grow with them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import surge
from network_support import Town
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=4 << 30, price=2 * 10**15, spare=0)
MIB = 1 << 20
CHUNK = 65_536
MOST_RESIDENT = 300 * 10**6
"""Bytes that a process takes at most, whatever it moves."""

MEASURED = """
import sys, surge
with surge.connect(sys.argv[1]) as network:
    getattr(network.files, sys.argv[2])(*sys.argv[3:5], **eval(sys.argv[5]))
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=5, storage=CONFIG) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def resident(town: Town, method: str, *words: object, **options: object) -> int:
    """The most bytes that a process of its own was resident in while it did this."""
    command = [sys.executable, "-c", MEASURED, town.file, method, *words, options]
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * CHUNK, 2 * MIB + CHUNK])
@pytest.mark.parametrize("code", [(1, 1), (1, 3), (3, 5)])
def test_files_of_just_this_size_come_back_whole_and_in_part(
    network: surge.Network, tmp_path: Path, size: int, code: tuple[int, int]
) -> None:
    data = random.Random(size).randbytes(size)
    network.files.put(data, "size", code=code, segment_size=MIB)
    assert network.files.get("size", tmp_path / "back").read_bytes() == data
    with network.files.open("size") as file:
        assert file.seek(0, os.SEEK_END) == size
        for at in (0, max(0, size - 3), size // 2, size, size + 5):
            file.seek(at)
            assert file.read(10) == data[at : at + 10]


@pytest.mark.slow
def test_twenty_thousand_tiny_files_are_one_object(town: Town, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    for number in range(20_000):
        path = folder / f"{number % 40:02}" / f"{number:05}.txt"
        if number < 40:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number)
    began = time.monotonic()
    put = resident(town, "put", folder, "tiny", code=(3, 5))
    middle = time.monotonic()
    got = resident(town, "get", "tiny", tmp_path / "back")
    print(f"20,000 files: put {middle - began:.1f} s, {put >> 20} MiB; get {time.monotonic() - middle:.1f} s, {got >> 20} MiB")
    assert max(put, got) < MOST_RESIDENT
    found = sorted((tmp_path / "back").rglob("*.txt"))
    assert [path.read_bytes() for path in sorted(found, key=lambda path: path.name)] == [b"%d" % number for number in range(20_000)]


@pytest.mark.slow
def test_a_large_file_takes_no_more_memory_than_a_few_segments(town: Town, tmp_path: Path) -> None:
    size = int(os.environ.get("SURGE_TEST_GIGABYTES", "1")) << 30
    source, back = tmp_path / "large", tmp_path / "back"
    with source.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, 50_000_000):
            file.seek(at)
            file.write(b"here %d" % at)
    began = time.monotonic()
    put = resident(town, "put", source, "large", code=(3, 5))
    middle = time.monotonic()
    got = resident(town, "get", "large", back)
    print(f"{size >> 20} MiB: put {middle - began:.1f} s, {put >> 20} MiB; get {time.monotonic() - middle:.1f} s, {got >> 20} MiB")
    assert subprocess.run(["cmp", source, back], check=False).returncode == 0
    assert max(put, got) < MOST_RESIDENT
