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
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise InvalidInput(f"{seconds} seconds are no time to keep something for: at most {LONGEST_SECONDS}", seconds=seconds)
    if seconds and seconds < period:
        raise InvalidInput(f"things are kept on this network for {period} seconds at least, not {seconds}", seconds=seconds, period=period)
    starts = now - FIRST_SECONDS
    ends = now + (seconds or LONGEST_SECONDS)
    return Term(starts, min(ends, now + MAX_PERIODS * period - FIRST_SECONDS), ends, penalty)


def pledge_of(deal: DealRow, owner: Address, keeper: Address) -> Pledge:
    """What the holder of a deal signs."""
    return Pledge(
        *(deal.id, deal.device, deal.operator, owner, keeper, deal.root),
        *(deal.size, deal.starts, deal.until, deal.penalty),
    )
