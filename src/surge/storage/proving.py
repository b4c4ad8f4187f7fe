"""Proving shards at a holder: one leaf of each that is named, as often as a keeper has reason to ask.

Nobody pays for a proof, which takes the disk up to a transfer leaf, so each shard that is kept bears only so many: who asks for more is to
come again later, and that is no failed audit. Two are made at once, for buyers in turn, however many ask.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Final

from surge.core.messages import storage as m
from surge.core.storage import deals
from surge.core.storage.deals import Deal, NotAgreed
from surge.core.storage.layout import PROOF_LEAF
from surge.provider.service import Context, Refused
from surge.provider.turns import Turns
from surge.relay.pace import Paces
from surge.storage.shelf import Shelf

PROOFS_PER_SECOND: Final = 0.5
"""Proofs of one shard for one channel: a period is two minutes at least, and several may look in it."""

BURST_SECONDS: Final = 120.0
"""So many seconds' worth of them may be asked for at once."""

MOST_REMEMBERED: Final = 1 << 15
"""Shards of channels whose pace is remembered."""


class Proving:
    """See the module.

    Args:
        shelf: what there is to prove.
        clock: the time, Unix seconds.
    """

    def __init__(self, shelf: Shelf, clock: Callable[[], float]) -> None:
        self._shelf, self._clock = shelf, clock
        self._turns = Turns(1)
        self._paces: Paces[tuple[bytes, bytes]] = Paces(PROOFS_PER_SECOND, BURST_SECONDS, MOST_REMEMBERED)

    async def prove(self, asked: m.Prove, context: Context) -> m.Proofs:
        """One leaf of each shard, for whoever names the deals: an owner, or its keeper, who has another wallet. Raises `Refused`."""
        if len(set(asked.deals)) < len(asked.deals):
            raise Refused("invalid", "a call names a deal twice: one seed asks for one leaf of it")
        await self._turns.enter(context.buyer)
        try:
            named = [self._shelf.index.deal(identity) for identity in asked.deals]
            now = time.monotonic()
            for deal in named:
                if deal is not None and not self._paces.take((context.channel, deal.id), now):
                    raise Refused("later", f"deal {deal.id.hex()[:12]} was proved often on this channel: ask again in some seconds")
            proofs = await asyncio.to_thread(lambda: [self._proof(deal, asked.seed) for deal in named])
        finally:
            self._turns.leave(context.buyer)
        at = int(self._clock())
        proved = (deal for deal, proof in zip(named, proofs, strict=True) if proof is not None and deal is not None)
        if shown := [deals.shown(deal, at) for deal in proved if not deal.proved]:
            self._shelf.index.shown(shown)
        return m.Proofs(proofs)

    def _proof(self, deal: Deal | None, seed: bytes) -> m.Proof | None:
        if deal is None:
            return None
        try:
            return m.Proof(*self._shelf.prove(deal.id, leaf_asked(seed, deal.id, deal.size)))
        except NotAgreed:
            return None


def leaf_asked(seed: bytes, deal: bytes, size: int) -> int:
    """The number of the proof leaf that a seed asks of a deal's shard."""
    return int.from_bytes(hashlib.sha256(seed + deal).digest(), "big") % -(-size // PROOF_LEAF)
