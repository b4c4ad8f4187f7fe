"""Dask distributed, Ray and a process pool with two cores, called the way their users would."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

CORES = 2


def dask_rates(function: Callable[[int], int], items: int, trips: int) -> tuple[float, float, float]:
    """Tasks a second through `Client.map`, then p50 and p95 of one task's round trip in milliseconds."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=CORES, threads_per_worker=1, dashboard_address=None, processes=True) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(function, range(-100, 0), pure=False))
        start = time.perf_counter()
        got = client.gather(client.map(function, range(items), pure=False))
        rate = items / (time.perf_counter() - start)
        assert got[-1] == function(items - 1)
        times = []
        for item in range(trips):
            start = time.perf_counter()
            client.submit(function, item, pure=False).result()
            times.append((time.perf_counter() - start) * 1e3)
    return rate, *p50_p95(times)


def ray_rates(function: Callable[[int], int], items: int, trips: int) -> tuple[float, float, float]:
    """Tasks a second through `.remote()` and `ray.get`, then p50 and p95 of one task's round trip in milliseconds."""
    import logging

    import ray

    ray.init(num_cpus=CORES, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        remote = ray.remote(function)
        ray.get([remote.remote(item) for item in range(100)])
        start = time.perf_counter()
        got = ray.get([remote.remote(item) for item in range(items)])
        rate = items / (time.perf_counter() - start)
        assert got[-1] == function(items - 1)
        times = []
        for item in range(trips):
            start = time.perf_counter()
            ray.get(remote.remote(item))
            times.append((time.perf_counter() - start) * 1e3)
    finally:
        ray.shutdown()
    return rate, *p50_p95(times)


def pool_rate(function: Callable[[int], int], items: int) -> float:
    """Calls a second through a local process pool."""
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(function, range(CORES)))
        start = time.perf_counter()
        list(pool.map(function, range(items)))
        return items / (time.perf_counter() - start)


def p50_p95(times: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    return statistics.median(times), statistics.quantiles(times, n=20)[18]
