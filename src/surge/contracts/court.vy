# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma optimize codesize
# pragma nonreentrancy on
"""
@title Court: disputes about what devices signed
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A buyer disputes a recorded receipt with another result or
        fuel. Jurors drawn from bonded operators run the unit,
        commit to what they found, and reveal. If they disagree,
        larger juries are called, up to one whose majority decides.
@custom:security Invariants:
        1. the court holds exactly what it owes and what open
           cases took in;
        2. each case is over, with all its money owed or burnt, by
           `longest_case` seconds after it was opened, if anybody
           calls `advance`, whatever anyone stops doing;
        3. a receipt is disputed once, by its buyer, and only with
           its device's signature, on terms the device signed;
        4. nobody can choose a jury: see `cases`;
        5. a bond is reserved while its case is open, and unbonding
           takes longer than a claim's greatest age and the longest
           case together;
        6. a verdict takes no more from a bond than the bribe
           bound, beside the juries' costs;
        7. who lets a jury's majority against it stand, and calls
           no larger one, loses by it.
"""


# @dev We import and initialise the `terms_of_court` module.
import terms_of_court
initializes: terms_of_court


# @dev We import and initialise the `dues` module.
import dues
initializes: dues


# @dev We import and initialise the `recorded` module.
import recorded
initializes: recorded


# @dev We import and initialise the `seats` module.
import seats
initializes: seats[terms_of_court := terms_of_court, dues := dues]


# @dev We import and initialise the `cases` module.
import cases
initializes: cases[terms_of_court := terms_of_court, seats := seats]


# @dev We import and initialise the `verdicts` module.
import verdicts
initializes: verdicts[terms_of_court := terms_of_court, dues := dues, seats := seats, cases := cases]


exports: (
    terms_of_court.parameters,
    terms_of_court.fee,
    terms_of_court.max_worth,
    terms_of_court.deposit,
    terms_of_court.longest_case,
    dues.token,
    dues.bonds,
    dues.owed,
    dues.debts,
    dues.collect,
    recorded.channels,
    recorded.registry,
    seats.enlistments,
    seats.enlistment,
    seats.enlistment_of,
    seats.seat,
    seats.places,
    seats.enlist,
    seats.resign,
    seats.unseat,
    seats.release_seats,
    cases.case_count,
    cases.case,
    cases.jurors,
    cases.ballot,
    cases.commit,
    cases.reveal,
)


struct Claim:
    result: bytes32
    fuel: uint256
    memory: uint256
    fuel_limit: uint256
    jurors: uint256
    worth: uint256
    commitment: bytes32


# @dev The case of each receipt, by digest; 0 if there is none.
case_of: public(HashMap[bytes32, uint256])


event Opened:
    case: indexed(uint256)
    opener: indexed(address)
    accused: indexed(address)
    receipt: bytes32
    channel: bytes32
    kind: uint8
    subject: bytes32
    result: bytes32
    fuel: uint256
    claimed_result: bytes32
    claimed_fuel: uint256
    engine: bytes32
    memory: uint256
    fuel_limit: uint256
    jurors: uint256
    worth: uint256
    reserved: uint256
    ordinal: uint256
    deadline: uint256


event Answered:
    case: indexed(uint256)
    link: bytes32
    deadline: uint256


event JuryDrawn:
    case: indexed(uint256)
    round: uint256
    seed: bytes32
    deadline: uint256


event Extended:
    case: indexed(uint256)
    round: uint256
    jurors: uint256
    ordinal: uint256
    deadline: uint256


@deploy
def __init__(
    token_: address, registry_: address, bonds_: address, channels_: address, parameters_: terms_of_court.Parameters
):
    """
    @dev Checks that unbonding takes longer than any claim.
    @param token_ The token.
    @param registry_ Operators and their devices.
    @param bonds_ Who holds the bonds.
    @param channels_ The channels.
    @param parameters_ Periods, amounts and limits, for ever.
    """
    terms_of_court.__init__(parameters_)
    dues.__init__(token_, bonds_)
    recorded.__init__(registry_, channels_)
    seats.__init__()
    cases.__init__()
    verdicts.__init__()
    unbonding: uint256 = staticcall dues.Bonds(bonds_).unbonding_seconds()
    assert unbonding > parameters_.max_claim_age + terms_of_court._longest_case(), "court: unbonding is too short"


