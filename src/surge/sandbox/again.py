"""Running a unit from nothing but its description and contents: for buyers who compare, and for jurors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surge.core import canonical
from surge.core.storage.stored import parts_of
from surge.core.units import UnitSpec, command_seed
from surge.errors import InvalidInput, Unavailable
from surge.sandbox import python_image
from surge.sandbox.execution import Execution
from surge.sandbox.facade import Sandbox


async def ready(box: Sandbox, image: bytes, module: Path | None) -> None:
    """Compile an image unless this machine has it; the pinned Python image takes minutes, once. Raises `Unavailable`, `GuestFault`."""
    if box.compiled(image):
        return
    if image == box.python_image:
        module = python_image.module()
    if module is None:
        raise Unavailable("the module that ran is not on this machine", image=image)
    await box.compile(module, image=image)


async def run_unit(
    box: Sandbox,
    spec: UnitSpec,
    *,
    setup: bool,
    module: Path | None,
    bundle: Path | None,
    items: bytes,
    stored: Sequence[Path] = (),
    wall_ms: int | None = None,
    setup_fuel: int | None = None,
    witness: bool = False,
) -> Execution:
    """Run a unit on a sandbox of its engine.

    Args:
        box: where.
        spec: what.
        setup: whether it is a job's setup.
        module: its module's file; None for the pinned image, and where it is compiled already.
        bundle: its bundle's file.
        items: its input.
        stored: the stored files that its entry lists, in its order.
        wall_ms: milliseconds to allow instead of its own limit: no result depends on them.
        setup_fuel: what the setup that a unit starts from may take; by default what setups usually may.
        witness: whether the execution is to hold its witness.

    Raises:
        Unavailable: this machine has another engine, or not the module.
        InvalidInput: the entry is none of a command, the unit wants more memory than the sandbox has, or it reads stored files that are not
            given: so for jurors always, who have no way to read them.
        GuestFault: the module cannot be compiled, or the setup that a unit starts from fails.
    """
    if box.engine != spec.engine:
        raise Unavailable(
            f"the unit ran on the engine {spec.engine.hex()[:16]}, this machine has {box.engine_label}: their results are the same, "
            "their fuel need not be",
            engine=spec.engine,
        )
    if len(parts_of(spec.entry)) != len(stored):
        raise InvalidInput("the unit reads stored files, which are not at hand here: it can be run again only by who may read them")
    await ready(box, spec.image, module)
    limits = spec.limits if wall_ms is None else replace(spec.limits, wall_ms=wall_ms)
    if setup:
        return await box.python.setup(spec.bundle, bundle, spec.setup, limits, witness=witness)
    if spec.setup:
        allowed = None if setup_fuel is None else replace(limits, fuel=setup_fuel)
        return await box.python.run(
            spec.bundle, bundle, spec.setup, spec.entry, items, limits, stored=stored, setup_limits=allowed, witness=witness
        )
    try:
        argv, env, _ = canonical.decode(spec.entry)
        pairs = [(name, value) for name, value in env]
        if type(argv) is not list or any(type(text) is not str for text in (*argv, *(text for pair in pairs for text in pair))):
            raise InvalidInput("arguments and environment are text")
    except (InvalidInput, ValueError, TypeError) as error:
        raise InvalidInput("the unit's entry is none of a command") from error
    return await box.run_command(spec.image, argv, pairs, items, bundle, limits, command_seed(spec), witness=witness)
