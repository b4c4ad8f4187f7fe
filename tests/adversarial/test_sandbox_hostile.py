"""Guests that try to take more than they were given."""

from __future__ import annotations

import asyncio
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from sandbox_support import HELLO, IMPORT_WRITE, Runner, command, pieces, sandbox, wat
from surge.core.units import Limits, Status, result_hash
from surge.sandbox import Execution

WASI = "wasi_snapshot_preview1"


@pytest_asyncio.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with sandbox(tmp_path) as made:
        yield made


def import_of(name: str, parameters: str) -> str:
    return f'(import "{WASI}" "{name}" (func ${name} (param {parameters}) (result i32)))'


OPEN = import_of("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32")


# Guests


async def test_an_output_bomb_ends_at_its_limit_with_the_same_bytes_each_time(runner: Runner) -> None:
    body = """
      (i32.store (i32.const 4) (i32.const 7000))
      (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))"""
    module = command(body, imports=IMPORT_WRITE)
    executions = [await runner.run(module, output=1_000_000) for _ in range(2)]
    assert [execution.outcome.status for execution in executions] == [Status.OUTPUT_LIMIT] * 2
    assert executions[0].outcome.stdout.size == 1_000_000
    assert result_hash(executions[0].outcome) == result_hash(executions[1].outcome)
    assert executions[0].outcome.fuel == executions[1].outcome.fuel
    assert 4 * 1_000_000 - 7000 * 4 < executions[0].outcome.fuel < 10_000_000, "what it wrote, and no more"
    for execution in executions:
        execution.output.discard()


async def test_a_thousand_vectors_over_the_same_bytes_write_no_more_than_the_limit(runner: Runner) -> None:
    body = """
      (local $i i32)
      (loop $l
        (i32.store offset=4 (local.get $i) (i32.const 60000000))
        (local.set $i (i32.add (local.get $i) (i32.const 8)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 8192))))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1024) (i32.const 9000)))"""
    execution = await asyncio.wait_for(runner.run(command(body, imports=IMPORT_WRITE, memory="1000")), 20)
    assert execution.outcome.status == Status.OUTPUT_LIMIT
    assert execution.outcome.stdout.size == Limits().output
    execution.output.discard()


HOST_LOOPS = {
    "nothing": ('(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))', "(drop (call $yield))"),
    "randomness": (import_of("random_get", "i32 i32"), "(drop (call $random_get (i32.const 0) (i32.const 1000000)))"),
    "a path of many parts": (
        import_of("path_filestat_get", "i32 i32 i32 i32 i32"),
        "(drop (call $path_filestat_get (i32.const 4) (i32.const 0) (i32.const 2000000) (i32.const 4000) (i32.const 0)))",
    ),
    "a file that grows and shrinks": (
        OPEN + import_of("fd_filestat_set_size", "i32 i64"),
        """(drop (call $path_open (i32.const 4) (i32.const 0) (i32.const 2000000) (i32.const 1) (i32.const 1)
             (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 8)))
           (drop (call $fd_filestat_set_size (i32.load (i32.const 8)) (i64.const 50000000)))
           (drop (call $fd_filestat_set_size (i32.load (i32.const 8)) (i64.const 0)))""",
    ),
}


@pytest.mark.parametrize("what", HOST_LOOPS)
async def test_work_that_the_host_does_for_a_guest_burns_its_fuel(runner: Runner, what: str) -> None:
    """Or a unit could keep a device busy for minutes, and be billed for nothing."""
    imports, call = HOST_LOOPS[what]
    path = "a/" * 2000
    module = command(f"(loop $l {call} (br $l))", imports=imports, memory="40", rest=f'(data (i32.const 2000000) "{path}")')
    executions = [await runner.run(module, fuel=10**9, wall_ms=60_000) for _ in range(2)]
    assert {execution.outcome.status for execution in executions} == {Status.OUT_OF_FUEL}
    assert {execution.outcome.fuel for execution in executions} == {10**9}
    assert max(execution.cpu_seconds for execution in executions) < 10


