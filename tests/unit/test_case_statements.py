"""What a case states: whatever is changed in it is found out, and what nobody signed is not called proved."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest

from surge.buyer import casefile
from surge.buyer.auditor import outcome_bytes
from surge.buyer.casefile import Case
from surge.buyer.statements import check_statement
from surge.core.channels import Answered
from surge.core.log import ReceiptLog
from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.pricing import Prices, unit_amount
from surge.core.receipts import Acknowledgement, Receipt, Signed, Terms
from surge.core.types import ZERO, Address
from surge.core.units import EMPTY, Limits, Outcome, Status, UnitSpec, result_hash, unit_id
from surge.wallet import KeySigner

PLACE = Contract(Address("0x" + "11" * 20), ZERO)
NETWORK = NetworkFile(
    "t", "public", 5, ("http://127.0.0.1:1",), PLACE, PLACE, PLACE, PLACE, (RelayAddress("nats://127.0.0.1:1", PLACE.address),), 1
)
DOMAIN = NETWORK.channels_domain
DEVICE, BUYER = KeySigner.random(), KeySigner.random()
CHANNEL = b"c" * 32
UNIT = UnitSpec("surge-world/1", b"e" * 32, b"i" * 32, b"b" * 32, b"s", b"n", b"d" * 32, Limits(1 << 29, 10**9, 1000, 1000, 10), b"z" * 32)
OUTCOME = Outcome(Status.FINISHED, 0, EMPTY, EMPTY, EMPTY, (), b"", 5 * 10**8)
TERMS = Terms(CHANNEL, ZERO, b"o" * 32, UNIT.engine, Prices(10**15, 10**9, 10**15, 10**12, 10**9), 8, 3600, 7200)


def case(terms: Terms = TERMS, **changes: Any) -> Case:
    """A case in which everything holds, at these terms."""
    amount = unit_amount(terms.prices, OUTCOME.fuel, UNIT.limits.memory, 7)
    receipt = Receipt(1, DEVICE.address, BUYER.address, CHANNEL, 0, unit_id(UNIT), result_hash(OUTCOME), OUTCOME.fuel, amount, 5)
    digest = receipt.digest(DOMAIN)
    log = ReceiptLog()
    leaf = Acknowledgement(CHANNEL, 0, digest, True, amount).digest(DOMAIN)
    log.append(leaf)
    found = Case(
        network=NETWORK,
        terms=terms,
        signed=Signed(receipt, DEVICE.sign(digest)),
        answer=Answered(0, 0, True, amount, leaf),
        count=1,
        root=log.root(),
        path=tuple(log.inclusion(0, 1)),
        unit=UNIT,
        outcome=outcome_bytes(OUTCOME),
        carried=7,
        terms_signature=DEVICE.sign(terms.digest(DOMAIN)),
    )
    return replace(found, **changes)


def other(value: Any) -> Any:
    """Another value of the same kind."""
    return value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]


def changed(terms: Terms) -> dict[str, Terms]:
    """The terms, changed in each of their fields."""
    prices = {each.name: replace(terms.prices, **{each.name: other(getattr(terms.prices, each.name))}) for each in fields(Prices)}
    plain = [each.name for each in fields(Terms) if each.name != "prices"]
    return {f"prices.{name}": replace(terms, prices=each) for name, each in prices.items()} | {
        name: replace(terms, **{name: other(getattr(terms, name))}) for name in plain
    }


def wrong(found: Case) -> list[str]:
    """What does not hold, after the case went through a file."""
    return [check.text for check in check_statement(casefile.decode(casefile.encode(found))).checks if check.holds is False]


def test_a_case_whose_statements_hold() -> None:
    report = check_statement(casefile.decode(casefile.encode(case())))
    assert [check.holds for check in report.checks] == [True] * 6
    assert report.holds


@pytest.mark.parametrize("field", changed(TERMS))
def test_terms_that_were_changed_in_any_field_do_not_hold(field: str) -> None:
    assert len(changed(TERMS)) == 12
    said = wrong(replace(case(), terms=changed(TERMS)[field]))
    assert any("signed the terms" in text for text in said), said


@pytest.mark.parametrize("signer", [BUYER, KeySigner.random()], ids=["the buyer", "a stranger"])
def test_terms_that_another_than_the_device_signed_do_not_hold(signer: KeySigner) -> None:
    said = wrong(case(terms_signature=signer.sign(TERMS.digest(DOMAIN))))
    assert len(said) == 1
    assert f"is signed by {signer.address}" in said[0]


@pytest.mark.parametrize("field", ["channel", "engine", "job"], ids=["of another channel", "of another engine", "of another job"])
def test_terms_that_the_device_signed_for_something_else_do_not_hold(field: str) -> None:
    terms = changed(TERMS)[field]
    said = wrong(replace(case(), terms=terms, terms_signature=DEVICE.sign(terms.digest(DOMAIN))))
    assert any("which are for this channel and unit" in text for text in said), said


def test_terms_of_the_units_own_job_hold() -> None:
    dearer = replace(TERMS, job=hashlib.sha256(UNIT.salt).digest(), prices=replace(TERMS.prices, gigafuel=7 * 10**15))
    assert check_statement(case(dearer)).holds


def test_a_case_without_a_signature_over_its_terms_says_that_they_are_not_proved() -> None:
    report = check_statement(casefile.decode(casefile.encode(case(terms_signature=None))))
    (said,) = [check for check in report.checks if "terms" in check.text]
    assert said.holds is None
    assert "the terms are not proved, and the price with them" in said.text
    assert not any("price by the terms" in check.text for check in report.checks)
    assert report.holds, "all that can be checked holds"
    dearer = replace(TERMS, prices=replace(TERMS.prices, gigafuel=7))
    assert wrong(replace(case(terms_signature=None), terms=dearer)) == [
        "the receipt's amount is the price by the terms, which nobody signed"
    ]


def test_a_price_beyond_all_money_is_none() -> None:
    found = case()
    signed = Signed(replace(found.signed.receipt, quantity=1 << 255), found.signed.signature)
    terms = replace(TERMS, prices=replace(TERMS.prices, gigafuel=10**30))
    assert "the receipt's amount is the price by the terms" in wrong(replace(found, terms=terms, signed=signed))
