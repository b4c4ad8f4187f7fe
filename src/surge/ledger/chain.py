"""The ledger as the other rooms see it: balances, channels, redemptions, devices, proofs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from surge.core.channels import channel_id
from surge.core.network import NetworkFile
from surge.core.receipts import Receipt, Voucher
from surge.core.signing import Signer
from surge.core.types import Address, Wei, address
from surge.errors import LedgerError, NotEnough
from surge.ledger import answers
from surge.ledger.anchors import Anchors
from surge.ledger.answers import Log
from surge.ledger.bonds import Bonds
from surge.ledger.calls import Calls
from surge.ledger.challenges import Challenges
from surge.ledger.court import Court
from surge.ledger.emissions import Emissions
from surge.ledger.endpoints import Endpoints
from surge.ledger.histories import OPENED, Histories
from surge.ledger.interfaces import checksum
from surge.ledger.journal import Journal
from surge.ledger.members import DEVICE, RELAY, Member, members
from surge.ledger.states import REDEEMED, ChannelState, Redemption, least, read_redemption, read_state
from surge.ledger.transactions import Sender

MAX_BATCH = 64
"""Vouchers in one redemption, as the contract bounds it."""

REDEMPTION_GAS = 260_000
"""Gas of redeeming one voucher, at most: a channel's first writes its amount, count and root, an epoch's first its fees, and perhaps two
new balances. The few that build an operator's bond up take a half more."""


