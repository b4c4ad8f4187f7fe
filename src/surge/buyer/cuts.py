"""What the scheduler speaks of: lanes, cuts, tries, and the effects that it asks for."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

REFUSED = 256
"""Units that a lane refuses in a row, after which nobody waits for an answer of it."""


@dataclass(slots=True)
class Lane:
    """One provider, as one job sees it."""

    key: str
    """The device's address."""
    cores: int
    price: int
    """Wei for a typical unit: only to prefer the cheaper lane."""
    latency: float = 0.0
    """Seconds of a round trip."""
    stage: int = 0
    """Times that it was made ready: after preparing, after a top-up."""
    ready: bool = True
    """Whether units may be sent: false while connecting, draining, or when the job's new prices are being agreed on."""
    seconds: float | None = None
    """Seconds per item and core, measured."""
    unit_seconds: float = 0.0
    """Seconds of a unit, measured; 0 while none was."""
    running: set[int] = field(default_factory=set)
    """Cuts in flight."""
    refusals: int = 0
    """Units refused in a row."""
    failures: int = 0
    """Local endings in a row."""
    rests_until: float = 0.0
    most: float = math.inf
    """Items of a unit of which as many as the lane takes at once are covered (`covering`): one for whom more would wait."""
    done: int = 0
    """Cuts finished."""
    back_at: float = -math.inf
    """When it last came back from being away."""
    operator: str = ""
    """Who runs it, where that matters: answers of one operator count as one."""
    engine: bytes = b""
    """What it runs units with: fuel of different engines cannot be compared."""

    def rank(self, holders: Collection[str]) -> tuple[float, int, bool, float, float]:
        """Least busy first, then cheapest, among these `holders` of what is read next, fastest, nearest."""
        return len(self.running) / self.cores, self.price, self.key not in holders, self.seconds or 0.0, self.latency


@dataclass(slots=True)
class Try:
    """A cut on a lane."""

    started: float
    expected: float | None
    """Seconds it should take with what was ahead of it; None while nothing was measured."""
    ahead: int
    """Units that were in flight on the lane before it."""
    again: bool = False
    """Whether it was asked for before a restart or an absence: how long the answer takes now says nothing of the lane's speed."""


@dataclass(slots=True)
class Cut:
    """A run of items that is not done yet."""

    number: int
    first: int
    count: int
    tries: dict[str, Try] = field(default_factory=dict)
    """By lane."""
    avoid: set[str] = field(default_factory=set)
    """Lanes where it ended locally."""
    endings: int = 0
    """Local endings so far."""
    whole: bool = False
    """It ran out of a lowered fuel limit: it needs all that the user allows."""
    held: bool = False
    """Kept for the lane that was asked for it before a restart."""
    wanted: int = 1
    """Answers that it needs, each of another operator where there are several."""
    answered: dict[str, str] = field(default_factory=dict)
    """Lanes whose answers wait to be judged, and their operators."""
    barred: set[str] = field(default_factory=set)
    """Operators that do not get it."""
    engine: bytes = b""
    """That of the lanes that run it."""
    fuel: int | None = None
    """The fuel limit under which they run it."""
    least: int = 0
    """Fuel that it takes at least, since it was stopped before; 0 where it was not."""
    took: int | None = None
    """The fuel that it took, as answers that wait have it."""

    @property
    def lacks(self) -> int:
        """Answers that are neither there nor under way."""
        return self.wanted - len(self.tries) - len(self.answered)

    def begin(self, lane: Lane, attempt: Try) -> None:
        """The lane runs it. The first to do so decides the engine, and the limit is open until its unit is made."""
        if not (self.tries or self.answered):
            self.engine, self.fuel, self.took = lane.engine, None, None
        self.tries[lane.key] = attempt
        lane.running.add(self.number)

    def starts(self, key: str, now: float) -> None:
        """A lane may begin with it now; never, while what it reads is on its way there: until then its time counts as nobody's."""
        if key in self.tries:
            self.tries[key].started = now

    def is_stuck(self, lanes: Mapping[str, Lane]) -> bool:
        """Whether it waits for an answer that none of the lanes gives."""
        able = {key: lane for key, lane in lanes.items() if key not in self.avoid and lane.refusals <= REFUSED}
        return self.wanted > len(self.answered) and not any(key in self.tries or self.takes(lane, lanes) for key, lane in able.items())

    def takes(self, lane: Lane, lanes: Mapping[str, Lane]) -> bool:
        """Whether an answer of this lane's would count: it can be compared with others, and none of its operator is there or under way."""
        if (self.tries or self.answered) and lane.engine != self.engine:
            return False
        if not lane.operator or (self.wanted == 1 and not self.barred):
            return True
        busy = {lanes[key].operator for key in self.tries if key in lanes}
        return lane.operator not in busy and lane.operator not in self.barred and lane.operator not in self.answered.values()


@dataclass(frozen=True, slots=True)
class Assign:
    """Effect: run this cut on this lane."""

    number: int
    first: int
    count: int
    lane: str
    copy: bool
    """Whether another lane runs it too."""
    whole: bool


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Effect: the answer of this lane is no longer wanted."""

    number: int
    lane: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Effect: the lane's result is the result of these items."""

    number: int
    first: int
    count: int
    lane: str


@dataclass(frozen=True, slots=True)
class Recut:
    """Effect: the cut is replaced by these, (number, first, count) each."""

    number: int
    parts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Effect: this one item cannot be computed; its place in the results holds the error."""

    number: int
    index: int
    lane: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """Effect: the lane has shown nothing for too long; drop its session."""

    lane: str


Effect = Withdraw | Deliver | Recut | Fault | Abandon
