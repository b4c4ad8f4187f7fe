# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Commissions: what operators keep of what they are paid
@license GNU Affero General Public License v3.0 only
@author Surge
@notice In basis points of a payment. An operator that named none
        keeps everything.
@custom:security Invariant: what stakers get of a payment falls no
                 sooner than the unbonding period after it was
                 announced, so that they can leave before.
"""


# @dev Basis points of a whole.
WHOLE: constant(uint256) = 10_000




# @dev The bits of a part in storage.
MASK: constant(uint256) = 2**32 - 1


# @dev Stakers' parts of what each operator is paid, in basis
# points: the present one, and the one that follows at a time in
# Unix seconds (0 if none does). One word of storage.
_parts: HashMap[address, uint256]


event CommissionSet:
    operator: indexed(address)
    commission_bps: uint256
    from_time: uint256


@internal
def _set_commission(operator: address, commission_bps: uint256, wait: uint256):
    """
    @dev A lower commission counts at once, a higher one after the
         wait. Either replaces what was announced before.
    """
    assert commission_bps <= WHOLE, "bonds: commission above the whole"
    part: uint256 = WHOLE - commission_bps
    present: uint256 = self._part(operator)
    at: uint256 = block.timestamp
    if part >= present:
        self._parts[operator] = part
    else:
        at += wait
        self._parts[operator] = present | part << 32 | at << 64
    log CommissionSet(operator=operator, commission_bps=commission_bps, from_time=at)


@internal
@view
def _part(operator: address) -> uint256:
    """
    @dev The stakers' part now, in basis points.
    """
    word: uint256 = self._parts[operator]
    at: uint256 = word >> 64
    if at != 0 and block.timestamp >= at:
        return word >> 32 & MASK
    return word & MASK


@internal
@view
def _announced(operator: address) -> (uint256, uint256):
    """
    @dev The commission that follows and from when; (0, 0) if none.
    """
    word: uint256 = self._parts[operator]
    at: uint256 = word >> 64
    if at == 0 or block.timestamp >= at:
        return 0, 0
    return WHOLE - (word >> 32 & MASK), at
