"""Having a module compiled: in a process of its own, under limits, with its progress told.

Compiling is work done for a stranger too: a module of 75 KB can be made to take a minute and 2 GiB. Past a limit the
process ends and the module is refused; nothing else is touched.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from surge.errors import GuestFault, InternalFault, Unavailable
from surge.sandbox.process import WorkerProcess
from surge.sandbox.protocol import Compile, Compiled, Refused, Reply

Progress = Callable[[float, float], None]
"""Called with the seconds so far and the seconds it will take, as far as one can tell."""

PROGRESS_SECONDS: Final = 0.25

SECONDS_PER_MEGABYTE: Final = 2.1
"""Processor seconds to compile 10**6 bytes of module: the Python image's 104 MB took 205 s on one core."""


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """What compiling one module may take."""

    module: int
    """Bytes of the module."""
    cpu_seconds: int
    wall_seconds: float
    memory: int
    """Bytes."""


STRANGER: Final = CompileLimits(module=64 << 20, cpu_seconds=120, wall_seconds=60.0, memory=2 << 30)
PYTHON: Final = CompileLimits(module=128 << 20, cpu_seconds=3600, wall_seconds=1800.0, memory=6 << 30)
"""The pinned image, which is recognised by its hash: it needs 3 GiB, and minutes."""


def estimate(size: int) -> float:
    """Seconds that compiling a module of this size takes on this machine, roughly."""
    return 0.3 + size / 10**6 * SECONDS_PER_MEGABYTE / (os.cpu_count() or 1)


def estimate_file(module: Path) -> float:
    """As `estimate`, for a module's file; 0 when it is not there."""
    try:
        return estimate(module.stat().st_size)
    except OSError:
        return 0.0


async def compile_into(
    module: Path, target: int, *, image: bytes, python: bool, limits: CompileLimits, on_progress: Progress | None
) -> Compiled:
    """Compile a module's file into an open, empty file.

    Raises:
        GuestFault: the module is not the one named, is corrupt, needs what the sandbox lacks, or went past a limit.
        Unavailable: the module's file cannot be read, or there is no room for the compiled code.
        InternalFault: no worker starts.
    """
    try:
        source = os.open(module, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as wrong:
        raise Unavailable(f"{module} cannot be read: {wrong}") from wrong
    try:
        size = os.fstat(source).st_size
        if size > limits.module:
            raise GuestFault(f"the module has {size} bytes; at most {limits.module} are compiled", size=size)
        request = Compile(image=image, python=python, cpu_seconds=limits.cpu_seconds, memory=limits.memory)
        return await _in_a_worker(request, [source, target], size, limits, on_progress)
    finally:
        os.close(source)


async def _in_a_worker(
    request: Compile, descriptors: list[int], size: int, limits: CompileLimits, on_progress: Progress | None
) -> Compiled:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Reply | str] = loop.create_future()

    def settle(result: Reply | str) -> None:
        if not answer.done():
            answer.set_result(result)

    try:
        process = WorkerProcess(settle, settle)
    except OSError as wrong:
        raise InternalFault(f"no process to compile in: {wrong}") from wrong
    started = loop.time()
    try:
        process.send(request, descriptors)
        while not answer.done():
            spent = loop.time() - started
            if on_progress is not None:
                on_progress(spent, max(estimate(size), spent))
            left = limits.wall_seconds - spent
            if left <= 0:
                raise GuestFault(f"the module takes longer than {limits.wall_seconds:g} s to compile")
            await asyncio.wait([answer], timeout=min(left, PROGRESS_SECONDS))
    finally:
        process.kill("done")
        await process.gone()
    match answer.result():
        case Compiled() as compiled:
            return compiled
        case Refused(reason=reason):
            raise GuestFault(f"the module cannot be run: {reason}", reason=reason)
        case str(reason):
            raise GuestFault(
                f"the module takes more than {limits.cpu_seconds} s of processor time or {limits.memory} bytes of"
                f" memory to compile: the worker {reason}",
                reason=reason,
            )
        case other:
            raise InternalFault(f"a compiling worker sent {type(other).__name__}")
