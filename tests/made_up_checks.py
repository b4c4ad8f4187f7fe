"""Checks without a sandbox: units are run again by the same made-up rules as on made-up devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from made_up_provider import ENGINE
from made_up_units import Ran, run_python
from surge.core import canonical
from surge.core.units import Outcome, Part, Status, UnitSpec, billed_fuel
from surge.errors import Unavailable


class MadeUpChecks:
    """Runs units as an honest device with these functions does."""

    def __init__(self, functions: dict[str, Callable[..., Any]], *, engine: bytes = ENGINE, fuel_each: int = 1000) -> None:
        self.functions = functions
        self.engine = engine
        self.fuel_each = fuel_each
        self.ran: list[bytes] = []
        """The entries of units that were run."""
        self.setup_fuel = 5000
        self.broken = False
        self.may_run = asyncio.Event()
        self.may_run.set()
        self.waiting = 0

    async def knows(self, engine: bytes, image: bytes) -> bool:
        return engine == self.engine

    async def can(self, engine: bytes) -> bool:
        return engine == self.engine

    async def run(self, spec: UnitSpec, items: bytes, *, setup: bool = False) -> Outcome:
        await self.may_run.wait()
        if self.broken:
            raise Unavailable("no worker can be started")
        state = b""
        if setup:
            ran, state = Ran(fuel=self.setup_fuel), b"s" * 32
        else:
            self.ran.append(spec.entry)
            name, style, first, _ = canonical.decode(spec.entry)
            ran = run_python(self.functions[name], style, first, items, self.fuel_each)
            if ran.status is Status.FINISHED and ran.fuel > spec.limits.fuel:
                ran = Ran(Status.OUT_OF_FUEL)
        fuel = billed_fuel(ran.status, ran.fuel, spec.limits)
        return Outcome(ran.status, 0, Part.of(ran.value), Part.of(ran.stdout), Part.of(ran.stderr), (), state, fuel)
