"""The ledger as the other rooms see it: balances, channels, redemptions, devices, proofs."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode as abi_decode
from web3 import Web3
from web3.contract import Contract as Web3Contract

from surge.contracts import artifact
from surge.core.keccak import keccak256
from surge.core.network import NetworkFile
from surge.core.receipts import Receipt, Voucher
from surge.core.signing import Signer
from surge.core.types import Address, Wei, address
from surge.errors import LedgerError, NotEnough, PeerFault
from surge.ledger.endpoints import Endpoints, Refused
from surge.ledger.journal import Journal
from surge.ledger.transactions import Sender, checksum, explain

log = logging.getLogger(__name__)

ALLOWANCE = 2**255
"""Wei approved to the channels contract at once: it takes only what its caller deposits."""

MAX_BATCH = 64
"""Vouchers in one redemption, as the contract bounds it."""

_REDEEMED = "0x" + keccak256(b"Redeemed(bytes32,address,uint256,uint256,uint256,uint256,bytes32)").hex()


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as the contract holds it; all empty if there is none."""

    buyer: Address
    """Who opened it."""
    provider: Address
    """Who is paid."""
    device: Address
    """Who signs receipts."""
    session_key: Address
    """Who signs vouchers."""
    deposit: int
    """Wei."""
    redeemed: int
    """Wei."""
    floor: int
    """Wei: the least the provider is paid."""
    count: int
    """Receipts in the log last redeemed."""
    root: bytes
    """32 bytes: that log's root."""
    challenge_seconds: int
    """Between the start and the end of a one-sided close."""
    closing_at: int
    """Unix seconds at which a one-sided close may end; 0 if none began."""
    closed: bool
    """Whether it is closed."""

    @property
    def exists(self) -> bool:
        """Whether the channel was ever opened."""
        return int(self.buyer, 16) != 0


@dataclass(frozen=True, slots=True)
class Redemption:
    """A voucher that was redeemed."""

    channel: bytes
    """32 bytes."""
    provider: Address
    """Who was paid."""
    amount: int
    """Wei: the voucher's, cumulative."""
    paid: int
    """Wei paid to the provider now."""
    fee: int
    """Wei taken as the protocol's fee."""
    count: int
    """Receipts in the log."""
    root: bytes
    """32 bytes."""
    transaction: str
    """0x-hex."""


@lru_cache
def interface(name: str) -> Web3Contract:
    """A contract's interface, for encoding calls."""
    return Web3().eth.contract(abi=artifact(name)["abi"])


