"""The table of every cheat that must lose, as the report shows it and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from surge.simulate.given import Given
from surge.simulate.lines import Line, lines, shown
from surge.simulate.page import table
from surge.simulate.rules import Rules

COLOURS = {"loses": "loses", "cannot be done": "loses", "wins": "wins", "gains nothing": "loses"}
"""The style of each verdict."""


def given(rules: Rules) -> Given:
    """What a simulated network's lines are computed with."""
    return Given(economics=rules.economics, certainty=rules.certainty, least_chance=rules.least_chance, unit=rules.unit)


def data(rules: Rules) -> list[dict[str, Any]]:
    """Each line as JSON has it. Amounts are wei, as text: they are larger than the integers that JSON readers keep."""
    return [
        {
            "cheat": each.cheat,
            "tries": each.tries,
            "gain": str(each.gain),
            "loses": str(each.loses),
            "net": str(each.net),
            "verdict": each.verdict,
            "rule": each.rule,
            "unless": each.unless,
            "tests": list(each.tests),
        }
        for each in lines(given(rules))
    ]


def section(rules: Rules) -> Iterator[str]:
    """The table, with what it is computed with."""
    at, every = given(rules), lines(given(rules))
    winning = sum(each.net > 0 for each in every)
    yield "<h2>Every cheat that must lose</h2>"
    yield (
        f"<p>What an attempt comes to by the rules alone, with units of {at.unit:,} gigafuel at the default price ({shown(at.price)} "
        f"SURGE), a bond of {shown(at.bond)} SURGE, a certainty of {at.certainty:g} and cases of the smallest jury, worth "
        f"{shown(at.worth)} SURGE. The cheat is given every advantage: its work costs all that it would be paid, it is as well known as "
        f"one can be, and lost standing, gas and time count for nothing. Of {len(every)} lines {winning} may be positive all the same; "
        "the column before the last says where a cheat wins, and what bounds it there. The last names tests that show each against the "
        "network or its contracts.</p>"
    )
    yield table(
        ["cheat", "tries", "gains, SURGE", "loses, SURGE", "net, SURGE", "", "because", "unless", "shown by"], [*map(_cells, every)]
    )


def _cells(each: Line) -> list[str]:
    return [
        escape(each.cheat),
        escape(each.tries),
        shown(each.gain),
        shown(each.loses),
        shown(each.net),
        f'<span class="{COLOURS[each.verdict]}">{each.verdict}</span>',
        escape(each.rule),
        escape(each.unless),
        "<br/>".join(f"<code>{escape(name)}</code>" for name in each.tests),
    ]
