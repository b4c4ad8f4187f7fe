"""What a device sees of its market: whether buyers find its offer, what others ask, and what it has to show for itself.

Boards say what anybody puts there: what is seen explains why work does not come, and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from surge.core.offers import Offer, SignedOffer
from surge.core.pricing import typical_amount
from surge.core.text import counted
from surge.errors import SurgeError
from surge.provider.journal import Journal

log = logging.getLogger("surge.provider")

LOOK_SECONDS = 900.0
"""Seconds between looks at the boards: reading them all is work for them too."""

ANSWER_SECONDS = 20.0
"""How long a look may take."""


class Board(Protocol):
    """What is asked of relays, as `surge.relay.client.Relays` answers it."""

    async def offers(self) -> list[SignedOffer]:
        """Every offer that the boards hold."""
        ...


class Rivals:
    """Looks at the market now and then. `bond` says what the operator stakes, and the network's least, in wei."""

    def __init__(self, boards: Board, journal: Journal, bond: Callable[[], Awaitable[tuple[int, int]]] | None = None) -> None:
        self.seen: dict[str, Any] | None = None
        """What was seen last, as plain data (see `compared`); None before."""
        self._boards = boards
        self._journal = journal
        self._bond = bond
        self._looked = float("-inf")

    async def look(self, own: Offer) -> None:
        """See how an offer stands among the others, if that was not looked at lately. What cannot be seen now is seen another time."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = [signed.offer for signed in await self._boards.offers()]
                bond, least = (None, 0) if self._bond is None else await self._bond()
        except (SurgeError, TimeoutError) as error:
            log.info("what others offer cannot be seen now: %s", error or "the relays do not answer")
            return
        rows = self._journal.channels(closed=True)
        paying = len({row.buyer for row in rows if row.amount})
        refused = sum(row.refused for row in rows)
        self.seen = {**compared(own, found), "bond": bond, "least_bond": least, "buyers": paying, "refused": refused}


def compared(own: Offer, found: Sequence[Offer]) -> dict[str, Any]:
    """An offer among those that the boards hold.

    `listed`: whether it is there itself; `others`: how many are; `cheaper`: how many of those ask less for a typical unit; `engine`: how
    many have its engine; `own`, `median`, `cheapest`: what it asks, what half of the others ask at most, and the least, in wei.
    """
    others = [each for each in found if each.device != own.device and set(each.services) & set(own.services)]
    asked = sorted(typical_amount(each.prices) for each in others)
    mine = typical_amount(own.prices)
    return {
        "listed": any(each.device == own.device for each in found),
        "others": len(others),
        "cheaper": sum(each < mine for each in asked),
        "own": mine,
        "median": asked[(len(asked) - 1) // 2] if asked else 0,
        "cheapest": asked[0] if asked else 0,
        "engine": sum(each.engine == own.engine for each in others),
    }


def short_bond(staked: int | None, least: int) -> str:
    """What a bond below the network's least costs its operator, and what mends it; empty where it is enough, or not known. Amounts in wei.

    >>> short_bond(4, 10).partition(":")[0]
    "its operator stakes 4 wei, and the network's least bond is 10 wei"
    >>> short_bond(10, 10), short_bond(None, 10), short_bond(0, 0)
    ('', '', '')
    """
    if staked is None or staked >= least:
        return ""
    return (
        f"its operator stakes {f'{staked} wei' if staked else 'nothing'}, and the network's least bond is {least} wei: it gets one unit at "
        f"a time, every result is checked, and its pay is kept until the bond is there; `surge stake`, with --data and the provider's "
        f"folder, puts in the {least - staked} wei that are missing"
    )


def reasons(seen: Mapping[str, Any]) -> list[str]:
    """Why buyers may not choose a device, from what was seen of its market, the gravest first."""
    found = []
    others = seen["others"]
    if not seen["listed"]:
        found.append("no board shows its offer to those who ask: buyers cannot find it")
    if seen["cheaper"]:
        ask = "asks" if seen["cheaper"] == 1 else "ask"
        found.append(
            f"of {counted(others, 'other offer')} {seen['cheaper']:,} {ask} less: it asks {seen['own']} wei for a typical unit, "
            f"half of them {seen['median']} wei or less, the cheapest {seen['cheapest']} wei"
        )
    if others and not seen["engine"]:
        found.append("nobody else has its engine, so nobody can check its results by running them again")
    if short := short_bond(seen["bond"], seen["least_bond"]):
        found.append(short)
    if not seen["buyers"]:
        found.append("nobody has paid it yet: every buyer takes it for a newcomer, and of a job's providers one in eight is")
    if seen["refused"]:
        found.append(f"{counted(seen['refused'], 'receipt')} of it were refused, which lowers its standing with those buyers")
    if not found and others:
        found.append(f"it asks no more than {counted(others, 'other')}: there may be no work now")
    elif not found:
        found.append("nobody else offers anything: there may be no work now")
    return found
