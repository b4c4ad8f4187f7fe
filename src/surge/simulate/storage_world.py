"""The devices that lend disk, over years: who is there in which hour, who goes, and what takes many of them at once.

Lives are drawn beforehand: a device that goes is followed by another, a stranger. Time is in hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surge.core.storage.placement import Candidate, mixed
from surge.core.types import Address
from surge.simulate.devices import Array

HOURS = 8_760.0
"""Of a year."""

REGIONS = (
    ("americas", 0.30, 0),
    ("europe", 0.28, 7),
    ("asia-east", 0.20, 14),
    ("asia-south", 0.12, 11),
    ("oceania", 0.05, 16),
    ("africa", 0.05, 7),
)
"""Regions: name, part of all devices, hours by which their clocks are ahead of the first's."""

NIGHT = (22.0, 8.0)
"""When devices that are switched off at night go, on the average, and for how many hours."""

ROOMS = (0.25, 0.5, 1.0, 2.0)
"""TiB that devices lend, in equal parts."""


@dataclass(frozen=True, slots=True)
class Churn:
    """How devices come and go. What has no source is assumed, and an option."""

    lifetime: float = 730.0
    """Days that a device stays on the average; exponential."""
    proper: float = 0.3
    """The part of them that say so before they leave, and hand over."""
    uptime: float = 0.95
    """The part of the time for which a device is there that is never switched off on purpose; spread around it."""
    down: float = 4.0
    """Hours of such a device's absence on the average; exponential."""
    nightly: float = 0.2
    """The part of devices that are switched off at night."""
    large: float = 0.2
    """The part of devices whose operators have ten of them."""
    quits: float = 0.05
    """How often such an operator goes with all its devices, a year."""
    outages: float = 1.0
    """How often all of a region is cut off, a year."""
    outage_hours: float = 12.0
    """For how long, on the average; exponential."""
    disasters: float = 0.01
    """How often a region loses devices for good, a year."""
    disaster_share: float = 0.3
    """Which part of them."""


@dataclass(slots=True)
class World:
    """Devices, each from its birth to its end."""

    operator: Array
    region: Array
    born: Array
    """Hours; below zero for those that are there at the beginning."""
    dies: Array
    leaves: Array
    """The hour from which it says that it will go; infinite for those that say nothing."""
    uptime: Array
    """While it is switched on."""
    night_from: Array
    """Hour of the first region's clock; -1 for those that are on at night."""
    night_hours: Array
    price: Array
    """Wei for a GB and month."""
    room: Array
    """Bytes lent."""
    number: Array
    """64 bits of its address."""
    outages: list[tuple[float, float, int]]
    """Begin, end and region of every outage."""
    candidates: list[Candidate]
    """The same devices as core has them, but for what is measured."""

    @property
    def count(self) -> int:
        """Devices that there ever are."""
        return len(self.born)


def drawn(churn: Churn, devices: int, hours: float, random: Any, before: float) -> World:
    """A world of so many devices at a time, from `before` hours before its beginning."""
    parts = np.array([part for _, part, _ in REGIONS])
    region_of = random.choice(len(REGIONS), devices, p=parts / parts.sum())
    groups = max(1, round(devices * churn.large / 10))
    in_group = random.random(devices) < churn.large
    group_of = np.where(in_group, random.integers(0, groups, devices), -1)
    quits = random.exponential(HOURS / churn.quits, groups) if churn.quits else np.full(groups, np.inf)
    struck = [np.sort(random.uniform(0, hours, random.poisson(churn.disasters * hours / HOURS))) for _ in REGIONS]
    slots: list[int] = []
    born: list[float] = []
    dies: list[float] = []
    operators: list[int] = []
    operator = groups
    for slot in range(devices):
        at, first = -before, True
        while at < hours:
            operator += 1
            mine = group_of[slot] if first and group_of[slot] >= 0 else operator
            end = (0.0 if first else at) + float(random.exponential(churn.lifetime * 24.0))
            if first and group_of[slot] >= 0:
                end = min(end, float(quits[group_of[slot]]))
            hit = [when for when in struck[region_of[slot]] if when > at and random.random() < churn.disaster_share]
            end = min([end, *hit])
            slots.append(slot)
            born.append(at)
            dies.append(end)
            operators.append(int(mine))
            at, first = end, bool(group_of[slot] >= 0 and end < quits[group_of[slot]])
    count = len(slots)
    region = region_of[slots]
    ends = np.array(dies)
    proper = random.random(count) < churn.proper
    spread = np.clip((1 - churn.uptime) * random.gamma(2.0, 0.5, count), 0.0, 0.95)
    nightly = random.random(count) < churn.nightly
    ahead = np.array([shift for _, _, shift in REGIONS])[region]
    outages = [
        (float(begin), float(begin + random.exponential(churn.outage_hours)), at)
        for at in range(len(REGIONS))
        for begin in np.sort(random.uniform(0, hours, random.poisson(churn.outages * hours / HOURS)))
    ]
    numbers = [mixed(int(each)) for each in random.integers(0, 2**62, count)]
    price = random.lognormal(0.0, 0.2, count) * 10**15
    found = World(
        operator=np.array(operators),
        region=region,
        born=np.array(born),
        dies=ends,
        leaves=np.where(proper, ends - 48.0, np.inf),
        uptime=1 - spread,
        night_from=np.where(nightly, (NIGHT[0] - ahead + random.normal(0, 1.5, count)) % 24, -1.0),
        night_hours=np.clip(random.normal(NIGHT[1], 1.0, count), 2.0, 14.0),
        price=price.astype(np.int64),
        room=(random.choice(ROOMS, count) * 2**40).astype(np.int64),
        number=np.array(numbers, dtype=np.uint64),
        outages=outages,
        candidates=[],
    )
    found.candidates = [
        Candidate(
            device=Address(f"0x{numbers[at]:040x}"),
            operator=Address(f"0x{operators[at]:040x}"),
            region=REGIONS[region[at]][0],
            price=int(found.price[at]),
            room=int(found.room[at]),
        )
        for at in range(count)
    ]
    return found
