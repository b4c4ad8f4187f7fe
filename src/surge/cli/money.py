"""`surge wallet`, `surge channel`, `surge earnings`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surge.buyer.home import user_keystore
from surge.buyer.trust import require_trusted
from surge.cli import places
from surge.cli.console import Amount, err, in_tokens, local_time, out, print_json
from surge.cli.options import Existing, as_json, network_option, opened
from surge.cli.places import passphrase
from surge.cli.tables import show
from surge.core.types import address

if TYPE_CHECKING:
    from surge.api import Network
    from surge.buyer.home import Home
    from surge.wallet import KeySigner


SHORT = 12
"""Hex digits of an id that tables show: enough to name it."""

SHORT_ADDRESS = 10
"""Characters of an address that tables show beside much else."""


@click.group()
def wallet() -> None:
    """Make keys, see balances, send tokens."""


@wallet.command()
@click.argument("name", default="default")
@click.option("--import", "imported", is_flag=True, help="Take a private key from standard input instead of making one.")
@as_json
def new(name: str, imported: bool, json_: bool) -> None:
    """Make a key of yours and print its address. With $SURGE_PASSPHRASE set, its file is encrypted (Web3 secret storage).

    Your keys serve on every network: whatever takes a key's name finds them, as does `surge.connect(wallet=NAME)`.
    """
    keys = user_keystore()
    if imported:
        secret = sys.stdin.readline().strip()
        signer = keys.import_key(name, secret, passphrase())
    else:
        signer = keys.create(name, passphrase())
    err.print(f"the key is in {keys.folder / name}.json", style="dim", markup=False, soft_wrap=True)
    if json_:
        print_json({"name": name, "address": signer.address})
        return
    out.print(signer.address)


def _balances(home: Home, accounts: Mapping[str, str]) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        from surge.ledger import Ledger

        chain = await Ledger.connect(home.network, home.transactions)
        try:
            return [
                {
                    "name": name,
                    "address": each,
                    "surge": await chain.token_balance(address(each)),
                    "coin": await chain.gas_balance(address(each)),
                }
                for name, each in accounts.items()
            ]
        finally:
            await chain.close()

    return asyncio.run(read())


@wallet.command(name="show")
@network_option
@as_json
def show_(network: str | None, json_: bool) -> None:
    """Every key with its balances on the network: the network's own, if `surge up` made it, and yours."""
    home = places.find_home(network)
    home.check_running()
    keys = home.keys()
    rows = [{**row, "folder": str(keys[row["name"]][1])} for row in _balances(home, {name: each for name, (each, _) in keys.items()})]
    if not json_:
        whose = {str(places.home() / "wallet"): "you"}
        rows = [
            {**row, "tokens": row["surge"], "coin": f"{row['coin'] / 10**18:.6f}", "of": whose.get(row["folder"], "the network")}
            for row in rows
        ]
    columns = ["name", "of", "address", "tokens", "coin"]
    show(rows, columns, as_json=json_, empty="no keys yet: `surge wallet new`", money=["tokens"])


@wallet.command()
@click.argument("to", metavar="ADDRESS")
@click.argument("amount", type=Amount())
@click.option("--coin", is_flag=True, help="Send the chain's own coin instead of SURGE.")
@click.option("--key", default=None, help="The key that sends. [default: the network's own, or `default`]")
@network_option
@as_json
def send(to: str, amount: int, coin: bool, key: str | None, network: str | None, json_: bool) -> None:
    """Send AMOUNT (1.5, or 1500wei) of SURGE to ADDRESS and wait until it is mined."""
    if amount < 1:
        raise click.BadParameter("there is nothing to send", param_hint="AMOUNT")
    home = places.find_home(network)
    require_trusted(home.file, home.network)
    home.check_running()
    signer = home.key(key)
    transactions = asyncio.run(_send(home, signer, to, amount, coin=coin))
    if json_:
        print_json({"transactions": transactions})
        return
    for each in transactions:
        out.print(each)


async def _send(home: Home, signer: KeySigner, to: str, amount: int, *, coin: bool) -> list[str]:
    from surge.ledger import Ledger

    chain = await Ledger.connect(home.network, home.transactions)
    try:
        return await chain.transfer(signer, address(to), tokens=0 if coin else amount, native=amount if coin else 0)
    finally:
        await chain.close()


@click.group()
def channel() -> None:
    """List, open and close payment channels."""


