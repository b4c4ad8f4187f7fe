"""What a case states, checked with nothing but the case: who signed, for what, and at which price."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from surge.buyer.casefile import Case
from surge.buyer.endings import outcome_of
from surge.core.log import leaf_hash, verify_inclusion
from surge.core.pricing import compile_amount, transfer_amount, unit_amount
from surge.core.receipts import Acknowledgement, ReceiptKind
from surge.core.signing import check_signed
from surge.core.text import counted
from surge.core.types import ZERO
from surge.core.units import result_hash, unit_id
from surge.errors import InvalidInput, PeerFault

STATED, ON_LEDGER, REPLAYED = "statement", "ledger", "replay"
"""What a check is made with: the case alone, the ledger, or this machine."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, or could not be."""

    text: str
    holds: bool | None
    """None where it could not be checked: it is neither proved nor disproved."""
    part: str = STATED
    """What it was checked with."""


@dataclass
class Report:
    """What checking a case showed."""

    checks: list[Check] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything that could be checked holds."""
        return any(check.holds for check in self.checks) and all(check.holds is not False for check in self.checks)

    def part(self, name: str) -> Report:
        """The checks that were made with one thing."""
        return Report([check for check in self.checks if check.part == name])

    def add(self, text: str, holds: bool | None, part: str = STATED) -> None:
        """Note a check."""
        self.checks.append(Check(text, holds, part))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"holds": self.holds, "checks": [{"text": each.text, "holds": each.holds, "part": each.part} for each in self.checks]}


def check_statement(case: Case) -> Report:
    """Check a case's statements.

    1. the device signed the receipt;
    2. the unit's fields give the receipt's subject;
    3. the outcome gives its result;
    4. the device signed the terms, and the receipt's amount is their price;
    5. the answer to it is a leaf of the log with the root that was redeemed.
    """
    receipt, domain, report = case.signed.receipt, case.network.channels_domain, Report()
    # 1
    signed = f"the device {receipt.device} signed the receipt"
    try:
        digest = case.signed.verify(domain)
        report.add(signed, True)
    except PeerFault as error:
        digest = receipt.digest(domain)
        report.add(f"{signed}: {error}", False)
    # 2
    if case.unit is not None:
        report.add("the unit's fields give the receipt's subject", unit_id(case.unit) == receipt.subject)
    # 3
    if case.unit is not None and case.outcome is not None:
        report.add("the outcome gives the receipt's result", result_hash(outcome_of(case.outcome)) == receipt.result)
    # 4
    _check_terms(case, report)
    # 5
    answer = case.answer
    leaf = Acknowledgement(receipt.channel, answer.index, digest, answer.accepted, answer.amount).digest(domain)
    included = verify_inclusion(leaf_hash(leaf), answer.index, case.count, case.path, case.root)
    what = f"accepted for {answer.amount} wei" if answer.accepted else "refused"
    report.add(f"the buyer's answer ({what}) is leaf {answer.index} of the log of {counted(case.count, 'receipt')}", included)
    return report


def _check_terms(case: Case, report: Report) -> None:
    price = "the receipt's amount is the price by the terms"
    if case.terms_signature is None:
        if is_price(case):
            report.add(
                "the terms are not proved, and the price with them: the case has no signature of the device over them, "
                "as those of older journals",
                None,
            )
        else:
            report.add(f"{price}, which nobody signed", False)
        return
    signed = f"the device {case.signed.receipt.device} signed the terms, which are for this channel{' and unit' if case.unit else ''}"
    try:
        check_signed(case.terms.digest(case.network.channels_domain), case.terms_signature, case.signed.receipt.device, "the terms")
        report.add(signed, _are_for(case))
    except PeerFault as error:
        report.add(f"{signed}: {error}", False)
    if case.signed.receipt.kind == ReceiptKind.RETAINER:
        report.add("what a retainer costs is in the offer that the terms name; the receipt states a hash of it", None)
    else:
        report.add(price, is_price(case))


def _are_for(case: Case) -> bool:
    """Whether the terms are for the receipt's channel and, where a unit was run, for its engine and its job or for all of them."""
    terms, unit = case.terms, case.unit
    if terms.channel != case.signed.receipt.channel:
        return False
    return unit is None or (terms.engine == unit.engine and terms.job in (ZERO, hashlib.sha256(unit.salt).digest()))


def is_price(case: Case) -> bool:
    """Whether the receipt's amount is the price by the case's terms."""
    receipt, prices = case.signed.receipt, case.terms.prices
    if case.terms.channel != receipt.channel:
        return False
    if receipt.kind in (ReceiptKind.TRANSFER, ReceiptKind.RELAY):
        return receipt.amount == transfer_amount(prices, receipt.quantity)
    if receipt.kind == ReceiptKind.COMPILE:
        return receipt.amount == compile_amount(prices, receipt.quantity)
    if case.unit is None or case.outcome is None:
        return False
    moved = case.carried + outcome_of(case.outcome).size()
    try:
        return receipt.amount == unit_amount(prices, receipt.quantity, case.unit.limits.memory, moved)
    except InvalidInput:  # more than there is money
        return False
