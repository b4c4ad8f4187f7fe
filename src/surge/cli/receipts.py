"""`surge receipt`: what was done for you, and proofs of it for others."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surge.cli.console import WIDE, err, in_tokens, local_time, out, print_json, tokens
from surge.cli.money import SHORT, SHORT_ADDRESS
from surge.cli.options import as_json, complete_file, network_option, opened
from surge.cli.tables import show
from surge.core import network as network_file
from surge.core.receipts import ReceiptKind
from surge.errors import InvalidInput

if TYPE_CHECKING:
    from surge.buyer.statements import Report


_ID = re.compile("(0x)?[0-9a-fA-F]{4,64}")
"""How receipts are named."""


@click.group()
def receipt() -> None:
    """List, show, export, verify and replay receipts."""


@receipt.command(name="list")
@click.option("--job", "job_id", default=None, help="Only this job's.")
@network_option
@as_json
def list_(job_id: str | None, network: str | None, json_: bool) -> None:
    """Every receipt this wallet answered, newest first."""
    with opened(network, offline=True) as surge:
        rows = surge.receipts(job_id)
    if json_:
        rows = [{**row, "kind": _kind(row["kind"])} for row in rows]
    else:
        rows = [
            {
                **row,
                "receipt": row["receipt"][:SHORT],
                "kind": _kind(row["kind"]),
                "device": row["device"][:SHORT_ADDRESS],
                "quantity": _quantity(row["quantity"], _UNITS.get(row["kind"], "B")),
                "paid": row["accepted"],
                "finished": time.strftime("%m-%d %H:%M", time.localtime(row["finished"])),
            }
            for row in rows
        ]
    columns = ["receipt", "kind", "job", "device", "quantity", "amount", "paid", "finished"]
    if out.width < WIDE:
        columns.remove("job")
    show(rows, columns, as_json=json_, empty="no receipts yet", money=["amount"])


def _kind(number: int) -> str:
    """A kind of receipts by its name."""
    return ReceiptKind(number).name.lower()


_UNITS = {ReceiptKind.UNIT: "fuel", ReceiptKind.SETUP: "fuel", ReceiptKind.RETAINER: "s", ReceiptKind.STORAGE: "B h"}
"""What receipts of a kind count; others count bytes."""


def _quantity(number: int, unit: str) -> str:
    """A quantity to three digits.

    >>> _quantity(7_861_142_469, "fuel")
    '7.86 Gfuel'
    """
    scaled, prefix = float(number), ""
    for larger in "kMGTPE":
        if scaled < 999.5:
            break
        scaled, prefix = scaled / 1000, larger
    return f"{scaled:.3g} {prefix}{unit}"


@receipt.command(name="show")
@click.argument("receipt_id", metavar="RECEIPT")
@network_option
@as_json
def show_(receipt_id: str, network: str | None, json_: bool) -> None:
    """One receipt with everything it says."""
    with opened(network, offline=True) as surge:
        found = surge.receipt(receipt_id)
    found = {**found, "kind": _kind(found["kind"])}
    if json_:
        print_json(found)
        return
    said = {
        "finished_at": local_time(found["finished_at"]),
        "amount": tokens(found["amount"]),
        "acknowledged": tokens(found["acknowledged"]),
    }
    for key, value in {**found, **said}.items():
        shown = "0x" + value.hex() if isinstance(value, bytes) else value
        out.print(f"{key:>12}  {shown}", markup=False, soft_wrap=True)


@receipt.command()
@click.argument("receipt_id", metavar="RECEIPT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The case file to write.")
@click.option(
    "--inputs/--no-inputs",
    default=False,
    show_default=True,
    help="Put the unit's code and inputs into the file, so that anyone can replay it.",
)
@network_option
def export(receipt_id: str, output: Path, inputs: bool, network: str | None) -> None:
    """Write a case file: the receipt, its acknowledgement and its proof, for someone else to verify."""
    with opened(network) as surge:
        surge.export_case(receipt_id, output, inputs=inputs)
    err.print(f"wrote {output}", markup=False)


@receipt.command()
@click.argument("case", metavar="CASE", shell_complete=complete_file)
@click.option("--rpc", "urls", multiple=True, metavar="URL", help="A JSON-RPC endpoint of your own choice. Repeatable.")
@as_json
def verify(case: str, urls: tuple[str, ...], json_: bool) -> int:
    """Verify a case file against the ledger: needs nothing but the file and an RPC endpoint.

    Ends with code 1 if something in it does not hold, and with 4 if no endpoint answered.
    """
    from surge.buyer.cases import verify_case

    path = Path(case)
    if not path.is_file():
        hint = f": `surge receipt export {case} -o FILE` makes one of a receipt" if _ID.fullmatch(case) else ""
        raise InvalidInput(f"there is no case file {case}{hint}", path=case)
    _check_urls(path, urls)
    return _tell(verify_case(path, urls), json_=json_)


def _check_urls(case: Path, urls: tuple[str, ...]) -> None:
    """Raise `InvalidInput` unless these can be the endpoints of the case's network."""
    from surge.buyer import casefile

    if urls:
        network_file.decode(replace(casefile.read(case).network, rpc=urls).encode())


def _tell(report: Report, *, json_: bool) -> int:
    if json_:
        print_json(report.as_dict())
    else:
        show_checks(report.as_dict()["checks"])
    return 0 if report.holds else 1


def show_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    """What was checked, line by line: whether it holds, or a question mark where that could not be seen."""
    for check in checks:
        mark = {True: "yes", False: "NO", None: "?"}[check["holds"]]
        out.print(f"{mark:>4}  {in_tokens(check['text'])}", markup=False, soft_wrap=True)


@receipt.command()
@click.argument("case", metavar="CASE-OR-RECEIPT", shell_complete=complete_file)
@click.option("--rpc", "urls", multiple=True, metavar="URL", help="A JSON-RPC endpoint of your own choice. Repeatable.")
@network_option
@as_json
def replay(case: str, urls: tuple[str, ...], network: str | None, json_: bool) -> int:
    """Verify a receipt, then run its unit again on this machine and compare result and fuel, bit for bit.

    A case file must be one of `surge receipt export --inputs`; a receipt of this wallet, named by its id, needs no file.
    """
    from surge.buyer import casefile
    from surge.buyer.cases import replay_case
    from surge.cli.image import ensure_image

    path = Path(case)
    if path.is_file():
        _check_urls(path, urls)
        unit = casefile.read(path).unit
        if unit is not None and unit.setup:
            ensure_image()
        return _tell(replay_case(path, urls=urls), json_=json_)
    with opened(network, offline=True) as surge:
        if surge.job(surge.receipt(case)["job"]).plan.is_python:
            ensure_image()
        return _tell(surge.replay(case, rpc=urls), json_=json_)
