# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma optimize codesize
# pragma nonreentrancy on
"""
@title Equivocations: two receipts with one number
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Slashes, without a jury, whose device signed two receipts
        of one channel and sequence.
@custom:security Invariants:
        1. each number is reported once;
        2. reporting oneself loses nine tenths of what is slashed,
           and brings no more than one loses oneself, whoever else
           staked behind one;
        3. having one's bond reserved by the court, for a case or
           for seats, only puts it off: what is missing is owed to
           the court, which slashes it when it is released;
        4. it holds no token and reserves nothing between calls.
"""


# @dev We import and initialise the `recorded` module.
import recorded
initializes: recorded


exports: (
    recorded.channels,
    recorded.registry,
)


# @dev The court's numbers. Here the greatest age of a claim counts:
# so long an operator answers for a device that it removed.
struct Parameters:
    answer_seconds: uint256
    draw_seconds: uint256
    commit_seconds: uint256
    reveal_seconds: uint256
    extend_seconds: uint256
    max_claim_age: uint256
    fuel_per_second: uint256
    max_fuel: uint256
    opener_bond: uint256
    seat_stake: uint256
    base_fee: uint256
    gigafuel_fee: uint256


interface Bonds:
    def own_part(operator: address, amount: uint256) -> uint256: view
    def free_bond(operator: address) -> uint256: view
    def reserved_by(slasher: address, operator: address) -> uint256: view
    def reserve(operator: address, amount: uint256) -> uint256: nonpayable
    def slash(operator: address, amount: uint256, payees: DynArray[address, 64], amounts: DynArray[uint256, 64]): nonpayable


interface Court:
    def bonds() -> address: view
    def channels() -> address: view
    def registry() -> address: view
    def debts(operator: address) -> uint256: view
    def parameters() -> Parameters: view
    def owe(operator: address, amount: uint256): nonpayable


# @dev Of an equivocation's slash, the reporter's part: a tenth.
REPORTER_PART: constant(uint256) = 10


# @dev The court: what it has reserved of a bond counts too.
court: public(immutable(address))


# @dev Who holds the bonds.
bonds: public(immutable(address))


# @dev Seconds for which an operator answers for a device it removed.
MAX_CLAIM_AGE: immutable(uint256)


# @dev Whether a channel's number was reported as signed twice.
equivocated: public(HashMap[bytes32, HashMap[uint64, bool]])


event Equivocated:
    operator: indexed(address)
    channel: indexed(bytes32)
    sequence: uint64
    reporter: address
    amount: uint256
    reward: uint256


@deploy
def __init__(court_: address):
    """
    @dev Deals with what the court deals with.
    @param court_ The court.
    """
    court = court_
    bonds = staticcall Court(court_).bonds()
    MAX_CLAIM_AGE = (staticcall Court(court_).parameters()).max_claim_age
    recorded.__init__(staticcall Court(court_).registry(), staticcall Court(court_).channels())


@external
def equivocation(
    one: recorded.Receipt, one_signature: Bytes[65], other: recorded.Receipt, other_signature: Bytes[65]
) -> uint256:
    """
    @dev Reports two receipts that a device gave one number. Half
         of its operator's bond is slashed, without a jury: a tenth
         of that goes to the caller, or what the operator itself
         loses if that is less; the rest is burnt.
    @param one A receipt.
    @param one_signature The device's.
    @param other Another one of the same channel and sequence.
    @param other_signature The device's.
    @return uint256 What was slashed now, in wei.
    """
    channel: recorded.Channel = recorded._channel(one.channel)
    assert one.channel == other.channel and one.sequence == other.sequence, "court: numbers differ"
    digest: bytes32 = recorded._signed(one, one_signature, channel.device)
    assert digest != recorded._signed(other, other_signature, channel.device), "court: one receipt"
    assert recorded._stands_behind(channel.provider, channel.device, MAX_CLAIM_AGE), "court: no operator's device"
    assert not self.equivocated[one.channel][one.sequence], "court: reported before"
    self.equivocated[one.channel][one.sequence] = True
    operator: address = channel.provider
    held: uint256 = staticcall Bonds(bonds).reserved_by(court, operator)
    bond: uint256 = staticcall Bonds(bonds).free_bond(operator) + held
    due: uint256 = (bond - min(bond, staticcall Court(court).debts(operator))) // 2
    amount: uint256 = 0
    if due > 0:
        amount = extcall Bonds(bonds).reserve(operator, due)
    reward: uint256 = min(amount // REPORTER_PART, staticcall Bonds(bonds).own_part(operator, amount))
    log Equivocated(
        operator=operator, channel=one.channel, sequence=one.sequence, reporter=msg.sender, amount=amount, reward=reward
    )
    if amount > 0:
        extcall Bonds(bonds).slash(operator, amount, [msg.sender], [reward])
    if amount < due:
        extcall Court(court).owe(operator, due - amount)
    return amount
