"""Names and paths that lead elsewhere, folders packed by a stranger's hand, and sizes that are lies."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import surge
from network_support import Town
from surge.core import canonical
from surge.core.storage.catalogue import Entry
from surge.core.storage.header import Kind
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.storage import objects
from surge.storage.client import Storage
from surge.storage.packing import BytesContent
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (2, 3)
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=3, storage=CONFIG) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def made(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


# Names


@pytest.mark.parametrize(
    "name",
    [
        "-rf",
        "--help",
        "*",
        "a b\u00a0c",
        "ünï/çødé/日本語.txt",
        "e\u0301",
        "\u202eexe.txt",
        "🦀" * 60,
        "con",
        "a\\b",
        "ends.",
        "'; drop table names; --",
        "$(id)",
        "x" * 255,
        "/".join(["d" * 100] * 10),
    ],
)
def test_a_name_of_any_unicode_stands_for_its_file(network: surge.Network, tmp_path: Path, name: str) -> None:
    data = name.encode() * 3
    stored = network.files.put(data, name, code=CODE)
    assert network.files.read(name) == data
    assert stored.name in {each.name for each in network.files.ls()}
    back = network.files.get(name, tmp_path / name.rsplit("/", 1)[-1])
    assert back.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [back.name]
    assert network.files.rm(name) == 3


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/../b", "/etc/passwd", "a//b", "a/", "nul\0", "line\nbreak", "\ud800", "\x1b[2J", "x" * 1025]
)
def test_a_name_that_is_none_or_leads_elsewhere_is_refused_in_words(network: surge.Network, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"name"):
        network.files.put(b"data", name, code=CODE)
    with pytest.raises(InvalidInput, match=r"name|nothing is stored|no file"):
        network.files.get(name or "..")


# Folders packed by hand


def packed(rows: list[list[Any]], body: bytes, footer: dict[str, int] | None = None) -> bytes:
    """A folder as an honest writer would never pack it."""
    page = canonical.encode(rows)
    end = sum(row[2] for row in rows)
    directory = canonical.encode([[rows[0][0], len(body), len(page), rows[0][1], end]])
    numbers = {"start": len(body) + len(page), "size": len(directory), "files": len(rows)} | (footer or {})
    return body + page + directory + struct.pack(">8sQQQ", b"surgetr1", numbers["start"], numbers["size"], numbers["files"])


class Tree(BytesContent):
    """Bytes that are said to be a packed folder."""

    kind = Kind.TREE


def put_tree(network: surge.Network, data: bytes, name: str) -> None:
    network.files._call(lambda storage: objects.put(storage, Tree(data), name, seconds=86_400, code=CODE))


HOSTILE = {
    "above": packed([["../escaped", 0, 3, 0, False]], b"abc"),
    "above within": packed([["a/../../escaped", 0, 3, 0, False]], b"abc"),
    "absolute": packed([["/tmp/escaped", 0, 3, 0, False]], b"abc"),
    "dot": packed([["./escaped", 0, 3, 0, False]], b"abc"),
    "empty part": packed([["a//escaped", 0, 3, 0, False]], b"abc"),
    "nothing": packed([["", 0, 3, 0, False]], b"abc"),
    "nul": packed([["a\0b", 0, 3, 0, False]], b"abc"),
    "a file as folder": packed([["a", 0, 1, 0, False], ["a/b", 1, 2, 0, False]], b"abc"),
    "twice": packed([["a", 0, 1, 0, False], ["a", 1, 2, 0, False]], b"abc"),
    "decomposed": packed([["e\u0301", 0, 3, 0, False]], b"abc"),
    "a terabyte": packed([["a", 0, 1 << 40, 0, False]], b"abc"),
    "less than nothing": packed([["a", 0, -3, 0, False]], b"abc"),
    "overlapping": packed([["a", 0, 3, 0, False], ["b", 1, 2, 0, False]], b"abc"),
    "beyond the files": packed([["a", 7, 3, 0, False]], b"abc"),
    "a directory of everything": packed([["a", 0, 3, 0, False]], b"abc", {"start": 0, "size": 1 << 60}),
    "a directory behind the end": packed([["a", 0, 3, 0, False]], b"abc", {"start": 1 << 62}),
    "a trillion files": packed([["a", 0, 3, 0, False]], b"abc", {"files": 1 << 40}),
    "no footer": b"abc",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_writes_nothing_outside_and_is_refused_in_words(network: surge.Network, tmp_path: Path, name: str) -> None:
    put_tree(network, HOSTILE[name], f"hostile {name}")
    inside = tmp_path / "deep" / "inside"
    with pytest.raises(PeerFault, match=r"packed folder|index"):
        network.files.get(f"hostile {name}", inside)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.suffix != ".part"} <= {"deep", "deep/inside"}
    assert not Path("/tmp/escaped").exists()
    with pytest.raises(SurgeError):
        network.files.read(f"hostile {name}/a")


def test_links_that_lie_where_a_folder_goes_are_not_followed(network: surge.Network, tmp_path: Path) -> None:
    source, outside, to = tmp_path / "source", tmp_path / "outside", tmp_path / "to"
    for folder in (source / "sub", outside, to):
        folder.mkdir(parents=True)
    (source / "sub" / "file").write_bytes(b"new")
    (source / "top").write_bytes(b"new")
    (outside / "file").write_bytes(b"old")
    network.files.put(source, "links", code=CODE)
    (to / "sub").symlink_to(outside)
    with pytest.raises(Unavailable, match="cannot be written"):
        network.files.get("links", to)
    assert (outside / "file").read_bytes() == b"old"
    (to / "sub").unlink()
    (to / "top").symlink_to(outside / "file")
    network.files.get("links", to)
    assert (outside / "file").read_bytes() == b"old"
    assert not (to / "top").is_symlink()
    assert (to / "top").read_bytes() == b"new"


# Sizes


@contextmanager
def told(network: surge.Network, name: str, change: Any) -> Iterator[None]:
    """The catalogue says something else of a name."""

    async def swap(storage: Storage) -> Entry:
        names: Any = await storage.book.read()
        before: Entry = names[name]
        names[name] = replace(before, header=change(before.header))
        return before

    before = network.files._call(swap)
    try:
        yield
    finally:

        async def back(storage: Storage) -> None:
            names: Any = await storage.book.here()
            names[name] = before

        network.files._call(back)


@pytest.mark.parametrize(
    ("lie", "change"),
    [
        ("a terabyte", lambda header: replace(header, size=1 << 40)),
        ("a byte more", lambda header: replace(header, size=header.size + 1)),
        ("a byte less", lambda header: replace(header, size=header.size - 1)),
        ("larger segments", lambda header: replace(header, segment_size=256 << 20)),
        ("another code", lambda header: replace(header, k=1)),
        ("all there can be", lambda header: replace(header, size=1 << 48, segment_size=MIB)),
    ],
)
def test_a_size_that_is_a_lie_is_refused_before_anything_is_made_room_for(
    network: surge.Network, tmp_path: Path, lie: str, change: Any
) -> None:
    network.files.put(made(3 * MIB), "lied", code=CODE, segment_size=MIB)
    with told(network, "lied", change):
        with pytest.raises(SurgeError, match=r"map|header|segment"):
            network.files.get("lied", tmp_path / "back")
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0
        with pytest.raises(SurgeError, match=r"map|header|segment"):
            network.files.read("lied")
    assert network.files.read("lied") == made(3 * MIB)


# The reader's disk


FULL = """
import resource, signal, sys, surge
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with surge.connect(sys.argv[1]) as network:
    network.files.ls()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
    try:
        network.files.get("full", sys.argv[2])
    except surge.errors.Unavailable as error:
        print(error)
