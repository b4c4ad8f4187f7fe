"""Emissions on the ledger: budgets of epochs, and what work earned in them."""

from __future__ import annotations

from typing import Any

from surge.core.signing import Signer
from surge.core.types import Address, Wei
from surge.errors import InvalidInput
from surge.ledger.answers import Log
from surge.ledger.bonds import MAX_BLOCK
from surge.ledger.calls import Calls
from surge.ledger.histories import Histories, dated
from surge.ledger.interfaces import checksum
from surge.ledger.states import REDEEMED


class Emissions:
    """The emissions of a network; reached as `Ledger.emissions`. Everything raises `InvalidInput` on a network without any."""

    def __init__(self, calls: Calls, histories: Histories) -> None:
        self._calls = calls
        self._histories = histories

    async def epoch(self) -> int:
        """The epoch that runs."""
        return await self._number("epoch")

    async def epoch_seconds(self) -> int:
        """Seconds of an epoch."""
        return await self._number("epoch_seconds")

    async def budget(self, epoch: int) -> Wei:
        """Wei that is minted for the work of an epoch at most."""
        return Wei(await self._number("budget", epoch))

    async def reward(self, operator: Address, epoch: int) -> Wei:
        """Wei that an operator's work earns in an epoch, by the fees that it brought in until now."""
        return Wei(await self._number("reward", checksum(operator), epoch))

    async def claimable(self, operator: Address, epoch: int) -> Wei:
        """Wei that `claim` would mint now; 0 while the epoch runs."""
        return Wei(await self._number("claimable", checksum(operator), epoch))

    async def claim(self, signer: Signer, operator: Address, epoch: int) -> Wei:
        """Have minted what an operator's work earned, for it and those behind it; returns the wei. Anyone may sign.

        Raises `InvalidInput` while the epoch runs, and where nothing is left to claim.
        """
        amount = await self.claimable(operator, epoch)
        if not amount:
            runs = await self.epoch()
            reason = f"epoch {epoch} is not over: {runs} runs" if epoch >= runs else f"{operator} has nothing to claim for epoch {epoch}"
            raise InvalidInput(reason, operator=operator, epoch=epoch)
        await self._calls.write(
            signer, "emissions", "claim", checksum(operator), epoch, purpose=f"claiming emissions of epoch {epoch} for {operator}"
        )
        return amount

    async def unclaimed(self, operator: Address) -> dict[int, Wei]:
        """Wei that `claim` would mint now for an operator, by epoch: of all epochs in which it was paid."""
        channels = self._calls.address("channels")
        question = {
            "address": checksum(channels),
            "topics": ["0x" + REDEEMED.hex(), None, "0x" + operator[2:].rjust(64, "0")],
            "fromBlock": "0x0",
            "toBlock": "latest",
        }
        found: list[tuple[int, Log]] = await self._calls.endpoints.call("eth_getLogs", question, read=lambda row: dated(row, 0, MAX_BLOCK))
        blocks = {block for block, event in found if event.address == channels}
        times = await self._histories.times(blocks) if blocks else {}
        seconds = await self.epoch_seconds()
        # A block's time may be reckoned from its neighbours': the epochs beside it are looked at, too.
        epochs = {int(time // seconds) + beside for time in times.values() for beside in (-1, 0, 1)}
        earned = {epoch: await self.claimable(operator, epoch) for epoch in sorted(epochs)}
        return {epoch: amount for epoch, amount in earned.items() if amount}

    async def _number(self, function: str, *args: Any) -> int:
        (found,) = await self._calls.read("emissions", function, *args)
        return int(found)
