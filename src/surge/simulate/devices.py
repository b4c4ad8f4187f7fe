"""Who may provide: classes of devices, what an hour of their work costs, and a population drawn from them.

Costs are those of work beyond what the device would do anyway: the power above idle, the wear, and what its owner would rather have. The
figures' sources are in `sources`; what has none is named as assumed there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
"""A NumPy array: of floats or ints, with one element for each agent unless said otherwise."""


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """A kind of device. Spreads around these medians are in `population`."""

    name: str
    """What it is called."""
    share: float
    """The fraction of the population."""
    cores: int
    """Cores that it lends."""
    speed: float
    """Gigafuel a second of one core, all of them at work."""
    watts: float
    """Power at work, above idle."""
    hours: float
    """Hours a day that it is lent."""
    electricity: float
    """US dollars for a kilowatt-hour."""
    wear: float
    """US dollars for an hour of work: battery, fans, the machine itself where it was bought for this."""
    opportunity: float
    """US dollars for an hour of work that the owner wants for the trouble, or would get elsewhere."""

    @property
    def cost(self) -> float:
        """US dollars for a gigafuel."""
        return (self.watts / 1000 * self.electricity + self.wear + self.opportunity) / (self.cores * self.speed * 3600)


PHONE_CYCLE = 69 / 500
"""US dollars for a full charge of a phone's battery: a replacement over the charges it is rated for."""

DEVICES = (
    DeviceClass("phone", 0.45, 4, 0.5, 3.0, 7.0, 0.28, 0.2 * 3.0 / 15 * PHONE_CYCLE, 0.002),
    DeviceClass("laptop", 0.25, 4, 1.0, 30.0, 6.0, 0.28, 0.006, 0.005),
    DeviceClass("desktop", 0.22, 8, 1.2, 74.0, 8.0, 0.28, 0.010, 0.005),
    DeviceClass("server", 0.08, 32, 1.0, 250.0, 22.0, 0.12, 6000 / (5 * 8760), 0.020),
)
"""The classes, in the order in which a population lies in memory."""


@dataclass(frozen=True, slots=True)
class Population:
    """Devices, sorted by class. Drawn once; what changes is in `economy.State`."""

    device: Array
    """The index into `DEVICES`."""
    first: Array
    """Where each class begins: for `np.add.reduceat`."""
    capacity: Array
    """Gigafuel a day."""
    cost: Array
    """US dollars for a gigafuel."""


def population(count: int, random: Any) -> Population:
    """Draw `count` devices, at least one of each class. `random` is a `numpy.random.Generator`."""
    bounds = np.cumsum([0.0, *(each.share for each in DEVICES)]) * count
    edges = np.maximum(np.round(bounds).astype(np.int64), np.arange(len(DEVICES) + 1))
    edges[-1] = count
    device: Array = np.repeat(np.arange(len(DEVICES), dtype=np.int8), np.diff(edges))

    def of(name: str) -> Array:
        return np.array([getattr(each, name) for each in DEVICES])[device]

    def spread(sigma: float) -> Array:
        return np.exp(sigma * random.standard_normal(count))

    speed = of("speed") * of("cores") * spread(0.3)
    hours = np.clip(of("hours") * spread(0.3), 0.5, 24)
    hourly = of("watts") * spread(0.2) / 1000 * of("electricity") * spread(0.3) + of("wear") * spread(0.4) + of("opportunity") * spread(0.8)
    return Population(device=device, first=edges[:-1], capacity=speed * 3600 * hours, cost=hourly / (speed * 3600))
