"""`Sandbox`: the room's front door, for providers and for buyers who check."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from surge.core.units import Limits, Outcome, Status
from surge.errors import GuestFault, InvalidInput, Unavailable
from surge.sandbox import compiling, engine, python_image
from surge.sandbox.code_cache import CodeCache
from surge.sandbox.compiling import CompileLimits, Progress
from surge.sandbox.execution import CompiledImage, Execution, Output
from surge.sandbox.pool import ImageFiles, Pool, Ran
from surge.sandbox.protocol import INLINE, RunCommand, UnitRequest
from surge.sandbox.python_jobs import PythonJobs
from surge.sandbox.scratch import Scratch
from surge.sandbox.snapshots import Snapshots

MAX_ARGUMENTS: Final = 1024
"""Arguments, and environment variables, of a command."""
MAX_ARGUMENT_BYTES: Final = 128 << 10
"""Bytes of all of them."""


class Sandbox:
    """Runs units in worker processes. One event loop's; everything large stays on disk under `cache`."""

    def __init__(
        self,
        cache: Path,
        *,
        workers: int,
        memory: int,
        snapshot_budget: int = 4 << 30,
        code_budget: int = 4 << 30,
        compile_limits: CompileLimits = compiling.STRANGER,
        private_mappings: bool = True,
    ) -> None:
        """`memory` bounds the linear memory of all units together, in bytes; `snapshot_budget` the snapshots on disk,
        `code_budget` compiled code there.

        Without `private_mappings` units start from plain copies of snapshots, as on systems that lack such mappings.
        """
        self.engine = engine.identity()
        self.engine_label = engine.label()
        self.python_image = python_image.IMAGE
        self._code = CodeCache(cache / "code", self.engine, code_budget, self.python_image)
        self._compile_limits = compile_limits
        self.scratch = Scratch(cache / "scratch")
        """Where files in the making lie; other processes may share the cache."""
        self._snapshots = Snapshots(cache / "snapshots", snapshot_budget, self.scratch)
        self.python = PythonJobs(self, self._snapshots, private_mappings=private_mappings)
        """Python jobs: setups and units."""
        self._pool = Pool(self.scratch, workers=workers, memory=memory)
        self._one_compiler = asyncio.Semaphore(1)

    async def start(self) -> None:
        """Make the folders ready. Workers start when there is work."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        engine.check_installed()
        self._code.open()
        self._snapshots.open()
        self.scratch.open()
        with contextlib.suppress(Unavailable):  # without the Python image, commands still run
            python_image.stdlib()

    async def close(self) -> None:
        """End every worker. Outputs that are files and were not read are gone after this."""
        await self._pool.close()
        await asyncio.to_thread(self.scratch.close)

    # Compiling

    def compiled(self, image: bytes) -> bool:
        """Whether an image is ready to run here."""
        return self._code.find(image) is not None

    def code(self, image: bytes) -> Path:
        """Where the compiled code of an image lies. Raises `Unavailable` if it is not compiled here."""
        return self._files(image).compiled

    async def compile(self, module: Path, *, image: bytes, on_progress: Progress | None = None) -> CompiledImage:
        """Make a module ready to run: from the cache, or compiled in a limited worker.

        Raises:
            GuestFault: it is not the module `image` names, is corrupt, needs what the sandbox lacks, or takes too long
                or too much memory to compile.
            Unavailable: its file cannot be read, or there is no room.
        """
        python = image == self.python_image
        limits = compiling.PYTHON if python else self._compile_limits
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            if (size := self._code.size(image)) is not None:
                return CompiledImage(image, size, 0.0)
            try:
                with self._code.alone(image) as alone:
                    if alone and not self.compiled(image):
                        async with self._one_compiler:
                            return await self._compile(module, image, python, limits, on_progress)
            except OSError as wrong:
                raise Unavailable(f"no room for compiled code: {wrong}") from wrong
            # Another task or process compiles it, for no longer than its limits let it.
            spent = loop.time() - started
            if spent > 2 * limits.wall_seconds:
                raise Unavailable("another process has been compiling this module for too long", image=image.hex())
            if on_progress is not None:
                on_progress(spent, max(compiling.estimate_file(module), spent))
            await asyncio.sleep(compiling.PROGRESS_SECONDS)

    async def _compile(
        self, module: Path, image: bytes, python: bool, limits: CompileLimits, on_progress: Progress | None
    ) -> CompiledImage:
        loop = asyncio.get_running_loop()
        started = loop.time()
        fd, path = self.scratch.file()
        try:
            compiled = await compiling.compile_into(module, fd, image=image, python=python, limits=limits, on_progress=on_progress)
            if os.fstat(fd).st_size != compiled.size:
                raise GuestFault("the compiler did not write what it claimed", image=image.hex())
            await asyncio.to_thread(self._code.keep, image, fd, path)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)
        return CompiledImage(image, compiled.size, loop.time() - started)

    def _files(self, image: bytes) -> ImageFiles:
        found = self._code.find(image)
        if found is None:
            raise Unavailable(f"the image {image.hex()} is not compiled here; compile it first", image=image.hex())
        return ImageFiles(image, found, python_image.stdlib() if image == self.python_image else None)

    # Running

    async def run_command(
        self,
        image: bytes,
        argv: Sequence[str | bytes],
        env: Sequence[tuple[str | bytes, str | bytes]],
        stdin: bytes | Path,
        files: Path | None,
        limits: Limits,
        random_seed: bytes,
        *,
        witness: bool = False,
    ) -> Execution:
        """Run a WASI command once, in a fresh instance.

        Args:
            image: its SHA-256; it has been compiled.
            argv: the arguments, the program's name first.
            env: the environment, in this order.
            stdin: standard input.
            files: a zip shown read-only as /job.
            limits: what the unit may use.
            random_seed: 32 bytes.
            witness: whether the execution is to hold the unit's witness, which takes some seconds for each GiB of its memory.

        Raises:
            InvalidInput: arguments that no program can be given, or more memory than the sandbox has.
            Unavailable: the image is not compiled here.
        """
        if len(random_seed) != 32:
            raise InvalidInput(f"a seed has 32 bytes, not {len(random_seed)}")
        arguments, environment = check_arguments(argv, env)
        small = isinstance(stdin, bytes) and len(stdin) <= INLINE
        inputs: tuple[tuple[Path, int], ...] = ()
        spooled: Path | None = None
        if not small:
            path = stdin if isinstance(stdin, Path) else await asyncio.to_thread(self.spool, stdin)
            spooled = None if isinstance(stdin, Path) else path
            inputs = ((path, os.O_RDONLY),)
        held = {} if files is None else {file_key(files): files}
        request = RunCommand(
            argv=arguments,
            env=environment,
            stdin=stdin if small and isinstance(stdin, bytes) else None,
            files=next(iter(held), None),
            limits=limits,
            seed=random_seed,
            witness=witness,
            fds=len(inputs),
        )
        try:
            return execution(await self._pool.run(self._files(image), request, inputs=inputs, held=held))
        finally:
            if spooled is not None:
                spooled.unlink(missing_ok=True)

    async def run_request(
        self,
        image: bytes,
        request: UnitRequest,
        *,
        inputs: tuple[tuple[Path, int], ...] = (),
        held: dict[bytes, Path] | None = None,
    ) -> Ran:
        """Run a request as it is; for the parts of this room that make requests."""
        return await self._pool.run(self._files(image), request, inputs=inputs, held=held or {})

    def spool(self, data: bytes) -> Path:
        """Write a large input to a file that its caller removes."""
        fd, path = self.scratch.file()
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        return path


def file_key(path: Path) -> bytes:
    """What a shared file is held under: it changes when the file does.

    Raises:
        Unavailable: it is not there.
    """
    try:
        status = path.stat()
    except OSError as wrong:
        raise Unavailable(f"{path} cannot be read: {wrong}") from wrong
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}".encode()


def check_arguments(
    argv: Sequence[str | bytes], env: Sequence[tuple[str | bytes, str | bytes]]
) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, bytes], ...]]:
    """Arguments and environment as bytes.

    Raises:
        InvalidInput: there are too many, a zero byte is in one, or a variable's name is empty or has an `=` in it.
    """
    arguments = tuple(_bytes(text) for text in argv)
    environment = tuple((_bytes(name), _bytes(value)) for name, value in env)
    every = [*arguments, *(part for pair in environment for part in pair)]
    if len(arguments) > MAX_ARGUMENTS or len(environment) > MAX_ARGUMENTS:
        raise InvalidInput(f"at most {MAX_ARGUMENTS} arguments and as many environment variables")
    if sum(len(text) + 1 for text in every) > MAX_ARGUMENT_BYTES:
        raise InvalidInput(f"arguments and environment have more than {MAX_ARGUMENT_BYTES} bytes; use stdin or files")
    if any(b"\0" in text for text in every):
        raise InvalidInput("an argument or environment variable has a zero byte in it")
    if any(not name or b"=" in name for name, _ in environment):
        raise InvalidInput("an environment variable's name is empty or has an = in it")
    return arguments, environment


def _bytes(text: str | bytes) -> bytes:
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as wrong:
        raise InvalidInput(f"{text!r} is not text that can be encoded") from wrong


def execution(ran: Ran) -> Execution:
    """What the pool gave, as the room's callers see it."""
    done = ran.done
    outcome = Outcome(
        status=Status(done.status),
        exit_code=done.exit_code,
        value=done.value,
        stdout=done.stdout,
        stderr=done.stderr,
        files=done.files,
        state=done.state,
        fuel=done.fuel,
    )
    output = Output(outcome.size(), done.output, ran.spool)
    return Execution(outcome, done.seconds, done.cpu_seconds, output, done.detail, done.peak_memory, done.witness, ran.layers)
