"""Contracts under test run in titanoboa's EVM; gas is measured elsewhere, on anvil."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
    warnings.simplefilter("ignore")
    os.environ.setdefault("VVM_BINARY_PATH", folder)  # boa's compiler manager makes its folder when it is imported: not in a home
    import boa
    from boa.interpret import set_cache_dir

from surge.core.eip712 import Domain, channels_domain, registry_domain
from surge.core.types import address
from surge.wallet import KeySigner

T = TypeVar("T")

SOURCES = Path(__file__).parents[1] / "src" / "surge" / "contracts"

# boa's fingerprint of a contract passes over some of the modules that its modules import: compiled code is kept by all sources instead.
DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.vy")))).hexdigest()
COMPILED = Path("~/.cache/titanoboa").expanduser() / f"surge-{DIGEST[:16]}"
set_cache_dir(str(COMPILED))


def loaded(load: Callable[[], T]) -> T:
    """What `load` gives, which compiles everything: of several processes the first does so, and the others find it kept."""
    COMPILED.mkdir(parents=True, exist_ok=True)
    whole = COMPILED / "whole"
    with (COMPILED / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not whole.exists():
            found = load()
            whole.touch()
            return found
    return load()


def key(number: int) -> KeySigner:
    """A key that tests agree on."""
    return KeySigner(number.to_bytes(32, "big"))


BUYER, OPERATOR, DEVICE, SESSION, STRANGER, OWNER = (key(100 + number) for number in range(6))


UNBONDING = 3_600
"""Seconds of a fresh set's unbonding period."""

EPOCH = 600
"""Seconds of its epochs."""


@dataclass
class Place:
    """A fresh set of contracts. Nobody is its slasher yet."""

    token: Any
    registry: Any
    bonds: Any
    channels: Any
    sink: str

    @property
    def domain(self) -> Domain:
        return channels_domain(boa.env.evm.patch.chain_id, address(str(self.channels.address)))

    @property
    def registry_domain(self) -> Domain:
        return registry_domain(boa.env.evm.patch.chain_id, address(str(self.registry.address)))

    def balance(self, who: Any) -> int:
        """Wei of the token that a key's or a contract's address holds."""
        return int(self.token.balanceOf(getattr(who, "address", who)))


def deploy(deployers: dict[str, Any], fee_bps: int = 100, min_bond: int = 0) -> Place:
    """Token, registry, bonds, channels; the buyer holds 1,000 SURGE and has approved the channels."""
    with boa.env.prank(OWNER.address):
        token = deployers["surge_token"].deploy(10**24, 2 * 10**24)
        sink = boa.env.generate_address("sink")
        bonds = deployers["bonds"].deploy(token.address, min_bond, UNBONDING)
        channels = deployers["channels"].deploy(token.address, bonds.address, sink, fee_bps, EPOCH)
        registry = deployers["registry"].deploy()
        token.transfer(BUYER.address, 10**21)
    with boa.env.prank(BUYER.address):
        token.approve(channels.address, 2**256 - 1)
    return Place(token, registry, bonds, channels, sink)


def rich(place: Place, *people: KeySigner, tokens: int = 10**21) -> None:
    """Give each so many wei of the token, and let the bonds take them."""
    for each in people:
        with boa.env.prank(OWNER.address):
            place.token.transfer(each.address, tokens)
        with boa.env.prank(each.address):
            place.token.approve(place.bonds.address, 2**256 - 1)
