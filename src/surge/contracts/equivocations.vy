# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Equivocations: two receipts with one number
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module that slashes, without a jury, whose device signed
        two receipts of one channel and sequence.
@custom:security Each number is reported once. Reporting oneself
                 loses nine tenths of what is slashed, and brings
                 no more than one loses oneself, whoever else staked
                 behind one; having one's
                 bond reserved by a case or by seats meanwhile only
                 puts it off.
"""


# @dev We use the `terms_of_court`, `dues`, `recorded` and `seats`
# modules.
import terms_of_court
import dues
import recorded
import seats
uses: terms_of_court
uses: dues
uses: recorded
uses: seats


# @dev Of an equivocation's slash, the reporter's part: a tenth.
REPORTER_PART: constant(uint256) = 10


# @dev Whether a channel's number was reported as signed twice.
equivocated: public(HashMap[bytes32, HashMap[uint64, bool]])


event Equivocated:
    operator: indexed(address)
    channel: indexed(bytes32)
    sequence: uint64
    reporter: address
    amount: uint256


@deploy
def __init__():
    """
    @dev Nothing to set.
    """
    pass


@external
@nonreentrant
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
    assert recorded._stands_behind(channel.provider, channel.device, terms_of_court.TERMS.max_claim_age), "court: no operator's device"
    assert not self.equivocated[one.channel][one.sequence], "court: reported before"
    self.equivocated[one.channel][one.sequence] = True
    operator: address = channel.provider
    bond: uint256 = staticcall dues.Bonds(dues.bonds).free_bond(operator) + dues._held(operator)
    due: uint256 = (bond - min(bond, dues.debts[operator])) // 2
    amount: uint256 = dues._seize(operator, 0, due)
    reward: uint256 = dues._reward(operator, amount, amount // REPORTER_PART)
    dues._slash(operator, amount, reward)
    if amount < due:
        seats._leave_if_sitting(operator)
    dues._credit(msg.sender, 0, reward)
    log Equivocated(operator=operator, channel=one.channel, sequence=one.sequence, reporter=msg.sender, amount=amount)
    return amount
