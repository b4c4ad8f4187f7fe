"""Challenges on the ledger: asking for a leaf of a pledged shard, answering, and what follows if nobody does."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.keccak import keccak256
from surge.core.parameters import StorageParameters
from surge.core.signing import Signer
from surge.core.storage.pledges import Pledge
from surge.core.types import Address, Wei, address
from surge.errors import LedgerError, Unavailable
from surge.ledger import answers
from surge.ledger.answers import Log, Mined
from surge.ledger.calls import Calls
from surge.ledger.cases import topic_address, topic_number
from surge.ledger.interfaces import checksum

DEPTH = 256
"""Blocks behind the head that are looked at again: a chain may lose its last ones, and endpoints differ."""

_PLEDGE = "(bytes32,address,address,address,address,bytes32,uint64,uint64,uint64,uint256)"
_CHALLENGED = (_PLEDGE, "address", "uint256", "uint256", "uint256", "uint256")
CHALLENGED = keccak256(f"Challenged(uint256,address,bytes32,{','.join(_CHALLENGED)})".encode())
FAILED = keccak256(b"Failed(uint256,address,bytes32,uint256,uint256)")
"""The events' first topics."""

_TOPICS = 4


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge, as its opening told."""

    number: int
    """Its id."""
    pledge: Pledge
    """What it is about."""
    challenger: Address
    """Who asks, and gets the fee back if nobody answers."""
    index: int
    """The leaf that is asked for, from 0."""
    fee: Wei
    """Wei that the operator gets for the answer."""
    reserved: Wei
    """Wei of its bond that are reserved."""
    deadline: int
    """Unix seconds, by the ledger's clock: an answer is mined before."""


