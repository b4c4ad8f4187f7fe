"""What one provider of a job may ask for over and over before it is given up: contents, compilations, preparing, larger deposits.

All of it may be asked for again in good faith: caches are emptied, ledgers lag, units take more than was thought. Without a bound each of
them would also be a way to live off a job without doing a unit of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import TypeVar

from surge.buyer.calls import said_in
from surge.buyer.payer import Payer
from surge.buyer.peers import Peer
from surge.core.messages import Refusal
from surge.errors import PeerFault

SENDINGS = 5
"""Times that a device is sent, and paid for, one content of the job, or compiles its image. For a unit's input: with no unit done since."""

PREPARINGS = 5
"""Times that a device that said it is prepared may turn out to miss something, with no unit done in between."""

TOP_UPS = 5
"""Times that a device may call a deposit too low of which less than 1/`FREE` is promised: each doubles it. Over all jobs on its channel."""

FREE = 4
"""See `TOP_UPS`."""

Key = TypeVar("Key")

LOOKS = 120
"""Times that a device may not have seen yet what was added to its deposit."""

LOOK_SECONDS = 1.0
"""Between two of them: a provider looks at a deposit no more often."""


class Bounds:
    """Counts for one job. `contents` are its image and its bundle. What goes past its bound raises `PeerFault`."""

    def __init__(self, contents: Collection[bytes]) -> None:
        self._contents = frozenset(contents)
        self._sent: Counter[tuple[str, bytes]] = Counter()
        self._compiled: Counter[str] = Counter()
        self._prepared: Counter[str] = Counter()
        self._looked: Counter[str] = Counter()

    def check_sending(self, device: str, content: bytes) -> None:
        """A content is asked for."""
        if self._sent[device, content] >= SENDINGS:
            raise PeerFault(f"{device} keeps asking for what it was sent", times=SENDINGS)

    def sent(self, device: str, content: bytes) -> None:
        """It was sent, and arrived."""
        self._sent[device, content] += 1

    def compiled(self, device: str) -> None:
        """A compilation is billed."""
        _count(self._compiled, device, SENDINGS, f"{device} keeps compiling what it has compiled")

    def prepare_again(self, device: str) -> None:
        """A unit was refused since something is missing, though the job was prepared."""
        _count(self._prepared, device, PREPARINGS, f"{device} keeps missing what it said it has")

    def worked(self, device: str) -> None:
        """A unit was done."""
        self._prepared.pop(device, None)
        for key in [key for key in self._sent if key[0] == device and key[1] not in self._contents]:
            del self._sent[key]

    async def fund(self, peer: Peer, refusal: Refusal) -> None:
        """Top up the deposit that the provider called too low; or wait a moment, where it has not seen the last top-up yet.

        Raises what a top-up raises, too.
        """
        if self._sees_deposit(peer.device, peer.payer, refusal):
            await peer.payer.fund()
        else:
            await asyncio.sleep(LOOK_SECONDS)

    def _sees_deposit(self, device: str, payer: Payer, refusal: Refusal) -> bool:
        deposit = payer.channel.deposit
        seen = said_in(refusal).get("deposit")
        if isinstance(seen, int) and seen < deposit:
            _count(self._looked, device, LOOKS, f"{device} does not see the deposit that it has")
            return False
        self._looked.pop(device, None)
        if (payer.amount + payer.owed) * FREE < deposit:
            payer.raised += 1
            if payer.raised > TOP_UPS:
                raise PeerFault(f"{device} keeps asking for a larger deposit than its work takes", times=TOP_UPS)
        return True


def _count(counter: Counter[Key], key: Key, bound: int, why: str) -> None:
    counter[key] += 1
    if counter[key] > bound:
        raise PeerFault(why, times=bound)
