# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Channels: deposits, vouchers, and roots of receipt logs
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A buyer deposits tokens for one provider. The session key
        it names signs vouchers off chain: the sum owed so far,
        and the root of the log of all receipts. Anyone may
        redeem a voucher, to the provider's benefit.
@custom:security Invariants:
        1. the contract holds exactly the sum of all deposits
           less what was paid out and refunded;
        2. a channel's redeemed amount never falls and never
           exceeds the deposit; a voucher with a higher amount
           always pays, whatever count and root were redeemed
           before it;
        3. an id never names two deposits, in this contract or
           another, on this chain or another;
        4. only its own session key's voucher moves a channel's
           money to its provider; only its buyer adds to it or
           starts its one-sided close; nobody can change a
           channel with dust or by being first: an older voucher
           only pays the provider earlier, and the newer one
           still pays the rest. Count and root are what the
           session key last said: they decide no payment;
        5. after a one-sided close began, the provider has the
           channel's challenge period to redeem;
        6. a closed channel has paid at least its floor;
        7. the fee is taken from what providers are paid, never
           above its cap; every path ends with no tokens stuck.
"""


from ethereum.ercs import IERC20


# @dev We import and initialise the `ownable_2step` module.
from snekmate.auth import ownable
from snekmate.auth import ownable_2step
initializes: ownable
initializes: ownable_2step[ownable := ownable]


# @dev We import and initialise the `eip712_domain_separator` module.
from snekmate.utils import eip712_domain_separator as eip712
initializes: eip712


# @dev We import the `ecdsa` module, which is stateless.
from snekmate.utils import ecdsa


# @dev We import the `merkle_log` module, which is stateless.
import merkle_log


exports: (
    eip712.eip712Domain,
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)


# @dev EIP-712 types. Off chain they stand in `core/receipts.py`.
VOUCHER_TYPE: constant(bytes32) = keccak256("Voucher(bytes32 channel,uint256 amount,uint256 count,bytes32 root)")
CLOSE_TYPE: constant(bytes32) = keccak256("Close(bytes32 channel,uint256 amount,uint256 count,bytes32 root)")
RECEIPT_TYPE: constant(bytes32) = keccak256(
    "Receipt(uint8 kind,address device,address buyer,bytes32 channel,uint64 sequence,bytes32 subject,bytes32 result,uint256 quantity,uint256 amount,uint64 finishedAt)"
)
ACKNOWLEDGEMENT_TYPE: constant(bytes32) = keccak256(
    "Acknowledgement(bytes32 channel,uint64 index,bytes32 receipt,bool accepted,uint256 amount)"
)


# @dev The fee's cap, in basis points: 5 %.
MAX_FEE_BPS: constant(uint256) = 500


# @dev The shortest and longest challenge period, in seconds: a
# minute, for networks on one machine, and 90 days.
MIN_CHALLENGE: constant(uint256) = 60
MAX_CHALLENGE: constant(uint256) = 7_776_000


# @dev Vouchers redeemed in one call.
MAX_BATCH: constant(uint256) = 64


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


struct Voucher:
    channel: bytes32
    amount: uint256
    count: uint256
    root: bytes32


struct Receipt:
    kind: uint8
    device: address
    buyer: address
    channel: bytes32
    sequence: uint64
    subject: bytes32
    result: bytes32
    quantity: uint256
    amount: uint256
    finishedAt: uint64


# @dev The token that channels hold.
token: public(immutable(address))


# @dev Who receives the fee.
fee_sink: public(address)


# @dev The fee in basis points of what a provider is paid.
fee_bps: public(uint256)


# @dev Channels by id. Entries are never removed: an id names one deposit for ever.
channels: HashMap[bytes32, Channel]


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


event Redeemed:
    channel: indexed(bytes32)
    provider: indexed(address)
    amount: uint256
    paid: uint256
    fee: uint256
    count: uint256
    root: bytes32


event ClosingStarted:
    channel: indexed(bytes32)
    provider: indexed(address)
    closing_at: uint256


event Closed:
    channel: indexed(bytes32)
    provider: indexed(address)
    redeemed: uint256
    refunded: uint256


event FeeChanged:
    fee_bps: uint256
    fee_sink: address


@deploy
def __init__(token_: address, fee_sink_: address, fee_bps_: uint256):
    """
    @dev The deployer becomes the owner, who may change the fee.
    @param token_ The token that channels hold.
    @param fee_sink_ Who receives the fee.
    @param fee_bps_ The fee in basis points.
    """
    assert token_ != empty(address), "channels: no token"
    ownable.__init__()
    ownable_2step.__init__()
    eip712.__init__("Surge channels", "1")
    token = token_
    self._set_fee(fee_bps_, fee_sink_)


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
    assert self.channels[id].buyer == empty(address), "channels: id was used"
    self.channels[id] = Channel(
        buyer=msg.sender,
        provider=provider,
        device=device,
        session_key=session_key,
        deposit=amount,
        redeemed=0,
        floor=floor_,
        count=0,
        root=empty(bytes32),
        challenge_seconds=challenge_seconds,
        closing_at=0,
        closed=False,
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
    self._take(msg.sender, amount)
    return id


@external
def top_up(id: bytes32, amount: uint256):
    """
    @dev Adds to a deposit. Only the buyer may, and not while the
         channel closes.
    @param id The channel.
    @param amount What to add, in wei.
    """
    assert self.channels[id].buyer == msg.sender, "channels: not the buyer"
    assert amount > 0, "channels: nothing deposited"
    self._assert_open(id)
    assert self.channels[id].closing_at == 0, "channels: closing"
    self.channels[id].deposit += amount
    log ToppedUp(channel=id, amount=amount, deposit=self.channels[id].deposit)
    self._take(msg.sender, amount)


@external
def redeem(voucher: Voucher, signature: Bytes[65]) -> uint256:
    """
    @dev Pays what a voucher adds to what was redeemed, and keeps
         its count and root. Anyone may call it. One that adds
         receipts and no pay, as refused ones do, is recorded too.
    @param voucher The voucher.
    @param signature The session key's.
    @return uint256 What was added, fee included, in wei.
    """
    self._assert_open(voucher.channel)
    assert self._is_news(voucher), "channels: voucher already redeemed"
    assert voucher.amount <= self.channels[voucher.channel].deposit, "channels: voucher above deposit"
    assert self._is_signed(voucher, signature), "channels: not the session key's voucher"
    return self._redeem(voucher)


@external
def redeem_many(vouchers: DynArray[Voucher, MAX_BATCH], signatures: DynArray[Bytes[65], MAX_BATCH]) -> uint256:
    """
    @dev Redeems many vouchers. One that is worthless now, because
         a newer one came first or its channel closed, is passed
         over: nobody can block the others.
    @param vouchers The vouchers.
    @param signatures The session keys', in the same order.
    @return uint256 What was added in all, fees included, in wei.
    """
    assert len(vouchers) == len(signatures), "channels: signatures missing"
    total: uint256 = 0
    at: uint256 = 0
    for voucher: Voucher in vouchers:
        channel: Channel = self.channels[voucher.channel]
        if (
            channel.buyer != empty(address)
            and not channel.closed
            and self._is_news(voucher)
            and voucher.amount <= channel.deposit
            and self._is_signed(voucher, signatures[at])
        ):
            total += self._redeem(voucher)
        at += 1
    return total


@external
def close_together(voucher: Voucher, provider_signature: Bytes[65], session_signature: Bytes[65]):
    """
    @dev Closes a channel at once, at a state both sides signed as
         Close. The provider is paid its floor if that is more.
         Anyone may call it.
    @param voucher The last state.
    @param provider_signature The device's or the provider's.
    @param session_signature The session key's or the buyer's.
    """
    id: bytes32 = voucher.channel
    self._assert_open(id)
    channel: Channel = self.channels[id]
    assert voucher.amount >= channel.redeemed, "channels: state before the redeemed one"
    assert voucher.amount <= channel.deposit, "channels: voucher above deposit"
    digest: bytes32 = self._digest(CLOSE_TYPE, voucher)
    theirs: address = ecdsa._recover_sig(digest, provider_signature)
    assert theirs != empty(address) and theirs in [channel.device, channel.provider], "channels: not the provider's close"
    ours: address = ecdsa._recover_sig(digest, session_signature)
    assert ours != empty(address) and ours in [channel.session_key, channel.buyer], "channels: not the buyer's close"
    self._redeem(voucher)
    self._close(id, channel.floor)


@external
def close_by_provider(id: bytes32):
    """
    @dev The provider, or its device, gives a channel up: it is
         paid its floor if that is more than was redeemed, and
         the rest returns to the buyer at once.
    @param id The channel.
    """
    self._assert_open(id)
    assert msg.sender in [self.channels[id].provider, self.channels[id].device], "channels: not the provider"
    self._close(id, self.channels[id].floor)


@external
def start_close(id: bytes32):
    """
    @dev The buyer, or its session key, starts a one-sided close.
    @param id The channel.
    """
    self._assert_open(id)
    channel: Channel = self.channels[id]
    assert msg.sender in [channel.buyer, channel.session_key], "channels: not the buyer"
    assert channel.closing_at == 0, "channels: closing"
    closing_at: uint256 = block.timestamp + channel.challenge_seconds
    self.channels[id].closing_at = closing_at
    log ClosingStarted(channel=id, provider=channel.provider, closing_at=closing_at)


@external
def finish_close(id: bytes32):
    """
    @dev Ends a one-sided close after its challenge period. Anyone
         may call it.
    @param id The channel.
    """
    self._assert_open(id)
    closing_at: uint256 = self.channels[id].closing_at
    assert closing_at != 0, "channels: not closing"
    assert block.timestamp >= closing_at, "channels: challenge period not over"
    self._close(id, self.channels[id].floor)


@external
def set_fee(fee_bps_: uint256, fee_sink_: address):
    """
    @dev Changes the fee, within its cap. Only the owner may.
    @param fee_bps_ The fee in basis points.
    @param fee_sink_ Who receives it.
    """
    ownable._check_owner()
    self._set_fee(fee_bps_, fee_sink_)


@external
@view
def state(id: bytes32) -> Channel:
    """
    @dev A channel; all zero if there is none.
    @param id The channel.
    @return Channel Its state.
    """
    return self.channels[id]


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


@external
@view
def voucher_digest(voucher: Voucher) -> bytes32:
    """
    @dev What the session key signs.
    @param voucher The voucher.
    @return bytes32 The EIP-712 digest.
    """
    return self._digest(VOUCHER_TYPE, voucher)


@external
@view
def receipt_digest(receipt: Receipt) -> bytes32:
    """
    @dev What a device signs.
    @param receipt The receipt.
    @return bytes32 The EIP-712 digest.
    """
    return self._receipt_digest(receipt)


@external
@view
def acknowledgement_digest(channel: bytes32, index: uint64, receipt: bytes32, accepted: bool, amount: uint256) -> bytes32:
    """
    @dev The data of a leaf.
    @param channel The channel.
    @param index The leaf's place.
    @param receipt The receipt's digest.
    @param accepted Whether the buyer accepted.
    @param amount What it accepted to pay.
    @return bytes32 The EIP-712 digest.
    """
    return self._acknowledgement_digest(channel, index, receipt, accepted, amount)


@external
@view
def verify_receipt(
    receipt: Receipt, accepted: bool, amount: uint256, index: uint256, path: DynArray[bytes32, merkle_log.MAX_PATH]
) -> bool:
    """
    @dev Whether the log last redeemed for a receipt's channel
         holds the receipt, with this answer, at this place.
    @param receipt The receipt.
    @param accepted The buyer's answer.
    @param amount What it accepted to pay.
    @param index The leaf's place.
    @param path The inclusion proof.
    @return bool Whether it is recorded.
    """
    channel: Channel = self.channels[receipt.channel]
    if index >= channel.count or receipt.device != channel.device or receipt.buyer != channel.buyer:
        return False
    leaf: bytes32 = self._acknowledgement_digest(
        receipt.channel, convert(index, uint64), self._receipt_digest(receipt), accepted, amount
    )
    return merkle_log._included(merkle_log._leaf(leaf), index, channel.count, path, channel.root)


@internal
@view
def _id(buyer: address, provider: address, salt: bytes32) -> bytes32:
    """
    @dev Binds an id to chain, contract, buyer and provider.
    """
    return keccak256(abi_encode(chain.id, self, buyer, provider, salt))


@internal
@view
def _digest(type_hash: bytes32, voucher: Voucher) -> bytes32:
    """
    @dev The EIP-712 digest of a Voucher or a Close.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(type_hash, voucher)))


