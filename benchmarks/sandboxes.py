"""Inside one worker: warm copies of a scientific setup, and small WASI units beside bare wasmtime."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row, against, at_most
from surge.buyer.bundle import make_bundle
from surge.buyer.source import function_in_file
from surge.cli.places import cache
from surge.core.units import Limits, Status
from surge.sandbox import Sandbox

UNITS = 3000

SCIENTIFIC = Path(__file__).with_name("scientific.py")

SMALL = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\03\\00\\00\\00") (data (i32.const 16) "hi\\n")
  (func (export "_start") (local $i i32)
    (loop $again (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_s (local.get $i) (i32.const 100))))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
"""A small module: a hundred turns of a loop and one line of output."""


def measure() -> Iterator[Row]:
    """The rows of this part."""
    yield asyncio.run(_warm_copy())
    yield asyncio.run(_wasi())


async def _warm_copy() -> Row:
    with tempfile.TemporaryDirectory() as name:
        bundle = make_bundle(function_in_file(SCIENTIFIC, "first"), Path(name))
        sandbox = Sandbox(cache(), workers=1, memory=2 << 30)
        await sandbox.start()
        try:
            await sandbox.python.setup(bundle.digest, bundle.path, bundle.setup, Limits())
            snapshot, code = sandbox.python.file(bundle.digest, bundle.setup), sandbox.code(sandbox.python_image)
        finally:
            await sandbox.close()
        ready = await asyncio.to_thread(_copies, code, snapshot)
    start = time.perf_counter()
    found = subprocess.run([sys.executable, "-c", SCIENTIFIC.read_text()], capture_output=True, check=False)
    native = (time.perf_counter() - start) * 1e3
    peer, peer_value = ("importing them in a fresh process", native) if found.returncode == 0 else (None, None)
    return at_most("fresh warm copy with NumPy, pandas, scikit-learn loaded", statistics.median(ready), "ms", 3.0, peer, peer_value)


def _copies(code: Path, snapshot: Path) -> list[float]:
    """Milliseconds from nothing to a fresh copy that has run its first statement, as a worker makes one for each unit."""
    import wasmtime

    from surge.sandbox import python_image, vfs
    from surge.sandbox.engine import THREAD_STACK, make_engine
    from surge.sandbox.host import Host, map_file
    from surge.sandbox.instance import Image
    from surge.sandbox.python import restore, turn
    from surge.sandbox.wasi.world import Ending, World

    engine = make_engine()
    library = os.open(python_image.stdlib(), os.O_RDONLY)
    host = Host(Image(engine, wasmtime.Module.deserialize_file(engine, str(code)), python=True), map_file(library))
    memory = os.open(snapshot, os.O_RDONLY)
    times: list[float] = []

    def work() -> None:
        for _ in range(300):
            start = time.perf_counter()
            world = World(argv=(b"python",), env=(), stdin=b"", job=vfs.empty(), limits=Limits(), seed=bytes(32))
            guest = host.begin(world)
            restore(guest, memory, private=True)
            turn(guest, "pass")
            times.append((time.perf_counter() - start) * 1e3)
            host.conclude(world, Ending(Status.FINISHED))

    threading.stack_size(THREAD_STACK)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    threading.stack_size(0)
    return times


async def _wasi() -> Row:
    """By the clock on the wall, messages to the worker and back included, as the peer's loop is."""
    import wasmtime

    code = bytes(wasmtime.wat2wasm(SMALL))
    image = hashlib.sha256(code).digest()
    bare = _bare(code)
    with tempfile.TemporaryDirectory() as name:
        module = Path(name) / "small.wasm"
        module.write_bytes(code)
        sandbox = Sandbox(cache(), workers=1, memory=1 << 30)
        await sandbox.start()
        try:
            await sandbox.compile(module, image=image)

            async def one() -> None:
                await sandbox.run_command(image, ["small"], [], b"", None, Limits(), bytes(32))

            await one()
            start = time.perf_counter()
            for first in range(0, UNITS, 100):
                await asyncio.gather(*(one() for _ in range(first, first + 100)))
            rate = UNITS / (time.perf_counter() - start)
        finally:
            await sandbox.close()
    return against("WASI units per second inside one worker (small module)", rate, "1/s", "bare wasmtime-py", bare, 0.6)


def _bare(code: bytes) -> float:
    """Instances made and called per second with wasmtime-py and its own WASI, metered as ours are."""
    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    module = wasmtime.Module(engine, code)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    with tempfile.NamedTemporaryFile() as out:

        def one() -> None:
            store = wasmtime.Store(engine)
            store.set_fuel(10**9)
            store.set_epoch_deadline(1000)
            wasi = wasmtime.WasiConfig()
            wasi.argv = ["small"]
            wasi.stdout_file = out.name
            store.set_wasi(wasi)
            linker.instantiate(store, module).exports(store)["_start"](store)
            store.close()

        one()
        start = time.perf_counter()
        for _ in range(UNITS):
            one()
        return UNITS / (time.perf_counter() - start)
