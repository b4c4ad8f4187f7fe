"""`surge demo`: start a network, run a real job on it, and check a receipt, from end to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surge.cli import places
from surge.cli.children import stop_event
from surge.cli.console import Size, err, out, print_json, tokens
from surge.cli.progress import job_progress, waiting
from surge.cli.receipts import show_checks
from surge.cli.tables import show
from surge.core.text import counted
from surge.errors import Unavailable

if TYPE_CHECKING:
    from surge.api import Network
    from surge.cli.up import Parts
    from surge.ledger import Redemption


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=None, help="The network's folder. [default: the user's data folder]"
)
@click.option("--relays", default=2, show_default=True, type=click.IntRange(2, 8), help="Relays to start.")
@click.option("--providers", default=4, show_default=True, type=click.IntRange(1, 64), help="Providers to start.")
@click.option("--settings", "limit", default=None, type=click.IntRange(1), help="Search only this many settings. [default: all 60]")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of tables.")
def demo(data: Path | None, relays: int, providers: int, limit: int | None, json_: bool) -> int:
    """Start a network on this machine, run a real job on it, and check a receipt.

    A hyper-parameter search: scikit-learn classifiers, 5-fold cross-validation, the Wisconsin breast-cancer data.
    """
    from surge.cli.up import load_plan

    folder = (data or places.home() / "demo").resolve()
    plan = load_plan(folder, relays, providers, 1, Size().convert("2G", None, None))
    return asyncio.run(_demo(folder, plan, limit, json_=json_))


async def _demo(folder: Path, plan: Any, limit: int | None, *, json_: bool) -> int:
    from surge.cli.up import running

    stop = stop_event()
    err.print(f"starting {plan.parts} in {folder}", style="dim", markup=False)
    async with running(folder, plan) as parts:
        work = asyncio.create_task(_job(parts, plan.providers, limit, quiet=json_))
        await asyncio.wait({work, stopping := asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            raise Unavailable("stopped before the job was done; `surge job resume` finishes it")
        report = work.result()
        err.print("stopping the network", style="dim")
    if json_:
        print_json(report)
    return 0 if report["verified"] and report["replayed"] else 1


async def _job(parts: Parts, providers: int, limit: int | None, *, quiet: bool) -> dict[str, Any]:
    """The whole story; unless it is to be quiet, prints as it goes what it returns."""
    report, before = await asyncio.to_thread(_work, parts.network, providers, limit, quiet=quiet)
    with waiting("waiting for the providers to redeem"):  # as they do when they stop
        await parts.stop("provider")
    return await asyncio.to_thread(_proof, parts.network, report, before, quiet=quiet)


def _work(network: Path, providers: int, limit: int | None, *, quiet: bool) -> tuple[dict[str, Any], set[str]]:
    """The job, and the redemptions that there were before it."""
    from surge.api import connect

    with connect(network) as surge:
        surge.wait_for_providers(providers, 60.0)
        before = {each.transaction for each in _redemptions(surge)}
        report = _search(surge, limit)
    with connect(network) as surge:
        report |= _settled(surge, report["job"])
    if not quiet:
        _show_search(report)
    return report, before


def _proof(network: Path, report: dict[str, Any], before: set[str], *, quiet: bool) -> dict[str, Any]:
    """What the job was paid, and a receipt of it."""
    from surge.api import connect

    with connect(network) as surge:
        receipt = next(row["receipt"] for row in surge.receipts(report["job"]) if row["kind"] == 1)
        case = surge.export_case(receipt, network.parent / "receipt.json", inputs=True)  # redeems its voucher if its provider did not
        report["redemptions"] = [_plain(each) for each in _redemptions(surge) if each.transaction not in before]
        report["kept"] = sum(_kept(surge.channels()))
        if not quiet:
            _show_redemptions(report["redemptions"], report["kept"])
        report |= _check_receipt(receipt, case)
        if not quiet:
            _show_checks(report)
        return report


def _search(surge: Network, limit: int | None) -> dict[str, Any]:
    from surge.buyer.source import function_in_file
    from surge.cli.settings import settings

    wanted = settings()[:limit]
    function = function_in_file(Path(__file__).with_name("breast_cancer.py"), "cross_validate")
    started = time.monotonic()
    results = surge.map(function, wanted, name="breast cancer")
    with job_progress("cross-validating", len(wanted), results.progress) as tick:
        found = []
        for result in results:
            found.append(result)
            tick(results)
    seconds = time.monotonic() - started
    best = sorted(found, key=lambda each: (-each["accuracy"], each["spread"]))
    return {
        "job": results.job,
        "settings": len(found),
        "seconds": seconds,
        "models": best[:5],
    }


def _settled(surge: Network, job: str) -> dict[str, Any]:
    """What a job cost, and whom. Asked behind the end of its connection: providers bill until then what they began for it."""
    return {"price": surge.job(job).price, "providers": surge.job_providers(job)}


def _show_search(report: dict[str, Any]) -> None:
    out.print(f"\n{counted(report['settings'], 'setting')} cross-validated in {report['seconds']:.1f} s, for {tokens(report['price'])}")
    _show_models(report["models"])
    _show_providers(report["providers"])


def _show_models(models: list[dict[str, Any]]) -> None:
    rows = [
        {
            "classifier": each["classifier"],
            "accuracy": f"{each['accuracy']:.4f} ± {each['spread']:.4f}",
            "parameters": ", ".join(f"{key}={value}" for key, value in each["parameters"].items()),
        }
        for each in models
    ]
    show(rows, ["classifier", "accuracy", "parameters"], as_json=False, title="\nThe best models")


def _show_providers(providers: list[dict[str, Any]]) -> None:
    rows = [{**each, "pay": tokens(each["pay"])} for each in providers]
    show(
        rows,
        ["provider", "units", "gigafuel", "pay"],
        as_json=False,
        title="\nWho did the work (settings travel in groups: a unit is one group)",
    )


def _show_redemptions(redemptions: list[dict[str, Any]], kept: int) -> None:
    rows = [{**each, "paid": tokens(each["paid"]), "fee": tokens(each["fee"])} for each in redemptions]
    show(rows, ["transaction", "receipts", "paid", "fee"], as_json=False, title="\nWhat was redeemed on the ledger", empty="nothing yet")
    paid, fees = (sum(each[name] for each in redemptions) for name in ("paid", "fee"))
    said = f"in all {tokens(paid)} to the providers, {tokens(fees)} of fees: for units, and for setups, transfers and compiling, too"
    out.print(said, style="dim", soft_wrap=True)
    if kept:
        said = f"{tokens(kept)} is not redeemed yet: providers keep a voucher that is worth little beside its gas until there is more on it"
        out.print(said, style="dim", soft_wrap=True)


def _plain(each: Redemption) -> dict[str, Any]:
    return {
        "transaction": each.transaction,
        "channel": "0x" + each.channel.hex(),
        "provider": each.provider,
        "receipts": each.count,
        "paid": each.paid,
        "fee": each.fee,
    }


def _kept(channels: Sequence[dict[str, Any]]) -> list[int]:
    """Wei that is vouched for and not redeemed, by channel."""
    return [max(0, row["vouched"] - row["redeemed"]) for row in channels if row["state"] != "closed"]


def _redemptions(surge: Network) -> Iterator[Redemption]:
    """Every redemption of the wallet's channels."""
    for row in surge.channels():
        yield from surge.redemptions(row["channel"])


def _check_receipt(receipt: str, case: Path) -> dict[str, Any]:
    """Verify an exported receipt of the job with nothing but the file and an RPC endpoint, and run its unit again."""
    from surge.buyer.cases import replay_case
    from surge.buyer.statements import ON_LEDGER, REPLAYED, STATED

    report = replay_case(case)
    return {
        "receipt": receipt,
        "case": str(case),
        "verified": report.part(STATED).holds and report.part(ON_LEDGER).holds,
        "replayed": report.part(REPLAYED).holds,
        "checks": report.as_dict()["checks"],
    }


def _show_checks(report: dict[str, Any]) -> None:
    out.print(f"\nReceipt {report['receipt']}, exported to {report['case']}", markup=False, soft_wrap=True)
    show_checks(report["checks"])
