"""When a lane should run a copy of what another lane is slow with, and when that one is taken for gone. Pure.

A copy is work paid for twice, so one is made only when there is nothing else to hand out, and only of what is well past its time.
"""

from __future__ import annotations

from collections.abc import Mapping

from surge.buyer.cuts import Cut, Lane

SPECULATE_AFTER = 2.0
"""A unit this many times slower than expected gets a second copy, once there is nothing else to hand out."""

SPECULATE_SECONDS = 1.0
"""But never earlier than this: below it the copy costs more than it saves."""

UNPROVEN_SECONDS = 20.0
"""A lane that never finished a unit, and shows nothing for so long, is helped out by others."""

BACK_SECONDS = 3.0
"""A lane that came back copies nothing for so long: what kept it away may have kept the others, who bring what they have done."""

STALL_MARGIN = 15.0
"""Seconds past its wall-time limit after which a unit's lane is taken for gone."""


def silent(lanes: Mapping[str, Lane], cuts: Mapping[int, Cut], wall_seconds: float, now: float) -> set[str]:
    """Lanes that show nothing for longer than their units may take, those that were before them included."""
    tries = [(key, attempt) for cut in cuts.values() for key, attempt in cut.tries.items()]
    cores = {key: lane.cores for key, lane in lanes.items()}
    walls = [wall_seconds * (attempt.ahead // cores.get(key, 1) + 1) for key, attempt in tries]
    return {key for (key, attempt), wall in zip(tries, walls, strict=True) if now - attempt.started > wall + STALL_MARGIN}


def expected_seconds(lane: Lane, count: int, ahead: int, seconds: float | None) -> float | None:
    """Seconds that `count` items should take on a lane with `ahead` units before them; None while nothing was measured.

    Args:
        lane: the lane.
        count: items.
        ahead: units in flight on it before them.
        seconds: what an item takes on lanes in general, where this one was not measured.
    """
    each = lane.seconds or seconds
    return None if each is None else each * count * (ahead // lane.cores + 1) + lane.latency


def most_overdue(lane: Lane, lanes: Mapping[str, Lane], cuts: Mapping[int, Cut], seconds: float | None, now: float) -> Cut | None:
    """The cut most overdue elsewhere, if this lane has a core to spare for a copy of it; None if there is none."""
    if len(lane.running) >= lane.cores or now - lane.back_at < BACK_SECONDS:
        return None
    best: Cut | None = None
    worst = 0.0
    for cut in cuts.values():
        if len(cut.tries) != 1 or lane.key in cut.tries or lane.key in cut.avoid or not cut.takes(lane, lanes):
            continue
        ((key, attempt),) = cut.tries.items()
        age = now - attempt.started
        other = lanes.get(key)
        expected = attempt.expected or expected_seconds(lane, cut.count, attempt.ahead, seconds)
        unproven = other is None or other.done == 0
        if expected is not None:
            late = age - max(SPECULATE_AFTER * expected, SPECULATE_SECONDS)
        else:
            late = age - UNPROVEN_SECONDS if unproven else -1.0
        if late > worst:
            best, worst = cut, late
    return best
