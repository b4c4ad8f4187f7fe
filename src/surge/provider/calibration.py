"""How fast this device is: fuel a second, measured once in the sandbox and kept.

The measure is a small module of our own: integer arithmetic, and stores to random places of a megabyte, about seventeen instructions a
turn. What a job really takes is seen at its first unit, and may be quoted a price of its own (`compute`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from pathlib import Path
from typing import Protocol

from surge.core.units import Limits, Status
from surge.errors import InternalFault
from surge.sandbox import CompiledImage, Execution

log = logging.getLogger("surge.provider")

SECONDS = 0.25
"""How long a decisive run should take."""

RUNS = 3
"""Decisive runs: the fastest counts, because whatever else the machine does only slows."""

FIRST_TURNS = 1_000_000
"""Turns of the first run, from which the decisive ones are sized."""

MAX_TURNS = (1 << 31) - 1


class Runner(Protocol):
    """What measuring needs of `surge.sandbox.Sandbox`."""

    engine: bytes

    async def compile(self, module: Path, *, image: bytes) -> CompiledImage:
        """Make a module ready."""
        ...

    async def run_command(
        self,
        image: bytes,
        argv: list[str],
        env: list[tuple[str, str]],
        stdin: bytes,
        files: Path | None,
        limits: Limits,
        random_seed: bytes,
    ) -> Execution:
        """Run a command."""
        ...


def _leb(value: int) -> bytes:
    """A signed LEB128 integer, as WebAssembly writes constants."""
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        if (value == 0 and not low & 0x40) or (value == -1 and low & 0x40):
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


def module(turns: int) -> bytes:
    """The module that does this many turns when started (WebAssembly core specification 1.0, section 5)."""

    def section(number: int, body: bytes) -> bytes:
        return bytes((number, *_unsigned(len(body)))) + body

    def const(value: int) -> bytes:
        return b"\x41" + _leb(value)

    get_i, get_x, tee_i, tee_x = b"\x20\x00", b"\x20\x01", b"\x22\x00", b"\x22\x01"
    loop = (
        b"\x03\x40"
        + (get_x + const(1664525) + b"\x6c" + const(1013904223) + b"\x6a" + tee_x)  # x = x * a + c (Numerical Recipes)
        + (const(0xFFFFC) + b"\x71" + get_x + b"\x36\x02\x00")  # memory[x & mask] = x
        + (get_i + const(1) + b"\x6a" + tee_i + const(turns) + b"\x49\x0d\x00")  # until i = turns
        + b"\x0b"
    )
    code = b"\x01\x02\x7f" + loop + b"\x0b"  # two locals of type i32
    return (
        b"\0asm\x01\0\0\0"
        + section(1, b"\x01\x60\x00\x00")  # one type: () -> ()
        + section(3, b"\x01\x00")  # one function of it
        + section(5, b"\x01\x00\x10")  # a memory of 16 pages: 1 MiB
        + section(7, b"\x02\x06memory\x02\x00\x06_start\x00\x00")
        + section(10, b"\x01" + _unsigned(len(code)) + code)
    )


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


async def measure(sandbox: Runner, folder: Path) -> int:
    """Fuel per second on one core. Takes about a second; raises `InternalFault` if the sandbox does not run."""
    first = await _run(sandbox, folder, FIRST_TURNS)
    turns = min(MAX_TURNS, max(FIRST_TURNS, int(FIRST_TURNS * SECONDS / max(first.cpu_seconds, 1e-4))))
    runs = [await _run(sandbox, folder, turns) for _ in range(RUNS)]
    speed = max(int(each.outcome.fuel / max(each.cpu_seconds, 1e-6)) for each in runs)
    log.info("this device runs %.3f gigafuel a second", speed / 1e9)
    return max(1, speed)


async def _run(sandbox: Runner, folder: Path, turns: int) -> Execution:
    data = module(turns)
    image = hashlib.sha256(data).digest()
    path = folder / "measure.wasm"
    path.write_bytes(data)
    try:
        await sandbox.compile(path, image=image)
    finally:
        path.unlink(missing_ok=True)
    limits = Limits(memory=1 << 20, fuel=1 << 50, wall_ms=60_000, output=0)
    done = await sandbox.run_command(image, ["measure"], [], b"", None, limits, bytes(32))
    if done.outcome.status is not Status.FINISHED:
        raise InternalFault(f"the device could not be measured: the module ended as {done.outcome.status.name}, {done.detail}")
    return done


async def speed(sandbox: Runner, folder: Path) -> int:
    """The device's speed: as it was measured for this engine, or measured now and kept."""
    kept = await asyncio.to_thread(_kept, folder, sandbox.engine)
    if kept is None:
        log.info("this device is measured for the first time")
        kept = await measure(sandbox, folder)
        await asyncio.to_thread(_keep, folder, sandbox.engine, kept)
    return kept


def _kept(folder: Path, engine: bytes) -> int | None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        kept = json.loads((folder / "speed.json").read_text())
        speed = int(kept["fuel_per_second"])
        return speed if kept["engine"] == engine.hex() and speed > 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(folder: Path, engine: bytes, speed: int) -> None:
    beside = folder / "speed.new"
    beside.write_text(json.dumps({"engine": engine.hex(), "fuel_per_second": speed}))
    beside.replace(folder / "speed.json")
