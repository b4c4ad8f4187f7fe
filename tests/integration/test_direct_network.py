"""Jobs and files over devices that are reached directly, where that breaks, and for who does not want it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import surge
from buyer_functions import add_one
from network_support import Town
from surge.core.receipts import ReceiptKind
from surge.provider.config import ProviderConfig
from surge.relay.client import Relays
from surge.relay.direct.dialling import Dialler
from surge.storage.service import StorageConfig

CONFIG = ProviderConfig(listen="127.0.0.1:0")
STORAGE = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=4, config=CONFIG, storage=STORAGE) as town:
        yield town


def relays_of(network: surge.Network) -> Relays:
    return network._background.call(network._client.relays())


def dialler_of(network: surge.Network) -> Dialler:
    dialler = relays_of(network)._dialler
    assert dialler is not None
    return dialler


def through_relays(network: surge.Network) -> int:
    return sum(len(link.sessions) for link in relays_of(network)._links)


def test_jobs_and_files_go_straight_to_their_devices(town: Town, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(5 * MIB)
    with surge.connect(town.file) as network:
        carried = relays_of(network).carried(town.relays[0].url)
        assert list(network.map(add_one, range(200))) == list(range(1, 201))
        network.files.put(data, "straight", code=(2, 4), segment_size=2 * MIB)
        assert network.files.get("straight", tmp_path / "back").read_bytes() == data
        assert len(dialler_of(network).sessions) == 4
        assert through_relays(network) == 0
        assert relays_of(network).carried(town.relays[0].url) - carried < MIB // 4  # offers, and nothing else
        shown = [each["direct"] for each in network.providers()]
        assert shown == [each for each in shown if each.startswith("127.0.0.1:")]


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_who_does_not_want_to_be_seen_by_devices_goes_through_relays(
    town: Town, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random.Random(2).randbytes(3 * MIB)
    if by == "environment":
        monkeypatch.setenv("SURGE_DIRECT", "no")
    with surge.connect(town.file, direct=False if by == "argument" else None) as network:
        assert list(network.map(add_one, range(20))) == list(range(1, 21))
        network.files.put(data, f"hidden {by}", code=(2, 4), segment_size=2 * MIB)
        assert network.files.read(f"hidden {by}") == data
        assert relays_of(network)._dialler is None
        assert through_relays(network) == 4


def test_a_misspelled_wish_not_to_be_seen_is_no_yes(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_DIRECT", "nope")
    with pytest.raises(surge.InvalidInput, match="yes or no"):
        surge.connect(town.file)


def test_a_job_whose_connections_break_goes_on_and_pays_for_nothing_twice(town: Town) -> None:
    with surge.connect(town.file) as network:
        results = network.map(add_one, range(300), chunk=1)
        found = [next(results) for _ in range(20)]
        dialler = dialler_of(network)

        async def pull() -> int:
            sessions = list(dialler.sessions.values())
            for connection in sessions:
                connection.abort("the cable was pulled")
            return len(sessions)

        assert network._background.call(pull()) > 0
        found += list(results)
        assert found == list(range(1, 301))
        job = network.jobs()[0]
        assert job.done == 300
        billed = [each for each in network.receipts(job.id) if each["kind"] == ReceiptKind.UNIT and each["accepted"]]
        assert len(billed) == 300


def test_files_are_put_and_read_over_connections_that_break(town: Town) -> None:
    data = random.Random(3).randbytes(8 * MIB)
    with surge.connect(town.file) as network:
        network.files.put(data[:1000], "first", code=(2, 4))
        dialler = dialler_of(network)

        async def pull() -> None:
            for connection in list(dialler.sessions.values()):
                connection.abort("the cable was pulled")

        network._background.call(pull())
        network.files.put(data, "broken", code=(2, 4), segment_size=2 * MIB)
        network._background.call(pull())
        assert network.files.read("broken") == data


def test_a_device_that_comes_back_at_another_port_is_found_there(town: Town) -> None:
    with surge.connect(town.file) as network:
        before = {each["device"]: each["direct"] for each in network.providers()}
        device = town.devices[0]
        town.call(device.stop())
        town.call(device.start())
        network.wait_for_providers(4, 30)
        after = {each["device"]: each["direct"] for each in network.providers()}
        assert after.pop(device.address) != before.pop(device.address)
        assert after == before
        assert list(network.map(add_one, range(20), providers=[device.address])) == list(range(1, 21))
        assert [session.peer for session in dialler_of(network).sessions] == [device.address]
