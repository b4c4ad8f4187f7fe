"""The compute service: units in the sandbox, what they need, and what they cost.

`prepare` says what a job misses here and compiles its image; `setup` runs a Python job's module and keeps its memory; `fetch` brings a
stored file that units read; `run` runs a unit. Bodies are those of `core.messages.compute` and `core.messages.stored`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from surge.core import canonical
from surge.core.messages import UnitDone, decode_run_unit, decode_setup, encode_body
from surge.core.messages.compute import LimitsField
from surge.core.messages.fields import MAX_INLINE
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.storage.stored import parts_of
from surge.core.types import Address
from surge.core.units import EXACT, PROVABLE, WORLD, Limits, Status, UnitSpec, command_seed, result_hash, unit_id
from surge.errors import GuestFault, InvalidInput, SurgeError
from surge.provider import calibration, covered, requote
from surge.provider.config import ProviderConfig
from surge.provider.covered import Covered
from surge.provider.prepare import Prepare
from surge.provider.service import Claim, Context, Description, Order, Refused, Reply, Weight
from surge.provider.stored import FetchPart, Key, Opener, StoredParts
from surge.provider.turns import Turns
from surge.provider.waste import Waste
from surge.sandbox import Execution, Sandbox

log = logging.getLogger("surge.provider")

NOTHING = hashlib.sha256(b"").digest()
"""The hash of no input."""

INLINE_OUTPUT = 64 << 10
"""Bytes of output carried in an answer; more travels in pieces, so that answers that wait stay small in memory."""


class Compute:
    """The service. It owns the sandbox from `start` to `close`.

    Args:
        sandbox: where units run.
        folder: where it keeps what it measured, and large outputs on their way out.
        config: what the device lends.
        opener: what brings stored files; without one, units that read them are not run here.
    """

    name = "compute"

    def __init__(self, sandbox: Sandbox, folder: Path, config: ProviderConfig, opener: Opener | None = None) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.turns = Turns(config.cores)
        self.config = config
        self.speed: int | None = None
        self.failed: OrderedDict[bytes, str] = OrderedDict()
        self.requotes = requote.Requotes(config.requote_percent)
        self.waste = Waste()
        self.stored = StoredParts(
            folder / "stored", budget=config.disk, most=config.max_content, unpaid=config.upload_window, opener=opener
        )
        self._images: OrderedDict[bytes, None] = OrderedDict()
        self.looks = Turns(1)
        self._preparing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the sandbox ready, measure the device, and begin to compile the Python image if that was never done."""
        await asyncio.to_thread(self.stored.start)
        await self.sandbox.start()
        self.speed = await calibration.speed(self.sandbox, self.folder)
        if self.sandbox.compiled(self.sandbox.python_image):
            self._images[self.sandbox.python_image] = None
        else:
            self._preparing = asyncio.create_task(self._compile_python(), name="compiling the Python image")

    async def close(self) -> None:
        """End the sandbox."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self.sandbox.close()
        await asyncio.to_thread(self.stored.close)

    async def _compile_python(self) -> None:
        try:
            await self.compile_python()
        except SurgeError as error:
            log.warning("Python jobs cannot be done here: %s", error)

    async def compile_python(self) -> None:
        """Compile the pinned Python image, once; it costs buyers nothing. Raises `GuestFault`, `Unavailable`."""
        from surge.sandbox import python_image

        await self.sandbox.compile(python_image.module(), image=self.sandbox.python_image)
        self.ready(self.sandbox.python_image)

    def ready(self, image: bytes) -> None:
        """An image was compiled."""
        self._images[image] = None
        self._images.move_to_end(image)
        while len(self._images) > 64:
            self._images.popitem(last=False)

    def has(self, image: bytes) -> bool:
        """Whether an image is compiled. Its code may have gone for that of others since it was seen."""
        if self.sandbox.compiled(image):
            self.ready(image)
            return True
        self._images.pop(image, None)
        return False

    def describe(self) -> Description:
        """See `Service`."""
        return Description(self.sandbox.engine, self.sandbox.engine_label, tuple(self._images), self.speed)

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        """See `Service`."""
        if method == "run":
            return _Run(self, body, context)
        if method == "setup":
            return _Setup(self, body, context)
        if method == "prepare":
            return Prepare(self, body, context)
        if method == "fetch":
            return FetchPart(self, body, context)
        raise Refused("unknown", f"compute has no method {method!r}: it has prepare, setup, fetch, run")

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """See `Service`."""
        self.stored.answered(receipt)

    # What orders share

    def limits(self, limits: Limits) -> Limits:
        """The limits, if the device lends as much."""
        if limits.memory > self.config.memory:
            raise Refused("invalid", f"the unit wants {limits.memory} bytes of memory; this device lends {self.config.memory}")
        return limits

    def check_free(self, buyer: Address) -> None:
        """Raise `Refused` while every core is held for others."""
        if self.turns.is_shut(buyer):
            raise Refused("busy", "every core here is held for another buyer now")

    def give_file(self, data: bytes) -> Path:
        """An output in memory as a file that is the daemon's."""
        import tempfile

        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="output-", delete=False) as file:
            file.write(data)
        return Path(file.name)


