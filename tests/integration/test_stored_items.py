"""Maps over stored files: names travel, and devices read the bytes from their holders."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

import surge
from network_support import Town
from stored_support import both, count, digest, elsewhere, measure, nothing, tail
from surge.core.receipts import ReceiptKind
from surge.core.storage.stored import MOST_PARTS
from surge.errors import InvalidInput
from surge.relay.connection import NatsConnection
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=4, storage=CONFIG) as town:
        yield town


@pytest.fixture(scope="module")
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_function_reads_the_files_whose_names_it_is_given(network: surge.Network) -> None:
    files = {f"genomes/{number}.fa": content(70_000 * number + 11, number) for number in range(1, 5)}
    for name, data in files.items():
        network.files.put(data, name)
    names = network.files.glob("genomes/*.fa")
    assert names == sorted(files)
    want = [(hashlib.sha256(files[name]).hexdigest(), name.rpartition("/")[2]) for name in sorted(files)]
    assert list(network.map(digest, names)) == want
    assert network.submit(digest, names[0]).result(60) == want[0]


@pytest.fixture(scope="module")
def folder(network: surge.Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A folder that was put as a whole; its files by name."""
    place = tmp_path_factory.mktemp("folder")
    files = {"a.txt": b"first", "deep/b.txt": content(200_000, 8), "deep/empty.txt": b""}
    for path, data in files.items():
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_bytes(data)
    network.files.put(place, "photos")
    return {f"photos/{path}": data for path, data in files.items()}


