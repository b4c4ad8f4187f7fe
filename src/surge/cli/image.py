"""Compiling the Python image: once for a machine, with a progress bar."""

from __future__ import annotations

import asyncio
import fcntl
import os

from surge.cli.console import err
from surge.cli.places import cache
from surge.cli.progress import timed_progress


def ensure_image() -> None:
    """Compile the Python image unless this machine has it; processes that ask at the same time wait for the first."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "image.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(_ensure())
    finally:
        os.close(lock)


async def _ensure() -> None:
    from surge.sandbox import Sandbox, python_image
    from surge.sandbox.compiling import estimate

    sandbox = Sandbox(cache(), workers=1, memory=1 << 30)
    await sandbox.start()
    try:
        if sandbox.compiled(sandbox.python_image):
            return
        module = python_image.module()
        err.print("compiling the Python image: done once on this machine, and kept")
        with timed_progress("compiling", estimate(module.stat().st_size)) as tick:
            await sandbox.compile(module, image=sandbox.python_image, on_progress=lambda gone, _total: tick(gone))
    finally:
        await sandbox.close()
