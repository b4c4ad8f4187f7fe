"""Devices that go, for good or with notice, and what their shards' keeper makes of that."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import surge
from keeping_support import CODE, CONFIG, MIB, UNHURRIED, deals, device_of, eventually, shard_file, town_of
from network_support import Device, Town
from surge.storage.journal import DealRow


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path / "town", providers=9) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def stop(town: Town, devices: list[Device]) -> None:
    for device in devices:
        town.call(device.stop())


def a_third(devices: list[Device], rows: list[DealRow]) -> list[Device]:
    """A third of the devices: those that take the most shards with them, and of no segment more than its code gives for lost."""
    best: tuple[int, list[Device]] = (0, [])
    for going in itertools.combinations(devices, len(devices) // 3):
        gone = Counter(row.segment for row in rows if row.device in {device.address for device in going})
        if max(gone.values(), default=0) <= CODE[1] - CODE[0]:
            best = max(best, (gone.total(), list(going)), key=lambda each: each[0])
    return best[1]


def test_a_file_outlives_a_third_of_its_devices_and_the_next_third(network: surge.Network, town: Town) -> None:
    data = random.Random(1).randbytes(2 * MIB)
    network.files.put(data, "long", code=CODE, segment_size=MIB)
    network.files.audit()
    left = list(town.devices)
    for _ in range(2):
        going = a_third(left, deals(network, "long"))
        left = [device for device in left if device not in going]
        stop(town, going)
        assert network.files.read("long") == data
        alive, wanted = {device.address for device in left}, min(5, len(left))

        def mended(alive: set[str] = alive, wanted: int = wanted) -> bool:
            network.files.repair()
            sound = [row.segment for row in deals(network, "long") if row.device in alive]
            return sound.count(0) == sound.count(1) == wanted == network.files.status()[0].sound

        eventually(mended)
        assert network.files.read("long") == data
    assert len(left) == 4
    assert sum(each.written for each in network.files.log("long")) > 0


def test_a_device_that_leaves_hands_over(network: surge.Network, town: Town) -> None:
    data = random.Random(2).randbytes(MIB)
    network.files.put(data, "moved", code=CODE, segment_size=MIB)
    row = deals(network, "moved")[0]
    device = device_of(town, row)
    town.call(device.stop())
    leaving = town.storage
    town.storage = replace(CONFIG, leaving=True)
    town.call(device.start())
    town.storage = leaving
    works = eventually(lambda: [each for each in network.files.repair() if each.what == "moved"])
    assert [(each.segment, each.shard, each.read, each.written) for each in works] == [(row.segment, row.shard, row.size, row.size)]
    assert "leaves" in works[0].why
    assert row.device not in {each.device for each in deals(network, "moved")}
    assert network.files.read("moved") == data
    assert device.storage is not None
    assert device.storage.shelf.totals[0] == 0, "it was told to drop what it handed over"


def test_a_device_that_leaves_with_a_spoiled_shard_hands_over_nothing(network: surge.Network, town: Town) -> None:
    data = random.Random(6).randbytes(MIB)
    network.files.put(data, "spoiled", code=CODE, segment_size=MIB)
    row = deals(network, "spoiled")[0]
    path, device = shard_file(town, row), device_of(town, row)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    town.call(device.stop())
    leaving = town.storage
    town.storage = replace(CONFIG, leaving=True)
    town.call(device.start())
    town.storage = leaving
    (work,) = eventually(lambda: network.files.repair())
    assert (work.what, "not those of the shard" in work.why) == ("failed", True)
    assert network.files.status()[0].sound == 4
    assert [(each.what, each.shard) for each in network.files.repair()] == [("rebuilt", row.shard)]
    assert network.files.read("spoiled") == data


def test_an_owner_is_away_and_holders_earn(network: surge.Network, town: Town) -> None:
    network.files.put(random.Random(4).randbytes(MIB), "earning", code=CODE, segment_size=MIB)
    began = sum(device.storage.tolls.earned for device in town.devices if device.storage)
    seen: list[int] = []
    keeper = threading.Thread(
        target=lambda: network.files.keep(rounds=3, told=lambda audits, _: seen.append(sum(each.paid for each in audits)))
    )
    keeper.start()
    keeper.join(60)
    assert not keeper.is_alive()
    paid = [each for each in seen if each]
    assert len(paid) == 3
    eventually(lambda: sum(device.storage.tolls.earned for device in town.devices if device.storage) - began >= sum(paid))
    assert network.files.status()[0].spent == sum(paid)


def test_clocks_that_differ_by_minutes_do_no_harm(network: surge.Network, town: Town) -> None:
    for number, device in enumerate(town.devices):
        skew = (-200, 0, 200)[number % 3]
        assert device.storage is not None
        clock = device.storage._clock
        device.storage._clock = lambda clock=clock, skew=skew: clock() + skew
    data = random.Random(5).randbytes(MIB)
    network.files.put(data, "skewed", code=CODE, segment_size=MIB)
    for _ in range(2):
        audits = network.files.audit()
        assert all(each.passed == each.asked and "not paid" not in each.why for each in audits), audits
    assert network.files.repair() == []
    assert network.files.read("skewed") == data


def test_what_is_over_is_let_go(network: surge.Network, town: Town) -> None:
    network.files.put(b"for a while", "short", code=CODE, days=7 / 86_400)
    network.files.put(b"for ever", "long", code=CODE, days=0)

    def over() -> bool:
        network.files.keep(rounds=1)
        return any(each.what == "let go" for each in network.files.log())

    eventually(over)
    assert [row.state for row in deals(network, "long")] == ["kept"] * 5
    held = sum(device.storage.shelf.totals[0] for device in town.devices if device.storage)
    assert held == 5, "holders dropped what is over"
    assert [each.name for each in network.files.status()] == ["long"]
    assert [each.name for each in network.files.ls()] == ["long"], "its name went, and its key with it"


def test_who_comes_back_in_time_lost_nothing(tmp_path: Path) -> None:
    with town_of(tmp_path / "town", parameters=UNHURRIED) as town, surge.connect(town.file) as network:
        comes_back(network, town)


def comes_back(network: surge.Network, town: Town) -> None:
    network.files.put(random.Random(3).randbytes(MIB), "back", code=CODE, segment_size=MIB)
    network.files.audit()
    before = deals(network, "back")
    device = device_of(town, before[0])
    town.call(device.stop())
    (away,) = [each for each in network.files.audit() if each.device == device.address]
    assert (away.passed, away.paid, "does not answer" in away.why) == (0, 0, True)
    assert network.files.repair() == []
    town.call(device.start())

    def paid() -> bool:
        (audit,) = [each for each in network.files.audit() if each.device == device.address]
        return audit.paid > 0

    eventually(paid)
    assert {row.id for row in deals(network, "back")} == {row.id for row in before}
