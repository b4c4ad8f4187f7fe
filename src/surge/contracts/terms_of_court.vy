# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Terms of the court: periods, prices, and the bribe bound
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module with the numbers a court is founded with. They
        never change: another court is another contract.
@custom:security Every period and amount is held to hard bounds
                 at deployment. Off chain, `core/court.py` does
                 the same arithmetic.
"""


struct Parameters:
    answer_seconds: uint256  # for the accused to give its link
    draw_seconds: uint256  # for the opener to give its secret
    commit_seconds: uint256  # for jurors to commit, on top of what the fuel takes
    reveal_seconds: uint256  # for jurors to reveal
    extend_seconds: uint256  # for the opener to call a larger jury
    max_claim_age: uint256  # seconds after the redemption within which a receipt may be disputed
    fuel_per_second: uint256  # how fast a juror must be
    max_fuel: uint256  # the largest unit that is tried
    opener_bond: uint256  # wei that an opener risks at least
    seat_stake: uint256  # wei that each seat risks
    base_fee: uint256  # wei for each juror and case
    gigafuel_fee: uint256  # wei for each 10**9 of the fuel limit, on top


# @dev Jurors of the first, second and third size. A case is opened
# with one of the first two, and each jury called later is larger by
# a factor.
SMALL: constant(uint256) = 5
MIDDLE: constant(uint256) = 15
LARGE: constant(uint256) = 45
GROWTH: constant(uint256) = 3


# @dev Sizes a case may go through.
ROUNDS: constant(uint256) = 3


# @dev Seconds: a period is no shorter than 5 seconds and no longer
# than 30 days; a claim's greatest age at most 180 days.
MIN_PERIOD: constant(uint256) = 5
MAX_PERIOD: constant(uint256) = 2_592_000
MAX_CLAIM_AGE: constant(uint256) = 15_552_000


# @dev Fuel: no unit has a higher limit (`core/units.py`).
MAX_FUEL: constant(uint256) = 2**62


# @dev Seconds: a jury is given at most 30 days for the fuel.
MAX_FUEL_SECONDS: constant(uint256) = 2_592_000


# @dev Wei: keeps every product far below 2**256.
MAX_WEI: constant(uint256) = 2**96


# @dev An opener risks at most so many of the least fee, beside what a
# case is worth: a verdict moves no more than jurors can be bought for.
MAX_BOND_FEES: constant(uint256) = 10


# @dev The numbers: written once, at deployment.
_terms: Parameters


@deploy
def __init__(parameters_: Parameters):
    """
    @dev Checks the numbers, and keeps them.
    @param parameters_ The numbers.
    """
    for period: uint256 in [
        parameters_.answer_seconds,
        parameters_.draw_seconds,
        parameters_.commit_seconds,
        parameters_.reveal_seconds,
        parameters_.extend_seconds,
    ]:
        assert period >= MIN_PERIOD and period <= MAX_PERIOD, "court: period out of bounds"
    assert parameters_.max_claim_age >= MIN_PERIOD and parameters_.max_claim_age <= MAX_CLAIM_AGE, "court: claim age out of bounds"
    assert parameters_.max_fuel > 0 and parameters_.max_fuel <= MAX_FUEL, "court: fuel out of bounds"
    assert parameters_.fuel_per_second > 0, "court: speed out of bounds"
    assert parameters_.max_fuel // parameters_.fuel_per_second <= MAX_FUEL_SECONDS, "court: speed out of bounds"
    assert parameters_.base_fee > 0, "court: amount out of bounds"
    for amount: uint256 in [
        parameters_.opener_bond,
        parameters_.seat_stake,
        parameters_.base_fee,
        parameters_.gigafuel_fee,
    ]:
        assert amount <= MAX_WEI, "court: amount out of bounds"
    assert parameters_.opener_bond <= MAX_BOND_FEES * parameters_.base_fee, "court: amount out of bounds"
    self._terms = parameters_
    assert parameters_.seat_stake >= self._fee(parameters_.max_fuel), "court: a seat covers no fee"


@external
@view
def parameters() -> Parameters:
    """
    @dev The numbers this court was founded with.
    @return Parameters The numbers.
    """
    return self._terms


@external
@view
def fee(fuel_limit: uint256) -> uint256:
    """
    @dev What each juror of a case is paid, and pays if it does
         not reveal.
    @param fuel_limit The unit's fuel limit.
    @return uint256 The fee in wei.
    """
    return self._fee(fuel_limit)


@external
@view
def max_worth(fuel_limit: uint256, jurors: uint256) -> uint256:
    """
    @dev The bribe bound: what a jury's smallest majority is paid.
         No verdict takes more than this from a bond beside costs,
         and buying one takes more than all that it moves: see
         `cheapest_bribe` in `core/bribes.py`.
    @param fuel_limit The unit's fuel limit.
    @param jurors The jury's size.
    @return uint256 The bound in wei.
    """
    return self._max_worth(fuel_limit, jurors)


@external
@view
def deposit(fuel_limit: uint256, jurors: uint256, worth: uint256) -> uint256:
    """
    @dev What opening a case takes: the opener's bond and the
         jurors' fees.
    @param fuel_limit The unit's fuel limit.
    @param jurors The jury's size.
    @param worth What the accused may lose beside the costs.
    @return uint256 The sum in wei.
    """
    return self._opener_bond(worth) + jurors * self._fee(fuel_limit)


@external
@view
def longest_case() -> uint256:
    """
    @dev Seconds between the opening of a case and the last of
         its deadlines, at most.
    @return uint256 The seconds.
    """
    return self._longest_case()


@internal
@view
def _fee(fuel_limit: uint256) -> uint256:
    """
    @dev A juror's fee, rounded up.
    """
    return self._terms.base_fee + (fuel_limit * self._terms.gigafuel_fee + 999_999_999) // 1_000_000_000


@internal
@pure
def _next_size(jurors: uint256) -> uint256:
    """
    @dev The jury that follows one of this size.
    """
    return min(GROWTH * jurors, LARGE)


@internal
@pure
def _fine(fee: uint256, jurors: uint256) -> uint256:
    """
    @dev What a juror of a jury of this size loses for another
         answer than the verdict's: the fees of the larger jury
         that a dissent calls for.
    """
    return self._next_size(jurors) * fee


@internal
@view
def _max_worth(fuel_limit: uint256, jurors: uint256) -> uint256:
    """
    @dev The bribe bound.
    """
    return (jurors // 2 + 1) * self._fee(fuel_limit)


@internal
@view
def _opener_bond(worth: uint256) -> uint256:
    """
    @dev The opener risks what it asks of the other side.
    """
    return max(self._terms.opener_bond, worth)


@internal
@view
def _commit_window(fuel_limit: uint256) -> uint256:
    """
    @dev Seconds to run the unit and to commit.
    """
    return self._terms.commit_seconds + fuel_limit // self._terms.fuel_per_second


@internal
@view
def _longest_case() -> uint256:
    """
    @dev Three juries, and two waits for a larger one.
    """
    jury: uint256 = (
        self._terms.answer_seconds + self._terms.draw_seconds + self._commit_window(self._terms.max_fuel) + self._terms.reveal_seconds
    )
    return ROUNDS * jury + (ROUNDS - 1) * self._terms.extend_seconds
