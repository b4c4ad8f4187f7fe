"""What a device lends, for how much, and on which conditions. The defaults of every price and bound are here."""

from __future__ import annotations

from dataclasses import dataclass, field

from surge.core.economics import FOUNDING
from surge.core.offers import MAX_WINDOW
from surge.core.pricing import Prices
from surge.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices without the device's speed, which is measured. One SURGE is 10**18 wei.

    The defaults put an hour of one core of a small computer (about 1 gigafuel a second) at 3.6 SURGE, and everything else where
    it matters only to those who use much of it.
    """

    gigafuel: int = FOUNDING.gigafuel
    """Wei for 10^9 fuel: 0.001 SURGE."""
    memory: int = FOUNDING.memory
    """Wei for a gigabyte of reserved memory over a second: a thousandth of a core."""
    transfer: int = FOUNDING.transfer
    """Wei for 10^9 bytes moved: 0.001 SURGE."""
    compile: int = FOUNDING.compile
    """Wei for 10^6 bytes of module compiled: a megabyte takes about 2 s of a core."""

    def prices(self, speed: int) -> Prices:
        """Prices of a device that runs `speed` fuel a second."""
        return Prices(self.gigafuel, self.memory, self.transfer, self.compile, speed)


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """What a provider lends and how it behaves."""

    lends: bool = True
    """Whether it lends at all; a device may also do juror duty and nothing else."""
    cores: int = 1
    """Units that run at once."""
    memory: int = 2 << 30
    """Bytes that units may reserve together."""
    rates: Rates = field(default_factory=Rates)
    """What things cost."""
    region: str = ""
    """Where the device says it is."""
    milliwatts: int = 0
    """Power the device says it draws at work."""
    when_idle: bool = False
    """Lend only while nobody else uses the device's processor."""
    on_mains: bool = False
    """Lend only while it is plugged in."""
    hours: str = ""
    """Lend only at these local times, such as `22:00-06:00`; empty for always."""
    window: int = 1
    """Units in flight or unvouched for a buyer nobody knows: what one default costs."""
    window_max: int = 256
    """Units that a window grows to: enough for a thousand small units a second at a quarter of a second's round trip."""
    opening: int = 10**16
    """Wei: the least floor of a channel, 0.01 SURGE, about ten gigafuel: more than a window of one usual unit."""
    retainer: int = 0
    """Wei for a core kept free over an hour; 0 where none are."""
    audit_seconds: int = 300
    """A receipt unacknowledged for longer counts as refused and costs the buyer its window."""
    offline_seconds: int = 3600
    """The device may be away this long: a channel's challenge period is no shorter."""
    disk: int = 8 << 30
    """Bytes of buyers' contents kept."""
    max_content: int = 1 << 30
    """Bytes of one content."""
    upload_window: int = 1 << 30
    """Bytes of uploads per channel that may be unvouched."""
    requote_percent: int = 150
    """A job whose fuel takes this many percent of the stated time is quoted a new price; 0 for never."""
    gas_factor: int = 20
    """A voucher is redeemed when it pays this many times the gas that redeeming costs."""
    tokens_per_coin: int = 1
    """SURGE that one of the chain's own coins is worth, to compare pay with gas."""
    earnings_seconds: float = 10.0
    """Seconds between looks at channels on the ledger."""
    drain_seconds: float = 30.0
    """Seconds that units in flight get to finish when the provider stops."""
    max_sessions: int = 64
    """Buyers connected at once."""
    listen: str = ""
    """Address and port where direct connections are taken; port 0 for any. Empty for none: then only relays lead here."""
    announce: str = ""
    """Where others reach that, address and port; a name is looked up for every offer. Empty for where it listens."""

    def __post_init__(self) -> None:
        if not 1 <= self.window <= self.window_max <= MAX_WINDOW:
            raise InvalidInput(f"windows grow from at least 1 to at most {MAX_WINDOW}", window=self.window, most=self.window_max)
        if self.requote_percent and self.requote_percent <= 100:
            raise InvalidInput("a new price is quoted for slower than stated: more than 100 percent, or 0 for never")
        for name in ("cores", "memory", "audit_seconds", "offline_seconds", "disk", "max_content", "upload_window", "max_sessions"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is at least 1", value=getattr(self, name))
