"""Devices that go, and disks that rot: a third gone at once, more gone, gone in the middle of a put; shards flipped, cut and swapped."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import surge
from crooked_holders import Crooked, crooked, honest, shards_on_disk
from network_support import Device, Town
from surge.errors import Unavailable
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (3, 6)
MIB = 1 << 20
DATA = random.Random(11).randbytes(3 * MIB + 4321)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=7, storage=CONFIG, holders=dict.fromkeys(range(7), Crooked)) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    try:
        with surge.connect(town.file) as network:
            yield network
    finally:
        honest(town)


def flip(device: Device) -> None:
    for path in shards_on_disk(device):
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 4096):
            data[at] ^= 1
        path.write_bytes(data)


def cut(device: Device) -> None:
    for path in shards_on_disk(device):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)


def swap(device: Device) -> None:
    paths = shards_on_disk(device)
    contents = [path.read_bytes() for path in paths]
    for path, data in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(data)


def lose(device: Device) -> None:
    for path in shards_on_disk(device):
        path.unlink()


@pytest.mark.parametrize("damage", [flip, cut, swap, lose])
def test_shards_damaged_on_disk_are_read_from_elsewhere(
    town: Town, network: surge.Network, tmp_path: Path, damage: Callable[[Device], None]
) -> None:
    name = damage.__name__
    network.files.put(DATA, name, code=CODE, segment_size=MIB)
    saved = [{path: path.read_bytes() for path in shards_on_disk(device)} for device in town.devices[:3]]
    try:
        for device in town.devices[:3]:
            damage(device)
        with network.files.open(name) as file:
            for at in (0, MIB - 7, 2 * MIB + 70_000):
                file.seek(at)
                assert file.read(20) == DATA[at : at + 20]
        assert network.files.get(name, tmp_path / "back").read_bytes() == DATA
    finally:
        for files in saved:
            for path, data in files.items():
                path.write_bytes(data)


def test_a_third_gone_while_reading_is_not_noticed_and_more_is_said_quickly(town: Town, network: surge.Network, tmp_path: Path) -> None:
    network.files.put(DATA, "third", code=CODE, segment_size=MIB)
    stopped: list[Device] = []

    def stop(count: int) -> None:
        while len(stopped) < count:
            stopped.append(town.devices[len(stopped)])
            town.call(stopped[-1].stop())

    try:
        with network.files.open("third") as file:
            assert file.read(MIB) == DATA[:MIB]
            stop(3)
            assert file.read() == DATA[MIB:]
        assert network.files.get("third", tmp_path / "back").read_bytes() == DATA
        stop(5)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"cannot be read now: \d of the 3 shards"):
            network.files.get("third", tmp_path / "again")
        assert time.monotonic() - began < 30
    finally:
        for device in stopped:
            town.call(device.start())


def test_devices_that_go_in_the_middle_of_a_put_are_replaced(town: Town, network: surge.Network, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(DATA * 2)
    gone: list[Device] = []

    def told(safe: int) -> None:
        if not gone:
            gone.extend(town.devices[2:4])
            for device in gone:
                threading.Thread(target=lambda device=device: town.call(device.stop())).start()

    try:
        stored = network.files.put(tmp_path / "large", code=(2, 5), segment_size=MIB, told=told)
        assert gone
        assert stored.size == 2 * len(DATA)
        assert network.files.get("large", tmp_path / "back").read_bytes() == DATA * 2
    finally:
        for device in gone:
            town.call(device.stop())
            town.call(device.start())


@pytest.mark.parametrize("ahead", [240, -240])
def test_clocks_that_differ_by_minutes_do_no_harm(town: Town, network: surge.Network, ahead: int) -> None:
    for device in town.devices:
        crooked(device)._clock = lambda: time.time() + ahead
    try:
        network.files.put(b"in time", f"clock {ahead}", code=CODE)
        assert network.files.read(f"clock {ahead}") == b"in time"
    finally:
        for device in town.devices:
            crooked(device)._clock = time.time


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_clocks_that_differ_by_an_hour_are_refused_in_words(town: Town, network: surge.Network, ahead: int) -> None:
    for device in town.devices:
        crooked(device)._clock = lambda: time.time() + ahead
    try:
        with pytest.raises(Unavailable, match="clocks may differ by 300 s"):
            network.files.put(b"too late", "clock", code=CODE)
    finally:
        for device in town.devices:
            crooked(device)._clock = time.time
