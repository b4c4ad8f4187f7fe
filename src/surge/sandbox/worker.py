"""The process that runs strangers' code: `python -I -m surge.sandbox.worker FD`, with an empty environment.

It has one socket and what comes over it. Told `Load`, it loads its one image, strips itself of every right it does
not need, says `Ready`, and then runs units one after another on a thread with a stack large enough for guests. Told
`Compile`, it strips itself first, compiles one module, and ends. It ends when its parent does.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import traceback
from collections import deque

import msgspec
import wasmtime

from surge.core.units import EMPTY, Status
from surge.sandbox import guest, library, lockdown, python, vfs, zipped
from surge.sandbox.engine import THREAD_STACK, make_engine
from surge.sandbox.host import Conclusion, Held, Host, map_file
from surge.sandbox.instance import TICK, Image
from surge.sandbox.line import Broken, WorkerLine
from surge.sandbox.protocol import (
    INLINE,
    SPOOLS,
    Compile,
    Done,
    Hold,
    Load,
    Ready,
    Refused,
    Release,
    Request,
    RunCommand,
    RunPython,
    SetupPython,
    Spool,
)
from surge.sandbox.wasi.world import Ending, World


def run_command(host: Host, request: RunCommand, stdin: bytes | memoryview) -> Conclusion:
    """Run a WASI command once."""
    try:
        files = vfs.empty() if request.files is None else host.held[request.files].tree()
    except zipped.BadZip as wrong:
        return host.refuse(request.limits, f"the input files: {wrong}", witness=request.witness)
    world = World(
        argv=request.argv,
        env=request.env,
        stdin=stdin,
        job=files,
        limits=request.limits,
        seed=request.seed,
    )
    try:
        ending = host.begin(world).run("_start")
    except Ending as early:
        ending = early
    return host.conclude(world, ending, witness=request.witness)


class Worker:
    """The loop over requests, in the order they came."""

    def __init__(self, line: WorkerLine, host: Host, spools: list[int]) -> None:
        self._line = line
        self._host = host
        self._spools = deque(spools)
        self._inbox: deque[tuple[Request, list[int]]] = deque()
        self.running = threading.Event()
        """Set while a guest may be running: only then do epochs need counting."""

    def serve(self) -> None:
        """Run units until the parent is gone. A bug here is told to the parent, which then ends the process."""
        try:
            while True:
                request, descriptors = self._inbox.popleft() if self._inbox else self._line.receive()
                self._handle(request, descriptors)
        except Broken:
            return
        except Exception:
            self._line.send(Refused(reason=traceback.format_exc()[-2000:]))

    def _handle(self, request: Request, descriptors: list[int]) -> None:
        held = self._host.held
        match request:
            case Hold():
                held[request.key] = Held(descriptors[0])
            case Release():
                held.pop(request.key).close()
            case Spool():
                self._spools.append(descriptors[0])
            case RunCommand() | SetupPython() | RunPython():
                self.running.set()
                try:
                    conclusion = self._run(request, descriptors)
                finally:
                    self.running.clear()
                    for fd in descriptors:
                        os.close(fd)
                self._reply(conclusion)
            case _:
                raise Broken(f"{type(request).__name__} in a worker that is loaded")

    def _run(self, request: RunCommand | SetupPython | RunPython, descriptors: list[int]) -> Conclusion:
        host = self._host
        if isinstance(request, RunCommand):
            return run_command(host, request, map_file(descriptors[0]) if request.stdin is None else request.stdin)
        if isinstance(request, SetupPython):
            return python.setup(host, request, descriptors[0])
        return python.run(host, request, map_file(descriptors[0]) if request.items is None else request.items)

    def _reply(self, conclusion: Conclusion) -> None:
        done = conclusion.done
        if sum(len(piece) for piece in conclusion.output) <= INLINE:
            self._line.send(msgspec.structs.replace(done, output=b"".join(conclusion.output)))
            return
        spool = self._spool()
        try:
            for piece in conclusion.output:
                _write_all(spool, piece)
        except OSError as wrong:
            done = _without_output(done, f"no room on the host for the output: {wrong.strerror}")
        os.close(spool)
        self._line.send(done)

    def _spool(self) -> int:
        """An empty spool; one is on its way if there is none, behind requests that are kept for later."""
        while not self._spools:
            request, descriptors = self._line.receive()
            if isinstance(request, Spool):
                self._spools.append(descriptors[0])
            else:
                self._inbox.append((request, descriptors))
        return self._spools.popleft()


def _write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _without_output(done: Done, detail: str) -> Done:
    return Done(
        status=Status.HOST_MEMORY,
        exit_code=0,
        value=EMPTY,
        stdout=EMPTY,
        stderr=EMPTY,
        files=(),
        state=b"",
        fuel=0,
        seconds=done.seconds,
        cpu_seconds=done.cpu_seconds,
        peak_memory=done.peak_memory,
        detail=detail,
        output=None,
    )


def _tick(image: Image, running: threading.Event) -> None:
    """Count epochs, by the clock: while a host function moves a GiB, this thread has no turn and falls behind."""
    while True:
        running.wait()
        began = time.monotonic()
        time.sleep(TICK)
        for _ in range(max(1, int((time.monotonic() - began) / TICK))):
            image.tick()


def _close_errors() -> None:
    """Standard error was for a failure to start; from here on it goes where standard output goes, nowhere."""
    os.dup2(1, 2)


def _load(line: WorkerLine, request: Load, descriptors: list[int]) -> None:
    compiled, *rest = descriptors
    folders = library.folders(map_file(rest.pop(0))) if request.python else ()
    guest.preload()
    assert len(rest) == SPOOLS
    engine = make_engine()
    module = wasmtime.Module.deserialize_file(engine, f"/proc/self/fd/{compiled}")
    os.close(compiled)
    host = Host(Image(engine, module, python=request.python), folders)
    worker = Worker(line, host, rest)
    # All code is there: a hole in the engine finds no way to add any.
    layers = lockdown.apply(request.memory + lockdown.HOST_ROOM, new_code=False)
    _close_errors()
    gc.freeze()
    threading.Thread(target=_tick, args=(host.image, worker.running), daemon=True).start()
    threading.stack_size(THREAD_STACK)
    guests = threading.Thread(target=worker.serve)
    guests.start()
    line.send(Ready(layers=tuple(layers)))
    guests.join()


def _compile(line: WorkerLine, request: Compile, descriptors: list[int]) -> None:
    from surge.sandbox import compiler

    lockdown.apply(request.memory, cpu_seconds=request.cpu_seconds)
    _close_errors()
    try:
        line.send(compiler.compile_module(request, *descriptors))
    except compiler.Unusable as wrong:
        line.send(Refused(reason=str(wrong)))


def main() -> int:
    """Do what the first message says."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    lockdown.begin(keep=[connection.fileno()])
    line = WorkerLine(connection)
    try:
        request, descriptors = line.receive()
        match request:
            case Load():
                _load(line, request, descriptors)
            case Compile():
                _compile(line, request, descriptors)
            case _:
                return 2
    except Broken:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
