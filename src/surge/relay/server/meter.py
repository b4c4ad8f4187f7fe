"""What was carried for each address: the sum of its connections' counters, which nats-server keeps. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from surge.core.types import Address
from surge.relay.server.watch import Counters

MAX_SERVED = 1 << 16
"""Devices remembered as served: more than any relay has connections."""


class Meter:
    """Bytes by address. Only addresses that are `serve`d are asked to pay: devices, which answer callers, not those who call."""

    def __init__(self) -> None:
        self._counted: dict[int, tuple[Address, int]] = {}
        self._carried: dict[Address, int] = {}
        self._served: dict[Address, None] = {}

    def serve(self, address: Address) -> None:
        """Sessions go to this address from now on."""
        self._served[address] = None
        if len(self._served) > MAX_SERVED:
            del self._served[next(iter(self._served))]

    def observe(self, readings: Iterable[Counters], whose: Mapping[int, Address]) -> None:
        """All open connections' counters, and to whom they belong."""
        for reading in readings:
            owner = whose.get(reading.connection)
            if owner is not None:
                self._count(owner, reading)

    def ended(self, last: Counters, whose: Address | None) -> None:
        """A connection has ended, with these counters."""
        owner, _ = self._counted.get(last.connection, (whose, 0))
        if owner is not None:
            self._count(owner, last)
        self._counted.pop(last.connection, None)

    def restarted(self) -> None:
        """nats-server began again, and with it the numbers of connections."""
        self._counted.clear()

    def _count(self, owner: Address, reading: Counters) -> None:
        _, before = self._counted.get(reading.connection, (owner, 0))
        self._counted[reading.connection] = owner, max(before, reading.carried)
        self._carried[owner] = self._carried.get(owner, 0) + max(0, reading.carried - before)

    def take(self, logged_in: Iterable[Address]) -> dict[Address, int]:
        """Bytes carried for each device that is served, since the last time. Callers that have left are forgotten."""
        here = {*logged_in, *(owner for owner, _ in self._counted.values())}
        taken = {address: size for address, size in self._carried.items() if address in self._served}
        self._carried = {address: size for address, size in self._carried.items() if address in here and address not in taken}
        return taken
