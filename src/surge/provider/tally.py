"""What the provider did since it started, for whoever asks why it earns what it earns."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from surge.core.receipts import ReceiptKind
from surge.core.types import GIGA
from surge.provider.service import Claim


@dataclass(slots=True)
class Tally:
    """Counts since the start."""

    started_at: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""
    units: int = 0
    setups: int = 0
    compiled: int = 0
    fuel: int = 0
    moved: int = 0
    """Bytes of contents taken in."""
    carried: int = 0
    """Bytes carried for others, as billed."""
    held: int = 0
    """Seconds for which cores were kept free, as billed."""
    stored: int = 0
    """Bytes kept over an hour each, as billed."""
    dropped: int = 0
    """Bytes of shards dropped because their keepers said so."""
    billed: int = 0
    """Wei on receipts issued."""
    calls: int = 0
    sessions: int = 0
    defaults: int = 0
    """Receipts that were never answered."""
    last_call: int = 0
    """Unix seconds; 0 for never."""
    refusals: Counter[str] = field(default_factory=Counter)
    """By code."""
    reasons: dict[str, str] = field(default_factory=dict)
    """The last refusal's text, by code."""

    def did(self, claim: Claim) -> None:
        """Work was done."""
        self.billed += claim.amount
        if claim.kind == ReceiptKind.UNIT:
            self.units += 1
            self.fuel += claim.quantity
        elif claim.kind == ReceiptKind.SETUP:
            self.setups += 1
            self.fuel += claim.quantity
        elif claim.kind == ReceiptKind.TRANSFER:
            self.moved += claim.quantity
        elif claim.kind == ReceiptKind.COMPILE:
            self.compiled += 1
        elif claim.kind == ReceiptKind.RELAY:
            self.carried += claim.quantity
        elif claim.kind == ReceiptKind.RETAINER:
            self.held += claim.quantity
        elif claim.kind == ReceiptKind.STORAGE:
            self.stored += claim.quantity
        elif claim.kind == ReceiptKind.DROPPED:
            self.dropped += claim.quantity

    def called(self) -> None:
        """A buyer called."""
        self.calls += 1
        self.last_call = int(time.time())

    def refused(self, code: str, text: str) -> None:
        """A call was refused."""
        self.refusals[code] += 1
        self.reasons[code] = text

    def show(self) -> dict[str, Any]:
        """The counts as plain data."""
        return {
            "since": self.started_at,
            "units": self.units,
            "setups": self.setups,
            "compiled": self.compiled,
            "gigafuel": self.fuel / GIGA,
            "moved": self.moved,
            "carried": self.carried,
            "held": self.held,
            "stored": self.stored,
            "dropped": self.dropped,
            "billed": self.billed,
            "calls": self.calls,
            "sessions": self.sessions,
            "defaults": self.defaults,
            "last_call": self.last_call,
            "refused": {code: {"count": count, "last": self.reasons[code]} for code, count in self.refusals.items()},
        }
