"""The case file's format: JSON that people can read, decoded strictly because it comes from strangers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from surge.buyer.endings import outcome_of
from surge.core import network as network_format
from surge.core.channels import Answered
from surge.core.network import NetworkFile
from surge.core.receipts import Receipt, Signed, Terms
from surge.core.stack import parse_json
from surge.core.types import MAX_WEI
from surge.core.units import Limits, UnitSpec
from surge.errors import InternalFault, InvalidInput

VERSION = 1
"""The version of the file's format."""

MAX_FILE = 1 << 30
"""Bytes of a case file: its inputs may be large."""

MAX_PATH = 64
"""Hashes in a proof: a log of 2**64 receipts has no longer one."""


@dataclass(frozen=True, slots=True)
class Case:
    """A receipt with everything a stranger needs to check it."""

    network: NetworkFile
    """Where it happened."""
    terms: Terms
    """What was agreed on."""
    signed: Signed
    answer: Answered
    """The buyer's answer and its place in the log."""
    count: int
    """Leaves in the log that was redeemed."""
    root: bytes
    """Its root."""
    path: tuple[bytes, ...]
    """The proof that the answer is in it."""
    unit: UnitSpec | None
    """What was run; None for an upload or a compilation."""
    outcome: bytes | None
    """What the result hash is over."""
    carried: int = 0
    """Bytes of input that travelled in the call, and are in the price."""
    terms_signature: bytes | None = None
    """The device's over the terms; None in cases out of journals that did not keep it: then nothing proves the terms."""
    contents: Mapping[bytes, bytes] = field(default_factory=dict)
    """Code and input, by SHA-256, where the buyer gives them away."""


def with_contents(case: Case, contents: Mapping[bytes, bytes]) -> Case:
    """The case with what replaying it needs."""
    return replace(case, contents=contents)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def encode(case: Case) -> bytes:
    """The file's bytes."""
    receipt = case.signed.receipt
    unit = case.unit
    document: dict[str, Any] = {
        "version": VERSION,
        "network": json.loads(case.network.encode()),
        "terms": _hex(case.terms.encode()),
        "terms_signature": None if case.terms_signature is None else _hex(case.terms_signature),
        "receipt": {
            name: _hex(value) if isinstance(value, bytes) else value
            for name, value in ((name, getattr(receipt, name)) for name in Receipt.__slots__)
        },
        "signature": _hex(case.signed.signature),
        "acknowledgement": {
            "index": case.answer.index,
            "accepted": case.answer.accepted,
            "amount": case.answer.amount,
            "leaf": _hex(case.answer.leaf),
        },
        "proof": {"count": case.count, "root": _hex(case.root), "path": [_hex(each) for each in case.path]},
        "unit": None
        if unit is None
        else {
            "world": unit.world,
            "engine": _hex(unit.engine),
            "image": _hex(unit.image),
            "bundle": None if unit.bundle is None else _hex(unit.bundle),
            "setup": _hex(unit.setup),
            "entry": _hex(unit.entry),
            "items": _hex(unit.items),
            "limits": unit.limits.fields(),
            "salt": _hex(unit.salt),
        },
        "outcome": None if case.outcome is None else _hex(case.outcome),
        "carried": case.carried,
        "contents": {digest.hex(): base64.b64encode(data).decode() for digest, data in case.contents.items()},
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def read(path: Path) -> Case:
    """The case in a file. Raises `InvalidInput` that says what is wrong with it."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise InvalidInput(f"{path} is larger than {MAX_FILE} bytes", path=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    try:
        return decode(data)
    except InvalidInput as error:
        raise InvalidInput(f"{path} is no case file: {error.message}", path=str(path)) from error


def decode(data: bytes) -> Case:
    """The case in a file's bytes. Raises `InvalidInput`."""
    try:
        document = parse_json(data)
        if document["version"] != VERSION:
            raise InvalidInput(f"it is of version {document['version']!r}; this program knows version {VERSION}")
        fields = document["receipt"]
        receipt = Receipt(**{name: _field(fields[name], name) for name in Receipt.__slots__})
        receipt = Receipt.decode(receipt.encode())
        answer, proof = document["acknowledgement"], document["proof"]
        path = tuple(_bytes(each, 32) for each in proof["path"])
        if len(path) > MAX_PATH:
            raise InvalidInput(f"its proof has more than {MAX_PATH} hashes")
        return Case(
            network=network_format.decode(json.dumps(document["network"]).encode()),
            terms=Terms.decode(_bytes(document["terms"])),
            signed=Signed(receipt, _bytes(document["signature"], 65)),
            answer=Answered(
                _count(answer["index"]), receipt.sequence, answer["accepted"] is True, _count(answer["amount"]), _bytes(answer["leaf"], 32)
            ),
            count=_count(proof["count"]),
            root=_bytes(proof["root"], 32),
            path=path,
            unit=None if document["unit"] is None else _unit(document["unit"]),
            outcome=None if document["outcome"] is None else _outcome(document["outcome"]),
            carried=_count(document["carried"]),
            terms_signature=None if document.get("terms_signature") is None else _bytes(document["terms_signature"], 65),
            contents={bytes.fromhex(digest): base64.b64decode(text, validate=True) for digest, text in document["contents"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InvalidInput(f"a field is missing or malformed ({type(error).__name__}: {error})") from error


def _unit(fields: dict[str, Any]) -> UnitSpec:
    if not isinstance(fields["world"], str):
        raise InvalidInput("its unit's world is no text")
    return UnitSpec(
        world=fields["world"],
        engine=_bytes(fields["engine"], 32),
        image=_bytes(fields["image"], 32),
        bundle=None if fields["bundle"] is None else _bytes(fields["bundle"], 32),
        setup=_bytes(fields["setup"]),
        entry=_bytes(fields["entry"]),
        items=_bytes(fields["items"], 32),
        limits=Limits(*(_count(each) for each in fields["limits"])),
        salt=_bytes(fields["salt"], 32),
    )


def _outcome(text: Any) -> bytes:
    data = _bytes(text)
    try:
        outcome_of(data)
    except InternalFault as error:
        raise InvalidInput("its outcome cannot be read") from error
    return data


_HASHES = frozenset({"channel", "subject", "result"})


def _field(value: Any, name: str) -> Any:
    if name in _HASHES:
        return _bytes(value, 32)
    if name in ("device", "buyer"):
        if not isinstance(value, str):
            raise InvalidInput(f"its receipt's {name} is no address")
        return value
    return _count(value)


def _bytes(text: Any, size: int | None = None) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise InvalidInput("bytes are written as 0x and hex digits")
    data = bytes.fromhex(text[2:])
    if size is not None and len(data) != size:
        raise InvalidInput(f"{size} bytes are expected, not {len(data)}")
    return data


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_WEI:
        raise InvalidInput(f"{str(value)[:80]!r} is no number, or one out of bounds")
    return value
