"""How much unpaid work a provider does for a buyer: its window.

A pure state machine per buyer (the wallet that opens channels). The window starts at what the offer says, one unit by default; it
doubles when a whole window was vouched for, up to the offer's greatest; and it falls back to one unit on default. A default is
remembered: afterwards a window grows only after as many full windows at each size as there were defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surge.core import canonical
from surge.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Standing:
    """What a provider knows of a buyer. Durable: it outlives channels and restarts."""

    window: int = 1
    """Units that may be in flight or unvouched, all channels together."""
    vouched: int = 0
    """Units vouched for since the window last changed."""
    outstanding: int = 0
    """Units in flight or unvouched now."""
    defaults: int = 0
    """Times the buyer let receipts go unacknowledged."""

    @property
    def room(self) -> int:
        """Units that may still begin."""
        return max(0, self.window - self.outstanding)

    def encode(self) -> bytes:
        """Canonical bytes of what outlives a restart."""
        return canonical.encode([self.window, self.vouched, self.defaults])

    @classmethod
    def decode(cls, data: bytes) -> Standing:
        """The standing in canonical bytes, with nothing outstanding."""
        row = canonical.decode(data)
        if not isinstance(row, list) or len(row) != 3 or any(type(each) is not int or each < 0 for each in row) or row[0] < 1:
            raise InvalidInput("a buyer's standing cannot be read")
        return cls(window=row[0], vouched=row[1], defaults=row[2])


def begin(standing: Standing) -> Standing | None:
    """A unit begins; None when the window has no room for it."""
    return replace(standing, outstanding=standing.outstanding + 1) if standing.room else None


def released(standing: Standing, units: int = 1) -> Standing:
    """Units ended without a receipt: a local ending, a cancellation, a refusal."""
    return replace(standing, outstanding=max(0, standing.outstanding - units))


def vouched(standing: Standing, units: int, most: int) -> Standing:
    """Receipts of `units` units were acknowledged under a good voucher; the window may grow up to `most`."""
    state = released(standing, units)
    window, count = state.window, state.vouched + units
    while window < most and count >= window * (1 + state.defaults):
        count -= window * (1 + state.defaults)
        window = min(2 * window, most)
    return replace(state, window=window, vouched=count if window < most else 0)


def defaulted(standing: Standing, units: int) -> Standing:
    """Receipts of `units` units went unacknowledged past their time: the buyer starts again at one unit."""
    state = released(standing, units)
    return replace(state, window=1, vouched=0, defaults=state.defaults + 1)
