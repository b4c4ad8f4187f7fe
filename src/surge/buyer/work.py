"""Turning a run of items into the unit that a provider is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from surge.buyer.auditor import Asked
from surge.buyer.plan import Plan
from surge.core import canonical, values
from surge.core.messages import RunUnit, Setup, encode_body
from surge.core.messages.compute import LimitsField
from surge.core.messages.fields import MAX_INLINE
from surge.core.pricing import Prices
from surge.core.receipts import ReceiptKind
from surge.core.units import Limits, unit_id
from surge.errors import InternalFault

NOTHING = hashlib.sha256(b"").digest()
"""The hash of no input."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit ready to be asked for."""

    id: bytes
    """32 bytes."""
    body: bytes
    """Of the call."""
    asked: Asked
    """What its receipt must answer to."""
    content: bytes | None
    """The SHA-256 of its input, where that is too large to travel in the call and is uploaded first."""
    data: bytes
    """The input."""


def command_item(argv: Sequence[str], env: Sequence[tuple[str, str]], stdin: bytes) -> bytes:
    """One run of a command, as the spool keeps it."""
    return canonical.encode([list(argv), [list(pair) for pair in env], stdin])


def join(items: Sequence[bytes]) -> bytes:
    """The value bytes of the list of these values, each encoded alone: version byte, list head, the items' bodies."""
    count = len(items)
    if count < 24:
        head = bytes((values.VERSION, 0x80 | count))
    else:
        width = next(width for width in (1, 2, 4, 8) if count < 1 << 8 * width)
        head = bytes((values.VERSION, 0x97 + width.bit_length())) + count.to_bytes(width, "big")
    return head + b"".join([item[1:] for item in items])


def unit_input(plan: Plan, first: int, items: Sequence[bytes]) -> tuple[bytes, bytes]:
    """(entry, input bytes) of the unit over these items, the first of which has this index."""
    if plan.is_python:
        return plan.entry(first), join(items)
    if len(items) != 1:
        raise InternalFault("a unit of a command is one run")
    argv, env, stdin = canonical.decode(items[0])
    return canonical.encode([argv, env, first]), stdin


def make_unit(plan: Plan, engine: bytes, first: int, items: Sequence[bytes], limits: Limits, prices: Prices) -> Unit:
    """The unit over these items under these limits, for a device with this engine, at these prices."""
    entry, data = unit_input(plan, first, items)
    digest = hashlib.sha256(data).digest()
    inline = len(data) <= MAX_INLINE
    subject = unit_id(plan.spec(engine, entry, digest, limits))
    body = RunUnit(
        job=plan.id,
        image=plan.image,
        bundle=plan.bundle or b"",
        setup=plan.setup,
        entry=entry,
        items=data if inline else b"",
        content=b"" if inline else digest,
        limits=LimitsField.of(limits),
        salt=plan.salt,
    )
    asked = Asked(ReceiptKind.UNIT, subject, limits, prices, len(data) if inline else 0)
    return Unit(subject, encode_body(body), asked, None if inline else digest, data)


def make_setup(plan: Plan, engine: bytes, limits: Limits, prices: Prices) -> tuple[bytes, Asked]:
    """(call body, what its receipt must answer to) of a job's setup on a device with this engine."""
    subject = unit_id(plan.spec(engine, b"", NOTHING, limits))
    body = Setup(
        job=plan.id,
        image=plan.image,
        bundle=plan.bundle or b"",
        setup=plan.setup,
        limits=LimitsField.of(limits),
        salt=plan.salt,
    )
    return encode_body(body), Asked(ReceiptKind.SETUP, subject, limits, prices, 0)
