"""The order that prepares a job on a device: what it misses here, and the compiling of its image."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from surge.core.exposure import Ask
from surge.core.messages import Prepared, decode_prepare, encode_body
from surge.core.pricing import compile_amount
from surge.core.receipts import ReceiptKind
from surge.errors import GuestFault, InternalFault
from surge.provider.service import Claim, Context, Refused, Reply, Reserve, Weight

if TYPE_CHECKING:
    from surge.provider.compute import Compute

MAX_IMAGE = 64 << 20
"""Bytes of a stranger's module: what the sandbox compiles."""

LOOKED_AT = 128
"""Contents looked for before others have their turn: a fraction of a millisecond."""

MAX_FAILED = 1024
"""Modules remembered as impossible to compile."""


class Prepare:
    """What a job misses here; when nothing is missing, its image is compiled."""

    subject: bytes | None = None
    lasting = False

    def __init__(self, compute: Compute, body: bytes, context: Context) -> None:
        wanted = decode_prepare(body)
        config, sandbox = compute.config, compute.sandbox
        self._compute, self._context, self._wanted = compute, context, wanted
        self.job = wanted.job
        self.begun = False
        sizes = [wanted.image_size, wanted.bundle_size, *(size for _, size in wanted.contents)]
        if wanted.image_size > MAX_IMAGE or max(sizes) > config.max_content or sum(sizes) > config.disk:
            raise Refused("storage", f"this device takes images of {MAX_IMAGE} bytes and contents of {config.max_content}")
        self._python = wanted.image == sandbox.python_image
        needed = not self._python and not sandbox.compiled(wanted.image)
        self.weight = Weight.COMPILE if needed and context.contents.has(wanted.image) else Weight.FREE

    async def run(self) -> Reply:
        """Say what is missing, or compile the image."""
        wanted, context, sandbox = self._wanted, self._context, self._compute.sandbox
        contents = [(each, size) for each, size in ((wanted.bundle, wanted.bundle_size), *wanted.contents) if each]
        if not self._python and not sandbox.compiled(wanted.image):
            if (why := self._compute.failed.get(wanted.image)) is not None:
                raise Refused("guest", why)
            contents.append((wanted.image, wanted.image_size))
        missing = await self._missing(contents)
        for each, size in missing:
            context.want(each, size, wanted.job)
        if missing:
            return Reply(encode_body(Prepared([each for each, _ in missing], 0)))
        return await self._compile()

    async def _missing(self, contents: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        """Those of the contents that are not here. A few at a time, and buyers in turn: a call may name thousands."""
        context = self._context
        found: list[tuple[bytes, int]] = []
        async with self._compute.looks.place(context.buyer):
            for start in range(0, len(contents), LOOKED_AT):
                found += [(each, size) for each, size in contents[start : start + LOOKED_AT] if not context.contents.has(each)]
                await asyncio.sleep(0)
        return found

    async def _compile(self) -> Reply:
        compute, wanted, context = self._compute, self._wanted, self._context
        sandbox = compute.sandbox
        if self._python:
            if not sandbox.compiled(wanted.image):
                self.begun = True
                try:
                    await compute.compile_python()
                except GuestFault as fault:
                    raise InternalFault(f"the Python image does not compile: {fault.message}") from fault
            return Reply(encode_body(Prepared([], 0)))
        if sandbox.compiled(wanted.image):
            return Reply(encode_body(Prepared([], 0)))
        compute.waste.check(context.buyer)
        amount = compile_amount(context.prices(wanted.job), context.contents.size(wanted.image))
        reserve = await context.cover(Ask(amount, start=amount), 1)
        try:
            return await self._compile_covered(amount, reserve)
        except BaseException:
            reserve.release()
            raise

    async def _compile_covered(self, amount: int, reserve: Reserve) -> Reply:
        compute, wanted, context = self._compute, self._wanted, self._context
        sandbox = compute.sandbox
        started = time.monotonic()
        self.begun = True
        path = context.contents.path(wanted.image)
        size = context.contents.size(wanted.image)
        try:
            with context.contents.pinned(wanted.image):
                compiled = await sandbox.compile(path, image=wanted.image)
        except GuestFault as fault:
            compute.waste.add(context.buyer, time.monotonic() - started)
            compute.failed[wanted.image] = fault.message
            while len(compute.failed) > MAX_FAILED:
                compute.failed.popitem(last=False)
            raise Refused("guest", fault.message) from fault
        compute.ready(wanted.image)
        claim = None
        if compiled.seconds and amount:
            claim = Claim(ReceiptKind.COMPILE, wanted.image, sandbox.engine, size, amount)
        return Reply(encode_body(Prepared([], round(compiled.seconds * 1000))), claim, reserve=reserve)