async def test_a_file_of_a_terabyte_costs_nothing(runner: Runner) -> None:
    imports = import_of("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32") + import_of("fd_filestat_set_size", "i32 i64")
    body = """
      (i32.store8 (i32.const 0) (i32.const 97))
      (drop (call $path_open (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 8)))
      (drop (call $fd_filestat_set_size (i32.load (i32.const 8)) (i64.const 1099511627776)))"""
    execution = await runner.run(command(body, imports=imports))
    assert execution.outcome.status == Status.OUTPUT_LIMIT
    assert pieces(execution).files == {"a": b""}


async def test_a_memory_bomb_gets_what_was_granted(runner: Runner) -> None:
    body = """
      (local $i i32)
      (block $full (loop $l
        (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
        (i32.store (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536)) (i32.const 1))
        (br $l)))
      (if (i32.ne (memory.size) (i32.const 1600)) (then unreachable))"""
    executions = [await runner.run(command(body, memory="16"), memory=1600 << 16) for _ in range(2)]
    assert {execution.outcome.status for execution in executions} == {Status.FINISHED}
    assert executions[0].outcome.fuel == executions[1].outcome.fuel
    assert executions[0].peak_memory == 1600 << 16


@pytest.mark.parametrize(
    "body",
    [
        "(loop $l (br $l))",
        "(loop $l (drop (call $sched_yield)) (br $l))",
        "(loop $l (drop (call $random_get (i32.const 0) (i32.const 400000000))) (br $l))",
    ],
    ids=["wasm", "calls", "one long call"],
)
async def test_nothing_runs_past_its_wall_time(runner: Runner, body: str) -> None:
    imports = f'(import "{WASI}" "sched_yield" (func $sched_yield (result i32)))' + import_of("random_get", "i32 i32")
    module = command(body, imports=imports, memory="6200")
    await runner.image(module)
    started = time.monotonic()
    execution = await runner.run(module, wall_ms=300, fuel=10**15)
    assert execution.outcome.status == Status.WALL_TIME
    assert time.monotonic() - started < 3
    assert len(runner.sandbox._pool.members) == 1, "the worker noticed by itself"


async def test_a_thousand_calls_that_move_much_each_keep_to_the_wall_time(runner: Runner) -> None:
    """Nothing else in the worker has a turn during such a call, the thread that counts the time least of all."""
    imports = OPEN + import_of("fd_filestat_set_size", "i32 i64")
    body = """
      (i32.store8 (i32.const 0) (i32.const 97))
      (drop (call $path_open (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 8)))
      (loop $l
        (drop (call $fd_filestat_set_size (i32.load (i32.const 8)) (i64.const 250000000)))
        (drop (call $fd_filestat_set_size (i32.load (i32.const 8)) (i64.const 0)))
        (br $l))"""
    execution = await runner.run(command(body, imports=imports), wall_ms=1000, fuel=10**15, output=1 << 30)
    assert execution.outcome.status == Status.WALL_TIME
    assert "overdue" not in execution.detail, "the worker noticed by itself"
    assert len(runner.sandbox._pool.members) == 1


