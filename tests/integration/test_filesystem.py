"""Stored files through fsspec: what pandas and others do with paths that begin with surge://."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pandas
import pytest

import surge
from network_support import Town
from surge.filesystem import SurgeFileSystem
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=5, storage=CONFIG) as town:
        yield town


@pytest.fixture
def filesystem(town: Town) -> Iterator[SurgeFileSystem]:
    found = fsspec.filesystem("surge", network=str(town.file), skip_instance_cache=True)
    assert isinstance(found, SurgeFileSystem)
    yield found
    found.close()


@pytest.fixture
def there(filesystem: SurgeFileSystem, tmp_path: Path) -> dict[str, bytes]:
    """Files in a folder that was put as a whole, and beside it."""
    made = {"data/a.txt": b"a", "data/deep/b.txt": b"bb", "data/packed/c.txt": b"ccc", "data/packed/in/d.txt": b"dddd", "top.txt": b"top"}
    for name in ("data/a.txt", "data/deep/b.txt", "top.txt"):
        filesystem.pipe_file(name, made[name])
    (tmp_path / "packed" / "in").mkdir(parents=True)
    for name in ("packed/c.txt", "packed/in/d.txt"):
        (tmp_path / name).write_bytes(made[f"data/{name}"])
    filesystem.files.put(tmp_path / "packed", "data/packed", code=(2, 4))
    return made


def test_tables_are_written_and_read_by_pandas(town: Town) -> None:
    options = {"network": str(town.file)}
    frame = pandas.DataFrame({"year": [2025, 2026], "name": ["Ä", "文"], "score": [0.5, 1.5]})
    frame.to_parquet("surge://results/2026.parquet", storage_options=options)
    pandas.testing.assert_frame_equal(pandas.read_parquet("surge://results/2026.parquet", storage_options=options), frame)
    columns = pandas.read_parquet("surge://results/2026.parquet", columns=["score"], storage_options=options)
    assert list(columns["score"]) == [0.5, 1.5]
    frame.to_csv("surge://results/2026.csv", index=False, storage_options=options)
    pandas.testing.assert_frame_equal(pandas.read_csv("surge://results/2026.csv", storage_options=options), frame)
    fsspec.filesystem("surge", **options).close()


def test_what_is_there_is_found(filesystem: SurgeFileSystem, there: dict[str, bytes]) -> None:
    assert {"data", "top.txt"} <= set(filesystem.ls("surge://", detail=False))
    assert filesystem.ls("data", detail=False) == ["data/a.txt", "data/deep", "data/packed"]
    assert filesystem.ls("data/packed", detail=False) == ["data/packed/c.txt", "data/packed/in"]
    assert filesystem.ls("surge://data/packed/in") == [filesystem.info("data/packed/in/d.txt")]
    for name, data in there.items():
        assert (filesystem.info(name)["type"], filesystem.size(name), filesystem.cat_file(f"surge://{name}")) == ("file", len(data), data)
    for name in ("", "data", "data/deep", "data/packed", "data/packed/in"):
        assert filesystem.isdir(name), name
    for name in ("nothing", "data/nothing", "data/packed/nothing", "data/a.txt/more", "../up"):
        assert not filesystem.exists(name), name
        with pytest.raises(FileNotFoundError):
            filesystem.ls(name)
    assert filesystem.glob("surge://data/**/*.txt") == sorted(name for name in there if name.startswith("data/"))
    assert filesystem.glob("data/*.txt") == ["data/a.txt"]
    walked = {root: (sorted(folders), sorted(files)) for root, folders, files in filesystem.walk("data")}
    assert walked == {
        "data": (["deep", "packed"], ["a.txt"]),
        "data/deep": ([], ["b.txt"]),
        "data/packed": (["in"], ["c.txt"]),
        "data/packed/in": ([], ["d.txt"]),
    }
    with pytest.raises(IsADirectoryError):
        filesystem.open("data/packed")
    with pytest.raises(FileNotFoundError):
        filesystem.open("nothing")
    with pytest.raises(ValueError, match="it does not change"):
        filesystem.open("top.txt", "ab")


def test_only_what_is_read_travels(filesystem: SurgeFileSystem, town: Town) -> None:
    data = random.Random(5).randbytes(12 * MIB)
    filesystem.files.put(data, "large", code=(2, 4), segment_size=2 * MIB)
    before = earned(town)
    with filesystem.open("large", "rb") as file:
        assert file.size == len(data)
        file.seek(7 * MIB - 3)
        assert file.read(6) == data[7 * MIB - 3 : 7 * MIB + 3]
    assert filesystem.cat_file("large", start=10, end=20) == data[10:20]
    moved = earned(town) - before
    assert 2 * 65_536 <= moved < 5 * MIB, "a mebibyte is read ahead"


def earned(town: Town) -> int:
    """Bytes that were read and billed."""
    with surge.connect(town.file, offline=True) as network:
        return sum(each["quantity"] for each in network.receipts() if each["kind"] == 3)


def test_names_are_changed_copied_and_removed(filesystem: SurgeFileSystem, there: dict[str, bytes], tmp_path: Path) -> None:
    filesystem.cp_file("data/packed/c.txt", "copies/c.txt")
    filesystem.mv("copies", "moved")
    assert filesystem.find("moved") == ["moved/c.txt"]
    filesystem.mv("data/packed", "moved/folder")
    assert filesystem.cat_file("moved/folder/in/d.txt") == there["data/packed/in/d.txt"]
    filesystem.get("moved/folder", str(tmp_path / "back"), recursive=True)
    assert (tmp_path / "back" / "in" / "d.txt").read_bytes() == there["data/packed/in/d.txt"]
    filesystem.put(str(tmp_path / "back" / "c.txt"), "moved/again.txt")
    assert filesystem.cat_file("moved/again.txt") == b"ccc"
    taken = io.BytesIO()
    filesystem.get_file("moved/again.txt", None, outfile=taken)
    assert taken.getvalue() == b"ccc"
    filesystem.touch("moved/empty")
    filesystem.touch("moved/again.txt", truncate=False)
    assert (filesystem.size("moved/empty"), filesystem.size("moved/again.txt")) == (0, 3)
    with pytest.raises(IsADirectoryError):
        filesystem.rm("moved")
    filesystem.rm("moved/again.txt")
    assert not filesystem.exists("moved/again.txt")
    filesystem.rm("moved", recursive=True)
    assert not filesystem.exists("moved")
    with pytest.raises(FileNotFoundError):
        filesystem.rm("moved")


def test_a_network_that_is_joined_already_is_used_and_left_alone(town: Town) -> None:
    with surge.connect(town.file) as network:
        network.files.put(b"top", "top.txt")
        filesystem = SurgeFileSystem(joined=network, skip_instance_cache=True)
        with filesystem.open("surge://top.txt", "rt") as file:
            assert file.read() == "top"
        filesystem.close()
        assert network.files.read("top.txt") == b"top"