def _checked(compute: Compute, field: LimitsField) -> Limits:
    try:
        return compute.limits(field.limits())
    except InvalidInput as error:
        raise Refused("invalid", error.message) from error


async def _answer(compute: Compute, within: Covered, execution: Execution, claim: Claim | None, inline: int) -> Reply:
    output, reserve = execution.output, within.reserve
    if output.size <= inline:
        data = output.read() if output.data is not None else await asyncio.to_thread(output.read)
        output.discard()
        return Reply(encode_body(UnitDone.of(execution.outcome, execution.seconds, data, execution.detail)), claim, reserve=reserve)
    path = output.path
    if path is None:
        path = await asyncio.to_thread(compute.give_file, output.read())
    body = encode_body(UnitDone.of(execution.outcome, execution.seconds, b"", execution.detail))
    return Reply(body, claim, path, output.size, reserve)


_ENDED = {
    Status.WALL_TIME: "it took longer than it may",
    Status.NATIVE_STACK: "its calls went deeper than the stack",
    Status.HOST_MEMORY: "the device ran out of memory or disk",
    Status.WORKER_LOST: "the process that ran it was lost",
}
"""Local endings in words, for those of which the engine says no more than where in the module it was."""


def _local(compute: Compute, context: Context, execution: Execution, limits: Limits) -> Refused:
    compute.waste.add(context.buyer, execution.seconds or _lost_seconds(execution, limits))
    execution.output.discard()
    status = execution.outcome.status
    detail = execution.detail.partition("\n")[0].strip()
    plain = _ENDED.get(status, f"it ended here as {status.name}")
    return Refused("local", detail if detail and not detail.endswith("backtrace:") else plain, status=status.name)


def _lost_seconds(execution: Execution, limits: Limits) -> float:
    """Seconds of a unit whose worker could not say: all of them if it was ended for its wall time."""
    return limits.wall_ms / 1000 if execution.outcome.status is Status.WALL_TIME else 0.0


