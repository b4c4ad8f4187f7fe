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
        3. who does not reveal pays, and where nobody had a
           majority only those are paid whose answer another juror
           of their round gave too;
        4. jurors that disagree call for a larger jury. Who gave
           another answer than the verdict of jurors that agreed,
           or of the largest jury, is fined, once; who said that
           the inputs did not come never is;
        5. fines pay for the juries after the first; of the rest
           jurors that were right where others were not get at
           most a quarter, and no more than those who are fined
           lose themselves; the remainder is burnt.
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
# the opener asks for. The first four are the kinds of answers, too.
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


# @dev A case's jurors at its end.
struct Count:
    right: DynArray[address, cases.MAX_JURORS]  # who is paid
    first: uint256  # of them, those of the first jury
    split: bool[terms_of_court.ROUNDS]  # juries in which somebody is fined
    split_right: uint256  # who is paid and sat in one of those
    fines: uint256  # wei that was taken
    own: uint256  # wei of it that those who are fined lost themselves


event Settled:
    case: indexed(uint256)
    accused: indexed(address)
    outcome: uint256
    costs: uint256
    lost: uint256
    burnt: uint256
    fines: uint256
    prize: uint256


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
         reveal pays. A jury that is not of the largest size gives
         a verdict only if all who answered agree: else a larger
         one may be called.
    """
    case: cases.Case = cases._case(id)
    for place: uint256 in range(case.first, case.first + case.jurors, bound=terms_of_court.LARGE):
        ballot: cases.Ballot = cases._ballots[id][cases._jurors[id][place]]
        if ballot.answer == empty(bytes32):
            seats._charge(ballot.enlistment, case.fee, False)
    kind: uint256 = case.lead_kind if 2 * case.lead_votes > case.jurors else 0
    if case.jurors == terms_of_court.LARGE:
        self._settle(id, kind if kind != 0 else UNRESOLVED, True)
    elif kind != 0 and kind != cases.UNAVAILABLE and case.answers == 1:
        self._settle(id, kind, True)
    else:
        deadline: uint256 = min(block.timestamp, case.deadline) + terms_of_court._terms.extend_seconds
        cases._cases[id].lead_kind = kind
        cases._cases[id].phase = cases.EXTEND
        cases._cases[id].deadline = deadline
        log NoMajority(case=id, round=case.round, deadline=deadline)


@internal
def _settle(id: uint256, outcome: uint256, by_jury: bool):
    """
    @dev Ends a case: pays the jurors, and lets the loser lose. By
         a jury's own verdict those are fined who answered
         otherwise.
    """
    case: cases.Case = cases._case(id)
    cases._cases[id].phase = cases.OVER
    cases._cases[id].outcome = outcome
    found: Count = self._count(
        id, case.lead if outcome <= NO_INPUTS else empty(bytes32), by_jury and outcome <= BOTH_WRONG
    )
    count: uint256 = len(found.right)
    each: uint256 = case.fee // IDLE_PART if outcome == NO_INPUTS else case.fee
    costs: uint256 = count * each
    cover: uint256 = min(found.fines, (count - found.first) * each)
    rest: uint256 = found.fines - cover
    prize: uint256 = 0
    if found.split_right > 0:
        prize = min(rest // PART, found.own) // found.split_right
    opener: uint256 = case.pot - costs + cover
    lost: uint256 = 0
    burnt: uint256 = 0
    rest -= prize * found.split_right
    if outcome in [CONVICTED, BOTH_WRONG, NO_LINK]:
        due: uint256 = case.worth + costs - cover
        held: uint256 = dues._seize(case.accused, case.reserved, due)
        taken: uint256 = min(held, due)
        back: uint256 = min(taken, costs - cover)
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
        rest += burnt
        dues._unlock(case.accused, case.reserved)
    dues._burn(rest)
    for juror: address in found.right:
        split: bool = found.split[cases._ballots[id][juror].round - 1]
        dues._credit(juror, id, each + prize if split else each)
    dues._credit(case.opener, id, opener)
    log Settled(
        case=id, accused=case.accused, outcome=outcome, costs=costs, lost=lost, burnt=burnt, fines=found.fines, prize=prize
    )


@internal
def _count(id: uint256, winner: bytes32, fining: bool) -> Count:
    """
    @dev Who is paid: who gave the winning answer, in whatever
         round; without one, whose answer another juror of its
         round gave too. That the inputs did not come is said
         without work, and is paid only by a verdict. Fines, where
         it is time to, who gave any other answer than the winning
         one; and frees what the case may fine.
    """
    found: Count = empty(Count)
    case: cases.Case = cases._case(id)
    rounds: uint256[terms_of_court.ROUNDS] = empty(uint256[terms_of_court.ROUNDS])
    for juror: address in cases._jurors[id]:
        ballot: cases.Ballot = cases._ballots[id][juror]
        size: uint256 = case.jurors
        for _: uint256 in range(case.round - ballot.round, bound=terms_of_court.ROUNDS):
            size = size // terms_of_court.GROWTH
        fine: uint256 = terms_of_court._fine(case.fee, size)
        seats._pledged[ballot.enlistment] -= fine
        if ballot.answer == empty(bytes32):
            continue
        idle: bool = ballot.answer == cases._idle()
        pays: bool = ballot.answer == winner
        if winner == empty(bytes32):
            pays = not idle and cases._votes[id][ballot.round][ballot.answer] > 1
        if pays:
            found.right.append(juror)
            rounds[ballot.round - 1] += 1
        elif fining and not idle:
            taken: uint256 = 0
            own: uint256 = 0
            taken, own = seats._charge(ballot.enlistment, fine, True)
            found.fines += taken
            found.own += own
            found.split[ballot.round - 1] = True
    found.first = rounds[0]
    for round: uint256 in range(terms_of_court.ROUNDS):
        if found.split[round]:
            found.split_right += rounds[round]
    return found
