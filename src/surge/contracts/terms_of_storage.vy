# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Terms of storage: periods, the fee, and what a shard may cost
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module with the numbers that challenges are founded with.
        They never change, but for the fee, which the owner sets
        between two of them.
@custom:security Every period and amount is held to hard bounds
                 at deployment. A new fee counts for challenges
                 that are opened afterwards.
"""


# @dev We use the `ownable` module.
from snekmate.auth import ownable
uses: ownable


struct Parameters:
    period_seconds: uint256  # in which a holder is audited and paid once
    deadline_seconds: uint256  # for a holder to answer a challenge
    fee: uint256  # wei that opening a challenge takes now
    least_fee: uint256  # wei: the fee is never below
    most_fee: uint256  # wei: nor above
    least_penalty: uint256  # wei that a pledge puts at stake at least
    most_penalty: uint256  # wei that it puts at stake at most


# @dev Periods that one pledge spans at most: the next one is signed
# while the last one still holds.
MAX_PERIODS: constant(uint256) = 2


# @dev Seconds: a period is no shorter than 5 seconds and no longer
# than 30 days.
MIN_PERIOD: constant(uint256) = 5
MAX_PERIOD: constant(uint256) = 2_592_000


# @dev Wei: fees and penalties fit where challenges keep them.
MAX_WEI: constant(uint256) = 2**88 - 1


TERMS: immutable(Parameters)


# @dev Wei that opening a challenge takes.
fee: public(uint256)


event FeeSet:
    fee: uint256


@deploy
def __init__(parameters_: Parameters):
    """
    @dev Checks the numbers, and keeps them.
    @param parameters_ The numbers.
    """
    for period: uint256 in [parameters_.period_seconds, parameters_.deadline_seconds]:
        assert period >= MIN_PERIOD and period <= MAX_PERIOD, "challenges: period out of bounds"
    assert parameters_.least_fee > 0 and parameters_.least_fee <= parameters_.most_fee, "challenges: fees out of bounds"
    assert parameters_.least_penalty > 0 and parameters_.least_penalty <= parameters_.most_penalty, "challenges: penalties out of bounds"
    assert max(parameters_.most_fee, parameters_.most_penalty) <= MAX_WEI, "challenges: amount out of bounds"
    TERMS = parameters_
    self._set_fee(parameters_.fee)


@external
def set_fee(fee: uint256):
    """
    @dev Sets what opening a challenge takes. Only the owner may.
         It should pay for what an answer costs in gas.
    @param fee The fee in wei.
    """
    ownable._check_owner()
    self._set_fee(fee)


@external
@view
def parameters() -> Parameters:
    """
    @dev The numbers that count now.
    @return Parameters The numbers.
    """
    found: Parameters = TERMS
    found.fee = self.fee
    return found


@internal
def _set_fee(fee: uint256):
    """
    @dev Sets the fee within its bounds.
    """
    assert fee >= TERMS.least_fee and fee <= TERMS.most_fee, "challenges: fee out of bounds"
    self.fee = fee
    log FeeSet(fee=fee)


@internal
@view
def _longest_pledge() -> uint256:
    """
    @dev Seconds that a pledge holds at most.
    """
    return MAX_PERIODS * TERMS.period_seconds
