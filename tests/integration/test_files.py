"""Files on a whole network: what is put comes back bit for bit, also without a third of the devices, on another machine, and in part."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import surge
from network_support import Town
from surge.errors import InvalidInput
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (3, 5)
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=6, storage=CONFIG) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def made(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_file_comes_back_bit_for_bit(network: surge.Network, tmp_path: Path) -> None:
    data = made(5 * MIB + 12345)
    (tmp_path / "scan.tif").write_bytes(data)
    stored = network.files.put(tmp_path / "scan.tif", code=CODE, segment_size=2 * MIB)
    assert (stored.name, stored.size, stored.k, stored.n) == ("scan.tif", len(data), 3, 5)
    assert network.files.get("scan.tif", tmp_path / "back").read_bytes() == data
    assert [each.name for each in network.files.ls()] == ["scan.tif"]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3 * 65536 * 3])
def test_files_of_all_sizes_come_back(network: surge.Network, tmp_path: Path, size: int) -> None:
    data = made(size, seed=size)
    network.files.put(data, f"size {size}", code=CODE)
    assert network.files.read(f"size {size}") == data
    assert network.files.get(f"size {size}", tmp_path / "back").read_bytes() == data


def test_a_range_is_read_without_the_rest(network: surge.Network) -> None:
    data = made(6 * MIB, seed=2)
    network.files.put(data, "ranges", code=CODE, segment_size=2 * MIB)
    with network.files.open("ranges", "rb") as file:
        for start, size in ((0, 10), (2 * MIB - 5, 10), (5 * MIB, MIB), (6 * MIB - 3, 100)):
            file.seek(start)
            assert file.read(size) == data[start : start + size]
        file.seek(-4, os.SEEK_END)
        assert file.read() == data[-4:]


def test_a_folder_comes_back_and_files_in_it_can_be_read(network: surge.Network, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    files = {f"{number % 7}/ä {number}.txt": made(number * 31, seed=number) for number in range(200)} | {"große Datei": made(3 * MIB)}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "run").write_bytes(b"#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    network.files.put(folder, code=CODE, segment_size=MIB)
    back = network.files.get("photos", tmp_path / "back")
    found = {path.relative_to(back).as_posix(): path.read_bytes() for path in back.rglob("*") if path.is_file()}
    assert found == files | {"run": b"#!/bin/sh\n"}
    assert os.access(back / "run", os.X_OK)
    assert network.files.read("photos/3/ä 10.txt") == files["3/ä 10.txt"]
    assert [each.name for each in network.files.ls("photos/3")][:2] == ["photos/3/ä 10.txt", "photos/3/ä 101.txt"]
    assert len(network.files.glob("photos/*/*.txt")) == 200
    part = network.files.get("photos/5", tmp_path / "part")
    assert sorted(path.name for path in part.iterdir()) == sorted(name[2:] for name in files if name.startswith("5/"))
    with pytest.raises(InvalidInput, match="no file"):
        network.files.read("photos/nothing")


def test_names_are_changed_and_removed(network: surge.Network) -> None:
    network.files.put(b"one", "a", code=CODE)
    network.files.mv("a", "b/c")
    assert network.files.read("b/c") == b"one"
    with pytest.raises(InvalidInput, match="nothing is stored"):
        network.files.stat("a")
    assert network.files.rm("b/c") == 5
    with pytest.raises(InvalidInput, match="nothing is stored"):
        network.files.read("b/c")


def test_what_is_put_again_replaces_what_was(network: surge.Network, town: Town) -> None:
    network.files.put(b"one", "again", code=CODE)
    before = sum(device.storage.shelf.totals[0] for device in town.devices if device.storage)
    network.files.put(b"two", "again", code=CODE)
    assert network.files.read("again") == b"two"
    assert sum(device.storage.shelf.totals[0] for device in town.devices if device.storage) == before
