"""`surge stake`, `surge unstake`, `surge delegate`, `surge claim`: bonds of operators, one's own and others'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from surge.buyer import staking
from surge.cli.acting import on_ledger
from surge.cli.console import WIDE, Amount, brief_time, err, local_time, out, parse_tokens, print_json, tokens
from surge.cli.money import SHORT_ADDRESS
from surge.cli.options import Existing, as_json, network_option
from surge.cli.tables import show

F = TypeVar("F", bound=Callable[..., Any])


def _whose(command: F) -> F:
    """Whose stake it is."""
    for option in (
        click.option(
            "--data",
            type=Existing(path_type=Path, file_okay=False),
            default=None,
            help="A provider's folder: it is its operator's stake, whose key lies there.",
        ),
        click.option("--key", default=None, help="The key whose stake it is. [default: the network's own, or `default`]"),
    ):
        command = option(command)
    return command


_behind_option = click.option(
    "--behind", metavar="OPERATOR", default=None, help="The operator behind whom it is. [default: yourself, as an operator]"
)


class AmountOrAll(Amount):
    """A click type for an amount of SURGE, or `all`."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The amount in wei; None for all."""
        return None if value == "all" else value if isinstance(value, int) else parse_tokens(value)


def _put_in(behind: str | None, amount: int, key: str | None, data: Path | None, network: str | None, json_: bool) -> None:
    if amount < 1:
        raise click.BadParameter("there is nothing to stake", param_hint="AMOUNT")
    _, done = on_ledger(network, key, lambda chain, _, signer: staking.stake(chain, signer, amount, behind), data)
    if json_:
        print_json(done)
        return
    out.print(done["transaction"])
    err.print(f"{tokens(amount)} stands behind {done['operator']}, and is slashed with it", style="dim", soft_wrap=True)


@click.command()
@click.argument("amount", type=Amount(), required=False)
@_behind_option
@click.option(
    "--commission",
    type=click.FloatRange(0, 100),
    default=None,
    metavar="PERCENT",
    help="What you keep of your pay as an operator; those behind you share the rest.",
)
@_whose
@network_option
@as_json
def stake(
    amount: int | None, behind: str | None, commission: float | None, key: str | None, data: Path | None, network: str | None, json_: bool
) -> None:
    """Stake AMOUNT of SURGE as an operator, or behind another; without AMOUNT, list what you have staked.

    An operator whose own stake is below the network's least bond has its pay retained until it is there. Stake is lost in part when the
    operator is convicted of a cheat.
    """
    if commission is not None:
        if amount is not None or behind is not None:
            raise click.UsageError("a commission is named by itself")
        _name_commission(round(commission * 100), key, data, network, json_)
        return
    if amount is not None:
        _put_in(behind, amount, key, data, network, json_)
        return
    if behind is not None:
        raise click.UsageError("say how much to stake")
    _, rows = on_ledger(network, key, lambda chain, _, signer: staking.stakes_of(chain, signer.address), data)
    if not json_:
        rows = [{**row, "ready": _ready(min((each["ready_at"] for each in row["tickets"]), default=0))} for row in rows]
    money = ("staked", "rewards", "leaving")
    show(rows, ["operator", *money, "ready"], as_json=json_, empty="nothing staked yet: `surge stake AMOUNT`", money=money)


def _name_commission(bps: int, key: str | None, data: Path | None, network: str | None, json_: bool) -> None:
    signer, done = on_ledger(network, key, lambda chain, _, signer: staking.set_commission(chain, signer, bps), data)
    if json_:
        print_json(done)
        return
    out.print(done["transaction"])
    when = f"from {local_time(done['from'])}" if done["from"] else "from now on"
    err.print(f"{signer.address} keeps {bps / 100:g} % of its pay {when}", style="dim", markup=False, soft_wrap=True)


@click.command()
@click.argument("operator", metavar="OPERATOR")
@click.argument("amount", type=Amount())
@_whose
@network_option
@as_json
def delegate(operator: str, amount: int, key: str | None, data: Path | None, network: str | None, json_: bool) -> None:
    """Stake AMOUNT of SURGE behind OPERATOR: you share its pay, less its commission, and its slashes."""
    _put_in(operator, amount, key, data, network, json_)


@click.command()
@click.argument("amount", type=AmountOrAll())
@_behind_option
@_whose
@network_option
@as_json
def unstake(amount: int | None, behind: str | None, key: str | None, data: Path | None, network: str | None, json_: bool) -> None:
    """Begin to take AMOUNT of SURGE out, or `all`; says when `surge claim` brings it.

    Until then it earns nothing, and is slashed like stake that stays.
    """
    if amount is not None and amount < 1:
        raise click.BadParameter("there is nothing to unstake", param_hint="AMOUNT")
    _, done = on_ledger(network, key, lambda chain, _, signer: staking.unstake(chain, signer, amount, behind), data)
    if json_:
        print_json(done)
        return
    at = local_time(done["ready_at"])
    out.print(f"{tokens(done['amount'])} leaves {done['operator']}; from {at} `surge claim` brings it", soft_wrap=True)


@click.command()
@click.argument("operator", metavar="[OPERATOR]", required=False)
@_whose
@network_option
@as_json
def claim(operator: str | None, key: str | None, data: Path | None, network: str | None, json_: bool) -> None:
    """Take what your stake earned, and what has left and is ready, behind OPERATOR or all of them.

    What the network mints for an operator's work in epochs that are over is minted first, for it and those behind it.
    """
    _, rows = on_ledger(network, key, lambda chain, _, signer: staking.claim(chain, signer, operator), data)
    shown = rows if json_ else [{**row, "ready": "held for a case" if row["reserved"] else _ready(row["ready_at"])} for row in rows]
    if not json_ and out.width < WIDE:
        shown = [{**row, "operator": row["operator"][:SHORT_ADDRESS]} for row in shown]
    money = ("minted", "rewards", "withdrawn", "leaving")
    empty = f"you have nothing behind {operator}" if operator else "you have nothing behind anybody: `surge delegate OPERATOR AMOUNT`"
    show(shown, ["operator", *money, "ready"], as_json=json_, empty=empty, money=money)


def _ready(seconds: int) -> str:
    return brief_time(seconds) if seconds else "-"