async def test_sleeping_for_a_century_takes_no_time(runner: Runner) -> None:
    body = """
      (i64.store (i32.const 24) (i64.const 3000000000000000000))
      (drop (call $poll_oneoff (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))
      (if (i32.ne (i32.load (i32.const 200)) (i32.const 1)) (then unreachable))"""
    started = time.monotonic()
    execution = await runner.run(command(body, imports=import_of("poll_oneoff", "i32 i32 i32 i32")))
    assert execution.outcome.status == Status.FINISHED
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("locals_", [1, 40])
async def test_endless_recursion_into_host_calls_leaves_the_worker_alive(runner: Runner, locals_: int) -> None:
    keep = " ".join(f"(local.set {n} (i64.extend_i32_u (call $sched_yield)))" for n in range(locals_))
    spill = " ".join(f"(global.set $sum (i64.add (global.get $sum) (local.get {n})))" for n in range(locals_))
    rest = f"(global $sum (mut i64) (i64.const 0)) (func $f (local {'i64 ' * locals_}) {keep} (call $f) {spill})"
    module = command("(call $f)", imports=f'(import "{WASI}" "sched_yield" (func $sched_yield (result i32)))', rest=rest)
    for _ in range(2):
        execution = await runner.run(module)
        assert execution.outcome.status == Status.NATIVE_STACK, execution.detail
    (member,) = runner.sandbox._pool.members
    assert member.ready
    assert await runner.text(wat(HELLO)) == "hello\n"


async def test_exceptions_kept_for_ever_stay_within_the_unit(runner: Runner) -> None:
    rest = "(tag $t (param i64 i64 i64 i64)) (table $kept 1000000 exnref)"
    body = """
      (local $i i32)
      (loop $l
        (table.set $kept (local.get $i) (block $caught (result exnref)
          (try_table (catch_all_ref $caught) (throw $t (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)))
          unreachable))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 1000000))))"""
    execution = await runner.run(command(body, rest=rest), memory=8 << 20)
    assert execution.outcome.status == Status.HOST_MEMORY, execution.detail
    (member,) = runner.sandbox._pool.members
    assert psutil.Process(member.pid).memory_info().rss < 120 << 20


async def test_ten_thousand_files_are_not_made(runner: Runner) -> None:
    imports = import_of("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32") + import_of("fd_close", "i32")
    body = """
      (local $i i32) (local $made i32)
      (loop $l
        (i32.store (i32.const 0) (i32.or (i32.const 0x61616161)
          (i32.or (i32.and (local.get $i) (i32.const 0xf)) (i32.shl (i32.and (local.get $i) (i32.const 0x3ff0)) (i32.const 12)))))
        (if (i32.eqz (call $path_open (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 5)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 8)))
          (then
            (local.set $made (i32.add (local.get $made) (i32.const 1)))
            (drop (call $fd_close (i32.load (i32.const 8))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 10000))))"""
    execution = await runner.run(command(body, imports=imports))
    assert execution.outcome.status == Status.FINISHED
    assert 0 < len(execution.outcome.files) <= 1000
    assert sum(len(path) for path, _ in execution.outcome.files) < 256 << 10


