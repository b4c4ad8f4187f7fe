"""Watching what a provider does with the units that it is asked for: what becomes its standing, beside its receipts and its audits.

What is seen is counted by device, kind and day, and written down every few seconds: it is a recollection, not a promise.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from surge.buyer.journal import Journal
from surge.core.receipts import FUELLED, Receipt

ASKED, LOCAL, AWAY, BROKE, FUEL, SECONDS = "asked", "local", "away", "broke", "fuel", "seconds"
"""What is counted: units asked for and not declined; those that ended with no result, or were never answered; broken sessions; broken
protocols; and fuel of units that took a while, with the seconds of a core that they took here."""

IN_GOOD_FAITH = frozenset(
    {"busy", "window", "cover", "draining", "price", "missing", "deposit", "cancelled", "storage", "invalid", "unknown"}
)
"""Refusals that say something of the moment or of the job: a device that declines has done nothing wrong."""

LONG_SECONDS = 0.1
"""Units that should take less, at the stated speed, tell little of the speed: the way there and back is longer."""

GRACE_SECONDS = 10.0
"""Seconds past its wall time after which a unit that is called off was not answered; before, another may just have been quicker."""

WRITE_SECONDS, WRITE_ROWS = 5.0, 256
"""What was seen is written down after so many seconds, or so many different counts."""

DAY = 86_400

Note = Callable[[str, float], None]
"""Counts so much of something."""


class Watch:
    """Watches one provider. `note` counts; `speed` is what a core does in a second, as the provider states it."""

    def __init__(self, note: Note | None = None, *, cores: int = 1, speed: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._note: Note = note or (lambda what, count: None)
        self._cores = cores
        self._speed = speed
        self._clock = clock
        self._under_way: dict[int, float] = {}
        """Units asked for and not answered, and when that was."""
        self._since = 0.0
        """Since when it has worked on what is next answered."""
        self._is_open = False

    def asked(self, number: int) -> None:
        """It was asked for a unit."""
        now = self._clock()
        if not self._under_way:
            self._since = now
        self._under_way[number] = now
        self._note(ASKED, 1)

    def answered(self, number: int, receipt: Receipt) -> None:
        """It gave a result, and everything about it is right."""
        now, busy = self._clock(), min(self._cores, len(self._under_way))
        if self._under_way.pop(number, None) is None:
            return
        if receipt.kind in FUELLED and receipt.quantity >= LONG_SECONDS * self._speed:
            self._note(FUEL, receipt.quantity)
            self._note(SECONDS, (now - self._since) * busy)
        self._since = now

    def refused(self, number: int, code: str) -> None:
        """It gave none."""
        if self._under_way.pop(number, None) is not None:
            what, count = (ASKED, -1) if code in IN_GOOD_FAITH else (LOCAL, 1)
            self._note(what, count)

    def called_off(self, number: int, wall_ms: int) -> None:
        """The answer is no longer wanted of a unit that may take so many milliseconds."""
        since = self._under_way.pop(number, None)
        if since is not None and self._clock() - since > wall_ms / 1000 + GRACE_SECONDS:
            self._note(LOCAL, 1)

    def opened(self) -> None:
        """Its session is up."""
        self._is_open, self._since = True, self._clock()

    def away(self) -> None:
        """Its session broke, or could not be made again."""
        if self._is_open:
            self._note(AWAY, 1)
        self._is_open = False

    def gone(self, *, broke: bool) -> None:
        """It is given up. `broke`: because it broke the protocol."""
        if broke:
            self._note(BROKE, 1)
        for _ in self._under_way:
            self._note(LOCAL, 1)
        self._under_way.clear()


class Seen:
    """Keeps what is seen in the journal."""

    def __init__(self, journal: Journal, *, now: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._now = now
        self._counts: defaultdict[tuple[str, int, str], float] = defaultdict(float)
        self._written = now()

    def noting(self, device: str) -> Note:
        """What counts for a device."""

        def note(what: str, count: float) -> None:
            now = self._now()
            self._counts[device, int(now) // DAY, what] += count
            if len(self._counts) >= WRITE_ROWS or abs(now - self._written) > WRITE_SECONDS:
                self.write()

        return note

    def write(self) -> None:
        """Write down what was seen. Nobody waits for it."""
        self._written = self._now()
        if self._counts:
            self._journal.seen_soon([(*key, count) for key, count in self._counts.items()])
            self._counts = defaultdict(float)
