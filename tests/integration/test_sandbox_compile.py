"""Compiling strangers' modules: what is refused, what it may take, and what is kept."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import shutil
import stat
from pathlib import Path

import psutil
import pytest

from sandbox_support import HELLO, Runner, command, sandbox, unfinished, until, wat
from surge.core.units import Status
from surge.errors import GuestFault, SurgeError, Unavailable
from surge.sandbox import compiling
from surge.sandbox.compiling import STRANGER, CompileLimits

WASI = "wasi_snapshot_preview1"


def bomb(size: int) -> bytes:
    """One function whose compilation takes time and memory with the square of its length."""
    names = size // 2
    steps = (
        f"(if (i32.wrap_i64 (local.get {n % names}))"
        f" (then (local.set {(n * 7 + 3) % names} (i64.add (local.get {(n * 13 + 5) % names}) (i64.const {n})))))"
        for n in range(size)
    )
    return command(f"(local {'i64 ' * names}) {' '.join(steps)}")


REFUSED = {
    "nothing": (b"", "not a WebAssembly module"),
    "noise": (b"\0asm" + b"\xff" * 100, "not a WebAssembly module"),
    "cut short": (wat(HELLO)[:-20], "not a WebAssembly module"),
    "text": (HELLO.encode(), "not a WebAssembly module"),
    "a component": (wat("(component)"), "not a WebAssembly module"),
    "an unknown import": (command("nop", imports='(import "env" "fork" (func))'), "env.fork, which the sandbox does not"),
    "an unknown WASI call": (command("nop", imports=f'(import "{WASI}" "fork" (func))'), "fork"),
    "preview 0": (command("nop", imports='(import "wasi_unstable" "sched_yield" (func (result i32)))'), "wasi_unstable"),
    "a WASI call of another type": (
        command("nop", imports=f'(import "{WASI}" "fd_close" (func (param i64) (result i32)))'),
        "is not its type",
    ),
    "a WASI call as a memory": (command("nop", imports=f'(import "{WASI}" "fd_close" (global i32))'), "not its type"),
    "the Python image's own import": (
        command("nop", imports='(import "host" "call" (func (param i32 i32 i32 i32) (result i32)))'),
        "host.call",
    ),
    "a library": (wat('(module (memory (export "memory") 1))'), "no function _start"),
    "a start that takes values": (wat('(module (func (export "_start") (param i32)))'), "takes or gives values"),
    "a start that is no function": (wat('(module (memory (export "_start") 1))'), "no function _start"),
    "two memories": (command("nop", rest="(memory 1)"), "not a WebAssembly module this engine takes"),
    "a 64-bit memory": (wat('(module (memory i64 1) (func (export "_start")))'), "engine takes"),
    "a shared memory": (wat('(module (memory 1 1 shared) (func (export "_start")))'), "engine takes"),
    "garbage collected types": (wat('(module (type (struct (field i32))) (func (export "_start")))'), "engine takes"),
}


async def refusal(runner: Runner, module: bytes) -> str:
    with pytest.raises(GuestFault) as refused:
        await asyncio.wait_for(runner.image(module), 30)
    return str(refused.value)


async def test_modules_that_cannot_be_run_are_refused_with_a_reason(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        for name, (module, reason) in REFUSED.items():
            assert reason in await refusal(runner, module), name
        assert await runner.text(wat(HELLO)) == "hello\n"


async def test_only_the_module_that_was_named_is_compiled(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        path = tmp_path / "module.wasm"
        path.write_bytes(wat(HELLO))
        with pytest.raises(GuestFault, match="not the ones its hash names"):
            await runner.sandbox.compile(path, image=bytes(32))
        with pytest.raises(Unavailable, match="cannot be read"):
            await runner.sandbox.compile(tmp_path / "none", image=bytes(32))


async def limited(tmp_path: Path, wasm: bytes, **changes: float) -> str:
    limits = dataclasses.replace(STRANGER, **changes)  # type: ignore[arg-type]
    async with sandbox(tmp_path, compile_limits=limits) as runner:
        words = await refusal(runner, wasm)
        assert await runner.text(wat(HELLO)) == "hello\n"
        assert unfinished(runner) == []
    children = psutil.Process().children(recursive=True)
    await until(lambda: not any(map(is_worker, children)))
    return words


def is_worker(process: psutil.Process) -> bool:
    """Whether it is a worker that still runs."""
    try:
        return "surge.sandbox.worker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


async def test_a_module_built_to_compile_for_minutes_is_stopped(tmp_path: Path) -> None:
    module = bomb(12_000)
    assert len(module) < 300_000
    started = asyncio.get_running_loop().time()
    assert "longer than 1.5 s" in await limited(tmp_path / "wall", module, wall_seconds=1.5)
    assert "processor time" in await limited(tmp_path / "cpu", module, cpu_seconds=1)
    assert asyncio.get_running_loop().time() - started < 15


async def test_a_module_that_is_too_large_is_not_even_begun(tmp_path: Path) -> None:
    assert "at most 1000" in await limited(tmp_path, bomb(1000), module=1000)


async def test_a_module_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    assert "memory" in await limited(tmp_path, bomb(4000), memory=250 << 20)


async def test_progress_is_told_and_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.sandbox.compiling.PROGRESS_SECONDS", 0.01)
    told: list[tuple[float, float]] = []
    async with sandbox(tmp_path) as runner:
        module = bomb(1500)
        image = hashlib.sha256(module).digest()
        path = tmp_path / "module.wasm"
        path.write_bytes(module)

        def tell(seconds: float, estimate: float) -> None:
            told.append((seconds, estimate))

        first, same = await asyncio.gather(
            runner.sandbox.compile(path, image=image, on_progress=tell), runner.sandbox.compile(path, image=image)
        )
        assert sorted((first.seconds > 0, same.seconds > 0)) == [False, True]
        assert len(told) >= 2
        assert all(0 <= seconds <= estimate for seconds, estimate in told)
        cached = runner.sandbox._code.find(image)
        assert cached is not None
        assert stat.S_IMODE(cached.stat().st_mode) == 0o600
        assert stat.S_IMODE(cached.parent.stat().st_mode) == 0o700
        assert cached.stat().st_size == first.size
    async with sandbox(tmp_path) as again:
        assert (await again.sandbox.compile(path, image=image)).seconds == 0


async def test_compiled_code_that_others_could_have_written_is_not_used(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        image = await runner.image(wat(HELLO))
        cached = runner.sandbox._code.find(image)
        assert cached is not None
        cached.chmod(0o666)
        assert not runner.sandbox.compiled(image)
        assert await runner.text(wat(HELLO)) == "hello\n"
        assert stat.S_IMODE(cached.stat().st_mode) == 0o600
        code = cached.read_bytes()
        cached.unlink()
        (tmp_path / "elsewhere").write_bytes(code)
        cached.symlink_to(tmp_path / "elsewhere")
        assert not runner.sandbox.compiled(image)


async def test_a_compilation_given_up_leaves_nothing(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        waiting = asyncio.create_task(runner.image(bomb(12_000)))
        await until(lambda: len(list(runner.sandbox.scratch.folder.iterdir())) > 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert [path.name for path in runner.sandbox.scratch.folder.iterdir()] == [".lock"]
        assert await runner.text(wat(HELLO)) == "hello\n"


async def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_uses_is_not(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as first:
        image = await first.image(wat(HELLO))
        dead = tmp_path / "cache" / "scratch" / "dead"
        dead.mkdir()
        (dead / ".lock").touch()
        (dead / "half").write_bytes(b"half")
        path = first.sandbox.spool(b"in use")
        async with sandbox(tmp_path) as second:
            assert not dead.exists()
            assert path.read_bytes() == b"in use"
            assert second.sandbox.compiled(image)
            assert await second.text(wat(HELLO)) == "hello\n"
        assert path.exists()
    assert not path.exists()


async def test_processes_that_share_a_cache_compile_a_module_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.sandbox.compiling.PROGRESS_SECONDS", 0.01)
    module = bomb(1500)
    path = tmp_path / "module.wasm"
    path.write_bytes(module)
    image = hashlib.sha256(module).digest()
    told: list[float] = []
    async with sandbox(tmp_path) as one, sandbox(tmp_path) as two:
        results = await asyncio.gather(
            one.sandbox.compile(path, image=image, on_progress=lambda spent, _: told.append(spent)),
            two.sandbox.compile(path, image=image, on_progress=lambda spent, _: told.append(spent)),
        )
        assert sorted(result.seconds > 0 for result in results) == [False, True]
        assert len(told) > 2


async def test_no_room_for_compiled_code(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        await runner.image(wat(HELLO))
        shutil.rmtree(tmp_path / "cache" / "code")
        with pytest.raises(Unavailable, match="no room"):
            await runner.image(wat(HELLO))


def test_the_estimate_grows_with_the_module() -> None:
    assert compiling.estimate(0) < compiling.estimate(10**6) < compiling.estimate(10**8)
    assert isinstance(CompileLimits(1, 1, 1.0, 1), CompileLimits)
    assert issubclass(GuestFault, SurgeError)
    assert Status.TRAPPED < 64
