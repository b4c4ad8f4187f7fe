# pragma version ~=0.4.3
# pragma nonreentrancy on
"""
@title Deposits: the channels that were opened
@license GNU Affero General Public License v3.0 only
@author Surge
@notice What a channel is, how it is opened and added to, and what
        there is to see of it.
@custom:security Invariants: an id never names two deposits, in this
                 contract or another, on this chain or another; only
                 a channel's buyer adds to it or raises its floor,
                 which never falls and never exceeds the deposit.
"""


# @dev We use the `purse` module.
import purse
uses: purse


# @dev The bits of a channel's clock: the challenge period, the end
# of a one-sided close (or when its provider gave it up), the last
# redemption, whether it is closed, and whether its provider gave it
# up. One word, because every redemption reads and writes it.
SECONDS: constant(uint256) = 2**32 - 1
TIME: constant(uint256) = 2**64 - 1
CLOSING_AT: constant(uint256) = 32
REDEEMED_AT: constant(uint256) = 96
CLOSED: constant(uint256) = 1 << 160
GIVEN_UP: constant(uint256) = 1 << 161


# @dev The shortest and longest challenge period, in seconds: a
# minute, for networks on one machine, and 90 days.
MIN_CHALLENGE: constant(uint256) = 60
MAX_CHALLENGE: constant(uint256) = 7_776_000


struct Channel:
    buyer: address
    provider: address
    device: address
    session_key: address
    deposit: uint256
    redeemed: uint256
    floor: uint256
    count: uint256
    root: bytes32
    challenge_seconds: uint256
    closing_at: uint256
    closed: bool
    redeemed_at: uint256


struct Deposit:
    buyer: address
    provider: address
    device: address
    session_key: address
    deposit: uint256
    redeemed: uint256
    floor: uint256
    count: uint256
    root: bytes32
    clock: uint256


# @dev Channels by id. Entries are never removed: an id names one deposit for ever.
_channels: HashMap[bytes32, Deposit]


event Opened:
    channel: indexed(bytes32)
    buyer: indexed(address)
    provider: indexed(address)
    device: address
    session_key: address
    amount: uint256
    floor: uint256
    challenge_seconds: uint256


event ToppedUp:
    channel: indexed(bytes32)
    amount: uint256
    deposit: uint256


event FloorRaised:
    channel: indexed(bytes32)
    floor: uint256


@external
def open(
    provider: address,
    device: address,
    session_key: address,
    amount: uint256,
    floor_: uint256,
    challenge_seconds: uint256,
    salt: bytes32,
) -> bytes32:
    """
    @dev Deposits tokens for a provider. The caller is the buyer
         and must have approved the amount.
    @param provider Who is paid: the operator's address.
    @param device The device that signs receipts.
    @param session_key The key that signs vouchers.
    @param amount The deposit in wei.
    @param floor_ The least the provider is paid at the close.
    @param challenge_seconds Seconds between the start of a
           one-sided close and its end.
    @param salt Any value the buyer has not used for this provider.
    @return bytes32 The channel's id.
    """
    assert provider != empty(address) and device != empty(address) and session_key != empty(address), "channels: empty address"
    assert amount > 0, "channels: nothing deposited"
    assert floor_ <= amount, "channels: floor above deposit"
    assert challenge_seconds >= MIN_CHALLENGE and challenge_seconds <= MAX_CHALLENGE, "channels: challenge period out of bounds"
    id: bytes32 = self._id(msg.sender, provider, salt)
    assert self._channels[id].buyer == empty(address), "channels: id was used"
    self._channels[id] = Deposit(
        buyer=msg.sender,
        provider=provider,
        device=device,
        session_key=session_key,
        deposit=amount,
        redeemed=0,
        floor=floor_,
        count=0,
        root=empty(bytes32),
        clock=challenge_seconds,
    )
    log Opened(
        channel=id,
        buyer=msg.sender,
        provider=provider,
        device=device,
        session_key=session_key,
        amount=amount,
        floor=floor_,
        challenge_seconds=challenge_seconds,
    )
    purse._take(msg.sender, amount)
    return id


