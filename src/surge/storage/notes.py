"""Records of an author: reading the newest from several holders, and leaving a new one at several."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from surge.core import canonical
from surge.core.signing import Signer
from surge.core.storage import records
from surge.core.storage.records import Record
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.storage.fleet import Fleet, soon

log = logging.getLogger("surge.storage")

REPLICAS: Final = 10
"""Holders that get each record: of ten, one is left after a third of all devices have gone in all but 2 cases of 100,000."""

ENOUGH: Final = 3
"""Holders that must have a record for it to count as kept, where there are so many."""

ASKED: Final = 48
"""Devices that are asked for a record together; the next ones only if too few of these have it."""

MOST_ASKED: Final = 4 * ASKED
"""Devices that are asked in all."""

FINDABLE: Final = 5
"""Holders of a record that is to be found by who knows its author alone: the first of those that are asked."""

MOST_LIKELY: Final = 24
"""Devices that are likely to have what is one's own: they are asked beside those that everybody would ask."""


class Outdated(SurgeError):
    """Somebody wrote the record before. Stays inside the room."""

    def __init__(self, newer: Record) -> None:
        super().__init__("the record was written elsewhere in the meantime")
        self.newer = newer


def verified(data: bytes, author: Address, label: bytes) -> Record | None:
    """A record that a stranger told, checked; None where it told none. Raises `PeerFault`."""
    if not data:
        return None
    record = records.decode(data)
    if (record.author, record.label) != (author, label):
        raise PeerFault("another record was told than was asked for", author=record.author)
    return record


def nearest(author: Address, devices: Iterable[Address]) -> list[Address]:
    """Devices in the order in which everybody who knows the author tries them, for its records (rendezvous hashing)."""
    return sorted(devices, key=lambda device: hashlib.sha256(canonical.encode(["surge nearest 1", author, device])).digest())


class Notes:
    """Reads and leaves records, through a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.likely: Sequence[Address] = ()
        """Devices that have this wallet's records, as far as is known."""

    async def _asked(self, author: Address) -> list[Address]:
        """Who is asked for a record of which nothing is known."""
        offered = await self._fleet.offers()
        first = nearest(author, offered)
        likely = [each for each in self.likely if each in offered][:MOST_LIKELY]
        return list(dict.fromkeys([*first[: ASKED - len(likely)], *likely, *first]))[:MOST_ASKED]

    async def findable(self, author: Address, devices: Sequence[Address]) -> list[Address]:
        """Where a record is left so that whoever knows its author finds it: at some that everybody asks, and at these."""
        first = [each for each in nearest(author, await self._fleet.offers()) if not self._fleet.is_shunned(each)]
        return list(dict.fromkeys([*first[:FINDABLE], *devices]))

    async def newest(self, author: Address, label: bytes, devices: Sequence[Address] = (), *, digest: bytes | None = None) -> Record | None:
        """The newest version that is found; None where those who were asked have none. Raises `Unavailable` when nobody answered.

        Args:
            author: whose it is.
            label: which of theirs.
            devices: where it is likely; if nothing is known, those nearest to the author, and those likely to have what is one's own.
            digest: SHA-256 of its body, where no other will do: some may have it still that others have replaced.
        """

        async def ask(device: Address) -> Record | None:
            data = await self._fleet.record_at(device, author, label)
            try:
                return verified(data, author, label)
            except PeerFault as fault:
                self._fleet.failed(device, fault)
                raise

        def wanted() -> list[Record]:
            told = [each for _, each in answers if isinstance(each, Record)]
            return [each for each in told if digest in (None, hashlib.sha256(each.body).digest())]

        waiting = list(devices) or await self._asked(author)
        answers: list[tuple[Address, Record | SurgeError | None]] = []
        while waiting and len(wanted()) < ENOUGH:
            asked, waiting = waiting[:ASKED], waiting[ASKED:]
            await soon(self._fleet, asked, _itself, ask, answers, lambda: len(wanted()) >= ENOUGH)
        found = wanted()
        if not found and all(isinstance(answer, SurgeError) for _, answer in answers):
            why = next((str(answer) for _, answer in answers if isinstance(answer, SurgeError)), "nobody offers storage now")
            raise Unavailable(f"no device tells whether it has the record: {why}")
        return records.newest(found)

    async def leave(self, signer: Signer, label: bytes, version: int, body: bytes, devices: Sequence[Address]) -> int:
        """Leave a record at `REPLICAS` of these devices, in their order, replacing those that fail; how many have it.

        Raises `Outdated` when one of them has a newer one, or another of this version; `Unavailable` when too few keep it.
        """
        record = records.sign(signer, label, version, body)
        ranked = sorted(dict.fromkeys(devices), key=self._fleet.is_shunned)
        needed, kept = min(ENOUGH, len(ranked)), 0

        async def put(device: Address) -> None:
            newer = await (await self._fleet.holder(device)).put_record(record)
            if newer is not None:
                raise Outdated(newer)

        answers: list[tuple[Address, SurgeError | None]] = []
        while ranked and kept < REPLICAS:
            batch, ranked = ranked[: REPLICAS - kept], ranked[REPLICAS - kept :]
            before = len(answers)
            await soon(self._fleet, batch, _itself, put, answers, lambda: sum(answer is None for _, answer in answers) >= needed)
            for device, answer in answers[before:]:
                if isinstance(answer, Outdated):
                    raise answer
                if isinstance(answer, SurgeError):
                    self._fleet.failed(device, answer)
                else:
                    kept += 1
        if kept < max(1, needed):
            reasons = [answer for _, answer in answers if answer is not None]
            why = str(reasons[-1]) if reasons else "there is no device with a deal of yours"
            raise Unavailable(f"a record is kept by {kept} devices where {max(1, needed)} are needed: {why}", kept=kept)
        return kept


def _itself(device: Address) -> Address:
    return device
