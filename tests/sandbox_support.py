"""What the sandbox tests share: modules made from text, C compiled to WASI, and a sandbox to run them in."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime

from surge.core.units import Limits, OutputBytes, Status, split_output
from surge.sandbox import Execution, Sandbox
from surge.sandbox.compiling import CompileLimits

SEED = bytes(range(32))

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello\\n")
  (data (i32.const 100) "\\08\\00\\00\\00\\06\\00\\00\\00")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 200)))))
"""

IMPORT_EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
IMPORT_WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'


def command(body: str, *, imports: str = "", memory: str = "1", rest: str = "") -> bytes:
    """A command module whose `_start` is `body`."""
    return wat(f'(module {imports} (memory (export "memory") {memory}) {rest} (func (export "_start") {body}))')


@cache
def wat(text: str) -> bytes:
    """A module from its text form."""
    return bytes(wasmtime.wat2wasm(text))


def compile_c(source: str, folder: Path, *flags: str) -> bytes:
    """A WASI command from C, by zig's clang and wasi-libc."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.c").write_text(source)
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi", "-O1", *flags, "program.c", "-o", "program.wasm"],
        cwd=folder,
        check=True,
        timeout=240,
    )
    return (folder / "program.wasm").read_bytes()


class Runner:
    """A sandbox, and modules compiled in it once each."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self._folder = folder

    async def image(self, module: bytes) -> bytes:
        """Compile a module if it is new; its hash."""
        image = hashlib.sha256(module).digest()
        path = self._folder / f"{image.hex()}.wasm"
        if not self.sandbox.compiled(image):
            if not path.exists():
                path.write_bytes(module)
            await self.sandbox.compile(path, image=image)
        return image

    async def run(
        self,
        module: bytes,
        argv: Sequence[str | bytes] = ("prog",),
        *,
        env: Sequence[tuple[str, str]] = (),
        stdin: bytes | Path = b"",
        files: Path | None = None,
        seed: bytes = SEED,
        **limits: int,
    ) -> Execution:
        """Run a module once."""
        image = await self.image(module)
        return await self.sandbox.run_command(image, argv, env, stdin, files, Limits(**limits), seed)

    async def text(self, module: bytes, argv: Sequence[str | bytes] = ("prog",), **options: Any) -> str:
        """Run a module that must finish; what it wrote to standard output."""
        execution = await self.run(module, argv, **options)
        assert execution.outcome.status == Status.FINISHED, (execution, pieces(execution).stderr)
        return pieces(execution).stdout.decode()


def pieces(execution: Execution) -> OutputBytes:
    """An execution's output, checked and cut up; the temporary file is removed."""
    try:
        return split_output(execution.outcome, execution.output.read())
    finally:
        execution.output.discard()


@contextlib.asynccontextmanager
async def sandbox(
    folder: Path, *, workers: int = 2, memory: int = 4 << 30, compile_limits: CompileLimits | None = None
) -> AsyncIterator[Runner]:
    """A running sandbox with its cache in `folder`."""
    options = {} if compile_limits is None else {"compile_limits": compile_limits}
    made = Sandbox(folder / "cache", workers=workers, memory=memory, **options)
    await made.start()
    try:
        yield Runner(made, folder)
    finally:
        await made.close()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition that nothing announces, with a bound."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def unfinished(runner: Runner) -> list[Path]:
    """Files with something in them that were made for the moment."""
    return [path for path in runner.sandbox.scratch.folder.iterdir() if path.stat().st_size]
