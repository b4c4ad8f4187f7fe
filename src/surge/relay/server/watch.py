"""Who sends too much. A token bucket per connection, fed with the counters nats-server keeps. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from surge.relay.server.config import RelayLimits

GRACE = 1.25
"""Clients pace themselves to the limits they are told; counters are read late by up to a second or two."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What one connection has sent since it opened."""

    connection: int
    messages: int
    size: int
    """Bytes."""
    delivered: int = 0
    """Bytes that it was sent."""

    @property
    def carried(self) -> int:
        """Bytes that crossed it, either way."""
        return self.size + self.delivered


@dataclass(slots=True)
class _Bucket:
    counters: Counters
    messages: float
    size: float
    seen: float


class RateWatch:
    """Finds the connections that send more than the limits allow."""

    def __init__(self, limits: RelayLimits, now: float) -> None:
        self._messages = limits.messages_per_second * GRACE
        self._size = limits.bytes_per_second * GRACE
        self._burst = limits.burst_seconds
        self._looked = now
        self._buckets: dict[int, _Bucket] = {}

    def observe(self, readings: Iterable[Counters], now: float) -> list[int]:
        """The connections over their limits, given all open connections' counters at `now` (monotonic seconds)."""
        buckets: dict[int, _Bucket] = {}
        offenders = []
        for reading in readings:
            bucket = self._buckets.get(reading.connection)
            if bucket is None:
                zero = Counters(reading.connection, 0, 0)
                # It opened since the last look.
                bucket = _Bucket(zero, self._messages * self._burst, self._size * self._burst, self._looked)
            passed = max(0.0, now - bucket.seen)
            sent_messages = reading.messages - bucket.counters.messages
            sent_size = reading.size - bucket.counters.size
            messages = bucket.messages + passed * self._messages - sent_messages
            size = bucket.size + passed * self._size - sent_size
            if messages < 0 or size < 0:
                offenders.append(reading.connection)
            messages, size = min(messages, self._messages * self._burst), min(size, self._size * self._burst)
            buckets[reading.connection] = _Bucket(reading, messages, size, now)
        self._buckets, self._looked = buckets, now
        return offenders
