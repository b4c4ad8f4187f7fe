"""What is signed: digests against eth_account's EIP-712, signatures against the group's rules, receipts and terms from strangers."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.eip712 import Domain, channels_domain, registry_domain
from surge.core.keccak import keccak256
from surge.core.pricing import Prices
from surge.core.receipts import Acknowledgement, Close, DeviceConsent, Receipt, RelayConsent, Signed, Terms, Voucher, conflict
from surge.core.signing import check_signed, personal_digest, recover
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault
from surge.wallet import KeySigner

DEVICE, BUYER = KeySigner(bytes(31) + b"\x07"), KeySigner(bytes(31) + b"\x08")
CONTRACT = address("0x" + "c0" * 20)
DOMAIN = channels_domain(31337, CONTRACT)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

RECEIPT = Receipt(1, DEVICE.address, BUYER.address, b"\x01" * 32, 2**64 - 1, b"\x02" * 32, b"\x03" * 32, 2**256 - 1, 12345, 1_800_000_000)
ACKNOWLEDGEMENT = Acknowledgement(b"\x01" * 32, 7, b"\x09" * 32, True, 12345)
VOUCHER = Voucher(b"\x01" * 32, 10**30, 8, b"\x05" * 32)
CLOSE = Close(b"\x01" * 32, 10**30, 8, b"\x05" * 32)
TERMS = Terms(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32, Prices(5, 6, 7, 8, 9), 10, 11, 12)
CONSENT = DeviceConsent(BUYER.address, DEVICE.address, 3)
RELAY_CONSENT = RelayConsent(BUYER.address, DEVICE.address, 3)

TYPES: dict[str, list[tuple[str, str]]] = {
    "Receipt": [
        ("kind", "uint8"),
        ("device", "address"),
        ("buyer", "address"),
        ("channel", "bytes32"),
        ("sequence", "uint64"),
        ("subject", "bytes32"),
        ("result", "bytes32"),
        ("quantity", "uint256"),
        ("amount", "uint256"),
        ("finishedAt", "uint64"),
    ],
    "Acknowledgement": [("channel", "bytes32"), ("index", "uint64"), ("receipt", "bytes32"), ("accepted", "bool"), ("amount", "uint256")],
    "Voucher": [("channel", "bytes32"), ("amount", "uint256"), ("count", "uint256"), ("root", "bytes32")],
    "Close": [("channel", "bytes32"), ("amount", "uint256"), ("count", "uint256"), ("root", "bytes32")],
    "DeviceConsent": [("operator", "address"), ("device", "address"), ("nonce", "uint256")],
    "RelayConsent": [("operator", "address"), ("relay", "address"), ("nonce", "uint256")],
    "Terms": [
        ("channel", "bytes32"),
        ("job", "bytes32"),
        ("offer", "bytes32"),
        ("engine", "bytes32"),
        ("gigafuelPrice", "uint256"),
        ("memoryPrice", "uint256"),
        ("transferPrice", "uint256"),
        ("compilePrice", "uint256"),
        ("speed", "uint256"),
        ("window", "uint32"),
        ("auditSeconds", "uint64"),
        ("offlineSeconds", "uint64"),
    ],
}


def flat(statement: Any) -> list[Any]:
    """A statement's members in the order of its declaration."""
    values: list[Any] = []
    for each in fields(statement):
        value = getattr(statement, each.name)
        values += value.fields() if isinstance(value, Prices) else [value]
    return values


def reference(domain: Domain, statement: Any) -> bytes:
    """The digest as eth_account computes it."""
    name = type(statement).__name__
    members = TYPES[name]
    signable = encode_typed_data(
        {"name": domain.name, "version": domain.version, "chainId": domain.chain_id, "verifyingContract": domain.contract},
        {name: [{"name": member, "type": kind} for member, kind in members]},
        dict(zip((member for member, _ in members), flat(statement), strict=True)),
    )
    return keccak256(b"\x19" + signable.version + signable.header + signable.body)


STATEMENTS = [RECEIPT, ACKNOWLEDGEMENT, replace(ACKNOWLEDGEMENT, accepted=False, amount=0), VOUCHER, CLOSE, TERMS]


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("domain", [DOMAIN, channels_domain(2**63 - 1, address("0x" + "0" * 39 + "1"))], ids=["one", "other"])
def test_digests_are_those_of_eth_account(statement: Any, domain: Domain) -> None:
    assert statement.digest(domain) == reference(domain, statement)


