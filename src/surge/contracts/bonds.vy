# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Bonds: what operators and those behind them can lose
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Anyone stakes behind an operator and shares its pay, less
        its commission, and its slashes. Stake that leaves waits
        for the unbonding period and is slashed alike meanwhile. An
        operator whose own stake is below the least bond has its
        pay retained until it is there.
@custom:security Invariants:
        1. the contract holds at least what is in all pools and
           what was earned and not claimed; tokens sent to it
           change no pool;
        2. a slash takes from active and leaving stake alike, only
           what was reserved, and at once;
        3. what is reserved stays until its slasher releases it or
           was replaced an unbonding period ago: no withdrawal cuts
           into it, and an operator's own goes last;
        4. nobody is paid more than was put in for it: rounding
           favours the pools;
        5. `route` and `pay_work` never revert for a payer that
           holds and has approved what it pays: no operator can
           make a redemption fail.
"""


# @dev We import and initialise the `ownable_2step` module.
from snekmate.auth import ownable
from snekmate.auth import ownable_2step
initializes: ownable
initializes: ownable_2step[ownable := ownable]


# @dev We import and initialise the `slashers` module.
import slashers
initializes: slashers[ownable := ownable]


# @dev We import and initialise the `anchors` module.
import anchors
initializes: anchors[slashers := slashers]


# @dev We import and initialise the `commissions` module.
import commissions
initializes: commissions


# @dev We import and initialise the `pools` module.
import pools
initializes: pools


# @dev We import and initialise the `purse` module.
import purse
initializes: purse


# @dev We import and initialise the `bond_views` module.
import bond_views
initializes: bond_views[pools := pools, anchors := anchors, commissions := commissions]


exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
    slashers.slasher,
    slashers.is_slasher,
    slashers.slasher_delay,
    slashers.founded_at,
    slashers.proposed_slasher,
    slashers.proposed_from,
    slashers.retired_at,
    slashers.set_slasher,
    slashers.propose_slasher,
    slashers.accept_slasher,
    anchors.set_anchor,
    anchors.next_ordinal,
    anchors.use_link,
    anchors.ordinals,
    pools.reserved_by,
    pools.tickets,
    pools.ticket_count,
    purse.token,
    bond_views.pool,
    bond_views.bond_of,
    bond_views.free_bond,
    bond_views.own_stake,
    bond_views.own_part,
    bond_views.announced_commission,
    bond_views.position,
    bond_views.claimable,
    bond_views.leaving,
)


# @dev The shortest and longest unbonding period, in seconds: a
# minute, for networks on one machine, and a year.
MIN_UNBONDING: constant(uint256) = 60
MAX_UNBONDING: constant(uint256) = 31_536_000


# @dev The highest least bond, in wei: a million SURGE.
MAX_MIN_BOND: constant(uint256) = 10**24


# @dev Those whom one slash pays.
MAX_PAYEES: constant(uint256) = 64


# @dev The own stake in wei below which an operator's pay is retained.
min_bond: public(immutable(uint256))


# @dev Seconds between leaving and taking out.
unbonding_seconds: public(immutable(uint256))


event Staked:
    operator: indexed(address)
    staker: indexed(address)
    amount: uint256
    shares: uint256


event Unstaked:
    operator: indexed(address)
    staker: indexed(address)
    ticket: indexed(uint256)
    amount: uint256
    ready_at: uint256


event Withdrawn:
    operator: indexed(address)
    staker: indexed(address)
    ticket: indexed(uint256)
    amount: uint256


event Paid:
    operator: indexed(address)
    amount: uint256
    shared: uint256


event Claimed:
    operator: indexed(address)
    staker: indexed(address)
    amount: uint256


event Reserved:
    operator: indexed(address)
    slasher: indexed(address)
    amount: uint256


event Released:
    operator: indexed(address)
    slasher: indexed(address)
    amount: uint256


event Slashed:
    operator: indexed(address)
    slasher: indexed(address)
    active: uint256
    leaving: uint256
    burnt: uint256


@deploy
def __init__(token_: address, min_bond_: uint256, unbonding_seconds_: uint256):
    """
    @dev The deployer becomes the owner, who names slashers.
    @param token_ The token that is staked, of at most 2**96 wei.
    @param min_bond_ The own stake in wei below which an operator's
           pay is retained.
    @param unbonding_seconds_ Seconds between leaving and taking out.
    """
    assert min_bond_ <= MAX_MIN_BOND, "bonds: least bond too high"
    assert unbonding_seconds_ >= MIN_UNBONDING and unbonding_seconds_ <= MAX_UNBONDING, "bonds: unbonding period out of bounds"
    ownable.__init__()
    ownable_2step.__init__()
    purse.__init__(token_)
    slashers.__init__(2 * unbonding_seconds_)
    min_bond = min_bond_
    unbonding_seconds = unbonding_seconds_


@external
def stake(operator: address, amount: uint256) -> uint256:
    """
    @dev Stakes behind an operator, which may be the caller.
    @param operator The operator.
    @param amount The stake in wei, approved before.
    @return uint256 The shares that it buys.
    """
    assert operator != empty(address), "bonds: no operator"
    shares: uint256 = pools._enter(operator, msg.sender, amount)
    assert shares > 0, "bonds: nothing staked"
    log Staked(operator=operator, staker=msg.sender, amount=amount, shares=shares)
    purse._take(msg.sender, amount)
    return shares


@external
def unstake(operator: address, shares: uint256) -> uint256:
    """
    @dev Begins to take stake out. Until it is taken out it is
         slashed like stake that stays.
    @param operator The operator it is behind.
    @param shares How many of the caller's shares leave.
    @return uint256 The ticket for `withdraw`.
    """
    ready_at: uint256 = block.timestamp + unbonding_seconds
    ticket: uint256 = 0
    amount: uint256 = 0
    ticket, amount = pools._leave(operator, msg.sender, shares, ready_at)
    log Unstaked(operator=operator, staker=msg.sender, ticket=ticket, amount=amount, ready_at=ready_at)
    return ticket


@external
def withdraw(ticket: uint256) -> uint256:
    """
    @dev Pays out stake that has left, as far as it is not
         reserved; the rest can be taken once it is released.
    @param ticket The ticket, which is the caller's.
    @return uint256 What was paid, in wei.
    """
    found: pools.Ticket = pools.tickets[ticket]
    assert found.staker == msg.sender, "bonds: not your ticket"
    assert block.timestamp >= found.ready_at, "bonds: not ready"
    amount: uint256 = pools._take_out(ticket)
    log Withdrawn(operator=found.operator, staker=msg.sender, ticket=ticket, amount=amount)
    purse._give(msg.sender, amount)
    return amount


@external
def set_commission(commission_bps: uint256):
    """
    @dev Names what the caller keeps of what it is paid; the rest
         is shared among the stake behind it, its own included. A
         higher commission counts after the unbonding period.
    @param commission_bps Its part in basis points.
    """
    commissions._set_commission(msg.sender, commission_bps, unbonding_seconds)


@external
def pay(operator: address, amount: uint256):
    """
    @dev Pays an operator and those behind it.
    @param operator The operator.
    @param amount What is paid in wei, approved before.
    """
    assert operator != empty(address), "bonds: no operator"
    shared: uint256 = amount * commissions._part(operator) // commissions.WHOLE
    if not pools._share(operator, shared):
        shared = 0
    log Paid(operator=operator, amount=amount, shared=shared)
    purse._take(msg.sender, amount)
    purse._give(operator, amount - shared)


@external
def pay_work(operator: address, retained: uint256, shared: uint256):
    """
    @dev Takes the parts of a payment that `route` keeps from the
         operator's hands. Anyone may pay so.
    @param operator The operator.
    @param retained What becomes its own stake, in wei.
    @param shared What is shared among the stake behind it, in wei.
    """
    assert operator != empty(address), "bonds: no operator"
    if retained > 0:
        shares: uint256 = pools._enter(operator, operator, retained)
        log Staked(operator=operator, staker=operator, amount=retained, shares=shares)
    to_stakers: bool = pools._share(operator, shared)
    if shared > 0:
        log Paid(operator=operator, amount=shared, shared=shared if to_stakers else 0)
    purse._take(msg.sender, retained + shared)
    if not to_stakers:
        purse._give(operator, shared)


@external
def claim(operator: address) -> uint256:
    """
    @dev Pays out what the caller's stake behind an operator earned.
    @param operator The operator.
    @return uint256 What was paid, in wei.
    """
    amount: uint256 = pools._collect(operator, msg.sender)
    log Claimed(operator=operator, staker=msg.sender, amount=amount)
    purse._give(msg.sender, amount)
    return amount


@external
def reserve(operator: address, amount: uint256) -> uint256:
    """
    @dev Holds a part of a bond, at most what is free. Only a
         slasher may.
    @param operator The operator.
    @param amount What to hold, in wei.
    @return uint256 What is held, in wei.
    """
    slashers._check_slasher()
    got: uint256 = pools._hold(operator, amount)
    log Reserved(operator=operator, slasher=msg.sender, amount=got)
    return got


@external
def release(operator: address, amount: uint256):
    """
    @dev Lets a part of what the caller holds go.
    @param operator The operator.
    @param amount What to let go, in wei.
    """
    pools._let_go(msg.sender, operator, amount)
    log Released(operator=operator, slasher=msg.sender, amount=amount)


@external
def release_retired(slasher: address, operator: address):
    """
    @dev Lets everything go that a slasher still holds of a bond an
         unbonding period after it was replaced. Anyone may call it.
    @param slasher The former slasher.
    @param operator The operator.
    """
    assert slashers._retired(slasher, unbonding_seconds), "bonds: slasher not retired"
    amount: uint256 = pools.reserved_by[slasher][operator]
    pools._let_go(slasher, operator, amount)
    log Released(operator=operator, slasher=slasher, amount=amount)


@external
def slash(operator: address, amount: uint256, payees: DynArray[address, MAX_PAYEES], amounts: DynArray[uint256, MAX_PAYEES]):
    """
    @dev Takes a part of what the caller holds. What the payees do
         not get is burnt.
    @param operator Whose bond it is.
    @param amount What is taken, in wei.
    @param payees Who is paid of it.
    @param amounts What each is paid, in wei.
    """
    assert len(payees) == len(amounts), "bonds: amounts missing"
    pools._let_go(msg.sender, operator, amount)
    active: uint256 = 0
    leaving: uint256 = 0
    active, leaving = pools._cut(operator, amount)
    rest: uint256 = amount
    for each: uint256 in amounts:
        assert each <= rest, "bonds: pays more than it takes"
        rest -= each
    log Slashed(operator=operator, slasher=msg.sender, active=active, leaving=leaving, burnt=rest)
    at: uint256 = 0
    for payee: address in payees:
        purse._give(payee, amounts[at])
        at += 1
    purse._burn(rest)


@external
@view
def route(operator: address, amount: uint256) -> (uint256, uint256):
    """
    @dev What of a payment does not go to the operator at once.
    @param operator The operator.
    @param amount The payment in wei.
    @return uint256 What is retained as its own stake, in wei.
    @return uint256 What is shared among the stake behind it, in wei.
    """
    retained: uint256 = 0
    if min_bond > 0:
        own: uint256 = pools._own(operator)
        retained = min(amount, min_bond - min(min_bond, own))
    part: uint256 = commissions._part(operator)
    if part == 0 or (retained == 0 and pools._pools[operator].shares == 0):
        return retained, 0
    return retained, (amount - retained) * part // commissions.WHOLE
