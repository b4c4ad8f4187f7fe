"""A service that does what it is told, for the provider's tests."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

from surge.core import canonical
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.types import ZERO
from surge.provider.service import Claim, Context, Description, Order, Refused, Reply, Weight

ENGINE = b"\x01" * 32
PRICE = 1000
"""Wei of one unit."""


class Work:
    """An order of the made-up service. Its body is canonical: [what, number, job, size]."""

    def __init__(self, service: Works, method: str, body: bytes, context: Context) -> None:
        what, number, job, size = canonical.decode(body)
        self.service, self.context, self.what, self.number, self.size, self.job = service, context, what, number, size, job
        self.weight = {"free": Weight.FREE, "compile": Weight.COMPILE}.get(method, Weight.UNIT)
        self.subject = None if self.weight is not Weight.UNIT else hashlib.sha256(body).digest()
        self.begun = False
        self.lasting = method == "lasting"

    async def run(self) -> Reply:
        service = self.service
        service.runs.append(self.number)
        if self.what in ("gate", "begun"):
            self.begun = self.what == "begun"
            await service.gate.wait()
            self.begun = True
        if self.what == "local":
            raise Refused("local", "it took too long", status="WALL_TIME")
        if self.what == "bug":
            raise ZeroDivisionError
        if self.what == "want":
            self.context.want(self.job, self.size, ZERO)
        if self.what == "quote":
            prices = self.context.prices(self.job)
            self.context.quote(self.job, replace(prices, gigafuel=prices.gigafuel * 4))
        if self.weight is Weight.FREE:
            return Reply(b"free")
        kind = ReceiptKind.COMPILE if self.weight is Weight.COMPILE else ReceiptKind.UNIT
        subject = self.subject or bytes(32)
        price = PRICE * self.context.prices(self.job).gigafuel // 10**15
        claim = Claim(kind, subject, hashlib.sha256(subject).digest(), 5, price)
        if not self.size:
            return Reply(b"done %d" % self.number, claim)
        path = service.folder / f"out-{self.number}"
        path.write_bytes(bytes(self.size))
        return Reply(b"done %d" % self.number, claim, path, self.size)


class Works:
    """A service that does what it is told."""

    name = "works"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = asyncio.Event()
        self.runs: list[int] = []
        self.answers: list[tuple[bytes, bool]] = []
        self.started = self.closed = 0

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None:
        self.closed += 1

    def describe(self) -> Description:
        return Description(ENGINE, "engine", (), 10**9)

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        if method not in ("run", "free", "compile"):
            raise Refused("unknown", f"no method {method}")
        return Work(self, method, body, context)

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        self.answers.append((receipt.subject, accepted))


def work(what: str = "", number: int = 0, job: bytes = ZERO, size: int = 0) -> bytes:
    """The body of a call of `Works`."""
    return canonical.encode([what, number, job, size])
