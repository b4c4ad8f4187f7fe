"""Options that several commands share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from surge.cli.console import Amount, Fuel, Size, heeding_sigterm
from surge.errors import InvalidInput

if TYPE_CHECKING:
    from surge.api import Network

F = TypeVar("F", bound=Callable[..., Any])


def complete_file(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell completes a file's name."""
    return [CompletionItem(incomplete, type="file")]


class Existing(click.Path):
    """A click type for files that are there: one that is not is a wrong input, not a wrong call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(exists=True, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises `InvalidInput`."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if not Path(value).exists():
                raise InvalidInput(f"there is no {'file' if self.file_okay else 'folder'} {value}", path=str(value)) from error
            raise InvalidInput(f"{error.message[:1].lower()}{error.message[1:].rstrip('.')}", path=str(value)) from error


def network_option(command: F) -> F:
    """`--network FILE`."""
    option: Callable[[F], F] = click.option(
        "--network",
        metavar="FILE",
        default=None,
        shell_complete=complete_file,
        help="The network.json to use. [default: $SURGE_NETWORK, ./network.json, or the running `surge up`]",
    )
    return option(command)


def as_json(command: F) -> F:
    """`--json`."""
    option: Callable[[F], F] = click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
    return option(command)


_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Units of durations."""

_LONG = {"d": 1.0, "w": 7.0, "y": 365.0, "h": 1 / 24, "min": 1 / 1440}
"""Units of the time that something is kept for, in days."""


class Days(click.ParamType[float]):
    """A click type for how long something is kept: `30d`, `8w`, `2y`, `12h`, `90min`, `forever`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Days; 0 for `forever`."""
        if isinstance(value, int | float):
            return float(value)
        if value == "forever":
            return 0.0
        unit = value.lstrip("0123456789.")
        try:
            days = float(value.removesuffix(unit)) * _LONG[unit]
        except (ValueError, KeyError):
            days = 0.0
        if not 0 < days < math.inf:
            months = ", a month as 30d" if unit in ("m", "mo") else ""
            self.fail(f"{value!r} is no time to keep something for: write 30d, 8w, 2y, 12h, 90min or forever{months}", param, ctx)
        return days


class CodeOf(click.ParamType[tuple[int, int]]):
    """A click type for erasure codes: `20/30`."""

    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Shards that are enough, and shards that there are."""
        if isinstance(value, tuple):
            return value
        k, slash, n = value.partition("/")
        if not (slash and k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n) <= 32):
            self.fail(f"{value!r} is no code: write K/N, such as 20/30, with K shards that are enough of N, 32 at most", param, ctx)
        return int(k), int(n)


def _duration(_ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds of a duration such as 90, 50ms, 90s, 15m, 2h."""
    if value is None:
        return None
    number = value.rstrip("smh")
    try:
        seconds = float(number) * _SECONDS[value[len(number) :]]
    except (ValueError, KeyError):
        raise click.BadParameter(f"{value!r}: write 50ms, 90s, 15m or 2h", param=param) from None
    if not 0 < seconds < math.inf:
        raise click.BadParameter("a time longer than nothing is meant", param=param)
    return seconds


def function_needs(command: F) -> F:
    """What goes along with a function: files, packages, the seed."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Seed of the guest's randomness."),
        click.option("--package", "packages", multiple=True, type=Existing(), help="A pure-Python wheel to ship. Repeatable."),
        click.option("--file", "files", multiple=True, type=Existing(), help="A file the function reads, under /job. Repeatable."),
    ):
        command = option(command)
    return command


def unit_limits(command: F) -> F:
    """What one unit may use."""
    for option in (
        click.option("--max-output", type=Size(), default=None, help="What a unit may write, in bytes. [default: 64M]"),
        click.option(
            "--timeout", callback=_duration, default=None, metavar="DURATION", help="Wall time of a unit: 50ms, 90s, 15m, 2h. [default: 2m]"
        ),
        click.option(
            "--fuel",
            type=Fuel(),
            default=None,
            help="Fuel of a unit: 500M or 20G, decimal; billed whole if it traps, or runs out of it. [default: 1000G]",
        ),
        click.option(
            "--memory",
            type=Size(),
            default=None,
            help="Memory of a unit; one that traps for want of it is billed all of --fuel. [default: 512M]",
        ),
    ):
        command = option(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as `surge.buyer.options.Asked` names them."""
    named = {"output" if key == "max_output" else key: value for key, value in options.items() if value not in (None, ())}
    return {**named, "disputable": False} if named.pop("no_disputes", False) else named


def choice(command: F) -> F:
    """Which providers a buyer means: price, region, which."""
    for option in (
        click.option("--max-price", type=Amount(), default=None, help="Most to pay for a gigafuel, in SURGE."),
        click.option("--region", default=None, help="Only providers that say they are in this region."),
        click.option("--provider", "providers", multiple=True, metavar="ADDRESS", help="Only this provider's device. Repeatable."),
    ):
        command = option(command)
    return command


def constraints(command: F) -> F:
    """What a buyer asks for a job: which providers, for how much, by when."""
    command = choice(command)
    for option in (
        click.option(
            "--quorum", type=int, default=None, metavar="N", help="Of the copies, those that must agree. [default: more than half]"
        ),
        click.option("--copies", type=int, default=None, metavar="N", help="Run every unit on so many devices, each of another operator."),
        click.option(
            "--certainty",
            type=float,
            default=None,
            metavar="P",
            help="How probably a result is right, at least: checks are as frequent as that needs. [default: 0.99]",
        ),
        click.option("--budget", type=Amount(), default=None, help="Most to pay for all of it, in SURGE; never exceeded."),
        click.option(
            "--deadline",
            callback=_duration,
            default=None,
            metavar="DURATION",
            help="Stop when it takes longer: 50ms, 90s, 15m, 2h.",
        ),
        click.option(
            "--no-disputes",
            is_flag=True,
            help="Never send code and inputs to jurors: then no result can be disputed.",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def opened(network: str | Path | None, *, offline: bool = False) -> Iterator[Network]:
    """The network meant, connected; `offline` reads local state only."""
    from surge.api import connect
    from surge.cli.places import find_network

    with heeding_sigterm(), connect(find_network(network), offline=offline) as found:
        yield found
