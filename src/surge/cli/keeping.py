"""`surge storage`: how what is stored is kept, and the keeper that sees to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surge.cli.console import Amount, brief_time, brief_tokens, err, heeding_sigterm, out, print_json, tokens
from surge.cli.options import Existing, as_json, complete_file, network_option, opened
from surge.cli.retain import stopping
from surge.cli.tables import show
from surge.core.text import counted

if TYPE_CHECKING:
    from surge.api import Network
    from surge.storage.delegating import Delegated
    from surge.storage.keeper import Kept
    from surge.storage.keeper_journal import Audit, Work

DANGERS = {
    "none": "all there",
    "waiting": "some lost, enough left",
    "repair": "repair is due",
    "endangered": "repair is due, and too few are there now",
    "unreadable": "too few are there now",
    "unseen": "not looked at yet: `surge storage audit` looks",
}
"""How an object stands, in words."""


@click.group()
def storage() -> None:
    """How what you stored is kept, and the keeper that has it proved, paid and repaired."""


_delegate_option = click.option(
    "--delegate",
    "bundle",
    metavar="FILE",
    type=Existing(path_type=Path, dir_okay=False),
    default=None,
    shell_complete=complete_file,
    help="Act for the owner who wrote this bundle with `surge storage delegate`, with the wallet in it.",
)


@contextlib.contextmanager
def _kept(network: str | None, bundle: Path | None) -> Iterator[Network]:
    """The network, as the wallet's own keeper or a delegate."""
    if bundle is None:
        with opened(network) as found:
            yield found
        return
    from surge.api import connect
    from surge.cli.places import find_network
    from surge.storage import charges

    with heeding_sigterm(), connect(find_network(network), wallet=charges.read(bundle).signer) as found:
        found.files.act_for(bundle)
        yield found


@storage.command()
@_delegate_option
@network_option
@as_json
def status(bundle: Path | None, network: str | None, json_: bool) -> None:
    """How everything is kept, as far as it was seen last: shards that are sound and there, of those needed, and what it cost."""
    with _kept(network, bundle) as surge:
        found = surge.files.status()
    if json_:
        print_json([asdict(each) for each in found])
        return
    rows = [
        {
            "name": each.name,
            "shards": f"{each.shards if each.danger == 'unseen' else f'{each.sound} of {each.shards}'}, {each.needed} needed",
            "here": "?" if each.danger == "unseen" else each.here,
            "state": _state(each),
            "pledged until": "?" if each.danger == "unseen" else brief_time(each.pledged) if each.pledged else "not pledged",
            "spent": brief_tokens(each.spent),
        }
        for each in found
    ]
    show(rows, ["name", "shards", "here", "state", "pledged until", "spent"], as_json=False, empty="nothing is stored")


def _state(each: Kept) -> str:
    """How an object stands, in words."""
    said = DANGERS[each.danger]
    if each.danger == "none" and each.here < each.shards:
        said = f"none lost, {each.shards - each.here} away"
    if not each.over:
        return said
    many = (
        "its pledges are" if each.over == each.pledges else f"{each.over} of its {each.pledges} pledges {'is' if each.over == 1 else 'are'}"
    )
    return f"{said}; {many} over: `surge storage keep`"


@storage.command()
@click.argument("name", required=False)
@_delegate_option
@network_option
@as_json
def audit(name: str | None, bundle: Path | None, network: str | None, json_: bool) -> None:
    """One round now: every device that holds a part of NAME, or of anything, proves it, and those that do are paid.

    While a keeper runs, nobody is paid for this: the keeper does that in time.
    """
    with _kept(network, bundle) as surge:
        found = surge.files.audit(*([name] if name else []))
    show(_audits(found), ["device", "proved", "paid", "why"], as_json=json_, empty="nothing is stored", money=["paid"])


def _audits(found: Sequence[Audit]) -> list[dict[str, Any]]:
    return [{"device": each.device, "proved": f"{each.passed} of {each.asked}", "paid": each.paid, "why": each.why} for each in found]


@storage.command()
@click.argument("name", required=False)
@_delegate_option
@network_option
@as_json
def repair(name: str | None, bundle: Path | None, network: str | None, json_: bool) -> None:
    """Look who is there, and rebuild what was lost of NAME, or of anything, where that is due."""
    with _kept(network, bundle) as surge:
        found = surge.files.repair(*([name] if name else []))
    _show_works(found, json_, empty="nothing was to be done")


@storage.command()
@click.argument("name", required=False)
@click.option("--count", default=100, show_default=True, type=click.IntRange(1, 100_000), help="Lines at most, the newest first.")
@_delegate_option
@network_option
@as_json
def log(name: str | None, count: int, bundle: Path | None, network: str | None, json_: bool) -> None:
    """What the keeper here did for NAME, or for everything, why, and what it cost."""
    with _kept(network, bundle) as surge:
        found = surge.files.log(name, count)
    _show_works(found, json_, empty="nothing was lost, mended or moved yet: `surge storage status` shows how all stands")


