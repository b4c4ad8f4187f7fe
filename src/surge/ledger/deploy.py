"""Putting the contracts on a chain, and recognising them there.

A network file from a stranger may point at other contracts. Before anything is signed for a network, the code at its addresses is compared
with the code this package ships: equal but for the immutables that the constructor filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from eth_abi.abi import encode as abi_encode

from surge.contracts import artifact, source_of
from surge.core.eip712 import word
from surge.core.keccak import keccak256
from surge.core.network import Contract, NetworkFile
from surge.core.parameters import Parameters
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, LedgerError, Unavailable
from surge.ledger import answers
from surge.ledger.endpoints import Endpoints
from surge.ledger.interfaces import checksum, function_of
from surge.ledger.journal import Journal
from surge.ledger.transactions import Sender

SLASHERS = ("court", "challenges", "equivocations", None)
"""Who may have each place among the slashers of bonds; nobody may have those of None."""

LINKS: tuple[tuple[str, str, int | None, str | None], ...] = (
    ("channels", "token", None, "token"),
    ("channels", "bonds", None, "bonds"),
    ("bonds", "token", None, "token"),
    *(("bonds", "slasher", place, other) for place, other in enumerate(SLASHERS)),
    ("token", "minter", None, "emissions"),
    ("court", "token", None, "token"),
    ("court", "registry", None, "registry"),
    ("court", "bonds", None, "bonds"),
    ("court", "channels", None, "channels"),
    ("challenges", "token", None, "token"),
    ("challenges", "registry", None, "registry"),
    ("challenges", "bonds", None, "bonds"),
    ("equivocations", "court", None, "court"),
    ("equivocations", "registry", None, "registry"),
    ("equivocations", "bonds", None, "bonds"),
    ("equivocations", "channels", None, "channels"),
    ("emissions", "token", None, "token"),
    ("emissions", "channels", None, "channels"),
    ("emissions", "bonds", None, "bonds"),
)
"""Whom contracts rely on: by the contract's view, what it is asked, and the contract that it must name, or nobody if there is none."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The contracts of a new network, as a network file names them."""

    token: Contract
    """The token."""
    registry: Contract
    """Operators, devices and relays."""
    bonds: Contract
    """Stakes and pay."""
    channels: Contract
    """Payment channels."""
    court: Contract | None = None
    """Who judges and slashes."""
    emissions: Contract | None = None
    """What mints for work."""
    challenges: Contract | None = None
    """Where storage is proved, and slashed for."""
    equivocations: Contract | None = None
    """Where two receipts with one number are slashed for."""

    @property
    def contracts(self) -> dict[str, Any]:
        """All of them by name: what a `NetworkFile` is made with."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


async def chain_id(rpc: Sequence[str]) -> int:
    """The chain that the first endpoint to answer is on. Raises `Unavailable` when none does."""
    endpoints = Endpoints(rpc, -1, embedded=True)
    try:
        return await endpoints.chain()
    finally:
        await endpoints.close()


async def deploy(
    rpc: Sequence[str],
    chain: int,
    signer: Signer,
    journal: Path,
    *,
    embedded: bool,
    parameters: Parameters,
    fee_sink: Address | None = None,
    confirmations: int = 1,
) -> Deployed:
    """Deploy a network's contracts; the signer pays the gas, holds the supply and owns what has an owner.

    Raises `Unavailable`, before anything is sent, when no endpoint keeps the state that deposits of so many `confirmations` are read from.
    """
    endpoints = Endpoints(rpc, chain, embedded=embedded)
    transactions = Journal(journal, chain)
    sender = Sender(endpoints, transactions, 1)

    async def put(name: str, types: tuple[str, ...] = (), *values: Any) -> Contract:
        data = artifact(source_of(name))["bytecode"] + abi_encode(types, values).hex()
        receipt = await sender.send(signer, None, data, purpose=f"deploying {name}")
        if receipt.contract is None:
            raise LedgerError(f"deploying {name} made no contract", hash=receipt.transaction)
        place = receipt.contract
        return Contract(place, keccak256(await _code(endpoints, place)))

    async def call(name: str, contract: Contract, function: str, other: Contract, *args: int) -> None:
        data = function_of(name, function, 1 + len(args)).call([checksum(other.address), *args])
        await sender.send(signer, contract.address, data, purpose=f"calling {function} of {name}")

    try:
        block = await endpoints.settled(confirmations)
        await endpoints.past("eth_getBalance", checksum(signer.address), block, read=answers.quantity)
        token = await put("token", ("uint256", "uint256"), parameters.supply, parameters.cap)
        registry = await put("registry")
        bonds = await put(
            "bonds", ("address", "uint256", "uint256"), checksum(token.address), parameters.min_bond, parameters.unbonding_seconds
        )
        channels = await put(
            "channels",
            ("address", "address", "address", "uint256", "uint256"),
            checksum(token.address),
            checksum(bonds.address),
            checksum(fee_sink or signer.address),
            parameters.fee_bps,
            parameters.epoch_seconds,
        )
        court = challenges = equivocations = emissions = None
        if parameters.court is not None:
            numbers = astuple(parameters.court)
            row = "(" + ",".join(["uint256"] * len(numbers)) + ")"
            places = [checksum(each.address) for each in (token, registry, bonds, channels)]
            court = await put("court", ("address", "address", "address", "address", row), *places, numbers)
            await call("bonds", bonds, "set_slasher", court, SLASHERS.index("court"))
            equivocations = await put("equivocations", ("address",), checksum(court.address))
            await call("bonds", bonds, "set_slasher", equivocations, SLASHERS.index("equivocations"))
        if parameters.storage is not None:
            numbers = astuple(parameters.storage)
            row = "(" + ",".join(["uint256"] * len(numbers)) + ")"
            places = [checksum(each.address) for each in (token, registry, bonds)]
            challenges = await put("challenges", ("address", "address", "address", row), *places, numbers)
            await call("bonds", bonds, "set_slasher", challenges, SLASHERS.index("challenges"))
        if parameters.emissions is not None:
            places = [checksum(each.address) for each in (token, channels, bonds)]
            types = ("address", "address", "address", "uint256", "uint256", "uint256")
            emissions = await put("emissions", types, *places, *astuple(parameters.emissions))
            await call("token", token, "set_minter", emissions)
        return Deployed(token, registry, bonds, channels, court, emissions, challenges, equivocations)
    finally:
        transactions.close()
        await endpoints.close()


async def verify_contracts(network: NetworkFile) -> None:
    """Raise unless the network's contracts are the ones this package ships.

    1. there is code at each address, with the hash the file names;
    2. it is the shipped code, but for the immutables;
    3. each relies on those of the others that the file names, and on nobody where it names none.

    Raises `InvalidInput` that says which contract is another, `Unavailable` when the ledger is away.
    """
    endpoints = Endpoints(network.rpc, network.chain_id, embedded=network.kind == "embedded")
    try:
        for name, contract in network.contracts.items():
            code = await _code(endpoints, contract.address)
            # 1
            if keccak256(code) != contract.code_hash:
                raise InvalidInput(
                    f"the code at {contract.address} is not what the network file says of {name}: do not use this network",
                    contract=name,
                )
            # 2
            runtime = bytes.fromhex(artifact(source_of(name))["runtime"][2:])
            if code[: len(runtime)] != runtime or len(code) - len(runtime) > MAX_IMMUTABLES:
                raise InvalidInput(
                    f"{name} at {contract.address} is not the contract this version of Surge knows: do not sign anything for it",
                    contract=name,
                )
        # 3
        for name, view, argument, other in LINKS:
            if name not in network.contracts:
                continue
            question = f"{view}()" if argument is None else f"{view}(uint256)"
            data = keccak256(question.encode())[:4] + (b"" if argument is None else word(argument))
            call = {"to": checksum(network.contracts[name].address), "data": "0x" + data.hex()}
            named = await endpoints.call("eth_call", call, "latest", read=answers.data)
            expected = network.contracts.get(other) if other else None
            if named[-20:].hex() != (expected.address[2:] if expected else bytes(20).hex()):
                whom = f"not the {other} that" if expected else "nobody whom"
                raise InvalidInput(
                    f"the {view} of {name} at {network.contracts[name].address} is {whom} the network file names: "
                    "do not sign anything for it",
                    contract=name,
                )
    finally:
        await endpoints.close()


MAX_IMMUTABLES = 32 * 32
"""Bytes: Vyper appends a contract's immutables to its runtime code, a word each."""


async def _code(endpoints: Endpoints, place: Address) -> bytes:
    codes = {code for _, code in await endpoints.every("eth_getCode", checksum(place), "latest", read=answers.data)}
    if len(codes) > 1:
        raise Unavailable(f"the ledger's endpoints show different code at {place}: one of them lies", address=place)
    (code,) = codes
    if not code:
        raise LedgerError(f"there is no contract at {place}", address=place)
    return bytes(code)
