"""Inside one worker: warm copies of a scientific setup, and small WASI units beside bare wasmtime."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import scientific
from benchmarks.rows import Row, against, at_most
from surge.buyer.bundle import make_bundle
from surge.buyer.source import function_in_file
from surge.cli.places import cache
from surge.core import canonical, values
from surge.core.units import Limits
from surge.sandbox import Sandbox

UNITS = 3000

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
        bundle = make_bundle(function_in_file(Path(scientific.__file__), "first"), Path(name))
        sandbox = Sandbox(cache(), workers=1, memory=2 << 30)
        await sandbox.start()
        try:
            await sandbox.python.setup(bundle.digest, bundle.path, bundle.setup, Limits())
            entry = canonical.encode(["first", 0, 0, bytes(32)])
            ready = []
            for item in range(200):
                done = await sandbox.python.run(bundle.digest, bundle.path, bundle.setup, entry, values.dumps([item]), Limits())
                ready.append(done.ready_seconds * 1e3)
        finally:
            await sandbox.close()
    start = time.perf_counter()
    code = Path(scientific.__file__).read_text()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    native = (time.perf_counter() - start) * 1e3
    peer, peer_value = ("importing them in a fresh process", native) if found.returncode == 0 else (None, None)
    return at_most("fresh warm copy with NumPy, pandas, scikit-learn loaded", statistics.median(ready), "ms", 3.0, peer, peer_value)


async def _wasi() -> Row:
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

            async def one() -> float:
                return (await sandbox.run_command(image, ["small"], [], b"", None, Limits(), bytes(32))).seconds

            await one()
            inside = []
            for start in range(0, UNITS, 100):
                inside += await asyncio.gather(*(one() for _ in range(start, start + 100)))
        finally:
            await sandbox.close()
    return against(
        "WASI units per second inside one worker (small module)", len(inside) / sum(inside), "1/s", "bare wasmtime-py", bare, 0.6
    )


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
