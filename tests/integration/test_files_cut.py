"""Puts and gets whose process dies at any moment, and that go on: nothing is paid twice, nothing left over, nothing lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import surge
from crooked_holders import kept
from network_support import Town
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=512 << 20, price=2 * 10**15, spare=0)
CODE = (3, 5)
MIB = 1 << 20
DATA = random.Random(9).randbytes(5 * MIB + 99)

PUT = """
import sys, surge
with surge.connect(sys.argv[1]) as network:
    network.files.put(sys.argv[2], sys.argv[3], code=(3, 5), segment_size=1 << 20, told=lambda safe: print(safe, flush=True))
    print("done", flush=True)
"""

DIE = """
import os, signal, sys, surge
from surge.storage import journal
count, writes = int(sys.argv[4]), 0
before = journal.FilesJournal.write
async def write(self, change):
    global writes
    writes += 1
    if writes > count:
        os.kill(os.getpid(), signal.SIGKILL)
    return await before(self, change)
journal.FilesJournal.write = write
"""
"""Dies before it writes to its journal once more: between any two steps of a put."""

GET = """
import os, signal, sys, surge
from surge.storage import getting
count, appends = int(sys.argv[4]), 0
before = getting._append
def append(*given, **options):
    global appends
    appends += 1
    if appends > count:
        os.kill(os.getpid(), signal.SIGKILL)
    before(*given, **options)
getting._append = append
with surge.connect(sys.argv[1]) as network:
    network.files.get(sys.argv[2], sys.argv[3])
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=6, storage=CONFIG) as town:
        yield town


def run(program: str, *words: object) -> int:
    """Its exit status."""
    return subprocess.run([sys.executable, "-c", program, *map(str, words)], stdout=subprocess.DEVNULL, check=False, timeout=60).returncode


def earned(town: Town) -> int:
    """Wei that holders were paid."""
    return sum(device.storage.tolls.earned for device in town.devices if device.storage)


def put_until_it_lives(town: Town, source: Path, name: str, step: int) -> int:
    """Put a file, dying later each time; how often it died."""
    for deaths, count in enumerate(range(1, 80, step)):
        if run(DIE + PUT, town.file, source, name, count) == 0:
            return deaths
    assert run(PUT, town.file, source, name) == 0
    return 80 // step


def test_a_put_that_dies_between_any_two_steps_goes_on_and_nothing_is_paid_twice(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    before, spent = kept(town.devices), earned(town)
    assert put_until_it_lives(town, source, "cut", 6) > 2
    paid = earned(town)
    assert kept(town.devices) - before <= 5 * 6, "more shards than there are of an object"
    with surge.connect(town.file) as network:
        assert network.files.get("cut", tmp_path / "back").read_bytes() == DATA
    read = earned(town)
    with surge.connect(town.file) as network:
        network.files.put(source, "once", code=CODE, segment_size=MIB)
    assert paid - spent <= (earned(town) - read) * 1.01, "what was cut off costs more than what was not"


def test_a_put_that_was_cut_off_and_is_asked_for_otherwise_is_put_as_asked(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "otherwise"
    source.write_bytes(DATA[:200_000])
    before = kept(town.devices)
    assert run(DIE + PUT, town.file, source, "otherwise", 3) != 0
    with surge.connect(town.file) as network:
        stored = network.files.put(source, code=(2, 4), days=timedelta(days=60), segment_size=MIB)
        assert (stored.k, stored.n) == (2, 4)
        assert stored.expires - stored.created == 60 * 86_400
        assert network.files.read("otherwise") == DATA[:200_000]
        with network.files.open("otherwise", "r") as text, pytest.raises(UnicodeDecodeError):
            text.read()
    assert kept(town.devices) - before <= 4, "the shards of what was cut off are there still"


def test_a_put_that_dies_before_its_last_pledge_goes_on_to_all_of_them(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "small"
    source.write_bytes(DATA[:70_000])
    before = kept(town.devices)
    assert run(DIE + PUT, town.file, source, "pledges", 7) != 0
    assert run(PUT, town.file, source, "pledges") == 0
    assert kept(town.devices) - before == 5


@pytest.mark.slow
def test_a_put_over_another_that_dies_anywhere_loses_neither_name_nor_room(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "small"
    before = kept(town.devices)
    for version in range(6):
        source.write_bytes(DATA[version : version + 70_000])
        run(DIE + PUT, town.file, source, "over", 6 + version)
        assert run(PUT, town.file, source, "over") == 0
        with surge.connect(town.file) as network:
            assert network.files.read("over") == source.read_bytes()
        assert kept(town.devices) - before == 5, "shards of what was replaced, or of what is named no more"


def test_shards_of_a_source_that_changed_after_the_cut_are_released(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "changing"
    source.write_bytes(DATA)
    before = kept(town.devices)
    assert run(DIE + PUT, town.file, source, "changing", 12) == -signal.SIGKILL
    assert kept(town.devices) > before
    source.write_bytes(DATA[::-1])
    with surge.connect(town.file) as network:
        network.files.put(source, "changing", code=CODE, segment_size=MIB)
        assert network.files.get("changing", tmp_path / "back").read_bytes() == DATA[::-1]
    assert kept(town.devices) - before == 5 * 6


def test_a_removal_that_dies_anywhere_is_finished_by_the_next(town: Town) -> None:
    before = kept(town.devices)
    with surge.connect(town.file) as network:
        network.files.put(b"one", "goes", code=CODE)
        network.files.put(b"two", "goes too", code=CODE)
    remove = "import sys, surge\nwith surge.connect(sys.argv[1]) as network: network.files.rm(sys.argv[2])"
    for count in range(1, 9, 2):
        run(DIE + remove, town.file, "goes", "", count)
    with surge.connect(town.file) as network:
        if any(each.name == "goes" for each in network.files.ls()):
            network.files.rm("goes")
        network.files.rm("goes too")
    assert kept(town.devices) == before


def test_bytes_that_nobody_can_go_on_with_are_released(town: Town) -> None:
    before = kept(town.devices)
    program = "import sys, surge\nwith surge.connect(sys.argv[1]) as network: network.files.put(bytes(3 << 20), 'lost', code=(3, 5))"
    assert run(DIE + program, town.file, "", "", 6) == -signal.SIGKILL
    with surge.connect(town.file) as network:
        network.files.put(b"one", "kept", code=CODE)
    assert kept(town.devices) - before == 5
    with surge.connect(town.file) as network:
        assert network.files.rm("kept") == 5


def test_a_get_that_dies_goes_on_with_the_segment_it_had_not_finished(town: Town, tmp_path: Path) -> None:
    with surge.connect(town.file) as network:
        network.files.put(DATA, "got", code=CODE, segment_size=MIB)
    to = tmp_path / "back"
    for count in (1, 2):
        assert run(GET, town.file, "got", to, count) == -signal.SIGKILL
        assert not to.exists(), "half a file under the name of the whole"
    first: list[int] = []
    with surge.connect(town.file) as network:
        network.files.get("got", to, told=first.append)
    assert first[0] == 3 * MIB
    assert to.read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["back"]
