"""What this buyer saw of each device, out of its journal: receipts, what `watch` wrote down, and audits."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from surge.buyer.audits import WRONG
from surge.buyer.journal import Journal
from surge.buyer.watch import ASKED, AWAY, BROKE, DAY, FUEL, LOCAL, SECONDS
from surge.core.receipts import ReceiptKind
from surge.core.standing import HALF_LIFE, Count, Experience

HORIZON = 12 * HALF_LIFE
"""Seconds back to which is looked: what was before weighs nothing worth counting. What was found wrong is remembered for ever."""

MEASURED_SECONDS = 10.0
"""Seconds of a core after which a device's speed counts as measured."""

_RECEIPTS = (
    "SELECT device, accepted, finished / 86400, count(*) FROM receipts INDEXED BY receipts_counted JOIN channels ON channels.id = channel "
    "WHERE kind = ? AND finished > ? GROUP BY channel, accepted, finished / 86400"
)
_REFUSED = (
    "SELECT device, finished / 86400, count(*) FROM receipts INDEXED BY receipts_counted JOIN channels ON channels.id = channel "
    "WHERE kind != ? AND NOT accepted AND finished > ? GROUP BY channel, finished / 86400"
)


@dataclass(frozen=True, slots=True)
class Audits:
    """What audits of one device found."""

    passed: tuple[Count, ...] = ()
    """Units run again and found right."""
    caught: tuple[Count, ...] = ()
    """Units run again and found wrong."""


async def audits(journal: Journal) -> Mapping[str, Audits]:
    """What audits found, by device: those that passed as far back as they count, and all that did not."""
    passed: dict[str, list[Count]] = defaultdict(list)
    caught: dict[str, list[Count]] = defaultdict(list)
    since = time.time() - HORIZON
    query = (
        "SELECT device, verdict, CAST(time / 86400 AS INTEGER), count(*) FROM audits WHERE verdict = 'wrong' "
        "OR (verdict = 'right' AND time > ?) GROUP BY device, verdict, CAST(time / 86400 AS INTEGER)"
    )
    for device, verdict, day, count in await journal.read(query, (since,)):
        (caught if verdict == WRONG else passed)[device].append((day * DAY + DAY / 2, count))
    return {device: Audits(tuple(passed[device]), tuple(caught[device])) for device in {*passed, *caught}}


@dataclass(slots=True)
class _Gathered:
    counts: dict[str, list[Count]] = field(default_factory=lambda: defaultdict(list))

    def add(self, what: str, day: int, count: float) -> None:
        self.counts[what].append((day * DAY + DAY / 2, count))

    def of(self, what: str) -> tuple[Count, ...]:
        return tuple(self.counts.get(what, ()))


async def experiences(journal: Journal, now: float) -> dict[str, Experience]:
    """What was seen of every device that anything was seen of, at `now`, Unix seconds."""
    since = int(now - HORIZON)
    found: dict[str, _Gathered] = defaultdict(_Gathered)
    for device, accepted, day, count in await journal.read(_RECEIPTS, (ReceiptKind.UNIT, since)):
        found[device].add("accepted" if accepted else "unsigned", day, count)
    for device, day, count in await journal.read(_REFUSED, (ReceiptKind.UNIT, since)):
        found[device].add("unsigned", day, count)
    for device, day, what, count in await journal.read("SELECT device, day, what, count FROM seen WHERE day > ?", (since // DAY,)):
        found[device].add(what, day, count)
    audited = await audits(journal)
    return {device: _experience(found[device], audited.get(device, Audits())) for device in {*found, *audited}}


def _experience(seen: _Gathered, audited: Audits) -> Experience:
    seconds, fuel = (sum(count for _, count in seen.of(what)) for what in (SECONDS, FUEL))
    return Experience(
        accepted=seen.of("accepted"),
        passed=audited.passed,
        caught=audited.caught,
        unsigned=seen.of("unsigned"),
        local=seen.of(LOCAL),
        away=seen.of(AWAY),
        broke=seen.of(BROKE),
        asked=seen.of(ASKED),
        speed=fuel / seconds if seconds >= MEASURED_SECONDS else None,
    )
