# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Emissions: new tokens for work that paid fees
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Each epoch has a budget, which decays. It is shared among
        operators in proportion to the protocol's fees that their
        work paid in, and passed on through their bonds, so that
        whoever stands behind them shares.
@custom:security Invariants:
        1. an operator's reward in an epoch is never more than the
           work fraction of the fees it brought in, which is at
           most 90 %: who deals with itself always loses;
        2. all rewards of an epoch together are at most its budget;
        3. what is not earned is not minted, and the token's cap
           is never passed;
        4. numbers change only for epochs that have not begun.
"""


from ethereum.ercs import IERC20


# @dev We import and initialise the `ownable_2step` module.
from snekmate.auth import ownable
from snekmate.auth import ownable_2step
initializes: ownable
initializes: ownable_2step[ownable := ownable]


exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)


struct Schedule:
    epoch: uint256  # the first that it counts for
    budget: uint256  # of that epoch, in wei
    decay: uint256  # what each epoch keeps of the last one's budget, of ONE
    work_bps: uint256  # the most that is minted for fees, in basis points of them


interface Token:
    def cap() -> uint256: view
    def totalSupply() -> uint256: view
    def mint(to: address, amount: uint256): nonpayable


interface Channels:
    def epoch_seconds() -> uint256: view
    def fees(epoch: uint256, operator: address) -> uint256: view
    def epoch_fees(epoch: uint256) -> uint256: view


interface Bonds:
    def pay(operator: address, amount: uint256): nonpayable


# @dev One, in fixed point.
ONE: constant(uint256) = 10**18


# @dev What an epoch keeps of the last one's budget: a half at
# least, and less than all of it.
MIN_DECAY: constant(uint256) = 5 * 10**17
MAX_DECAY: constant(uint256) = ONE - 10**12


# @dev The work fraction's cap, in basis points: 90 %.
MAX_WORK_BPS: constant(uint256) = 9_000


# @dev The highest first budget, in wei: the highest cap of a token.
MAX_BUDGET: constant(uint256) = 2**96


# @dev What is minted.
token: public(immutable(address))


# @dev Who counts fees.
channels: public(immutable(address))


# @dev Who passes rewards on.
bonds: public(immutable(address))


# @dev Seconds of an epoch, as the channels count them.
epoch_seconds: public(immutable(uint256))


# @dev No budget is ever set above this, in wei.
first_budget: public(immutable(uint256))


# @dev Schedules, by the order of their first epochs.
schedules: public(HashMap[uint256, Schedule])
schedule_count: public(uint256)


# @dev Wei that were minted for an operator's work in an epoch.
minted: public(HashMap[uint256, HashMap[address, uint256]])


event Scheduled:
    epoch: indexed(uint256)
    budget: uint256
    decay: uint256
    work_bps: uint256


event Minted:
    epoch: indexed(uint256)
    operator: indexed(address)
    amount: uint256


@deploy
def __init__(
    token_: address, channels_: address, bonds_: address, first_budget_: uint256, decay: uint256, work_bps: uint256
):
    """
    @dev The deployer becomes the owner. The first budget is that
         of the epoch in which this is deployed.
    @param token_ What is minted; it has to name this contract.
    @param channels_ Who counts fees.
    @param bonds_ Who passes rewards on.
    @param first_budget_ The first epoch's budget in wei.
    @param decay What each epoch keeps of the last one's budget,
           in parts of 10**18.
    @param work_bps The most that is minted for fees, in basis
           points of them.
    """
    assert token_ != empty(address) and channels_ != empty(address) and bonds_ != empty(address), "emissions: empty address"
    assert first_budget_ <= MAX_BUDGET, "emissions: budget out of bounds"
    ownable.__init__()
    ownable_2step.__init__()
    token = token_
    channels = channels_
    bonds = bonds_
    first_budget = first_budget_
    epoch_seconds = staticcall Channels(channels_).epoch_seconds()
    assert epoch_seconds > 0, "emissions: no epochs"
    self._schedule(block.timestamp // epoch_seconds, first_budget_, decay, work_bps)


@external
def schedule(budget_: uint256, decay: uint256, work_bps: uint256):
    """
    @dev Changes the numbers from the next epoch on. Only the owner
         may.
    @param budget_ The next epoch's budget in wei.
    @param decay What each epoch keeps of the last one's budget,
           in parts of 10**18.
    @param work_bps The most that is minted for fees, in basis
           points of them.
    """
    ownable._check_owner()
    self._schedule(self._epoch() + 1, budget_, decay, work_bps)


@external
def claim(operator: address, epoch_: uint256) -> uint256:
    """
    @dev Mints what an operator's work earned in an epoch, and pays
         it to the operator and those behind it. Anyone may call
         it. What the token's cap leaves no room for stays to be
         claimed.
    @param operator The operator.
    @param epoch_ An epoch that is over.
    @return uint256 What was minted, in wei.
    """
    assert epoch_ < self._epoch(), "emissions: epoch is not over"
    amount: uint256 = self._claimable(operator, epoch_)
    assert amount > 0, "emissions: nothing to claim"
    self.minted[epoch_][operator] += amount
    log Minted(epoch=epoch_, operator=operator, amount=amount)
    extcall Token(token).mint(self, amount)
    assert extcall IERC20(token).approve(bonds, amount, default_return_value=True), "emissions: approval failed"
    extcall Bonds(bonds).pay(operator, amount)
    return amount


@external
@view
def epoch() -> uint256:
    """
    @dev The epoch that runs.
    @return uint256 Its number.
    """
    return self._epoch()


@external
@view
def budget(epoch_: uint256) -> uint256:
    """
    @dev The most that is minted for the work of an epoch.
    @param epoch_ The epoch.
    @return uint256 Its budget in wei; 0 before the first one.
    """
    return self._budget(self._schedule_of(epoch_), epoch_)


@external
@view
def schedule_of(epoch_: uint256) -> Schedule:
    """
    @dev The numbers that count for an epoch.
    @param epoch_ The epoch.
    @return Schedule All zero before the first one.
    """
    return self._schedule_of(epoch_)


@external
@view
def reward(operator: address, epoch_: uint256) -> uint256:
    """
    @dev What an operator's work earns in an epoch, by the fees
         that it brought in until now.
    @param operator The operator.
    @param epoch_ The epoch.
    @return uint256 The reward in wei.
    """
    return self._reward(operator, epoch_)


@external
@view
def claimable(operator: address, epoch_: uint256) -> uint256:
    """
    @dev What `claim` would mint now.
    @param operator The operator.
    @param epoch_ The epoch.
    @return uint256 The amount in wei; 0 while the epoch runs.
    """
    return self._claimable(operator, epoch_) if epoch_ < self._epoch() else 0


@internal
def _schedule(epoch_: uint256, budget_: uint256, decay: uint256, work_bps: uint256):
    """
    @dev Sets the numbers from an epoch on, within their bounds.
    """
    assert budget_ <= first_budget, "emissions: budget out of bounds"
    assert decay >= MIN_DECAY and decay <= MAX_DECAY, "emissions: decay out of bounds"
    assert work_bps <= MAX_WORK_BPS, "emissions: work fraction above cap"
    count: uint256 = self.schedule_count
    place: uint256 = count
    if count > 0 and self.schedules[count - 1].epoch == epoch_:
        place = count - 1
    else:
        self.schedule_count = count + 1
    self.schedules[place] = Schedule(epoch=epoch_, budget=budget_, decay=decay, work_bps=work_bps)
    log Scheduled(epoch=epoch_, budget=budget_, decay=decay, work_bps=work_bps)


@internal
@view
def _epoch() -> uint256:
    """
    @dev The epoch that runs.
    """
    return block.timestamp // epoch_seconds


@internal
@view
def _schedule_of(epoch_: uint256) -> Schedule:
    """
    @dev The last schedule that begins at or before an epoch, by
         binary search.
    """
    low: uint256 = 0
    high: uint256 = self.schedule_count
    for _: uint256 in range(64):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        if self.schedules[middle].epoch <= epoch_:
            low = middle + 1
        else:
            high = middle
    return empty(Schedule) if low == 0 else self.schedules[low - 1]


@internal
@pure
def _budget(found: Schedule, epoch_: uint256) -> uint256:
    """
    @dev A schedule's budget, decayed until an epoch: by squaring,
         each product rounded down.
    """
    kept: uint256 = ONE
    factor: uint256 = found.decay
    left: uint256 = epoch_ - found.epoch
    for _: uint256 in range(256):
        if left == 0 or kept == 0:
            break
        if left & 1 == 1:
            kept = kept * factor // ONE
        factor = factor * factor // ONE
        left >>= 1
    return found.budget * kept // ONE


@internal
@view
def _reward(operator: address, epoch_: uint256) -> uint256:
    """
    @dev The share of the budget, or the work fraction of the fees
         if that is less.
    """
    fees: uint256 = staticcall Channels(channels).fees(epoch_, operator)
    if fees == 0:
        return 0
    found: Schedule = self._schedule_of(epoch_)
    share: uint256 = self._budget(found, epoch_) * fees // staticcall Channels(channels).epoch_fees(epoch_)
    return min(share, fees * found.work_bps // 10_000)


@internal
@view
def _claimable(operator: address, epoch_: uint256) -> uint256:
    """
    @dev What is left of a reward, as far as the cap has room.
    """
    room: uint256 = staticcall Token(token).cap() - staticcall Token(token).totalSupply()
    return min(self._reward(operator, epoch_) - self.minted[epoch_][operator], room)
