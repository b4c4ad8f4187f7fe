"""`surge simulate`: models of the network, computed here."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import click

from surge.cli.console import err, print_json
from surge.cli.options import as_json, complete_file
from surge.cli.outputs import output_file
from surge.core.storage import odds
from surge.core.storage.placement import MOST_N
from surge.errors import InvalidInput

SCENARIOS = ("all", "steady", "demand", "token", "exodus")
"""What `--scenario` takes; `surge.simulate.scenarios` has what each is."""


@click.group()
def simulate() -> None:
    """Simulate the network's economy, and its storage, over years, on this machine."""


@simulate.command()
@click.option(
    "--providers", type=click.IntRange(20, 5_000_000), default=100_000, show_default=True, metavar="N", help="Devices that there are."
)
@click.option(
    "--years", type=click.FloatRange(0, 50, min_open=True), default=3.0, show_default="3", metavar="Y", help="Years that are simulated."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="S", help="Of everything random: a seed gives one report."
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(SCENARIOS),
    help="What breaks half-way: ten times the demand, the token by 90 %, half of the providers; or nothing. Repeatable. [default: all]",
)
@click.option(
    "-o",
    "--output",
    default="economy.html",
    show_default=True,
    metavar="REPORT.html",
    shell_complete=complete_file,
    help="Where the report goes.",
)
@as_json
def economy(providers: int, years: float, seed: int, scenarios: tuple[str, ...], output: str, json_: bool) -> None:
    """Simulate providers, buyers, stakers and cheats over years, and write a report with plots: one HTML file.

    Rules and parameters are those of a network as it is founded. A million providers take some minutes.
    """
    if json_ and output == "-":
        raise click.UsageError("the report and the figures cannot both go to standard output: name a file with -o")
    _need_numpy()
    from surge.simulate import report
    from surge.simulate.economy import Settings
    from surge.simulate.scenarios import NAMES, simulate

    names = NAMES if not scenarios or "all" in scenarios else scenarios
    with output_file(output) as file, _progress(providers) as tell:
        result = simulate(Settings(providers=providers, years=years, seed=seed), names, tell)
        file.write(report.html(result))
    if json_:
        print_json(report.data(result))
    if output != "-":
        err.print(f"the report is at {output}", markup=False, soft_wrap=True)


class _Code(click.ParamType[tuple[int, int, int]]):
    """K/N/T: a code and its threshold."""

    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        """The three numbers."""
        if isinstance(value, tuple):
            return value
        try:
            k, n, threshold = map(int, str(value).split("/"))
            odds.check(k, n, threshold)
        except (ValueError, InvalidInput):
            self.fail(f"{value!r} is no code: write K/N/T as in 20/30/27, with K <= T < N", param, ctx)
        if n > MOST_N:
            self.fail(f"{value!r} has more than {MOST_N} shards", param, ctx)
        return k, n, threshold


@simulate.command()
@click.option(
    "--devices", type=click.IntRange(20, 100_000), default=1_000, show_default=True, metavar="N", help="Devices that there are at a time."
)
@click.option(
    "--years", type=click.FloatRange(0, 50, min_open=True), default=2.0, show_default="2", metavar="Y", help="Years that are simulated."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="S", help="Of everything random: a seed gives one report."
)
@click.option(
    "--code",
    "codes",
    multiple=True,
    type=_Code(),
    metavar="K/N/T",
    help="A code to keep segments in: K of N shards, repaired when T are left. Repeatable. [default: eight of them]",
)
@click.option(
    "--segments",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Segments that are kept in each code.",
)
@click.option(
    "--lifetime",
    type=click.FloatRange(1, 36_500),
    default=730.0,
    show_default="730",
    metavar="DAYS",
    help="How long a device stays on the average.",
)
@click.option(
    "--proper",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    metavar="PART",
    help="The part of devices that hand over before they leave.",
)
@click.option(
    "--uptime",
    type=click.FloatRange(0.05, 1),
    default=0.95,
    show_default=True,
    metavar="PART",
    help="The part of the time for which a device is there that is never switched off on purpose.",
)
@click.option(
    "--nightly",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    metavar="PART",
    help="The part of devices that are switched off at night.",
)
@click.option(
    "--outages", type=click.FloatRange(0), default=1.0, show_default="1", metavar="N", help="How often a region is cut off in a year."
)
@click.option(
    "--disasters",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    metavar="N",
    help="How often a region loses three tenths of its devices for good in a year.",
)
@click.option(
    "--particles",
    type=click.IntRange(50, 1_000_000),
    default=1_000,
    show_default=True,
    metavar="N",
    help="Segments of each stage of importance splitting: more of them narrow its intervals.",
)
@click.option(
    "-o",
    "--output",
    default="storage.html",
    show_default=True,
    metavar="REPORT.html",
    shell_complete=complete_file,
    help="Where the report goes.",
)
@as_json
def storage(
    devices: int,
    years: float,
    seed: int,
    codes: tuple[tuple[int, int, int], ...],
    segments: int,
    lifetime: float,
    proper: float,
    uptime: float,
    nightly: float,
    outages: float,
    disasters: float,
    particles: int,
    output: str,
    json_: bool,
) -> None:
    """Simulate stored segments under years of churn, and write a report with plots: one HTML file.

    Placement and repair are the network's own. It says how probably a segment is lost or cannot be read, and what repairs move and cost.
    """
    if json_ and output == "-":
        raise click.UsageError("the report and the figures cannot both go to standard output: name a file with -o")
    _need_numpy()
    from surge.simulate import storage_report
    from surge.simulate.storage import CODES, Settings
    from surge.simulate.storage_sweep import sweep
    from surge.simulate.storage_world import Churn

    churn = Churn(lifetime=lifetime, proper=proper, uptime=uptime, nightly=nightly, outages=outages, disasters=disasters)
    settings = Settings(devices, years, seed, segments, tuple(dict.fromkeys(codes)) or CODES, churn, particles=particles)
    with output_file(output) as file, _progress(devices, "devices") as tell:
        result = sweep(settings, tell)
        file.write(storage_report.html(result))
    if json_:
        print_json(storage_report.data(result))
    if output != "-":
        err.print(f"the report is at {output}", markup=False, soft_wrap=True)


def _need_numpy() -> None:
    if importlib.util.find_spec("numpy") is None:
        raise InvalidInput("simulating takes NumPy, which is not installed: .venv/bin/pip install -e '.[simulate]' in the clone brings it")


@contextlib.contextmanager
def _progress(providers: int, what: str = "providers") -> Iterator[Callable[[int, int], None]]:
    """A bar over the days, on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bars:
        task = bars.add_task(f"{providers:,} {what}", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
