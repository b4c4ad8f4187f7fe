"""`surge provider`: who lends, for how much, how each stands with this wallet, and why."""

from __future__ import annotations

from typing import Any

import click

from surge.cli.console import WIDE, Size, in_tokens, local_time, out, print_json, tokens
from surge.cli.money import SHORT_ADDRESS
from surge.cli.options import as_json, choice, given, network_option, opened
from surge.cli.tables import show

WIDEST = 230
"""Columns from which there is room for everything that an offer says."""

MONEY = ("gigafuel", "typical_unit", "opening", "storage", "bond")


@click.group()
def provider() -> None:
    """Who lends, for how much, how each stands with you, and why."""


@provider.command(name="list")
@click.option("--memory", type=Size(), default=None, help="Memory that units need. [default: 512M]")
@choice
@network_option
@as_json
def list_(network: str | None, json_: bool, **options: Any) -> None:
    """Who offers work now, in the order in which a job tries them: prices, standing, and what keeps a job from using them.

    A job that asks for --memory, --max-price, --region and --provider uses those whose last column is empty.
    """
    with opened(network) as surge:
        rows = surge.providers(**given(options))
    columns = [
        "device",
        "region",
        "cores",
        "memory",
        "gigafuel/s",
        "gigafuel",
        "typical_unit",
        "opening",
        "storage",
        "watts",
        "standing",
        "bond",
    ]
    if out.width < WIDEST:
        columns = ["device", "region", "cores", "gigafuel", "storage", "standing", "bond"]
    known = any(row["bond"] is not None for row in rows)
    columns = [each for each in columns if (known or each != "bond") and (each != "storage" or any(row["storage_price"] for row in rows))]
    columns += ["engine", "excluded_by"]
    if not json_:
        rows = [_row(row, narrow=out.width < WIDE) for row in rows]
    show(rows, columns, as_json=json_, empty="nobody offers anything now", money=[each for each in MONEY if each in columns])


def _row(row: dict[str, Any], *, narrow: bool) -> dict[str, Any]:
    """An offer as people see it."""
    return {
        "device": row["device"][:SHORT_ADDRESS] if narrow else row["device"],
        "region": row["region"] or "-",
        "cores": row["cores"],
        "memory": f"{row['memory'] / (1 << 30):.3g} GiB",
        "gigafuel/s": row["speed"] / 1e9,
        "gigafuel": row["gigafuel_price"],
        "typical_unit": row["typical_price"],
        "opening": row["opening"],
        "storage": row["storage_price"],
        "watts": f"{row['milliwatts'] / 1000:g}" if row["milliwatts"] else "-",
        "standing": float(row["standing"]),
        "bond": row["bond"] or 0,
        "engine": row["engine"].partition(" ")[0].removeprefix("wasmtime-") if out.width < WIDEST else row["engine"],
        "excluded_by": row["excluded_by"],
    }


@provider.command(name="show")
@click.argument("who", metavar="ADDRESS")
@network_option
@as_json
def show_(who: str, network: str | None, json_: bool) -> None:
    """How the device at ADDRESS stands with you, and why: every reason with what it adds. Of an operator, each of its devices."""
    with opened(network) as surge:
        found = surge.provider(who)
    if json_:
        print_json(found)
        return
    for row in found:
        _explain(row)


def _explain(row: dict[str, Any]) -> None:
    offer = row["offer"]
    lines = {"device": row["device"], "operator": row["operator"], "standing": f"{row['standing']:.3f}"}
    for label, text in lines.items():
        out.print(f"{label:>8}  {text}", markup=False, soft_wrap=True)
    for reason in row["reasons"]:
        out.print(f"{reason['adds']:>+8.3f}  {in_tokens(reason['text'])}", markup=False, soft_wrap=True)
    if offer is None:
        out.print("          it offers nothing now", markup=False)
    else:
        compared = tokens(round(offer["typical_price"] * (2 - row["standing"])))
        said = f"a typical unit for {tokens(offer['typical_price'])}, compared with others' as if for {compared}"
        out.print(f"  offers  {said}", markup=False, soft_wrap=True)
        if offer["direct"]:
            out.print(f" reached  at {offer['direct']}, without a relay", markup=False, soft_wrap=True)
    if row["ledger_since"]:
        out.print(f"  ledger  as far as it was read: back to {local_time(row['ledger_since'])}", markup=False, soft_wrap=True)
