"""Bonds on the ledger: stake behind operators, what leaves, what it earned, and what can be slashed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.bonds import shares_for
from surge.core.keccak import keccak256
from surge.core.signing import Signer
from surge.core.types import Address, Wei, address
from surge.errors import InvalidInput, LedgerError, NotEnough, Unavailable
from surge.ledger import answers
from surge.ledger.answers import Log, Mined
from surge.ledger.calls import Calls
from surge.ledger.histories import dated
from surge.ledger.interfaces import checksum

STAKED = keccak256(b"Staked(address,address,uint256,uint256)")
UNSTAKED = keccak256(b"Unstaked(address,address,uint256,uint256,uint256)")
WITHDRAWN = keccak256(b"Withdrawn(address,address,uint256,uint256)")
CLAIMED = keccak256(b"Claimed(address,address,uint256)")
SLASHED = keccak256(b"Slashed(address,address,uint256,uint256,uint256)")
"""The events' first topics."""

MAX_BLOCK = 1 << 63
"""No block has a higher number."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What is behind an operator, as the contract tells it."""

    assets: int
    """Wei of active stake."""
    shares: int
    """Shares in it."""
    leaving_assets: int
    """Wei of stake that is leaving, and slashed alike."""
    leaving_shares: int
    """Shares in it."""
    reserved: int
    """Wei held for cases and seats."""
    commission_bps: int
    """What the operator keeps of its pay before it is shared, in basis points."""
    anchor: bytes
    """32 bytes: the head of its hash chain; zero if it has none."""
    links_used: int
    """The ordinal that the anchor is counted from."""

    @property
    def bond(self) -> int:
        """Wei that can be slashed."""
        return self.assets + self.leaving_assets


@dataclass(frozen=True, slots=True)
class Stake:
    """What somebody has behind an operator."""

    operator: Address
    """Behind whom."""
    shares: int
    """Active shares."""
    worth: int
    """Wei that they are worth now."""
    claimable: int
    """Wei that they earned and that were not claimed."""


@dataclass(frozen=True, slots=True)
class Slash:
    """What a bond lost at once."""

    operator: Address
    """Whose bond it was."""
    amount: int
    """Wei, of stake active and leaving."""
    block: int
    """The block it happened in."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Stake that leaves."""

    number: int
    """What the contract calls it."""
    operator: Address
    """Behind whom it is."""
    worth: int
    """Wei that it is worth now."""
    ready_at: int
    """Unix seconds from which it can be taken."""


