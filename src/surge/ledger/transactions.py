"""Sending transactions: estimated, signed elsewhere, written down, sent again until mined, and final.

Type 2 transactions (EIP-1559). The digest is signed through `core.signing.Signer`, so that no private key comes here.

What is signed may be mined at any time, whatever the node that was given it says. So a refused transaction is kept until its nonce is used,
and the next one of the account takes that nonce.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

from eth_account.typed_transactions import TypedTransaction
from web3 import Web3

from surge.core.keccak import keccak256
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import LedgerError, NotEnough, Unavailable
from surge.ledger import answers
from surge.ledger.answers import Mined
from surge.ledger.endpoints import Endpoints, Refused
from surge.ledger.journal import Journal, Sent

log = logging.getLogger(__name__)

RESEND_SECONDS = 5.0
"""Seconds between two sendings of a transaction that is not mined."""

FINAL_SECONDS = 30.0
"""Seconds a transaction stays in the journal at least: an embedded ledger that is killed loses its last second."""

TIP = 10**9
"""Wei a gas to the block's producer."""

MAX_GAS = 30_000_000
"""Gas of a transaction: a block's."""

MAX_FEE = 10**13
"""Wei a gas that is ever offered: a node cannot ask for the whole wallet to be put up."""

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

    async def send(self, signer: Signer, to: Address | None, data: str, *, value: int = 0, purpose: str, patience: float = 120.0) -> Mined:
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
            estimates = await self.endpoints.every("eth_estimateGas", call, read=answers.quantity, patience=patience)
        except Refused as error:
            raise explain(error, signer.address) from error
        gas = max(estimate for _, estimate in estimates)
        bases = await self._base_fees(patience)
        fee = min(2 * bases[len(bases) // 2] + TIP, MAX_FEE)
        # 2
        for _ in range(3):
            fields: dict[str, Any] = {
                "type": 2,
                "chainId": self.endpoints.chain_id,
                "maxFeePerGas": fee,
                "maxPriorityFeePerGas": TIP,
                "gas": min(gas + gas // 5, MAX_GAS),
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

            sent = self.journal.add(signer.address, await self._count(signer.address, patience), purpose, sign)
            # 3
            try:
                return await self._until_mined(sent, time.monotonic() + patience)
            except Refused as error:
                if await self._count(signer.address) <= sent.nonce:
                    self.journal.refuse(sent)
                    raise explain(error, signer.address) from error
                self.journal.drop(sent)
        raise LedgerError(f"another program uses the account {signer.address} at the same time: try again", account=signer.address)

    async def gas_price(self) -> int:
        """Wei a gas that a transaction sent now pays, at most: the base fee rises by an eighth a block (EIP-1559)."""
        bases = await self._base_fees(0.0)
        base = bases[(len(bases) - 1) // 2]
        return min(base + base // 8 + TIP, MAX_FEE)

    async def receipt(self, tx_hash: str) -> Mined | None:
        """A transaction's receipt, or None while it is not mined: while no endpoint has it, or one that should does not.

        Raises `Unavailable` when the endpoints contradict each other.
        """
        rows = await self.endpoints.every("eth_getTransactionReceipt", tx_hash, read=answers.mined)
        found = [row for _, row in rows if row is not None]
        if not found or any(row is None and head >= found[0].block for head, row in rows):
            return None
        if any((row.transaction, row.block, row.succeeded) != (tx_hash, found[0].block, found[0].succeeded) for row in found):
            raise Unavailable(f"the ledger's endpoints say different things of {tx_hash}: one of them lies", hash=tx_hash)
        return cast(Mined, found[0])

    async def confirmed(self, tx_hash: str, patience: float) -> None:
        """Wait until a transaction lies `confirmations` blocks deep. Raises `Unavailable` when that takes too long."""
        if self.confirmations <= 1:
            return
        deadline = time.monotonic() + patience
        while True:
            receipt = await self.receipt(tx_hash)
            if receipt is not None and await self._deep(receipt):
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"{tx_hash} is not {self.confirmations} blocks deep yet", hash=tx_hash)
            await asyncio.sleep(1.0)

    async def watch(self) -> None:
        """Send what is not final again, until cancelled."""
        while True:
            for sent in [*self.journal.unfinished(), *self.journal.refused()]:
                try:
                    await self.settle(sent)
                except (LedgerError, Unavailable) as error:
                    log.info("%s (%s): %s", sent.purpose, sent.hash, error)
            await asyncio.sleep(RESEND_SECONDS)

    async def settle(self, sent: Sent) -> None:
        """Mark a transaction final if it is, forget it if its nonce was used by another, send it again if neither."""
        receipt = await self.receipt(sent.hash)
        if receipt is not None:
            if await self._deep(receipt) and time.time() - sent.made > FINAL_SECONDS:
                self.journal.finished(sent.hash)
        elif await self._count(sent.account) > sent.nonce:
            self.journal.drop(sent)
        elif not sent.refused:
            await self._broadcast(sent)

    async def _base_fees(self, patience: float) -> list[int]:
        """Wei a gas that the last block burnt, as each endpoint says, the least first. The middle one is no single liar's."""
        blocks = await self.endpoints.every("eth_getBlockByNumber", "latest", False, read=answers.block, patience=patience)
        return sorted(block.base_fee for _, block in blocks)

    async def _count(self, account: Address, patience: float = 0.0) -> int:
        """Nonces of an account that are used: every endpoint says so."""
        rows = await self.endpoints.every("eth_getTransactionCount", checksum(account), "latest", read=answers.quantity, patience=patience)
        return int(min(count for _, count in rows))

    async def _deep(self, receipt: Mined) -> bool:
        head = await self.endpoints.call("eth_blockNumber", read=answers.quantity)
        return bool(head - receipt.block + 1 >= self.confirmations)

    async def _broadcast(self, sent: Sent) -> None:
        try:
            await self.endpoints.broadcast(sent.raw)
        except Refused as error:
            text = str(error.details.get("text", "")).lower()
            if not any(known in text for known in _KNOWN) or ("nonce too low" in text and await self.receipt(sent.hash) is None):
                raise

    async def _until_mined(self, sent: Sent, deadline: float) -> Mined:
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
        if not receipt.succeeded:
            self.journal.finished(sent.hash)
            raise LedgerError(f"{sent.purpose} reverted: it lost a race", hash=sent.hash, reason="reverted when mined")
        return receipt