@external
def open(
    receipt: recorded.Receipt,
    signature: Bytes[65],
    terms: recorded.Terms,
    terms_signature: Bytes[65],
    accepted: bool,
    amount: uint256,
    index: uint256,
    path: DynArray[bytes32, recorded.merkle_log.MAX_PATH],
    claim: Claim,
) -> uint256:
    """
    @dev Disputes a receipt. Only its buyer may, and only while it
         was recorded recently. The caller deposits its bond and
         the jurors' fees, approved before.
    @param receipt The receipt.
    @param signature Its device's.
    @param terms Terms that name the engine.
    @param terms_signature The device's over them.
    @param accepted The buyer's answer to the receipt.
    @param amount What it accepted to pay.
    @param index The answer's place in the log.
    @param path The proof that it is there.
    @param claim What the buyer says came out; the unit's limits;
           how many jurors; what the accused may lose beside the
           costs; and keccak256 of a secret of 32 bytes.
    @return uint256 The case's id.
    """
    assert receipt.kind in [recorded.UNIT, recorded.SETUP], "court: nothing that was run"
    assert claim.jurors in [terms_of_court.SMALL, terms_of_court.MIDDLE], "court: no such jury"
    assert claim.fuel_limit <= terms_of_court._terms.max_fuel and claim.fuel <= claim.fuel_limit, "court: fuel out of bounds"
    assert claim.result != empty(bytes32), "court: nothing claimed"
    assert claim.result != receipt.result or claim.fuel != receipt.quantity, "court: claims the same"
    assert claim.worth > 0 and claim.worth <= terms_of_court._max_worth(claim.fuel_limit, claim.jurors), "court: worth out of bounds"
    assert claim.commitment != empty(bytes32), "court: no commitment"
    channel: recorded.Channel = recorded._channel(receipt.channel)
    digest: bytes32 = recorded._signed(receipt, signature, channel.device)
    assert msg.sender == channel.buyer, "court: not the buyer"
    assert msg.sender != channel.provider, "court: one's own work"
    assert recorded._stands_behind(channel.provider, channel.device, terms_of_court._terms.max_claim_age), "court: no operator's device"
    assert staticcall recorded.Channels(recorded.channels).verify_receipt(receipt, accepted, amount, index, path), "court: not recorded"
    assert block.timestamp <= channel.redeemed_at + terms_of_court._terms.max_claim_age, "court: too old"
    assert recorded._agreed(terms, terms_signature, receipt.channel, channel.device), "court: not the device's terms"
    assert self.case_of[digest] == 0, "court: disputed before"
    assert (staticcall dues.Bonds(dues.bonds).pool(channel.provider)).anchor != empty(bytes32), "court: no anchor"
    places: uint256 = seats.places[terms.engine]
    assert places >= claim.jurors, "court: too few seats"
    id: uint256 = cases.case_count + 1
    cases.case_count = id
    self.case_of[digest] = id
    fee: uint256 = terms_of_court._fee(claim.fuel_limit)
    bond: uint256 = terms_of_court._opener_bond(claim.worth)
    pot: uint256 = claim.jurors * fee
    reserved: uint256 = dues._lock(channel.provider, claim.worth + pot)
    ordinal: uint256 = extcall dues.Bonds(dues.bonds).next_ordinal(channel.provider)
    deadline: uint256 = block.timestamp + terms_of_court._terms.answer_seconds
    case: cases.Case = empty(cases.Case)
    case.opener = msg.sender
    case.accused = channel.provider
    case.own = keccak256(abi_encode(receipt.result, receipt.quantity))
    case.claimed = keccak256(abi_encode(claim.result, claim.fuel))
    case.engine = terms.engine
    case.memory = claim.memory
    case.fuel_limit = claim.fuel_limit
    case.fee = fee
    case.worth = claim.worth
    case.bond = bond
    case.pot = pot
    case.reserved = reserved
    case.commitment = claim.commitment
    case.ordinal = ordinal
    case.opened_at = block.timestamp
    case.deadline = deadline
    case.places = places
    case.jurors = claim.jurors
    case.round = 1
    case.phase = cases.ANSWER
    cases._cases[id] = case
    log Opened(
        case=id,
        opener=msg.sender,
        accused=channel.provider,
        receipt=digest,
        channel=receipt.channel,
        kind=receipt.kind,
        subject=receipt.subject,
        result=receipt.result,
        fuel=receipt.quantity,
        claimed_result=claim.result,
        claimed_fuel=claim.fuel,
        engine=terms.engine,
        memory=claim.memory,
        fuel_limit=claim.fuel_limit,
        jurors=claim.jurors,
        worth=claim.worth,
        reserved=reserved,
        ordinal=ordinal,
        deadline=deadline,
    )
    dues._take(msg.sender, bond + pot)
    return id


@external
def answer(id: uint256, link: bytes32):
    """
    @dev Gives the link of the accused's hash chain that belongs
         to a case. Who keeps it loses.
    @param id The case.
    @param link The link of the case's ordinal.
    """
    case: cases.Case = cases._case(id)
    assert case.phase == cases.ANSWER, "court: not the time to answer"
    assert block.timestamp < case.deadline, "court: too late"
    assert extcall dues.Bonds(dues.bonds).use_link(case.accused, case.ordinal, link), "court: not the link"
    deadline: uint256 = block.timestamp + terms_of_court._terms.draw_seconds
    cases._cases[id].seed = link
    cases._cases[id].phase = cases.DRAW
    cases._cases[id].deadline = deadline
    log Answered(case=id, link=link, deadline=deadline)