class _Run:
    """One unit."""

    weight = Weight.UNIT
    lasting = False

    def __init__(self, compute: Compute, body: bytes, context: Context) -> None:
        unit = decode_run_unit(body)
        self._compute, self._context, self._unit = compute, context, unit
        self._limits = _checked(compute, unit.limits)
        python = unit.image == compute.sandbox.python_image
        if bool(unit.setup) != python or (unit.content and unit.items):
            raise Refused("invalid", "a unit has a setup if and only if it is Python, and its input once")
        digest = unit.content or hashlib.sha256(unit.items).digest()
        try:
            self._parts = parts_of(unit.entry)
        except InvalidInput as error:
            raise Refused("invalid", error.message) from error
        self._keys = [Key.of(context.buyer, part) for part in self._parts]
        if self._parts and not python:
            raise Refused("invalid", "only Python reads stored files")
        self._spec: UnitSpec = unit.spec(WORLD, compute.sandbox.engine, digest)
        self.subject = unit_id(self._spec)
        self.job = unit.job
        self.begun = False
        self._python = python
        self._prices = context.prices(unit.job)

    def _check_present(self) -> None:
        unit, contents, sandbox = self._unit, self._context.contents, self._compute.sandbox
        missing = [each for each in (unit.bundle, unit.content) if each and not contents.has(each)]
        if not self._compute.has(unit.image):
            missing.append(unit.image)
        if missing:
            raise Refused("missing", "prepare the job first: something it needs is not here", contents=missing)
        if self._python and sandbox.python.snapshot(unit.bundle or None, unit.setup) is None:
            raise Refused("missing", "prepare the job first: its setup is not here", contents=[])
        if any(self._compute.stored.path(key) is None for key in self._keys):
            raise Refused("missing", "fetch what the unit reads first: a stored file of it is not here", contents=[])

    async def run(self) -> Reply:
        compute, unit, context = self._compute, self._unit, self._context
        self._check_present()
        compute.waste.check(context.buyer)
        compute.check_free(context.buyer)
        moved, places = len(unit.items), compute.turns.places
        with compute.stored.pinned(self._keys):
            within = await covered.within(context, self._prices, self._limits, moved, unit.expected, places)
            try:
                return await self._run(within)
            except BaseException:
                within.reserve.release()
                raise

    async def _run(self, within: Covered) -> Reply:
        compute, unit, context = self._compute, self._unit, self._context
        await compute.turns.enter(context.buyer)
        self.begun = True
        started = time.monotonic()
        try:
            with context.contents.pinned(*(each for each in (unit.bundle, unit.content) if each)):
                stored = [path for path in map(compute.stored.path, self._keys) if path is not None]
                execution = await self._execute(within.limits, stored)
        except GuestFault as fault:
            compute.waste.add(context.buyer, time.monotonic() - started)
            raise Refused("guest", fault.message) from fault
        except InvalidInput as error:
            raise Refused("invalid", error.message) from error
        finally:
            compute.turns.leave(context.buyer)
        compute.turns.took(execution.seconds)
        execution, amount = within.settle(execution)
        outcome = execution.outcome
        if outcome.status not in PROVABLE:
            raise _local(compute, context, execution, self._limits)
        compute.waste.billed(context.buyer, execution.seconds)
        claim = Claim(ReceiptKind.UNIT, self.subject, result_hash(outcome), outcome.fuel, amount)
        if outcome.status in EXACT and compute.speed:
            quote = compute.requotes.consider((context.channel, unit.job), execution.cpu_seconds, outcome.fuel, self._prices, compute.speed)
            if quote is not None:
                context.quote(unit.job, quote)
        return await _answer(compute, within, execution, claim, INLINE_OUTPUT)

    async def _execute(self, limits: Limits, stored: Sequence[Path]) -> Execution:
        unit, sandbox, contents = self._unit, self._compute.sandbox, self._context.contents
        items = contents.path(unit.content) if unit.content else unit.items
        bundle = contents.path(unit.bundle) if unit.bundle else None
        if self._python:
            return await sandbox.python.run(unit.bundle or None, bundle, unit.setup, unit.entry, items, limits, stored=stored)
        argv, env = _entry(unit.entry)
        return await sandbox.run_command(unit.image, argv, env, items, bundle, limits, command_seed(self._spec))


