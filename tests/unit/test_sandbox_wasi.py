"""WASI preview 1 as functions over a world, without an engine."""

from __future__ import annotations

import hashlib
import random
import struct

import pytest

from surge.core.units import Status
from surge.sandbox.vfs import tree_of_files
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno, FileType
from surge.sandbox.wasi.imports import IMPORTS
from surge.sandbox.wasi.world import CLOCK_LAST, CLOCK_START, CLOCK_STEP, Ending
from wasi_support import OUT, SEED, Bench


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
