"""Workers: how many there are, what they hold, who gets them, and what happens when one dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from sandbox_support import HELLO, IMPORT_WRITE, Runner, command, pieces, sandbox, until, wat
from surge.core.units import Status
from surge.errors import InternalFault, Unavailable
from surge.sandbox.member import Member

FOREVER = command("(loop $l (br $l))")
TAKES = """
(module (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const {n}))))))
"""


def pids(runner: Runner) -> set[int]:
    return {member.pid for member in runner.sandbox._pool.members}


async def test_short_units_are_spread_over_at_most_so_many_workers(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=2) as runner:
        module = wat(HELLO)
        executions = await asyncio.gather(*(runner.run(module) for _ in range(200)))
        assert {execution.outcome.status for execution in executions} == {Status.FINISHED}
        assert len({execution.outcome.fuel for execution in executions}) == 1
        assert len(pids(runner)) == 2
        assert all(not member.jobs for member in runner.sandbox._pool.members)
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids(runner)))


async def test_a_killed_worker_takes_only_its_running_unit_with_it(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=1) as runner:
        module = wat(TAKES.format(n=20_000_000))
        await asyncio.gather(*(runner.run(module) for _ in range(3)))
        running = [asyncio.create_task(runner.run(module)) for _ in range(6)]
        (member,) = runner.sandbox._pool.members
        await until(lambda: len(member.jobs) > 1)
        os.kill(member.pid, signal.SIGKILL)
        statuses = [(await task).outcome.status for task in running]
        assert statuses.count(Status.WORKER_LOST) == 1
        assert statuses.count(Status.FINISHED) == 5
        assert member.pid not in pids(runner)


async def test_a_worker_that_stops_answering_is_ended_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.sandbox.member.GRACE", 0.3)
    async with sandbox(tmp_path, workers=1) as runner:
        await runner.run(wat(HELLO))
        (member,) = runner.sandbox._pool.members
        os.kill(member.pid, signal.SIGSTOP)
        threads = [psutil.Process(thread.id) for thread in psutil.Process(member.pid).threads()]
        await until(lambda: all(thread.status() == psutil.STATUS_STOPPED for thread in threads))
        execution = await asyncio.wait_for(runner.run(wat(HELLO), wall_ms=100), 10)
        assert execution.outcome.status == Status.WALL_TIME
        assert execution.outcome.fuel == 0
        assert (await runner.run(wat(HELLO))).outcome.status == Status.FINISHED


async def test_two_images_share_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.sandbox.pool.QUANTUM", 0.2)
    async with sandbox(tmp_path, workers=1) as runner:
        one, two = wat(TAKES.format(n=30_000_000)), wat(TAKES.format(n=30_000_001))
        for module in (one, two):
            await runner.image(module)
        ended: list[int] = []

        async def job(number: int, module: bytes) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(40):
                    group.create_task(unit(number, module))

        async def unit(number: int, module: bytes) -> None:
            assert (await runner.run(module)).outcome.status == Status.FINISHED
            ended.append(number)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(job(1, one))
            group.create_task(job(2, two))
        assert len(pids(runner)) == 1
        assert ended.index(2) < 40, "the second image waited for the first one's whole job"
        assert ended.count(1) == ended.count(2) == 40


async def test_two_images_get_a_worker_each_of_two(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=2) as runner:
        one, two = wat(TAKES.format(n=20_000_000)), wat(TAKES.format(n=20_000_001))
        for module in (one, two):
            await runner.image(module)
        both = asyncio.Event()

        async def job(module: bytes) -> None:
            while not both.is_set():
                assert (await runner.run(module)).outcome.status == Status.FINISHED

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(job(one))
            await until(lambda: len(pids(runner)) == 2)
            for _ in range(10):
                group.create_task(job(two))
            await until(lambda: len({member.image.image for member in runner.sandbox._pool.members}) == 2)
            both.set()


async def test_memory_of_running_units_stays_within_the_budget(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=2, memory=100 << 20) as runner:
        module = wat(TAKES.format(n=10_000_000))
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, sum(member.reserved for member in runner.sandbox._pool.members))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        executions = await asyncio.wait_for(asyncio.gather(*(runner.run(module, memory=(30 + 10 * (n % 8)) << 20) for n in range(24))), 60)
        watching.cancel()
        assert {execution.outcome.status for execution in executions} == {Status.FINISHED}
        assert 60 << 20 < most <= 100 << 20


HOST_REFUSES = """
import resource, sys, wasmtime
from surge.core.units import Limits
from surge.sandbox import host, vfs
from surge.sandbox.engine import make_engine
from surge.sandbox.instance import Image
from surge.sandbox.protocol import RunCommand
from surge.sandbox.worker import run_command

