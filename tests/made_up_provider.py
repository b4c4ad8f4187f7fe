"""A provider in memory for the buyer's tests: real messages, real signatures, real channel rules, a made-up sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from made_up_units import Ran, run_python
from made_up_wire import Wire
from surge.buyer.auditor import Party
from surge.core import canonical, values
from surge.core.channels import ProviderChannel
from surge.core.eip712 import channels_domain
from surge.core.exposure import Standing, begin, released, vouched
from surge.core.messages import (
    Acknowledge,
    Answer,
    Call,
    Cancel,
    ChannelOpened,
    Chunk,
    NewPrices,
    OpenChannel,
    Output,
    Prepared,
    Received,
    Refusal,
    Reprice,
    SignedReceipt,
    UnitDone,
    Vouched,
    decode_for_provider,
    decode_prepare,
    decode_run_unit,
    decode_setup,
    encode,
    encode_body,
)
from surge.core.messages.fields import MAX_CHUNK, MAX_INLINE, wei, wei_bytes
from surge.core.pricing import Prices, compile_amount, transfer_amount, unit_amount
from surge.core.receipts import ReceiptKind, Signed, Terms, Voucher
from surge.core.types import ZERO, Address
from surge.core.units import PROVABLE, WORLD, Limits, Outcome, Part, Status, billed_fuel, result_hash, unit_id
from surge.errors import Unavailable
from surge.wallet import KeySigner

DOMAIN = channels_domain(31337, Address("0x" + "11" * 20))
ENGINE = b"e" * 32
IMAGE = b"i" * 32
PRICES = Prices(gigafuel=10**15, memory=10**9, transfer=10**15, compile=10**12, speed=10**9)
VOUCHER_SECONDS = 0.1
"""How long it waits for a voucher that would cover the next unit."""


@dataclass
class FakeProvider:
    """A provider: `functions` are what units may call, by name."""

    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    cores: int = 1
    window: int = 8
    window_max: int = 64
    prices: Prices = PRICES
    seconds: Callable[[int], float] = lambda count: 0.0
    fuel_each: int = 1000
    engine: bytes = ENGINE
    deposit: int = 10**24
    setup_status: Status = Status.FINISHED
    setup_fuel: int = 5000
    setup_seconds: float = 0.0
    setups_need_room: bool = False
    """Whether setups take a place in the window even when they are there."""
    knows_image: bool = True
    mangle: Callable[[FakeProvider, Any], Any] = lambda provider, message: message
    """Changes, or drops (None), every message before it is sent."""
    silent: bool = False
    covers: int | None = None
    """Fuel of a unit that it does before it is paid; None for any. Four times as much once the floor was raised."""
    covers_units: int | None = None
    """Units that it does before they are paid, however large its window is; None for any."""
    floor: int = 10**12
    greedy: bool = False
    """Whether it says that nothing is covered however high the floor is."""
    command: Callable[[list[str], list[list[str]], bytes], Ran] | None = None

    def __post_init__(self) -> None:
        self.signer = KeySigner.random()
        self.signer_of_receipts = self.signer
        self.session = KeySigner.random()
        self.buyer = KeySigner.random().address
        self.channel_id = hashlib.sha256(self.signer.address.encode()).digest()
        self.channel = ProviderChannel(DOMAIN, self.channel_id, self.buyer, self.signer.address, self.session.address, self.deposit)
        self.standing = Standing(window=self.window)
        self.kept: dict[bytes, Answer] = {}
        self.outputs: dict[bytes, bytes] = {}
        """Of those answers whose output follows them."""
        self.blobs: dict[bytes, bytes] = {}
        self.snapshots: set[bytes] = set()
        self.ran: list[bytes] = []
        self.setups: list[int] = []
        """Fuel limits under which setups were asked for."""
        self.refused: list[str] = []
        self.job_prices: dict[bytes, Prices] = {}
        self.quote: Prices | None = None
        """What it asks for a job after its first unit, as providers do."""
        self.quotes_early = False
        """Whether it asks before that."""
        self.quoted: set[bytes] = set()
        self.wires: list[Wire] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.dials = 0
        self.reachable = True
        self.draining = False
        self.acknowledged: list[tuple[int, bool]] = []
        self._in_line = 0
        """Units that wait for cover."""
        self._one_setup = asyncio.Lock()
        self._cores = asyncio.Semaphore(self.cores)
        self._cancelled: set[int] = set()
        self._terms: Terms | None = None
        self._uploads: dict[int, bytearray] = {}
        self._wanted: set[bytes] = set()
        """Contents that it asked for and does not have."""
        self._under_way: dict[bytes, tuple[Wire, Call]] = {}

    @property
    def device(self) -> Address:
        return self.signer.address

    @property
    def busy(self) -> bool:
        """Whether it is still at a unit that it was asked for."""
        return bool(self._under_way)

    def party(self) -> Party:
        return Party(self.channel_id, self.device, self.buyer, DOMAIN)

    def terms(self) -> Terms:
        return Terms(self.channel_id, ZERO, b"o" * 32, self.engine, self.prices, self.window, 3600, 3600)

    async def dial(self) -> Wire:
        self.dials += 1
        if not self.reachable:
            raise Unavailable("nobody answers")
        mine, theirs = Wire.pair()
        self.wires.append(mine)
        self._spawn(self._serve(mine))
        return theirs

    def cut(self) -> None:
        """Break every session."""
        for wire in self.wires:
            wire.cut()
        self.wires.clear()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _say(self, wire: Wire, message: Any) -> None:
        changed = self.mangle(self, message)
        if changed is None or self.silent:
            return
        try:
            await wire.send(changed if isinstance(changed, bytes) else encode(changed))
        except Unavailable:
            return

    async def _serve(self, wire: Wire) -> None:
        while True:
            try:
                message = decode_for_provider(await wire.receive())
            except Unavailable:
                return
            if isinstance(message, OpenChannel):
                await self._open(wire, message)
            elif isinstance(message, Call):
                await self._call(wire, message)
            elif isinstance(message, Cancel):
                self._cancelled.add(message.id)
            elif isinstance(message, Chunk):
                await self._chunk(wire, message)
            elif isinstance(message, Acknowledge):
                voucher = Voucher(self.channel_id, wei(message.amount), message.count, message.root)
                answers = self.channel.acknowledge(message.entries, voucher, message.signature)
                self.acknowledged += message.entries
                self._forget({sequence for sequence, _ in message.entries})
                self.standing = vouched(self.standing, len(answers), self.window_max)
                await self._say(wire, Vouched(voucher.count, self.standing.window))
            elif isinstance(message, Reprice):
                terms = Terms.decode(message.terms)
                self.job_prices[terms.job] = terms.prices

    def _forget(self, answered: set[int]) -> None:
        """A unit whose receipt was answered is run anew by whoever asks for it."""
        for unit, kept in list(self.kept.items()):
            if kept.receipt is not None and kept.receipt.kind == ReceiptKind.UNIT and kept.receipt.sequence in answered:
                del self.kept[unit]
                self.outputs.pop(unit, None)

    async def _open(self, wire: Wire, message: OpenChannel) -> None:
        terms = Terms.decode(message.terms)
        self._terms = terms
        channel = self.channel
        pending = [self._wire_receipt(each.signed) for each in channel.pending.values()]
        signature = self.signer.sign(terms.digest(DOMAIN))
        opened = ChannelOpened(
            self.channel_id, signature, channel.log.size, channel.log.root(), wei_bytes(channel.amount),
            self.standing.window, pending,
        )  # fmt: skip
        await self._say(wire, opened)

    @staticmethod
    def _wire_receipt(signed: Signed) -> SignedReceipt:
        receipt = signed.receipt
        return SignedReceipt(
            receipt.kind, receipt.sequence, receipt.subject, receipt.result, receipt.quantity,
            wei_bytes(receipt.amount), receipt.finished_at, signed.signature,
        )  # fmt: skip

    def issue(self, kind: ReceiptKind, subject: bytes, result: bytes, quantity: int, amount: int) -> SignedReceipt:
        receipt = self.channel.issue(kind, subject, result, quantity, amount, int(time.time()))
        digest = receipt.digest(DOMAIN)
        signed = Signed(receipt, self.signer_of_receipts.sign(digest))
        self.channel.issued(signed, digest)
        return self._wire_receipt(signed)

    async def _refuse(self, wire: Wire, number: int, code: str, text: str, **details: Any) -> None:
        self.refused.append(code)
        await self._say(wire, Refusal(number, code, text, canonical.encode(details) if details else b""))

    async def _call(self, wire: Wire, call: Call) -> None:
        if call.method == "prepare":
            await self._prepare(wire, call)
        elif call.method == "setup":
            await self._setup(wire, call)
        else:
            self._spawn(self._run(wire, call))

    async def _prepare(self, wire: Wire, call: Call) -> None:
        body = decode_prepare(call.body)
        missing = []
        if body.bundle and body.bundle not in self.blobs:
            missing.append(body.bundle)
        if body.image_size and not self.knows_image and body.image not in self.blobs:
            missing.append(body.image)
        missing += [content for content, _ in body.contents if content not in self.blobs]
        self._wanted |= set(missing)
        receipt = None
        if body.image_size and not missing and not self.knows_image:
            self.knows_image = True
            amount = compile_amount(self.prices, body.image_size)
            receipt = self.issue(ReceiptKind.COMPILE, body.image, self.engine, body.image_size, amount)
        await self._say(wire, Answer(call.id, encode_body(Prepared(missing, 0)), receipt, 0))

    async def _chunk(self, wire: Wire, chunk: Chunk) -> None:
        if chunk.offset == 0 and chunk.content not in self._wanted:
            return await self._refuse(wire, chunk.id, "unknown", "nobody asked for it")
        if chunk.offset and chunk.id not in self._uploads:
            return None
        data = self._uploads.setdefault(chunk.id, bytearray())
        assert chunk.offset == len(data)
        data += chunk.data
        if chunk.last:
            content = bytes(self._uploads.pop(chunk.id))
            self._wanted.discard(chunk.content)
            assert hashlib.sha256(content).digest() == chunk.content
            self.blobs[chunk.content] = content
            amount = transfer_amount(self.prices, len(content))
            receipt = self.issue(ReceiptKind.TRANSFER, chunk.content, chunk.content, len(content), amount)
            await self._say(wire, Received(chunk.id, chunk.content, receipt))

    async def _setup(self, wire: Wire, call: Call) -> None:
        async with self._one_setup:
            await self._set_up(wire, call)

    async def _set_up(self, wire: Wire, call: Call) -> None:
        body = decode_setup(call.body)
        limits = body.limits.limits()
        spec_id = self._unit_id(body, b"", hashlib.sha256(b"").digest(), limits)
        self.setups.append(limits.fuel)
        if self.setups_need_room and begin(self.standing) is None:
            return await self._refuse(wire, call.id, "window", "the window is full")
        if spec_id in self.kept:
            await self._say(wire, self._again(call.id, spec_id))
            return
        if self.setup_status not in PROVABLE:
            return await self._refuse(wire, call.id, "local", "the setup ended locally", status=self.setup_status.name)
        cached = body.bundle in self.snapshots
        if not cached:
            self.standing = begin(self.standing) or self.standing
        await asyncio.sleep(self.setup_seconds)
        if not cached and self.setup_fuel > limits.fuel:
            ran = Ran(Status.OUT_OF_FUEL, fuel=limits.fuel)
            return await self._answer(wire, call, body, spec_id, limits, ran, ReceiptKind.SETUP, 0)
        if self.setup_status is Status.FINISHED:
            self.snapshots.add(body.bundle)
        ran = Ran(self.setup_status, fuel=self.setup_fuel, stderr=b"" if self.setup_status is Status.FINISHED else b"no such module")
        await self._answer(wire, call, body, spec_id, limits, ran, ReceiptKind.SETUP, 0, state=b"s" * 32, free=cached)

    def _unit_id(self, body: Any, entry: bytes, items: bytes, limits: Limits) -> bytes:
        from surge.core.units import UnitSpec

        spec = UnitSpec(WORLD, self.engine, body.image, body.bundle or None, body.setup, entry, items, limits, body.salt)
        return unit_id(spec)

    def _again(self, number: int, unit: bytes) -> Answer:
        kept = self.kept[unit]
        return Answer(number, kept.body, kept.receipt, kept.output)

    async def _run(self, wire: Wire, call: Call) -> None:
        body = decode_run_unit(call.body)
        data = self.blobs[body.content] if body.content else body.items
        limits = body.limits.limits()
        unit = self._unit_id(body, body.entry, hashlib.sha256(data).digest(), limits)
        if unit in self.kept:
            await self._say(wire, self._again(call.id, unit))
            await self._send_output(wire, call.id, self.outputs.get(unit, b""))
            return
        if unit in self._under_way:
            self._under_way[unit] = (wire, call)
            return
        if self.draining:
            return await self._refuse(wire, call.id, "draining", "going home")
        if self.quote is not None and (self.quotes_early or body.job in self.quoted) and body.job not in self.job_prices:
            await self._quote(wire, body.job, self.quote)
            return await self._refuse(wire, call.id, "price", "this job has new prices")
        began = begin(self.standing)
        if began is None:
            return await self._refuse(wire, call.id, "window", "the window is full")
        self.standing = began
        prices = self.job_prices.get(body.job, self.prices)
        if self.silent:
            return
        if self.covers is not None and body.expected > self.covers:
            self.standing = released(self.standing)
            covered = unit_amount(prices, self.covers, limits.memory, 0)
            return await self._refuse(wire, call.id, "cover", "not covered", covered=covered, floor=self.floor, fuel=0)
        if not await self._is_covered():
            self.standing = released(self.standing)
            return await self._refuse(wire, call.id, "cover", "not covered", covered=0, floor=self.floor, fuel=0)
        self._under_way[unit] = (wire, call)
        async with self._cores:
            ran = self._execute(body, data)
            self.ran.append(unit)
            seconds = self.seconds(1 if self.command else len(values.loads(data)))
            if seconds:
                await asyncio.sleep(seconds)
            ran.seconds = ran.seconds or seconds
        wire, call = self._under_way.pop(unit)
        if ran.local:
            self.standing = released(self.standing)
            return await self._refuse(wire, call.id, "local", f"the unit ended as {ran.local}", status=ran.local)
        if self.covers is not None and (ran.fuel > self.covers or self.greedy):
            self.standing = released(self.standing)
            return await self._refuse(wire, call.id, "cover", "stopped", covered=0, floor=self.floor, fuel=self.covers)
        moved = 0 if body.content else len(data)
        if self.quote is not None and body.job not in self.quoted:
            await self._quote(wire, body.job, self.quote)
        await self._answer(wire, call, body, unit, limits, ran, ReceiptKind.UNIT, moved, prices=prices)

    async def _is_covered(self) -> bool:
        """Whether another unit may begin: it waits while others run, and a moment for a voucher, as providers do."""
        if self.covers_units is None:
            return True
        self._in_line += 1
        until = time.monotonic() + VOUCHER_SECONDS
        try:
            while self.standing.outstanding - self._in_line >= self.covers_units:
                if self._under_way:
                    until = time.monotonic() + VOUCHER_SECONDS
                elif time.monotonic() > until:
                    return False
                await asyncio.sleep(0.01)
        finally:
            self._in_line -= 1
        return True

    async def _quote(self, wire: Wire, job: bytes, prices: Prices) -> None:
        self.quoted.add(job)
        terms = Terms(self.channel_id, job, b"o" * 32, self.engine, prices, self.window, 3600, 3600)
        await self._say(wire, NewPrices(terms.encode(), self.signer.sign(terms.digest(DOMAIN))))

    def _execute(self, body: Any, data: bytes) -> Ran:
        if self.command is not None:
            argv, env, _ = canonical.decode(body.entry)
            return self.command(argv, env, data)
        name, style, first, _ = canonical.decode(body.entry)
        ran = run_python(self.functions[name], style, first, data, self.fuel_each)
        if ran.status is Status.FINISHED and ran.fuel > body.limits.fuel:
            return Ran(Status.OUT_OF_FUEL, fuel=body.limits.fuel)
        return ran

    async def _answer(
        self, wire: Wire, call: Call, body: Any, unit: bytes, limits: Limits, ran: Ran, kind: ReceiptKind, moved: int,
        *, state: bytes = b"", free: bool = False, prices: Prices | None = None,
    ) -> None:  # fmt: skip
        blob = ran.value + ran.stdout + ran.stderr
        fuel = billed_fuel(ran.status, ran.fuel, limits)
        outcome = Outcome(ran.status, ran.exit_code, Part.of(ran.value), Part.of(ran.stdout), Part.of(ran.stderr), (), state, fuel)
        amount = unit_amount(prices or self.job_prices.get(body.job, self.prices), fuel, limits.memory, moved + len(blob))
        receipt = None if free else self.issue(kind, unit, result_hash(outcome), fuel, amount)
        inline = len(blob) <= MAX_INLINE
        done = UnitDone.of(outcome, ran.seconds, blob if inline else b"", "")
        answer = Answer(call.id, encode_body(done), receipt, 0 if inline else len(blob))
        self.kept[unit] = answer
        await self._say(wire, answer)
        if not inline:
            self.outputs[unit] = blob
            await self._send_output(wire, call.id, blob)

    async def _send_output(self, wire: Wire, number: int, blob: bytes) -> None:
        for at in range(0, len(blob), MAX_CHUNK):
            piece = blob[at : at + MAX_CHUNK]
            await self._say(wire, Output(number, at, piece, at + len(piece) == len(blob)))
