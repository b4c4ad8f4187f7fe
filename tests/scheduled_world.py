"""Made-up providers in simulated time, on which a scheduler's assignments run."""

from __future__ import annotations

import heapq

from surge.buyer.cuts import Abandon, Assign, Deliver, Fault, Lane, Withdraw
from surge.buyer.scheduler import Scheduler


class World:
    """Runs a scheduler's assignments on made-up providers in simulated time."""

    def __init__(self, scheduler: Scheduler, speeds: dict[str, float], cores: int = 1, overhead: float = 0.002) -> None:
        self.scheduler, self.speeds, self.cores, self.overhead = scheduler, speeds, cores, overhead
        self.now = 0.0
        self.events: list[tuple[float, int, Assign]] = []
        self.busy = {key: [0.0] * cores for key in speeds}
        self.counter = 0
        self.delivered: dict[int, tuple[int, str]] = {}
        self.faults: list[int] = []
        self.assigned: list[Assign] = []
        self.withdrawn: list[Withdraw] = []
        self.bad: set[int] = set()
        self.silent: set[str] = set()
        self.busy_seconds = dict.fromkeys(speeds, 0.0)
        for key in speeds:
            scheduler.lane_joined(Lane(key, cores, price=10))

    def assign(self) -> None:
        for one in self.scheduler.assign(self.now, dict.fromkeys(self.speeds, 64)):
            self.assigned.append(one)
            if one.lane in self.silent:
                continue
            core = min(range(self.cores), key=lambda index: self.busy[one.lane][index])
            start = max(self.now, self.busy[one.lane][core])
            end = start + self.overhead + one.count * self.speeds[one.lane]
            self.busy_seconds[one.lane] += end - start
            self.busy[one.lane][core] = end
            self.counter += 1
            heapq.heappush(self.events, (end, self.counter, one))

    def apply(self, effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, Deliver):
                for index in range(effect.first, effect.first + effect.count):
                    assert index not in self.delivered
                    self.delivered[index] = (effect.number, effect.lane)
            elif isinstance(effect, Fault):
                self.faults.append(effect.index)
            elif isinstance(effect, Withdraw):
                self.withdrawn.append(effect)
            elif isinstance(effect, Abandon):
                self.scheduler.lane_left(effect.lane)

    def run(self, until: float = 1e9) -> None:
        self.assign()
        while not self.scheduler.finished_all and self.now < until:
            if self.events and (self.events[0][0] <= self.now + 0.25 or not self.silent):
                self.now, _, one = heapq.heappop(self.events)
                seconds = self.overhead + one.count * self.speeds[one.lane]
                if self.bad & set(range(one.first, one.first + one.count)):
                    self.apply(self.scheduler.ended_badly(one.number, one.lane))
                else:
                    self.apply(self.scheduler.finished(one.number, one.lane, now=self.now, seconds=seconds))
            else:
                self.now += 0.25
                self.apply(self.scheduler.tick(self.now))
            self.assign()