@internal
@view
def _receipt_digest(receipt: Receipt) -> bytes32:
    """
    @dev The EIP-712 digest of a receipt.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(RECEIPT_TYPE, receipt)))


@internal
@view
def _acknowledgement_digest(channel: bytes32, index: uint64, receipt: bytes32, accepted: bool, amount: uint256) -> bytes32:
    """
    @dev The EIP-712 digest of an acknowledgement.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(ACKNOWLEDGEMENT_TYPE, channel, index, receipt, accepted, amount)))


@internal
@view
def _assert_open(id: bytes32):
    """
    @dev Reverts unless the channel exists and is not closed.
    """
    assert self.channels[id].buyer != empty(address), "channels: no such channel"
    assert not self.channels[id].closed, "channels: closed"


@internal
@view
def _is_news(voucher: Voucher) -> bool:
    """
    @dev Whether a voucher moves its channel on: its amount is
         higher, or the same with more receipts. A count says
         nothing against a higher amount: the session key could
         sign any count to keep its older promises from paying.
    """
    channel: Channel = self.channels[voucher.channel]
    return voucher.amount > channel.redeemed or (voucher.amount == channel.redeemed and voucher.count > channel.count)


@internal
@view
def _is_signed(voucher: Voucher, signature: Bytes[65]) -> bool:
    """
    @dev Whether the channel's session key signed the voucher. The
         key is never empty in a channel that exists.
    """
    return ecdsa._recover_sig(self._digest(VOUCHER_TYPE, voucher), signature) == self.channels[voucher.channel].session_key