def test_a_consents_digest_is_that_of_eth_account() -> None:
    domain = registry_domain(31337, CONTRACT)
    assert CONSENT.digest(domain) == reference(domain, CONSENT)
    assert RELAY_CONSENT.digest(domain) == reference(domain, RELAY_CONSENT)
    assert CONSENT.digest(domain) != CONSENT.digest(DOMAIN)


@given(
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**256 - 1),
    st.integers(0, 2**256 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
)
@settings(max_examples=40, deadline=None)
def test_any_receipts_digest_is_that_of_eth_account(kind: int, sequence: int, quantity: int, amount: int, at: int, blob: bytes) -> None:
    receipt = Receipt(kind, DEVICE.address, BUYER.address, blob, sequence, blob[::-1], keccak256(blob), quantity, amount, at)
    assert receipt.digest(DOMAIN) == reference(DOMAIN, receipt)
    assert Receipt.decode(receipt.encode()) == receipt


@pytest.mark.parametrize("name", [each.name for each in fields(Receipt)])
def test_every_field_of_a_receipt_is_signed(name: str) -> None:
    value = getattr(RECEIPT, name)
    other: Any
    if isinstance(value, bytes):
        other = value[:-1] + b"\x00"
    elif isinstance(value, str):
        other = address("0x" + "ab" * 20)
    else:
        other = value - 1
    assert replace(RECEIPT, **{name: other}).digest(DOMAIN) != RECEIPT.digest(DOMAIN)


def test_the_domain_is_signed() -> None:
    digests = {VOUCHER.digest(each) for each in (DOMAIN, channels_domain(1, CONTRACT), channels_domain(31337, address("0x" + "c1" * 20)))}
    assert len(digests) == 3
    assert VOUCHER.digest(DOMAIN) != CLOSE.digest(DOMAIN)


def test_signatures_are_those_of_eth_account() -> None:
    digest = VOUCHER.digest(DOMAIN)
    theirs = Account.unsafe_sign_hash(digest, bytes(31) + b"\x07")
    assert DEVICE.sign(digest) == bytes(theirs.signature)
    assert recover(digest, DEVICE.sign(digest)) == DEVICE.address == Account.from_key(bytes(31) + b"\x07").address.lower()


@pytest.mark.parametrize("message", [b"", b"hello", bytes(range(256)) * 5])
def test_personal_digests_are_those_of_eth_account(message: bytes) -> None:
    signable = encode_defunct(message)
    assert personal_digest(message) == keccak256(b"\x19" + signable.version + signable.header + signable.body)


