"""What the contracts are asked and answer, as bytes: their functions by name, arguments and answers by the types in their interface.

The encoding is the contract ABI's, <https://docs.soliditylang.org/en/latest/abi-spec.html>. Every process that speaks to a ledger begins
here, so nothing is loaded that does more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import EncodingError

from surge.contracts import artifact, source_of
from surge.core.keccak import keccak256
from surge.core.types import Address
from surge.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a contract."""

    name: str
    """Its name."""
    inputs: tuple[str, ...]
    """The types of its arguments, tuples written out."""
    outputs: tuple[str, ...]
    """The types of its answers."""

    @property
    def selector(self) -> bytes:
        """The four bytes by which it is called."""
        return keccak256(f"{self.name}({','.join(self.inputs)})".encode())[:4]

    def call(self, args: Sequence[Any]) -> str:
        """A call of it as 0x-hex. Raises `InvalidInput` if these are no arguments for it."""
        try:
            return f"0x{(self.selector + encode(self.inputs, args)).hex()}"
        except (EncodingError, TypeError, ValueError) as error:
            raise InvalidInput(f"{self.name} cannot be called with this: {error}", function=self.name) from error

    def answer(self, data: bytes) -> tuple[Any, ...]:
        """What it answered. Raises `DecodingError`, `OverflowError` or `ValueError` when that is nonsense."""
        return tuple(decode(self.outputs, data))


@lru_cache
def function_of(contract: str, name: str, count: int) -> Function:
    """A function of the contract that goes by this name in network files, as it takes so many arguments: some may be left out.

    Raises `InvalidInput` if there is none.
    """
    for entry in artifact(source_of(contract))["abi"]:
        if entry["type"] == "function" and entry["name"] == name and len(entry["inputs"]) == count:
            return Function(name, tuple(map(_type, entry["inputs"])), tuple(map(_type, entry["outputs"])))
    raise InvalidInput(f"{contract} has no {name} of {count} arguments", contract=contract, function=name)


def checksum(address: Address) -> str:
    """An address as people and nodes are shown it, its case a checksum: <https://eips.ethereum.org/EIPS/eip-55>."""
    digits = address[2:].lower()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(digit.upper() if int(mark, 16) > 7 else digit for digit, mark in zip(digits, digest, strict=False))


def _type(entry: Mapping[str, Any]) -> str:
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    return f"({','.join(map(_type, entry['components']))})" + str(entry["type"]).removeprefix("tuple")
