"""Through the whole network: `surge up` with two providers of one core each, called the way users call it."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import surge
from benchmarks import peers, work
from benchmarks.rows import Row, against, at_most
from benchmarks.sandboxes import SMALL
from surge import Run

ITEMS = 20_000
HEAVY = 200
TRIPS = 200
WASI_UNITS = 4_000


@contextlib.contextmanager
def network(providers: int = 2) -> Iterator[tuple[Path, int]]:
    """A running network: its network.json and the process id of `surge up`."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "surge.cli", "up", "--data", name, "--providers", str(providers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("network ready:"):
                    break
            else:
                raise SystemExit("the network did not start")
            yield Path(name) / "network.json", process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def measure() -> Iterator[Row]:
    """The rows of this part; the peers run while the network is down."""
    dask, dask_p50, dask_p95 = peers.dask_rates(work.trivial, ITEMS, TRIPS)
    ray, ray_p50, ray_p95 = peers.ray_rates(work.trivial, ITEMS, TRIPS)
    pool = peers.pool_rate(work.fifty, HEAVY)
    with network() as (file, pid), surge.connect(file) as joined:
        joined.wait_for_providers(2, 60)
        yield from _idle(pid)
        list(joined.map(work.trivial, range(2000)))
        rates = [_map_rate(joined, work.trivial, ITEMS) for _ in range(3)]
        rate = statistics.median(rates)
        yield against("trivial items per second through map, 20,000 items", rate, "1/s", "Dask distributed", dask, 20)
        yield against("trivial items per second through map, 20,000 items", rate, "1/s", "Ray", ray, 10)
        slowdown = joined.check(work.fifty, 1).seconds / _native_seconds()
        list(joined.map(work.fifty, range(8)))
        heavy = _map_rate(joined, work.fifty, HEAVY)
        yield against(
            f"200 items of 50 ms pure Python per second (guest {slowdown:.2f} x slower)",
            heavy,
            "1/s",
            "process pool / slowdown",
            pool / slowdown,
            0.9,
        )
        p50, p95 = _round_trips(joined)
        yield at_most("round trip of one warm Python unit, p50", p50, "ms", 10, "Dask task", dask_p50)
        yield Row("round trip of one warm Python unit, p50", p50, "ms", "Ray task", ray_p50, p50 / ray_p50)
        yield Row("round trip of one warm Python unit, p95", p95, "ms", "Dask task", dask_p95, p95 / dask_p95)
        yield Row("round trip of one warm Python unit, p95", p95, "ms", "Ray task", ray_p95, p95 / ray_p95)
        yield against("WASI units per second through the network, every one signed", _wasi_rate(joined), "1/s", "Ray tasks", ray, 1.0)
        yield from _busy(joined, pid)


def _map_rate(joined: surge.Network, function: object, items: int) -> float:
    start = time.perf_counter()
    got = list(joined.map(function, range(items)))  # type: ignore[arg-type]
    rate = items / (time.perf_counter() - start)
    assert got[-1] == function(items - 1)  # type: ignore[operator]
    return rate


def _native_seconds() -> float:
    times = []
    for item in range(10):
        start = time.perf_counter()
        work.fifty(item)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _round_trips(joined: surge.Network) -> tuple[float, float]:
    for _ in range(20):
        joined.submit(work.trivial, 1).result()
    times = []
    for item in range(TRIPS):
        start = time.perf_counter()
        joined.submit(work.trivial, item).result()
        times.append((time.perf_counter() - start) * 1e3)
    return peers.p50_p95(times)


def _wasi_rate(joined: surge.Network) -> float:
    """Small WASI commands, one a unit."""
    import wasmtime

    with tempfile.TemporaryDirectory() as name:
        module = Path(name) / "small.wasm"
        module.write_bytes(bytes(wasmtime.wat2wasm(SMALL)))
        list(joined.run_each(module, (Run() for _ in range(500))))
        start = time.perf_counter()
        done = sum(1 for result in joined.run_each(module, [Run() for _ in range(WASI_UNITS)]) if result.stdout == b"hi\n")
        assert done == WASI_UNITS
        return WASI_UNITS / (time.perf_counter() - start)


def _providers(pid: int) -> list[psutil.Process]:
    return [each for each in psutil.Process(pid).children() if "provide" in each.cmdline()]


def _idle(pid: int) -> Iterator[Row]:
    sizes = [each.memory_info().rss / 1e6 for each in _providers(pid)]
    yield at_most("memory of an idle provider", statistics.median(sizes), "MB", 150)


def _busy(joined: surge.Network, pid: int) -> Iterator[Row]:
    """What workers hold for themselves while they work: private memory, without what is mapped from a guest's `.memory`."""
    load = threading.Thread(target=lambda: list(joined.map(work.fifty, range(HEAVY))))
    load.start()
    sizes = []
    while load.is_alive():
        time.sleep(0.5)
        for provider in _providers(pid):
            for worker in provider.children():
                with contextlib.suppress(psutil.Error, OSError):
                    maps = worker.memory_maps(grouped=False)
                    sizes.append(sum(each.private_clean + each.private_dirty for each in maps if ".memory" not in each.path) / 1e6)
    load.join()
    if sizes:
        yield at_most("memory of a busy worker beyond its guest", statistics.median(sizes), "MB", 40)


def environment() -> None:
    """Keep Ray and Dask from reaching for anything outside this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
