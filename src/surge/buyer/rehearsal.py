"""Rehearsing: the same sandbox on this machine, before anything is spent; and running a unit again to compare.

What runs here is the user's own code, in the same locked-down workers that a provider uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surge.buyer.endings import guest_fault, setup_fault
from surge.buyer.home import cache_folder
from surge.buyer.plan import Plan
from surge.buyer.results import decode_piece, item_error
from surge.buyer.stored import files_here
from surge.buyer.work import join
from surge.core.pricing import unit_amount
from surge.core.storage.stored import parts_in
from surge.core.units import Outcome, Status, UnitSpec
from surge.errors import GuestFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.client import Client
    from surge.sandbox import Execution, Sandbox


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What running one item here showed."""

    value: Any
    """What the function returned."""
    fuel: int
    """Fuel of the item: on a provider it is the same."""
    seconds: float
    """Wall seconds of the item here."""
    setup_fuel: int
    """Fuel of the module's top level, which runs once on every provider."""
    setup_seconds: float
    price: int | None
    """Wei one item costs at the cheapest present offer; None when there is none, or the network is away."""
    setup_price: int | None
    """Wei the setup costs on each provider, there."""
    stdout: bytes = b""
    stderr: bytes = b""
    offers: dict[str, int] = field(default_factory=dict)
    """Wei one item costs by device, for every present offer."""


@asynccontextmanager
async def sandbox(memory: int) -> AsyncIterator[Sandbox]:
    """A sandbox with one worker, on this machine's shared cache of compiled code."""
    from surge.sandbox import Sandbox

    found = Sandbox(cache_folder(), workers=1, memory=memory)
    await found.start()
    try:
        yield found
    finally:
        await found.close()


async def rehearse(client: Client, plan: Plan, item: bytes) -> Rehearsal:
    """Run one item here. Raises what the item would raise there: `RemoteError`, `GuestFault`."""
    from surge.sandbox.again import ready

    assert plan.bundle is not None
    bundle = client.content(plan.bundle)
    async with sandbox(plan.limits.memory) as box:
        await ready(box, plan.image, None)
        made = await box.python.setup(plan.bundle, bundle, plan.setup, plan.limits)
        if fault := _fault(made):
            raise setup_fault(fault)
        parts = parts_in([item])
        async with files_here(client.stored, parts) as stored:
            ran = await box.python.run(plan.bundle, bundle, plan.setup, plan.entry(0, parts), join([item]), plan.limits, stored=stored)
        blob = await asyncio.to_thread(ran.output.read)
    if fault := _fault(ran, blob):
        raise fault
    at = ran.outcome.value.size
    (entry,) = decode_piece(blob[:at], 1)
    if len(entry) != 2:
        raise item_error(entry, 0)
    offers, setups = await _prices(client, plan, ran.outcome, made.outcome, len(item))
    cheapest = min(offers, key=lambda device: offers[device]) if offers else None
    out = ran.outcome.stdout.size
    return Rehearsal(
        value=entry[1],
        fuel=ran.outcome.fuel,
        seconds=ran.seconds,
        setup_fuel=made.outcome.fuel,
        setup_seconds=made.seconds,
        price=None if cheapest is None else offers[cheapest],
        setup_price=None if cheapest is None else setups[cheapest],
        stdout=blob[at : at + out],
        stderr=blob[at + out : at + out + ran.outcome.stderr.size],
        offers=offers,
    )


async def _prices(client: Client, plan: Plan, outcome: Outcome, setup: Outcome, moved: int) -> tuple[dict[str, int], dict[str, int]]:
    """What the item and the setup cost at every present offer that passes the job's wishes; nothing while the network is away."""
    try:
        market = await client.market()
        found = await market.matching(plan)
    except Unavailable:
        return {}, {}
    memory = plan.limits.memory
    offers = {one.offer.device: one.offer.prices for one in found.chosen}
    return (
        {device: unit_amount(prices, outcome.fuel, memory, moved + outcome.size()) for device, prices in offers.items()},
        {device: unit_amount(prices, setup.fuel, memory, setup.size()) for device, prices in offers.items()},
    )


def _fault(ran: Execution, blob: bytes | None = None) -> GuestFault | None:
    """The error of what ended badly here."""
    if ran.outcome.status is Status.FINISHED:
        return None
    return guest_fault(ran.outcome, ran.output.read() if blob is None else blob, ran.detail)


async def run_again(spec: UnitSpec, *, setup: bool, module: Path | None, bundle: Path | None, items: bytes) -> Outcome:
    """Run a unit again here. Raises `Unavailable` when this machine's engine is another, so that nothing could be compared."""
    from surge.sandbox.again import run_unit

    async with sandbox(spec.limits.memory) as box:
        return (await run_unit(box, spec, setup=setup, module=module, bundle=bundle, items=items)).outcome
