"""The token: whoever holds a permit gets the allowance that its owner signed, once, in time, and on this chain."""

from __future__ import annotations

import boa
import pytest

from contracts_support import BUYER, OPERATOR, OWNER, STRANGER, Place
from surge.core.eip712 import Domain, address_word, separator, type_hash, typed_digest, word
from surge.core.keccak import keccak256
from surge.core.types import address
from surge.wallet import KeySigner

VALUE = 5 * 10**18
PERMIT = type_hash("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")


def domain(place: Place, chain_id: int | None = None) -> Domain:
    """The token's domain, or that of the same contract on another chain."""
    return Domain("Surge", chain_id or boa.env.evm.patch.chain_id, address(str(place.token.address)))


def later(seconds: int = 3600) -> int:
    """Unix seconds so much after the chain's last block."""
    return int(boa.env.evm.patch.timestamp) + seconds


def permit(
    place: Place,
    *,
    signer: KeySigner = BUYER,
    nonce: int = 0,
    deadline: int | None = None,
    chain_id: int | None = None,
    value: int = VALUE,
) -> None:
    """A stranger sends the buyer's permit for the operator, as `signer` signed it for `VALUE`."""
    until = later() if deadline is None else deadline
    fields = address_word(BUYER.address) + address_word(OPERATOR.address) + word(VALUE) + word(nonce) + word(until)
    signature = signer.sign(typed_digest(domain(place, chain_id), keccak256(PERMIT + fields)))
    with boa.env.prank(STRANGER.address):
        place.token.permit(BUYER.address, OPERATOR.address, value, until, signature[64], signature[:32], signature[32:64])


def allowance(place: Place) -> int:
    return int(place.token.allowance(BUYER.address, OPERATOR.address))


def test_a_permit_sets_the_allowance_and_is_counted(place: Place) -> None:
    assert place.token.DOMAIN_SEPARATOR() == separator(domain(place))
    permit(place)
    assert (allowance(place), place.token.nonces(BUYER.address)) == (VALUE, 1)
    with boa.env.prank(OPERATOR.address):
        place.token.transferFrom(BUYER.address, OPERATOR.address, VALUE)
    assert (place.token.balanceOf(OPERATOR.address), allowance(place)) == (VALUE, 0)
    permit(place, nonce=1)
    assert (allowance(place), place.token.nonces(BUYER.address)) == (VALUE, 2)


def test_a_permit_is_good_up_to_its_deadline_and_no_longer(place: Place) -> None:
    with boa.reverts("erc20: expired deadline"):
        permit(place, deadline=later(-1))
    assert (allowance(place), place.token.nonces(BUYER.address)) == (0, 0)
    permit(place, deadline=later(0))
    assert allowance(place) == VALUE


def test_a_permit_is_used_once(place: Place) -> None:
    permit(place)
    with boa.env.prank(BUYER.address):
        place.token.approve(OPERATOR.address, 0)
    with boa.reverts("erc20: invalid signature"):
        permit(place)
    with boa.reverts("erc20: invalid signature"):
        permit(place, nonce=7)
    assert (allowance(place), place.token.nonces(BUYER.address)) == (0, 1)


@pytest.mark.parametrize("signer", [OPERATOR, STRANGER], ids=["who would get it", "who sends it"])
def test_a_permit_that_another_signed_is_none(place: Place, signer: KeySigner) -> None:
    with boa.reverts("erc20: invalid signature"):
        permit(place, signer=signer)
    assert (allowance(place), place.token.nonces(BUYER.address)) == (0, 0)


def test_a_permit_for_another_chain_or_amount_is_none(place: Place) -> None:
    with boa.reverts("erc20: invalid signature"):
        permit(place, chain_id=boa.env.evm.patch.chain_id + 1)
    with boa.reverts("erc20: invalid signature"):
        permit(place, value=VALUE + 1)
    assert (allowance(place), place.token.nonces(BUYER.address)) == (0, 0)


def minted(place: Place, amount: int, by: KeySigner = STRANGER) -> None:
    with boa.env.prank(by.address):
        place.token.mint(OPERATOR.address, amount)


def name_minter(place: Place, minter: KeySigner = STRANGER, by: KeySigner = OWNER) -> None:
    with boa.env.prank(by.address):
        place.token.set_minter(minter.address)


def test_the_minter_is_named_once_by_the_deployer(place: Place) -> None:
    with boa.reverts("ownable: caller is not the owner"):
        name_minter(place, by=STRANGER)
    with boa.env.prank(OWNER.address), boa.reverts("token: no minter"):
        place.token.set_minter("0x" + "00" * 20)
    name_minter(place)
    assert str(place.token.minter()).lower() == STRANGER.address
    with boa.reverts("token: minter was named"):
        name_minter(place, BUYER)


def test_only_the_minter_mints_and_never_above_the_cap(place: Place) -> None:
    for who in (OWNER, STRANGER):
        with boa.reverts("token: not the minter"):
            minted(place, 1, by=who)
    name_minter(place)
    with boa.reverts("token: not the minter"):
        minted(place, 1, by=OWNER)
    room = place.token.cap() - place.token.totalSupply()
    with boa.reverts("token: above cap"):
        minted(place, room + 1)
    with boa.reverts("token: above cap"):
        minted(place, 2**256 - 1)
    minted(place, room)
    assert (place.token.totalSupply(), place.balance(OPERATOR)) == (place.token.cap(), room)
    with boa.reverts("token: above cap"):
        minted(place, 1)


def test_everybody_burns_what_they_hold_and_no_more(place: Place) -> None:
    held, supply = place.balance(BUYER), place.token.totalSupply()
    with boa.env.prank(BUYER.address):
        with boa.reverts("erc20: burn amount exceeds balance"):
            place.token.burn(held + 1)
        place.token.burn(held - 5)
    assert (place.balance(BUYER), place.token.totalSupply()) == (5, supply - held + 5)


def test_the_cap_is_fixed_within_bounds_at_deployment(deployers) -> None:
    with boa.reverts("token: cap too high"):
        deployers["surge_token"].deploy(1, 2**96 + 1)
    with boa.reverts("token: supply above cap"):
        deployers["surge_token"].deploy(11, 10)
    assert deployers["surge_token"].deploy(10, 10).cap() == 10
