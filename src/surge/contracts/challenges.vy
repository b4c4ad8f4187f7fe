# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Challenges: storage that is proved on the ledger
@license GNU Affero General Public License v3.0 only
@author Surge
@notice While a pledge holds, anyone may ask for a leaf of the
        pledged shard, for a fee. An answer by the deadline brings
        the operator the fee. Without one the pledge's penalty is
        slashed, and the challenger gets its fee back.
@custom:security Invariants:
        1. the contract holds exactly what it owes and the fees of
           open challenges;
        2. each challenge is over, with its fee owed and nothing
           reserved for it, once anybody calls `settle` after its
           deadline, whatever anyone stops doing;
        3. a pledge is slashed once, by no more than its penalty,
           and all of a device's pledges for a deal to an owner
           together by no more than the dearest's: renewing often
           multiplies nothing. Half is burnt at least, and the
           owner gets no more than the operator's own stake loses:
           nobody profits from failing its own pledge, whoever
           stands behind it;
        4. nobody's challenge keeps another one from being opened,
           answered or settled: a friend's shields nothing;
        5. open challenges hold at most a part of a bond. What a
           failed one finds held for others is slashed when they
           are over: see `dues`;
        6. unbonding takes longer than a pledge and a deadline; a
           holder that keeps a shard for a period after its last
           pledge can answer every challenge.