class Bonds:
    """The bonds of a network; reached as `Ledger.bonds`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    # Reading

    async def min_bond(self) -> Wei:
        """Wei of its own stake below which an operator's pay is retained."""
        return Wei(await self._number("min_bond"))

    async def unbonding_seconds(self) -> int:
        """Seconds between leaving and taking out."""
        return await self._number("unbonding_seconds")

    async def pool(self, operator: Address) -> Pool:
        """What is behind an operator; all zero if nothing is."""
        (row,) = await self._calls.read("bonds", "pool", checksum(operator))
        return Pool(**dict(zip((each.name for each in fields(Pool)), row, strict=True)))

    async def own_stake(self, operator: Address) -> Wei:
        """Wei of an operator's own active stake."""
        return Wei(await self._number("own_stake", checksum(operator)))

    async def free_bond(self, operator: Address) -> Wei:
        """Wei of an operator's bond that nothing is reserved of."""
        return Wei(await self._number("free_bond", checksum(operator)))

    async def announced_commission(self, operator: Address) -> tuple[int, int]:
        """The commission in basis points that an operator announced, and the Unix seconds from which it counts; (0, 0) if none follows."""
        bps, at = await self._calls.read("bonds", "announced_commission", checksum(operator))
        return int(bps), int(at)

    async def claimable(self, operator: Address, staker: Address) -> Wei:
        """Wei that a staker's stake behind an operator earned and that were not claimed."""
        return Wei(await self._number("claimable", checksum(operator), checksum(staker)))

    async def stake_of(self, operator: Address, staker: Address) -> Stake:
        """What a staker has behind an operator."""
        shares, amount, earned = await self._calls.read("bonds", "position", checksum(operator), checksum(staker))
        return Stake(operator, int(shares), int(amount), int(earned))

    async def stakes(self, staker: Address) -> list[Stake]:
        """What a staker has, operator by operator in the order in which it first staked behind them; also what is all zero now."""
        events = await self._events(STAKED, staker)
        return [await self.stake_of(operator, staker) for operator in dict.fromkeys(operator for operator, _ in events)]

    async def tickets(self, staker: Address) -> list[Ticket]:
        """A staker's stake that leaves and was not taken, oldest first."""
        found = []
        for operator, event in await self._events(UNSTAKED, staker):
            number = int.from_bytes(event.topics[3], "big")
            ((holder, _, _, ready_at, _),) = await self._calls.read("bonds", "tickets", number)
            if address(holder) == staker:
                found.append(Ticket(number, operator, await self._number("leaving", number), int(ready_at)))
        return found

    async def slashes(self, operators: Iterable[Address]) -> list[Slash]:
        """What these operators' bonds lost so far, oldest first."""
        ours = self._calls.address("bonds")
        wanted = {operator: _word(operator) for operator in operators}
        if not wanted:
            return []
        question = {
            "address": checksum(ours),
            "topics": ["0x" + SLASHED.hex(), sorted(wanted.values())],
            "fromBlock": "0x0",
            "toBlock": "latest",
        }
        found: list[tuple[int, Log]] = await self._calls.endpoints.call("eth_getLogs", question, read=lambda row: dated(row, 0, MAX_BLOCK))
        slashes = []
        for block, event in found:
            if event.address == ours and len(event.topics) == 3 and event.topics[0] == SLASHED:
                operator = address("0x" + event.topics[1][-20:].hex())
                if operator in wanted:
                    active, leaving, _ = _numbers(event, 3)
                    slashes.append(Slash(operator, active + leaving, block))
        return slashes

    # Writing

    async def stake(self, signer: Signer, operator: Address, amount: int) -> str:
        """Stake `amount` wei behind an operator, the signer or another; returns the transaction. Raises `NotEnough`, `InvalidInput`."""
        if amount < 1:
            raise InvalidInput("there is nothing to stake")
        await self._calls.approve(signer, "bonds", amount)
        receipt = await self._calls.write(signer, "bonds", "stake", checksum(operator), amount, purpose=f"staking behind {operator}")
        return receipt.transaction

    async def unstake(self, signer: Signer, operator: Address, amount: int | None = None) -> Ticket:
        """Begin to take `amount` wei out, or everything; returns the ticket. Raises `NotEnough`, `InvalidInput`."""
        held = await self.stake_of(operator, signer.address)
        if amount is not None and amount < 1:
            raise InvalidInput("there is nothing to unstake")
        if not held.worth or (amount is not None and amount > held.worth):
            needed = f", not {amount / 10**18:.6f}" if held.worth and amount is not None else ""
            has = f"{held.worth / 10**18:.6f} SURGE" if held.worth else "nothing"
            raise NotEnough(f"{signer.address} has {has} behind {operator}{needed}", held=held.worth, needed=amount)
        shares = held.shares
        if amount is not None:
            pool = await self.pool(operator)
            shares = min(shares, shares_for(amount, pool.assets, pool.shares))
        receipt = await self._calls.write(
            signer, "bonds", "unstake", checksum(operator), shares, purpose=f"unstaking from behind {operator}"
        )
        event = self._own(receipt, UNSTAKED, 4)
        worth, ready_at = _numbers(event, 2)
        return Ticket(int.from_bytes(event.topics[3], "big"), operator, worth, ready_at)

    async def withdraw(self, signer: Signer, ticket: int) -> Wei:
        """Take what a ticket is worth, as far as it is not reserved; returns the wei. Raises `LedgerError` before it is ready."""
        receipt = await self._calls.write(signer, "bonds", "withdraw", ticket, purpose=f"taking out ticket {ticket}")
        return Wei(_numbers(self._own(receipt, WITHDRAWN, 4), 1)[0])

    async def claim(self, signer: Signer, operator: Address) -> Wei:
        """Take what the signer's stake behind an operator earned; returns the wei."""
        receipt = await self._calls.write(signer, "bonds", "claim", checksum(operator), purpose=f"claiming rewards from {operator}")
        return Wei(_numbers(self._own(receipt, CLAIMED, 3), 1)[0])

    async def set_commission(self, signer: Signer, bps: int) -> str:
        """Name what the signer keeps of its pay, in basis points; a higher one counts after the unbonding period."""
        receipt = await self._calls.write(signer, "bonds", "set_commission", bps, purpose="naming a commission")
        return receipt.transaction

    async def set_anchor(self, signer: Signer, anchor: bytes) -> str:
        """Register the head of the signer's new hash chain, 32 bytes; returns the transaction."""
        receipt = await self._calls.write(signer, "bonds", "set_anchor", anchor, purpose="registering a hash chain")
        return receipt.transaction

    # Inside

    async def _number(self, function: str, *args: Any) -> int:
        (found,) = await self._calls.read("bonds", function, *args)
        return int(found)

    async def _events(self, kind: bytes, staker: Address) -> list[tuple[Address, Log]]:
        """A staker's events of a kind, with the operator of each."""
        ours = self._calls.address("bonds")
        found: list[Log] = await self._calls.endpoints.call(
            "eth_getLogs",
            {
                "address": checksum(ours),
                "topics": ["0x" + kind.hex(), None, _word(staker)],
                "fromBlock": "0x0",
                "toBlock": "latest",
            },
            read=answers.logs,
        )
        wanted = bytes.fromhex(_word(staker)[2:])
        return [
            (address("0x" + each.topics[1][-20:].hex()), each)
            for each in found
            if each.address == ours and len(each.topics) == _TOPICS[kind] and each.topics[0] == kind and each.topics[2] == wanted
        ]

    def _own(self, receipt: Mined, kind: bytes, topics: int) -> Log:
        """The event of a kind in a transaction of the signer's."""
        ours = self._calls.address("bonds")
        for each in receipt.logs:
            if each.address == ours and each.topics[:1] == (kind,) and len(each.topics) == topics:
                return each
        raise LedgerError(f"{receipt.transaction} left no trace in the bonds", hash=receipt.transaction)


_TOPICS = {STAKED: 3, UNSTAKED: 4}


def _word(staker: Address) -> str:
    """An address as a topic."""
    return "0x" + staker[2:].rjust(64, "0")


def _numbers(event: Log, count: int) -> tuple[int, ...]:
    """An event's data."""
    try:
        return tuple(abi_decode(("uint256",) * count, event.data))
    except (DecodingError, ValueError) as error:
        raise Unavailable("an event of the bonds cannot be read") from error
