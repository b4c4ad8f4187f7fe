"""Founding the network of a `surge up`: contracts, keys, and the first money."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from surge.cli.console import err
from surge.cli.places import passphrase
from surge.cli.registry import metadata, register_relay
from surge.core import network as network_file
from surge.core.court import EMBEDDED as COURT
from surge.core.network import NetworkFile, RelayAddress
from surge.core.parameters import EMBEDDED
from surge.errors import InvalidInput
from surge.ledger import Ledger, deploy, load_genesis, verify_contracts
from surge.wallet import KeySigner, Keystore

if TYPE_CHECKING:
    from surge.cli.up import Plan

BUYER_TOKENS = 100_000 * 10**18
"""Wei of SURGE that the network's own buyer begins with."""

BUYER_COIN = 100 * 10**18
"""Wei of the chain's coin it begins with, for gas."""

PROVIDER_COIN = 10 * 10**18
"""Wei of the chain's coin that each operator, of a device or a relay, and each device begins with, for gas."""

OPERATOR_BOND = 10 * EMBEDDED.min_bond
"""Wei of SURGE that each operator of a device stakes: strangers who join later earn their bond first."""

JUROR_SEATS = 10
"""Seats of each juror: their stake covers a fine for the largest unit that the court hears."""

JUROR_BOND = OPERATOR_BOND + JUROR_SEATS * COURT.seat_stake
"""Wei of SURGE that each juror's operator stakes."""


async def found(data: Path, plan: Plan) -> Path:
    """The folder's network.json, made with its contracts and keys at the first start. The ledger is running.

    Jurors that the plan has since a later start get their money then.
    """
    path = data / "network.json"
    if path.is_file():
        network = network_file.decode(path.read_bytes())
        try:
            await verify_contracts(network)
        except InvalidInput as error:
            raise InvalidInput(f"{error.message}. If another version of Surge founded it, start in another folder: --data DIR") from error
    else:
        network = await _found(data, plan)
    if plan.jurors:
        await _endow_jurors(data, plan, network)
    return path


async def _found(data: Path, plan: Plan) -> NetworkFile:
    """Deploy the contracts, make the keys, give the first money, and write network.json last."""
    path = data / "network.json"
    err.print("founding the network: deploying its contracts", style="dim")
    genesis = load_genesis(data / "ledger")
    treasury = KeySigner.from_mnemonic(genesis.mnemonic)
    url = f"http://127.0.0.1:{plan.ledger_port}"
    deployed = await deploy([url], genesis.chain_id, treasury, data / "ledger" / "transactions.db", embedded=True, parameters=EMBEDDED)
    relays = []
    for index, port in enumerate(plan.relay_ports):
        identity = Keystore(data / "relays" / str(index) / "wallet").load_or_create("relay", passphrase())
        relays.append(RelayAddress(f"nats://127.0.0.1:{port}", identity.address))
    network = NetworkFile(
        name="surge up",
        kind="embedded",
        chain_id=genesis.chain_id,
        rpc=(url,),
        relays=tuple(relays),
        confirmations=1,
        **deployed.contracts,
    )
    await _fund(data, plan, network, treasury)
    beside = path.with_suffix(".tmp")
    beside.write_bytes(network.encode())
    beside.replace(path)
    return network


async def _fund(data: Path, plan: Plan, network: NetworkFile, treasury: KeySigner) -> None:
    ledger = await Ledger.connect(network, data / "ledger" / "transactions.db")
    try:
        buyer = Keystore(data / "buyer" / "wallet").load_or_create("buyer", passphrase())
        await ledger.transfer(treasury, buyer.address, tokens=BUYER_TOKENS, native=BUYER_COIN)
        for index in range(plan.providers):
            keys = Keystore(data / "providers" / str(index) / "wallet")
            await _endow(ledger, treasury, keys)
        for index, relay in enumerate(network.relays):
            keys = Keystore(data / "relays" / str(index) / "wallet")
            operator = keys.load_or_create("operator", passphrase())
            await ledger.transfer(treasury, operator.address, native=PROVIDER_COIN)
            await register_relay(ledger, network, operator, keys.load("relay", passphrase()), relay.url, metadata())
    finally:
        await ledger.close()


async def _endow_jurors(data: Path, plan: Plan, network: NetworkFile) -> None:
    """See that the operator of each juror has a bond. A juror has keys of its own: parties to a case are not drawn for it."""
    treasury = KeySigner.from_mnemonic(load_genesis(data / "ledger").mnemonic)
    ledger = await Ledger.connect(network, data / "ledger" / "transactions.db")
    try:
        for index in range(plan.jurors):
            keys = Keystore(data / "jurors" / str(index) / "wallet")
            if not await ledger.bonds.own_stake(keys.load_or_create("operator", passphrase()).address):
                await _endow(ledger, treasury, keys, JUROR_BOND)
    finally:
        await ledger.close()


async def _endow(ledger: Ledger, treasury: KeySigner, keys: Keystore, bond: int = OPERATOR_BOND) -> None:
    """Give a device and its operator coin, and the operator a bond."""
    operator, device = (keys.load_or_create(name, passphrase()) for name in ("operator", "device"))
    await ledger.transfer(treasury, device.address, native=PROVIDER_COIN)
    await ledger.transfer(treasury, operator.address, tokens=bond, native=PROVIDER_COIN)
    await ledger.bonds.stake(operator, operator.address, bond)