resource.setrlimit(resource.RLIMIT_DATA, (600 << 20, 600 << 20))
engine = make_engine()
grow = "(func $grow (drop (memory.grow (i32.const 1000))))"
module = wasmtime.Module(engine, f'(module (memory (export "memory") 1) {grow} (func (export "_start") (call $grow)))')
made = host.Host(Image(engine, module, python=False))
for memory in (128 << 20, 1 << 30, 128 << 20):
    request = RunCommand(argv=(), env=(), stdin=b"", files=None, limits=Limits(memory=memory), seed=bytes(32))
    done = run_command(made, request, b"").done
    print(done.status, done.fuel > 0, "refused" in done.detail)
"""


async def test_memory_the_host_refuses_is_a_local_ending() -> None:
    script = await asyncio.create_subprocess_exec(sys.executable, "-c", HOST_REFUSES, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(script.communicate(), 30)
    assert said.decode().split() == ["0", "True", "False", str(int(Status.HOST_MEMORY)), "False", "True", "0", "True", "False"]


async def test_a_full_disk_is_a_local_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = """
      (i32.store (i32.const 4) (i32.const 1000000))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    module = command(body, imports=IMPORT_WRITE, memory="20")
    async with sandbox(tmp_path, workers=1) as runner:
        assert len(pieces(await runner.run(module)).stdout) == 1_000_000

    def full(member: Member) -> int:
        member._spools.append(tmp_path / "full")
        (tmp_path / "full").touch()
        return os.open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(Member, "_new_spool", full)
    async with sandbox(tmp_path, workers=1) as runner:
        for _ in range(4):
            execution = await asyncio.wait_for(runner.run(module), 20)
            assert execution.outcome.status == Status.HOST_MEMORY
            assert "No space left" in execution.detail
            assert (execution.outcome.size(), execution.outcome.fuel, pieces(execution).stdout) == (0, 0, b"")
        assert await runner.text(wat(HELLO)) == "hello\n"


async def test_shared_files_are_given_once_and_let_go(tmp_path: Path) -> None:
    archives = []
    for n in range(12):
        path = tmp_path / f"{n}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("n", str(n))
        archives.append(path)
    async with sandbox(tmp_path, workers=1) as runner:
        await runner.run(wat(HELLO))
        (member,) = runner.sandbox._pool.members
        before = psutil.Process(member.pid).num_fds()
        for path in archives * 3:
            assert (await runner.run(wat(HELLO), files=path)).outcome.status == Status.FINISHED
        await runner.run(wat(HELLO))
        assert psutil.Process(member.pid).num_fds() <= before + 2 * 8
        assert len(member._held) == 8


async def test_a_worker_that_cannot_start_fails_its_units_with_its_last_words(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=1) as runner:
        image = await runner.image(wat(HELLO))
        path = runner.sandbox._code.find(image)
        assert path is not None
        path.write_bytes(b"this is not compiled code")
        with pytest.raises(InternalFault, match="does not start"):
            await asyncio.wait_for(runner.run(wat(HELLO)), 20)


async def test_closing_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=1) as runner:
        running = [asyncio.create_task(runner.run(FOREVER, wall_ms=60_000)) for _ in range(3)]
        await until(lambda: any(member.jobs for member in runner.sandbox._pool.members))
        await asyncio.wait_for(runner.sandbox.close(), 5)
        results = await asyncio.gather(*running, return_exceptions=True)
        lost = [result for result in results if not isinstance(result, BaseException)]
        assert [execution.outcome.status for execution in lost] == [Status.WORKER_LOST]
        assert sum(isinstance(result, Unavailable) for result in results) == 2


async def test_a_caller_that_gives_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    async with sandbox(tmp_path, workers=1) as runner:
        module = wat(TAKES.format(n=50_000_000))
        first = asyncio.create_task(runner.run(module))
        second = asyncio.create_task(runner.run(module))
        await until(lambda: any(member.jobs for member in runner.sandbox._pool.members))
        first.cancel()
        assert (await asyncio.wait_for(second, 20)).outcome.status == Status.FINISHED
        assert (await runner.run(module)).outcome.status == Status.FINISHED


