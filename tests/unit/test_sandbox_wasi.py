"""WASI preview 1 as functions over a world, without an engine."""

from __future__ import annotations

import hashlib
import random
import struct

import pytest

from surge.core.units import Limits, Status
from surge.sandbox import vfs
from surge.sandbox.vfs import Directory, tree_of_files
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno, FileType, Rights
from surge.sandbox.wasi.imports import IMPORTS
from surge.sandbox.wasi.memory import Failed, GuestMemory
from surge.sandbox.wasi.world import CLOCK_LAST, CLOCK_START, CLOCK_STEP, Ending, World

JOB, OUT = 3, 4
SEED = bytes(range(32))
READ_WRITE = Rights.FD_READ | Rights.FD_WRITE


class Bench:
    """A world with a memory that is just bytes, and calls by name that give (errno) and read results."""

    def __init__(self, *, stdin: bytes = b"", job: Directory | None = None, size: int = 1 << 16, **limits: int) -> None:
        self.memory = bytearray(size)
        self.world = World(
            argv=[b"prog", b"two words"],
            env=[(b"HOME", b"/"), (b"K", b"")],
            stdin=stdin,
            job=job or vfs.empty(),
            limits=Limits(**limits),
            seed=SEED,
        )
        self.world.memory = GuestMemory(lambda: memoryview(self.memory))

    def call(self, name: str, *arguments: int) -> int:
        try:
            return IMPORTS[name][1](self.world, *arguments)
        except Failed as failed:
            return int(failed.errno)

    def u32(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.memory, at)[0])

    def u64(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.memory, at)[0])

    def put(self, data: bytes, at: int = 30_000) -> tuple[int, int]:
        self.memory[at : at + len(data)] = data
        return at, len(data)

    def write(self, fd: int, *pieces: bytes) -> int:
        vectors = b""
        at = 20_000
        for piece in pieces:
            self.put(piece, at)
            vectors += struct.pack("<II", at, len(piece))
            at += len(piece)
        self.put(vectors, 1000)
        return self.call("fd_write", fd, 1000, len(pieces), 8)

    def read(self, fd: int, size: int = 4096) -> bytes:
        self.put(struct.pack("<II", 20_000, size), 1000)
        assert self.call("fd_read", fd, 1000, 1, 8) == 0
        return bytes(self.memory[20_000 : 20_000 + self.u32(8)])

    def open(self, path: str, *, base: int = OUT, oflags: int = 0, rights: int = Rights.FD_READ, flags: int = 0) -> int:
        """The descriptor, or minus the error."""
        error = self.call("path_open", base, 1, *self.put(path.encode()), oflags, rights, rights, flags, 16)
        return -error if error else self.u32(16)

    def create(self, path: str, content: bytes = b"") -> int:
        fd = self.open(path, oflags=abi.OPEN_CREATE | abi.OPEN_TRUNCATE, rights=READ_WRITE)
        assert fd >= 0, Errno(-fd)
        if content:
            assert self.write(fd, content) == 0
        return fd

    def stat(self, path: str, base: int = OUT) -> tuple[int, ...]:
        error = self.call("path_filestat_get", base, 1, *self.put(path.encode()), 64)
        return (-error,) if error else abi.FILESTAT.unpack_from(self.memory, 64)

    def on_path(self, name: str, path: str, base: int = OUT) -> int:
        return self.call(name, base, *self.put(path.encode()))

    def list(self, fd: int, room: int = 4096) -> list[tuple[str, int]]:
        entries, cookie = [], 0
        while True:
            assert self.call("fd_readdir", fd, 20_000, room, cookie, 8) == 0
            used, at = self.u32(8), 20_000
            found = 0
            while at + abi.DIRENT.size <= 20_000 + used:
                following, inode, length, kind = abi.DIRENT.unpack_from(self.memory, at)
                at += abi.DIRENT.size
                if at + length > 20_000 + used:
                    break
                assert inode == 0
                entries.append((bytes(self.memory[at : at + length]).decode(), kind))
                at += length
                cookie = following
                found += 1
            if used < room:
                return entries
            assert found, "no entry fits the room"

    def files(self) -> dict[str, bytes]:
        return {path.decode(): bytes(node.content) for path, node in self.world.out.walk() if isinstance(node, vfs.File)}


def test_arguments_and_environment() -> None:
    bench = Bench()
    for what, strings in (("args", [b"prog", b"two words"]), ("environ", [b"HOME=/", b"K="])):
        assert bench.call(f"{what}_sizes_get", 0, 4) == 0
        assert (bench.u32(0), bench.u32(4)) == (len(strings), sum(len(text) + 1 for text in strings))
        assert bench.call(f"{what}_get", 100, 200) == 0
        for index, text in enumerate(strings):
            at = bench.u32(100 + 4 * index)
            assert bench.memory[at : at + len(text) + 1] == text + b"\0"
        assert bench.call(f"{what}_get", 100, len(bench.memory) - 3) == Errno.FAULT
        assert bench.call(f"{what}_get", 2**32 - 1, 2**32 - 1) == Errno.FAULT


