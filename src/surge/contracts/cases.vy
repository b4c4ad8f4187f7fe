# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Cases: what is in dispute, and what jurors say
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module that keeps cases and ballots, draws juries, and
        takes commitments and answers.
@custom:security Invariants:
        1. a jury is a function of the opener's secret, which was
           committed to before the accused's link was known, of
           that link, and of seats that stood before the case and
           still cover its greatest fine;
        2. a juror answers a case once; its commitment names it and
           the case, so that nobody can open a copy of it;
        3. nobody reveals while anybody can still commit.
"""


# @dev We use the `terms_of_court` and `seats` modules.
import terms_of_court
import seats
uses: terms_of_court
uses: seats


struct Case:
    opener: address
    accused: address
    own: bytes32  # hash of the accused's result and fuel
    claimed: bytes32  # hash of the opener's
    engine: bytes32
    memory: uint256
    fuel_limit: uint256
    fee: uint256  # wei for each juror
    worth: uint256  # wei that the accused may lose beside the costs
    bond: uint256  # wei that the opener may lose beside the costs
    pot: uint256  # wei that the opener advanced for jurors
    reserved: uint256  # wei of the accused's bond
    commitment: bytes32
    ordinal: uint256
    seed: bytes32
    opened_at: uint256
    deadline: uint256  # of the phase
    places: uint256  # of the engine, when the case was opened
    jurors: uint256  # of this round
    round: uint256  # from 1
    first: uint256  # place of this round's first juror among all
    committed: uint256
    revealed: uint256
    answers: uint256  # different ones of this round, but for 'inputs unavailable'
    lead: bytes32  # the answer most jurors of the last round gave that was drawn
    lead_votes: uint256
    lead_kind: uint256  # 0 once that round was found to have no majority
    phase: uint256
    outcome: uint256


struct Ballot:
    round: uint256
    enlistment: uint256
    commitment: bytes32
    answer: bytes32


# @dev Phases. A case waits for the accused's link, the opener's
# secret, commitments, answers, or a larger jury; or it is over.
ANSWER: constant(uint256) = 1
DRAW: constant(uint256) = 2
COMMIT: constant(uint256) = 3
REVEAL: constant(uint256) = 4
EXTEND: constant(uint256) = 5
OVER: constant(uint256) = 6


# @dev Kinds of answers: the accused's, the opener's, another one,
# and that the inputs did not come.
OWN: constant(uint256) = 1
CLAIMED: constant(uint256) = 2
OTHER: constant(uint256) = 3
UNAVAILABLE: constant(uint256) = 4


# @dev The witness of who did not get the inputs; its result and
# fuel are zero.
NO_INPUTS: constant(bytes32) = keccak256("inputs unavailable")


# @dev Jurors of all sizes together.
MAX_JURORS: constant(uint256) = terms_of_court.SMALL + terms_of_court.MIDDLE + terms_of_court.LARGE


# @dev Seats that a draw looks at: so many, and so many for each juror.
TURNS: constant(uint256) = 64
TURNS_EACH: constant(uint256) = 8
MAX_TURNS: constant(uint256) = TURNS + TURNS_EACH * terms_of_court.LARGE


# @dev How many cases there were; their ids count from 1.
case_count: public(uint256)


# @dev Cases by id.
_cases: HashMap[uint256, Case]


# @dev The jurors of a case, of all rounds, in the order drawn.
_jurors: HashMap[uint256, DynArray[address, MAX_JURORS]]


# @dev What jurors committed to and answered.
_ballots: HashMap[uint256, HashMap[address, Ballot]]


# @dev How many jurors of a round gave an answer.
_votes: HashMap[uint256, HashMap[uint256, HashMap[bytes32, uint256]]]


event Drawn:
    case: indexed(uint256)
    juror: indexed(address)
    round: uint256
    enlistment: uint256


event Committed:
    case: indexed(uint256)
    juror: indexed(address)
    commitment: bytes32


event Revealed:
    case: indexed(uint256)
    juror: indexed(address)
    result: bytes32
    fuel: uint256
    witness: bytes32


@deploy
def __init__():
    """
    @dev Nothing to set.
    """
    pass


@external
@nonreentrant
def commit(id: uint256, commitment: bytes32):
    """
    @dev A juror commits to its answer, before anybody reveals.
    @param id The case.
    @param commitment keccak256 of the ABI-encoded (case, juror,
           salt, result, fuel, witness).
    """
    assert self._cases[id].phase == COMMIT, "court: not the time to commit"
    assert block.timestamp < self._cases[id].deadline, "court: too late"
    ballot: Ballot = self._ballots[id][msg.sender]
    assert ballot.round != 0 and ballot.round == self._cases[id].round, "court: not a juror"
    assert ballot.commitment == empty(bytes32), "court: committed already"
    assert commitment != empty(bytes32), "court: no commitment"
    self._ballots[id][msg.sender].commitment = commitment
    committed: uint256 = self._cases[id].committed + 1
    self._cases[id].committed = committed
    log Committed(case=id, juror=msg.sender, commitment=commitment)
    if committed == self._cases[id].jurors:
        self._cases[id].phase = REVEAL
        self._cases[id].deadline = block.timestamp + terms_of_court._terms.reveal_seconds


@external
@nonreentrant
def reveal(id: uint256, salt: bytes32, result: bytes32, fuel: uint256, witness: bytes32):
    """
    @dev A juror reveals its answer, once all have committed or
         their time is over. Who did not get the unit's inputs
         answers (0, 0, keccak256("inputs unavailable")).
    @param id The case.
    @param salt What kept the commitment from being guessed.
    @param result The unit's result.
    @param fuel The fuel it took.
    @param witness The hash of the memory the unit left, and its size.
    """
    self._turn_to_reveal(id)
    assert self._cases[id].phase == REVEAL, "court: not the time to reveal"
    assert block.timestamp < self._cases[id].deadline, "court: too late"
    ballot: Ballot = self._ballots[id][msg.sender]
    round: uint256 = self._cases[id].round
    assert ballot.round != 0 and ballot.round == round, "court: not a juror"
    assert ballot.answer == empty(bytes32), "court: revealed already"
    commitment: bytes32 = keccak256(abi_encode(id, msg.sender, salt, result, fuel, witness))
    assert commitment == ballot.commitment, "court: not what was committed to"
    answer: bytes32 = keccak256(abi_encode(result, fuel, witness))
    self._ballots[id][msg.sender].answer = answer
    self._cases[id].revealed += 1
    votes: uint256 = self._votes[id][round][answer] + 1
    self._votes[id][round][answer] = votes
    kind: uint256 = self._kind(id, result, fuel, witness)
    if votes == 1 and kind != UNAVAILABLE:
        self._cases[id].answers += 1
    if votes > self._cases[id].lead_votes:
        self._cases[id].lead = answer
        self._cases[id].lead_votes = votes
        self._cases[id].lead_kind = kind
    log Revealed(case=id, juror=msg.sender, result=result, fuel=fuel, witness=witness)


@external
@view
def case(id: uint256) -> Case:
    """
    @dev A case; all zero if there is none.
    @param id Its id.
    @return Case Its state.
    """
    return self._case(id)


@external
@view
def jurors(id: uint256) -> DynArray[address, MAX_JURORS]:
    """
    @dev The jurors of a case, of all rounds.
    @param id The case.
    @return DynArray The operators, in the order drawn.
    """
    return self._jurors[id]


@external
@view
def ballot(id: uint256, juror: address) -> Ballot:
    """
    @dev What a juror committed to and answered; all zero if it
         was not drawn.
    @param id The case.
    @param juror The operator.
    @return Ballot Its round, seat, commitment, and the hash of its
            answer.
    """
    return self._ballots[id][juror]


@internal
@view
def _case(id: uint256) -> Case:
    """
    @dev A case, read in one place: that takes room.
    """
    return self._cases[id]


@internal
@view
def _kind(id: uint256, result: bytes32, fuel: uint256, witness: bytes32) -> uint256:
    """
    @dev What an answer says of a case.
    """
    if result == empty(bytes32) and fuel == 0 and witness == NO_INPUTS:
        return UNAVAILABLE
    said: bytes32 = keccak256(abi_encode(result, fuel))
    if said == self._cases[id].own:
        return OWN
    return CLAIMED if said == self._cases[id].claimed else OTHER


@internal
@pure
def _idle() -> bytes32:
    """
    @dev The hash of the answer that the inputs did not come.
    """
    return keccak256(abi_encode(empty(bytes32), empty(uint256), NO_INPUTS))


@internal
def _turn_to_reveal(id: uint256):
    """
    @dev Begins the time to reveal when that to commit is over.
    """
    if self._cases[id].phase == COMMIT and block.timestamp >= self._cases[id].deadline:
        self._cases[id].phase = REVEAL
        self._cases[id].deadline += terms_of_court._terms.reveal_seconds


@internal
def _draw_jury(id: uint256, seed: bytes32) -> (bool, bool):
    """
    @dev Draws a round's jurors. Passed over are the parties, who
         was drawn before, seats that did not stand before the
         case, and those whose stake does not cover a fine beside
         those of other open cases. So is who says that it cannot
         run the unit, but a
         jury stands only for at least half of whom the seed names:
         else the opener could ask for what its friends alone can
         run. Returns whether there is a jury, and whether too many
         could not run it; without a jury nobody has a duty.
    """
    case: Case = self._case(id)
    fine: uint256 = terms_of_court._fine(case.fee, case.jurors)
    found: uint256 = 0
    unable: uint256 = 0
    for turn: uint256 in range(TURNS + TURNS_EACH * case.jurors, bound=MAX_TURNS):
        if found == case.jurors or unable > case.jurors:
            break
        enlistment: uint256 = seats._drawn(case.engine, case.places, seed, turn)
        seat: seats.Enlistment = seats._enlistments[enlistment]
        if (
            not seats._sat(seat, case.opened_at)
            or seat.juror in [case.opener, case.accused]
            or self._ballots[id][seat.juror].round != 0
            or seat.stake < seats._pledged[enlistment] + fine
        ):
            continue
        if seat.memory < case.memory or seat.fuel_cap < case.fuel_limit:
            unable += 1
            continue
        self._ballots[id][seat.juror].round = case.round
        self._ballots[id][seat.juror].enlistment = enlistment
        seats._pledged[enlistment] += fine
        self._jurors[id].append(seat.juror)
        found += 1
        log Drawn(case=id, juror=seat.juror, round=case.round, enlistment=enlistment)
    return found == case.jurors, unable > case.jurors
