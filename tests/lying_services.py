"""Real devices that lie about real units: the sandbox runs them, and the answer is changed before it is signed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from surge.core.messages import UnitDone, decode_run_unit, decode_unit_done, encode_body
from surge.core.pricing import unit_amount
from surge.core.units import Outcome, Part, Status, result_hash
from surge.provider.compute import Compute
from surge.provider.service import Claim, Context, Order, Reply

Lie = Callable[[Outcome, bytes], tuple[Outcome, bytes]]
"""Changes an outcome and its output."""


def wrong_output(outcome: Outcome, blob: bytes) -> tuple[Outcome, bytes]:
    """Another value of the same size, that reads as well: small integers differ by one."""
    value = blob[: outcome.value.size]
    changed = value[:-1] + bytes([value[-1] ^ 1])
    return replace(outcome, value=Part.of(changed)), changed + blob[outcome.value.size :]


def more_fuel(outcome: Outcome, blob: bytes) -> tuple[Outcome, bytes]:
    """The right output, at a tenth more."""
    return replace(outcome, fuel=outcome.fuel * 11 // 10), blob


def trapped(outcome: Outcome, blob: bytes) -> tuple[Outcome, bytes]:
    """An ending that is billed whole."""
    return Outcome(Status.TRAPPED, 0, Part.of(b""), Part.of(b""), Part.of(b""), (), b"", 0), b""


class Liar(Compute):
    """Lies about a fraction of its units, from its so manieth on."""

    lie: Lie = staticmethod(wrong_output)
    rate: float = 1.0
    honest_for: int = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.units = 0
        self.lies = 0
        self._draw = random.Random(5)

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        order = super().accept(method, body, context)
        return _Lie(self, order, body, context) if method == "run" else order  # type: ignore[return-value]

    def lies_now(self) -> bool:
        self.units += 1
        lies = self.units > self.honest_for and self._draw.random() < self.rate
        self.lies += lies
        return lies


class Told(Liar):
    """Says what it is told to say, and is honest until it is told something."""

    tell: Callable[[bytes], bytes] | None = None
    """What it says in place of its output."""
    more = 0
    """Fuel that it bills on top."""

    def lies_now(self) -> bool:
        return self.tell is not None

    def lie(self, outcome: Outcome, blob: bytes) -> tuple[Outcome, bytes]:
        assert self.tell is not None
        said, at = self.tell(blob), outcome.value.size
        parts = {"value": Part.of(said[:at]), "stdout": Part.of(said[at : at + outcome.stdout.size])}
        return replace(outcome, fuel=outcome.fuel + self.more, **parts), said


class _Lie:
    """An order whose answer is changed."""

    def __init__(self, liar: Liar, order: Order, body: bytes, context: Context) -> None:
        self._liar, self._order = liar, order
        self._unit = decode_run_unit(body)
        self._prices = context.prices(self._unit.job)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._order, name)

    async def run(self) -> Reply:
        reply = await self._order.run()
        if not self._liar.lies_now():
            return reply
        assert reply.claim is not None
        assert reply.output is None
        done = decode_unit_done(reply.body)
        outcome, blob = self._liar.lie(done.outcome(), done.output)
        limits = self._unit.limits.limits()
        if outcome.status is Status.TRAPPED:
            outcome = replace(outcome, fuel=limits.fuel)
        amount = unit_amount(self._prices, outcome.fuel, limits.memory, len(self._unit.items) + outcome.size())
        claim = Claim(reply.claim.kind, reply.claim.subject, result_hash(outcome), outcome.fuel, amount)
        return Reply(encode_body(UnitDone.of(outcome, done.seconds_us / 1e6, blob, "")), claim, reserve=reply.reserve)


class WrongOutput(Liar):
    """Another result for every unit."""


class MoreFuel(Liar):
    """The right result, billed higher."""

    lie = staticmethod(more_fuel)


class Trapped(Liar):
    """A trap that never was."""

    lie = staticmethod(trapped)


class Turncoat(Liar):
    """Honest for a while, then wrong in every third unit."""

    honest_for = 12
    rate = 0.34
