"""Channels that the ledger would not pay for now: why, and when to ask again. One of them holds up no other."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE = 30.0
"""Seconds before a channel that was set aside is tried again."""

LAST_PAUSE = 900.0
"""Seconds that the pause grows to, doubling: a fraction of the challenge periods that providers ask for."""


@dataclass(frozen=True, slots=True)
class _Entry:
    why: str
    tried: tuple[int, ...]
    pause: float
    until: float


class SetAside:
    """See the module. What was tried is told as numbers: when those change, a channel is worth a try at once."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}

    @property
    def reasons(self) -> dict[bytes, str]:
        """Why, by channel."""
        return {channel: entry.why for channel, entry in self._entries.items()}

    def put(self, channel: bytes, tried: tuple[int, ...], why: str, now: float) -> None:
        """Set a channel aside, for longer each time that the same was tried in vain."""
        before = self._entries.get(channel)
        pause = FIRST_PAUSE if before is None or before.tried != tried else min(2 * before.pause, LAST_PAUSE)
        self._entries[channel] = _Entry(why, tried, pause, now + pause)

    def waits(self, channel: bytes, tried: tuple[int, ...], now: float) -> bool:
        """Whether trying this again is still too early."""
        entry = self._entries.get(channel)
        return entry is not None and entry.tried == tried and now < entry.until

    def drop(self, channel: bytes) -> None:
        """A channel is well."""
        self._entries.pop(channel, None)

    def keep_only(self, channels: set[bytes]) -> None:
        """Forget channels that are not among these: they are closed."""
        self._entries = {channel: entry for channel, entry in self._entries.items() if channel in channels}
