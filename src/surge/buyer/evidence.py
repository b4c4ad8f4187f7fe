"""What a buyer has seen of devices: results accepted of each, checks passed and failed. It outlives jobs, and fades."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from surge.buyer.journal import Journal
from surge.core.credibility import CAUGHT_DOUBT, DOUBT, OWN_DOUBT, audit_chance, checks_needed, decayed, wrong_bound

SAVE_EVERY = 64
"""Units accepted of a device after which its count goes to disk: what a kill loses makes it checked more often, never less."""


@dataclass(slots=True)
class Seen:
    """What was seen of one device."""

    operator: str
    units: float = 0.0
    """Results accepted, decayed."""
    passed: float = 0.0
    """Results that were checked and right, decayed."""
    failed: float = 0.0
    """Results that were wrong."""
    updated: float = 0.0
    """Unix seconds of the latest."""
    unsaved: int = 0


class Evidence:
    """Of all devices. `own` are operators whose keys are on this machine."""

    def __init__(self, journal: Journal, own: Collection[str] = ()) -> None:
        self._journal = journal
        self._own = frozenset(own)
        self._seen: dict[str, Seen] = {}
        self._caught: set[str] = set()

    async def load(self) -> None:
        """Read what the journal has."""
        rows = await self._journal.read("SELECT device, operator, units, passed, failed, updated FROM evidence")
        now = time.time()
        for device, operator, units, passed, failed, updated in rows:
            age = now - updated
            self._seen[device] = Seen(operator, decayed(units, age), decayed(passed, age), failed, now)
            if failed:
                self._caught.add(operator)

    def of(self, device: str, operator: str) -> Seen:
        """What was seen of a device."""
        return self._seen.setdefault(device, Seen(operator))

    def doubt(self, device: str, operator: str) -> float:
        """The probability that a device is a cheat, before what it showed itself is weighed."""
        if operator in self._caught or self.of(device, operator).failed:
            return CAUGHT_DOUBT
        return OWN_DOUBT if operator in self._own else DOUBT

    def is_caught(self, device: str) -> bool:
        """Whether a device, or another of its operator, gave a wrong result."""
        seen = self._seen.get(device)
        return seen is not None and (seen.failed > 0 or seen.operator in self._caught)

    def chance(self, device: str, operator: str, certainty: float) -> float:
        """The chance with which the next result of a device is checked, for a job that asks for this certainty."""
        seen = self.of(device, operator)
        return audit_chance(seen.units, seen.passed, checks_needed(certainty, self.doubt(device, operator)))

    def wrong(self, device: str, operator: str) -> float:
        """The highest probability that a result of a device is wrong."""
        return wrong_bound(self.of(device, operator).passed, self.doubt(device, operator))

    def accepted(self, device: str, operator: str, *, checked: bool) -> None:
        """A result was taken for right; `checked` tells whether it was seen to be."""
        seen = self.of(device, operator)
        seen.units += 1
        seen.passed += checked
        seen.unsaved += 1
        if checked or seen.unsaved >= SAVE_EVERY:
            self._save(device, seen)

    def failed(self, device: str, operator: str) -> None:
        """A result was wrong: nothing that the device showed before counts any more."""
        seen = self.of(device, operator)
        seen.units = seen.passed = 0.0
        seen.failed += 1
        self._caught.add(operator)
        self._save(device, seen)

    def save(self) -> None:
        """Write what is not on disk yet."""
        for device, seen in self._seen.items():
            if seen.unsaved:
                self._save(device, seen)

    def _save(self, device: str, seen: Seen) -> None:
        seen.unsaved, seen.updated = 0, time.time()
        self._journal.evidence_soon(device, seen.operator, seen.units, seen.passed, seen.failed, seen.updated)
