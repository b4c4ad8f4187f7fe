"""Judging an answer before anybody is paid for it. Pure.

A provider claims an outcome, a price and a result; `audit` believes none of it until it follows from what was asked, from
the terms, and from the bytes that came.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from surge.core import canonical, carriage, retainers
from surge.core.eip712 import Domain
from surge.core.messages import SignedReceipt
from surge.core.messages.fields import wei
from surge.core.pricing import Prices, compile_amount, transfer_amount, unit_amount
from surge.core.receipts import Receipt, ReceiptKind, Signed
from surge.core.types import Address
from surge.core.units import EXACT, Limits, Outcome, Status, are_files
from surge.errors import PeerFault


@dataclass(frozen=True, slots=True)
class Party:
    """Between whom a receipt is: the channel and its two ends, and where statements about it hold."""

    channel: bytes
    """32 bytes."""
    device: Address
    """Who signs receipts."""
    buyer: Address
    """The wallet that opened the channel."""
    domain: Domain
    """The channels contract's."""

    def receipt(self, wire: SignedReceipt) -> Signed:
        """The receipt on the wire, with what the session leaves unsaid."""
        return Signed(
            Receipt(
                wire.kind,
                self.device,
                self.buyer,
                self.channel,
                wire.sequence,
                wire.subject,
                wire.result,
                wire.quantity,
                wei(wire.amount),
                wire.finished_at,
            ),
            wire.signature,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a unit's or a setup's receipt must answer to."""

    kind: ReceiptKind
    subject: bytes
    """The unit's id: 32 bytes."""
    limits: Limits
    prices: Prices
    """The terms' prices when it was asked."""
    moved: int
    """Bytes of input carried with the call."""


def check_outcome(outcome: Outcome, limits: Limits) -> None:
    """Raise `PeerFault` for an outcome that no honest run under these limits has."""
    if outcome.fuel > limits.fuel or (outcome.status not in EXACT and outcome.fuel != limits.fuel):
        raise PeerFault(
            f"a unit that ended as {outcome.status.name} is billed {outcome.fuel} fuel under a limit of {limits.fuel}",
            status=outcome.status.name,
            fuel=outcome.fuel,
            limit=limits.fuel,
        )
    if (outcome.exit_code != 0) != (outcome.status is Status.EXITED):
        raise PeerFault(f"a unit ended as {outcome.status.name} with exit code {outcome.exit_code}", status=outcome.status.name)
    if outcome.size() > limits.output:
        raise PeerFault(f"a unit gives {outcome.size()} bytes under a limit of {limits.output}", size=outcome.size())
    if outcome.files and not are_files([path for path, _ in outcome.files]):
        raise PeerFault("a unit's files have names that no guest can give them", names=[path for path, _ in outcome.files][:16])
    if len(outcome.state) not in (0, 32):
        raise PeerFault("a state is 32 bytes or none", size=len(outcome.state))


def outcome_bytes(outcome: Outcome) -> bytes:
    """What a result hash is over (`core.units.result_hash`), as the journal keeps it."""
    return canonical.encode(
        [
            int(outcome.status),
            outcome.exit_code,
            *([part.digest, part.size] for part in (outcome.value, outcome.stdout, outcome.stderr)),
            [[path, part.digest, part.size] for path, part in outcome.files],
            outcome.state,
        ]
    )


@dataclass(frozen=True, slots=True)
class Audited:
    """An answer in which everything is right."""

    outcome: Outcome
    stated: bytes
    """What the result hash is over."""
    receipt: Receipt
    digest: bytes
    """What the device signed."""


def audit(asked: Asked, outcome: Outcome, wire: SignedReceipt, party: Party) -> Audited:
    """The answer, once its receipt follows from what was asked. Raises `PeerFault`.

    The output's bytes are checked against the outcome where they arrive (`core.units.OutputVerifier`).

    1. The receipt is for what was asked.
    2. The outcome is possible under the limits, and billed by rule.
    3. The receipt's result is the outcome's hash, its quantity the fuel.
    4. The amount is the price by the terms.
    5. The device signed it.
    """
    signed = party.receipt(wire)
    receipt = signed.receipt
    # 1
    if receipt.kind != asked.kind or receipt.subject != asked.subject:
        raise PeerFault("a receipt is for something else than was asked", receipt=receipt, subject=asked.subject)
    # 2
    check_outcome(outcome, asked.limits)
    # 3
    stated = outcome_bytes(outcome)
    if receipt.result != hashlib.sha256(stated).digest() or receipt.quantity != outcome.fuel:
        raise PeerFault("a receipt does not state the outcome that came with it", receipt=receipt)
    # 4
    price = unit_amount(asked.prices, outcome.fuel, asked.limits.memory, asked.moved + outcome.size())
    if receipt.amount != price:
        raise PeerFault(f"a receipt asks for {receipt.amount} wei where the terms say {price}", receipt=receipt, price=price)
    # 5
    return Audited(outcome, stated, receipt, signed.verify(party.domain))


def audit_transfer(wire: SignedReceipt, content: bytes, size: int, prices: Prices, party: Party) -> tuple[Receipt, bytes]:
    """The receipt for an upload of `size` bytes, and its digest. Raises `PeerFault`."""
    return audit_simple(wire, ReceiptKind.TRANSFER, content, content, size, transfer_amount(prices, size), party)


def audit_compile(wire: SignedReceipt, image: bytes, engine: bytes, size: int, prices: Prices, party: Party) -> tuple[Receipt, bytes]:
    """The receipt for compiling a module of `size` bytes, and its digest. Raises `PeerFault`."""
    return audit_simple(wire, ReceiptKind.COMPILE, image, engine, size, compile_amount(prices, size), party)


def audit_carriage(wire: SignedReceipt, about: bytes, counted: int, prices: Prices, party: Party) -> tuple[Receipt, bytes]:
    """The receipt for what a relay says that it counted in a period, and its digest. Raises `PeerFault`.

    How much of that it bills, and whether it is believed, is for the device to judge.
    """
    price, stated = transfer_amount(prices, wire.quantity), carriage.result(about, counted)
    return audit_simple(wire, ReceiptKind.RELAY, about, stated, wire.quantity, price, party)


def audit_retainer(wire: SignedReceipt, about: bytes, cores: int, price: int, claim: int, party: Party) -> tuple[Receipt, bytes]:
    """The receipt for holding cores, of `claim` seconds at most, and its digest. Raises `PeerFault`."""
    if wire.quantity > claim:
        raise PeerFault(f"a receipt bills {wire.quantity} seconds where {claim} were counted", quantity=wire.quantity, claim=claim)
    amount = retainers.amount(price, cores, wire.quantity)
    return audit_simple(wire, ReceiptKind.RETAINER, about, retainers.result(about, cores, price), wire.quantity, amount, party)


def audit_simple(
    wire: SignedReceipt, kind: ReceiptKind, subject: bytes, result: bytes, quantity: int, price: int, party: Party
) -> tuple[Receipt, bytes]:
    """A receipt that must say exactly this, and its digest. Raises `PeerFault`."""
    signed = party.receipt(wire)
    receipt = signed.receipt
    claimed = (receipt.kind, receipt.subject, receipt.result, receipt.quantity)
    if claimed != (kind, subject, result, quantity):
        raise PeerFault(f"a receipt for a {kind.name.lower()} states something else than was done", receipt=receipt)
    if receipt.amount != price:
        raise PeerFault(f"a receipt asks for {receipt.amount} wei where the terms say {price}", receipt=receipt, price=price)
    return receipt, signed.verify(party.domain)
