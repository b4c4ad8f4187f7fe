"""What a run comes to for each code: seen, estimated, and by the models; and the models alone over many codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from surge.core.storage import odds
from surge.core.storage.odds import Decay
from surge.simulate.storage import Code, Group, Run, Settings, simulate
from surge.simulate.storage_rare import Estimate, Life, disaster_loss, loss_a_year
from surge.simulate.storage_world import REGIONS, Churn

REBUILDING = 1.0
"""Hours from when a shard is believed to be lost until it is rebuilt, where a repair is due: the simulation's step."""


@dataclass(frozen=True, slots=True)
class Row:
    """One code's figures."""

    code: Code
    segment_years: float
    lost: int
    """Segments that were lost before one's eyes."""
    lost_high: float
    """Losses a segment and year that would have been seen with 95 %: an upper bound."""
    loss: Estimate
    """By importance splitting, and disasters."""
    disaster: float
    """The part of disasters in it."""
    window: float
    """By the binomial model, without disasters."""
    chain: float
    """By the Markov chain, without disasters."""
    availability: float
    """The part of looks at which a segment could be read."""
    worst_day: float
    """The same on the worst day."""
    binomial: float
    """What the binomial model has for it, from the uptime of those who hold shards, and from how many shards were left."""
    repairs: float
    """A year for each segment."""
    repair_traffic: float
    """Bytes that rebuilding moves a month for each byte put."""
    handover_traffic: float
    """Bytes that handing over moves a month for each byte put."""
    model_traffic: float
    """What the model has for rebuilding."""
    waiting: float
    """Hours a segment and year for which a repair was due that could not be made."""
    cost: float
    """US dollars for a TB and month: its shards, and what was moved to keep them."""

    @property
    def expansion(self) -> float:
        """Bytes stored for each byte put."""
        return self.code[1] / self.code[0]


@dataclass(frozen=True, slots=True)
class Result:
    """A run and its figures."""

    run: Run
    rows: tuple[Row, ...]

    @property
    def settings(self) -> Settings:
        """What was simulated."""
        return self.run.settings

    @property
    def decay(self) -> Decay:
        """What the models are asked with."""
        return decay(self.settings.churn, self.run.waits)


def decay(churn: Churn, waits: tuple[float, ...]) -> Decay:
    """The models' picture of a run: lives end without a word, or properly, and losses are mended after the average wait."""
    silent = max(1.0 - churn.proper, 1e-9)
    return Decay(churn.lifetime / silent, (sum(waits) / len(waits) + REBUILDING) / 24.0)


def sweep(settings: Settings, tell: Callable[[int, int], None] = lambda done, total: None) -> Result:
    """Simulate, and estimate what is too rare to be seen."""
    run = simulate(settings, tell)
    return Result(run, tuple(_row(run, group, at) for at, group in enumerate(run.groups)))


def bound(lost: int, segment_years: float) -> float:
    """The rate that would have shown more losses than were seen with 95 %: one-sided, for a Poisson count.

    >>> round(bound(0, 100.0), 4), round(bound(3, 1.0), 2)
    (0.03, 7.75)
    """
    low, high = float(lost), lost * 2.0 + 10.0
    for _ in range(60):
        middle = (low + high) / 2
        below = math.exp(-middle) * math.fsum(middle**count / math.factorial(count) for count in range(lost + 1)) if lost < 100 else 0.5
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high / segment_years if segment_years else math.inf


def _row(run: Run, group: Group, at: int) -> Row:
    settings, churn = run.settings, run.settings.churn
    k, n, threshold = group.code
    model = decay(churn, run.waits)
    life = Life(
        lifetime=model.lifetime,
        waits=tuple((each + REBUILDING) / 24.0 for each in run.waits),
        regions=tuple(part for _, part, _ in REGIONS),
        disasters=churn.disasters,
        share=churn.disaster_share,
    )
    alone = loss_a_year(replace(life, disasters=0.0), k, n, threshold, settings.particles, settings.seed * 1_000 + at)
    struck = disaster_loss(life, k, n, threshold)
    years = group.segment_years or math.inf
    seen = float(group.left.sum()) or 1.0
    missed = math.fsum(
        float(times) / seen * odds.fewer([run.held_uptime] * left, k) for left, times in enumerate(group.left.tolist()) if times
    )
    handed = 2.0 * group.copied / k / years / 12.0
    rebuilt = (group.read - group.copied + group.rebuilt) / k / years / 12.0
    return Row(
        code=group.code,
        segment_years=group.segment_years,
        lost=group.lost,
        lost_high=bound(group.lost, group.segment_years),
        loss=Estimate(alone.chance + struck, alone.low + struck, alone.high + struck),
        disaster=struck,
        window=model.window_loss(k, n, threshold),
        chain=model.loss(k, n, threshold),
        availability=group.readable / group.looks if group.looks else 0.0,
        worst_day=min(group.by_day),
        binomial=1.0 - missed,
        repairs=group.repairs / years,
        repair_traffic=rebuilt,
        handover_traffic=handed,
        model_traffic=model.traffic(k, n, threshold) / 12.0,
        waiting=group.waiting / years,
        cost=n / k * settings.storage_price + (rebuilt + handed) * settings.transfer_price,
    )
