"""Checking what devices say of a job's setup: its state, and the fuel that they bill for it, against what it gives here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from surge.buyer.arbiter import Arbiter, setup_in
from surge.core.receipts import Receipt
from surge.core.units import Status

if TYPE_CHECKING:
    from surge.buyer.peers import Peer

Wrong = Callable[["Peer", Receipt, bytes, bytes], None]
"""Told of a setup that was billed wrongly: by whom, the receipt and its digest, and what it should say."""


class SetupChecks:
    """The setups of one job. What one engine finds is held against devices with that engine: others may differ in fuel."""

    def __init__(self, arbiter: Arbiter, wrong: Wrong) -> None:
        self._arbiter = arbiter
        self._wrong = wrong
        self._said: dict[str, tuple[Peer, Receipt, bytes]] = {}
        self._found: dict[bytes, bytes] = {}
        """What the setup gives here, by engine, once that was seen."""
        self._asked = False

    def said(self, peer: Peer, receipt: Receipt, digest: bytes) -> None:
        """A device was paid for its setup: that is compared once the setup was run here."""
        self._said[receipt.device] = (peer, receipt, digest)
        self._compare()

    async def run_once(self, engine: bytes) -> None:
        """Run the setup here, once for a job, and compare."""
        if not self._asked:
            self._asked = True
            await self._run(engine)
            self._compare()

    async def ends_well(self, peer: Peer, status: Status, fuel: int) -> bool:
        """Whether a setup that failed at a device ends well here under the same limit of fuel."""
        if not await self._arbiter.can_tell(peer):
            return False
        found = self._found.get(peer.terms.engine) or await self._run(peer.terms.engine)
        return found is not None and (status is not Status.OUT_OF_FUEL or int.from_bytes(found[32:], "big") <= fuel)

    async def _run(self, engine: bytes) -> bytes | None:
        found = await self._arbiter.setup(engine)
        if found is not None:
            self._found[engine] = found
        return found

    def _compare(self) -> None:
        for device, (peer, receipt, digest) in list(self._said.items()):
            found = self._found.get(peer.terms.engine)
            if found is not None:
                del self._said[device]
                if setup_in(receipt) != found:
                    self._wrong(peer, receipt, digest, found)
