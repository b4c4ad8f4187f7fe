# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Dues: what a slasher owes, and what it has reserved of bonds
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module that moves the money of a contract that judges:
        credits that are collected, bonds that are reserved,
        slashed and released.
@custom:security Invariants:
        1. credits are only ever taken by whom they are owed to,
           so that nobody's failing transfer stops a verdict;
        2. who had its bond reserved elsewhere by this court when
           a verdict fell short has a debt: it is slashed of what
           is released later, and of nothing else. Reserving a
           bond with a friend's case, or with seats, saves it from
           no verdict;
        3. a court that was replaced ends its cases all the same:
           what it may no longer slash, it passes over.
"""


from ethereum.ercs import IERC20


struct Bond:
    assets: uint256
    shares: uint256
    leaving_assets: uint256
    leaving_shares: uint256
    reserved: uint256
    commission_bps: uint256
    anchor: bytes32
    links_used: uint256


interface Token:
    def burn(amount: uint256): nonpayable


interface Bonds:
    def is_slasher(account: address) -> bool: view
    def unbonding_seconds() -> uint256: view
    def pool(operator: address) -> Bond: view
    def own_stake(operator: address) -> uint256: view
    def own_part(operator: address, amount: uint256) -> uint256: view
    def free_bond(operator: address) -> uint256: view
    def reserved_by(slasher: address, operator: address) -> uint256: view
    def next_ordinal(operator: address) -> uint256: nonpayable
    def use_link(operator: address, ordinal: uint256, link: bytes32) -> bool: nonpayable
    def reserve(operator: address, amount: uint256) -> uint256: nonpayable
    def release(operator: address, amount: uint256): nonpayable
    def slash(operator: address, amount: uint256, payees: DynArray[address, 64], amounts: DynArray[uint256, 64]): nonpayable


# @dev The token.
token: public(immutable(address))


# @dev Who holds the bonds.
bonds: public(immutable(address))


# @dev Wei that an account may collect.
owed: public(HashMap[address, uint256])


# @dev Wei that a verdict found reserved elsewhere; see above.
debts: public(HashMap[address, uint256])


event Credited:
    account: indexed(address)
    case: indexed(uint256)
    amount: uint256


event Collected:
    account: indexed(address)
    amount: uint256


event DebtChanged:
    operator: indexed(address)
    debt: uint256


@deploy
def __init__(token_: address, bonds_: address):
    """
    @dev Names what the court deals with.
    @param token_ The token.
    @param bonds_ Who holds the bonds.
    """
    assert token_ != empty(address) and bonds_ != empty(address), "dues: empty address"
    token = token_
    bonds = bonds_


@external
@nonreentrant
def collect() -> uint256:
    """
    @dev Pays the caller what it is owed.
    @return uint256 The sum in wei.
    """
    amount: uint256 = self.owed[msg.sender]
    assert amount > 0, "dues: nothing owed"
    self.owed[msg.sender] = 0
    log Collected(account=msg.sender, amount=amount)
    assert extcall IERC20(token).transfer(msg.sender, amount, default_return_value=True), "dues: payment failed"
    return amount


@internal
def _credit(account: address, case: uint256, amount: uint256):
    """
    @dev Owes somebody what a case brings it.
    """
    if amount > 0:
        self.owed[account] += amount
        log Credited(account=account, case=case, amount=amount)


@internal
def _take(payer: address, amount: uint256):
    """
    @dev Takes tokens in.
    """
    assert extcall IERC20(token).transferFrom(payer, self, amount, default_return_value=True), "dues: no payment"


@internal
def _burn(amount: uint256):
    """
    @dev Burns tokens that the court holds.
    """
    if amount > 0:
        extcall Token(token).burn(amount)


@internal
@view
def _reward(operator: address, slashed: uint256, part: uint256) -> uint256:
    """
    @dev What may be paid of a slash to who brought it about: no
         more than the operator itself loses. Else one could have
         oneself slashed for the stake of others.
    """
    return min(part, staticcall Bonds(bonds).own_part(operator, slashed))


@internal
@view
def _held(operator: address) -> uint256:
    """
    @dev What this court has reserved of a bond, for cases and
         seats together.
    """
    return staticcall Bonds(bonds).reserved_by(self, operator)


@internal
def _lock(operator: address, amount: uint256) -> uint256:
    """
    @dev Reserves of a bond what is free, at most an amount.
         Returns what was reserved.
    """
    if amount == 0 or not staticcall Bonds(bonds).is_slasher(self):
        return 0
    return extcall Bonds(bonds).reserve(operator, amount)


@internal
def _unlock(operator: address, amount: uint256):
    """
    @dev Releases what was reserved, debts first.
    """
    held: uint256 = min(amount, self._held(operator))
    due: uint256 = min(self.debts[operator], held)
    if due > 0:
        self._set_debt(operator, self.debts[operator] - due)
        extcall Bonds(bonds).slash(operator, due, [], [])
    if held > due:
        extcall Bonds(bonds).release(operator, held - due)


@internal
def _slash(operator: address, amount: uint256, kept: uint256):
    """
    @dev Slashes what was reserved, which `_held` covers. The court
         gets what it is to pass on; the rest is burnt. A debt is
         no more than what the court still holds.
    """
    if amount == 0:
        return
    if kept == 0:
        extcall Bonds(bonds).slash(operator, amount, [], [])
    else:
        extcall Bonds(bonds).slash(operator, amount, [self], [kept])
    debt: uint256 = self.debts[operator]
    if debt > 0:
        self._set_debt(operator, min(debt, self._held(operator)))


@internal
def _seize(operator: address, reserved: uint256, due: uint256) -> uint256:
    """
    @dev Brings together what can be slashed of a bond: what was
         reserved for it, and what is free now. What is missing,
         and is reserved elsewhere by this court, becomes a debt.
         Returns what is reserved for it now.
    """
    held: uint256 = min(reserved, self._held(operator))
    if held < due:
        held += self._lock(operator, due - held)
    if held < due:
        self._owe(operator, due - held, self._held(operator) - held)
    return held


@internal
def _owe(operator: address, missing: uint256, elsewhere: uint256):
    """
    @dev Notes what a slash lacks as a debt, as far as this court
         has it reserved elsewhere.
    """
    self._set_debt(operator, min(self.debts[operator] + missing, elsewhere))


@internal
def _set_debt(operator: address, debt: uint256):
    """
    @dev Notes what an operator is to be slashed of later.
    """
    if debt != self.debts[operator]:
        self.debts[operator] = debt
        log DebtChanged(operator=operator, debt=debt)
