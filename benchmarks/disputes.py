"""Disputes on the embedded ledger, from the claim to what is collected; and what a witness costs.

The network is that of the tests: jurors with keys, devices and journals of their own, in one process, on real chain, relay and sandbox.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import surge
from benchmarks.rows import Row
from court_town import CourtTown
from sandbox_support import HELLO, command, wat
from surge.buyer.home import cache_folder
from surge.core.units import Limits
from surge.sandbox import Sandbox

ROUNDS = 3
"""Disputes that are measured with each jury."""

JURIES = (5, 15)

PAGES = 4096
"""Pages of 64 KiB of a guest's memory whose witness is measured: a quarter of a GiB."""


def measure() -> Iterator[Row]:
    """One row for each jury, and what a witness takes."""
    for jurors in JURIES:
        seconds = _dispute(jurors)
        yield Row(f"a full dispute with {jurors} jurors, claim to payment", seconds, "s")
    yield Row("witness of a unit, each GiB of its memory", asyncio.run(_witness()), "s")


def _dispute(jurors: int) -> float:
    took = []
    with tempfile.TemporaryDirectory() as name, CourtTown(Path(name), jurors=jurors) as town, surge.connect(town.file) as network:
        module = Path(name) / "hello.wasm"
        module.write_bytes(wat(HELLO))
        town.accused.service.tell = lambda said: said.replace(b"hello", b"HELLO")
        for number in range(ROUNDS):
            network.run(module, [str(number)], fuel=10**9, memory=1 << 20)
            receipt = next(row for row in network.receipts(network.jobs()[0].id) if row["kind"] == 1)
            started = time.perf_counter()
            told = network.dispute(receipt["receipt"], jurors=jurors)
            took.append(time.perf_counter() - started)
            assert told["outcome"] == 2, told
    return statistics.median(took)


async def _witness() -> float:
    """Seconds more that a unit with its witness takes, for each GiB."""
    module = command("(nop)", memory=str(PAGES))
    with tempfile.TemporaryDirectory() as name:
        path, image = Path(name) / "module.wasm", hashlib.sha256(module).digest()
        path.write_bytes(module)
        box = Sandbox(cache_folder(), workers=1, memory=1 << 30)
        await box.start()
        try:
            await box.compile(path, image=image)
            limits = Limits(memory=PAGES << 16)
            took = {}
            for witness in (False, True):
                runs = [await box.run_command(image, ["p"], [], b"", None, limits, bytes(32), witness=witness) for _ in range(10)]
                took[witness] = statistics.median(run.seconds for run in runs)
        finally:
            await box.close()
    return (took[True] - took[False]) * (1 << 30) / (PAGES << 16)
