"""Line plots as SVG text, to stand in a page: no scripts, no fonts, no files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

COLOURS = ("#2463a5", "#c2571a", "#2e8540", "#8a3ab9", "#b3202c", "#5c6770", "#b08900")
"""One for each line; told apart in print by their dashes as well."""

DASHES = ("", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3")

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 44


def figure(value: float) -> str:
    """A number as an axis shows it: three digits, and a letter for its size.

    >>> [figure(each) for each in (0, 0.00025, 1.5, 12_000, -3_400_000)]
    ['0', '0.00025', '1.5', '12k', '-3.4M']
    """
    size = abs(value)
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}" if size >= 1e-4 or not value else f"{value:.2g}"


def _signed(value: float) -> float:
    """A logarithm that goes through zero, for gains and losses over many sizes."""
    return math.copysign(math.log10(1 + abs(value)), value)


SCALES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda value: value,
    "log": lambda value: math.log10(max(value, 1e-300)),
    "signed": _signed,
}
"""How an axis turns values into places. `signed` is a logarithm of both signs, with zero in its place."""


def _ticks(low: float, high: float, scale: str) -> list[float]:
    """Values that an axis names, as few as can be read."""
    if scale == "linear":
        span = high - low or abs(high) or 1.0
        step: float = 10.0 ** math.floor(math.log10(span))
        step = next(step * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (step * part) <= 6)
        first = math.ceil(low / step - 1e-9)
        return [step * count for count in range(first, math.floor(high / step + 1e-9) + 1)]
    place = SCALES[scale]
    if scale == "log":
        powers = [10.0**power for power in range(math.floor(place(low)), math.ceil(place(high)) + 1)]
        finer = [part * power for power in powers for part in (1, 2, 5)]
        shown = [each for each in (finer if place(high) - place(low) < 1.5 else powers) if low * 0.999 <= each <= high * 1.001]
    else:
        most = math.ceil(max(abs(_signed(low)), abs(_signed(high))))
        sizes = [10.0**power for power in range(most > 3, most + 1)]
        shown = [each for each in [-size for size in reversed(sizes)] + [0.0, *sizes] if low <= each <= high]
    return shown[:: max(1, math.ceil(len(shown) / 8))] if scale == "log" else _thin(shown)


def _thin(values: list[float]) -> list[float]:
    """Every second of many, zero among them."""
    if len(values) <= 9:
        return values
    zero = values.index(0.0) if 0.0 in values else 0
    return [each for at, each in enumerate(values) if (at - zero) % 2 == 0]


def line_plot(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    across: str,
    up: str,
    x_scale: str = "linear",
    y_scale: str = "linear",
    mark: tuple[float, str] | None = None,
    zero: bool = True,
) -> str:
    """A plot of several lines, as one SVG element.

    Args:
        lines: for each name the places along and up; what is not finite is left out.
        title: what is shown.
        across: what goes along, with its unit.
        up: what goes up, with its unit.
        x_scale: one of `SCALES`.
        y_scale: the same, for what goes up.
        mark: a place along at which an upright line stands, and what it says.
        zero: whether a linear axis begins at zero.
    """
    points = {name: [(x, y) for x, y in zip(*line, strict=True) if math.isfinite(x) and math.isfinite(y)] for name, line in lines.items()}
    points = {name: _drawn(each, y_scale) for name, each in points.items()}
    every = [point for each in points.values() for point in each] or [(0.0, 0.0), (1.0, 1.0)]
    x_low, x_high = min(x for x, _ in every), max(x for x, _ in every)
    y_low, y_high = min(y for _, y in every), max(y for _, y in every)
    if y_scale != "log" and zero:
        y_low, y_high = min(y_low, 0.0), max(y_high, 0.0)
    if y_low == y_high:
        y_high = y_low + (abs(y_low) or 1.0)
    if x_low == x_high:
        x_high = x_low + 1.0
    along, upward = SCALES[x_scale], SCALES[y_scale]
    rising = upward(y_high) - upward(y_low)

    def x_of(value: float) -> float:
        return LEFT + (along(value) - along(x_low)) / (along(x_high) - along(x_low)) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (upward(value) - upward(y_low)) / (rising * 1.04) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">']
    for value in _ticks(y_low, y_high, y_scale):
        y = y_of(value)
        kind = "axis" if value == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{figure(value)}</text>')
    for value in _ticks(x_low, x_high, x_scale):
        x = x_of(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{figure(value)}</text>')
    if mark is not None and x_low <= mark[0] <= x_high:
        x = x_of(mark[0])
        side, shift = ("end", -4) if x > WIDTH / 2 else ("start", 4)
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x + shift:.1f}" y="{TOP + 10}" text-anchor="{side}">{escape(mark[1])}</text>')
    for at, each in enumerate(points.values()):
        colour, dash = COLOURS[at % len(COLOURS)], DASHES[at % len(DASHES)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in each)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash or "none"}" points="{path}"/>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text></svg>')
    keys = "".join(
        '<span><svg viewBox="0 0 26 8" xmlns="http://www.w3.org/2000/svg"><line x1="0" y1="4" x2="26" y2="4" '
        f'stroke="{COLOURS[at % len(COLOURS)]}" '
        f'stroke-width="2" stroke-dasharray="{DASHES[at % len(DASHES)] or "none"}"/></svg>{escape(name)}</span>'
        for at, name in enumerate(points)
    )
    key = f'<p class="key">{keys}</p>' if len(points) > 1 else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{''.join(parts)}{key}</figure>"


def _drawn(points: list[tuple[float, float]], y_scale: str) -> list[tuple[float, float]]:
    """What of a line is drawn: a logarithm has no zero, and more points than there are columns show nothing more."""
    kept = [point for point in points if y_scale != "log" or point[1] > 0]
    step = max(1, len(kept) // (WIDTH // 2))
    return kept[::step] + ([kept[-1]] if kept and (len(kept) - 1) % step else [])
