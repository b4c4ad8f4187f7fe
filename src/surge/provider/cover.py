"""The cover of one buyer's work on this device: wei set aside for what runs, by the rules of `core.exposure`.

Whoever does work asks for a part of what is free before it begins, and gives it back when the receipt is issued or there is none. Who finds
too little waits in line for as long as work under way may leave some, or a voucher may come, and is refused when neither is so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from surge.core import exposure
from surge.core.exposure import Ask, Owed, Standing
from surge.provider.service import Refused

VOUCHER_SECONDS = 5.0
"""How long work waits for a voucher, while nothing of its buyer's runs: some round trips. Who checks results first asks again."""

WAIT_SECONDS = 30.0
"""How long it waits in all: a buyer takes a device that is silent for longer than its units may take for gone."""


@dataclass(slots=True, eq=False)
class Part:
    """What is set aside for one piece of work. See `Reserve`."""

    amount: int
    _cover: Cover
    _channel: bytes
    _stopped: Callable[[int], None]
    _is_held: bool = True

    def release(self) -> None:
        """See `Reserve`."""
        if self._is_held:
            self._is_held = False
            self._cover.give_back(self._channel, self.amount)

    def use_up(self) -> None:
        """See `Reserve`."""
        if self._is_held:
            self._is_held = False
            self._cover.stop(self._channel, self.amount)
            self._stopped(self.amount)

    def extend(self, amount: int) -> bool:
        """See `Reserve`."""
        more = amount - self.amount
        if more <= 0:
            return True
        if not self._is_held or more > self._cover.free(self._channel):
            return False
        self._cover.set_aside(self._channel, more)
        self.amount = amount
        return True

    def lacks(self, ask: Ask, fuel: int) -> Refused:
        """See `Reserve`."""
        return lacking(self._cover.channels, self._channel, self._cover.free(self._channel), ask, fuel)


@dataclass(slots=True)
class Cover:
    """See the module. `standing` is the buyer's now; `channels` what is owed on each that is not settled."""

    standing: Callable[[], Standing]
    channels: dict[bytes, Owed] = field(default_factory=dict)
    _awaited: set[bytes] = field(default_factory=set)
    """Channels with receipts that are not late yet."""
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def free(self, channel: bytes) -> int:
        """Wei that more work on a channel may come to."""
        return exposure.cover(self.standing(), self.channels.values(), self.channels.get(channel, Owed()))

    def owes(self, channel: bytes, *, floor: int, vouched: int, unpaid: int, awaited: bool) -> None:
        """How a channel stands. `awaited`: whether a voucher may come for some of what is unpaid."""
        known = self.channels.get(channel, Owed())
        self.channels[channel] = replace(known, floor=floor, vouched=vouched, unpaid=unpaid)
        (self._awaited.add if awaited else self._awaited.discard)(channel)
        self._changed.set()

    def late(self, channel: bytes) -> None:
        """Nobody waits for vouchers on this channel any more."""
        self._awaited.discard(channel)
        self._changed.set()

    def set_aside(self, channel: bytes, amount: int) -> None:
        """Work begins that comes to so much at most."""
        known = self.channels.get(channel, Owed())
        self.channels[channel] = replace(known, reserved=known.reserved + amount)

    def give_back(self, channel: bytes, amount: int) -> None:
        """It ended; its receipt, if there is one, is counted already."""
        self.set_aside(channel, -amount)
        self._changed.set()

    def stop(self, channel: bytes, amount: int) -> None:
        """It was stopped where that was used up."""
        self.channels[channel] = exposure.stopped(self.channels[channel], amount)
        self._changed.set()

    async def reserve(self, channel: bytes, ask: Ask, units: int, stopped: Callable[[int], None]) -> Part:
        """Set a part of what is free aside, for work of which `units` may run at once. Raises `Refused`.

        1. Who came before is served first.
        2. What is free is divided by `exposure.part`.
        3. While that is too little and may grow, it is waited for; when it does not grow by itself, the buyer hears what is lacking.
        """
        began = time.monotonic()
        # 1
        async with self._line:
            while True:
                # 2
                self._changed.clear()
                floor, free = self.channels.get(channel, Owed()).floor, self.free(channel)
                runs = any(each.reserved for each in self.channels.values())
                waited = time.monotonic() - began
                until = WAIT_SECONDS if runs else VOUCHER_SECONDS
                may_grow = (runs or bool(self._awaited)) and waited < until
                amount = exposure.part(free, ask, units=units, floor=floor, more_may_come=may_grow)
                if amount is not None:
                    self.set_aside(channel, amount)
                    return Part(amount, self, channel, stopped)
                # 3
                if runs and not may_grow:
                    raise Refused("window", "what you are trusted with is set aside for units under way: ask again when they are answered")
                if not may_grow:
                    raise lacking(self.channels, channel, free, ask)
                try:
                    async with asyncio.timeout(until - waited):
                        await self._changed.wait()
                except TimeoutError:
                    continue


def lacking(channels: Mapping[bytes, Owed], channel: bytes, free: int, ask: Ask, fuel: int = 0) -> Refused:
    """The refusal of work that is not covered, with the figures; `fuel` is where it was stopped, 0 if it did not begin."""
    known = channels.get(channel, Owed())
    done = f"it was stopped at {fuel} fuel" if fuel else f"it comes to {ask.least} wei at least, {ask.limit} at its limit"
    text = (
        f"what this device is certain to get for work of yours covers {free} wei more, and {done}: acknowledge what you were given, "
        f"or raise the channel's floor, which is {known.floor} wei"
    )
    return Refused("cover", text, covered=free, floor=known.floor, fuel=fuel)
