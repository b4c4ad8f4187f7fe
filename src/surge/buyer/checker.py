"""Running units again on this machine, to see whether what a device says is so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from surge.buyer.home import cache_folder
from surge.buyer.stored import StoredFiles, files_here
from surge.core.storage.stored import parts_of
from surge.core.units import Limits, Outcome, UnitSpec

if TYPE_CHECKING:
    from surge.sandbox import Sandbox


class Checks(Protocol):
    """Who runs units again: `Checker`, or a stand-in for it in unit tests."""

    @property
    def waiting(self) -> int:
        """Units that wait for their turn, beyond those that run."""
        ...

    async def knows(self, engine: bytes, image: bytes) -> bool:
        """Whether units of this engine and image can be run here at once, and compared in fuel too."""
        ...

    async def can(self, engine: bytes) -> bool:
        """Whether they could be, after a compilation perhaps."""
        ...

    async def run(self, spec: UnitSpec, items: bytes, *, setup: bool = False) -> Outcome:
        """What a unit, or a setup, gives here."""
        ...


class Checker:
    """Runs units again, a few at a time, in the same locked-down workers that providers use. It starts when it is first needed.

    Args:
        contents: where a bundle or a module lies here, by its SHA-256.
        stored: the stored files that units read.
    """

    def __init__(self, contents: Callable[[bytes], Path | None], stored: Callable[[], StoredFiles | None] = lambda: None) -> None:
        self._contents = contents
        self._stored = stored
        self._box: Sandbox | None = None
        self._memory = 0
        self._starting = asyncio.Lock()
        self._workers = max(1, (os.cpu_count() or 2) // 2)
        self._room = asyncio.Semaphore(self._workers)
        self._under_way = 0

    @property
    def waiting(self) -> int:
        """See `Checks`."""
        return max(0, self._under_way - self._workers)

    async def knows(self, engine: bytes, image: bytes) -> bool:
        """See `Checks`."""
        box = await self._sandbox(Limits().memory)
        return box.engine == engine and box.compiled(image)

    async def can(self, engine: bytes) -> bool:
        """See `Checks`."""
        return (await self._sandbox(Limits().memory)).engine == engine

    async def run(self, spec: UnitSpec, items: bytes, *, setup: bool = False) -> Outcome:
        """See `Checks`. Raises `GuestFault` or `Unavailable` where this machine cannot."""
        from surge.sandbox.again import run_unit

        self._under_way += 1
        try:
            async with self._room:
                box = await self._sandbox(spec.limits.memory)
                bundle = None if spec.bundle is None else self._contents(spec.bundle)
                if setup and (made := box.python.snapshot(spec.bundle, spec.setup)) is not None:
                    return made
                module = self._contents(spec.image)
                async with files_here(self._stored(), parts_of(spec.entry)) as stored:
                    ran = await run_unit(box, spec, setup=setup, module=module, bundle=bundle, items=items, stored=stored)
                return ran.outcome
        finally:
            self._under_way -= 1

    async def close(self) -> None:
        """End its workers."""
        async with self._starting:
            if self._box is not None:
                await self._box.close()
                self._box = None

    async def _sandbox(self, memory: int) -> Sandbox:
        """A sandbox whose workers may reserve so much memory each."""
        from surge.sandbox import Sandbox

        async with self._starting:
            if self._box is None or memory > self._memory:
                if self._box is not None:
                    await self._box.close()
                self._memory = max(memory, self._memory)
                self._box = Sandbox(cache_folder(), workers=self._workers, memory=self._memory * self._workers)
                await self._box.start()
            return self._box
