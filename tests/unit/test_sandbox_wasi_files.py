"""WASI preview 1's files and folders: what a unit may reach, in which order, and how much of it."""

from __future__ import annotations

import struct

import pytest

from surge.sandbox import vfs
from surge.sandbox.vfs import tree_of_files
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno, FileType, Rights
from surge.sandbox.wasi.world import Ending
from wasi_support import JOB, OUT, READ_WRITE, Bench


def test_files_below_out_count_as_output_until_they_are_gone() -> None:
    bench = Bench(output=100)
    fd = bench.create("a", b"x" * 60)
    assert bench.world.used == 60
    assert bench.call("fd_filestat_set_size", fd, 10) == 0
    assert bench.world.used == 10
    assert bench.on_path("path_unlink_file", "a") == 0
    assert bench.world.used == 10
    assert bench.call("fd_close", fd) == 0
    assert bench.world.used == 0
    fd = bench.create("b")
    with pytest.raises(Ending):
        bench.call("fd_filestat_set_size", fd, 2**40)
    with pytest.raises(Ending):
        bench.call("fd_allocate", fd, 2**40, 5)
    bench.put(struct.pack("<II", 0, 1), 1000)
    with pytest.raises(Ending):
        bench.call("fd_pwrite", fd, 1000, 1, 2**62, 8)
    assert bench.files() == {"b": b""}


def test_writing_reading_seeking() -> None:
    bench = Bench()
    fd = bench.create("f", b"hello world")
    assert bench.call("fd_seek", fd, 2**64 - 5, abi.SEEK_END, 0) == 0
    assert bench.u64(0) == 6
    assert bench.read(fd) == b"world"
    assert bench.call("fd_tell", fd, 0) == 0
    assert bench.u64(0) == 11
    assert bench.call("fd_seek", fd, 2**64 - 20, abi.SEEK_CURRENT, 0) == Errno.INVAL
    assert bench.call("fd_seek", fd, 20, abi.SEEK_SET, 0) == 0
    assert bench.write(fd, b"!") == 0
    assert bench.files() == {"f": b"hello world" + bytes(9) + b"!"}
    bench.put(struct.pack("<II", 20_000, 3), 1000)
    bench.put(b"HEL", 20_000)
    assert bench.call("fd_pwrite", fd, 1000, 1, 0, 8) == 0
    assert bench.call("fd_pread", fd, 1000, 1, 6, 8) == 0
    assert bench.memory[20_000:20_003] == b"wor"
    appending = bench.open("f", rights=Rights.FD_WRITE, flags=abi.FLAG_APPEND)
    assert bench.write(appending, b"end") == 0
    assert bench.files()["f"].startswith(b"HELlo")
    assert bench.files()["f"].endswith(b"!end")
    assert bench.call("fd_read", appending, 1000, 1, 8) == Errno.BADF


def test_the_job_folder_can_be_read_and_not_changed() -> None:
    bench = Bench(job=tree_of_files({"in.txt": b"data", "d/x": b"1"}))
    fd = bench.open("in.txt", base=JOB)
    assert bench.read(fd) == b"data"
    assert bench.stat("d", JOB)[2] == FileType.DIRECTORY
    assert bench.stat("in.txt", JOB) == (0, 0, FileType.REGULAR_FILE, 1, 4, 0, 0, 0)
    assert bench.open("in.txt", base=JOB, rights=READ_WRITE) == -Errno.ROFS
    assert bench.open("in.txt", base=JOB, oflags=abi.OPEN_TRUNCATE) == -Errno.ROFS
    assert bench.open("new", base=JOB, oflags=abi.OPEN_CREATE, rights=READ_WRITE) == -Errno.ROFS
    for name in ("path_unlink_file", "path_create_directory", "path_remove_directory"):
        assert bench.on_path(name, "in.txt", JOB) == Errno.ROFS
    assert bench.write(fd, b"x") == Errno.BADF


@pytest.mark.parametrize("path", ["..", "../job/in.txt", "/etc/passwd", "a/../../x", "a/../..", "./../x"])
def test_no_path_leaves_its_directory(path: str) -> None:
    bench = Bench()
    assert bench.on_path("path_create_directory", "a") == 0
    assert bench.open(path) == -Errno.PERM
    assert bench.stat(path) == (-Errno.PERM,)
    assert bench.on_path("path_unlink_file", path) == Errno.PERM
    inner = bench.open("a", oflags=abi.OPEN_DIRECTORY)
    assert bench.open("..", base=inner) == -Errno.PERM


def test_paths_inside() -> None:
    bench = Bench()
    assert bench.on_path("path_create_directory", "a") == 0
    assert bench.on_path("path_create_directory", "a/b/") == 0
    bench.create("a/b/../f", b"1")
    assert bench.stat("a//./f")[4] == 1
    assert bench.stat("a/f/") == (-Errno.NOTDIR,)
    assert bench.stat("a/f/x") == (-Errno.NOTDIR,)
    assert bench.stat("none/x") == (-Errno.NOENT,)
    assert bench.stat("") == (-Errno.NOENT,)
    assert bench.stat("a\0b") == (-Errno.INVAL,)
    assert bench.call("path_filestat_get", OUT, 0, *bench.put(b"\xff"), 64) == Errno.ILSEQ
    assert bench.open("x" * 256, oflags=abi.OPEN_CREATE, rights=READ_WRITE) == -Errno.NAMETOOLONG
    assert bench.call("path_filestat_get", OUT, 0, 0, 5000, 64) == Errno.NAMETOOLONG
    assert bench.open("a", rights=READ_WRITE) == -Errno.ISDIR
    assert bench.open("a/f", oflags=abi.OPEN_DIRECTORY) == -Errno.NOTDIR
    assert bench.open("a/f", oflags=abi.OPEN_CREATE | abi.OPEN_EXCLUSIVE) == -Errno.EXIST
    assert bench.stat("x", base=1) == (-Errno.NOTDIR,)
    assert bench.stat("x", base=77) == (-Errno.BADF,)


