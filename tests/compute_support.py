"""What tests of the compute service share: a buyer that audits what it is given, and a device with real workers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from provider_support import DEVICE, NETWORK, Bench, Client, until
from surge.buyer.auditor import Asked, Party, audit, audit_compile, audit_transfer
from surge.core.messages import Answer, Prepare, Received, RunUnit, decode_prepared, decode_unit_done, encode_body
from surge.core.messages.compute import LimitsField
from surge.core.receipts import ReceiptKind
from surge.core.units import WORLD, Limits, UnitSpec, unit_id
from surge.provider.compute import Compute
from surge.provider.config import ProviderConfig
from surge.provider.daemon import Provider
from surge.sandbox import Sandbox

SALT, JOB = b"\x05" * 32, b"\x06" * 32
LIMITS = Limits(memory=64 << 20, fuel=10**10, wall_ms=20_000, output=8 << 20)


class Buyer(Client):
    """A buyer of compute."""

    sandbox: Sandbox
    provider: Provider

    @property
    def party(self) -> Party:
        return Party(self.channel, DEVICE.address, self.buyer, NETWORK.channels_domain)

    async def prepare(self, image: bytes, contents: dict[bytes, bytes], bundle: bytes = b"") -> int:
        """Bring a job to the device, paying for it; Wei paid."""
        sizes = {each: len(data) for each, data in contents.items()}
        others = [(each, size) for each, size in sizes.items() if each not in (image, bundle)]
        body = encode_body(Prepare(JOB, image, sizes.get(image, 0), bundle, sizes.get(bundle, 0), others))
        prices, paid = self.terms_agreed.prices, 0
        while True:
            answer = await self.ask(body, "prepare", "compute")
            assert isinstance(answer, Answer), answer
            if answer.receipt is not None:
                receipt, _ = audit_compile(answer.receipt, image, self.sandbox.engine, sizes[image], prices, self.party)
                paid += receipt.amount
                await self.acknowledge(answer.receipt)
            missing = decode_prepared(answer.body).missing
            if not missing:
                return paid
            for each in missing:
                received = await self.upload(contents[each])
                assert isinstance(received, Received), received
                assert received.receipt is not None
                receipt, _ = audit_transfer(received.receipt, each, sizes[each], prices, self.party)
                paid += receipt.amount
                await self.acknowledge(received.receipt)

    def spec(self, image: bytes, entry: bytes, items: bytes, bundle: bytes = b"", setup: bytes = b"", limits: Limits = LIMITS) -> UnitSpec:
        return UnitSpec(WORLD, self.sandbox.engine, image, bundle or None, setup, entry, hashlib.sha256(items).digest(), limits, SALT)

    async def run(
        self,
        image: bytes,
        entry: bytes,
        items: bytes,
        *,
        bundle: bytes = b"",
        setup: bytes = b"",
        content: bytes = b"",
        limits: Limits = LIMITS,
    ) -> tuple[Any, bytes]:
        """Run a unit, audit it, pay for it: (outcome, output)."""
        body = RunUnit(JOB, image, bundle, setup, entry, b"" if content else items, content, LimitsField.of(limits), SALT)
        number = await self.call(encode_body(body), "run", "compute")
        answer = await self.answer(number)
        assert isinstance(answer, Answer), answer
        done = decode_unit_done(answer.body)
        subject = unit_id(self.spec(image, entry, items, bundle, setup, limits))
        asked = Asked(ReceiptKind.UNIT, subject, limits, self.terms_agreed.prices, 0 if content else len(items))
        assert answer.receipt is not None
        outcome = audit(asked, done.outcome(), answer.receipt, self.party).outcome
        if answer.output:
            await until(lambda: len(self.outputs.get(number, b"")) == answer.output, 30)
        blob = bytes(self.outputs[number]) if answer.output else done.output
        await self.acknowledge(answer.receipt)
        return outcome, blob


@asynccontextmanager
async def device(folder: Path, cache: Path | None = None, **config: Any) -> AsyncIterator[Buyer]:
    settings = ProviderConfig(earnings_seconds=0.5, drain_seconds=5.0, memory=1 << 30, **config)
    sandbox = Sandbox(cache or folder / "cache", workers=1, memory=1 << 30)
    bench = Bench(folder, config=settings)
    compute = Compute(sandbox, folder / "compute", settings)
    if cache is None:
        compute._compile_python = nothing  # type: ignore[method-assign]
    bench.services = [compute]
    async with bench.running() as provider:
        buyer = Buyer(bench)
        buyer.sandbox, buyer.provider = sandbox, provider
        await buyer.open()
        yield buyer


async def nothing() -> None:
    """In place of compiling the Python image where no test needs it."""