def test_clocks_start_at_a_fixed_instant_and_move_only_by_being_read_and_slept_on() -> None:
    bench = Bench()
    assert bench.call("clock_time_get", 0, 0, 0) == 0
    assert bench.u64(0) == CLOCK_START + CLOCK_STEP
    assert bench.call("clock_time_get", 1, 0, 0) == 0
    assert bench.u64(0) == 2 * CLOCK_STEP
    bench.put(abi.SUBSCRIPTION.pack(7, abi.SUBSCRIBE_CLOCK, 1, 3_600 * 10**9, 0, 0), 100)
    assert bench.call("poll_oneoff", 100, 200, 1, 0) == 0
    assert bench.u32(0) == 1
    assert abi.EVENT.unpack_from(bench.memory, 200) == (7, 0, abi.SUBSCRIBE_CLOCK, 0, 0)
    assert bench.call("clock_time_get", 0, 0, 0) == 0
    assert bench.u64(0) == CLOCK_START + 3 * CLOCK_STEP + 3_600 * 10**9
    assert bench.call("clock_time_get", 4, 0, 0) == Errno.INVAL
    assert bench.call("clock_res_get", 0, 0) == 0
    assert bench.u64(0) == CLOCK_STEP


def test_sleeping_to_an_instant_and_for_ever() -> None:
    bench = Bench()
    goal = CLOCK_START + 5 * 10**9
    bench.put(abi.SUBSCRIPTION.pack(1, abi.SUBSCRIBE_CLOCK, 0, goal, 0, abi.CLOCK_ABSOLUTE), 100)
    bench.put(abi.SUBSCRIPTION.pack(2, abi.SUBSCRIBE_CLOCK, 1, 9 * 10**9, 0, 0), 148)
    assert bench.call("poll_oneoff", 100, 300, 2, 0) == 0
    assert (bench.u32(0), bench.u64(300), bench.world.now) == (1, 1, 5 * 10**9)
    bench.put(abi.SUBSCRIPTION.pack(3, abi.SUBSCRIBE_CLOCK, 0, 2**64 - 1, 0, 0), 100)
    assert bench.call("poll_oneoff", 100, 300, 1, 0) == 0
    assert (bench.u32(0), bench.u64(300)) == (1, 3)
    assert bench.call("clock_time_get", 0, 0, 0) == 0
    assert bench.u64(0) == CLOCK_LAST


def test_polling_descriptors_never_waits() -> None:
    bench = Bench(stdin=b"abc")
    for index, (tag, fd) in enumerate(((1, 0), (2, 1), (1, 1), (1, 99))):
        bench.put(abi.SUBSCRIPTION.pack(index, tag, fd, 0, 0, 0), 100 + 48 * index)
    bench.put(abi.SUBSCRIPTION.pack(9, abi.SUBSCRIBE_CLOCK, 0, 10**9, 0, 0), 100 + 48 * 4)
    assert bench.call("poll_oneoff", 100, 1000, 5, 0) == 0
    events = [abi.EVENT.unpack_from(bench.memory, 1000 + 32 * n) for n in range(bench.u32(0))]
    assert [(user, error, size) for user, error, _, size, _ in events] == [
        (0, 0, 3),
        (1, 0, 0),
        (2, Errno.BADF, 0),
        (3, Errno.BADF, 0),
    ]
    assert bench.world.now == 0
    assert bench.call("poll_oneoff", 100, 1000, 0, 0) == Errno.INVAL
    assert bench.call("poll_oneoff", 100, 1000, 2**32 - 1, 0) == Errno.INVAL


def test_randomness_is_one_stream_however_it_is_drawn() -> None:
    stream = b"".join(hashlib.sha256(SEED + n.to_bytes(8, "little")).digest() for n in range(100))
    bench = Bench()
    drawn = b""
    for size in (1, 31, 32, 33, 0, 500):
        assert bench.call("random_get", 0, size) == 0
        drawn += bytes(bench.memory[:size])
    assert drawn == stream[: len(drawn)]
    bench.world.reset(b"\1" * 32)
    assert bench.call("random_get", 0, 8) == 0
    assert bench.memory[:8] == hashlib.sha256(b"\1" * 32 + bytes(8)).digest()[:8]


