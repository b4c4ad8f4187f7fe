# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Slashers: who may reserve and slash bonds
@license GNU Affero General Public License v3.0 only
@author Surge
@notice There is a place for each contract that judges: the first
        is the court's, the second that of storage challenges. The
        owner fills each soon after deployment, and may propose
        another slasher for it, which anybody puts there once the
        delay is over.
@custom:security Invariants:
        1. once founding is over, whoever staked before a change
           was proposed can be out before it happens, because the
           delay is twice the unbonding period: also where the
           place was empty;
        2. nobody has two places, so that who left one is no
           slasher any more;
        3. a slasher that was replaced reserves nothing more; what
           it had reserved it may slash or release, until an
           unbonding period has passed;
        4. no slasher touches what another one has reserved.
"""


# @dev We use the `ownable` module.
from snekmate.auth import ownable
uses: ownable


# @dev Places for slashers.
PLACES: constant(uint256) = 4


# @dev Seconds after deployment in which a place's first slasher is
# named at once: a day. The contracts that judge are deployed after
# this one, which they name.
FOUNDING: constant(uint256) = 86_400


# @dev Seconds between a proposal and the change.
slasher_delay: public(immutable(uint256))


# @dev When the founding is over, in Unix seconds.
founded_at: public(immutable(uint256))


# @dev Who has each place; empty if nobody has.
_slashers: address[PLACES]


# @dev Whether somebody has a place: who has may reserve, slash and
# take ordinals.
is_slasher: public(HashMap[address, bool])


# @dev Who was proposed for each place; empty if nobody is.
_proposed: address[PLACES]


# @dev When it may take the place, in Unix seconds.
_proposed_from: uint256[PLACES]


# @dev When a slasher was replaced, in Unix seconds; 0 if it was not.
retired_at: public(HashMap[address, uint256])


event SlasherProposed:
    slasher: indexed(address)
    place: indexed(uint256)
    from_time: uint256


event SlasherSet:
    slasher: indexed(address)
    place: indexed(uint256)


@deploy
def __init__(delay: uint256):
    """
    @dev Fixes the delay of a change.
    @param delay The delay in seconds.
    """
    slasher_delay = delay
    founded_at = block.timestamp + FOUNDING


@external
def set_slasher(slasher: address, place: uint256 = 0):
    """
    @dev Names the first slasher of a place. Only the owner may,
         and only within the founding.
    @param slasher The slasher.
    @param place Its place; the court's if none is named.
    """
    ownable._check_owner()
    assert place < PLACES, "bonds: no such place"
    assert slasher != empty(address), "bonds: no slasher"
    assert self._slashers[place] == empty(address), "bonds: slasher was named"
    assert not self.is_slasher[slasher], "bonds: slasher has a place"
    assert block.timestamp <= founded_at, "bonds: founding is over"
    self._seat(place, slasher)


@external
def propose_slasher(slasher: address, place: uint256 = 0):
    """
    @dev Proposes another slasher for a place, or with the empty
         address calls the proposal off. Only the owner may.
    @param slasher Who shall take the place.
    @param place The place; the court's if none is named.
    """
    ownable._check_owner()
    assert place < PLACES, "bonds: no such place"
    self._proposed[place] = slasher
    self._proposed_from[place] = block.timestamp + slasher_delay
    log SlasherProposed(slasher=slasher, place=place, from_time=self._proposed_from[place])


@external
def accept_slasher(place: uint256 = 0):
    """
    @dev Puts the proposed slasher in its place, once the delay is
         over. Anyone may call it.
    @param place The place; the court's if none is named.
    """
    assert place < PLACES, "bonds: no such place"
    proposed: address = self._proposed[place]
    assert proposed != empty(address), "bonds: no slasher"
    assert block.timestamp >= self._proposed_from[place], "bonds: delay not over"
    former: address = self._slashers[place]
    if former != empty(address):
        self.is_slasher[former] = False
        self.retired_at[former] = block.timestamp
    assert not self.is_slasher[proposed], "bonds: slasher has a place"
    self.retired_at[proposed] = 0
    self._proposed[place] = empty(address)
    self._seat(place, proposed)


@external
@view
def slasher(place: uint256 = 0) -> address:
    """
    @dev Who has a place.
    @param place The place; the court's if none is named.
    @return address The slasher; empty if nobody has it.
    """
    return self._slashers[place] if place < PLACES else empty(address)


@external
@view
def proposed_slasher(place: uint256 = 0) -> address:
    """
    @dev Who was proposed for a place.
    @param place The place; the court's if none is named.
    @return address Who was proposed; empty if nobody is.
    """
    return self._proposed[place] if place < PLACES else empty(address)


@external
@view
def proposed_from(place: uint256 = 0) -> uint256:
    """
    @dev When who was proposed may take a place.
    @param place The place; the court's if none is named.
    @return uint256 The time in Unix seconds.
    """
    return self._proposed_from[place] if place < PLACES else 0


@internal
def _seat(place: uint256, slasher: address):
    """
    @dev Gives a place to who has none.
    """
    self._slashers[place] = slasher
    self.is_slasher[slasher] = True
    log SlasherSet(slasher=slasher, place=place)


@internal
@view
def _check_slasher():
    """
    @dev Reverts unless the caller is a slasher.
    """
    assert self.is_slasher[msg.sender], "bonds: not the slasher"


@internal
@view
def _retired(slasher: address, wait: uint256) -> bool:
    """
    @dev Whether a slasher was replaced longer ago than the wait.
    """
    at: uint256 = self.retired_at[slasher]
    return at != 0 and block.timestamp > at + wait