def test_names_in_items_and_arguments_are_files_of_a_folder_as_well(network: surge.Network, folder: dict[str, bytes]) -> None:
    first, second, empty = network.files.glob("photos/*.txt")
    assert (first, second, empty) == tuple(sorted(folder))
    items = [{"paths": (second, empty), "more": {"x": 1}, "one": [first]}, {"paths": [first], "more": None, "one": (first, 3)}]
    results = network.map(measure, items)
    assert list(results) == [([200_000, 0], {"x": 1}, ".txt"), ([5], None, ".txt")]
    assert sum("a folder has one key" in text for text in results.progress.told) == 2, "once for each folder"
    assert network.submit(both, second, other=first).result(60) == (200_000, "first")
    assert list(network.map(tail, [network.files.ls("photos")[0].name])) == [(b"first", "OSError")]


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes that went over connections to relays, by the thread whose loop has them: the buyer's is called "surge", the devices' "town"."""
    found: Counter[str] = Counter()
    received, published = NatsConnection.data_received, NatsConnection.publish

    def receive(self: NatsConnection, data: bytes) -> None:
        found[threading.current_thread().name] += len(data)
        received(self, data)

    def publish(self: NatsConnection, subject: str, data: bytes, reply: str = "") -> None:
        found[threading.current_thread().name] += len(data)
        published(self, subject, data, reply)

    monkeypatch.setattr(NatsConnection, "data_received", receive)
    monkeypatch.setattr(NatsConnection, "publish", publish)
    return found


def test_the_bytes_go_from_holders_to_devices_and_not_by_way_of_the_buyer(network: surge.Network, carried: Counter[str]) -> None:
    size = 3 * MIB + 17
    files = {f"large/{number}": content(size, 20 + number) for number in range(4)}
    for name, data in files.items():
        network.files.put(data, name, code=(2, 4))
    carried.clear()
    found = dict(zip(sorted(files), network.map(digest, network.files.glob("large/*")), strict=True))
    assert found == {name: (hashlib.sha256(data).hexdigest(), name.rpartition("/")[2]) for name, data in files.items()}
    assert carried["town"] > 3 * size, "a part of what devices read is their own"
    assert carried["surge"] < 4 * size / 50


def test_holders_are_paid_what_devices_read_and_devices_what_they_brought(network: surge.Network) -> None:
    data = content(2 * MIB + 5, 40)
    network.files.put(data, "paid", code=(2, 4))
    network.files.settle()
    before = {row["receipt"] for row in network.receipts()}
    assert list(network.map(digest, network.files.glob("paid"))) == [(hashlib.sha256(data).hexdigest(), "paid")]
    network.files.settle()
    fresh = [row for row in network.receipts() if row["receipt"] not in before]
    (unit,) = [row for row in fresh if row["kind"] == ReceiptKind.UNIT]
    moved = [row for row in fresh if row["kind"] == ReceiptKind.TRANSFER]
    (brought,) = [row for row in moved if row["job"] == unit["job"]]
    assert (brought["device"], brought["quantity"], brought["accepted"]) == (unit["device"], len(data), True)
    read = [row for row in moved if row is not brought]
    assert all(row["accepted"] for row in read)
    assert unit["device"] not in {row["device"] for row in read}, "nobody is paid for reading its own"
    assert len(data) / 2 <= sum(row["quantity"] for row in read) <= 2 * len(data)


def test_a_budget_that_buys_no_unit_at_its_fuel_limit_has_room_for_bringing_its_files(network: surge.Network) -> None:
    names = [f"budget/{number}" for number in range(3)]
    for number, name in enumerate(names):
        network.files.put(content(MIB, 60 + number), name, code=(2, 4))
    want = [(hashlib.sha256(content(MIB, 60 + number)).hexdigest(), str(number)) for number in range(3)]
    results = network.map(digest, network.files.glob("budget/*"), chunk=1, budget=2 * 10**17)
    assert list(results) == want


def test_a_path_leads_to_its_file_and_nowhere_else(network: surge.Network, folder: dict[str, bytes]) -> None:
    (seen,) = network.map(elsewhere, network.files.glob("photos/a.txt"))
    below, above, *rest = seen
    assert below == [], "nobody sees what other items of the unit were given"
    assert ("stored_support.py" in above, ".stored" in above) == (True, False)
    assert rest == ["NotADirectoryError", "FileNotFoundError"]


def test_many_small_files_make_units_that_read_no_more_than_they_may(network: surge.Network, tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}").write_bytes(b"x" * number)
    network.files.put(tmp_path, "many files")
    names = network.files.glob("many files/*")
    results = network.map(count, names)
    assert list(results) == list(range(60))
    wide = network.map(count, names, chunk=30)
    assert list(wide) == list(range(60))
    assert sum(wide.progress.units.values()) >= 60 / MOST_PARTS


def test_rehearsing_reads_them_here(network: surge.Network, folder: dict[str, bytes]) -> None:
    assert network.check(tail, network.files.glob("photos/a.txt")[0]).value == (b"first", "OSError")


def test_no_names_give_no_results(network: surge.Network) -> None:
    assert network.files.glob("nothing/*") == []
    assert list(network.map(digest, network.files.glob("nothing/*"))) == []


def test_what_stands_for_no_file_is_refused_in_words(network: surge.Network, folder: dict[str, bytes], tmp_path: Path) -> None:
    network.files.put(b"soon gone", "gone.txt")
    (gone,) = network.files.glob("gone.txt")
    network.files.rm("gone.txt")
    with pytest.raises(InvalidInput, match=r"item 0: nothing is stored as 'gone\.txt' any more"):
        list(network.map(digest, [gone]))
    (tree,) = network.files.glob("photos")
    with pytest.raises(InvalidInput, match="'photos' is a folder: name the files in it"):
        network.submit(digest, tree)
    many = network.files.glob("photos/a.txt")[0]
    others = [network.files.put(b"%d" % number, f"many/{number}") and f"many/{number}" for number in range(9)]
    assert len(others) == 9
    with pytest.raises(InvalidInput, match="item 1 names 9 stored files: an item names 8 at most"):
        list(network.map(nothing, [many, network.files.glob("many/*")]))
    echo = tmp_path / "echo.wasm"
    echo.write_bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))'))
    with pytest.raises(InvalidInput, match="commands read no stored files"):
        list(network.run_each(echo, [surge.Run(stdin=many)]))
