"""Whose devices are whose: what the registry says of those that offer work, asked sparingly.

Anybody can put made-up offers on a board. Each costs one question to the ledger a minute at most, so many at once, for so long at a
time; a question that fails costs its own offer only.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from surge.core.offers import Offer, SignedOffer
from surge.core.types import Address
from surge.errors import SurgeError

log = logging.getLogger("surge.buyer")

AT_ONCE = 8
"""Questions to the ledger at the same time."""

LOOK_SECONDS = 10.0
"""How long one look at the offers asks the ledger; the rest is asked at the next."""

DENIED_SECONDS = 60.0
"""How long a "no" is believed: a device may be registered meanwhile."""

MAX_KEPT = 1 << 16
"""Answers kept of each kind, so that strangers do not fill the memory: more than any board holds."""

Claim = tuple[Address, Address]
"""A device, and the operator that its offer names."""


Answer = TypeVar("Answer")


class Registry(Protocol):
    """What is asked of the ledger, as `surge.ledger.Ledger` answers it."""

    async def operator_of(self, device: Address) -> Address | None:
        """The operator a device works for, or None."""
        ...


class Operators:
    """What the registry said so far."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._confirmed: dict[Claim, None] = {}
        self._denied: dict[Claim, float] = {}
        """When, by the monotonic clock. Apart from what was confirmed, which made-up offers push out of nothing."""
        self._looking = asyncio.Lock()
        """Looks at the same time would ask the same."""

    async def confirmed(self, found: Sequence[SignedOffer]) -> list[SignedOffer]:
        """Those of the offers whose operators the registry confirms. Raises what the ledger did if it confirms none for that."""
        claims = [_claim(signed.offer) for signed in found]
        failures: list[SurgeError] = []
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._looking:
                await self._look(claims, failures)
        except TimeoutError:
            log.info("the registry could not be asked about all offers in time; the others are asked about later")
        chosen = [signed for signed, claim in zip(found, claims, strict=True) if claim in self._confirmed]
        if failures:
            log.info("the registry could not be asked about %d offers: %s", len(failures), failures[0])
            if not chosen:
                raise failures[0]
        return chosen

    async def _look(self, claims: Iterable[Claim], failures: list[SurgeError]) -> None:
        # Those never asked for come first: made-up ones whose time is over do not keep them waiting.
        unknown = sorted({claim: None for claim in claims if not self._is_known(claim)}, key=self._denied.__contains__)
        waiting = iter(unknown)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(unknown))):
                    group.create_task(self._ask(waiting, failures))
        finally:
            denied = [claim for claim in unknown if claim in self._denied]
            if denied:
                log.warning("%d devices offer work for operators that did not register them, such as %s", len(denied), denied[0][0])

    def _is_known(self, claim: Claim) -> bool:
        return claim in self._confirmed or time.monotonic() - self._denied.get(claim, -math.inf) < DENIED_SECONDS

    async def _ask(self, waiting: Iterator[Claim], failures: list[SurgeError]) -> None:
        for claim in waiting:
            device, operator = claim
            try:
                yes = await self._registry.operator_of(device) == operator
            except SurgeError as error:
                failures.append(error)
                continue
            self._denied.pop(claim, None)
            if yes:
                _keep(self._confirmed, claim, None)
            else:
                _keep(self._denied, claim, time.monotonic())


def _claim(offer: Offer) -> Claim:
    return offer.device, offer.operator


def _keep(kept: dict[Claim, Answer], claim: Claim, answer: Answer) -> None:
    kept[claim] = answer
    if len(kept) > MAX_KEPT:
        del kept[next(iter(kept))]
