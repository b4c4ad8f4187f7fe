"""`surge simulate`: models of the network, computed here."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator

import click

from surge.cli.console import err, print_json
from surge.cli.options import as_json, complete_file
from surge.cli.outputs import output_file
from surge.errors import InvalidInput

SCENARIOS = ("all", "steady", "demand", "token", "exodus")
"""What `--scenario` takes; `surge.simulate.scenarios` has what each is."""


@click.group()
def simulate() -> None:
    """Simulate the network's economy over years, on this machine."""


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
    if importlib.util.find_spec("numpy") is None:
        raise InvalidInput("simulating takes NumPy, which is not installed: pip install 'depin-surge[simulate]'")
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


@contextlib.contextmanager
def _progress(providers: int) -> Iterator[Callable[[int, int], None]]:
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
        task = bars.add_task(f"{providers:,} providers", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
