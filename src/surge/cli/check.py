"""`surge check`: a function rehearsed on this machine, before anything is spent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from surge.cli.console import err, out, print_json, tokens
from surge.cli.jobs import load_function
from surge.cli.lines import as_json_value
from surge.cli.options import as_json, choice, complete_file, function_needs, given, network_option, opened, unit_limits
from surge.core.stack import parse_json
from surge.errors import InvalidInput

if TYPE_CHECKING:
    from surge.buyer.rehearsal import Rehearsal


@click.command(context_settings={"ignore_unknown_options": True})  # -5 is an item
@click.argument("target", metavar="FILE.py:FUNCTION", shell_complete=complete_file)
@click.argument("item", metavar="ITEM_JSON")
@function_needs
@unit_limits
@choice
@network_option
@as_json
def check(target: str, item: str, network: str | None, json_: bool, **options: Any) -> None:
    """Run FUNCTION on one item here, in the sandbox that providers use, for nothing.

    Standard output is the line that `surge map` would write for it. Standard error has what FUNCTION printed, the fuel and the time that
    item and setup took, and what they would cost at the cheapest present offer. A call that raises ends the command with code 1.
    """
    from surge.cli.image import ensure_image

    function = load_function(target)
    try:
        value = parse_json(item.encode())
    except ValueError as error:
        raise InvalidInput(f"ITEM_JSON is not JSON: {error}; text is written with quotes, as '\"text\"'", item=item) from error
    with opened(network, offline=True) as surge:
        ensure_image()
        done = surge.check(function, value, **given(options))
    if json_:
        print_json(_as_json(done))
        return
    for said in (done.stdout, done.stderr):
        if said:
            err.print(said.decode(errors="replace"), markup=False, soft_wrap=True, end="" if said.endswith(b"\n") else "\n")
    out.print(json.dumps(as_json_value(done.value), allow_nan=False), markup=False, soft_wrap=True)
    err.print(_summary(done), style="dim", soft_wrap=True)


def _as_json(done: Rehearsal) -> dict[str, Any]:
    return {
        "value": as_json_value(done.value),
        "fuel": done.fuel,
        "seconds": done.seconds,
        "price": done.price,
        "setup_fuel": done.setup_fuel,
        "setup_seconds": done.setup_seconds,
        "setup_price": done.setup_price,
        "offers": done.offers,
        "stdout": done.stdout.decode(errors="replace"),
        "stderr": done.stderr.decode(errors="replace"),
    }


def _summary(done: Rehearsal) -> str:
    """A line for the item and one for the setup."""
    parts = (("an item", done.fuel, done.seconds, done.price, ""), ("setup", done.setup_fuel, done.setup_seconds, done.setup_price, _EACH))
    lines = []
    for what, fuel, seconds, price, where in parts:
        cost = "no price: nobody offers work now" if price is None else tokens(price) + where
        lines.append(f"{what}: {_gigafuel(fuel)} gigafuel, {seconds:.3f} s here, {cost}")
    return "\n".join(lines)


_EACH = " on each provider that runs it"


def _gigafuel(fuel: int) -> str:
    return f"{fuel / 1e9:,.6f}".rstrip("0").rstrip(".")
