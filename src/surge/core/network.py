"""`network.json`: what it takes to join a network.

The file comes from strangers. This decoder bounds and checks everything in it; whether its contracts are what they claim is for
the ledger to compare, and whether to trust them for the user to say.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from surge.core import canonical
from surge.core.eip712 import Domain, challenges_domain, channels_domain, registry_domain
from surge.core.stack import parse_json
from surge.core.types import Address, address
from surge.errors import InvalidInput

VERSION = 1
"""The version of the file's format."""

MAX_FILE = 64 << 10
"""Bytes of a network file."""

MAX_URLS = 32
"""RPC URLs, and relays, that a file may name."""

CONTRACTS = ("token", "registry", "bonds", "channels", "court", "emissions", "challenges", "equivocations")
"""The contracts that a network may have, as the file names them; `NetworkFile` has a field for each."""

_RPC_SCHEMES = frozenset({"http", "https"})
_RELAY_SCHEMES = frozenset({"nats", "tls", "ws", "wss"})
_NAME = re.compile(r"[\w .:-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract and the code it must have."""

    address: Address
    """Where it lies."""
    code_hash: bytes
    """32 bytes: keccak-256 of its runtime code."""


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """A relay and who it must be."""

    url: str
    """`nats://host:port` or `tls://host:port`."""
    address: Address
    """The identity that logins name."""


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network."""

    name: str
    """What people call it."""
    kind: str
    """`embedded`: a ledger on one machine, whose operator is trusted; or `public`."""
    chain_id: int
    """The ledger's chain id."""
    rpc: tuple[str, ...]
    """JSON-RPC endpoints, tried in turn."""
    token: Contract
    """The token."""
    registry: Contract
    """Operators, their devices and their relays."""
    bonds: Contract
    """What operators and those behind them can lose, and how they are paid."""
    channels: Contract
    """Payment channels."""
    relays: tuple[RelayAddress, ...]
    """Relays."""
    confirmations: int
    """Blocks after which a deposit counts."""
    court: Contract | None = None
    """Who judges and slashes; None where nobody does."""
    emissions: Contract | None = None
    """What mints for work; None where nothing does."""
    challenges: Contract | None = None
    """Where storage is proved, and slashed for; None where it is not."""
    equivocations: Contract | None = None
    """Where two receipts with one number are reported, and slashed for; None where they are not."""

    @property
    def contracts(self) -> dict[str, Contract]:
        """The contracts that the network has, by the names of the file."""
        found = {name: getattr(self, name) for name in CONTRACTS}
        return {name: contract for name, contract in found.items() if contract is not None}

    @property
    def network_id(self) -> bytes:
        """32 bytes that tell networks apart."""
        return canonical.digest(["surge network", self.chain_id, self.channels.address])

    @property
    def channels_domain(self) -> Domain:
        """The domain of everything signed about channels."""
        return channels_domain(self.chain_id, self.channels.address)

    @property
    def registry_domain(self) -> Domain:
        """The domain of a device's or relay's consent."""
        return registry_domain(self.chain_id, self.registry.address)

    @property
    def challenges_domain(self) -> Domain:
        """The domain of pledges and releases. Raises `InvalidInput` if the network has no challenges."""
        if self.challenges is None:
            raise InvalidInput(f"the network {self.name} has no challenges", contract="challenges")
        return challenges_domain(self.chain_id, self.challenges.address)

    def encode(self) -> bytes:
        """The file's bytes: JSON for people."""
        document = {
            "version": VERSION,
            "name": self.name,
            "kind": self.kind,
            "chain_id": self.chain_id,
            "rpc": list(self.rpc),
            "contracts": {
                name: {"address": each.address, "code_hash": "0x" + each.code_hash.hex()} for name, each in self.contracts.items()
            },
            "relays": [{"url": each.url, "address": each.address} for each in self.relays],
            "confirmations": self.confirmations,
        }
        return json.dumps(document, indent=2).encode() + b"\n"


def decode(data: bytes) -> NetworkFile:
    """The network in a file's bytes. Raises `InvalidInput` that says what is wrong with it."""
    if len(data) > MAX_FILE:
        raise InvalidInput(f"a network file of {len(data)} bytes is larger than {MAX_FILE}", size=len(data))
    try:
        document = parse_json(data)
    except ValueError as error:
        raise InvalidInput(f"the network file is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput("the network file is no JSON object")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise InvalidInput(f"the network file is of version {version!r}; this program knows version {VERSION}", version=version)
    name, kind = _field(document, "name", str), _field(document, "kind", str)
    if not _NAME.match(name):
        raise InvalidInput("the network's name has at most 64 letters, digits, spaces, dots, colons and dashes")
    if kind not in ("embedded", "public"):
        raise InvalidInput(f"the network's kind is {kind!r}, neither embedded nor public", kind=kind)
    contracts = _field(document, "contracts", dict)
    relays = _list(document, "relays")
    return NetworkFile(
        name=name,
        kind=kind,
        chain_id=_number(document, "chain_id", 1, (1 << 63) - 1),
        rpc=tuple(_url(each, _RPC_SCHEMES, "rpc") for each in _list(document, "rpc")),
        token=_contract(contracts, "token"),
        registry=_contract(contracts, "registry"),
        bonds=_contract(contracts, "bonds"),
        channels=_contract(contracts, "channels"),
        relays=tuple(_relay(each) for each in relays),
        confirmations=_number(document, "confirmations", 0, 10_000),
        court=_optional(contracts, "court"),
        emissions=_optional(contracts, "emissions"),
        challenges=_optional(contracts, "challenges"),
        equivocations=_optional(contracts, "equivocations"),
    )


def _field(document: dict[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if type(value) is not kind:
        raise InvalidInput(f"the network file's {name} is missing or no {kind.__name__}", field=name)
    return value


def _number(document: dict[str, Any], name: str, low: int, high: int) -> int:
    value = _field(document, name, int)
    if not low <= value <= high:
        raise InvalidInput(f"the network file's {name} is not between {low} and {high}", field=name, value=value)
    return int(value)


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = _field(document, name, list)
    if not 1 <= len(value) <= MAX_URLS:
        raise InvalidInput(f"the network file names between 1 and {MAX_URLS} entries in {name}", field=name)
    return list(value)


def _url(value: Any, schemes: frozenset[str], name: str) -> str:
    if not isinstance(value, str) or len(value) > 256 or not value.isprintable():
        raise InvalidInput(f"an entry of {name} is no URL", value=repr(value)[:256])
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"{value!r} in {name} is no URL: {error}", url=value) from error
    if parts.scheme not in schemes or not host:
        raise InvalidInput(f"{value!r} in {name} does not begin with one of {', '.join(sorted(schemes))}", url=value)
    return value


def _contract(contracts: dict[str, Any], name: str) -> Contract:
    entry = _field(contracts, name, dict)
    text = _field(entry, "code_hash", str)
    if not re.fullmatch(r"0x[0-9a-f]{64}", text):
        raise InvalidInput(f"the code hash of {name} is not 0x and 64 hex digits", contract=name)
    return Contract(address(_field(entry, "address", str)), bytes.fromhex(text[2:]))


def _optional(contracts: dict[str, Any], name: str) -> Contract | None:
    return _contract(contracts, name) if name in contracts else None


def _relay(entry: Any) -> RelayAddress:
    if not isinstance(entry, dict):
        raise InvalidInput("an entry of relays is no object")
    return RelayAddress(_url(entry.get("url"), _RELAY_SCHEMES, "relays"), address(_field(entry, "address", str)))
