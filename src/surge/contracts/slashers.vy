# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Slashers: who may reserve and slash bonds
@license GNU Affero General Public License v3.0 only
@author Surge
@notice The owner names the first slasher soon after deployment,
        and may propose another, which anybody puts in its place
        once the delay is over.
@custom:security Invariant: once founding is over, whoever staked
                 before a change was proposed can be out before it
                 happens, because the delay is twice the unbonding
                 period. A slasher that was replaced reserves
                 nothing more; what it had reserved it may slash or
                 release, until an unbonding period has passed.
"""


# @dev We use the `ownable` module.
from snekmate.auth import ownable
uses: ownable


# @dev Seconds after deployment in which the first slasher is named
# at once: a day. The contract that judges is deployed after this
# one, which it names.
FOUNDING: constant(uint256) = 86_400


# @dev Seconds between a proposal and the change.
slasher_delay: public(immutable(uint256))


# @dev When the founding is over, in Unix seconds.
founded_at: public(immutable(uint256))


# @dev Who may reserve, slash and take ordinals.
slasher: public(address)


# @dev Who was proposed; empty if nobody is.
proposed_slasher: public(address)


# @dev When it may take its place, in Unix seconds.
proposed_from: public(uint256)


# @dev When a slasher was replaced, in Unix seconds; 0 if it was not.
retired_at: public(HashMap[address, uint256])


event SlasherProposed:
    slasher: indexed(address)
    from_time: uint256


event SlasherSet:
    slasher: indexed(address)


@deploy
def __init__(delay: uint256):
    """
    @dev Fixes the delay of a change.
    @param delay The delay in seconds.
    """
    slasher_delay = delay
    founded_at = block.timestamp + FOUNDING


@external
def set_slasher(slasher: address):
    """
    @dev Names the first slasher. Only the owner may, and only
         within the founding.
    @param slasher The slasher.
    """
    ownable._check_owner()
    assert slasher != empty(address), "bonds: no slasher"
    assert self.slasher == empty(address), "bonds: slasher was named"
    assert block.timestamp <= founded_at, "bonds: founding is over"
    self.slasher = slasher
    log SlasherSet(slasher=slasher)


@external
def propose_slasher(slasher: address):
    """
    @dev Proposes another slasher, or with the empty address calls
         the proposal off. Only the owner may.
    @param slasher Who shall take the place.
    """
    ownable._check_owner()
    self.proposed_slasher = slasher
    self.proposed_from = block.timestamp + slasher_delay
    log SlasherProposed(slasher=slasher, from_time=self.proposed_from)


@external
def accept_slasher():
    """
    @dev Puts the proposed slasher in its place, once the delay is
         over. Anyone may call it.
    """
    proposed: address = self.proposed_slasher
    assert proposed != empty(address), "bonds: no slasher"
    assert block.timestamp >= self.proposed_from, "bonds: delay not over"
    self.retired_at[self.slasher] = block.timestamp
    self.retired_at[proposed] = 0
    self.slasher = proposed
    self.proposed_slasher = empty(address)
    log SlasherSet(slasher=proposed)


@internal
@view
def _check_slasher():
    """
    @dev Reverts unless the caller is the slasher.
    """
    assert msg.sender == self.slasher, "bonds: not the slasher"


@internal
@view
def _retired(slasher: address, wait: uint256) -> bool:
    """
    @dev Whether a slasher was replaced longer ago than the wait.
    """
    at: uint256 = self.retired_at[slasher]
    return at != 0 and block.timestamp > at + wait