@lru_cache
def _output_types(name: str, function: str) -> tuple[str, ...]:
    (entry,) = (each for each in artifact(name)["abi"] if each.get("name") == function and each["type"] == "function")

    def text(output: dict[str, Any]) -> str:
        if output["type"] == "tuple":
            return "(" + ",".join(text(part) for part in output["components"]) + ")"
        return str(output["type"])

    return tuple(text(output) for output in entry["outputs"])


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

    @classmethod
    async def connect(cls, network: NetworkFile, journal: Path, *, patience: float = 10.0) -> Ledger:
        """Reach the ledger. Raises `Unavailable` when no endpoint can be believed within `patience` seconds."""
        ledger = cls(network, journal)
        try:
            await ledger._endpoints.call("eth_blockNumber", patience=patience)
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
        (amount,) = await self._read("surge_token", "balanceOf", checksum(account))
        return Wei(amount)

    async def gas_balance(self, account: Address) -> Wei:
        """Wei of the chain's own coin that an account holds, to pay gas with."""
        return Wei(int(await self._endpoints.call("eth_getBalance", checksum(account), "latest"), 16))

    async def channel(self, channel: bytes, *, confirmed: bool = False) -> ChannelState:
        """A channel's state; with `confirmed`, as it was `confirmations` blocks ago, where a deposit counts."""
        block = "latest"
        if confirmed and self.network.confirmations > 1:
            head = int(await self._endpoints.call("eth_blockNumber"), 16)
            block = hex(max(0, head - self.network.confirmations + 1))
        (row,) = await self._read("channels", "state", channel, block=block)
        names = [each.name for each in fields(ChannelState)]
        values = dict(zip(names, row, strict=True))
        for name in ("buyer", "provider", "device", "session_key"):
            values[name] = address(values[name])
        return ChannelState(**values)

    async def operator_of(self, device: Address) -> Address | None:
        """The operator a device works for, or None."""
        (found,) = await self._read("registry", "operator_of", checksum(device))
        return address(found) if int(found, 16) else None

    async def device_nonce(self, device: Address) -> int:
        """The count that a device's next consent names."""
        (found,) = await self._read("registry", "device_nonce", checksum(device))
        return int(found)

    async def fee_bps(self) -> int:
        """The protocol's fee in basis points."""
        (found,) = await self._read("channels", "fee_bps")
        return int(found)

    async def redemptions(self, channel: bytes) -> list[Redemption]:
        """Every redemption of a channel, oldest first."""
        logs = await self._endpoints.call(
            "eth_getLogs",
            {
                "address": checksum(self.network.channels.address),
                "topics": [_REDEEMED, "0x" + channel.hex()],
                "fromBlock": "0x0",
                "toBlock": "latest",
            },
        )
        return [_redemption(entry) for entry in logs]

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
        (found,) = await self._read("channels", "verify_receipt", row, accepted, amount, index, list(path))
        return bool(found)

    async def redemption_cost(self) -> Wei:
        """Wei of the chain's own coin that redeeming one voucher costs now, about."""
        price = int(await self._endpoints.call("eth_gasPrice"), 16)
        return Wei(100_000 * price)

    async def gas_used(self, transaction: str) -> int:
        """Gas that a mined transaction took."""
        receipt = await self._sender.receipt(transaction)
        if receipt is None:
            raise LedgerError(f"{transaction} is not mined", hash=transaction)
        return int(receipt["gasUsed"], 16)

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
        patience: float = 120.0,
    ) -> bytes:
        """Deposit `amount` wei for a provider; returns the channel's id once the deposit counts. Raises `NotEnough`."""
        await self._approve(signer, amount, patience)
        salt = secrets.token_bytes(32)
        (channel,) = await self._read("channels", "channel_id", checksum(signer.address), checksum(provider), salt)
        receipt = await self._write(
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
        await self._sender.confirmed(receipt["transactionHash"], patience)
        return bytes(channel)

    async def top_up(self, signer: Signer, channel: bytes, amount: int) -> str:
        """Add to a channel's deposit; returns the transaction once it counts."""
        await self._approve(signer, amount, 120.0)
        receipt = await self._write(signer, "channels", "top_up", channel, amount, purpose="topping up a channel")
        await self._sender.confirmed(receipt["transactionHash"], 120.0)
        return str(receipt["transactionHash"])

    async def redeem(self, signer: Signer, vouchers: Sequence[tuple[Voucher, bytes]]) -> list[Redemption]:
        """Redeem vouchers with their signatures; returns what was redeemed. Ones that are worthless now are passed over."""
        found: list[Redemption] = []
        for start in range(0, len(vouchers), MAX_BATCH):
            batch = vouchers[start : start + MAX_BATCH]
            rows = [(each.channel, each.amount, each.count, each.root) for each, _ in batch]
            signatures = [signature for _, signature in batch]
            if len(batch) == 1:
                receipt = await self._write(signer, "channels", "redeem", rows[0], signatures[0], purpose="redeeming a voucher")
            else:
                receipt = await self._write(signer, "channels", "redeem_many", rows, signatures, purpose=f"redeeming {len(batch)} vouchers")
            found += [_redemption(entry) for entry in receipt["logs"] if entry["topics"][0] == _REDEEMED]
        return found

    async def start_close(self, signer: Signer, channel: bytes) -> str:
        """Start a one-sided close; returns the transaction."""
        receipt = await self._write(signer, "channels", "start_close", channel, purpose="starting to close a channel")
        return str(receipt["transactionHash"])

    async def finish_close(self, signer: Signer, channel: bytes) -> str:
        """End a one-sided close whose challenge period is over; returns the transaction."""
        receipt = await self._write(signer, "channels", "finish_close", channel, purpose="closing a channel")
        return str(receipt["transactionHash"])

    async def close_by_provider(self, signer: Signer, channel: bytes) -> str:
        """Give a channel up as its provider; returns the transaction."""
        receipt = await self._write(signer, "channels", "close_by_provider", channel, purpose="giving a channel up")
        return str(receipt["transactionHash"])

    async def close_together(self, signer: Signer, voucher: Voucher, provider_signature: bytes, session_signature: bytes) -> str:
        """Close at a state both sides signed; returns the transaction."""
        row = (voucher.channel, voucher.amount, voucher.count, voucher.root)
        receipt = await self._write(
            signer, "channels", "close_together", row, provider_signature, session_signature, purpose="closing a channel together"
        )
        return str(receipt["transactionHash"])

    async def register_device(self, signer: Signer, device: Address, metadata: str, consent: bytes) -> str:
        """Name a device of the signer's, with the device's consent; returns the transaction."""
        receipt = await self._write(
            signer, "registry", "register_device", checksum(device), metadata, consent, purpose=f"registering the device {device}"
        )
        return str(receipt["transactionHash"])

    async def transfer(self, signer: Signer, to: Address, *, tokens: int = 0, native: int = 0) -> list[str]:
        """Send tokens, the chain's own coin, or both; returns the transactions."""
        sent = []
        if native:
            receipt = await self._sender.send(signer, to, "0x", value=native, purpose=f"sending coin to {to}")
            sent.append(str(receipt["transactionHash"]))
        if tokens:
            held = await self.token_balance(signer.address)
            if held < tokens:
                raise NotEnough(
                    f"{signer.address} holds {held} wei of SURGE, not {tokens}", account=signer.address, held=held, needed=tokens
                )
            receipt = await self._write(signer, "surge_token", "transfer", checksum(to), tokens, purpose=f"sending tokens to {to}")
            sent.append(str(receipt["transactionHash"]))
        return sent

    # Inside

    def _contract_address(self, name: str) -> Address:
        network = self.network
        return {"surge_token": network.token, "registry": network.registry, "channels": network.channels}[name].address

    async def _read(self, name: str, function: str, *args: Any, block: str = "latest") -> tuple[Any, ...]:
        data = interface(name).encode_abi(function, args=list(args))
        call = {"to": checksum(self._contract_address(name)), "data": data}
        try:
            answer = await self._endpoints.call("eth_call", call, block)
        except Refused as error:
            raise explain(error, self._contract_address(name)) from error
        try:
            return tuple(abi_decode(_output_types(name, function), bytes.fromhex(answer[2:])))
        except Exception as error:  # eth_abi raises a family of its own, and OverflowError
            raise PeerFault(
                f"the ledger answers {function} with nonsense: is the contract where network.json says?", answer=answer
            ) from error

    async def _write(self, signer: Signer, name: str, function: str, *args: Any, purpose: str, patience: float = 120.0) -> dict[str, Any]:
        data = interface(name).encode_abi(function, args=list(args))
        return await self._sender.send(signer, self._contract_address(name), data, purpose=purpose, patience=patience)

    async def _approve(self, signer: Signer, amount: int, patience: float) -> None:
        """See that the channels contract may take `amount` from the signer, who must hold it."""
        held = await self.token_balance(signer.address)
        if held < amount:
            raise NotEnough(
                f"the wallet {signer.address} holds {held / 10**18:.6f} SURGE, and {amount / 10**18:.6f} are needed: send it some",
                account=signer.address,
                held=held,
                needed=amount,
            )
        contract = checksum(self.network.channels.address)
        (allowed,) = await self._read("surge_token", "allowance", checksum(signer.address), contract)
        if allowed < amount:
            await self._write(
                signer,
                "surge_token",
                "approve",
                contract,
                ALLOWANCE,
                purpose="approving the channels contract",
                patience=patience,
            )


def _redemption(entry: dict[str, Any]) -> Redemption:
    try:
        amount, paid, fee, count, root = abi_decode(
            ("uint256", "uint256", "uint256", "uint256", "bytes32"), bytes.fromhex(entry["data"][2:])
        )
        return Redemption(
            channel=bytes.fromhex(entry["topics"][1][2:]),
            provider=address("0x" + entry["topics"][2][-40:]),
            amount=amount,
            paid=paid,
            fee=fee,
            count=count,
            root=root,
            transaction=entry["transactionHash"],
        )
    except (KeyError, IndexError, ValueError) as error:
        raise LedgerError("an event of the channels contract cannot be read", entry=entry) from error
