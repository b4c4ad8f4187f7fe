"""`surge network`: deploy one, look at one and at what is offered there, trust one, take part in it as an operator (`registry`)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import click

from surge.buyer.home import user_keystore
from surge.cli import places, providers, registry
from surge.cli.console import Amount, err, out, print_json
from surge.cli.options import as_json, network_option
from surge.cli.places import passphrase
from surge.core import network as network_file
from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.parameters import PUBLIC
from surge.core.types import Address, address
from surge.errors import InvalidInput


@click.group()
def network() -> None:
    """Deploy a network's contracts, look at one and its offers, trust one."""


def ensure_trusted(path: Path, *, yes: bool = False) -> None:
    """Ask once before a network made elsewhere is used: its contracts are compared with the shipped ones first.

    Raises `InvalidInput` when the contracts are others, or the answer is no.
    """
    from surge.buyer.trust import is_trusted, trust

    data = path.read_bytes()
    found = network_file.decode(data)
    if is_trusted(path, found):
        return
    check(found)
    describe(found)
    if not yes and not click.confirm("Trust this network with your money?", default=False, err=True):
        raise InvalidInput(f"{path} is not trusted; nothing was signed for it")
    trust(path, found)


def check(found: NetworkFile) -> None:
    """Compare the network's contracts with the shipped ones."""
    from surge.ledger import verify_contracts

    asyncio.run(verify_contracts(found))


def describe(found: NetworkFile) -> None:
    """Say what a network is, on standard error."""
    err.print(f"{found.name} ({found.kind}), chain {found.chain_id}", markup=False, soft_wrap=True)
    for label, entries in (("ledger", found.rpc), ("relay", [each.url for each in found.relays])):
        for entry in entries:
            err.print(f"  {label:>8}  {entry}", markup=False, soft_wrap=True)
    err.print(f"  channels  {found.channels.address}: the code is that of this version of Surge", markup=False, soft_wrap=True)


@network.command()
@network_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def trust(network: str | None, yes: bool) -> None:
    """Compare a network's contracts with the shipped ones and, if you agree, trust it from now on."""
    path = places.find_network(network)
    ensure_trusted(path, yes=yes)
    err.print(f"{path} is trusted", markup=False, soft_wrap=True)


@network.command(name="show")
@network_option
@as_json
def show_(network: str | None, json_: bool) -> None:
    """Say what a network file holds."""
    path = places.find_network(network)
    found = network_file.decode(path.read_bytes())
    if json_:
        print_json({"file": str(path), "network_id": found.network_id, **json.loads(found.encode())})
        return
    out.print(f"{path}", markup=False)
    out.print(f"id        0x{found.network_id.hex()}")
    out.print(found.encode().decode(), markup=False)


for _command in (registry.register, registry.register_relay_, registry.describe, registry.members):
    network.add_command(_command)
network.add_command(providers.list_, "offers")


@network.command()
@click.option("--rpc", "urls", required=True, multiple=True, metavar="URL", help="A JSON-RPC endpoint of the chain. Repeatable.")
@click.option(
    "--relay",
    "relays",
    multiple=True,
    metavar="URL=ADDRESS",
    help="A relay and its identity. Repeatable. [default: this machine's own `surge relay`]",
)
@click.option("--key", default="default", show_default=True, help="The wallet key that pays for the deployment and gets the supply.")
@click.option("--name", default="surge", show_default=True, help="What people call the network.")
@click.option("--confirmations", default=12, show_default=True, type=click.IntRange(1, 10_000), help="Blocks after which a deposit counts.")
@click.option("--fee-bps", default=100, show_default=True, type=click.IntRange(0, 500), help="The protocol's fee, in basis points.")
@click.option(
    "--min-bond", type=Amount(), default=PUBLIC.min_bond, help="Own stake below which an operator's pay is retained. [default: 100]"
)
@click.option("-o", "--output", default="network.json", show_default=True, type=click.Path(path_type=Path, dir_okay=False))
def init(
    urls: tuple[str, ...], relays: tuple[str, ...], key: str, name: str, confirmations: int, fee_bps: int, min_bond: int, output: Path
) -> None:
    """Deploy the contracts on any EVM chain and write network.json."""
    from surge.buyer.trust import trust as remember
    from surge.ledger import chain_id, deploy

    if output.exists():
        raise InvalidInput(f"{output} exists: name another file with -o", path=str(output))
    if not output.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {output.parent}: make it, or name another file with -o", path=str(output))
    if not os.access(output.absolute().parent, os.W_OK):
        raise InvalidInput(f"{output} cannot be written: name a file in a folder of yours with -o", path=str(output))
    entries = tuple(_relay(each) for each in relays) or (_own_relay(),)
    later = Contract(Address("0x" + "00" * 20), bytes(32))
    draft = NetworkFile(name, "public", 1, urls, later, later, later, later, entries, confirmations)
    network_file.decode(draft.encode())
    signer = user_keystore().load(key, passphrase())

    async def work() -> NetworkFile:
        found = replace(draft, chain_id=await chain_id(urls))
        network_file.decode(found.encode())
        journal = places.home() / "transactions.db"
        parameters = replace(PUBLIC, fee_bps=fee_bps, min_bond=min_bond)
        deployed = await deploy(urls, found.chain_id, signer, journal, embedded=False, parameters=parameters, confirmations=confirmations)
        return replace(found, **deployed.contracts)

    found = asyncio.run(work())
    data = found.encode()
    output.write_bytes(data)
    remember(output, found)
    err.print(f"wrote {output} (sha256 {hashlib.sha256(data).hexdigest()[:16]}...)", markup=False, soft_wrap=True)
    if not relays:
        err.print(
            f"its relay is to run on this machine: surge relay --network {output}\n"
            f"others reach it once {output} names this machine instead of 127.0.0.1, and the relay listens there (--host)",
            markup=False,
            soft_wrap=True,
        )


def _relay(text: str) -> RelayAddress:
    """A relay out of `URL=ADDRESS`."""
    url, _, identity = text.rpartition("=")
    if not url:
        raise InvalidInput(f"a relay is written URL=ADDRESS, not {text!r}: `surge relay` prints both when it starts", relay=text)
    return RelayAddress(url, address(identity))


def _own_relay() -> RelayAddress:
    """The relay that `surge relay` is on this machine when nothing else is said."""
    from surge.wallet import Keystore

    identity = Keystore(places.home() / "relay" / "wallet").load_or_create("relay", passphrase())
    return RelayAddress("nats://127.0.0.1:4222", identity.address)
