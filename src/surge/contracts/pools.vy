# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Pools: what is staked behind each operator, and its rewards
@license GNU Affero General Public License v3.0 only
@author Surge
@notice Two pools for each operator: stake that is active, and stake
        that is leaving. Amounts are what was put in and taken out,
        never a balance: a transfer to the contract changes nothing.
        This module moves no tokens.
@custom:security Invariants: a slash takes from both pools in
                 proportion to their wei; no pool pays out more than
                 it holds; what is reserved is never above the two
                 together; nothing overflows, because amounts are
                 below 2**96 and a pool's shares below 2**128.
"""


# @dev We import the `shares` module, which is stateless.
import shares as maths


# @dev The scale of rewards to a share.
SCALE: constant(uint256) = 10**33


struct Pool:
    assets: uint256
    shares: uint256
    leaving_assets: uint256
    leaving_shares: uint256
    own_leaving: uint256
    residue: uint256
    reserved: uint256
    index: uint256
    generation: uint256
    leaving_generation: uint256


struct Position:
    shares: uint256
    generation: uint256
    paid: uint256
    owed: uint256


struct End:
    index: uint256
    thinned: bool


struct Ticket:
    staker: address
    operator: address
    shares: uint256
    ready_at: uint256
    generation: uint256


# @dev What is behind each operator. `own_leaving` are the leaving
# shares of the operator itself; `index` is what a share has earned
# since the start; a generation ends when slashes diluted a pool so
# much that its shares are thinned, or wiped it out, and the residue
# is the dust that they left of such pools: it belongs to nobody, and
# the next slash takes it first.
_pools: HashMap[address, Pool]


# @dev What each staker has in an operator's active pool.
_positions: HashMap[address, HashMap[address, Position]]


# @dev The index at which each generation of an operator ended, and
# whether its shares were thinned, or are worth nothing.
_ended: HashMap[address, HashMap[uint256, End]]


# @dev Whether the leaving shares of a generation were thinned.
_leaving_thinned: HashMap[address, HashMap[uint256, bool]]


# @dev What each slasher has reserved of an operator's bond, in wei.
reserved_by: public(HashMap[address, HashMap[address, uint256]])


# @dev Stake that leaves, by number. An entry goes with the last of it.
tickets: public(HashMap[uint256, Ticket])


# @dev Tickets that were given out.
ticket_count: public(uint256)


@internal
@view
def _settle(operator: address, staker: address) -> Position:
    """
    @dev A position with what it earned until now, not yet stored,
         in shares of the present generation.
    """
    position: Position = self._positions[operator][staker]
    generation: uint256 = self._pools[operator].generation
    index: uint256 = self._pools[operator].index
    for _: uint256 in range(maths.MAX_THINNINGS):
        if position.generation == generation or position.shares == 0:
            break
        ended: End = self._ended[operator][position.generation]
        position.owed += position.shares * (ended.index - position.paid) // SCALE
        position.paid = ended.index
        position.shares = position.shares // maths.THINNING if ended.thinned else 0
        position.generation += 1
    position.generation = generation
    position.owed += position.shares * (index - position.paid) // SCALE
    position.paid = index
    return position


@internal
@view
def _left(ticket: Ticket) -> uint256:
    """
    @dev A ticket's leaving shares of the present generation.
    """
    shares: uint256 = ticket.shares
    generation: uint256 = self._pools[ticket.operator].leaving_generation
    for at: uint256 in range(ticket.generation, ticket.generation + maths.MAX_THINNINGS, bound=maths.MAX_THINNINGS):
        if at == generation or shares == 0:
            break
        shares = shares // maths.THINNING if self._leaving_thinned[ticket.operator][at] else 0
    return shares


@internal
def _enter(operator: address, staker: address, amount: uint256) -> uint256:
    """
    @dev Puts an amount into the active pool; returns the shares.
    """
    position: Position = self._settle(operator, staker)
    assets: uint256 = self._pools[operator].assets
    shares: uint256 = self._pools[operator].shares
    bought: uint256 = maths._bought(amount, assets, shares)
    position.shares += bought
    self._positions[operator][staker] = position
    self._pools[operator].assets = assets + amount
    self._pools[operator].shares = shares + bought
    return bought


@internal
def _leave(operator: address, staker: address, shares: uint256, ready_at: uint256) -> (uint256, uint256):
    """
    @dev Moves active shares into the leaving pool; returns the
         ticket and what it is worth now.
    """
    position: Position = self._settle(operator, staker)
    assert shares <= position.shares, "bonds: not so many shares"
    pool: Pool = self._pools[operator]
    amount: uint256 = maths._worth(shares, pool.assets, pool.shares)
    assert amount > 0, "bonds: worth nothing"
    position.shares -= shares
    self._positions[operator][staker] = position
    pool.assets -= amount
    pool.shares -= shares
    bought: uint256 = maths._bought(amount, pool.leaving_assets, pool.leaving_shares)
    pool.leaving_assets += amount
    pool.leaving_shares += bought
    if staker == operator:
        pool.own_leaving += bought
    self._pools[operator] = pool
    ticket: uint256 = self.ticket_count + 1
    self.ticket_count = ticket
    self.tickets[ticket] = Ticket(
        staker=staker, operator=operator, shares=bought, ready_at=ready_at, generation=pool.leaving_generation
    )
    return ticket, amount


@internal
def _take_out(id: uint256) -> uint256:
    """
    @dev Takes what a ticket is worth out of the leaving pool, as
         far as nothing reserved is cut into. What is left stays on
         the ticket.
    """
    ticket: Ticket = self.tickets[id]
    pool: Pool = self._pools[ticket.operator]
    ticket.shares = self._left(ticket)
    worth: uint256 = maths._worth(ticket.shares, pool.leaving_assets, pool.leaving_shares)
    amount: uint256 = min(worth, self._free(pool))
    own: bool = ticket.staker == ticket.operator
    if own:
        held: uint256 = self._own(ticket.operator) + self._own_leaving(pool)
        amount = min(amount, held - min(held, pool.reserved))
    assert amount > 0 or worth == 0, "bonds: reserved"
    gone: uint256 = ticket.shares
    if amount < worth:
        # Rounded up, so that taking a part leaves no more than the rest.
        gone = min(gone, (amount * (pool.leaving_shares + maths.VIRTUAL) + pool.leaving_assets) // (pool.leaving_assets + 1))
    pool.leaving_assets -= amount
    pool.leaving_shares -= gone
    if own:
        pool.own_leaving -= gone
    self._pools[ticket.operator] = pool
    if gone == ticket.shares:
        self.tickets[id] = empty(Ticket)
    else:
        self.tickets[id].shares = ticket.shares - gone
        self.tickets[id].generation = pool.leaving_generation
    return amount


@internal
def _share(operator: address, amount: uint256) -> bool:
    """
    @dev Shares an amount among the active stake, the operator's own
         included; False if there is none.
    """
    shares: uint256 = self._pools[operator].shares
    if shares == 0:
        return False
    self._pools[operator].index += amount * SCALE // shares
    return True


@internal
def _collect(operator: address, staker: address) -> uint256:
    """
    @dev Clears a position's rewards; returns them.
    """
    position: Position = self._settle(operator, staker)
    owed: uint256 = position.owed
    position.owed = 0
    self._positions[operator][staker] = position
    return owed


@internal
def _hold(operator: address, amount: uint256) -> uint256:
    """
    @dev Reserves what is free of an amount, for the caller.
    """
    pool: Pool = self._pools[operator]
    got: uint256 = min(amount, self._free(pool))
    self._pools[operator].reserved = pool.reserved + got
    self.reserved_by[msg.sender][operator] += got
    return got


@internal
def _let_go(slasher: address, operator: address, amount: uint256):
    """
    @dev Ends a reservation.
    """
    reserved: uint256 = self.reserved_by[slasher][operator]
    assert amount <= reserved, "bonds: not so much reserved"
    self.reserved_by[slasher][operator] = reserved - amount
    self._pools[operator].reserved -= amount


@internal
def _cut(operator: address, amount: uint256) -> (uint256, uint256):
    """
    @dev Takes an amount, which was reserved, from both pools in
         proportion; shares that were diluted too much are thinned,
         and a pool that is wiped out begins anew. Returns what was
         taken of each.
    """
    pool: Pool = self._pools[operator]
    rest: uint256 = amount - min(amount, pool.residue)
    pool.residue -= amount - rest
    together: uint256 = pool.assets + pool.leaving_assets
    active: uint256 = rest * pool.assets // together if rest > 0 else 0
    pool.assets -= active
    pool.leaving_assets -= rest - active
    generation: uint256 = pool.generation
    for _: uint256 in range(maths.MAX_THINNINGS):
        if not maths._diluted(pool.assets, pool.shares):
            break
        thinned: bool = pool.assets > maths.DUST
        self._ended[operator][pool.generation] = End(index=pool.index, thinned=thinned)
        pool.generation += 1
        pool.shares = pool.shares // maths.THINNING if thinned else 0
        if not thinned:
            pool.residue += pool.assets
            pool.assets = 0
    for _: uint256 in range(maths.MAX_THINNINGS):
        if not maths._diluted(pool.leaving_assets, pool.leaving_shares):
            break
        thinned: bool = pool.leaving_assets > maths.DUST
        self._leaving_thinned[operator][pool.leaving_generation] = thinned
        pool.leaving_generation += 1
        pool.leaving_shares = pool.leaving_shares // maths.THINNING if thinned else 0
        pool.own_leaving = pool.own_leaving // maths.THINNING if thinned else 0
        if not thinned:
            pool.residue += pool.leaving_assets
            pool.leaving_assets = 0
    self._pools[operator] = pool
    if pool.generation != generation:
        self._positions[operator][operator] = self._settle(operator, operator)
    return active, rest - active


@internal
@pure
def _free(pool: Pool) -> uint256:
    """
    @dev What of a bond is not reserved.
    """
    return pool.assets + pool.leaving_assets + pool.residue - pool.reserved


@internal
@view
def _own(operator: address) -> uint256:
    """
    @dev The operator's own active stake in wei. Its position is
         settled when its pool's generation ends, so that nothing
         more is read here: every redemption does.
    """
    shares: uint256 = self._positions[operator][operator].shares
    if shares == 0:
        return 0
    return maths._worth(shares, self._pools[operator].assets, self._pools[operator].shares)


@internal
@pure
def _own_leaving(pool: Pool) -> uint256:
    """
    @dev The operator's own leaving stake in wei.
    """
    return maths._worth(pool.own_leaving, pool.leaving_assets, pool.leaving_shares)


@internal
@view
def _own_part(operator: address, amount: uint256) -> uint256:
    """
    @dev What of a slash would be the operator's own loss, by what
         of its bond is its own, active and leaving.
    """
    pool: Pool = self._pools[operator]
    whole: uint256 = pool.assets + pool.leaving_assets + pool.residue
    return amount * (self._own(operator) + self._own_leaving(pool)) // whole if whole > 0 else 0