"""


def test_a_full_disk_at_the_reader_is_said_and_the_get_goes_on(town: Town, tmp_path: Path) -> None:
    data = made(5 * MIB + 7, 3)
    with surge.connect(town.file) as network:
        network.files.put(data, "full", code=CODE, segment_size=MIB)
    to = tmp_path / "to"
    ended = subprocess.run([sys.executable, "-c", FULL, town.file, to], capture_output=True, text=True, check=True, timeout=60)
    assert "is full or failing" in ended.stdout
    assert not to.exists()
    (part,) = tmp_path.iterdir()
    part.with_name(".to.0123456789abcdef.part").write_bytes(b"of another object")
    first: list[int] = []
    with surge.connect(town.file) as network:
        assert network.files.get("full", to, told=first.append).read_bytes() == data
    assert first[0] == 3 * MIB


def test_a_full_disk_while_a_folder_is_got_is_said_and_leaves_nothing_half(town: Town, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name, size in (("a", 1000), ("large", 4 * MIB)):
        (tmp_path / "source" / name).write_bytes(made(size))
    with surge.connect(town.file) as network:
        network.files.put(tmp_path / "source", "full", code=CODE, segment_size=MIB)
    to = tmp_path / "to"
    ended = subprocess.run([sys.executable, "-c", FULL, town.file, to], capture_output=True, text=True, check=True, timeout=60)
    assert "cannot be written" in ended.stdout
    assert {path.name for path in to.iterdir() if not path.name.startswith(".surge-")} == {"a"}


DIES = """
import os, signal, sys, surge
from surge.storage import getting
count, files = int(sys.argv[3]), 0
before = getting._MemberFile.finish
def finish(self):
    global files
    files += 1
    if files > count:
        os.kill(os.getpid(), signal.SIGKILL)
    before(self)
getting._MemberFile.finish = finish
with surge.connect(sys.argv[1]) as network:
    network.files.get("dies", sys.argv[2])
"""


def test_a_get_of_a_folder_that_died_goes_on_with_the_files_that_had_not_come(town: Town, tmp_path: Path) -> None:
    source, to = tmp_path / "source", tmp_path / "to"
    (source / "sub").mkdir(parents=True)
    (to / "sub").mkdir(parents=True)
    for number in range(30):
        (source / "sub" / f"{number:02}").write_bytes(made(1000 + number, number))
    with surge.connect(town.file) as network:
        network.files.put(source, "dies", code=CODE)
    rotten = to / "sub" / "25"  # from before, and like the right one but for a bit
    rotten.write_bytes(bytes(1025))
    time = (source / "sub" / "25").stat().st_mtime_ns
    os.utime(rotten, ns=(time, time))
    assert subprocess.run([sys.executable, "-c", DIES, town.file, to, "20"], check=False, timeout=60).returncode == -signal.SIGKILL
    came: list[int] = []
    with surge.connect(town.file) as network:
        network.files.get("dies", to, told=came.append)
    assert len(came) == 10
    assert {path.name: path.read_bytes() for path in (to / "sub").iterdir()} == {f"{n:02}": made(1000 + n, n) for n in range(30)}
    assert [path.name for path in to.iterdir()] == ["sub"]