async def test_a_zip_bomb_is_a_bad_zip(runner: Runner, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(5):
            with archive.open(str(n), "w") as member:
                for _ in range(60):
                    member.write(bytes(1 << 20))
    assert bomb.stat().st_size < 2 << 20
    execution = await runner.run(wat(HELLO), files=bomb)
    assert execution.outcome.status == Status.TRAPPED
    assert "unpacked" in execution.detail


async def _most_memory(runner: Runner, running: asyncio.Task[Execution]) -> int:
    """Bytes of the largest worker, looked at until the unit ends."""
    most = 0
    while not running.done():
        for member in runner.sandbox._pool.members:
            most = max(most, psutil.Process(member.pid).memory_info().rss)
        await asyncio.wait([running], timeout=0.02)
    return most


WAIT = "(loop $w (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $w (i32.lt_u (local.get $i) (i32.const 300000000))))"


async def test_directories_opened_below_one_another_take_no_memory_of_the_hosts(runner: Runner) -> None:
    """A thousand descriptors, each by four thousand bytes more of `./`: paths would add up to 2 GiB beside a guest of 1 MiB."""
    body = f"""
      (local $i i32) (local $fd i32)
      (loop $f
        (i32.store16 (local.get $i) (i32.const 0x2f2e))
        (local.set $i (i32.add (local.get $i) (i32.const 2)))
        (br_if $f (i32.lt_u (local.get $i) (i32.const 4096))))
      (local.set $fd (i32.const 4))
      (local.set $i (i32.const 0))
      (loop $l
        (if (call $path_open (local.get $fd) (i32.const 0) (i32.const 0) (i32.const 4096) (i32.const 2)
          (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 5000)) (then unreachable))
        (local.set $fd (i32.load (i32.const 5000)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))
      {WAIT}"""
    module = command(body, imports=OPEN)
    await runner.image(module)
    running = asyncio.create_task(runner.run(module, open_files=1024, memory=1 << 20))
    most = await _most_memory(runner, running)
    assert running.result().outcome.status == Status.FINISHED, running.result().detail
    assert 0 < most < 150 << 20


async def test_a_large_directory_listed_by_a_thousand_descriptors_is_kept_once(runner: Runner, tmp_path: Path) -> None:
    files = tmp_path / "many.zip"
    with zipfile.ZipFile(files, "w") as archive:
        for n in range(20_000):
            archive.writestr(str(n), b"")
    body = f"""
      (local $i i32)
      (i32.store8 (i32.const 0) (i32.const 46))
      (loop $l
        (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 2)
          (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)) (then unreachable))
        (if (call $fd_readdir (i32.load (i32.const 8)) (i32.const 100) (i32.const 100) (i64.const 0) (i32.const 16)) (then unreachable))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))
      {WAIT}"""
    module = command(body, imports=OPEN + import_of("fd_readdir", "i32 i32 i32 i64 i32"))
    await runner.image(module)
    running = asyncio.create_task(runner.run(module, files=files, open_files=1024, memory=1 << 20))
    most = await _most_memory(runner, running)
    assert running.result().outcome.status == Status.FINISHED, running.result().detail
    assert 0 < most < 150 << 20


async def test_output_beyond_the_usual_is_set_aside_like_memory(runner: Runner, tmp_path: Path) -> None:
    """Units of little memory and a GiB of output each would take a GiB of the host's each."""
    module = command("(loop $l (br $l))")
    await runner.image(module)
    limits = {"memory": 1 << 20, "wall_ms": 1500, "fuel": 10**15}
    pool = runner.sandbox._pool
    pool._memory = 1 << 30
    for output, together in ((64 << 20, 2), (1 << 30, 1)):
        units = [asyncio.create_task(runner.run(module, output=output, **limits)) for _ in range(2)]
        most = 0
        while not all(unit.done() for unit in units):
            most = max(most, sum(bool(member.jobs) for member in pool.members))
            await asyncio.wait(units, timeout=0.02)
        assert most == together


async def test_pointers_from_a_guest_never_hurt_the_worker(runner: Runner) -> None:
    """Every call with every argument at the edges of memory and of the numbers."""
    from surge.sandbox.wasi.imports import I64, IMPORTS

    names = sorted(set(IMPORTS) - {"proc_exit"})
    imports = " ".join(
        f'(import "{WASI}" "{name}" (func ${name} (param'
        f" {' '.join('i64' if kind == I64 else 'i32' for kind in IMPORTS[name][0])}) (result i32)))"
        for name in names
    )
    edges = (0, 1, 3, 4, 65535, 65536, 2**31, 2**32 - 1, 2**32 - 4)
    calls = []
    for edge in edges:
        for other in edges:
            for name in names:
                kinds = IMPORTS[name][0]
                arguments = " ".join(f"({'i64' if kind == I64 else 'i32'}.const {(edge, other)[n % 2]})" for n, kind in enumerate(kinds))
                calls.append(f"(drop (call ${name} {arguments}))")
    module = command(" ".join(calls), imports=imports)
    first = await runner.run(module, stdin=b"abc")
    assert first.outcome.status in (Status.FINISHED, Status.OUTPUT_LIMIT), first.detail
    second = await runner.run(module, stdin=b"abc")
    assert result_hash(first.outcome) == result_hash(second.outcome)
    assert first.outcome.fuel == second.outcome.fuel
    assert len(runner.sandbox._pool.members) == 1