@external
def top_up(id: bytes32, amount: uint256):
    """
    @dev Adds to a deposit. Only the buyer may, and not while the
         channel closes.
    @param id The channel.
    @param amount What to add, in wei.
    """
    assert self._channels[id].buyer == msg.sender, "channels: not the buyer"
    assert amount > 0, "channels: nothing deposited"
    clock: uint256 = self._channels[id].clock
    assert clock & CLOSED == 0, "channels: closed"
    assert self._closing_at(clock) == 0, "channels: closing"
    deposit: uint256 = self._channels[id].deposit + amount
    self._channels[id].deposit = deposit
    log ToppedUp(channel=id, amount=amount, deposit=deposit)
    purse._take(msg.sender, amount)


@external
def raise_floor(id: bytes32, floor_: uint256):
    """
    @dev Raises the least that a channel pays its provider, so that
         the provider does more before it is paid. Only the buyer
         may, and not while the channel closes. It is never
         lowered.
    @param id The channel.
    @param floor_ The new floor in wei, at most the deposit.
    """
    assert self._channels[id].buyer == msg.sender, "channels: not the buyer"
    clock: uint256 = self._channels[id].clock
    assert clock & CLOSED == 0, "channels: closed"
    assert self._closing_at(clock) == 0, "channels: closing"
    assert floor_ > self._channels[id].floor, "channels: floor not raised"
    assert floor_ <= self._channels[id].deposit, "channels: floor above deposit"
    self._channels[id].floor = floor_
    log FloorRaised(channel=id, floor=floor_)


@external
@view
def state(id: bytes32) -> Channel:
    """
    @dev A channel; all zero if there is none.
    @param id The channel.
    @return Channel Its state.
    """
    found: Deposit = self._channels[id]
    return Channel(
        buyer=found.buyer,
        provider=found.provider,
        device=found.device,
        session_key=found.session_key,
        deposit=found.deposit,
        redeemed=found.redeemed,
        floor=found.floor,
        count=found.count,
        root=found.root,
        challenge_seconds=found.clock & SECONDS,
        closing_at=self._closing_at(found.clock),
        closed=found.clock & CLOSED != 0,
        redeemed_at=found.clock >> REDEEMED_AT & TIME,
    )


@external
@view
def channel_id(buyer: address, provider: address, salt: bytes32) -> bytes32:
    """
    @dev The id that `open` gives.
    @param buyer Who opens.
    @param provider Who is paid.
    @param salt The buyer's.
    @return bytes32 The id.
    """
    return self._id(buyer, provider, salt)


@internal
@view
def _id(buyer: address, provider: address, salt: bytes32) -> bytes32:
    """
    @dev Binds an id to chain, contract, buyer and provider.
    """
    return keccak256(abi_encode(chain.id, self, buyer, provider, salt))


@internal
@view
def _open_clock(id: bytes32) -> uint256:
    """
    @dev A channel's clock. Reverts unless the channel exists and is
         not closed. Only one that exists has a challenge period.
    """
    clock: uint256 = self._channels[id].clock
    assert clock != 0, "channels: no such channel"
    assert clock & CLOSED == 0, "channels: closed"
    return clock


@internal
@pure
def _closing_at(clock: uint256) -> uint256:
    """
    @dev When a one-sided close may end; 0 if none began.
    """
    return clock >> CLOSING_AT & TIME


@internal
@view
def _given_up_now(clock: uint256) -> uint256:
    """
    @dev The clock of a channel that its provider gives up now.
    """
    return clock & ~(TIME << CLOSING_AT) | block.timestamp << CLOSING_AT | GIVEN_UP


@internal
@view
def _redeemed_now(clock: uint256) -> uint256:
    """
    @dev The clock of a channel that is redeemed now.
    """
    return clock & ~(TIME << REDEEMED_AT) | block.timestamp << REDEEMED_AT
