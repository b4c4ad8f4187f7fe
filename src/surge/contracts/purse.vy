# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Purse: the one token that a contract holds
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Takes tokens in, pays them out, and burns them.
@custom:security Whoever calls it has changed its state before. The
                 token is Surge's, which calls nobody back.
"""


from ethereum.ercs import IERC20


interface Burnable:
    def burn(amount: uint256): nonpayable


# @dev The token.
token: public(immutable(address))


@deploy
def __init__(token_: address):
    """
    @dev Fixes the token.
    @param token_ The token.
    """
    assert token_ != empty(address), "purse: no token"
    token = token_


@internal
def _take(payer: address, amount: uint256):
    """
    @dev Takes what the payer approved.
    """
    assert extcall IERC20(token).transferFrom(payer, self, amount, default_return_value=True), "purse: no payment"


@internal
def _give(payee: address, amount: uint256):
    """
    @dev Pays an amount out.
    """
    if amount > 0:
        assert extcall IERC20(token).transfer(payee, amount, default_return_value=True), "purse: payment failed"


@internal
def _burn(amount: uint256):
    """
    @dev Burns an amount.
    """
    if amount > 0:
        extcall Burnable(token).burn(amount)


@internal
def _allow(spender: address):
    """
    @dev Lets a contract take whatever it is told to pay.
    """
    assert extcall IERC20(token).approve(spender, max_value(uint256), default_return_value=True), "purse: not approved"