def high_s(signature: bytes) -> bytes:
    """The other signature over the same digest: s negated, v flipped."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


def test_the_higher_s_is_refused() -> None:
    digest = VOUCHER.digest(DOMAIN)
    forged = high_s(DEVICE.sign(digest))
    raw = forged[:64] + bytes((forged[64] - 27,))
    assert PrivateKey(bytes(31) + b"\x07").public_key == type(PrivateKey().public_key).from_signature_and_message(raw, digest, hasher=None)
    with pytest.raises(PeerFault, match="high s"):
        recover(digest, forged)


GOOD = DEVICE.sign(VOUCHER.digest(DOMAIN))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        GOOD[:64],
        GOOD + b"\x00",
        bytes(65),
        GOOD[:64] + b"\x00",
        GOOD[:64] + b"\x01",
        GOOD[:64] + b"\x1d",
        GOOD[:64] + b"\xff",
        bytes(32) + GOOD[32:],
        GOOD[:32] + bytes(32) + GOOD[64:],
        b"\xff" * 32 + GOOD[32:],
        ORDER.to_bytes(32, "big") + GOOD[32:],
        bytes(64) + b"\x1b",
        b"\xff" * 65,
    ],
    ids=lambda each: f"{len(each)}-{each[:1].hex()}-{each[-1:].hex()}",
)
def test_malformed_signatures_are_a_peers_fault(signature: bytes) -> None:
    with pytest.raises(PeerFault):
        recover(VOUCHER.digest(DOMAIN), signature)


def test_the_other_v_recovers_another_signer() -> None:
    digest = VOUCHER.digest(DOMAIN)
    flipped = GOOD[:64] + bytes((55 - GOOD[64],))
    with pytest.raises(PeerFault, match="not by"):
        check_signed(digest, flipped, DEVICE.address, "a voucher")


@given(st.binary(min_size=65, max_size=65))
@settings(max_examples=200, deadline=None)
def test_random_signatures_never_recover_the_signer(signature: bytes) -> None:
    with pytest.raises(PeerFault):
        check_signed(VOUCHER.digest(DOMAIN), signature, DEVICE.address, "a voucher")


def test_a_signed_receipt_verifies_only_unchanged_in_its_domain_by_its_device() -> None:
    signed = Signed(RECEIPT, DEVICE.sign(RECEIPT.digest(DOMAIN)))
    assert signed.verify(DOMAIN) == RECEIPT.digest(DOMAIN)
    with pytest.raises(PeerFault, match="a receipt is signed by"):
        Signed(replace(RECEIPT, amount=12346), signed.signature).verify(DOMAIN)
    with pytest.raises(PeerFault, match="a receipt is signed by"):
        signed.verify(channels_domain(1, CONTRACT))
    with pytest.raises(PeerFault, match="a receipt is signed by"):
        Signed(RECEIPT, BUYER.sign(RECEIPT.digest(DOMAIN))).verify(DOMAIN)


def test_a_voucher_is_the_session_keys() -> None:
    VOUCHER.verify(DOMAIN, GOOD, DEVICE.address)
    with pytest.raises(PeerFault, match="a voucher is signed by"):
        VOUCHER.verify(DOMAIN, GOOD, BUYER.address)


def test_conflicts_are_the_same_subject_with_another_result_or_quantity() -> None:
    assert not conflict(RECEIPT, replace(RECEIPT, sequence=1, finished_at=5, amount=1))
    assert conflict(RECEIPT, replace(RECEIPT, result=bytes(32)))
    assert conflict(RECEIPT, replace(RECEIPT, quantity=1))
    assert not conflict(RECEIPT, replace(RECEIPT, subject=bytes(32), result=bytes(32)))


def test_terms_come_back() -> None:
    assert Terms.decode(TERMS.encode()) == TERMS


RECEIPT_ROW = flat(RECEIPT)
TERMS_ROW = flat(TERMS)
WRONG: list[Any] = [None, -1, 1.5, "", "0x", b"", b"x", [], {}, True, b"\x01" * 31, b"\x01" * 33, 2**256, "0x" + "g" * 40]


def hostile(row: list[Any]) -> list[bytes]:
    """Every field of a row replaced by every wrong value that CBOR can write, fields missing and too many, and other shapes."""
    found = [canonical.encode(shape) for shape in ([], row[:-1], [*row, 0], dict(enumerate(row)), 7, None, [row])]
    for place, right in enumerate(row):
        for wrong in WRONG:
            if isinstance(wrong, float) or (type(wrong) is type(right) and wrong == right):
                continue
            found.append(canonical.encode([*row[:place], wrong, *row[place + 1 :]]))
    return found


def test_hostile_receipts_are_refused() -> None:
    cases = hostile(RECEIPT_ROW)
    assert len(cases) > 100
    for data in cases:
        with pytest.raises(InvalidInput):
            Receipt.decode(data)


def test_hostile_terms_are_refused() -> None:
    for data in hostile(TERMS_ROW):
        with pytest.raises(InvalidInput):
            Terms.decode(data)


@pytest.mark.parametrize(("place", "value"), [(0, 256), (4, 2**64), (9, 2**64)])
def test_a_receipts_numbers_fit_what_is_signed(place: int, value: int) -> None:
    with pytest.raises(InvalidInput):
        Receipt.decode(canonical.encode([*RECEIPT_ROW[:place], value, *RECEIPT_ROW[place + 1 :]]))


@pytest.mark.parametrize(
    "text", ["", "0x", "0x" + "0" * 39, "0x" + "0" * 41, "0x" + "0" * 40 + "\n", "00" + "0" * 40, "0X" + "g" * 40, 7, None]
)
def test_what_is_no_address_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInput):
        address(text)


def test_addresses_are_lower_case() -> None:
    assert address("0xABCDEF" + "0" * 34) == Address("0xabcdef" + "0" * 34)
