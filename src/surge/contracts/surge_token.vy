# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy off
"""
@title Surge: the network's token
@license GNU Affero General Public License v3.0 only
@author Surge
@notice An ERC-20 token with EIP-2612 permits, 18 decimals. The
        first supply is minted to the deployer at deployment. The
        deployer may name one minter, once, which mints up to the
        cap; every holder may burn what it holds.
@custom:security Invariants: the supply never passes the cap, which
                 is fixed at deployment; balances sum to the
                 supply; only the minter mints, and once it is
                 named nobody can name another. Everything else is
                 snekmate's ERC-20.
"""


# @dev We import and initialise the `ownable` module.
from snekmate.auth import ownable
initializes: ownable


# @dev We import and initialise the `erc20` module.
from snekmate.tokens import erc20
initializes: erc20[ownable := ownable]


# @dev Snekmate's own minting and ownership are not exported: the
# deployer can do nothing but name the minter.
exports: (
    erc20.name,
    erc20.symbol,
    erc20.decimals,
    erc20.totalSupply,
    erc20.balanceOf,
    erc20.allowance,
    erc20.transfer,
    erc20.transferFrom,
    erc20.approve,
    erc20.permit,
    erc20.nonces,
    erc20.burn,
    erc20.DOMAIN_SEPARATOR,
    erc20.eip712Domain,
)


# @dev The highest cap, in wei. Contracts that calculate with
# amounts of this token rely on it, so that nothing overflows.
MAX_CAP: constant(uint256) = 2**96


# @dev The most wei that there may ever be at once.
cap: public(immutable(uint256))


# @dev Who mints; empty until it is named.
minter: public(address)


event MinterNamed:
    minter: indexed(address)


@deploy
def __init__(supply: uint256, cap_: uint256):
    """
    @dev Mints the first supply to the deployer.
    @param supply The first supply in wei.
    @param cap_ The most wei that there may ever be at once.
    """
    assert cap_ <= MAX_CAP, "token: cap too high"
    assert supply <= cap_, "token: supply above cap"
    ownable.__init__()
    erc20.__init__("Surge", "SURGE", 18, "Surge", "1")
    cap = cap_
    erc20._mint(msg.sender, supply)


@external
def set_minter(minter_: address):
    """
    @dev Names who mints. Only the deployer may, and only once.
    @param minter_ The minter.
    """
    ownable._check_owner()
    assert minter_ != empty(address), "token: no minter"
    assert self.minter == empty(address), "token: minter was named"
    self.minter = minter_
    log MinterNamed(minter=minter_)


@external
def mint(to: address, amount: uint256):
    """
    @dev Makes new tokens, up to the cap. Only the minter may.
    @param to Who gets them.
    @param amount How much, in wei.
    """
    assert msg.sender == self.minter, "token: not the minter"
    assert amount <= cap - erc20.totalSupply, "token: above cap"
    erc20._mint(to, amount)
