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
           above its cap; every path ends with no tokens stuck;
        8. a provider that gives a channel up keeps no receipt out
           of its log: for a challenge period the buyer's last
           word is still recorded;
        9. what a provider is paid goes through its bond, which
           can make no redemption and no close fail.
"""


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


# @dev We import and initialise the `statements` module.
import statements
initializes: statements[eip712 := eip712]


# @dev We import and initialise the `purse` module.
import purse
initializes: purse


# @dev We import and initialise the `payouts` module.
import payouts
initializes: payouts[ownable := ownable, purse := purse]


# @dev We import and initialise the `deposits` module.
import deposits
initializes: deposits[purse := purse]


exports: (
    eip712.eip712Domain,
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
    statements.voucher_digest,
    statements.receipt_digest,
    statements.acknowledgement_digest,
    purse.token,
    payouts.bonds,
    payouts.epoch_seconds,
    payouts.fee_bps,
    payouts.fee_sink,
    payouts.fees,
    payouts.epoch_fees,
    payouts.set_fee,
    deposits.open,
    deposits.top_up,
    deposits.raise_floor,
    deposits.state,
    deposits.channel_id,
)


# @dev Vouchers redeemed in one call.
MAX_BATCH: constant(uint256) = 64


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


@deploy
def __init__(token_: address, bonds_: address, fee_sink_: address, fee_bps_: uint256, epoch_seconds_: uint256):
    """
    @dev The deployer becomes the owner, who may change the fee.
    @param token_ The token that channels hold.
    @param bonds_ The bonds by which providers are paid.
    @param fee_sink_ Who receives the fee.
    @param fee_bps_ The fee in basis points.
    @param epoch_seconds_ Seconds of an epoch, by which fees are
           counted.
    """
    ownable.__init__()
    ownable_2step.__init__()
    eip712.__init__("Surge channels", "1")
    purse.__init__(token_)
    payouts.__init__(bonds_, fee_sink_, fee_bps_, epoch_seconds_)


@external
def redeem(voucher: statements.Voucher, signature: Bytes[65]) -> uint256:
    """
    @dev Pays what a voucher adds to what was redeemed, and keeps
         its count and root. Anyone may call it. One that adds
         receipts and no pay, as refused ones do, is recorded too.
    @param voucher The voucher.
    @param signature The session key's.
    @return uint256 What was added, fee included, in wei.
    """
    clock: uint256 = deposits._open_clock(voucher.channel)
    assert self._is_news(voucher), "channels: voucher already redeemed"
    assert voucher.amount <= deposits._channels[voucher.channel].deposit, "channels: voucher above deposit"
    assert self._is_signed(voucher, signature), "channels: not the session key's voucher"
    return self._redeem(voucher, clock)


@external
def redeem_many(vouchers: DynArray[statements.Voucher, MAX_BATCH], signatures: DynArray[Bytes[65], MAX_BATCH]) -> uint256:
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
    for voucher: statements.Voucher in vouchers:
        clock: uint256 = deposits._channels[voucher.channel].clock
        if (
            clock != 0
            and clock & deposits.CLOSED == 0
            and self._is_news(voucher)
            and voucher.amount <= deposits._channels[voucher.channel].deposit
            and self._is_signed(voucher, signatures[at])
        ):
            total += self._redeem(voucher, clock)
        at += 1
    return total


@external
def record(voucher: statements.Voucher, signature: Bytes[65]):
    """
    @dev Keeps a voucher's count and root, and pays nothing, in a
         channel that its provider gave up less than its challenge
         period ago: else a provider would close its channel in
         front of the redemption that puts a receipt on record.
         Anyone may call it.
    @param voucher The voucher.
    @param signature The session key's.
    """
    id: bytes32 = voucher.channel
    clock: uint256 = deposits._channels[id].clock
    assert clock & deposits.GIVEN_UP != 0, "channels: not given up"
    assert block.timestamp < deposits._closing_at(clock) + (clock & deposits.SECONDS), "channels: challenge period over"
    assert voucher.count > deposits._channels[id].count, "channels: voucher already redeemed"
    assert self._is_signed(voucher, signature), "channels: not the session key's voucher"
    deposits._channels[id].count = voucher.count
    deposits._channels[id].root = voucher.root
    deposits._channels[id].clock = deposits._redeemed_now(clock)
    log Redeemed(
        channel=id,
        provider=deposits._channels[id].provider,
        amount=deposits._channels[id].redeemed,
        paid=0,
        fee=0,
        count=voucher.count,
        root=voucher.root,
    )


@external
def close_together(voucher: statements.Voucher, provider_signature: Bytes[65], session_signature: Bytes[65]):
    """
    @dev Closes a channel at once, at a state both sides signed as
         Close. The provider is paid its floor if that is more.
         Anyone may call it.
    @param voucher The last state.
    @param provider_signature The device's or the provider's.
    @param session_signature The session key's or the buyer's.
    """
    id: bytes32 = voucher.channel
    clock: uint256 = deposits._open_clock(id)
    channel: deposits.Deposit = deposits._channels[id]
    assert voucher.amount >= channel.redeemed, "channels: state before the redeemed one"
    assert voucher.amount <= channel.deposit, "channels: voucher above deposit"
    digest: bytes32 = statements._digest(statements.CLOSE_TYPE, voucher)
    theirs: address = ecdsa._recover_sig(digest, provider_signature)
    assert theirs != empty(address) and theirs in [channel.device, channel.provider], "channels: not the provider's close"
    ours: address = ecdsa._recover_sig(digest, session_signature)
    assert ours != empty(address) and ours in [channel.session_key, channel.buyer], "channels: not the buyer's close"
    self._redeem(voucher, clock)
    self._close(id)


@external
def close_by_provider(id: bytes32):
    """
    @dev The provider, or its device, gives a channel up: it is
         paid its floor if that is more than was redeemed, and
         the rest returns to the buyer at once. Receipts can be
         recorded for a challenge period longer.
    @param id The channel.
    """
    clock: uint256 = deposits._open_clock(id)
    assert msg.sender in [deposits._channels[id].provider, deposits._channels[id].device], "channels: not the provider"
    deposits._channels[id].clock = deposits._given_up_now(clock)
    self._close(id)


@external
def start_close(id: bytes32):
    """
    @dev The buyer, or its session key, starts a one-sided close.
    @param id The channel.
    """
    clock: uint256 = deposits._open_clock(id)
    assert msg.sender in [deposits._channels[id].buyer, deposits._channels[id].session_key], "channels: not the buyer"
    assert deposits._closing_at(clock) == 0, "channels: closing"
    closing_at: uint256 = block.timestamp + (clock & deposits.SECONDS)
    deposits._channels[id].clock = clock | closing_at << deposits.CLOSING_AT
    log ClosingStarted(channel=id, provider=deposits._channels[id].provider, closing_at=closing_at)


@external
def finish_close(id: bytes32):
    """
    @dev Ends a one-sided close after its challenge period. Anyone
         may call it.
    @param id The channel.
    """
    closing_at: uint256 = deposits._closing_at(deposits._open_clock(id))
    assert closing_at != 0, "channels: not closing"
    assert block.timestamp >= closing_at, "channels: challenge period not over"
    self._close(id)


@external
@view
def verify_receipt(
    receipt: statements.Receipt, accepted: bool, amount: uint256, index: uint256, path: DynArray[bytes32, merkle_log.MAX_PATH]
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
    channel: deposits.Deposit = deposits._channels[receipt.channel]
    if index >= channel.count or receipt.device != channel.device or receipt.buyer != channel.buyer:
        return False
    leaf: bytes32 = statements._acknowledgement_digest(
        receipt.channel, convert(index, uint64), statements._receipt_digest(receipt), accepted, amount
    )
    return merkle_log._included(merkle_log._leaf(leaf), index, channel.count, path, channel.root)


@internal
@view
def _is_news(voucher: statements.Voucher) -> bool:
    """
    @dev Whether a voucher moves its channel on: its amount is
         higher, or the same with more receipts. A count says
         nothing against a higher amount: the session key could
         sign any count to keep its older promises from paying.
    """
    redeemed: uint256 = deposits._channels[voucher.channel].redeemed
    return voucher.amount > redeemed or (voucher.amount == redeemed and voucher.count > deposits._channels[voucher.channel].count)


@internal
@view
def _is_signed(voucher: statements.Voucher, signature: Bytes[65]) -> bool:
    """
    @dev Whether the channel's session key signed the voucher. The
         key is never empty in a channel that exists.
    """
    digest: bytes32 = statements._digest(statements.VOUCHER_TYPE, voucher)
    return ecdsa._recover_sig(digest, signature) == deposits._channels[voucher.channel].session_key


@internal
def _redeem(voucher: statements.Voucher, clock: uint256) -> uint256:
    """
    @dev Pays a voucher that was checked. The time of redemption,
         from which a claim's age runs, is that at which count or
         root last changed.
    """
    id: bytes32 = voucher.channel
    provider: address = deposits._channels[id].provider
    due: uint256 = voucher.amount - deposits._channels[id].redeemed
    deposits._channels[id].redeemed = voucher.amount
    if voucher.count != deposits._channels[id].count or voucher.root != deposits._channels[id].root:
        deposits._channels[id].count = voucher.count
        deposits._channels[id].root = voucher.root
        deposits._channels[id].clock = deposits._redeemed_now(clock)
    fee: uint256 = payouts._fee(due)
    log Redeemed(
        channel=id, provider=provider, amount=voucher.amount, paid=due - fee, fee=fee, count=voucher.count, root=voucher.root
    )
    payouts._pay(provider, due, fee)
    return due


@internal
def _close(id: bytes32):
    """
    @dev Pays up to the floor, refunds the rest, and closes.
    """
    channel: deposits.Deposit = deposits._channels[id]
    deposits._channels[id].clock = channel.clock | deposits.CLOSED
    redeemed: uint256 = max(channel.redeemed, channel.floor)
    due: uint256 = redeemed - channel.redeemed
    deposits._channels[id].redeemed = redeemed
    refund: uint256 = channel.deposit - redeemed
    log Closed(channel=id, provider=channel.provider, redeemed=redeemed, refunded=refund)
    payouts._pay(channel.provider, due, payouts._fee(due))
    purse._give(channel.buyer, refund)