async def test_a_unit_nobody_waits_for_does_not_keep_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.sandbox.pool.GIVEN_UP", 0.1)
    async with sandbox(tmp_path, workers=1) as runner:
        running = [asyncio.create_task(runner.run(FOREVER, wall_ms=600_000, fuel=10**18)) for _ in range(3)]
        await until(lambda: any(member.jobs for member in runner.sandbox._pool.members))
        for task in running:
            task.cancel()
        assert await asyncio.wait_for(runner.text(wat(HELLO)), 10) == "hello\n"
        assert not any(member.jobs for member in runner.sandbox._pool.members)


async def test_idle_workers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.sandbox.member.IDLE_SECONDS", 0.2)
    monkeypatch.setattr("surge.sandbox.member.START_SECONDS", 3.0)
    async with sandbox(tmp_path, workers=1) as runner:
        assert await runner.text(wat(HELLO)) == "hello\n"
        await until(lambda: not runner.sandbox._pool.members)
        assert await runner.text(wat(HELLO)) == "hello\n"


async def test_a_worker_starts_fast_and_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    code = "import surge.sandbox.worker, sys; print(*sys.modules)"
    script = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(script.communicate(), 30)
    assert not {"asyncio", "eth_abi", "nats", "numpy", "rich", "click", "cryptography"} & set(said.decode().split())
    async with sandbox(tmp_path, workers=1) as runner:
        image = await runner.image(wat(HELLO))
        started = asyncio.get_running_loop().time()
        await runner.run(wat(HELLO))
        assert asyncio.get_running_loop().time() - started < 3
        (member,) = runner.sandbox._pool.members
        process = psutil.Process(member.pid)
        assert process.environ() in ({}, {"LC_CTYPE": "C.UTF-8"})
        assert process.memory_info().rss < 60 << 20
        assert image


async def test_five_hundred_mixed_units_leave_a_worker_as_it_was(tmp_path: Path) -> None:
    mixed = """
    (module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start") (local $n i32)
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (local.set $n (i32.load (i32.const 0)))
        (if (i32.eq (local.get $n) (i32.const 2)) (then unreachable))
        (if (i32.eq (local.get $n) (i32.const 3)) (then (loop $l (br $l))))
        (if (i32.eq (local.get $n) (i32.const 4)) (then (call $exit (i32.const 9))))
        (if (i32.eq (local.get $n) (i32.const 5))
          (then (drop (memory.grow (i32.const 500))) (memory.fill (i32.const 65536) (i32.const 1) (i32.const 800000))))))
    """
    expected = [Status.FINISHED, Status.TRAPPED, Status.OUT_OF_FUEL, Status.EXITED, Status.FINISHED]
    async with sandbox(tmp_path, workers=1) as runner:

        async def hundred() -> None:
            executions = await asyncio.gather(*(runner.run(wat(mixed), ["x"] * (1 + n % 5), fuel=10**6) for n in range(100)))
            assert [execution.outcome.status for execution in executions] == expected * 20

        async def measure() -> tuple[int, int, int]:
            process = psutil.Process(pid)
            return process.memory_info().rss, process.num_fds(), len(process.memory_maps(grouped=False))

        await hundred()
        (pid,) = pids(runner)
        rss, fds, maps = await measure()
        for _ in range(4):
            await hundred()
        assert pids(runner) == {pid}
        later = await measure()
        assert later[0] < rss + (4 << 20)
        assert later[1] <= fds
        assert later[2] <= maps + 10
        assert later[0] < 60 << 20


async def test_large_outputs_leave_a_worker_as_small_as_it_was(tmp_path: Path) -> None:
    body = """
      (i32.store (i32.const 4) (i32.const 30000000))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    module = command(body, imports=IMPORT_WRITE, memory="500")
    async with sandbox(tmp_path, workers=1) as runner:
        for _ in range(6):
            execution = await runner.run(module)
            assert execution.outcome.stdout.size == 30_000_000
            execution.output.discard()
        await runner.run(wat(HELLO))
        await until(lambda: all(psutil.Process(pid).memory_info().rss < 60 << 20 for pid in pids(runner)))
