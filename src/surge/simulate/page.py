"""Pieces of a page: its style, tables, and lines out of days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from surge.simulate.devices import DEVICES
from surge.simulate.economy import Day

Line = tuple[list[float], list[float]]
"""Places along and up."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2126; background: #fff; max-width: 1360px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-top: 1px solid #d5dade; padding-top: 1rem; }
p { max-width: 75ch; margin: .4rem 0 .8rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .2rem; } figure > svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: #4a545c; } .grid { stroke: #e6e9ec; } .axis { stroke: #79838a; }
.mark { stroke: #b3202c; stroke-dasharray: 4 3; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .1rem 0 0; font-size: 13px; }
.key svg { width: 26px; height: 8px; margin-right: .4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 14px; margin: .6rem 0 1rem; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid #e6e9ec; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } li { margin: .3rem 0; max-width: 100ch; overflow-wrap: anywhere; }
.loses { color: #23702f; } .wins { color: #b3202c; font-weight: 600; }
"""
"""The page's style sheet."""


def page(title: str, body: str) -> str:
    """A whole page, which is well-formed XML too."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are HTML already, the head is text."""
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{escape(each)}</th>" for each in head)}</tr>{lines}</table></div>'


def grid(*plots: str) -> str:
    """Plots beside each other, as many as there is room for."""
    return f'<div class="plots">{"".join(plots)}</div>'


def signed(value: float, text: str) -> str:
    """Green for who loses by cheating, red for who wins."""
    return f'<span class="{"loses" if value < 0 else "wins"}">{text}</span>'


def ratio(part: float, whole: float) -> float:
    """A fraction; 0 of nothing."""
    return part / whole if whole else 0.0


def line(days: Sequence[Day], of: Callable[[Day], float], shift: int = 0, unit: float = 365) -> Line:
    """What days come to, by their time: in years, or in days since a shock."""
    return [(each.day - shift) / unit for each in days], [of(each) for each in days]


def lines(days: Sequence[Day], of: Mapping[str, Callable[[Day], float]], shift: int = 0, unit: float = 365) -> dict[str, Line]:
    """Several of these by their names."""
    return {name: line(days, each, shift, unit) for name, each in of.items()}


def part_of(of: Callable[[Day], Sequence[float]], at: int) -> Callable[[Day], float]:
    """One of several figures of a day."""
    return lambda day: of(day)[at]


def by_class(of: Callable[[Day], Sequence[float]]) -> dict[str, Callable[[Day], float]]:
    """A figure of each class of devices."""
    return {each.name: part_of(of, at) for at, each in enumerate(DEVICES)}


def weekly(days: Sequence[Day], of: Callable[[Day], float], length: int) -> Line:
    """Sums of whole epochs, by the year in which each ends."""
    whole = [days[at : at + length] for at in range(0, len(days) - length + 1, length)]
    return [each[-1].day / 365 for each in whole], [sum(map(of, each)) for each in whole]
