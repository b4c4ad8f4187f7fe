"""Stake behind operators: what the wallet has, puts in and takes out. The part of a network that does it, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from surge.core.bonds import WHOLE
from surge.core.signing import Signer
from surge.core.types import Address, address
from surge.errors import InvalidInput, LedgerError

if TYPE_CHECKING:
    from surge.buyer.background import Background
    from surge.buyer.client import Client
    from surge.ledger import Ledger

T = TypeVar("T")


class Staking:
    """The part of a network that stakes. Use `Network`."""

    _client: Client
    _background: Background

    def stakes(self) -> list[dict[str, Any]]:
        """What the wallet has behind operators, and what of it leaves (`stakes_of` has the units)."""
        return self._on_ledger(lambda ledger, wallet: stakes_of(ledger, wallet.address))

    def stake(self, amount: int, behind: str | None = None) -> dict[str, Any]:
        """Stake `amount` wei as an operator, or behind another; returns `operator`, `amount`, `transaction`.

        Raises `NotEnough`; `InvalidInput` where the other has neither a bond nor a device in the registry.
        """
        return self._on_ledger(lambda ledger, wallet: stake(ledger, wallet, amount, behind))

    def delegate(self, operator: str, amount: int) -> dict[str, Any]:
        """Stake `amount` wei behind an operator."""
        return self.stake(amount, operator)

    def unstake(self, amount: int | None = None, behind: str | None = None) -> dict[str, Any]:
        """Begin to take `amount` wei out, or all of it; returns `operator`, `ticket`, `amount`, `ready_at`. Raises `NotEnough`."""
        return self._on_ledger(lambda ledger, wallet: unstake(ledger, wallet, amount, behind))

    def set_commission(self, bps: int) -> dict[str, Any]:
        """Name what the wallet, as an operator, keeps of its pay, in basis points; returns `commission_bps`, `transaction` and `from`, the
        Unix seconds from which a higher one counts (0: now).
        """
        return self._on_ledger(lambda ledger, wallet: set_commission(ledger, wallet, bps))

    def claim(self, operator: str | None = None) -> list[dict[str, Any]]:
        """Take what the wallet's stake earned, and what has left and is ready, behind one operator or all (`claim` has the units)."""
        return self._on_ledger(lambda ledger, wallet: claim(ledger, wallet, operator))

    def _on_ledger(self, work: Callable[[Ledger, Signer], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            return await work(await self._client.ledger(), self._client.wallet)

        return self._background.call(run())


async def stakes_of(ledger: Ledger, staker: Address) -> list[dict[str, Any]]:
    """A row for each operator that somebody has something behind: `operator`, in wei `staked`, `rewards` that wait to be claimed and
    `leaving`, and `tickets` with `ticket`, `amount` in wei and `ready_at` in Unix seconds.
    """
    tickets = await ledger.bonds.tickets(staker)
    rows = []
    for each in await ledger.bonds.stakes(staker):
        mine = [
            {"ticket": found.number, "amount": found.worth, "ready_at": found.ready_at}
            for found in tickets
            if found.operator == each.operator
        ]
        if each.worth or each.claimable or mine:
            rows.append(
                {
                    "operator": each.operator,
                    "staked": each.worth,
                    "rewards": each.claimable,
                    "leaving": sum(ticket["amount"] for ticket in mine),
                    "tickets": mine,
                }
            )
    return rows


async def stake(ledger: Ledger, wallet: Signer, amount: int, behind: str | None) -> dict[str, Any]:
    """Stake as an operator, or behind another. Raises `InvalidInput` for a device, which earns for its operator, and for who is none."""
    operator = address(behind) if behind else wallet.address
    if operator != wallet.address:
        await _check_operator(ledger, operator)
    transaction = await ledger.bonds.stake(wallet, operator, amount)
    return {"operator": operator, "amount": amount, "transaction": transaction}


async def _check_operator(ledger: Ledger, operator: Address) -> None:
    """Raise `InvalidInput` unless this is an operator: what stands behind anybody else is locked, and earns nothing."""
    from surge.ledger.members import DEVICE

    if (whose := await ledger.operator_of(operator)) not in (None, operator):
        raise InvalidInput(f"{operator} is a device: its operator is {whose}", device=operator, operator=whose)
    if whose is not None or await ledger.bonds.own_stake(operator):
        return
    if not any(each.operator == operator for each in await ledger.members() if each.kind == DEVICE):
        raise InvalidInput(
            f"{operator} is no operator: it has no bond, and the registry names no device of it; "
            "`surge provider show DEVICE` says whose a device is, `surge network members` shows all of them",
            operator=operator,
        )


async def unstake(ledger: Ledger, wallet: Signer, amount: int | None, behind: str | None) -> dict[str, Any]:
    """Begin to take stake out."""
    operator = address(behind) if behind else wallet.address
    ticket = await ledger.bonds.unstake(wallet, operator, amount)
    return {"operator": operator, "ticket": ticket.number, "amount": ticket.worth, "ready_at": ticket.ready_at}


async def set_commission(ledger: Ledger, wallet: Signer, bps: int) -> dict[str, Any]:
    """Name what an operator keeps of its pay."""
    if not 0 <= bps <= WHOLE:
        raise InvalidInput(f"a commission is between 0 and {WHOLE} basis points, not {bps}", commission=bps)
    transaction = await ledger.bonds.set_commission(wallet, bps)
    _, at = await ledger.bonds.announced_commission(wallet.address)
    return {"commission_bps": bps, "transaction": transaction, "from": at}


async def claim(ledger: Ledger, wallet: Signer, behind: str | None) -> list[dict[str, Any]]:
    """Take what there is to be had. A row for each operator: `operator`, in wei what was `minted` for its work, for it and those behind it,
    the `rewards` and what was `withdrawn`, `leaving` what is still on its way in wei, `ready_at` when the next of it is ready (Unix
    seconds; 0 if nothing is on its way), and `reserved` whether something that is ready is held for an open case.
    """
    only = address(behind) if behind else None
    rows = []
    staked = {found["operator"]: found for found in await stakes_of(ledger, wallet.address)}
    nothing: dict[str, Any] = {"tickets": []}
    for operator in dict.fromkeys([wallet.address, *staked]):
        if only is not None and operator != only:
            continue
        minted = await _mint(ledger, wallet, operator)
        found = staked.get(operator, nothing)
        if found is nothing and not minted:
            continue
        rewards = await ledger.bonds.claimable(operator, wallet.address) and await ledger.bonds.claim(wallet, operator)
        withdrawn = leaving = 0
        waiting, reserved = [], False
        for ticket in found["tickets"]:
            got = 0
            try:
                got = await ledger.bonds.withdraw(wallet, ticket["ticket"])
                reserved |= got < ticket["amount"]
            except LedgerError as error:
                reason = str(error.details.get("reason", ""))
                if "bonds: not ready" in reason:
                    waiting.append(ticket["ready_at"])
                elif "bonds: reserved" in reason:
                    reserved = True
                else:
                    raise
            withdrawn += got
            leaving += ticket["amount"] - got
        row = {"operator": operator, "minted": minted, "rewards": rewards, "withdrawn": withdrawn, "leaving": leaving}
        rows.append({**row, "ready_at": min(waiting, default=0), "reserved": reserved})
    return rows


async def _mint(ledger: Ledger, wallet: Signer, operator: Address) -> int:
    """Have minted what an operator's work earned in epochs that are over, on a network that emits; returns the wei."""
    if ledger.network.emissions is None:
        return 0
    earned = await ledger.emissions.unclaimed(operator)
    return sum([await ledger.emissions.claim(wallet, operator, epoch) for epoch in earned])
