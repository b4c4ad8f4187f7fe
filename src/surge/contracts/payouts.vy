# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Payouts: what providers are paid, and the protocol's fee
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Takes the fee off a payment, counts it for its epoch and
        operator, and pays the rest: to the operator, but for what
        its bond retains or shares with those behind it.
@custom:security Invariants: the fee is never above its cap; what is
                 due is paid in full, to the fee's receiver, the
                 operator and the bonds together; a bond can make
                 no payment fail.
"""


# @dev We use the `ownable` module.
from snekmate.auth import ownable
uses: ownable


# @dev We use the `purse` module.
import purse
uses: purse


interface Bonds:
    def route(operator: address, amount: uint256) -> (uint256, uint256): view
    def pay_work(operator: address, retained: uint256, shared: uint256): nonpayable


# @dev The fee's cap, in basis points: 5 %.
MAX_FEE_BPS: constant(uint256) = 500


# @dev The shortest and longest epoch, in seconds: a minute, for
# networks on one machine, and a quarter.
MIN_EPOCH: constant(uint256) = 60
MAX_EPOCH: constant(uint256) = 7_776_000


# @dev The bonds by which operators are paid.
bonds: public(immutable(address))


# @dev Seconds of an epoch. Epochs are counted from 1970.
epoch_seconds: public(immutable(uint256))


# @dev Who receives the fee.
fee_sink: public(address)


# @dev The fee in basis points of what a provider is paid.
fee_bps: public(uint256)


# @dev Fees in wei by epoch and operator.
fees: public(HashMap[uint256, HashMap[address, uint256]])


# @dev Fees in wei by epoch.
epoch_fees: public(HashMap[uint256, uint256])


event FeeChanged:
    fee_bps: uint256
    fee_sink: address


@deploy
def __init__(bonds_: address, fee_sink_: address, fee_bps_: uint256, epoch_seconds_: uint256):
    """
    @dev Fixes bonds and epochs. The purse is initialised before.
    @param bonds_ The bonds by which operators are paid.
    @param fee_sink_ Who receives the fee.
    @param fee_bps_ The fee in basis points.
    @param epoch_seconds_ Seconds of an epoch.
    """
    assert bonds_ != empty(address), "channels: no bonds"
    assert epoch_seconds_ >= MIN_EPOCH and epoch_seconds_ <= MAX_EPOCH, "channels: epoch out of bounds"
    bonds = bonds_
    epoch_seconds = epoch_seconds_
    self._set_fee(fee_bps_, fee_sink_)
    purse._allow(bonds_)


@external
def set_fee(fee_bps_: uint256, fee_sink_: address):
    """
    @dev Changes the fee, within its cap. Only the owner may.
    @param fee_bps_ The fee in basis points.
    @param fee_sink_ Who receives it.
    """
    ownable._check_owner()
    self._set_fee(fee_bps_, fee_sink_)


@internal
@view
def _fee(due: uint256) -> uint256:
    """
    @dev The fee on a payment.
    """
    return due * self.fee_bps // 10_000


@internal
def _pay(operator: address, due: uint256, fee: uint256):
    """
    @dev Pays what is due, of which the fee is a part. The state was
         changed before.
    """
    if fee > 0:
        epoch: uint256 = block.timestamp // epoch_seconds
        self.fees[epoch][operator] += fee
        self.epoch_fees[epoch] += fee
        purse._give(self.fee_sink, fee)
    paid: uint256 = due - fee
    if paid == 0:
        return
    retained: uint256 = 0
    shared: uint256 = 0
    retained, shared = staticcall Bonds(bonds).route(operator, paid)
    if retained + shared > 0:
        extcall Bonds(bonds).pay_work(operator, retained, shared)
    purse._give(operator, paid - retained - shared)


@internal
def _set_fee(fee_bps_: uint256, fee_sink_: address):
    """
    @dev Sets the fee within its cap.
    """
    assert fee_bps_ <= MAX_FEE_BPS, "channels: fee above cap"
    assert fee_sink_ != empty(address), "channels: no fee sink"
    self.fee_bps = fee_bps_
    self.fee_sink = fee_sink_
    log FeeChanged(fee_bps=fee_bps_, fee_sink=fee_sink_)