@internal
def _redeem(voucher: Voucher) -> uint256:
    """
    @dev Pays a voucher that was checked.
    """
    channel: Channel = self.channels[voucher.channel]
    due: uint256 = voucher.amount - channel.redeemed
    self.channels[voucher.channel].redeemed = voucher.amount
    self.channels[voucher.channel].count = voucher.count
    self.channels[voucher.channel].root = voucher.root
    fee: uint256 = due * self.fee_bps // 10_000
    log Redeemed(
        channel=voucher.channel,
        provider=channel.provider,
        amount=voucher.amount,
        paid=due - fee,
        fee=fee,
        count=voucher.count,
        root=voucher.root,
    )
    self._give(channel.provider, due - fee)
    self._give(self.fee_sink, fee)
    return due


@internal
def _close(id: bytes32, floor_: uint256):
    """
    @dev Pays up to the floor, refunds the rest, and closes.
    """
    channel: Channel = self.channels[id]
    self.channels[id].closed = True
    redeemed: uint256 = max(channel.redeemed, floor_)
    due: uint256 = redeemed - channel.redeemed
    self.channels[id].redeemed = redeemed
    fee: uint256 = due * self.fee_bps // 10_000
    refund: uint256 = channel.deposit - redeemed
    log Closed(channel=id, provider=channel.provider, redeemed=redeemed, refunded=refund)
    self._give(channel.provider, due - fee)
    self._give(self.fee_sink, fee)
    self._give(channel.buyer, refund)


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


@internal
def _take(payer: address, amount: uint256):
    """
    @dev Takes tokens in; the state was changed before.
    """
    assert extcall IERC20(token).transferFrom(payer, self, amount, default_return_value=True), "channels: no payment"


@internal
def _give(payee: address, amount: uint256):
    """
    @dev Pays tokens out; the state was changed before.
    """
    if amount > 0:
        assert extcall IERC20(token).transfer(payee, amount, default_return_value=True), "channels: payment failed"