class Challenges:
    """The challenges of a network; reached as `Ledger.challenges`. Everything raises `InvalidInput` on a network without any."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._seen: dict[Address, tuple[int, dict[int, Challenge]]] = {}
        """Challenges against an operator that were open when asked for, and the block from which to ask again."""

    # Reading

    async def parameters(self) -> StorageParameters:
        """The numbers that count now; all but the fee never change."""
        return StorageParameters(*(await self._read("parameters"))[0])

    async def is_open(self, challenge: Challenge) -> bool:
        """Whether a challenge is open still: then it can be answered before its deadline, and settled afterwards."""
        digest = challenge.pledge.digest(self._calls.network.challenges_domain)
        pledge, challenger, index, _, _, deadline = (await self._read("open_challenge", challenge.number))[0]
        found = pledge, address(challenger), index, deadline
        return found == (digest, challenge.challenger, challenge.index, challenge.deadline)

    async def about(self, number: int) -> Challenge | None:
        """What a challenge is about; None if there was none of that number."""
        found = [read_challenged(each) for each in await self._events(CHALLENGED, number, None)]
        return next((each for each in reversed(found) if each.number == number), None)

    async def against(self, operator: Address) -> list[Challenge]:
        """The open challenges against an operator, the first deadline first.

        Asked again and again it looks at new blocks, and a few before them.
        """
        start, kept = self._seen.get(operator, (0, {}))
        head = await self._calls.endpoints.call("eth_blockNumber", read=answers.quantity)
        for event in await self._events(CHALLENGED, None, operator, start=min(start, head)):
            found = read_challenged(event)
            if found.pledge.operator == operator:
                kept[found.number] = found
        standing = {number: each for number, each in kept.items() if await self.is_open(each)}
        self._seen[operator] = (max(start, head - DEPTH), standing)
        return sorted(standing.values(), key=lambda each: (each.deadline, each.number))

    async def failed(self, pledge: Pledge) -> bool:
        """Whether a pledge was slashed: it is once at most."""
        return bool((await self._read("failed", pledge.digest(self._calls.network.challenges_domain)))[0])

    async def released(self, pledge: Pledge) -> bool:
        """Whether a release of a pledge's deal was shown to the ledger."""
        return bool((await self._read("released", checksum(pledge.keeper), pledge.deal))[0])

    async def owed(self, account: Address) -> Wei:
        """Wei that an account may collect."""
        return Wei(int((await self._read("owed", checksum(account)))[0]))

    async def debt(self, operator: Address) -> Wei:
        """Wei that is slashed of an operator's bond when open challenges release it."""
        return Wei(int((await self._read("debts", checksum(operator)))[0]))

    # Writing

    async def open(self, signer: Signer, pledge: Pledge, signature: bytes, index: int) -> Challenge:
        """Ask for a leaf of a pledged shard, which nobody should foresee. The signer pays the fee.

        Raises `NotEnough`, `LedgerError` with the reason.
        """
        await self._calls.approve(signer, "challenges", (await self.parameters()).fee)
        receipt = await self._write(signer, "challenge", _row(pledge), signature, index, purpose="challenging a holder")
        return read_challenged(self._own(receipt, CHALLENGED))

    async def answer(self, signer: Signer, challenge: Challenge, leaf: bytes, proof: bytes) -> str:
        """Show the leaf that is asked for, with its proof (`core.storage.tree`); returns the transaction. Anyone may."""
        args = (challenge.number, _row(challenge.pledge), leaf, proof)
        return (await self._write(signer, "answer", *args, purpose=f"answering challenge {challenge.number}")).transaction

    async def release(self, signer: Signer, challenge: Challenge, signature: bytes) -> str:
        """Show the keeper's release of the deal; returns the transaction. Anyone may. The deal cannot be challenged afterwards."""
        args = (challenge.number, _row(challenge.pledge), signature)
        return (await self._write(signer, "release", *args, purpose=f"showing a release to challenge {challenge.number}")).transaction

    async def settle(self, signer: Signer, challenge: Challenge) -> Wei:
        """End a challenge that nobody answered by the deadline; returns the wei that were slashed. Anyone may.

        Where the pledge had failed, or its deal was released, in another challenge, it ends at once, and nothing is slashed.
        """
        args = (challenge.number, _row(challenge.pledge))
        receipt = await self._write(signer, "settle", *args, purpose=f"settling challenge {challenge.number}")
        if not any(self._is_own(each, FAILED) for each in receipt.logs):
            return Wei(0)
        return _slashed(self._own(receipt, FAILED))

    async def collect(self, signer: Signer) -> Wei:
        """Take what the signer is owed; returns the wei. Nothing is sent where nothing is owed."""
        amount = await self.owed(signer.address)
        if amount:
            await self._write(signer, "collect", purpose="collecting what challenges owe")
        return amount

    # Inside

    async def _read(self, function: str, *args: Any) -> tuple[Any, ...]:
        return await self._calls.read("challenges", function, *args)

    async def _write(self, signer: Signer, function: str, *args: Any, purpose: str) -> Mined:
        return await self._calls.write(signer, "challenges", function, *args, purpose=purpose)

    async def _events(self, kind: bytes, number: int | None, operator: Address | None, start: int = 0) -> list[Log]:
        """Events of a kind, about a challenge and an operator where they are named, from a block on, oldest first."""
        topics = [
            "0x" + kind.hex(),
            None if number is None else f"0x{number:064x}",
            None if operator is None else "0x" + operator[2:].rjust(64, "0"),
        ]
        found: list[Log] = await self._calls.endpoints.call(
            "eth_getLogs",
            {"address": checksum(self._calls.address("challenges")), "topics": topics, "fromBlock": hex(start), "toBlock": "latest"},
            read=answers.logs,
        )
        return [each for each in found if self._is_own(each, kind)]

    def _is_own(self, event: Log, kind: bytes) -> bool:
        return event.address == self._calls.address("challenges") and event.topics[:1] == (kind,)

    def _own(self, receipt: Mined, kind: bytes) -> Log:
        """The event of a kind in a transaction of the signer's."""
        for each in receipt.logs:
            if self._is_own(each, kind):
                return each
        raise LedgerError(f"{receipt.transaction} left no trace in the challenges", hash=receipt.transaction)


def read_challenged(event: Log) -> Challenge:
    """What a challenge's opening told. Raises `Unavailable`."""
    try:
        (row, challenger, index, fee, reserved, deadline) = abi_decode(_CHALLENGED, event.data)
        deal, device, operator, owner, keeper, *rest = row
        pledge = Pledge(deal, address(device), address(operator), address(owner), address(keeper), *rest)
        if len(event.topics) != _TOPICS or event.topics[3] != deal or topic_address(event.topics[2]) != pledge.operator:
            raise ValueError("topics and data differ")
    except (DecodingError, OverflowError, ValueError) as error:
        raise Unavailable("an event of the challenges cannot be read") from error
    return Challenge(topic_number(event.topics[1]), pledge, address(challenger), index, Wei(fee), Wei(reserved), deadline)


def _slashed(event: Log) -> Wei:
    """What an event of a failed challenge says was slashed."""
    try:
        return Wei(abi_decode(("uint256", "uint256"), event.data)[0])
    except (DecodingError, ValueError) as error:
        raise Unavailable("an event of the challenges cannot be read") from error


def _row(pledge: Pledge) -> tuple[Any, ...]:
    """A pledge as the contract takes it."""
    return tuple(checksum(Address(value)) if isinstance(value, str) else value for value in astuple(pledge))
