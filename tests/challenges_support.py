"""Challenges under test: pledges over small shards, their trees, and the calls as each of those who take part."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, replace
from typing import Any

from contracts_support import BUYER, DEVICE, OPERATOR, OWNER, Place, boa, key, rich
from surge.core.eip712 import Domain, challenges_domain
from surge.core.keccak import keccak256
from surge.core.parameters import StorageParameters
from surge.core.receipts import DeviceConsent
from surge.core.storage.pledges import Pledge, Release
from surge.core.storage.tree import Tree
from surge.core.types import address
from surge.wallet import KeySigner

ETHER = 10**18

NUMBERS = StorageParameters(
    period_seconds=500,
    deadline_seconds=100,
    fee=ETHER // 10,
    least_fee=ETHER // 100,
    most_fee=ETHER,
    least_penalty=ETHER // 2,
    most_penalty=4 * ETHER,
)

CHALLENGER, KEEPER, OTHER = (key(300 + number) for number in range(3))

SHARD = hashlib.shake_128(b"shard").digest(100_000)
"""98 leaves: the last is short, and the last group of the first level has two children, that of the second five."""


def leaf(shard: bytes, index: int) -> bytes:
    return shard[index * 1024 : index * 1024 + 1024]


@dataclass
class Storage:
    """Contracts with challenges that may slash, and an operator whose device holds a shard."""

    place: Place
    contract: Any

    @property
    def domain(self) -> Domain:
        return challenges_domain(boa.env.evm.patch.chain_id, address(str(self.contract.address)))

    @property
    def bonds(self) -> Any:
        return self.place.bonds

    @property
    def now(self) -> int:
        return int(boa.env.evm.patch.timestamp)

    def by(self, who: KeySigner, contract: Any, function: str, *args: Any) -> Any:
        with boa.env.prank(who.address):
            return getattr(contract, function)(*args)

    def stake(self, amount: int, who: KeySigner = OPERATOR) -> None:
        self.by(who, self.bonds, "stake", OPERATOR.address, amount)

    def pledge(self, number: int = 0, shard: bytes = SHARD, **changes: Any) -> Pledge:
        """The device's pledge for a deal, holding now."""
        deal = keccak256(b"deal %d" % number)
        penalty = 2 * ETHER
        people = DEVICE.address, OPERATOR.address, BUYER.address, KEEPER.address
        made = Pledge(deal, *people, Tree.of(shard).root, len(shard), self.now - 10, self.now + 490, penalty)
        return replace(made, **changes)

    def challenge(self, pledge: Pledge, index: int = 0, who: KeySigner = CHALLENGER, signer: KeySigner = DEVICE) -> int:
        return int(self.by(who, self.contract, "challenge", astuple(pledge), signer.sign(pledge.digest(self.domain)), index))

    def answer(self, number: int, pledge: Pledge, index: int = 0, shard: bytes = SHARD) -> None:
        self.by(OTHER, self.contract, "answer", number, astuple(pledge), leaf(shard, index), Tree.of(shard).proof(index))

    def release(self, number: int, pledge: Pledge, signer: KeySigner = KEEPER) -> None:
        signature = signer.sign(Release(pledge.deal).digest(self.domain))
        self.by(OTHER, self.contract, "release", number, astuple(pledge), signature)

    def settle(self, number: int, pledge: Pledge) -> int:
        return int(self.by(OTHER, self.contract, "settle", number, astuple(pledge)))

    def wait(self, seconds: int = NUMBERS.deadline_seconds) -> None:
        boa.env.time_travel(seconds=seconds)

    def owed(self, who: KeySigner) -> int:
        return int(self.contract.owed(who.address))

    def reserved(self) -> int:
        """Wei of the operator's bond that open challenges hold."""
        return int(self.bonds.reserved_by(self.contract.address, OPERATOR.address))

    def held(self) -> int:
        """Wei of the token that the contract holds."""
        return self.place.balance(self.contract.address)

    def register(self, device: KeySigner, operator: KeySigner) -> None:
        consent = DeviceConsent(operator.address, device.address, self.place.registry.device_nonce(device.address))
        signature = device.sign(consent.digest(self.place.registry_domain))
        self.by(operator, self.place.registry, "register_device", device.address, "", signature)

    def remove(self, device: KeySigner, operator: KeySigner) -> None:
        self.by(operator, self.place.registry, "remove_device", device.address)


def found_challenges(place: Place, deployers: dict[str, Any], bond: int = 40 * ETHER, numbers: StorageParameters = NUMBERS) -> Storage:
    """Challenges that may slash; the operator has a device and a bond of its own, and everybody money."""
    with boa.env.prank(OWNER.address):
        contract = deployers["challenges"].deploy(place.token.address, place.registry.address, place.bonds.address, astuple(numbers))
        place.bonds.set_slasher(contract.address, 1)
    people = (OPERATOR, CHALLENGER, OTHER, KEEPER)
    rich(place, *people)
    for each in people:
        with boa.env.prank(each.address):
            place.token.approve(contract.address, 2**256 - 1)
    found = Storage(place, contract)
    found.register(DEVICE, OPERATOR)
    if bond:
        found.stake(bond)
    return found