def test_removing_and_renaming() -> None:
    bench = Bench()
    for folder in ("a", "a/b", "c"):
        assert bench.on_path("path_create_directory", folder) == 0
    bench.call("fd_close", bench.create("a/f", b"data"))
    assert bench.on_path("path_remove_directory", "a") == Errno.NOTEMPTY
    assert bench.on_path("path_unlink_file", "a") == Errno.ISDIR
    assert bench.on_path("path_remove_directory", "a/f") == Errno.NOTDIR
    assert bench.on_path("path_remove_directory", ".") == Errno.INVAL

    def rename(old: str, new: str) -> int:
        return bench.call("path_rename", OUT, *bench.put(old.encode()), OUT, *bench.put(new.encode(), 40_000))

    assert rename("a", "a/b/inside") == Errno.INVAL
    assert rename("a", "c") == 0
    assert bench.stat("c/f")[4] == 4
    assert bench.stat("a") == (-Errno.NOENT,)
    assert rename("c/f", "c/b") == Errno.ISDIR
    assert rename("c/f", "c/g") == 0
    assert rename("c/b", "c/g") == Errno.NOTDIR
    bench.call("fd_close", bench.create("h", b"longer"))
    assert bench.world.used == 10
    assert rename("h", "c/g") == 0
    assert (bench.files(), bench.world.used) == ({"c/g": b"longer"}, 6)
    assert bench.on_path("path_remove_directory", "c/b") == 0
    assert bench.world.entries == 2


def test_paths_of_output_stay_short_however_they_are_made() -> None:
    bench = Bench()
    at = OUT
    for _ in range(20):
        assert bench.on_path("path_create_directory", "d" * 50, at) in (0, Errno.NAMETOOLONG)
        following = bench.open("d" * 50, base=at, oflags=abi.OPEN_DIRECTORY)
        if following < 0:
            break
        at = following
    assert following == -Errno.NOENT
    for folder in ("x", "y", "y/" + "e" * 200):
        assert bench.on_path("path_create_directory", folder) == 0
    bench.call("fd_close", bench.create("y/" + "e" * 200 + "/" + "f" * 50))
    assert bench.call("path_rename", OUT, *bench.put(b"y"), OUT, *bench.put(b"x/yyyy", 40_000)) == Errno.NAMETOOLONG
    assert max(len(path) for path, _ in bench.world.out.walk()) <= vfs.MAX_PATH


def test_entries_and_open_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(open_files=4)
    opened = [bench.create(f"f{n}") for n in range(4)]
    assert bench.open("f5", oflags=abi.OPEN_CREATE, rights=READ_WRITE) == -Errno.MFILE
    assert "f5" not in bench.files()
    assert bench.call("fd_close", opened[1]) == 0
    assert bench.open("f0") == opened[1]
    monkeypatch.setattr("surge.sandbox.wasi.world.MAX_ENTRIES", 4)
    assert bench.on_path("path_create_directory", "d") == Errno.NOSPC


def test_directories_list_in_the_order_of_their_names_bytes() -> None:
    bench = Bench(job=tree_of_files({name: b"" for name in ("b", "a", "é", "Z", "d/x")}))
    expected = [(".", 3), ("..", 3), ("Z", 4), ("a", 4), ("b", 4), ("d", 3), ("é", 4)]
    assert bench.list(JOB) == expected
    assert bench.list(JOB, room=40) == expected
    assert bench.call("fd_readdir", JOB, 20_000, 100, 2**64 - 1, 8) == 0
    assert bench.u32(8) == 0


def test_preopened_directories_are_found() -> None:
    bench = Bench()
    names = []
    for fd in range(3, 10):
        if bench.call("fd_prestat_get", fd, 0):
            break
        assert bench.call("fd_prestat_dir_name", fd, 100, bench.u32(4)) == 0
        names.append(bytes(bench.memory[100 : 100 + bench.u32(4)]))
    assert names == [b"/job", b"/out"]
    assert bench.call("fd_prestat_get", 5, 0) == Errno.BADF
    assert bench.call("fd_prestat_dir_name", 3, 100, 2) == Errno.NAMETOOLONG


def test_renumbering_and_what_was_left_open() -> None:
    bench = Bench()
    one, two = bench.create("one"), bench.create("two", b"22")
    assert bench.call("fd_renumber", two, one) == 0
    assert bench.call("fd_tell", two, 0) == Errno.BADF
    assert bench.world.left_open() == ["/out/two"]
    assert bench.call("fd_close", one) == 0
    assert bench.world.left_open() == []
    assert bench.call("fd_close", 1) == 0
    assert bench.world.left_open() == ["descriptor 1 (closed)"]
    assert bench.call("fd_renumber", 0, 99) == Errno.BADF
