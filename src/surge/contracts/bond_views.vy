# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Bond views: what there is to know of bonds
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Reads what the modules that it uses hold, and changes
        nothing.
@custom:security It holds no state of its own.
"""


# @dev We use the `pools` module.
import pools
uses: pools


# @dev We use the `anchors` module.
import anchors
uses: anchors


# @dev We use the `commissions` module.
import commissions
uses: commissions


# @dev We import the `shares` module, which is stateless.
import shares as maths


# @dev What there is to know of an operator's bond.
struct Bond:
    assets: uint256
    shares: uint256
    leaving_assets: uint256
    leaving_shares: uint256
    reserved: uint256
    commission_bps: uint256
    anchor: bytes32
    links_used: uint256


@external
@view
def pool(operator: address) -> Bond:
    """
    @dev What there is to know of an operator's bond.
    @param operator The operator.
    @return Bond Both pools, what is reserved, the commission, and
            the hash chain that new cases belong to.
    """
    found: pools.Pool = pools._pools[operator]
    links: anchors.Chain = anchors._chain(operator)
    return Bond(
        assets=found.assets,
        shares=found.shares,
        leaving_assets=found.leaving_assets,
        leaving_shares=found.leaving_shares,
        reserved=found.reserved,
        commission_bps=commissions.WHOLE - commissions._part(operator),
        anchor=links.anchor,
        links_used=links.links_used,
    )


@external
@view
def bond_of(operator: address) -> uint256:
    """
    @dev What is behind an operator, active and leaving, in wei.
    @param operator The operator.
    @return uint256 Its bond.
    """
    return pools._pools[operator].assets + pools._pools[operator].leaving_assets


@external
@view
def free_bond(operator: address) -> uint256:
    """
    @dev What of a bond may be reserved, in wei.
    @param operator The operator.
    @return uint256 What is free.
    """
    return pools._free(pools._pools[operator])


@external
@view
def own_stake(operator: address) -> uint256:
    """
    @dev An operator's own active stake in wei.
    @param operator The operator.
    @return uint256 Its stake.
    """
    return pools._own(operator)


@external
@view
def own_part(operator: address, amount: uint256) -> uint256:
    """
    @dev What of a slash would be an operator's own loss; the rest
         would be that of who staked behind it.
    @param operator The operator.
    @param amount The slash in wei.
    @return uint256 Its part in wei.
    """
    return pools._own_part(operator, amount)


@external
@view
def announced_commission(operator: address) -> (uint256, uint256):
    """
    @dev The commission that an operator announced.
    @param operator The operator.
    @return uint256 Its part in basis points.
    @return uint256 From when, in Unix seconds; 0 if none follows.
    """
    return commissions._announced(operator)


@external
@view
def position(operator: address, staker: address) -> (uint256, uint256, uint256):
    """
    @dev What somebody has behind an operator.
    @param operator The operator.
    @param staker Who staked.
    @return uint256 Active shares.
    @return uint256 Their worth in wei.
    @return uint256 Rewards that can be claimed, in wei.
    """
    has: pools.Position = pools._settle(operator, staker)
    found: pools.Pool = pools._pools[operator]
    return has.shares, maths._worth(has.shares, found.assets, found.shares), has.owed


@external
@view
def claimable(operator: address, staker: address) -> uint256:
    """
    @dev What somebody's stake behind an operator earned, in wei.
    @param operator The operator.
    @param staker Who staked.
    @return uint256 What `claim` would pay.
    """
    return pools._settle(operator, staker).owed


@external
@view
def leaving(ticket: uint256) -> uint256:
    """
    @dev What a ticket is worth now, in wei.
    @param ticket The ticket.
    @return uint256 Its worth, before what is reserved.
    """
    found: pools.Ticket = pools.tickets[ticket]
    behind: pools.Pool = pools._pools[found.operator]
    return maths._worth(pools._left(found), behind.leaving_assets, behind.leaving_shares)
