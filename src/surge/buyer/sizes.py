"""How large a unit should be, and how many of them a lane should have. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from surge.buyer.cuts import Lane

AIM_SECONDS = 0.5
"""What one unit should take: long against the cost of handing it out, short against a user's patience."""

RAMP = 8
"""A unit is at most so many times larger than the largest that finished: one wrong guess costs little."""

MAX_ITEMS = 65_536
"""Items in one unit."""

MAX_UNIT_BYTES = 4 << 20
"""Bytes of input that a unit of several items should stay below."""

DEPTH = 2
"""Units in flight per core: one runs while the next is on its way."""

PIPELINE_SECONDS = 0.2
"""Units of a fixed size that take less than a round trip are sent ahead, until a lane has so many seconds of them per core."""

MAX_DEPTH = 128
"""Units in flight per core, however short they are."""

DOUBT = 16
"""A device that says it took less than a sixteenth of the time we waited for it is not believed."""

LEAST_SECONDS = 1e-6
"""No unit takes less."""


def believed_seconds(said: float, elapsed: float, ahead: int) -> float:
    """What a unit is taken to have cost a device that says `said`, when `elapsed` seconds passed with `ahead` units before it."""
    return max(min(said, elapsed), elapsed / (DOUBT * (ahead + 1)), LEAST_SECONDS)


def depth_of(lane: Lane, chunk: int) -> int:
    """Units that may be in flight on a lane; `chunk` is their size in items, 0 where that is free."""
    if not chunk or not lane.unit_seconds:
        return DEPTH * lane.cores
    ahead = math.ceil(PIPELINE_SECONDS / lane.unit_seconds)
    return min(max(ahead, DEPTH), MAX_DEPTH) * lane.cores


def size_of(
    lane: Lane, left: float, lanes: Mapping[str, Lane], *, aim: float, seconds: float | None, largest: int, bytes_per_item: float
) -> int:
    """Items of the next fresh cut on a lane.

    Args:
        lane: the lane.
        left: items that are in no cut; infinite where that is not known.
        lanes: all of them.
        aim: seconds that a unit should take.
        seconds: what an item takes on lanes in general; None while none was measured.
        largest: items in the largest cut that finished.
        bytes_per_item: bytes of input of an item.
    """
    seconds = lane.seconds or seconds
    if seconds is None:
        return 1
    size = min(aim / seconds, RAMP * max(largest, 1), MAX_ITEMS, lane.most)
    if bytes_per_item:
        size = min(size, MAX_UNIT_BYTES / bytes_per_item)
    if left != math.inf:
        mine = lane.cores / seconds
        speed = sum(other.cores / (other.seconds or seconds) for other in lanes.values() if other.ready)
        fair = left * mine / max(speed, mine) / lane.cores / DEPTH
        size = min(size, max(fair, aim / 8 / seconds))
    return int(min(max(1, math.ceil(size)), left))
