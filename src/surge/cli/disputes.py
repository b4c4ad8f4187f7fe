"""`surge dispute`: bring a receipt before the court."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from surge.cli.console import Amount, Fuel, err, in_tokens, local_time, out, print_json, tokens
from surge.cli.money import SHORT, SHORT_ADDRESS
from surge.cli.options import as_json, network_option, opened
from surge.cli.tables import show
from surge.core.court import SIZES, Outcome
from surge.core.receipts import FUELLED
from surge.errors import InvalidInput

if TYPE_CHECKING:
    from surge.api import Network

GOING_ON = ("opening", "open")
"""States of disputes that are not over: opening one again opens nothing."""

LOST = (Outcome.ACQUITTED, Outcome.NO_INPUTS, Outcome.NO_SECRET, Outcome.UNFIT)
"""Outcomes that cost the opener its bond."""


@click.group()
def dispute() -> None:
    """Dispute receipts before the court: open, list, show."""


@dispute.command(name="open")
@click.argument("receipt_id", metavar="RECEIPT")
@click.option("--result", default=None, metavar="HASH", help="What should have come out. [default: what comes out here, run again]")
@click.option("--fuel", type=click.IntRange(min=0), default=None, help="What it should have taken. [default: what it takes here]")
@click.option("--jurors", type=click.Choice(["5", "15"]), default="5", show_default=True, help="Jurors of the first jury.")
@click.option(
    "--up-to",
    type=click.Choice(["5", "15", "45"]),
    default=None,
    help="Of the largest jury to pay for. [default: 45 for what comes out here, else the first]",
)
@click.option("--worth", type=Amount(), default=None, help="SURGE that the other side may lose, and you risk. [default: the most]")
@click.option("--fuel-limit", type=Fuel(), default=None, help="What jurors get time for, and pay. [default: the unit's limit]")
@click.option("--no-wait", is_flag=True, help="Do not follow it to the verdict: every command with this wallet goes on with it.")
@network_option
@as_json
def open_(
    receipt_id: str,
    result: str | None,
    fuel: int | None,
    jurors: str,
    up_to: str | None,
    worth: int | None,
    fuel_limit: int | None,
    no_wait: bool,
    network: str | None,
    json_: bool,
) -> int:
    """Dispute a receipt: claim another result or fuel, pay for a jury, and follow the case to its verdict.

    Says first what it costs. The unit's code and input are sent to the jurors, sealed for each. Where jurors disagree, a larger jury
    decides, whose fees this wallet advances if the claim is what came out here; whoever was wrong pays them back. One that is open already
    is followed. Ends with code 1 when the court decides against this wallet.
    """
    from surge.cli.image import ensure_image

    claimed = _hash(result)
    with opened(network) as surge:
        record = surge.receipt(receipt_id)
        if claimed is None and record["kind"] in FUELLED and record["job"] and surge.job(record["job"]).plan.is_python:
            ensure_image()
        largest = int(up_to) if up_to else None
        if not any(each["receipt"] == record["receipt"] and each["state"] in GOING_ON for each in surge.disputes()):
            most = largest or (SIZES[-1] if claimed is None else None)
            for sentence in surge.dispute_cost(record["receipt"], jurors=int(jurors), up_to=most, worth=worth, fuel_limit=fuel_limit):
                err.print(in_tokens(sentence), markup=False, soft_wrap=True)
        told = surge.dispute(
            record["receipt"],
            claimed,
            fuel,
            jurors=int(jurors),
            up_to=largest,
            worth=worth,
            fuel_limit=fuel_limit,
            wait=False,
        )
        if not no_wait:
            told = _followed(surge, told["receipt"], quiet=json_)
    if json_:
        print_json(told)
    else:
        _tell(told)
    return 1 if told["outcome"] in LOST else 0


def _hash(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise InvalidInput(f"{text!r} is no result: write 64 hex digits", result=text)
    return found


def _followed(surge: Network, receipt: str, *, quiet: bool) -> dict[str, Any]:
    """Wait for the verdict, and say what happens meanwhile."""
    said = 0
    with err.status("the court") as status:
        for told in surge.watch_dispute(receipt):
            for event in told["events"][said:]:
                if not quiet:
                    err.print(f"{local_time(event['time'])}  {event['text']}", style="dim", markup=False, soft_wrap=True)
            said = len(told["events"])
            status.update(told["explained"][0])
    return told


def _tell(told: dict[str, Any]) -> None:
    for sentence in told["explained"]:
        out.print(in_tokens(sentence), markup=False, soft_wrap=True)


@dispute.command(name="list")
@network_option
@as_json
def list_(network: str | None, json_: bool) -> None:
    """Every dispute of this wallet, newest first."""
    with opened(network, offline=True) as surge:
        rows = surge.disputes()
    if not json_:
        rows = [
            {
                **row,
                "receipt": row["receipt"][:SHORT],
                "accused": row["accused"][:SHORT_ADDRESS],
                "outcome": _outcome(row["outcome"]),
                "opened": local_time(row["opened"]),
            }
            for row in rows
        ]
    columns = ["receipt", "case", "state", "accused", "worth", "outcome", "collected", "opened"]
    show(rows, columns, as_json=json_, empty="no disputes", money=["worth", "collected"])


def _outcome(number: int) -> str:
    return Outcome(number).name.lower().replace("_", " ") if number else ""


@dispute.command(name="show")
@click.argument("dispute_id", metavar="DISPUTE")
@network_option
@as_json
def show_(dispute_id: str, network: str | None, json_: bool) -> None:
    """One dispute, named by its receipt or its case: what was claimed, how it stands, what each juror did, and what happened."""
    with opened(network) as surge:
        told = surge.dispute_of(dispute_id)
    if json_:
        print_json(told)
        return
    said = {
        "receipt": told["receipt"],
        "case": told["case"] or "-",
        "accused": told["accused"] or "-",
        "claimed": f"{told['result']}, {told['fuel']:,} fuel",
        "worth": tokens(told["worth"]),
    }
    if told["bond"] is not None:
        said["cost"] = (
            f"{tokens(told['bond'] + told['fees'])} deposited: a bond of {tokens(told['bond'])}, {tokens(told['fees'])} for jurors"
        )
    for key, value in said.items():
        out.print(f"{key:>8}  {value}", markup=False, soft_wrap=True)
    _tell(told)
    if told["jurors"]:
        columns = ["juror", "round", "inputs", "committed", "revealed", "vote", "fine"]
        if any(each["said"] for each in told["jurors"]):  # why it does not have the inputs
            columns.append("said")
        show(told["jurors"], columns, as_json=False, empty="", money=["fine"])
    for event in told["events"]:
        out.print(f"{local_time(event['time'])}  {event['text']}", markup=False, soft_wrap=True)