def test_standard_streams() -> None:
    bench = Bench(stdin=b"line\nrest")
    assert bench.read(0, 5) == b"line\n"
    assert bench.read(0) == b"rest"
    assert bench.read(0) == b""
    assert bench.write(1, b"out ", b"put") == 0
    assert bench.u32(8) == 7
    assert bench.write(2, b"err") == 0
    assert (bench.world.stdout, bench.world.stderr, bench.world.used) == (b"out put", b"err", 10)
    assert bench.write(0, b"x") == Errno.BADF
    assert bench.call("fd_seek", 0, 0, 0, 8) == Errno.SPIPE
    assert bench.call("fd_read", 1, 1000, 1, 8) == Errno.BADF
    for fd in (0, 1, 2):
        assert bench.call("fd_fdstat_get", fd, 0) == 0
        assert bench.memory[0] == FileType.UNKNOWN


def test_output_over_its_limit_ends_the_unit_with_exactly_the_limit() -> None:
    bench = Bench(output=10)
    assert bench.write(1, b"1234567") == 0
    with pytest.raises(Ending) as ended:
        bench.write(2, b"ab", b"cdefg")
    assert ended.value.status == Status.OUTPUT_LIMIT
    assert (bench.world.stdout, bench.world.stderr) == (b"1234567", b"abc")


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


def test_what_there_is_not() -> None:
    bench = Bench()
    for name in ("sock_accept", "sock_recv", "sock_send", "sock_shutdown", "proc_raise"):
        assert bench.call(name, *([0] * len(IMPORTS[name][0]))) == Errno.NOTSUP
    bench.create("f")
    assert bench.call("path_symlink", *bench.put(b"f"), OUT, *bench.put(b"l", 40_000)) == Errno.NOTSUP
    assert bench.call("path_link", OUT, 0, *bench.put(b"f"), OUT, *bench.put(b"l", 40_000)) == Errno.NOTSUP
    assert bench.call("path_readlink", OUT, *bench.put(b"f"), 0, 10, 100) == Errno.INVAL


def test_exit() -> None:
    for code, status in ((0, Status.FINISHED), (1, Status.EXITED), (2**32 - 1, Status.EXITED)):
        with pytest.raises(Ending) as ended:
            Bench().call("proc_exit", code)
        assert (ended.value.status, ended.value.exit_code) == (status, code)


def test_wrong_pointers_change_nothing() -> None:
    bench = Bench(stdin=b"abc")
    end = len(bench.memory)
    assert bench.call("fd_write", 1, end - 4, 1, 8) == Errno.FAULT
    bench.put(struct.pack("<II", end - 1, 2), 1000)
    assert bench.call("fd_write", 1, 1000, 1, 8) == Errno.FAULT
    assert bench.call("fd_read", 0, 1000, 1, 8) == Errno.FAULT
    bench.put(struct.pack("<II", 0, 2), 1000)
    assert bench.call("fd_write", 1, 1000, 1, end - 3) == Errno.FAULT
    assert bench.call("fd_write", 1, 1000, 2**32 - 1, 8) == Errno.INVAL
    assert bench.world.stdout == b""
    assert bench.call("random_get", 10, 2**32 - 1) == Errno.FAULT
    assert bench.call("fd_readdir", OUT, 0, 2**32 - 1, 0, 8) == Errno.FAULT


def some_number(rng: random.Random, kind: str) -> int:
    most = 2**32 - 1 if kind == "i" else 2**64 - 1
    return rng.choice((rng.randrange(8), rng.randrange(8), rng.randrange(300), rng.randrange(4200), rng.randint(0, most)))


@pytest.mark.parametrize("seed", range(300))
def test_no_sequence_of_calls_gives_anything_but_an_error_code_or_an_ending(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench(stdin=b"input" * 20, job=tree_of_files({"a": b"1", "b/c": b"22"}), output=5000, open_files=8, size=4096)
    bench.memory[:] = rng.randbytes(len(bench.memory))
    for at, text in ((0, b"a"), (16, b"b/c"), (32, b"../x"), (48, b"new/y")):
        bench.memory[at : at + len(text)] = text
    for at in range(64, 256, 8):
        struct.pack_into("<II", bench.memory, at, rng.randrange(4096), rng.randrange(64))
    names = sorted(set(IMPORTS) - {"proc_exit"})
    succeeded = 0
    endings = []
    for _ in range(300):
        name = rng.choice(names)
        try:
            error = bench.call(name, *(some_number(rng, kind) for kind in IMPORTS[name][0]))
        except Ending as ended:
            endings.append(ended.status)
            break
        assert 0 <= error < 77, name
        succeeded += error == 0
    assert endings in ([], [Status.OUTPUT_LIMIT])
    assert succeeded or endings, "the calls never got past their checks"
    files = sum(len(content) for content in bench.files().values())
    assert len(bench.world.stdout) + len(bench.world.stderr) + files <= bench.world.used <= 5000
