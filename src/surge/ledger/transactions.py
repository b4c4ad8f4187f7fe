"""Sending transactions: estimated, signed, written down, sent again until mined, repriced when they wait too long, and final.

What is signed may be mined at any time, whatever the node that was given it says. So a refused transaction is kept until its nonce is used,
and the next one of the account takes that nonce. One that waits is signed again at a higher price with the nonce it has: whichever copy is
mined counts, and no two ever are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import LedgerError, NotEnough, Unavailable
from surge.ledger import answers
from surge.ledger.answers import Block, Mined
from surge.ledger.endpoints import Endpoints, Refused
from surge.ledger.interfaces import checksum
from surge.ledger.journal import Journal, Sent
from surge.ledger.prices import MAX_FEE, TIP, first_price, raised
from surge.ledger.signed import is_whole, price_of, same_call, sign, sign_again

log = logging.getLogger(__name__)

RESEND_SECONDS = 5.0
"""Seconds between two sendings of a transaction that is not mined."""

REPRICE_SECONDS = 30.0
"""Seconds that a transaction waits at one price, at least, before it is signed again at a higher one."""

FINAL_SECONDS = 30.0
"""Seconds a transaction is seen mined, at least, before it is final: an embedded ledger that is killed loses its last second."""

MAX_GAS = 30_000_000
"""Gas of a transaction: a block's."""

_KNOWN = ("already known", "already imported", "nonce too low")

_CHEAP = ("underpriced", "replacement", "base fee", "fee too low", "feetoolow")
"""What nodes say, in lower case, of a price: too low beside the base fee, their own least tip, or another transaction with the nonce. That
is no error for people: the price is raised, or another copy is mined (geth, anvil, reth, Besu, Nethermind)."""