@lru_cache(maxsize=256)
def _entry(data: bytes) -> tuple[list[str], list[tuple[str, str]]]:
    """(argv, environment, index) of a command's entry. Raises `Refused`."""
    try:
        argv, env, index = canonical.decode(data)
        pairs = [(name, value) for name, value in env]
        texts = (*argv, *(text for pair in pairs for text in pair))
        if all(type(text) is str for text in texts) and type(argv) is list and type(index) is int:
            return argv, pairs
    except (InvalidInput, TypeError, ValueError):
        raise Refused("invalid", "the command's arguments and environment cannot be read") from None
    raise Refused("invalid", "arguments and environment are text")


class _Setup:
    """The setup of a Python job: run once for each device, bundle and setup.

    Where its snapshot is here and nothing that it printed was asked to be kept, it is answered from that, which takes no place in the
    buyer's window: a buyer that comes back while receipts fill its window needs the answer to go on.
    """

    lasting = False

    def __init__(self, compute: Compute, body: bytes, context: Context) -> None:
        setup = decode_setup(body)
        sandbox = compute.sandbox
        self._compute, self._context, self._setup = compute, context, setup
        self._limits = _checked(compute, setup.limits)
        if setup.image != sandbox.python_image or not setup.setup:
            raise Refused("invalid", "only the Python image has setups")
        bundle = setup.bundle or None
        if bundle is not None and not context.contents.has(bundle):
            raise Refused("missing", "prepare the job first: its bundle is not here", contents=[bundle])
        spec = UnitSpec(WORLD, sandbox.engine, setup.image, bundle, setup.setup, b"", NOTHING, self._limits, setup.salt)
        self.subject = unit_id(spec)
        self.job = setup.job
        self.begun = False
        kept = sandbox.python.snapshot(bundle, setup.setup)
        self._kept = kept if kept is not None and not kept.size() else None
        self.weight = Weight.UNIT if self._kept is None else Weight.FREE

    async def run(self) -> Reply:
        """Answer from the snapshot that is here, or run the module and keep its memory."""
        compute, setup, context = self._compute, self._setup, self._context
        sandbox, bundle = compute.sandbox, setup.bundle or None
        if self._kept is not None:
            return Reply(encode_body(UnitDone.of(self._kept, 0.0, b"", "")))
        if not sandbox.compiled(sandbox.python_image):
            raise Refused("missing", "prepare the job first: the Python image is not ready", contents=[])
        compute.waste.check(context.buyer)
        compute.check_free(context.buyer)
        within = await covered.within(context, context.prices(setup.job), self._limits, 0, 0, 1)
        try:
            return await self._run(within, bundle)
        except BaseException:
            within.reserve.release()
            raise

    async def _run(self, within: Covered, bundle: bytes | None) -> Reply:
        compute, setup, context = self._compute, self._setup, self._context
        await compute.turns.enter(context.buyer)
        self.begun = True
        started = time.monotonic()
        try:
            with context.contents.pinned(*([bundle] if bundle else [])):
                path = context.contents.path(bundle) if bundle else None
                execution = await compute.sandbox.python.setup(bundle, path, setup.setup, within.limits)
        except GuestFault as fault:
            compute.waste.add(context.buyer, time.monotonic() - started)
            raise Refused("guest", fault.message) from fault
        except InvalidInput as error:
            raise Refused("invalid", error.message) from error
        finally:
            compute.turns.leave(context.buyer)
        execution, amount = within.settle(execution)
        outcome = execution.outcome
        if outcome.status not in PROVABLE:
            raise _local(compute, context, execution, self._limits)
        if outcome.size() > MAX_INLINE:
            compute.waste.add(context.buyer, execution.seconds)
            execution.output.discard()
            said = f"prints, or writes to /out, {outcome.size()} bytes; at most {MAX_INLINE} are carried: leave that to the function"
            raise Refused("guest", f"the module's top level {said}")
        claim = None
        if context.issued(ReceiptKind.SETUP, self.subject):
            compute.waste.add(context.buyer, execution.seconds)
        else:
            claim = Claim(ReceiptKind.SETUP, self.subject, result_hash(outcome), outcome.fuel, amount)
        return await _answer(compute, within, execution, claim, MAX_INLINE)
