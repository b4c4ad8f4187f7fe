"""Deals as their owner or keeper sees them: what a holder pledges, and from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from surge.core.storage.pledges import MAX_PERIODS, Pledge
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.storage.journal import DealRow

FIRST_SECONDS: Final = 30
"""A pledge starts so long before it is asked for: the two clocks may differ, and the ledger's lags behind both."""

FOREVER: Final = 0
"""In place of the end of an object's term: for as long as its keeper goes on."""

LONGEST_SECONDS: Final = 10 * 366 * 86_400
"""The term of a deal for an object without one."""


@dataclass(frozen=True, slots=True)
class Term:
    """When the deals of an object begin and end. Unix seconds."""

    starts: int
    until: int
    """The first pledge's end."""
    ends: int
    penalty: int
    """Wei that each pledge puts at stake."""


def term(now: int, seconds: int, period: int, penalty: int) -> Term:
    """The term of what is put now for so many seconds, `FOREVER` if it has no end; `period` is the network's. Raises `InvalidInput`."""
    check_seconds(seconds, period)
    starts = now - FIRST_SECONDS
    ends = now + (seconds or LONGEST_SECONDS)
    return Term(starts, min(ends, now + first_pledge(period)), ends, penalty)


def first_pledge(period: int) -> int:
    """Seconds for which a holder pledges at first."""
    return MAX_PERIODS * period - FIRST_SECONDS


def check_seconds(seconds: int, period: int) -> None:
    """Raise `InvalidInput` for a time that nothing is kept for."""
    if seconds < 0:
        raise InvalidInput("things are kept for some time, not for less than none", seconds=seconds)
    if seconds > LONGEST_SECONDS:
        raise InvalidInput(
            f"{seconds / 86_400:g} days are too long: at most 10 years, or `forever` (0 days), as long as its keeper goes on",
            seconds=seconds,
            most=LONGEST_SECONDS,
        )
    if seconds and seconds < period:
        raise InvalidInput(
            f"things are kept on this network for {period:,} seconds at least, not for {seconds:,}", seconds=seconds, period=period
        )


def pledge_of(deal: DealRow, owner: Address, keeper: Address) -> Pledge:
    """What the holder of a deal signs."""
    return Pledge(
        *(deal.id, deal.device, deal.operator, owner, keeper, deal.root),
        *(deal.size, deal.starts, deal.until, deal.penalty),
    )