@external
def draw(id: uint256, secret: bytes32) -> bool:
    """
    @dev Draws the jury with the opener's secret. Who keeps it
         loses its bond. If there are too few jurors, the majority
         of the jury before decides; without one the case is
         dismissed and everything returned.
    @param id The case.
    @param secret What was committed to.
    @return bool Whether there is a jury.
    """
    case: cases.Case = cases._case(id)
    assert case.phase == cases.DRAW, "court: not the time to draw"
    assert block.timestamp < case.deadline, "court: too late"
    assert keccak256(secret) == case.commitment, "court: not the secret"
    seed: bytes32 = keccak256(abi_encode(secret, case.seed, id))
    cases._cases[id].seed = seed
    drawn: bool = False
    unfit: bool = False
    drawn, unfit = cases._draw_jury(id, seed)
    if not drawn:
        stands: uint256 = case.lead_kind if case.lead_kind != 0 else verdicts.DISMISSED
        verdicts._settle(id, verdicts.UNFIT if unfit else stands, False)
        return False
    deadline: uint256 = block.timestamp + terms_of_court._commit_window(case.fuel_limit)
    cases._cases[id].lead = empty(bytes32)
    cases._cases[id].lead_votes = 0
    cases._cases[id].lead_kind = 0
    cases._cases[id].phase = cases.COMMIT
    cases._cases[id].deadline = deadline
    log JuryDrawn(case=id, round=case.round, seed=seed, deadline=deadline)
    return True


@external
def advance(id: uint256):
    """
    @dev Moves a case past what is over: a deadline, or a time to
         reveal in which nobody is waited for. Anyone may call it.
         An opener that calls no larger jury loses if the last one's
         majority was against it.
    @param id The case.
    """
    cases._turn_to_reveal(id)
    case: cases.Case = cases._case(id)
    late: bool = block.timestamp >= case.deadline
    if case.phase == cases.ANSWER and late:
        verdicts._settle(id, verdicts.NO_LINK, False)
    elif case.phase == cases.DRAW and late:
        verdicts._settle(id, verdicts.NO_SECRET, False)
    elif case.phase == cases.REVEAL and (late or case.revealed == case.committed):
        verdicts._tally(id)
    elif case.phase == cases.EXTEND and late:
        lost: bool = case.lead_kind in [cases.OWN, cases.UNAVAILABLE]
        verdicts._settle(id, case.lead_kind if lost else verdicts.UNRESOLVED, False)
    else:
        raise "court: nothing to move"


@external
def extend(id: uint256, commitment: bytes32):
    """
    @dev Calls a larger jury where the last one gave no verdict.
         Only the opener may; it deposits that jury's fees.
    @param id The case.
    @param commitment keccak256 of another secret.
    """
    case: cases.Case = cases._case(id)
    assert case.phase == cases.EXTEND, "court: not the time to extend"
    assert block.timestamp < case.deadline, "court: too late"
    assert msg.sender == case.opener, "court: not the opener"
    assert commitment != empty(bytes32) and commitment != case.commitment, "court: no commitment"
    jurors: uint256 = terms_of_court._next_size(case.jurors)
    pot: uint256 = jurors * case.fee
    ordinal: uint256 = extcall dues.Bonds(dues.bonds).next_ordinal(case.accused)
    deadline: uint256 = block.timestamp + terms_of_court._terms.answer_seconds
    case.first += case.jurors
    case.pot += pot
    case.reserved += dues._lock(case.accused, pot)
    case.commitment = commitment
    case.ordinal = ordinal
    case.seed = empty(bytes32)
    case.deadline = deadline
    case.jurors = jurors
    case.round += 1
    case.committed = 0
    case.revealed = 0
    case.answers = 0
    case.phase = cases.ANSWER
    cases._cases[id] = case
    log Extended(case=id, round=case.round, jurors=jurors, ordinal=ordinal, deadline=deadline)
    dues._take(msg.sender, pot)


@external
def owe(operator: address, amount: uint256):
    """
    @dev Notes what another slasher lacks of a bond because this
         court has it reserved: that is slashed when it is released,
         and seats end. Only a slasher may.
    @param operator The operator.
    @param amount What is missing, in wei.
    """
    assert staticcall dues.Bonds(dues.bonds).is_slasher(msg.sender), "court: not a slasher"
    dues._owe(operator, amount, dues._held(operator))
    seats._leave_if_sitting(operator)
