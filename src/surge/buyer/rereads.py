"""How much of one stored file a device may have read again for a job, at the buyer's cost. Pure.

A device that has no room drops a file and reads it again, in good faith. It may also say so, with holders that say so too, each time that a
unit is asked of it: that it was billed for bringing the file once bounds nothing, for holders are paid by what is read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

ROOM: Final = 1 << 30
"""Bytes for which a device has room, unless it was told to have less: no file goes before so much else came."""


@dataclass(slots=True)
class _Known:
    left: int
    """Bytes of shards that may still be read, and are paid."""
    since: int
    """What had been brought to the device when the file was there last."""


class Rereads:
    """Counts for one job.

    For a file a device has as many bytes as it was permitted to read the first time, which are a few times what that takes; and as many
    again once so much else was brought there for the job that the file had to go.

    >>> reads = Rereads()
    >>> reads.may_read("device", b"file", least=100, permitted=300), reads.read("device", b"file", 1000, size=100)
    (True, 300)
    >>> reads.may_read("device", b"file", least=100, permitted=300), reads.read("device", b"file", 1000, size=100)
    (False, 0)
    >>> reads.may_read("device", b"other", least=ROOM, permitted=ROOM), reads.read("device", b"other", ROOM, size=ROOM) == ROOM
    (True, True)
    >>> reads.may_read("device", b"file", least=100, permitted=300)
    True
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], _Known] = {}
        self._brought: Counter[str] = Counter()
        """Bytes of files, by device."""

    def may_read(self, device: str, file: bytes, *, least: int, permitted: int) -> bool:
        """Whether a file may be read there now, which takes `least` bytes of shards, and for which it would be permitted so many."""
        known = self._known.setdefault((device, file), _Known(permitted, self._brought[device]))
        if self._brought[device] - known.since >= ROOM:
            known.left = max(known.left, permitted)
        known.since = self._brought[device]
        return least <= known.left

    def read(self, device: str, file: bytes, said: int, *, size: int) -> int:
        """A file of `size` bytes was read there, by what holder and device say: the bytes of shards of it that are paid."""
        known = self._known[device, file]
        paid = min(said, known.left)
        known.left -= paid
        self._brought[device] += size
        known.since = self._brought[device]
        return paid