def explain(error: Refused, account: Address) -> LedgerError:
    """The error for people behind a node's refusal."""
    text = str(error.details.get("text", ""))
    lowered = text.lower()
    if "insufficient funds" in lowered or "gas required exceeds allowance" in lowered:
        return NotEnough(
            f"{account} has too little of the chain's own coin for gas: send it some, from a wallet that has: "
            f"`surge wallet send {account} 1 --coin`",
            account=account,
            reason=text,
        )
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

        1. what the account sent earlier and is stuck gets a higher price: this one waits for it;
        2. the node estimates its gas, which shows a revert before anything is signed;
        3. it gets a nonce, is signed and written down;
        4. it is sent, again and again and at rising prices, until it is mined or `patience` seconds are over (it then goes on in `watch`).
        """
        # 1
        await self._unstick(signer)
        # 2
        call = {"from": checksum(signer.address), "data": data, "value": hex(value)}
        if to is not None:
            call["to"] = checksum(to)
        try:
            estimates = await self.endpoints.every("eth_estimateGas", call, read=answers.quantity, patience=patience)
        except Refused as error:
            raise explain(error, signer.address) from error
        gas = sorted(estimate for _, estimate in estimates)[len(estimates) // 2]  # of two the higher: running out of gas costs gas
        blocks = await self._newest(patience)
        price = first_price(blocks[len(blocks) // 2].base_fee)
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self.endpoints.chain_id,
            "maxFeePerGas": price.fee,
            "maxPriorityFeePerGas": price.tip,
            "gas": min(gas + gas // 5, MAX_GAS),
            "to": checksum(to) if to else b"",
            "value": value,
            "data": data,
            "accessList": [],
        }
        for _ in range(3):
            # 3
            count = await self._count(signer.address, patience)
            sent = self.journal.add(signer.address, count, purpose, lambda nonce: sign(signer, {**fields, "nonce": nonce}))
            # 4
            receipt = await self._until_mined(signer, sent, time.monotonic() + patience)
            if receipt is not None:
                return receipt
        raise LedgerError(f"another program uses the account {signer.address} at the same time: try again", account=signer.address)

    async def gas_price(self) -> int:
        """Wei a gas that a transaction sent now pays, at most: the base fee rises by an eighth a block (EIP-1559)."""
        blocks = await self._newest()
        base = blocks[(len(blocks) - 1) // 2].base_fee
        return min(base + base // 8 + TIP, MAX_FEE)

    async def receipt(self, tx_hash: str) -> Mined | None:
        """A transaction's receipt, or None while an endpoint that is believed has none: the one that has it may have invented it.

        So one that hides a receipt holds a payment up, and none makes it seem done. Raises `Unavailable` when the endpoints contradict each
        other.
        """
        rows = await self.endpoints.every(
            "eth_getTransactionReceipt", tx_hash, read=answers.mined, height=lambda row: -1 if row is None else row.block
        )
        found: list[Mined] = [row for _, row in rows if row is not None]
        if len(found) < len(rows):
            return None
        if any(row.transaction != tx_hash or row != found[0] for row in found):
            raise Unavailable(f"the ledger's endpoints say different things of {tx_hash}: one of them lies", hash=tx_hash)
        return found[0]

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
        """Send what is not final again, and what is no longer, until cancelled."""
        while True:
            for account in self.journal.accounts():
                try:
                    await self._recover(account)
                except (LedgerError, Unavailable) as error:
                    log.info("whether the chain lost transactions of %s is not known: %s", account, error)
            for sent in [*self.journal.unfinished(), *self.journal.refused()]:
                try:
                    await self.settle(sent)
                except (LedgerError, Unavailable) as error:
                    log.info("%s (%s): %s", sent.purpose, sent.hash, error)
            await asyncio.sleep(RESEND_SECONDS)

    async def settle(self, sent: Sent) -> None:
        """Mark a transaction final if it is, forget it if its nonce was used by another, send it again if neither.

        While another copy of it is mined and not final yet, it is kept: the chain may lose that block, and mine this one.
        """
        receipt = await self.receipt(sent.hash)
        since = self.journal.seen(sent, mined=receipt is not None)
        if receipt is not None:
            if await self._deep(receipt) and time.time() - since > FINAL_SECONDS:
                self.journal.finished(sent.hash)
        elif await self._count(sent.account) > sent.nonce:
            if await self._unknown(self._copies(sent).values()):
                self.journal.drop(sent)
        elif not sent.refused:
            await self._broadcast(sent)

    async def _recover(self, account: Address) -> None:
        """Send again what was final, where the chain went back further than that: it says that the nonce is not used.

        The middle one of the endpoints' counts tells it, or the higher one of two.
        """
        rows = await self.endpoints.every("eth_getTransactionCount", checksum(account), "latest", read=answers.nonce)
        for sent in self.journal.reopen(account, sorted(count for _, count in rows)[len(rows) // 2]):
            log.warning("the chain has lost %s (nonce %d), which was final: it is sent again", sent.purpose, sent.nonce)
            try:
                await self._broadcast(sent)
            except (LedgerError, Unavailable) as error:
                log.info("%s (%s): %s", sent.purpose, sent.hash, error)

    async def _newest(self, patience: float = 0.0) -> list[Block]:
        """Each endpoint's last block, the one that burnt least a gas first. The middle one is no single liar's."""
        rows = await self.endpoints.every("eth_getBlockByNumber", "latest", False, read=answers.block, patience=patience)
        return sorted((block for _, block in rows), key=lambda block: block.base_fee)

    async def _count(self, account: Address, patience: float = 0.0) -> int:
        """Nonces of an account that are used: every endpoint says so."""
        rows = await self.endpoints.every("eth_getTransactionCount", checksum(account), "latest", read=answers.nonce, patience=patience)
        return int(min(count for _, count in rows))

    async def _deep(self, receipt: Mined) -> bool:
        """Whether a receipt has its confirmations, by the middle one of the endpoints' heads, or the lower one of two."""
        heads = sorted(head for _, head in await self.endpoints.every("eth_blockNumber", read=answers.quantity))
        return bool(heads[(len(heads) - 1) // 2] - receipt.block + 1 >= self.confirmations)

    async def _unknown(self, copies: Iterable[Sent]) -> bool:
        """Whether no endpoint at all says that one of these was mined. Asked after `_count`, it tells whether another used their nonce."""
        for each in copies:
            rows = await self.endpoints.every("eth_getTransactionReceipt", each.hash, read=answers.mined)
            if any(row is not None for _, row in rows):
                return False
        return True

    def _copies(self, sent: Sent) -> dict[str, Sent]:
        """A transaction and whatever does the same with its nonce, by hash: at other prices, or refused earlier."""
        rows = [
            each for each in self.journal.at(sent.account, sent.nonce) if each.hash != sent.hash and _is_whole(each) and _is_whole(sent)
        ]
        return {sent.hash: sent} | {each.hash: each for each in rows if same_call(each.raw, sent.raw)}

    async def _broadcast(self, sent: Sent) -> None:
        """Give a transaction to the endpoints. Raises `Refused` when none takes it, for another reason than its price."""
        if not _is_whole(sent):
            return
        try:
            await self.endpoints.broadcast(sent.raw)
        except Refused as error:
            text = str(error.details.get("text", "")).lower()
            if any(cheap in text for cheap in _CHEAP):
                log.debug("%s (%s) is not taken at its price: %s", sent.purpose, sent.hash, error)
            elif not any(known in text for known in _KNOWN) or ("nonce too low" in text and await self.receipt(sent.hash) is None):
                raise

    async def _broadcast_any(self, copies: Iterable[Sent]) -> None:
        """Give a transaction's copies to the endpoints, the dearest first; one taken is enough. Raises the first refusal if none is."""
        refusals, tried = [], sorted(copies, key=lambda each: price_of(each.raw).fee, reverse=True)
        for each in tried:
            try:
                await self._broadcast(each)
            except Refused as error:
                refusals.append(error)
        if len(refusals) == len(tried):
            raise refusals[0]

    async def _unstick(self, signer: Signer) -> None:
        """Send what has waited for long on the account's behalf again, at a higher price where that helps; the lowest nonce first.

        What goes wrong here is told in the log only: it is the earlier transactions', and tried again.
        """
        try:
            await self._recover(signer.address)
            late = [rows for rows in self.journal.waiting(signer.address) if time.time() - _last(rows) >= REPRICE_SECONDS]
            if not late:
                return
            count, blocks = await self._count(signer.address), await self._newest()
        except (LedgerError, Unavailable) as error:
            log.info("whether transactions of %s are stuck is not known: %s", signer.address, error)
            return
        block = blocks[(len(blocks) - 1) // 2]
        for rows in late:
            if (nonce := rows[-1].nonce) >= count:
                passed_over = nonce == count and block.timestamp - _last(rows) >= REPRICE_SECONDS
                try:
                    await self._reprice(signer, rows, block.base_fee, passed_over)
                except (LedgerError, Unavailable) as error:
                    log.info("%s (nonce %d): %s", rows[-1].purpose, nonce, error)

    async def _reprice(self, signer: Signer, rows: list[Sent], base: int, passed_over: bool) -> None:
        """Send what waits at a nonce again, at a price above that of all its rows if it needs one, which is written down first.

        Where all of them are damaged, the account's next transaction takes the nonce.
        """
        whole = [each for each in rows if _is_whole(each)]
        if not whole:
            self.journal.refuse(rows[-1])
            return
        best = max((price_of(each.raw) for each in whole), key=lambda price: (price.fee, price.tip))
        price = raised(best, base, passed_over=passed_over)
        sent: Sent | None = whole[-1]
        if price is not None:
            sent = self.journal.reprice(rows, *sign_again(signer, whole[-1].raw, price))
        if sent is not None:
            log.info("%s (nonce %d) waits, and offers up to %d wei a gas", sent.purpose, sent.nonce, price_of(sent.raw).fee)
            await self._broadcast(sent)

    async def _until_mined(self, signer: Signer, sent: Sent, deadline: float) -> Mined | None:
        """The receipt of whichever copy of a transaction is mined; None when another program's transaction used its nonce."""
        copies = {sent.hash: sent}
        resend, pause = 0.0, 0.03
        receipt = None
        while True:
            now = time.monotonic()
            try:
                if now >= resend:
                    copies |= self._copies(sent)
                    if not await self._resend(sent, copies):
                        return None
                    resend = now + RESEND_SECONDS
                    await self._unstick(signer)
                for each in copies:
                    receipt = receipt or await self.receipt(each)
            except Unavailable:
                receipt = None
            if receipt is not None:
                break
            if now > deadline:
                raise Unavailable(f"{sent.purpose} is sent but not mined yet; it is sent again until it is", hash=sent.hash)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        if not receipt.succeeded:
            raise LedgerError(f"{sent.purpose} reverted: it lost a race", hash=receipt.transaction, reason="reverted when mined")
        return receipt

    async def _resend(self, sent: Sent, copies: dict[str, Sent]) -> bool:
        """Send a transaction's copies; False when another program's used their nonce. Raises `LedgerError` when all are refused."""
        try:
            await self._broadcast_any(each for each in copies.values() if not each.refused)
        except Refused as error:
            if await self._count(sent.account) <= sent.nonce:
                self.journal.refuse(sent)
                raise explain(error, sent.account) from error
            if await self._unknown(copies.values()):
                for each in copies.values():
                    self.journal.drop(each)
                return False
        return True


def _is_whole(sent: Sent) -> bool:
    """Whether a transaction can be read, and sent again; says so in the log where it cannot."""
    whole = is_whole(sent.hash, sent.raw)
    if not whole:
        log.warning("%s (nonce %d) is damaged in the journal: it cannot be sent again", sent.purpose, sent.nonce)
    return whole


def _last(rows: list[Sent]) -> float:
    """When the last of some transactions was signed: Unix seconds."""
    return max(each.made for each in rows)
