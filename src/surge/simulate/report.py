"""The report: one HTML page that needs nothing else, and the same figures as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from html import escape
from typing import Any

from surge.simulate import cheat_table
from surge.simulate.cheats import CHEATS
from surge.simulate.devices import DEVICES
from surge.simulate.economy import Day
from surge.simulate.page import Line, by_class, grid, line, lines, page, part_of, ratio, signed, table, weekly
from surge.simulate.plots import figure, line_plot
from surge.simulate.rules import SURGE_GRAINS
from surge.simulate.scenarios import AFTER, SHOCKS, Loophole, Result
from surge.simulate.sources import SOURCES

HOUR = 3600
"""Gigafuel in an hour of a core that runs a gigafuel a second."""


def data(result: Result, *, every: int = 7) -> dict[str, Any]:
    """The figures behind the report, as JSON has them; of the days every seventh."""
    settings = asdict(result.settings)
    rows = {"steady": result.steady, **result.shocked}
    return {
        "settings": settings,
        "struck": result.struck,
        "minted": result.minted,
        "cheats": [
            {
                "kind": kind.name,
                "careers": float(result.cheated.caught[at]),
                "passed": float(result.cheated.passed[at]),
                "slashed": float(result.cheated.slashed[at]),
                "gain": float(result.cheated.gain[at]),
                "expected": asdict(result.curves.careers[at]),
            }
            for at, kind in enumerate(CHEATS)
        ],
        "curves": {
            "chances": result.curves.chances,
            "gain_by_chance": dict(zip([each.name for each in CHEATS], result.curves.by_chance, strict=True)),
            "bonds": result.curves.bonds,
            "gain_by_bond": dict(zip([each.name for each in CHEATS], result.curves.by_bond, strict=True)),
        },
        "lines": cheat_table.data(result.settings.rules),
        "would_pay": [asdict(each) for each in result.curves.loopholes],
        "days": {
            name: {each.name: [getattr(day, each.name) for day in days[::every]] for each in fields(Day)} for name, days in rows.items()
        },
    }


def html(result: Result) -> str:
    """The report as one page."""
    settings = result.settings
    lead = (
        f"{settings.providers:,} devices, {settings.years:g} {'year' if settings.years == 1 else 'years'}, seed {settings.seed}. Rules and "
        "parameters are those that a network is founded with, and the functions those that it is bound by. Prices are a model's: what it "
        "shows is which way things go, and where the rules stop holding."
    )
    return page("Surge: a simulated economy", f"<p>{escape(lead)}</p>{''.join(_sections(result))}")


def _sections(result: Result) -> Iterator[str]:
    yield from _steady(result)
    yield from _cheats(result)
    yield from cheat_table.section(result.settings.rules)
    for shock in SHOCKS:
        if shock.name in result.shocked:
            yield from _shocked(result, shock.name, shock.title)
    yield _assumptions(result)


def _steady(result: Result) -> Iterator[str]:
    days, length = result.steady, result.settings.rules.epoch_days
    yield "<h2>Nothing breaks</h2>"
    ends = [days[min(len(days) - 1, 6)], *(days[365 * year - 1] for year in range(1, len(days) // 365 + 1))]
    ends = ends if ends[-1] is days[-1] else [*ends, days[-1]]
    yield table(
        [
            "day",
            "providers",
            "US$ for a core-hour",
            "SURGE for a core-hour",
            "US$ of a SURGE",
            "sold of offered",
            "checks for a unit",
            "wrong of accepted",
        ],
        [
            [
                f"{each.day:,}",
                f"{each.active:,}",
                f"{each.price * HOUR:.4f}",
                f"{each.asked * HOUR:.2f}",
                f"{each.token:.4f}",
                f"{ratio(each.sold, each.capacity):.0%}",
                f"{each.extra:.2%}",
                f"{each.wrong:.1e}",
            ]
            for each in ends
        ],
    )
    yield grid(
        line_plot(
            lines(days, {"at the margin": lambda day: day.price * HOUR, "paid, on the average": lambda day: day.asked * day.token * HOUR}),
            title="Price of an hour of one core",
            across="years",
            up="US dollars",
        ),
        line_plot(
            lines(days, {"SURGE for a core-hour": lambda day: day.asked * HOUR, "US cents of a SURGE": lambda day: day.token * 100}),
            title="Price in SURGE, and of a SURGE",
            across="years",
            up="SURGE, US cents",
        ),
        line_plot(
            lines(days, {"offered": lambda day: day.capacity, "sold": lambda day: day.sold}),
            title="Supply and demand",
            across="years",
            up="gigafuel a day",
        ),
        line_plot(lines(days, by_class(lambda day: day.serving)), title="Providers", across="years", up="devices"),
        line_plot(
            lines(days, by_class(lambda day: day.margin)), title="Margin: what is left of a device's pay", across="years", up="of its pay"
        ),
        line_plot(
            {
                "emission": weekly(days, lambda day: day.emitted, length),
                "fees": weekly(days, lambda day: day.fees, length),
                "budget": _budget(result),
            },
            title=f"Emission against fees, by epoch of {length} days",
            across="years",
            up="SURGE",
            y_scale="log",
        ),
        line_plot(
            {**lines(days, {"tokens": lambda day: day.supply, "of these, staked": lambda day: day.bonded}), "cap": _cap(result)},
            title="Tokens there are",
            across="years",
            up="SURGE",
        ),
        line_plot(
            {"stakers' part of pay": weekly(days, lambda day: 36_500 / length * ratio(day.shared, day.staked), length)},
            title="What staking behind others earns",
            across="years",
            up="% a year",
        ),
        line_plot(
            {
                "checks for each unit": weekly(days, lambda day: day.extra * 100 / length, length),
                "wrong of accepted": weekly(days, lambda day: day.wrong * 100 / length, length),
            },
            title="What checking costs, and what passes it: means of epochs",
            across="years",
            up="%, logarithmic",
            y_scale="log",
        ),
    )


def _budget(result: Result) -> Line:
    rules = result.settings.rules
    length = rules.epoch_days
    epochs = range(len(result.steady) // length)
    return [(epoch + 1) * length / 365 for epoch in epochs], [rules.budget(epoch) / SURGE_GRAINS for epoch in epochs]


def _cap(result: Result) -> Line:
    return [0.0, len(result.steady) / 365], [result.settings.rules.economics.network.cap / 10**18] * 2


def _cheats(result: Result) -> Iterator[str]:
    rules, curves, tally = result.settings.rules, result.curves, result.cheated
    yield "<h2>What cheating comes to</h2>"
    yield (
        f"<p>Gain is what cheating adds to what an honest device would have had. In the run, {result.settings.cheats:.0%} of the devices "
        "cheat. Expected is one career, in multiples of a unit's price, at the network's parameters; lost standing is not counted, so that "
        "below zero means that even who does not mind starting again loses.</p>"
    )
    rows = []
    for at, kind in enumerate(CHEATS):
        expected = curves.careers[at]
        rows.append(
            [
                escape(kind.name),
                f"{tally.caught[at]:,.0f}",
                f"{tally.passed[at]:,.0f}",
                f"{ratio(float(tally.passed[at]), float(tally.caught[at])):,.1f}",
                f"{expected.passed:,.1f}",
                f"{tally.slashed[at]:,.0f}",
                signed(float(tally.gain[at]), f"{tally.gain[at]:,.2f}"),
                f"{expected.slashed:,.1f}",
                signed(expected.gain, f"{expected.gain:,.3f}"),
            ]
        )
    yield table(
        [
            *("kind", "caught", "wrong and accepted", "of each that was caught", "expected of a career", "slashed, SURGE", "gain, US$"),
            *("expected: slashed, units' prices", "gain, units' prices"),
        ],
        rows,
    )
    names = [each.name for each in CHEATS]
    bond = rules.economics.network.min_bond / 10**18
    yield grid(
        line_plot(
            {name: line(result.steady, part_of(lambda day: day.gains, at)) for at, name in enumerate(names)},
            title="Gain of all cheats of a kind, in this run",
            across="years",
            up="US dollars, logarithm of both signs",
            y_scale="signed",
        ),
        line_plot(
            {name: (curves.chances, gains) for name, gains in zip(names, curves.by_chance, strict=True)},
            title="Gain of a career, by the lowest chance of a check",
            across="lowest chance of a check",
            up="units' prices, logarithm of both signs",
            x_scale="log",
            y_scale="signed",
            mark=(rules.least_chance, "the network's"),
        ),
        line_plot(
            {name: (curves.bonds, gains) for name, gains in zip(names, curves.by_bond, strict=True)},
            title="Gain of a career, by the bond",
            across="bond, SURGE",
            up="units' prices, logarithm of both signs",
            x_scale="log",
            y_scale="signed",
            mark=(bond, "the network's"),
        ),
    )
    yield _where_it_pays(curves.loopholes)


def _where_it_pays(loopholes: Sequence[Loophole]) -> str:
    courted = [each for each in loopholes if each.disputed > 0]
    rest = sorted({each.kind for each in loopholes if each.disputed == 0})
    said = "<h2>Where cheating would pay</h2>"
    if courted:
        said += (
            "<p>With larger units, a fallen token or fewer receipts taken to court, the same bond may be too small. Of units of 1, 10, 100 "
            "and 1,000 gigafuel, all or a tenth of the known wrong receipts taken to court, before and after a fall of 90 %:</p>"
        )
        rows = [
            [
                escape(each.kind),
                f"{each.unit:,}",
                f"{each.disputed:.0%}",
                "fallen" if each.fallen else "as it is",
                signed(each.gain, f"{each.gain:,.1f}"),
                "none is" if each.bond is None else f"{each.bond:,.0f}",
            ]
            for each in courted
        ]
        said += table(["kind", "gigafuel of a unit", "taken to court", "token", "gain, units' prices", "bond that is enough, SURGE"], rows)
    else:
        said += "<p>Nowhere among units of 1 to 1,000 gigafuel where wrong receipts go to court.</p>"
    if rest:
        said += (
            f"<p>Where nobody ever goes to court, these win, as a bond that is never taken deters nobody: {escape(', '.join(rest))}.</p>"
        )
    return said


def _shocked(result: Result, name: str, title: str) -> Iterator[str]:
    days, struck = result.shocked[name], result.struck
    yield f"<h2>{escape(title)}</h2>"
    before = days[min(len(days), AFTER if struck >= AFTER else struck) - 1]
    later = [each for each in days if each.day - struck in (1, 7, 30, 90, 180)]
    yield table(
        [
            "day",
            "US$ for a core-hour",
            "SURGE for a core-hour",
            "US$ of a SURGE",
            "providers",
            "sold of offered",
            "sold, against before",
            "margins",
        ],
        [
            [
                "before" if each is before else f"{each.day - struck:+d}",
                f"{each.price * HOUR:.4f}",
                f"{each.asked * HOUR:.2f}",
                f"{each.token:.4f}",
                f"{each.active:,}",
                f"{ratio(each.sold, each.capacity):.0%}",
                f"{ratio(each.sold, before.sold):.0%}",
                ", ".join(f"{device.name} {margin:.0%}" for device, margin in zip(DEVICES, each.margin, strict=True)),
            ]
            for each in (before, *later)
        ],
    )
    gained = [last - first for first, last in zip(before.gains, days[-1].gains, strict=True)]
    said = ", ".join(f"{escape(kind.name)} {signed(gain, f'{gain:,.2f}')}" for kind, gain in zip(CHEATS, gained, strict=True))
    yield f"<p>Cheating came to, in US dollars, in the {days[-1].day - struck} days after: {said}.</p>"
    mark = (0.0, "it breaks")
    yield grid(
        line_plot(
            lines(days, {"US dollars": lambda day: day.price * HOUR}, struck, 1.0),
            title="Price of an hour of one core",
            across="days",
            up="US dollars",
            mark=mark,
        ),
        line_plot(
            lines(days, {"offered": lambda day: day.capacity, "sold": lambda day: day.sold}, struck, 1.0),
            title="Supply and demand",
            across="days",
            up="gigafuel a day",
            mark=mark,
        ),
        line_plot(lines(days, by_class(lambda day: day.serving), struck, 1.0), title="Providers", across="days", up="devices", mark=mark),
        line_plot(lines(days, by_class(lambda day: day.margin), struck, 1.0), title="Margin", across="days", up="of its pay", mark=mark),
    )


def _assumptions(result: Result) -> str:
    rows = [
        [
            escape(each.name),
            f"{each.share:.0%}",
            str(each.cores),
            f"{each.speed:g}",
            f"{each.watts:g}",
            f"{each.hours:g}",
            f"{each.electricity:.2f}",
            f"{each.wear:.4f}",
            f"{each.opportunity:.3f}",
            f"{each.cost * HOUR:.4f}",
        ]
        for each in DEVICES
    ]
    head = [
        "class",
        "share",
        "cores",
        "gigafuel/s of one",
        "W above idle",
        "hours a day",
        "US$/kWh",
        "wear, US$/h",
        "opportunity, US$/h",
        "US$/core-hour",
    ]
    sources = "".join(
        f"<li><b>{escape(each.figure)}</b>: {escape(each.text)}"
        + (f' <a href="{escape(each.link)}">{escape(each.link)}</a>' if each.link else "")
        + "</li>"
        for each in SOURCES
    )
    economics = result.settings.rules.economics
    parts: list[Any] = [economics.network, economics.court, economics.emission, economics]
    values = [(each.name, getattr(part, each.name)) for part in parts for each in fields(part)]
    rules = [[escape(name.replace("_", " ")), figure_of(name, value)] for name, value in values if isinstance(value, int)]
    known = table(["parameter", "value"], rules)
    return f"<h2>What is assumed</h2>{table(head, rows)}<ul>{sources}</ul><h2>The network's parameters</h2>{known}"


TOKENS = {
    *("supply", "cap", "min_bond", "first_budget", "opener_bond", "seat_stake", "base_fee", "gigafuel_fee"),
    *("gigafuel", "memory", "transfer", "compile"),
}
"""Parameters that are amounts of wei."""


def figure_of(name: str, value: int) -> str:
    """A parameter as it is shown."""
    if name in TOKENS:
        return f"{value / 10**18:,.9g} SURGE"
    return f"{value:,}" if value < 10**15 else figure(float(value))