class Ledger:
    """A network's ledger.

    >>> ledger = await Ledger.connect(network, Path("ledger.db"))     # doctest: +SKIP
    >>> await ledger.token_balance(address)                           # doctest: +SKIP
    """

    def __init__(self, network: NetworkFile, journal: Path) -> None:
        self.network = network
        self._endpoints = Endpoints(network.rpc, network.chain_id, embedded=network.kind == "embedded")
        self._journal = Journal(journal, network.chain_id)
        self._sender = Sender(self._endpoints, self._journal, network.confirmations)
        self._calls = Calls(network, self._endpoints, self._sender)
        self.bonds = Bonds(self._calls)
        self.court = Court(self._calls)
        self.challenges = Challenges(self._calls)
        self.anchors = Anchors(self._calls)
        self.histories = Histories(self._endpoints, network)
        self.emissions = Emissions(self._calls, self.histories)

    @classmethod
    async def connect(cls, network: NetworkFile, journal: Path, *, patience: float = 10.0) -> Ledger:
        """Reach the ledger. Raises `Unavailable` when no endpoint can be believed within `patience` seconds."""
        ledger = cls(network, journal)
        try:
            await ledger._endpoints.call("eth_blockNumber", read=answers.quantity, patience=patience)
        except BaseException:
            await ledger.close()
            raise
        return ledger

    async def run(self) -> None:
        """Send what is not final again, until cancelled."""
        await self._sender.watch()

    async def close(self) -> None:
        """Close connections and journal."""
        await self._endpoints.close()
        self._journal.close()

    # Reading

    async def token_balance(self, account: Address) -> Wei:
        """Wei of the token that an account holds."""
        (amount,) = await self._calls.read("token", "balanceOf", checksum(account))
        return Wei(amount)

    async def gas_balance(self, account: Address) -> Wei:
        """Wei of the chain's own coin that an account holds, to pay gas with."""
        return Wei(await self._endpoints.call("eth_getBalance", checksum(account), "latest", read=answers.quantity))

    async def channel(self, channel: bytes, *, confirmed: bool = False) -> ChannelState:
        """A channel's state; with `confirmed`, as it was `confirmations` blocks ago, where a deposit counts.

        Of several endpoints' answers the least favourable counts, so that none alone can invent a deposit or hide a close.
        """
        block = await self._endpoints.settled(self.network.confirmations if confirmed else 1)
        call, read = self._calls.question("channels", "state", (channel,))
        rows = await self._endpoints.past("eth_call", call, block, read=read)
        return least([read_state(row) for (row,) in rows])

    async def channels_of(self, buyer: Address) -> list[bytes]:
        """Every channel that somebody opened, oldest first, also those that are closed."""
        ours, topic = self.network.channels.address, "0x" + buyer[2:].rjust(64, "0")
        found: list[Log] = await self._endpoints.call(
            "eth_getLogs",
            {"address": checksum(ours), "topics": ["0x" + OPENED.hex(), None, topic], "fromBlock": "0x0", "toBlock": "latest"},
            read=answers.logs,
        )
        mine = [each for each in found if each.address == ours and len(each.topics) == 4 and each.topics[0] == OPENED]
        return [each.topics[1] for each in mine if each.topics[2].hex() == topic[2:]]

    async def operator_of(self, device: Address) -> Address | None:
        """The operator a device works for, or None."""
        (found,) = await self._calls.read("registry", "operator_of", checksum(device))
        return address(found) if int(found, 16) else None

    async def device_nonce(self, device: Address) -> int:
        """The count that a device's next consent names."""
        (found,) = await self._calls.read("registry", "device_nonce", checksum(device))
        return int(found)

    async def device(self, device: Address) -> Member | None:
        """What the registry says of a device; None if nobody names it."""
        operator = await self.operator_of(device)
        if operator is None:
            return None
        (metadata,) = await self._calls.read("registry", "device_metadata", checksum(device))
        return Member(DEVICE, device, operator, "", metadata)

    async def relay(self, relay: Address) -> Member | None:
        """What the registry says of a relay; None if nobody names it."""
        names = ("operator_of_relay", "relay_url", "relay_metadata")
        operator, url, metadata = [(await self._calls.read("registry", name, checksum(relay)))[0] for name in names]
        return Member(RELAY, relay, address(operator), url, metadata) if int(operator, 16) else None

    async def relay_nonce(self, relay: Address) -> int:
        """The count that a relay's next consent names."""
        (found,) = await self._calls.read("registry", "relay_nonce", checksum(relay))
        return int(found)

    async def members(self) -> list[Member]:
        """Everybody whom the registry names, in the order in which they were first named."""
        found: list[Member] = await self._endpoints.call(
            "eth_getLogs",
            {"address": checksum(self.network.registry.address), "fromBlock": "0x0", "toBlock": "latest"},
            read=lambda answer: members(each for each in answers.logs(answer) if each.address == self.network.registry.address),
        )
        return found

    async def fee_bps(self) -> int:
        """The protocol's fee in basis points."""
        (found,) = await self._calls.read("channels", "fee_bps")
        return int(found)

    async def redemptions(self, channel: bytes) -> list[Redemption]:
        """Every redemption of a channel, oldest first."""
        found: list[Redemption] = await self._endpoints.call(
            "eth_getLogs",
            {
                "address": checksum(self.network.channels.address),
                "topics": ["0x" + REDEEMED.hex(), "0x" + channel.hex()],
                "fromBlock": "0x0",
                "toBlock": "latest",
            },
            read=lambda answer: self._redeemed(answers.logs(answer)),
        )
        return [each for each in found if each.channel == channel]

    async def verify_receipt(self, receipt: Receipt, *, accepted: bool, amount: int, index: int, path: Sequence[bytes]) -> bool:
        """Whether the log last redeemed for the receipt's channel holds it, with this answer, at this place."""
        row = (
            receipt.kind,
            checksum(receipt.device),
            checksum(receipt.buyer),
            receipt.channel,
            receipt.sequence,
            receipt.subject,
            receipt.result,
            receipt.quantity,
            receipt.amount,
            receipt.finished_at,
        )
        (found,) = await self._calls.read("channels", "verify_receipt", row, accepted, amount, index, list(path))
        return bool(found)

    async def redeemable(self, voucher: Voucher, signature: bytes) -> Wei:
        """Wei that redeeming a voucher would add now. Costs nothing. Raises `LedgerError` with the reason why it would not be redeemed."""
        (found,) = await self._calls.read("channels", "redeem", (voucher.channel, voucher.amount, voucher.count, voucher.root), signature)
        return Wei(found)

    async def redemption_cost(self) -> Wei:
        """Wei of the chain's own coin that redeeming one voucher costs now, at most: a first redemption, at a base fee that rises."""
        return Wei(REDEMPTION_GAS * await self._sender.gas_price())

    async def gas_used(self, transaction: str) -> int:
        """Gas that a mined transaction took."""
        receipt = await self._sender.receipt(transaction)
        if receipt is None:
            raise LedgerError(f"{transaction} is not mined", hash=transaction)
        return receipt.gas_used

    # Writing

    async def open_channel(
        self,
        signer: Signer,
        *,
        provider: Address,
        device: Address,
        session_key: Address,
        amount: int,
        floor: int,
        challenge_seconds: int,
        salt: bytes | None = None,
        patience: float = 120.0,
    ) -> bytes:
        """Deposit `amount` wei for a provider; returns the channel's id once the deposit counts. Raises `NotEnough`.

        Who gives the `salt`, 32 bytes never used before, knows the id beforehand (`core.channels.channel_id`).
        """
        await self._calls.approve(signer, "channels", amount, patience)
        salt = secrets.token_bytes(32) if salt is None else salt
        receipt = await self._calls.write(
            signer,
            "channels",
            "open",
            checksum(provider),
            checksum(device),
            checksum(session_key),
            amount,
            floor,
            challenge_seconds,
            salt,
            purpose=f"opening a channel to {provider}",
            patience=patience,
        )
        await self._sender.confirmed(receipt.transaction, patience)
        return channel_id(self.network.channels_domain, signer.address, provider, salt)

    def wrote(self, data: bytes) -> bool:
        """Whether a transaction that carries these bytes was written down here: then it is mined, or may be at any time."""
        return self._journal.has(data)

    async def top_up(self, signer: Signer, channel: bytes, amount: int) -> str:
        """Add to a channel's deposit; returns the transaction once it counts."""
        await self._calls.approve(signer, "channels", amount)
        receipt = await self._calls.write(signer, "channels", "top_up", channel, amount, purpose="topping up a channel")
        await self._sender.confirmed(receipt.transaction, 120.0)
        return receipt.transaction

    async def raise_floor(self, signer: Signer, channel: bytes, floor: int) -> str:
        """Raise the least that a channel pays, to `floor` wei; returns the transaction once it counts."""
        receipt = await self._calls.write(signer, "channels", "raise_floor", channel, floor, purpose="raising a channel's floor")
        await self._sender.confirmed(receipt.transaction, 120.0)
        return receipt.transaction

    async def redeem(self, signer: Signer, vouchers: Sequence[tuple[Voucher, bytes]]) -> list[Redemption]:
        """Redeem vouchers with their signatures; returns what was redeemed. Ones that are worthless now are passed over."""
        found: list[Redemption] = []
        for start in range(0, len(vouchers), MAX_BATCH):
            batch = vouchers[start : start + MAX_BATCH]
            rows = [(each.channel, each.amount, each.count, each.root) for each, _ in batch]
            signatures = [signature for _, signature in batch]
            if len(batch) == 1:
                receipt = await self._calls.write(signer, "channels", "redeem", rows[0], signatures[0], purpose="redeeming a voucher")
            else:
                receipt = await self._calls.write(
                    signer, "channels", "redeem_many", rows, signatures, purpose=f"redeeming {len(batch)} vouchers"
                )
            found += self._redeemed(receipt.logs)
        return found

    async def record(self, signer: Signer, voucher: Voucher, signature: bytes) -> list[Redemption]:
        """Record a voucher's receipts, which pays nothing, in a channel that its provider gave up within its challenge period."""
        row = (voucher.channel, voucher.amount, voucher.count, voucher.root)
        receipt = await self._calls.write(signer, "channels", "record", row, signature, purpose="recording a voucher")
        return self._redeemed(receipt.logs)

    async def start_close(self, signer: Signer, channel: bytes) -> str:
        """Start a one-sided close; returns the transaction."""
        receipt = await self._calls.write(signer, "channels", "start_close", channel, purpose="starting to close a channel")
        return receipt.transaction

    async def finish_close(self, signer: Signer, channel: bytes) -> str:
        """End a one-sided close whose challenge period is over; returns the transaction."""
        receipt = await self._calls.write(signer, "channels", "finish_close", channel, purpose="closing a channel")
        return receipt.transaction

    async def close_by_provider(self, signer: Signer, channel: bytes) -> str:
        """Give a channel up as its provider; returns the transaction."""
        receipt = await self._calls.write(signer, "channels", "close_by_provider", channel, purpose="giving a channel up")
        return receipt.transaction

    async def close_together(self, signer: Signer, voucher: Voucher, provider_signature: bytes, session_signature: bytes) -> str:
        """Close at a state both sides signed; returns the transaction."""
        row = (voucher.channel, voucher.amount, voucher.count, voucher.root)
        receipt = await self._calls.write(
            signer, "channels", "close_together", row, provider_signature, session_signature, purpose="closing a channel together"
        )
        return receipt.transaction

    async def register_device(self, signer: Signer, device: Address, metadata: str, consent: bytes) -> str:
        """Name a device of the signer's, with the device's consent; returns the transaction."""
        receipt = await self._calls.write(
            signer, "registry", "register_device", checksum(device), metadata, consent, purpose=f"registering the device {device}"
        )
        return receipt.transaction

    async def register_relay(self, signer: Signer, relay: Address, url: str, metadata: str, consent: bytes) -> str:
        """Name a relay of the signer's, with the relay's consent; returns the transaction."""
        receipt = await self._calls.write(
            signer, "registry", "register_relay", checksum(relay), url, metadata, consent, purpose=f"registering the relay {relay}"
        )
        return receipt.transaction

    async def describe_operator(self, signer: Signer, metadata: str) -> str:
        """Say something of the signer as an operator; returns the transaction."""
        receipt = await self._calls.write(signer, "registry", "set_metadata", metadata, purpose="describing an operator")
        return receipt.transaction

    async def transfer(self, signer: Signer, to: Address, *, tokens: int = 0, native: int = 0) -> list[str]:
        """Send tokens, the chain's own coin, or both; returns the transactions."""
        sent = []
        if native:
            receipt = await self._sender.send(signer, to, "0x", value=native, purpose=f"sending coin to {to}")
            sent.append(receipt.transaction)
        if tokens:
            held = await self.token_balance(signer.address)
            if held < tokens:
                raise NotEnough(
                    f"{signer.address} holds {held} wei of SURGE, not {tokens} wei", account=signer.address, held=held, needed=tokens
                )
            receipt = await self._calls.write(signer, "token", "transfer", checksum(to), tokens, purpose=f"sending tokens to {to}")
            sent.append(receipt.transaction)
        return sent

    # Inside

    def _redeemed(self, logs: Sequence[Log]) -> list[Redemption]:
        """The redemptions among a transaction's events."""
        ours = self.network.channels.address
        return [read_redemption(each) for each in logs if each.address == ours and each.topics[:1] == (REDEEMED,)]
