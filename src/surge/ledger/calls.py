"""Calls of a network's contracts: reads, whose answers are decoded, and transactions, which are journalled and sent until they are mined.

Contracts go by the names of the network file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eth_abi.exceptions import DecodingError

from surge.core.network import NetworkFile
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, NotEnough, Unavailable
from surge.ledger import answers
from surge.ledger.answers import Mined
from surge.ledger.endpoints import Endpoints, Refused
from surge.ledger.interfaces import checksum, function_of
from surge.ledger.transactions import Sender, explain

ALLOWANCE = 2**255
"""Wei approved to a contract at once: each of ours takes only what its caller gives it."""


class Calls:
    """Reads and transactions of one network's contracts."""

    def __init__(self, network: NetworkFile, endpoints: Endpoints, sender: Sender) -> None:
        self.network, self.endpoints, self.sender = network, endpoints, sender

    def address(self, name: str) -> Address:
        """Where a contract lies. Raises `InvalidInput` if the network has no such contract."""
        try:
            return self.network.contracts[name].address
        except KeyError:
            raise InvalidInput(f"the network {self.network.name} has no {name}", contract=name) from None

    async def read(self, name: str, function: str, *args: Any, block: str = "latest") -> tuple[Any, ...]:
        """What a view answers. Raises `LedgerError` with the reason of a revert, `Unavailable`."""
        call, read = self.question(name, function, args)
        try:
            found: tuple[Any, ...] = await self.endpoints.call("eth_call", call, block, read=read)
        except Refused as error:
            raise explain(error, self.address(name)) from error
        return found

    def question(self, name: str, function: str, args: Sequence[Any]) -> tuple[dict[str, str], Callable[[Any], tuple[Any, ...]]]:
        """A call to a contract, and what reads its answer."""
        asked = function_of(name, function, len(args))

        def read(answer: Any) -> tuple[Any, ...]:
            try:
                return asked.answer(answers.data(answer))
            except (DecodingError, OverflowError, ValueError) as error:
                raise Unavailable(
                    f"the ledger answers {function} with nonsense: is the contract where network.json says?", answer=str(answer)[:200]
                ) from error

        place = checksum(self.address(name))
        return {"to": place, "data": asked.call(args)}, read

    async def write(self, signer: Signer, name: str, function: str, *args: Any, purpose: str, patience: float = 120.0) -> Mined:
        """Send a call of a contract and wait until it is mined. Raises `LedgerError` with the reason of a revert, `NotEnough` gas."""
        place = self.address(name)
        data = function_of(name, function, len(args)).call(args)
        return await self.sender.send(signer, place, data, purpose=purpose, patience=patience)

    async def approve(self, signer: Signer, spender: str, amount: int, patience: float = 120.0) -> None:
        """See that a contract may take `amount` wei of the token from the signer, who must hold it. Raises `NotEnough`."""
        (held,) = await self.read("token", "balanceOf", checksum(signer.address))
        if held < amount:
            raise NotEnough(
                f"the wallet {signer.address} holds {held / 10**18:.6f} SURGE, and {amount / 10**18:.6f} are needed: send it some",
                account=signer.address,
                held=held,
                needed=amount,
            )
        contract = checksum(self.address(spender))
        (allowed,) = await self.read("token", "allowance", checksum(signer.address), contract)
        if allowed < amount:
            await self.write(
                signer,
                "token",
                "approve",
                contract,
                ALLOWANCE,
                purpose=f"approving {spender}",
                patience=patience,
            )
