"""The dispute package: what a juror needs to run a unit again, and to know that it is the unit in dispute.

The court's case names a receipt by its digest. The receipt names the unit by its id, a hash over all that the unit is a function of, and
those name code and input by their hashes. So nobody can have a juror run something else, and a package needs no signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from surge.core import canonical
from surge.core.receipts import FUELLED, Receipt, ReceiptKind
from surge.core.types import MAX_WEI
from surge.core.units import WORLD, Limits, UnitSpec, unit_id
from surge.errors import InvalidInput, PeerFault

VERSION: Final = "surge dispute package 1"

MAX_PACKAGE: Final = 127 << 20
"""Bytes of a package: it fits an envelope, and a juror holds it in memory a few times over."""

MAX_DESCRIPTION: Final = 256 << 10
"""Bytes of a unit's setup and of its entry, as messages bound them, and room."""

NOTHING: Final = hashlib.sha256(b"").digest()
"""The hash of no input, which no package carries."""


@dataclass(frozen=True, slots=True)
class CasePackage:
    """A unit with its code and input, the receipt for it, and what the opener says came out instead."""

    unit: UnitSpec
    """What was to be run."""
    receipt: Receipt
    """What the accused device stated."""
    result: bytes
    """32 bytes: the opener's claim of the result."""
    fuel: int
    """Its claim of the fuel."""
    contents: Mapping[bytes, bytes]
    """Bundle, input and module, by SHA-256: those that the unit needs, and no others. The pinned Python image is only named."""

    @property
    def is_setup(self) -> bool:
        """Whether what was run is a job's setup."""
        return self.receipt.kind == ReceiptKind.SETUP

    def encode(self) -> bytes:
        """Canonical bytes. Raises `InvalidInput` where they would be more than a package may be."""
        unit = self.unit
        data = canonical.encode(
            [
                VERSION,
                [
                    *(unit.world, unit.engine, unit.image, unit.bundle, unit.setup),
                    *(unit.entry, unit.items, unit.limits.fields(), unit.salt),
                ],
                self.receipt.encode(),
                self.result,
                self.fuel,
                [self.contents[digest] for digest in wanted(unit, setup=self.is_setup)],
            ]
        )
        if len(data) > MAX_PACKAGE:
            raise InvalidInput(f"the unit's code and input are {len(data)} bytes; at most {MAX_PACKAGE} can be disputed", size=len(data))
        return data


def wanted(unit: UnitSpec, *, setup: bool) -> list[bytes]:
    """The contents that running a unit needs, each once: its bundle, its input unless it is a setup, its module unless that is pinned."""
    found = [unit.bundle, None if setup else unit.items, None if unit.setup else unit.image]
    return list(dict.fromkeys(each for each in found if each is not None and each != NOTHING))


def decode(data: bytes) -> CasePackage:
    """The package in canonical bytes, which come from a stranger. Raises `PeerFault`.

    1. It is well formed, and within its bounds.
    2. Its receipt is for a unit or a setup, and for this unit.
    3. Its contents are those that the unit names, and no others.
    """
    if len(data) > MAX_PACKAGE:
        raise PeerFault(f"a dispute package of {len(data)} bytes is larger than {MAX_PACKAGE}", size=len(data))
    try:
        # 1
        version, fields, receipt_bytes, result, fuel, parts = _row(canonical.decode(data), (str, list, bytes, bytes, int, list))
        if version != VERSION:
            raise InvalidInput(f"it is of version {version[:80]!r}")
        unit, receipt = _unit(fields), Receipt.decode(receipt_bytes)
        if len(result) != 32 or not 0 <= fuel <= MAX_WEI:
            raise InvalidInput("its claim is no result and fuel")
    except (InvalidInput, TypeError, ValueError) as error:
        raise PeerFault(f"a dispute package cannot be read: {error}") from error
    # 2
    setup = receipt.kind == ReceiptKind.SETUP
    if receipt.kind not in FUELLED or unit_id(unit) != receipt.subject or unit.world != WORLD:
        raise PeerFault("a dispute package's receipt is for something else than its unit", subject=receipt.subject)
    if setup and (unit.entry or unit.items != NOTHING or not unit.setup):
        raise PeerFault("a dispute package's setup has an entry or an input")
    # 3
    names = wanted(unit, setup=setup)
    if len(parts) != len(names) or any(type(part) is not bytes for part in parts):
        raise PeerFault(f"a dispute package holds {len(parts)} contents where its unit names {len(names)}")
    contents = dict(zip(names, parts, strict=True))
    for digest, part in contents.items():
        if hashlib.sha256(part).digest() != digest:
            raise PeerFault("a content of a dispute package is not what its unit names", digest=digest)
    return CasePackage(unit, receipt, result, fuel, contents)


def _row(value: Any, kinds: tuple[type, ...]) -> list[Any]:
    if (
        not isinstance(value, list)
        or len(value) != len(kinds)
        or any(type(each) is not kind for each, kind in zip(value, kinds, strict=True))
    ):
        raise InvalidInput("a field is missing or of another kind")
    return value


def _unit(fields: list[Any]) -> UnitSpec:
    if len(fields) != 9 or not isinstance(fields[3], bytes | None):
        raise InvalidInput("its unit has other fields")
    bundle = fields[3]
    world, engine, image, _, setup, entry, items, limits, salt = _row(
        [*fields[:3], b"", *fields[4:]], (str, bytes, bytes, bytes, bytes, bytes, bytes, list, bytes)
    )
    if any(len(each) != 32 for each in (engine, image, items, salt, *(() if bundle is None else (bundle,)))):
        raise InvalidInput("its unit's hashes are 32 bytes each")
    if max(len(setup), len(entry)) > MAX_DESCRIPTION:
        raise InvalidInput("its unit's setup or entry is too long")
    return UnitSpec(world, engine, image, bundle, setup, entry, items, Limits(*_row(limits, (int,) * 5)), salt)
