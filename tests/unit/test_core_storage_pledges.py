"""Pledges and releases: digests against eth_account's EIP-712, and pledges from strangers."""

from __future__ import annotations

from dataclasses import astuple, fields, replace
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.eip712 import challenges_domain, channels_domain
from surge.core.keccak import keccak256
from surge.core.parameters import EMBEDDED, PUBLIC
from surge.core.storage.pledges import MAX_PERIODS, Pledge, Release, owner_part
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault
from surge.wallet import KeySigner

DEVICE, KEEPER, OTHER = (KeySigner(bytes(31) + bytes((number,))) for number in (7, 8, 9))
DOMAIN = challenges_domain(31337, address("0x" + "c0" * 20))
PEOPLE = (DEVICE.address, OTHER.address, OTHER.address, KEEPER.address)
PLEDGE = Pledge(b"\x01" * 32, *PEOPLE, b"\x02" * 32, 2**64 - 1, 1_800_000_000, 2**64 - 1, 2**256 - 1)
RELEASE = Release(b"\x01" * 32)

TYPES = {
    "Pledge": [
        ("deal", "bytes32"),
        ("device", "address"),
        ("operator", "address"),
        ("owner", "address"),
        ("keeper", "address"),
        ("root", "bytes32"),
        ("size", "uint64"),
        ("starts", "uint64"),
        ("until", "uint64"),
        ("penalty", "uint256"),
    ],
    "Release": [("deal", "bytes32")],
}


def reference(statement: Any) -> bytes:
    """The digest as eth_account computes it."""
    name = type(statement).__name__
    signable = encode_typed_data(
        {"name": "Surge challenges", "version": "1", "chainId": DOMAIN.chain_id, "verifyingContract": DOMAIN.contract},
        {name: [{"name": member, "type": kind} for member, kind in TYPES[name]]},
        dict(zip((member for member, _ in TYPES[name]), astuple(statement), strict=True)),
    )
    return keccak256(b"\x19" + signable.version + signable.header + signable.body)


@pytest.mark.parametrize("statement", [PLEDGE, RELEASE], ids=lambda each: type(each).__name__)
def test_digests_of_pledges_and_releases_are_those_of_eth_account(statement: Any) -> None:
    assert statement.digest(DOMAIN) == reference(statement)
    assert statement.digest(channels_domain(DOMAIN.chain_id, DOMAIN.contract)) != statement.digest(DOMAIN)


@pytest.mark.parametrize("name", [each.name for each in fields(Pledge)])
def test_every_field_of_a_pledge_is_signed(name: str) -> None:
    value: Any = getattr(PLEDGE, name)
    other: Any = value[:-1] + b"\0" if isinstance(value, bytes) else value - 1 if isinstance(value, int) else Address("0x" + "ab" * 20)
    signature = DEVICE.sign(PLEDGE.digest(DOMAIN))
    assert PLEDGE.verify(DOMAIN, signature) == PLEDGE.digest(DOMAIN)
    with pytest.raises(PeerFault, match="a pledge is signed by"):
        replace(PLEDGE, **{name: other}).verify(DOMAIN, signature)


def test_a_release_is_the_keepers() -> None:
    signature = KEEPER.sign(RELEASE.digest(DOMAIN))
    RELEASE.verify(DOMAIN, signature, KEEPER.address)
    with pytest.raises(PeerFault, match="a release is signed by"):
        RELEASE.verify(DOMAIN, signature, OTHER.address)
    with pytest.raises(PeerFault, match="a release is signed by"):
        Release(b"\x03" * 32).verify(DOMAIN, signature, KEEPER.address)


def test_a_pledge_comes_back() -> None:
    assert Pledge.decode(PLEDGE.encode()) == PLEDGE


ROW = list(astuple(PLEDGE))
WRONG: list[Any] = [None, -1, "", "0x", b"", [], True, b"\x01" * 31, b"\x01" * 33, 2**256, "0x" + "g" * 40]


@pytest.mark.parametrize("place", range(len(ROW)), ids=[each.name for each in fields(Pledge)])
def test_a_pledge_with_an_odd_field_is_refused(place: int) -> None:
    for wrong in WRONG:
        with pytest.raises(InvalidInput):
            Pledge.decode(canonical.encode([*ROW[:place], wrong, *ROW[place + 1 :]]))


@pytest.mark.parametrize("shape", [[], ROW[:-1], [*ROW, 0], {}, 7, None], ids=repr)
def test_what_is_no_pledge_is_refused(shape: Any) -> None:
    with pytest.raises(InvalidInput):
        Pledge.decode(canonical.encode(shape))


@pytest.mark.parametrize("place", [6, 7, 8], ids=["size", "starts", "until"])
def test_a_pledges_numbers_fit_what_is_signed(place: int) -> None:
    with pytest.raises(InvalidInput, match="out of bounds"):
        Pledge.decode(canonical.encode([*ROW[:place], 2**64, *ROW[place + 1 :]]))


def test_a_pledge_holds_from_its_start_to_its_end() -> None:
    pledge = replace(PLEDGE, starts=10, until=20)
    assert [pledge.holds(now) for now in (9, 10, 20, 21)] == [False, True, True, False]


@given(st.integers(0, 2**88), st.integers(0, 2**96), st.integers(0, 2**96))
def test_an_owner_gets_half_at_most_and_never_more_than_the_operator_loses(slashed: int, own: int, others: int) -> None:
    got = owner_part(slashed, own, own + others)
    assert 0 <= got <= slashed // 2
    assert got * (own + others) <= slashed * own


@pytest.mark.parametrize("network", [PUBLIC, EMBEDDED], ids=["public", "embedded"])
def test_the_numbers_of_storage_fit_those_of_bonds(network: Any) -> None:
    storage = network.storage
    assert MAX_PERIODS * storage.period_seconds + storage.deadline_seconds < network.unbonding_seconds
    assert storage.deadline_seconds <= storage.period_seconds
    assert storage.least_fee <= storage.fee <= storage.most_fee
    assert storage.least_penalty <= storage.most_penalty <= network.min_bond // 10
