"""Sending transactions: estimated, signed elsewhere, written down, sent again until mined, and final.

Type 2 transactions (EIP-1559). The digest is signed through `core.signing.Signer`, so that no private key comes here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from eth_account.typed_transactions import TypedTransaction
from web3 import Web3

from surge.core.keccak import keccak256
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import LedgerError, NotEnough, Unavailable
from surge.ledger.endpoints import Endpoints, Refused
from surge.ledger.journal import Journal, Sent

log = logging.getLogger(__name__)

RESEND_SECONDS = 5.0
"""Seconds between two sendings of a transaction that is not mined."""

FINAL_SECONDS = 30.0
"""Seconds a transaction stays in the journal at least: an embedded ledger that is killed loses its last second."""

TIP = 10**9
"""Wei a gas to the block's producer."""

_KNOWN = ("already known", "already imported", "nonce too low")


def checksum(address: Address) -> str:
    """An address as web3 wants it."""
    return str(Web3.to_checksum_address(address))


def explain(error: Refused, account: Address) -> LedgerError:
    """The error for people behind a node's refusal."""
    text = str(error.details.get("text", ""))
    lowered = text.lower()
    if "insufficient funds" in lowered or "gas required exceeds allowance" in lowered:
        return NotEnough(f"{account} has too little of the chain's own coin for gas: send it some", account=account, reason=text)
    if "revert" in lowered:
        reason = text.split("revert:", 1)[-1].split("reverted:", 1)[-1].strip().removeprefix("execution reverted").strip(" :,") or text
        return LedgerError(f"the ledger reverts: {reason}", reason=reason)
    return LedgerError(f"the ledger refuses: {text}", reason=text)


class Sender:
    """Sends transactions for any signer."""

    def __init__(self, endpoints: Endpoints, journal: Journal, confirmations: int) -> None:
        self.endpoints = endpoints
        self.journal = journal
        self.confirmations = confirmations

    async def send(
        self, signer: Signer, to: Address | None, data: str, *, value: int = 0, purpose: str, patience: float = 120.0
    ) -> dict[str, Any]:
        """Send and wait until it is mined; returns its receipt. Raises `LedgerError` with the reason when it reverts.

        1. the node estimates its gas, which shows a revert before anything is signed;
        2. it gets a nonce, is signed and written down;
        3. it is sent, again and again, until it is mined or `patience` seconds are over (it then goes on in `watch`).
        """
        # 1
        call = {"from": checksum(signer.address), "data": data, "value": hex(value)}
        if to is not None:
            call["to"] = checksum(to)
        try:
            gas = int(await self.endpoints.call("eth_estimateGas", call, patience=patience), 16)
        except Refused as error:
            raise explain(error, signer.address) from error
        block = await self.endpoints.call("eth_getBlockByNumber", "latest", False, patience=patience)
        fee = 2 * int(block.get("baseFeePerGas", "0x0"), 16) + TIP
        # 2
        for _ in range(3):
            chain_nonce = int(
                await self.endpoints.call("eth_getTransactionCount", checksum(signer.address), "latest", patience=patience), 16
            )
            fields: dict[str, Any] = {
                "type": 2,
                "chainId": self.endpoints.chain_id,
                "maxFeePerGas": fee,
                "maxPriorityFeePerGas": TIP,
                "gas": gas + gas // 5,
                "to": checksum(to) if to else b"",
                "value": value,
                "data": data,
                "accessList": [],
            }

            def sign(nonce: int, fields: dict[str, Any] = fields) -> tuple[str, str]:
                transaction = {**fields, "nonce": nonce}
                signature = signer.sign(bytes(TypedTransaction.from_dict(transaction).hash()))
                signed = {
                    **transaction,
                    "r": int.from_bytes(signature[:32], "big"),
                    "s": int.from_bytes(signature[32:64], "big"),
                    "v": signature[64] - 27,
                }
                raw = TypedTransaction.from_dict(signed).encode()
                return "0x" + keccak256(raw).hex(), "0x" + raw.hex()

            sent = self.journal.add(signer.address, chain_nonce, purpose, sign)
            # 3
            try:
                return await self._until_mined(sent, time.monotonic() + patience)
            except Refused as error:
                if "nonce too low" not in str(error.details.get("text", "")).lower():
                    self.journal.drop(sent)
                    raise explain(error, signer.address) from error
                self.journal.drop(sent)
                self.journal.forget_nonce(signer.address)
        raise LedgerError(f"another program uses the account {signer.address} at the same time: try again", account=signer.address)

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """A transaction's receipt, or None while it is not mined."""
        found: dict[str, Any] | None = await self.endpoints.call("eth_getTransactionReceipt", tx_hash)
        return found

    async def confirmed(self, tx_hash: str, patience: float) -> None:
        """Wait until a transaction lies `confirmations` blocks deep. Raises `Unavailable` when that takes too long."""
        if self.confirmations <= 1:
            return
        deadline = time.monotonic() + patience
        while True:
            receipt = await self.receipt(tx_hash)
            head = int(await self.endpoints.call("eth_blockNumber"), 16)
            if receipt and head - int(receipt["blockNumber"], 16) + 1 >= self.confirmations:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"{tx_hash} is not {self.confirmations} blocks deep yet", hash=tx_hash)
            await asyncio.sleep(1.0)

    async def watch(self) -> None:
        """Send what is not final again, until cancelled."""
        while True:
            for sent in self.journal.unfinished():
                try:
                    await self.settle(sent)
                except (LedgerError, Unavailable) as error:
                    log.info("%s (%s): %s", sent.purpose, sent.hash, error)
            await asyncio.sleep(RESEND_SECONDS)

    async def settle(self, sent: Sent) -> None:
        """Mark a transaction final if it is, send it again if it is not mined."""
        receipt = await self.receipt(sent.hash)
        if receipt is None:
            count = int(await self.endpoints.call("eth_getTransactionCount", checksum(sent.account), "latest"), 16)
            if count > sent.nonce:
                self.journal.drop(sent)
                return
            await self._broadcast(sent)
            return
        head = int(await self.endpoints.call("eth_blockNumber"), 16)
        deep = head - int(receipt["blockNumber"], 16) + 1 >= self.confirmations
        if deep and time.time() - sent.made > FINAL_SECONDS:
            self.journal.finished(sent.hash)

    async def _broadcast(self, sent: Sent) -> None:
        try:
            await self.endpoints.broadcast(sent.raw)
        except Refused as error:
            text = str(error.details.get("text", "")).lower()
            if not any(known in text for known in _KNOWN) or ("nonce too low" in text and await self.receipt(sent.hash) is None):
                raise

    async def _until_mined(self, sent: Sent, deadline: float) -> dict[str, Any]:
        resend, pause = 0.0, 0.03
        while True:
            now = time.monotonic()
            try:
                if now >= resend:
                    await self._broadcast(sent)
                    resend = now + RESEND_SECONDS
                receipt = await self.receipt(sent.hash)
            except Unavailable:
                receipt = None
            if receipt is not None:
                break
            if now > deadline:
                raise Unavailable(f"{sent.purpose} is sent but not mined yet; it is sent again until it is", hash=sent.hash)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        if int(receipt["status"], 16) != 1:
            self.journal.finished(sent.hash)
            raise LedgerError(f"{sent.purpose} reverted: it lost a race", hash=sent.hash, reason="reverted when mined")
        return receipt
