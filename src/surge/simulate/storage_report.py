"""The report on storage: one HTML page that needs nothing else, and the same figures as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from html import escape
from typing import Any

from surge.core.storage import odds
from surge.core.storage.odds import Decay, nines
from surge.simulate import storage_published as published
from surge.simulate.page import Line, grid, page, table
from surge.simulate.plots import line_plot
from surge.simulate.storage import Code
from surge.simulate.storage_sweep import Result, Row

AIM = 1e-11
"""Loss a segment and year: eleven nines."""


def data(result: Result) -> dict[str, Any]:
    """The figures behind the report, as JSON has them."""
    run = result.run
    return {
        "settings": asdict(result.settings),
        "uptime": run.uptime,
        "held_uptime": run.held_uptime,
        "waits_hours": list(run.waits),
        "believed_gone_and_came_back": run.false,
        "went_without_a_word": run.ended,
        "online_by_hour": run.online,
        "codes": [{**asdict(each), "code": name(each.code), "expansion": each.expansion} for each in result.rows],
        "readable_by_day": {name(each.code): each.by_day for each in run.groups},
        "published": {
            "poisson": [
                {"k": k, "n": n, "published": said, "recomputed": 100 * published.kept(k, n, 0.1)} for k, n, said in published.POISSON
            ],
            "decisions": [{**asdict(each), **recomputed(each)} for each in published.DECISIONS],
        },
    }


def html(result: Result) -> str:
    """The report as one page."""
    settings, run = result.settings, result.run
    lead = (
        f"{settings.devices:,} devices at a time, {settings.years:g} {'year' if settings.years == 1 else 'years'}, {settings.segments:,} "
        f"segments of each code, seed {settings.seed}. Devices stay {settings.churn.lifetime:g} days and are there for {run.uptime:.1%} "
        f"of the time; those that placement chose, for {run.held_uptime:.1%}. A loss is believed after "
        f"{sum(run.waits) / len(run.waits):.1f} hours; {run.false:,} times a device was believed to be gone and came back, while "
        f"{run.ended:,} went without a word. Placement and repair are the network's own functions."
    )
    return page("Surge: simulated storage", f"<p>{escape(lead)}</p>{''.join(_sections(result))}")


def name(code: Code) -> str:
    """A code as people write it."""
    return "/".join(map(str, code))


def _chance(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _sections(result: Result) -> Iterator[str]:
    yield "<h2>Durability: it will come back</h2>"
    yield (
        "<p>Loss of a segment within a year. What was seen is direct simulation, with the rate that would have shown more with 95 %. Rare "
        "losses are estimated by importance splitting (eight repetitions, an interval of 95 %), disasters of regions by enumeration. The "
        "binomial model has repairs of one length, the chain exponential ones; neither has disasters.</p>"
    )
    yield table(
        [
            "k/n/threshold",
            "segment years",
            "lost",
            "seen, below",
            "estimated",
            "from",
            "to",
            "nines",
            "of it by disasters",
            "binomial model",
            "Markov chain",
        ],
        [
            [
                name(each.code),
                f"{each.segment_years:,.0f}",
                str(each.lost),
                _chance(each.lost_high),
                _chance(each.loss.chance),
                _chance(each.loss.low),
                _chance(each.loss.high),
                f"{nines(each.loss.chance or each.loss.high):.1f}",
                _chance(each.disaster),
                _chance(each.window),
                _chance(each.chain),
            ]
            for each in result.rows
        ],
    )
    yield "<h2>Availability: it comes back now</h2>"
    yield table(
        ["k/n/threshold", "read at once", "on the worst day", "by the binomial model", "hours a year waiting for a repair"],
        [
            [name(each.code), f"{each.availability:.4%}", f"{each.worst_day:.2%}", f"{each.binomial:.4%}", f"{each.waiting:.2f}"]
            for each in result.rows
        ],
    )
    yield "<h2>What it costs</h2>"
    yield table(
        [
            "k/n/threshold",
            "expansion",
            "repairs a year",
            "repair traffic a month",
            "by the model",
            "handed over a month",
            "US$ for a TB and month",
        ],
        [_costs(each) for each in result.rows],
    )
    yield grid(*_plots(result))
    yield from _compared(result.decay)


def _costs(row: Row) -> list[str]:
    return [
        name(row.code),
        f"{row.expansion:.2f}",
        f"{row.repairs:.2f}",
        f"{row.repair_traffic:.3f}",
        f"{row.model_traffic:.3f}",
        f"{row.handover_traffic:.3f}",
        f"{row.cost:.2f}",
    ]


def _plots(result: Result) -> Iterator[str]:
    decay = result.decay
    pairs = list(dict.fromkeys((k, n) for k, n, _ in (each.code for each in result.rows)))[:7]

    def thresholds(k: int, n: int) -> range:
        return range(k, n)

    def of_codes(value: Any) -> dict[str, Line]:
        return {
            f"{k} of {n}": ([float(each - k) for each in thresholds(k, n)], [value(k, n, each) for each in thresholds(k, n)])
            for k, n in pairs
        }

    spare = "shards above k that are left when it is repaired"
    yield line_plot(of_codes(decay.window_loss), title="Loss a year, by the binomial model", across=spare, up="chance", y_scale="log")
    yield line_plot(of_codes(decay.loss), title="Loss a year, by the Markov chain", across=spare, up="chance", y_scale="log")
    yield line_plot(
        of_codes(lambda k, n, each: decay.traffic(k, n, each) / 12.0),
        title="Repair traffic, by the model",
        across=spare,
        up="bytes a month for each byte put",
        y_scale="log",
    )
    price = result.settings
    yield line_plot(
        {
            label: (
                [n / k * price.storage_price + decay.traffic(k, n, each) / 12.0 * price.transfer_price for each in thresholds(k, n)],
                [decay.window_loss(k, n, each) for each in thresholds(k, n)],
            )
            for label, (k, n) in zip((f"{k} of {n}" for k, n in pairs), pairs, strict=True)
        },
        title="Loss against cost, along the thresholds",
        across="US dollars for a TB and month",
        up="chance, binomial model",
        y_scale="log",
    )
    uptimes = [0.5 + at / 100 for at in range(50)]
    yield line_plot(
        {f"{k} of {n}": (uptimes, [odds.fewer([each] * n, k) for each in uptimes]) for k, n in pairs},
        title="Cannot be read at once, all shards living",
        across="uptime of each device",
        up="chance",
        y_scale="log",
    )
    days = {
        name(each.code): ([float(at) for at in range(len(each.by_day))], [1 - day for day in each.by_day]) for each in result.run.groups
    }
    yield line_plot(dict(list(days.items())[:7]), title="Could not be read at once, day by day", across="days", up="part of all looks")
    yield line_plot(
        {"devices": ([float(at) for at in range(24)], result.run.online)},
        title="Devices that are there, by the hour",
        across="hour of the first region's day",
        up="part of all",
        zero=False,
    )
    yield line_plot(
        {
            name(each.code): (
                [float(at) for at in range(len(each.left))],
                (each.left / max(float(each.left.sum()), 1.0)).tolist(),
            )
            for each in result.run.groups[:7]
        },
        title="Living shards of a segment",
        across="shards",
        up="part of the time",
    )


def recomputed(row: published.Decision) -> dict[str, float]:
    """What a published row comes to, by its own formulas and by our models."""
    decay = Decay(row.months * 365 / 12, published.REBUILDING * 365 / 12)
    return {
        "traffic_recomputed": published.traffic(row),
        "nines_recomputed": nines(published.loss(row)),
        "nines_window": nines(decay.window_loss(row.k, row.n, row.threshold)),
        "nines_chain": nines(decay.loss(row.k, row.n, row.threshold)),
        "traffic_model": decay.traffic(row.k, row.n, row.threshold) / 12,
    }


def _compared(decay: Decay) -> Iterator[str]:
    yield "<h2>Beside what Storj published</h2>"
    yield (
        f'<p>From the whitepaper, version 3.1: <a href="{published.LINK}">{published.LINK}</a>. Its formulas give its figures again, '
        "the losses if rebuilding takes half a day, which it does not say. Beside them stand this page's models, at the same lifetimes and "
        "half a day. Its loss is a rate for each rebuilding time, ours is for a year.</p>"
    )
    rows = [(each, recomputed(each)) for each in published.DECISIONS]
    yield table(
        [
            "months of life",
            "k/n/threshold",
            "nines: published",
            "its formula",
            "binomial, a year",
            "chain, a year",
            "traffic: published",
            "model",
        ],
        [
            [
                str(each.months),
                name((each.k, each.n, each.threshold)),
                str(each.nines),
                f"{found['nines_recomputed']:.1f}",
                f"{found['nines_window']:.1f}",
                f"{found['nines_chain']:.1f}",
                f"{each.traffic:.2f}",
                f"{found['traffic_model']:.2f}",
            ]
            for each, found in rows
        ],
    )
    yield (
        "<p>Kept over a month in which a tenth of the nodes goes and nobody repairs: the paper's Poisson distribution, and the binomial "
        "one, in which no more than all pieces can go.</p>"
    )
    yield table(
        ["k of n", "published", "Poisson again", "binomial"],
        [
            [
                f"{k} of {n}",
                f"{said:.9f} %",
                f"{100 * published.kept(k, n, 0.1):.9f} %",
                f"{100 * (1 - odds.binomial_loss(k, n, 0.1)):.9f} %",
            ]
            for k, n, said in published.POISSON
        ],
    )
    yield (
        f"<p>Prices: what Storj pays to its nodes, 1.50 US dollars for a TB and month and 2 for a TB sent "
        f'(<a href="{published.PAYOUT_LINK}">{published.PAYOUT_LINK}</a>). The models were asked with a lifetime of '
        f"{decay.lifetime:.0f} days until a silent end, and {24 * decay.repair:.1f} hours to a repair.</p>"
    )
