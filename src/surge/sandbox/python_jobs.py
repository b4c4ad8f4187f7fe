"""Python jobs from outside the workers: setups made once and kept, units started from them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from surge.core.units import Limits, Outcome, Status
from surge.errors import GuestFault, InternalFault, Unavailable
from surge.sandbox.execution import Execution
from surge.sandbox.protocol import INLINE, RunPython, SetupPython
from surge.sandbox.snapshots import Snapshots, snapshot_key

if TYPE_CHECKING:
    from surge.sandbox.facade import Sandbox

MAX_EVICTIONS = 3
"""Times a unit's snapshot may be taken away, between being made and being used, before the unit gives up."""


class PythonJobs:
    """The Python side of a sandbox."""

    def __init__(self, sandbox: Sandbox, snapshots: Snapshots, *, private_mappings: bool = True) -> None:
        self._sandbox = sandbox
        self._snapshots = snapshots
        self._private = private_mappings
        self._making: dict[bytes, asyncio.Lock] = {}

    def snapshot(self, bundle: bytes | None, setup: bytes) -> Outcome | None:
        """The outcome of a setup whose snapshot is kept here, or None. `bundle` is its SHA-256."""
        return self._snapshots.find(self._key(bundle, setup))

    def file(self, bundle: bytes | None, setup: bytes) -> Path:
        """Where a setup's snapshot lies, or would lie."""
        return self._snapshots.path(self._key(bundle, setup))

    def forget(self, bundle: bytes | None, setup: bytes) -> None:
        """Drop a setup's snapshot, if it is kept: what private inputs left in it goes with it."""
        self._snapshots.drop(self._key(bundle, setup))

    async def setup(
        self, bundle: bytes | None, bundle_file: Path | None, setup: bytes, limits: Limits, *, witness: bool = False
    ) -> Execution:
        """Run a setup and keep its snapshot if it finished.

        Args:
            bundle: the bundle's SHA-256.
            bundle_file: where it lies.
            setup: canonical bytes that name the entry module.
            limits: what the setup may use.
            witness: whether the execution is to hold the setup's witness, which takes some seconds for each GiB of its memory.
        """
        key = self._key(bundle, setup)
        async with self._making.setdefault(key, asyncio.Lock()):
            return await self._make(key, bundle_file, setup, limits, witness=witness)

    async def run(
        self,
        bundle: bytes | None,
        bundle_file: Path | None,
        setup: bytes,
        entry: bytes,
        items: bytes | Path,
        limits: Limits,
        *,
        stored: Sequence[Path] = (),
        setup_limits: Limits | None = None,
        witness: bool = False,
    ) -> Execution:
        """Run one unit from the job's snapshot, which is made again if it had to go. Raises `GuestFault` if that fails.

        `stored` are the stored files that the entry lists, in its order. `setup_limits` bound the setup, also one that is kept from before;
        without them it may use what setups usually may. With `witness` the execution holds the unit's witness, which takes some seconds
        for each GiB of its memory.
        """
        key = self._key(bundle, setup)
        spooled: Path | None = None
        if isinstance(items, bytes) and len(items) > INLINE:
            spooled = items = await asyncio.to_thread(self._sandbox.spool, items)
        try:
            for _ in range(MAX_EVICTIONS):
                if not self._ready(key):
                    async with self._making.setdefault(key, asyncio.Lock()):
                        await self._make_ready(key, bundle_file, setup, limits, setup_limits)
                if setup_limits is not None and (kept := self._snapshots.find(key)) is not None and kept.fuel > setup_limits.fuel:
                    raise GuestFault(f"the job's setup took {kept.fuel} fuel, and may take {setup_limits.fuel}", status=Status.OUT_OF_FUEL)
                try:
                    return await self._run(key, bundle_file, setup, entry, items, limits, stored, witness)
                except InternalFault:
                    self._snapshots.look_again(key)
                    if self._snapshots.path(key).exists():
                        raise
            raise Unavailable("other jobs keep taking this job's snapshot out of the budget; give snapshots more room on disk")
        finally:
            if spooled is not None:
                spooled.unlink(missing_ok=True)

    async def _run(
        self,
        key: bytes,
        bundle_file: Path | None,
        setup: bytes,
        entry: bytes,
        items: bytes | Path,
        limits: Limits,
        stored: Sequence[Path],
        witness: bool,
    ) -> Execution:
        from surge.sandbox.facade import execution, file_key

        # By what it is a function of: its times change whenever it is used.
        held = {key: self._snapshots.path(key)}
        if bundle_file is not None:
            held[file_key(bundle_file)] = bundle_file
        held |= {file_key(path): path for path in stored}
        inputs = ((items, os.O_RDONLY),) if isinstance(items, Path) else ()
        request = RunPython(
            bundle=file_key(bundle_file) if bundle_file is not None else None,
            snapshot=key,
            setup=setup,
            entry=entry,
            items=items if isinstance(items, bytes) else None,
            limits=limits,
            private=self._private,
            stored=tuple(file_key(path) for path in stored),
            witness=witness,
            fds=len(inputs),
        )
        return execution(await self._sandbox.run_request(self._sandbox.python_image, request, inputs=inputs, held=held))

    def _ready(self, key: bytes) -> bool:
        return self._snapshots.sound(key) and self._snapshots.find(key) is not None

    async def _make_ready(self, key: bytes, bundle_file: Path | None, setup: bytes, limits: Limits, allowed: Limits | None) -> None:
        if self._ready(key) or await asyncio.to_thread(self._snapshots.check, key):
            return
        # What the setup was allowed when it was asked for is not known here, only that it finished then; the unit's own may be less.
        usual = Limits()
        most = {name: max(getattr(limits, name), getattr(usual, name)) for name in ("fuel", "wall_ms", "output", "open_files")}
        made = await self._make(key, bundle_file, setup, allowed or replace(limits, **most))
        if made.outcome.status is not Status.FINISHED:
            raise GuestFault(f"the job's setup ended as {made.outcome.status.name}: {made.detail}", status=made.outcome.status)

    def _key(self, bundle: bytes | None, setup: bytes) -> bytes:
        return snapshot_key(self._sandbox.engine, self._sandbox.python_image, bundle, setup)

    async def _make(self, key: bytes, bundle_file: Path | None, setup: bytes, limits: Limits, *, witness: bool = False) -> Execution:
        from surge.sandbox.facade import execution, file_key

        made = await asyncio.to_thread(self._snapshots.begin)
        held = {} if bundle_file is None else {file_key(bundle_file): bundle_file}
        request = SetupPython(bundle=next(iter(held), None), setup=setup, limits=limits, witness=witness)
        try:
            ran = execution(await self._sandbox.run_request(self._sandbox.python_image, request, inputs=((made, os.O_RDWR),), held=held))
            if ran.outcome.status is Status.FINISHED:
                await asyncio.to_thread(self._snapshots.keep, key, made, ran.outcome)
            return ran
        finally:
            made.unlink(missing_ok=True)
