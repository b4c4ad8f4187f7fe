"""Turning a run of items into the unit that a provider is asked for."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from surge.buyer.auditor import Asked
from surge.buyer.plan import Plan
from surge.core import canonical, values
from surge.core.messages import RunUnit, Setup, encode_body
from surge.core.messages.compute import LimitsField
from surge.core.messages.fields import MAX_INLINE
from surge.core.pricing import Prices
from surge.core.receipts import ReceiptKind
from surge.core.storage.stored import StoredPart, parts_in
from surge.core.units import Limits, unit_id

_LENGTH = struct.Struct(">I")

_BYTES, _LIST = 0x40, 0x80
"""First bytes of values, to which the length is added."""

LARGE_ITEM = 1 << 16
"""Bytes of a unit's items, on average, beyond which they are not copied into one piece."""

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
    parts: Sequence[bytes | memoryview]
    """The input, in parts."""
    size: int
    """Bytes of the input."""
    stored: tuple[StoredPart, ...] = ()
    """The stored files that it reads."""


def command_item(argv: Sequence[str], env: Sequence[tuple[str, str]], stdin: bytes) -> bytes:
    """One run of a command, as the spool keeps it: a length, arguments and environment in canonical bytes, standard input."""
    said = canonical.encode(list(argv)) + canonical.encode([list(pair) for pair in env])
    return _LENGTH.pack(len(said)) + said + stdin


def join(items: Sequence[bytes]) -> bytes:
    """The value bytes of the list of these values, each encoded alone: version byte, list head, the items' bodies."""
    return _head(_LIST, len(items)) + b"".join([item[1:] for item in items])


def bytes_value(data: bytes) -> bytes:
    """The value bytes of bytes, which may be large: copied once."""
    return b"".join((_head(_BYTES, len(data)), data))


def _head(kind: int, count: int) -> bytes:
    if count < 24:
        return bytes((values.VERSION, kind | count))
    width = next(width for width in (1, 2, 4, 8) if count < 1 << 8 * width)
    return bytes((values.VERSION, kind + 23 + width.bit_length())) + count.to_bytes(width, "big")


def unit_input(plan: Plan, first: int, items: Sequence[bytes]) -> tuple[bytes, bytes]:
    """(entry, input bytes) of the unit over these items, the first of which has this index."""
    if plan.is_python:
        return plan.entry(first, parts_in(items)), join(items)
    entry, parts = _in_parts(plan, first, items)
    return entry, bytes(parts[0])


def _in_parts(plan: Plan, first: int, items: Sequence[bytes]) -> tuple[bytes, Sequence[bytes | memoryview]]:
    """`unit_input` without a copy: the input in parts."""
    if plan.is_python:
        return plan.entry(first, parts_in(items)), [_head(_LIST, len(items)), *(memoryview(item)[1:] for item in items)]
    (item,) = items
    end = _LENGTH.size + _LENGTH.unpack_from(item)[0]
    return b"\x83" + item[_LENGTH.size : end] + canonical.encode(first), [memoryview(item)[end:]]


@lru_cache(maxsize=256)
def _fixed(plan: Plan, engine: bytes, limits: Limits) -> tuple[bytes, bytes]:
    """What the canonical bytes of all units of a job under these limits begin and end with."""
    spec = plan.spec(engine, b"", b"", limits)
    before = [spec.world, spec.engine, spec.image, spec.bundle, spec.setup]
    after = [spec.limits.fields(), spec.salt]
    return b"\x89" + b"".join(map(canonical.encode, before)), b"".join(map(canonical.encode, after))


def quick_unit_id(plan: Plan, engine: bytes, entry: bytes, items: bytes, limits: Limits) -> bytes:
    """`core.units.unit_id` of a unit, from what all units of its job share: canonical arrays are their members in a row."""
    before, after = _fixed(plan, engine, limits)
    return hashlib.sha256(before + canonical.encode(entry) + canonical.encode(items) + after).digest()


def make_unit(plan: Plan, engine: bytes, first: int, items: Sequence[bytes], limits: Limits, prices: Prices, expected: int = 0) -> Unit:
    """The unit over these items under these limits, for a device with this engine, at these prices; `expected` is the fuel it may take."""
    parts: Sequence[bytes | memoryview]
    if sum(map(len, items)) > len(items) * LARGE_ITEM:
        entry, parts = _in_parts(plan, first, items)
    else:
        entry, data = unit_input(plan, first, items)
        parts = [data]
    size, digest = sum(map(len, parts)), _hash(parts)
    inline = size <= MAX_INLINE
    subject = quick_unit_id(plan, engine, entry, digest, limits)
    body = RunUnit(
        job=plan.id,
        image=plan.image,
        bundle=plan.bundle or b"",
        setup=plan.setup,
        entry=entry,
        items=b"".join(parts) if inline else b"",
        content=b"" if inline else digest,
        limits=LimitsField.of(limits),
        salt=plan.salt,
        expected=expected,
    )
    asked = Asked(ReceiptKind.UNIT, subject, limits, prices, size if inline else 0)
    return Unit(subject, encode_body(body), asked, None if inline else digest, parts, size, parts_in(items) if plan.is_python else ())


def _hash(parts: Sequence[bytes | memoryview]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.digest()


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
