# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Seats: who may be drawn as a juror
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module that keeps the seats jurors are drawn from. An
        operator takes seats, each backed by a stake of its own,
        for the engines it runs.
@custom:security Invariants:
        1. what a draw can meet was settled before its case was
           opened: whoever enlists later is passed over, whoever
           leaves later stays drawable, and a place is given to
           another only once every case that could see who had it
           is over;
        2. a seat's stake stays reserved until then, and all that
           an operator's seats reserve was its own stake: coming
           and going holds nobody else's;
        3. dead places are taken first, so that coming and going
           does not fill the list with them;
        4. a seat is drawn only where what is left of its stake
           covers the greatest fine of the case, beside those of
           the open cases that it was drawn for before.
"""


# @dev We use the `terms_of_court` and `dues` modules.
import terms_of_court
import dues
uses: terms_of_court
uses: dues


struct Enlistment:
    juror: address
    seats: uint256
    stake: uint256
    memory: uint256
    fuel_cap: uint256
    key: bytes32
    enlisted_at: uint256
    left_at: uint256


# @dev Seats of one enlistment.
MAX_SEATS: constant(uint256) = 64


# @dev Engines of one enlistment.
MAX_ENGINES: constant(uint256) = 8


# @dev Old places looked at for each new seat.
LOOKS: constant(uint256) = 4


# @dev How many enlistments there were; their ids count from 1.
enlistments: public(uint256)


# @dev Enlistments by id.
_enlistments: HashMap[uint256, Enlistment]


# @dev The enlistment of who sits; 0 for who does not.
enlistment_of: public(HashMap[address, uint256])


# @dev Seats by engine and place: the enlistment that has it.
seat: public(HashMap[bytes32, HashMap[uint256, uint256]])


# @dev Places of each engine.
places: public(HashMap[bytes32, uint256])


# @dev Wei of each juror's bond that its seats reserve, those included
# that it gave up and that are not released yet.
_reserved: HashMap[address, uint256]


# @dev Wei of each enlistment's stake that open cases may fine it.
_pledged: HashMap[uint256, uint256]


# @dev The place of each engine that is looked at next.
_cursors: HashMap[bytes32, uint256]


event Enlisted:
    juror: indexed(address)
    enlistment: uint256
    seats: uint256
    engines: DynArray[bytes32, MAX_ENGINES]
    memory: uint256
    fuel_cap: uint256
    key: bytes32


event Left:
    juror: indexed(address)
    enlistment: uint256


event SeatsReleased:
    juror: indexed(address)
    enlistment: uint256
    stake: uint256


event SeatsCharged:
    juror: indexed(address)
    enlistment: uint256
    amount: uint256


@deploy
def __init__():
    """
    @dev Nothing to set.
    """
    pass


@external
@nonreentrant
def enlist(
    seats: uint256, engines: DynArray[bytes32, MAX_ENGINES], memory: uint256, fuel_cap: uint256, key: bytes32
) -> uint256:
    """
    @dev Takes seats for the calling operator. Each reserves a
         stake, which its own stake must cover together with that
         of seats it gave up and that are not released, and which
         covers the greatest fine of the largest unit it takes.
         What it says of itself stands until it resigns.
    @param seats How many.
    @param engines What it runs, by hash; none twice.
    @param memory The largest memory limit it takes, in bytes.
    @param fuel_cap The largest fuel limit it takes.
    @param key Its X25519 public key, for units' inputs.
    @return uint256 The enlistment's id.
    """
    assert self.enlistment_of[msg.sender] == 0, "court: enlisted already"
    assert seats > 0 and seats <= MAX_SEATS, "court: seats out of bounds"
    assert len(engines) > 0, "court: no engine"
    assert key != empty(bytes32), "court: no key"
    stake: uint256 = seats * terms_of_court._terms.seat_stake
    largest: uint256 = terms_of_court._fee(min(fuel_cap, terms_of_court._terms.max_fuel))
    assert stake >= terms_of_court._fine(largest, terms_of_court.LARGE), "court: seats cover no fine"
    reserved: uint256 = self._reserved[msg.sender] + stake
    assert staticcall dues.Bonds(dues.bonds).own_stake(msg.sender) >= reserved, "court: own stake below the seats'"
    assert dues._lock(msg.sender, stake) == stake, "court: bond not free"
    id: uint256 = self.enlistments + 1
    self.enlistments = id
    self._reserved[msg.sender] = reserved
    self.enlistment_of[msg.sender] = id
    self._enlistments[id] = Enlistment(
        juror=msg.sender,
        seats=seats,
        stake=stake,
        memory=memory,
        fuel_cap=fuel_cap,
        key=key,
        enlisted_at=block.timestamp,
        left_at=0,
    )
    seen: DynArray[bytes32, MAX_ENGINES] = []
    for engine: bytes32 in engines:
        assert engine not in seen, "court: engine named twice"
        seen.append(engine)
        for _: uint256 in range(seats, bound=MAX_SEATS):
            self._place(engine, id)
    log Enlisted(
        juror=msg.sender, enlistment=id, seats=seats, engines=engines, memory=memory, fuel_cap=fuel_cap, key=key
    )
    return id


@external
@nonreentrant
def resign():
    """
    @dev Gives the caller's seats up. They are not drawn for cases
         opened later; for those opened before they may be, so
         their stake stays reserved for the longest case.
    """
    id: uint256 = self.enlistment_of[msg.sender]
    assert id != 0, "court: not enlisted"
    self._leave(id)


@external
@nonreentrant
def unseat(juror: address):
    """
    @dev Ends the seats of a juror whose own stake no longer
         covers them. Anyone may call it.
    @param juror Who sits.
    """
    id: uint256 = self.enlistment_of[juror]
    assert id != 0, "court: not enlisted"
    assert staticcall dues.Bonds(dues.bonds).own_stake(juror) < self._enlistments[id].stake, "court: own stake covers the seats"
    self._leave(id)


@external
@nonreentrant
def release_seats(enlistment_: uint256) -> uint256:
    """
    @dev Releases the stake of seats that were given up, once no
         case can need it any more. Anyone may call it.
    @param enlistment_ The enlistment.
    @return uint256 The stake in wei.
    """
    found: Enlistment = self._enlistments[enlistment_]
    assert found.left_at != 0, "court: not left"
    assert found.stake > 0, "court: nothing reserved"
    assert self._is_over(found) and self._pledged[enlistment_] == 0, "court: seats may still be drawn"
    self._enlistments[enlistment_].stake = 0
    self._reserved[found.juror] -= found.stake
    log SeatsReleased(juror=found.juror, enlistment=enlistment_, stake=found.stake)
    dues._unlock(found.juror, found.stake)
    return found.stake


@external
@view
def enlistment(id: uint256) -> Enlistment:
    """
    @dev An enlistment; all zero if there is none.
    @param id Its id.
    @return Enlistment What it says.
    """
    return self._enlistments[id]


@internal
def _place(engine: bytes32, id: uint256):
    """
    @dev Gives a seat a place: a dead one among the next few, or a
         new one at the end.
    """
    count: uint256 = self.places[engine]
    for _: uint256 in range(LOOKS):
        if count == 0:
            break
        cursor: uint256 = self._cursors[engine] % count
        self._cursors[engine] = cursor + 1
        if self._is_over(self._enlistments[self.seat[engine][cursor]]):
            self.seat[engine][cursor] = id
            return
    self.seat[engine][count] = id
    self.places[engine] = count + 1


@internal
@view
def _is_over(found: Enlistment) -> bool:
    """
    @dev Whether no case can meet an enlistment any more.
    """
    return found.left_at != 0 and block.timestamp > found.left_at + terms_of_court._longest_case()


@internal
def _leave(id: uint256):
    """
    @dev Ends an enlistment of who sits.
    """
    juror: address = self._enlistments[id].juror
    self._enlistments[id].left_at = block.timestamp
    self.enlistment_of[juror] = 0
    log Left(juror=juror, enlistment=id)


@internal
def _leave_if_sitting(juror: address):
    """
    @dev Ends a juror's enlistment if it has one.
    """
    id: uint256 = self.enlistment_of[juror]
    if id != 0:
        self._leave(id)


@internal
def _charge(id: uint256, amount: uint256, kept: bool) -> (uint256, uint256):
    """
    @dev Takes of seats' stake what their juror has to pay, as far
         as it goes: the court keeps it, or it is burnt. Who paid
         half of its stake away does not sit on. Returns what was
         taken, and what of it the juror itself lost and not who
         staked behind it.
    """
    found: Enlistment = self._enlistments[id]
    due: uint256 = min(min(amount, found.stake), dues._held(found.juror))
    if due == 0:
        return 0, 0
    own: uint256 = dues._reward(found.juror, due, due)
    self._enlistments[id].stake = found.stake - due
    self._reserved[found.juror] -= due
    log SeatsCharged(juror=found.juror, enlistment=id, amount=due)
    dues._slash(found.juror, due, due if kept else 0)
    if found.left_at == 0 and 2 * (found.stake - due) < found.seats * terms_of_court._terms.seat_stake:
        self._leave(id)
    return due, own


@internal
@view
def _drawn(engine: bytes32, count: uint256, seed: bytes32, turn: uint256) -> uint256:
    """
    @dev The enlistment whose seat a seed names at a turn.
    """
    return self.seat[engine][convert(keccak256(abi_encode(seed, turn)), uint256) % count]


@internal
@view
def _sat(found: Enlistment, moment: uint256) -> bool:
    """
    @dev Whether an enlistment stood before a moment, and not only
         from it on, and had not ended before it.
    """
    return found.enlisted_at < moment and (found.left_at == 0 or found.left_at >= moment)
