# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Verdicts: how cases end, and who gets what
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module that counts a jury's answers and settles a case.
@custom:security Invariants:
        1. what a case took in is owed to somebody, or burnt, when
           it is over;
        2. of what a loser loses beside the costs, the other side
           gets at most a quarter, and no more than the accused
           itself loses, the jurors at most a quarter, and at least
           half is burnt;
        3. who does not reveal pays, who is in the minority is not
           paid, and where nobody had a majority only those are
           paid whose answer another juror of their round gave too.
"""


# @dev We use the `terms_of_court`, `dues`, `seats` and `cases`
# modules.
import terms_of_court
import dues
import seats
import cases
uses: terms_of_court
uses: dues
uses: seats
uses: cases


# @dev Outcomes. By a jury: the accused's answer, the opener's, or
# another one was right, or the inputs did not come. By default:
# the accused kept its link, the opener its secret, there were too
# few jurors, no jury had a majority, or most seats cannot run what
# the opener asks for.
ACQUITTED: constant(uint256) = 1
CONVICTED: constant(uint256) = 2
BOTH_WRONG: constant(uint256) = 3
NO_INPUTS: constant(uint256) = 4
NO_LINK: constant(uint256) = 5
NO_SECRET: constant(uint256) = 6
DISMISSED: constant(uint256) = 7
UNRESOLVED: constant(uint256) = 8
UNFIT: constant(uint256) = 9


# @dev What the winning side, and the jurors together, get of what
# the loser loses beside the costs: a quarter each.
PART: constant(uint256) = 4


# @dev Jurors who got no inputs are paid a quarter of the fee.
IDLE_PART: constant(uint256) = 4


event Settled:
    case: indexed(uint256)
    accused: indexed(address)
    outcome: uint256
    costs: uint256
    lost: uint256
    burnt: uint256


event NoMajority:
    case: indexed(uint256)
    round: uint256
    deadline: uint256


@deploy
def __init__():
    """
    @dev Nothing to set.
    """
    pass


@internal
def _tally(id: uint256):
    """
    @dev Counts a jury's answers once its time is over; who did not
         reveal pays.
    """
    case: cases.Case = cases._cases[id]
    for place: uint256 in range(case.first, case.first + case.jurors, bound=terms_of_court.LARGE):
        ballot: cases.Ballot = cases._ballots[id][cases._jurors[id][place]]
        if ballot.answer == empty(bytes32):
            seats._charge(ballot.enlistment, case.fee)
    if 2 * case.lead_votes > case.jurors:
        if case.lead_kind == cases.OWN:
            self._settle(id, ACQUITTED)
        elif case.lead_kind == cases.CLAIMED:
            self._settle(id, CONVICTED)
        elif case.lead_kind == cases.OTHER:
            self._settle(id, BOTH_WRONG)
        else:
            self._settle(id, NO_INPUTS)
    elif case.jurors == terms_of_court.LARGE:
        self._settle(id, UNRESOLVED)
    else:
        deadline: uint256 = min(block.timestamp, case.deadline) + terms_of_court.TERMS.extend_seconds
        cases._cases[id].phase = cases.EXTEND
        cases._cases[id].deadline = deadline
        log NoMajority(case=id, round=case.round, deadline=deadline)


@internal
def _settle(id: uint256, outcome: uint256):
    """
    @dev Ends a case: pays the jurors, and lets the loser lose.
    """
    case: cases.Case = cases._cases[id]
    cases._cases[id].phase = cases.OVER
    cases._cases[id].outcome = outcome
    right: DynArray[address, cases.MAX_JURORS] = self._right(id, case.lead if outcome <= NO_INPUTS else empty(bytes32))
    count: uint256 = len(right)
    each: uint256 = case.fee // IDLE_PART if outcome == NO_INPUTS else case.fee
    costs: uint256 = count * each
    opener: uint256 = case.pot - costs
    lost: uint256 = 0
    burnt: uint256 = 0
    if outcome in [CONVICTED, BOTH_WRONG, NO_LINK]:
        due: uint256 = case.worth + costs
        held: uint256 = dues._seize(case.accused, case.reserved, due)
        taken: uint256 = min(held, due)
        back: uint256 = min(taken, costs)
        lost = taken - back
        reward: uint256 = 0 if outcome == BOTH_WRONG else dues._reward(case.accused, taken, lost // PART)
        share: uint256 = lost // PART // count if count > 0 else 0
        burnt = lost - reward - share * count
        dues._slash(case.accused, taken, taken - burnt)
        dues._unlock(case.accused, held - taken)
        if taken < due and dues.debts[case.accused] > 0:
            seats._leave_if_sitting(case.accused)
        opener += case.bond + back + reward
        each += share
    else:
        if outcome in [ACQUITTED, NO_SECRET]:
            lost = case.bond
            reward: uint256 = lost // PART
            share: uint256 = lost // PART // count if count > 0 else 0
            burnt = lost - reward - share * count
            dues._credit(case.accused, id, reward)
            each += share
        elif outcome in [NO_INPUTS, UNFIT]:
            lost = case.bond
            burnt = lost
        else:
            opener += case.bond
        dues._burn(burnt)
        dues._unlock(case.accused, case.reserved)
    for juror: address in right:
        dues._credit(juror, id, each)
    dues._credit(case.opener, id, opener)
    log Settled(case=id, accused=case.accused, outcome=outcome, costs=costs, lost=lost, burnt=burnt)


@internal
@view
def _right(id: uint256, winner: bytes32) -> DynArray[address, cases.MAX_JURORS]:
    """
    @dev Who is paid: who gave the winning answer, in whatever
         round; without one, whose answer another juror of its
         round gave too. That the inputs did not come is said
         without work, and is paid only by a verdict.
    """
    idle: bytes32 = keccak256(abi_encode(empty(bytes32), empty(uint256), cases.NO_INPUTS))
    found: DynArray[address, cases.MAX_JURORS] = []
    for juror: address in cases._jurors[id]:
        ballot: cases.Ballot = cases._ballots[id][juror]
        if ballot.answer == empty(bytes32):
            continue
        if winner != empty(bytes32):
            if ballot.answer == winner:
                found.append(juror)
        elif ballot.answer != idle and cases._votes[id][ballot.round][ballot.answer] > 1:
            found.append(juror)
    return found