"""


# @dev We import and initialise the `ownable_2step` module.
from snekmate.auth import ownable
from snekmate.auth import ownable_2step
initializes: ownable
initializes: ownable_2step[ownable := ownable]


# @dev We import and initialise the `eip712_domain_separator` module.
from snekmate.utils import eip712_domain_separator as eip712
initializes: eip712


# @dev We import and initialise the `terms_of_storage` module.
import terms_of_storage
initializes: terms_of_storage[ownable := ownable]


# @dev We import and initialise the `pledges` module.
import pledges
initializes: pledges[eip712 := eip712]


# @dev We import and initialise the `dues` module.
import dues
initializes: dues


# @dev We import the `shard_tree` module, which is stateless.
import shard_tree


exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
    eip712.eip712Domain,
    terms_of_storage.parameters,
    terms_of_storage.fee,
    terms_of_storage.set_fee,
    pledges.registry,
    dues.token,
    dues.bonds,
    dues.owed,
    dues.debts,
    dues.collect,
)


struct Challenge:
    pledge: bytes32
    challenger: address
    index: uint256
    fee: uint256
    reserved: uint256
    deadline: uint256


# @dev A challenge as it is kept: `packed` is, from the lowest bit,
# the index, the deadline, the fee and what is reserved.
struct Kept:
    pledge: bytes32
    challenger: address
    packed: uint256


INDEX_BITS: constant(uint256) = 32
TIME_BITS: constant(uint256) = 48
WEI_BITS: constant(uint256) = 88


# @dev Of a bond, the part that open challenges hold at most: a
# quarter. The rest is there for the court.
HELD_PART: constant(uint256) = 4


# @dev Of what is slashed, the part that is burnt at least: a half.
BURNT_PART: constant(uint256) = 2


# @dev Challenges there were: their ids count from 1.
challenge_count: public(uint256)


# @dev Open challenges.
_kept: HashMap[uint256, Kept]


# @dev Whether a pledge, by digest, was slashed.
failed: public(HashMap[bytes32, bool])


# @dev Wei that a device's failed pledges for a deal, to an owner,
# were to cost until now: by device, owner and deal.
charged: public(HashMap[address, HashMap[address, HashMap[bytes32, uint256]]])


# @dev Whether a keeper's release of a deal was shown here.
released: public(HashMap[address, HashMap[bytes32, bool]])


event Challenged:
    challenge: indexed(uint256)
    operator: indexed(address)
    deal: indexed(bytes32)
    pledge: pledges.Pledge
    challenger: address
    index: uint256
    fee: uint256
    reserved: uint256
    deadline: uint256


event Answered:
    challenge: indexed(uint256)
    operator: indexed(address)
    deal: indexed(bytes32)


event Released:
    challenge: indexed(uint256)
    operator: indexed(address)
    deal: indexed(bytes32)


event Failed:
    challenge: indexed(uint256)
    operator: indexed(address)
    deal: indexed(bytes32)
    slashed: uint256
    owner_part: uint256


event Returned:
    challenge: indexed(uint256)
    operator: indexed(address)
    deal: indexed(bytes32)


@deploy
def __init__(token_: address, registry_: address, bonds_: address, parameters_: terms_of_storage.Parameters):
    """
    @dev The deployer becomes the owner, who sets the fee. Checks
         that unbonding takes longer than any pledge.
    @param token_ The token.
    @param registry_ Operators and their devices.
    @param bonds_ Who holds the bonds.
    @param parameters_ Periods, the first fee, and bounds for ever.
    """
    ownable.__init__()
    ownable_2step.__init__()
    eip712.__init__("Surge challenges", "1")
    terms_of_storage.__init__(parameters_)
    pledges.__init__(registry_)
    dues.__init__(token_, bonds_)
    unbonding: uint256 = staticcall dues.Bonds(bonds_).unbonding_seconds()
    assert parameters_.deadline_seconds <= parameters_.period_seconds, "challenges: a deadline is longer than a period"
    assert unbonding > terms_of_storage._longest_pledge() + parameters_.deadline_seconds, "challenges: unbonding is too short"


@external
def challenge(pledge: pledges.Pledge, signature: Bytes[65], index: uint256) -> uint256:
    """
    @dev Asks for a leaf of a pledged shard. Anyone may, while the
         pledge holds; the caller pays the fee, approved before.
    @param pledge The pledge.
    @param signature Its device's.
    @param index The leaf, from 0; nobody should foresee it.
    @return uint256 The challenge's id.
    """
    starts: uint256 = convert(pledge.starts, uint256)
    until: uint256 = convert(pledge.until, uint256)
    size: uint256 = convert(pledge.size, uint256)
    assert starts <= block.timestamp and block.timestamp <= until, "challenges: the pledge does not hold"
    assert until - starts <= terms_of_storage._longest_pledge(), "challenges: the pledge is too long"
    assert size > 0 and size <= shard_tree.MAX_SIZE, "challenges: size out of bounds"
    assert index < shard_tree._leaves(size), "challenges: no such leaf"
    assert pledge.penalty >= terms_of_storage.TERMS.least_penalty, "challenges: penalty out of bounds"
    assert pledge.penalty <= terms_of_storage.TERMS.most_penalty, "challenges: penalty out of bounds"
    digest: bytes32 = pledges._signed(pledge, signature)
    assert pledges._stands_behind(pledge), "challenges: no operator's device"
    assert not self.failed[digest], "challenges: the pledge failed before"
    assert not self.released[pledge.keeper][pledge.deal], "challenges: the deal was released"
    assert staticcall dues.Bonds(dues.bonds).is_slasher(self), "challenges: not a slasher"
    id: uint256 = self.challenge_count + 1
    self.challenge_count = id
    fee: uint256 = terms_of_storage.fee
    reserved: uint256 = dues._lock(pledge.operator, min(pledge.penalty, self._room(pledge.operator)))
    deadline: uint256 = block.timestamp + terms_of_storage.TERMS.deadline_seconds
    packed: uint256 = (((reserved << WEI_BITS | fee) << TIME_BITS | deadline) << INDEX_BITS) | index
    self._kept[id] = Kept(pledge=digest, challenger=msg.sender, packed=packed)
    log Challenged(
        challenge=id,
        operator=pledge.operator,
        deal=pledge.deal,
        pledge=pledge,
        challenger=msg.sender,
        index=index,
        fee=fee,
        reserved=reserved,
        deadline=deadline,
    )
    dues._take(msg.sender, fee)
    return id


@external
def answer(id: uint256, pledge: pledges.Pledge, leaf: Bytes[shard_tree.LEAF], proof: Bytes[shard_tree.MAX_PROOF]):
    """
    @dev Shows the leaf that a challenge asks for. Anyone may; the
         operator gets the fee.
    @param id The challenge.
    @param pledge The pledge it is about.
    @param leaf The leaf's bytes.
    @param proof From the leaves up, the hashes of the siblings in
           each group of eight, in their order.
    """
    found: Challenge = self._open(id, pledge)
    assert block.timestamp < found.deadline, "challenges: too late"
    assert shard_tree._included(leaf, found.index, convert(pledge.size, uint256), proof, pledge.root), "challenges: not the leaf"
    self._close(id, pledge.operator, found.reserved)
    log Answered(challenge=id, operator=pledge.operator, deal=pledge.deal)
    dues._credit(pledge.operator, id, found.fee)


@external
def release(id: uint256, pledge: pledges.Pledge, signature: Bytes[65]):
    """
    @dev Shows that the keeper released the deal, before the
         challenge or since: that is the keeper's right, and no
         clock tells one from the other. Anyone may; the operator
         gets the fee, and the deal is not challenged again.
    @param id The challenge.
    @param pledge The pledge it is about.
    @param signature The keeper's over Release(deal).
    """
    found: Challenge = self._open(id, pledge)
    assert block.timestamp < found.deadline, "challenges: too late"
    assert pledges._released(pledge, signature), "challenges: not the keeper's release"
    self.released[pledge.keeper][pledge.deal] = True
    self._close(id, pledge.operator, found.reserved)
    log Released(challenge=id, operator=pledge.operator, deal=pledge.deal)
    dues._credit(pledge.operator, id, found.fee)


@external
def settle(id: uint256, pledge: pledges.Pledge) -> uint256:
    """
    @dev Ends a challenge that nobody answered by the deadline; at
         once where the deal was released, or the pledge has
         failed, in another challenge. What other pledges of the
         device for the deal cost, to the same owner, counts.
         Anyone may call it.
    @param id The challenge.
    @param pledge The pledge it is about.
    @return uint256 What was slashed now, in wei.
    """
    found: Challenge = self._open(id, pledge)
    operator: address = pledge.operator
    if self.failed[found.pledge]:
        self._close(id, operator, found.reserved)
        log Returned(challenge=id, operator=operator, deal=pledge.deal)
        dues._credit(found.challenger, id, found.fee)
        return 0
    if self.released[pledge.keeper][pledge.deal]:
        self._close(id, operator, found.reserved)
        log Released(challenge=id, operator=operator, deal=pledge.deal)
        dues._credit(operator, id, found.fee)
        return 0
    assert block.timestamp >= found.deadline, "challenges: deadline not passed"
    self.failed[found.pledge] = True
    self._kept[id] = empty(Kept)
    charged: uint256 = self.charged[pledge.device][pledge.owner][pledge.deal]
    due: uint256 = pledge.penalty - min(pledge.penalty, charged)
    self.charged[pledge.device][pledge.owner][pledge.deal] = charged + due
    held: uint256 = dues._seize(operator, found.reserved, due)
    slashed: uint256 = min(held, due)
    owner_part: uint256 = dues._reward(operator, slashed, slashed // BURNT_PART)
    dues._slash(operator, slashed, owner_part)
    dues._unlock(operator, held - slashed)
    log Failed(challenge=id, operator=operator, deal=pledge.deal, slashed=slashed, owner_part=owner_part)
    dues._credit(pledge.owner, id, owner_part)
    dues._credit(found.challenger, id, found.fee)
    return slashed


@external
@view
def open_challenge(id: uint256) -> Challenge:
    """
    @dev A challenge that is open; all zero if it is not.
    @param id The challenge.
    @return Challenge Its pledge by digest, its challenger, leaf,
            fee and deadline, and what is reserved for it.
    """
    return self._unpacked(id)


@internal
@view
def _open(id: uint256, pledge: pledges.Pledge) -> Challenge:
    """
    @dev A challenge that is open and about this pledge.
    """
    found: Challenge = self._unpacked(id)
    assert found.pledge != empty(bytes32), "challenges: not open"
    assert pledges._digest(pledge) == found.pledge, "challenges: another pledge"
    return found


@internal
@view
def _unpacked(id: uint256) -> Challenge:
    """
    @dev A challenge as it is kept.
    """
    kept: Kept = self._kept[id]
    packed: uint256 = kept.packed
    return Challenge(
        pledge=kept.pledge,
        challenger=kept.challenger,
        index=packed & (1 << INDEX_BITS) - 1,
        fee=packed >> (INDEX_BITS + TIME_BITS) & (1 << WEI_BITS) - 1,
        reserved=packed >> (INDEX_BITS + TIME_BITS + WEI_BITS),
        deadline=packed >> INDEX_BITS & (1 << TIME_BITS) - 1,
    )


@internal
def _close(id: uint256, operator: address, reserved: uint256):
    """
    @dev Ends a challenge that slashes nothing.
    """
    self._kept[id] = empty(Kept)
    dues._unlock(operator, reserved)


@internal
@view
def _room(operator: address) -> uint256:
    """
    @dev What challenges may hold of a bond beside what they do.
    """
    bond: dues.Bond = staticcall dues.Bonds(dues.bonds).pool(operator)
    most: uint256 = (bond.assets + bond.leaving_assets) // HELD_PART
    return most - min(most, dues._held(operator))
