# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Shares of a pool
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A stateless module: what an amount buys and what shares are
        worth. Every pool has, beside what was put in, a thousand
        virtual shares and one virtual wei.
@custom:security Rounding always favours the pool. The virtual
                 shares hold nearly all of a nearly empty pool, so
                 that whoever raises the price of its shares gives
                 away more than the next depositor can lose.
"""


# @dev Shares that belong to nobody, for a wei that belongs to nobody.
VIRTUAL: constant(uint256) = 1_000


# @dev Shares to a wei above which slashes have diluted a pool so
# much that its shares are thinned. It bounds the shares that there
# may be: with a token of at most 2**96 wei they fit into 128 bits.
MAX_DILUTION: constant(uint256) = 10**9


# @dev Shares that become one when a pool's shares are thinned.
THINNING: constant(uint256) = 10**6


# @dev Thinnings after which nothing is left of any shares.
MAX_THINNINGS: constant(uint256) = 8


# @dev Wei, a millionth of a millionth of a token: a diluted pool
# with no more in it counts as wiped out.
DUST: constant(uint256) = 10**6


@internal
@pure
def _bought(amount: uint256, assets: uint256, shares: uint256) -> uint256:
    """
    @dev The shares that an amount buys.
    @param amount The amount in wei.
    @param assets The pool's wei.
    @param shares The pool's shares.
    @return uint256 The shares, rounded down.
    """
    return amount * (shares + VIRTUAL) // (assets + 1)


@internal
@pure
def _worth(part: uint256, assets: uint256, shares: uint256) -> uint256:
    """
    @dev What some of a pool's shares are worth.
    @param part The shares.
    @param assets The pool's wei.
    @param shares The pool's shares.
    @return uint256 Their wei, rounded down; never above `assets`.
    """
    return part * (assets + 1) // (shares + VIRTUAL)


@internal
@pure
def _diluted(assets: uint256, shares: uint256) -> bool:
    """
    @dev Whether so little is left to so many shares that they are
         thinned, or the pool begins anew.
    @param assets The pool's wei.
    @param shares The pool's shares.
    @return bool Whether it is.
    """
    return (assets + 1) * MAX_DILUTION < shares
