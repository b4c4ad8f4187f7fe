"""When a device lends: its hours, whether it is plugged in, whether somebody else uses it.

The rule is pure; what the machine says comes through `Host`.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import psutil

from surge.errors import InvalidInput
from surge.provider.config import ProviderConfig

IDLE_SHARE = 0.2
"""Of all processor time: what others may use while the device still counts as idle."""

SUPPLIES = Path("/sys/class/power_supply")
"""Where Linux tells what feeds the machine."""

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine says of itself now."""

    minute: int
    """Of the local day: 0 to 1439."""
    on_battery: bool
    """False where there is no battery."""
    others: float
    """Share of all processor time that processes other than ours used lately: 0 to 1."""


class Host(Protocol):
    """Asks the machine."""

    def look(self) -> Machine:
        """How it stands now."""
        ...


def parse_hours(text: str) -> tuple[int, int] | None:
    """(first minute, minute after the last) of the day in `22:00-06:00`; None for the empty text. Raises `InvalidInput`."""
    if not text:
        return None
    match = _HOURS.match(text)
    if match is None:
        raise InvalidInput(f"hours are written like 22:00-06:00, not {text!r}", hours=text)
    begin_hour, begin_minute, end_hour, end_minute = map(int, match.groups())
    return begin_hour * 60 + begin_minute, end_hour * 60 + end_minute


def within(minute: int, hours: tuple[int, int]) -> bool:
    """Whether a minute of the day lies in the hours, which may pass midnight; equal ends mean the whole day.

    >>> within(23 * 60, (22 * 60, 6 * 60)), within(12 * 60, (22 * 60, 6 * 60))
    (True, False)
    """
    begin, end = hours
    if begin == end:
        return True
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def unavailable(machine: Machine, config: ProviderConfig) -> str:
    """Why the device does not lend now; empty when it does. Pure."""
    if not config.lends:
        return "it does juror duty and nothing else"
    hours = parse_hours(config.hours)
    if hours is not None and not within(machine.minute, hours):
        return f"it lends from {config.hours.replace('-', ' to ')}"
    if config.on_mains and machine.on_battery:
        return "it is on battery"
    if config.when_idle and machine.others > IDLE_SHARE:
        return f"its owner uses it: other programs take more than {IDLE_SHARE:.0%} of the processor"
    return ""


def runs_on_battery(supplies: Path = SUPPLIES) -> bool:
    """Whether the machine draws on a battery: it has one of its own, and nothing that is plugged in gives power.

    `supplies` is laid out as Linux's /sys/class/power_supply (Documentation/ABI/testing/sysfs-class-power). The batteries of mice and the
    like (`scope` Device) do not count. A battery that discharges while no mains adapter is listed, as where USB-C alone feeds the machine,
    says by that that nothing is plugged in.
    """
    if not supplies.is_dir():
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        return battery is not None and battery.power_plugged is False
    batteries, mains = [], []
    for supply in sorted(supplies.iterdir()):
        if _said(supply, "type") in ("Battery", "UPS"):
            if _said(supply, "scope") != "Device":
                batteries.append(_said(supply, "status"))
        elif _said(supply, "online"):
            if _said(supply, "online") != "0":
                return False
            mains.append(_said(supply, "type") == "Mains")
    return "Discharging" in batteries or (bool(batteries) and any(mains))


def _said(supply: Path, name: str) -> str:
    """An attribute of a power supply; empty where it has none, or is unplugged just now."""
    try:
        return (supply / name).read_text().strip()
    except OSError:
        return ""


class LocalHost:
    """The machine we are on. The processor's use by others is what all use, less this process and its children, since the last look."""

    def __init__(self, supplies: Path = SUPPLIES) -> None:
        self._supplies = supplies
        self._process = psutil.Process()
        self._last: tuple[float, float, float] | None = None
        self._others = 0.0

    def look(self) -> Machine:
        """See `Host`."""
        now = datetime.now()
        self._measure()
        return Machine(now.hour * 60 + now.minute, runs_on_battery(self._supplies), self._others)

    def _measure(self) -> None:
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        ours = self._ours()
        now = time.monotonic()
        if self._last is not None and now - self._last[0] > 0.5:
            span = (now - self._last[0]) * (os.cpu_count() or 1)
            self._others = min(1.0, max(0.0, (busy - self._last[1]) - max(0.0, ours - self._last[2])) / span)
        if self._last is None or now - self._last[0] > 0.5:
            self._last = (now, busy, ours)

    def _ours(self) -> float:
        used = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used += times.user + times.system
        return used
