"""One row of the table: what was measured, against what, and whether the aim was met."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement. `ratio` is ours over the peer's, so that larger is better where the unit is a rate."""

    measure: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None


def against(measure: str, value: float, unit: str, peer: str, peer_value: float, at_least: float) -> Row:
    """A rate compared with a peer's rate in the same run: met when it is at least `at_least` times the peer's."""
    ratio = value / peer_value
    return Row(measure, value, unit, peer, peer_value, ratio, f"at least {at_least:g} x {peer}", ratio >= at_least)


def at_most(measure: str, value: float, unit: str, limit: float, peer: str | None = None, peer_value: float | None = None) -> Row:
    """A cost with an upper bound."""
    ratio = value / peer_value if peer_value else None
    return Row(measure, value, unit, peer, peer_value, ratio, f"at most {limit:g} {unit}", value <= limit)


def at_least(measure: str, value: float, unit: str, limit: float) -> Row:
    """A rate with a lower bound."""
    return Row(measure, value, unit, aim=f"at least {limit:g} {unit}", met=value >= limit)


def figure(value: float | None) -> str:
    """A number with as many digits as it deserves."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(title="Surge, measured in one run on this machine", title_justify="left")
    for column in ("measure", "value", "unit", "peer", "peer's value", "ratio", "aim", "met"):
        table.add_column(column, justify="right" if column in {"value", "peer's value", "ratio"} else "left")
    for row in rows:
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row.met]
        table.add_row(row.measure, figure(row.value), row.unit, row.peer or "", figure(row.peer_value), figure(row.ratio), row.aim, met)
    Console(width=170).print(table)


def keep(rows: Sequence[Row], folder: Path) -> None:
    """Write `latest.json` and a dated copy."""
    import datetime

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    (folder / "latest.json").write_text(text)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    (folder / f"{stamp}-{platform.machine()}-{platform.python_version()}.json").write_text(text)
