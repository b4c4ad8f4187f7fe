"""Looking at holders: who is there, who leaves, and who proves that it has what it is paid for.

A seed is 32 random bytes, drawn when it is asked, so that nobody knows beforehand which leaf it asks for. What does not lead to the shard's
root is no proof. Who says that a shard is not there is asked once more; who does not answer failed nothing, for silence proves nothing.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from surge.core.messages.storage import MOST_PROVED, Proof
from surge.core.storage.tree import verify
from surge.core.text import counted
from surge.core.types import Address
from surge.errors import SurgeError
from surge.storage.client import Storage
from surge.storage.fleet import at_most
from surge.storage.holder import Holder
from surge.storage.journal import DealRow
from surge.storage.proving import leaf_asked

AT_ONCE: Final = 32
"""Devices that are looked at at once."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A proof that failed."""

    leaf: int
    """The leaf that was asked for."""
    why: str


@dataclass(slots=True)
class Look:
    """What a look at a device came to."""

    device: Address
    here: bool = False
    leaving: bool = False
    why: str = ""
    """Why it is not here, or did not answer for everything."""
    asked: int = 0
    """Shards that a proof was asked of."""
    passed: list[DealRow] = field(default_factory=list)
    failed: dict[bytes, Failed] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """What it came to, in words."""
        if not self.here:
            return f"it does not answer: {self.why}"
        parts = [f"it proved {len(self.passed)} of {counted(self.asked, 'shard')}"] if self.asked else ["it answers"]
        whys = Counter(each.why for each in self.failed.values())
        parts += [f"{counted(count, 'shard')} {'is' if count == 1 else 'are'} lost: {why}" for why, count in whys.most_common()]
        parts += ["it leaves"] if self.leaving else []
        return "; ".join([*parts, self.why] if self.why else parts)


async def look(storage: Storage, held: Mapping[Address, Sequence[DealRow]], *, prove: bool) -> list[Look]:
    """Look at devices, and have them prove the deals that are named with them."""
    looks = [Look(device) for device in held]
    await at_most(AT_ONCE, looks, lambda each: _look(storage, each, held[each.device] if prove else ()))
    return looks


async def _look(storage: Storage, found: Look, rows: Sequence[DealRow]) -> None:
    try:
        holder = await storage.fleet.holder(found.device)
        found.leaving = (await holder.list(count=1)).leaving
        found.here = True
        waiting = list(rows)
        for _ in range(2):
            waiting = await _prove(holder, found, waiting)
    except SurgeError as error:
        found.why = str(error)
        storage.fleet.failed(found.device, error)


async def _prove(holder: Holder, found: Look, rows: Sequence[DealRow]) -> list[DealRow]:
    """Ask for one leaf of each; those that are said not to be there."""
    missing = []
    for first in range(0, len(rows), MOST_PROVED):
        batch = rows[first : first + MOST_PROVED]
        seed = secrets.token_bytes(32)
        proofs = await holder.prove(seed, [row.id for row in batch])
        for row, proof in zip(batch, proofs, strict=True):
            found.asked += row.id not in found.failed
            failed = judged(seed, row, proof)
            if failed is None:
                found.failed.pop(row.id, None)
                found.passed.append(row)
                continue
            if proof is None:
                missing.append(row)
            found.failed[row.id] = failed
    return missing


def judged(seed: bytes, row: DealRow, proof: Proof | None) -> Failed | None:
    """What is wrong with a proof; None if it shows that the shard is there."""
    leaf = leaf_asked(seed, row.id, row.size)
    if proof is None:
        return Failed(leaf, "it says that it does not have it")
    if not verify(row.root, row.size, leaf, proof.leaf, proof.path):
        return Failed(leaf, "what it shows is not in the shard")
    return None