def _show_works(found: Sequence[Work], json_: bool, empty: str) -> None:
    rows = [
        {
            "at": each.at if json_ else brief_time(each.at),
            "object": each.object.hex() if json_ else each.name or each.object.hex()[:12],
            "name": each.name,
            "segment": each.segment,
            "shard": each.shard,
            "what": each.what,
            "device": each.device,
            "read": each.read,
            "written": each.written,
            "cost": each.wei,
            "why": each.why,
        }
        for each in found
    ]
    columns = ["at", "object", "segment", "shard", "what", "device", "read", "written", "cost", "why"]
    show(rows, columns, as_json=json_, empty=empty, money=["cost"])


@storage.command()
@click.option("--challenge", "challenges", is_flag=True, help="Challenge on the ledger, for a fee, who fails or is silent, and pledged.")
@click.option("--rounds", default=None, type=click.IntRange(1, 1_000_000), help="End after so many audits. [default: go on]")
@click.option("--end", is_flag=True, help="As a delegate: close the channels, send the owner what is left, and keep nothing.")
@_delegate_option
@network_option
def keep(challenges: bool, rounds: int | None, end: bool, bundle: Path | None, network: str | None) -> None:
    """Keep what is stored: have it proved and pay for it every period, and mend what is lost, until Ctrl-C or SIGTERM.

    It may be killed at any time, and goes on where it was. It keeps what you stored, or with --delegate what another did.
    """
    if end and bundle is None:
        raise click.BadParameter("only a delegate ends its delegation: name its bundle with --delegate", param_hint="--end")

    def told(audits: Sequence[Audit], works: Sequence[Work]) -> None:
        now = brief_time(int(time.time()))
        if audits:
            paid = brief_tokens(sum(each.paid for each in audits))
            proved, asked = sum(each.passed for each in audits), sum(each.asked for each in audits)
            here, away = sum(each.here for each in audits), sum(not each.here for each in audits)
            said = f"{proved} of {counted(asked, 'shard')} proved by {counted(here, 'device')}, {paid} paid"
            err.print(f"{now} {said}" + (f"; {counted(away, 'device')} away" if away else ""), markup=False, soft_wrap=True)
        for each in works:
            err.print(f"{now} {each.what} at {each.device or 'no device'}: {each.why}", markup=False, soft_wrap=True)

    with _kept(network, bundle) as surge:
        if end:
            _tell_swept(surge.files.end_delegation())
            return
        with stopping() as stop:
            err.print("keeping; each round is told here, and `surge storage log` shows what was lost, mended or moved", style="dim")
            surge.files.keep(stop, rounds=rounds, challenges=challenges, told=told)


@storage.command()
@click.argument("name")
@_delegate_option
@network_option
@as_json
def challenge(name: str, bundle: Path | None, network: str | None, json_: bool) -> None:
    """Challenge on the ledger what failed to prove its part of NAME, or is silent, and pledged it; settle what is over.

    Each challenge takes a fee, which comes back when nobody answers in time; then the pledge's penalty is taken of the operator's bond.
    """
    with _kept(network, bundle) as surge:
        found = surge.files.challenge(name)
    _show_works(found, json_, empty="there is nothing to challenge or to settle")


@storage.command()
@click.option("--to", "file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Where to write the bundle.")
@click.option("--cap", type=Amount(), required=True, help="SURGE that the delegate's wallet gets: all that it can spend.")
@click.option("--gas", type=Amount(), default=None, help="Of the chain's own coin, to open channels with. [default: 0.05]")
@network_option
@as_json
def delegate(file: Path, cap: int, gas: int | None, network: str | None, json_: bool) -> None:
    """Write a bundle with which another machine keeps what you stored: `surge storage keep --delegate FILE` there.

    It can have shards proved, pay for them and move them. It cannot read them. Again, after you stored more, it brings the bundle up to
    date and the wallet up to the cap.
    """
    with opened(network) as surge:
        made = surge.files.delegate(file, cap=cap, **({} if gas is None else {"gas": gas}))
    if json_:
        print_json(asdict(made))
        return
    out.print(made.wallet)
    err.print(
        f"{file} keeps {counted(made.objects, 'object')}; its wallet got {tokens(made.tokens)}. Whoever has the file can spend that, and "
        "let your shards go, but not read them",
        markup=False,
        soft_wrap=True,
    )


@storage.command()
@network_option
@as_json
def undelegate(network: str | None, json_: bool) -> None:
    """Take back what is in the delegate's wallet. What is in its channels comes with `surge storage keep --delegate FILE --end` there.

    A delegate that keeps its file can still move what it knows of; put it again to give it other keys.
    """
    with opened(network) as surge:
        swept = surge.files.undelegate()
    if json_:
        print_json(asdict(swept))
        return
    _tell_swept(swept)


def _tell_swept(swept: Delegated) -> None:
    out.print(tokens(swept.tokens))
    text = f"{counted(swept.channels, 'channel')} closed" + (f", {swept.waiting} to be closed later" if swept.waiting else "")
    nothing = "sent back" if swept.tokens else "there was nothing to send back"
    err.print(text if swept.channels or swept.waiting else nothing, markup=False)