@channel.command(name="list")
@network_option
@as_json
def list_(network: str | None, json_: bool) -> None:
    """The wallet's channels: provider, deposit, what is vouched for, the floor and what was redeemed.

    A channel that ends pays its provider the larger of what is vouched for and the floor.
    """
    with opened(network) as surge:
        rows = surge.channels()
    if not json_:
        rows = [{**row, "channel": row["channel"][:SHORT], "device": row["device"][:SHORT_ADDRESS]} for row in rows]
    money = ("deposit", "vouched", "floor", "redeemed")
    show(rows, ["channel", "device", *money, "receipts", "state"], as_json=json_, empty="no channels yet", money=money)


@channel.command(name="open")
@click.argument("device", metavar="ADDRESS")
@click.argument("amount", type=Amount())
@network_option
@as_json
def open_(device: str, amount: int, network: str | None, json_: bool) -> None:
    """Deposit AMOUNT of SURGE for the provider whose device is ADDRESS."""
    with opened(network) as surge:
        found = surge.open_channel(device, amount)
    if json_:
        print_json({"channel": found})
        return
    out.print(f"0x{found.hex()}")


@channel.command()
@click.argument("channel_id", metavar="[CHANNEL]", required=False)
@click.option("--all", "every", is_flag=True, help="Close every channel.")
@network_option
@as_json
def close(channel_id: str | None, every: bool, network: str | None, json_: bool) -> None:
    """Close a channel: together with its provider if that answers, otherwise one-sidedly; the rest of the deposit returns.

    Closed one-sidedly, it waits for its challenge period, in which the provider can still redeem: close it once more after that.
    """
    if (channel_id is None) != every:
        raise click.UsageError("name a channel, or all of them with --all")
    with opened(network) as surge:
        if channel_id is not None:
            rows = [surge.close_channel(channel_id)]
        else:
            rows = [_close_if_due(surge, row) for row in surge.channels() if row["state"] != "closed"]
    shown = rows if json_ else [{**row, "returns": _time(row["returns_at"])} for row in rows]
    show(shown, ["channel", "how", "returns", "transaction"], as_json=json_, empty="nothing to close")
    for row in rows:
        if row["how"] == "alone":
            err.print(
                f"0x{row['channel'][:12]} is closed alone, for {row['why']}\n"
                f"its provider may redeem until {_time(row['returns_at'])}; then `surge channel close {row['channel'][:12]}` "
                "brings the rest back",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )


def _close_if_due(surge: Network, row: dict[str, Any]) -> dict[str, Any]:
    """Close a channel unless it cannot be closed now: then say what it waits for."""
    if row["state"] == "opening" or row["returns_at"] > time.time():
        return {"channel": row["channel"], "how": f"not yet: {row['state']}", "transaction": "", "why": "", "returns_at": row["returns_at"]}
    return surge.close_channel(row["channel"])


def _time(seconds: int) -> str:
    return local_time(seconds) if seconds else "at once"


@click.command()
@click.option(
    "--data",
    type=Existing(path_type=Path, file_okay=False),
    default=None,
    help="A provider's folder, or that of a `surge up`. [default: the running one's]",
)
@as_json
def earnings(data: Path | None, json_: bool) -> None:
    """What a provider has earned, channel by channel, and what it is waiting for."""
    from surge.provider import earnings_of, paid_in_words, standing_of

    folders = provider_folders(data)
    if not folders:
        err.print("no provider is known here: name its folder, or its network's, with --data", style="dim")
    rows = []
    for folder in folders:
        err.print(f"{folder.name}: {in_tokens(standing_of(folder))}", style="dim", markup=False, soft_wrap=True)
        rows += [{"provider": folder.name, **row} for row in earnings_of(folder)]
    if json_:
        print_json(rows)
        return
    money = ("vouched", "redeemed", "waiting")
    short = [{**row, "channel": row["channel"][: 2 + SHORT], "buyer": row["buyer"][:SHORT_ADDRESS]} for row in rows]
    show(short, ["provider", "channel", "buyer", "receipts", *money, "state"], as_json=False, empty="nothing earned yet", money=money)
    for row in rows:
        if row["set_aside"]:
            err.print(f"{row['channel']} cannot be redeemed now, and is tried again: {row['set_aside']}", style="yellow")
    err.print(in_tokens(paid_in_words(rows)), style="dim", soft_wrap=True)


def provider_folders(data: Path | None) -> list[Path]:
    """The folders of the providers in a folder, a network's or one provider's; by default those on this machine.

    These are the providers of the network meant or, where none is, of the user's own `surge up`; without any, the user's own provider.
    """
    if data is not None:
        return sorted((data / "providers").glob("*")) or [data]
    network = places.network_meant()
    found = sorted(((network.parent if network else places.default_up()) / "providers").glob("*"))
    own = places.home() / "provider"
    return found or ([own] if own.is_dir() else [])
