"""The registry on the ledger: operators name devices and relays there, with their consent, and say something of each."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

import surge
from surge.cli import places
from surge.cli.acting import on_ledger
from surge.cli.console import err
from surge.cli.options import as_json, network_option
from surge.cli.tables import show
from surge.core.network import NetworkFile
from surge.core.receipts import DeviceConsent, RelayConsent
from surge.core.signing import Signer, check_signed
from surge.core.types import address
from surge.errors import InvalidInput, LedgerError, NotEnough, PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.core.types import Address
    from surge.ledger import Ledger, Member
    from surge.wallet import KeySigner, Keystore

MAX_METADATA = 256
"""Bytes that the registry keeps of what an operator says of anything."""


def metadata(**facts: str) -> str:
    """What is said of a device or a relay: JSON with the version and the facts that are known, the longest left out where it is too long.

    >>> metadata(region="is-1", engine="")
    '{"surge": "0.1.0", "region": "is-1"}'
    """
    known = {"surge": surge.__version__, **{name: fact for name, fact in facts.items() if fact}}
    while len(text := json.dumps(known)) > MAX_METADATA:
        known.pop(max(known, key=lambda name: len(json.dumps(known[name]))))
    return text


# What daemons do


async def register_device(chain: Ledger, network: NetworkFile, operator: KeySigner, device: KeySigner, said: str) -> None:
    """See that the registry names the device as the operator's, and says this of it."""
    found = await chain.device(device.address)
    if found is not None and found.operator != operator.address:
        raise InvalidInput(f"the device {device.address} works for {found.operator} already: remove it there first", device=device.address)
    if found is None and not await chain.gas_balance(operator.address):
        raise NotEnough(
            f"registering this device takes gas, and so does redeeming what it earns: send its operator and the device some of the chain's "
            f"coin from a wallet that has some, and start again\n"
            f"  surge wallet send {operator.address} 1 --coin\n"
            f"  surge wallet send {device.address} 1 --coin"
        )

    async def write() -> None:
        await chain.register_device(operator, device.address, said, await device_consent(chain, network, operator.address, device))

    await _bring_up_to_date(found, ("", said), write)


async def enrol(
    chain: Ledger, network: NetworkFile, keys: Keystore, device: KeySigner, paid: str | None, said: str
) -> tuple[KeySigner, Address]:
    """See that the registry names the device, as the one of whoever is `paid`, or of the key `operator` here.

    Returns the wallet that pays for what the device needs, the operator's where its key is here, and the operator.
    """
    if paid:
        await require_device(chain, network, address(paid), device, said)
        return device, address(paid)
    operator = keys.load_or_create("operator", places.passphrase())
    await register_device(chain, network, operator, device, said)
    return operator, operator.address


async def enrol_first(network: NetworkFile, data: Path, region: str, paid: str | None) -> None:
    """The same by itself, before anything that takes long: whoever lacks gas, or a consent, hears of it at once."""
    from surge.ledger import Ledger
    from surge.sandbox import engine
    from surge.wallet import Keystore

    keys = Keystore(data / "wallet")
    device = keys.load_or_create("device", places.passphrase())
    chain = await Ledger.connect(network, data / "transactions.db", patience=30.0)
    try:
        await enrol(chain, network, keys, device, paid, metadata(engine=engine.label(), region=region))
    finally:
        await chain.close()


async def register_relay(chain: Ledger, network: NetworkFile, operator: KeySigner, relay: KeySigner, url: str, said: str) -> None:
    """See that the registry names the relay as the operator's, with its URL, and says this of it."""
    found = await chain.relay(relay.address)
    if found is not None and found.operator != operator.address:
        raise InvalidInput(f"the relay {relay.address} is {found.operator}'s already: remove it there first", relay=relay.address)
    if found is None and not await chain.gas_balance(operator.address):
        raise NotEnough(
            f"registering this relay takes gas: send its operator some of the chain's coin from a wallet that has some, and start again\n"
            f"  surge wallet send {operator.address} 1 --coin"
        )

    async def write() -> None:
        await chain.register_relay(operator, relay.address, url, said, await relay_consent(chain, network, operator.address, relay))

    await _bring_up_to_date(found, (url, said), write)


async def _bring_up_to_date(found: Member | None, said: tuple[str, str], write: Callable[[], Awaitable[None]]) -> None:
    """Write what is new; of one that is named already, what is said may be old: that stops nothing."""
    if found is None:
        await write()
    elif (found.url, found.metadata) != said:
        try:
            await write()
        except (LedgerError, Unavailable) as error:
            err.print(f"the registry says what was true before of {found.address}: {error}", style="yellow", markup=False, soft_wrap=True)


async def device_consent(chain: Ledger, network: NetworkFile, operator: Address, device: Signer) -> bytes:
    """The device's signature that it works for the operator: good once, and for nobody else."""
    nonce = await chain.device_nonce(device.address)
    return device.sign(DeviceConsent(operator, device.address, nonce).digest(network.registry_domain))


async def relay_consent(chain: Ledger, network: NetworkFile, operator: Address, relay: Signer) -> bytes:
    """The relay's signature that the operator may name it: good once, and for nobody else."""
    nonce = await chain.relay_nonce(relay.address)
    return relay.sign(RelayConsent(operator, relay.address, nonce).digest(network.registry_domain))


async def require_device(chain: Ledger, network: NetworkFile, operator: Address, device: Signer, said: str) -> None:
    """Raise `InvalidInput`, with the command that mends it, unless the registry names the device as the operator's."""
    if await chain.operator_of(device.address) == operator:
        return
    signature = await device_consent(chain, network, operator, device)
    raise InvalidInput(
        f"the registry does not name the device {device.address} as {operator}'s. Whoever holds that key says so once, with\n"
        f"  surge network register {device.address} 0x{signature.hex()} --key NAME --metadata {shlex.quote(said)}"
    )


async def require_relay(chain: Ledger, network: NetworkFile, operator: Address, relay: Signer, url: str, said: str) -> None:
    """Raise `InvalidInput`, with the command that mends it, unless the registry names the relay as the operator's, with this URL."""
    found = await chain.relay(relay.address)
    if found is not None and (found.operator, found.url) == (operator, url):
        return
    signature = await relay_consent(chain, network, operator, relay)
    raise InvalidInput(
        f"the registry does not name the relay {relay.address} at {url} as {operator}'s. Whoever holds that key says so once, with\n"
        f"  surge network register-relay {relay.address} {url} 0x{signature.hex()} --key NAME --metadata {shlex.quote(said)}"
    )


# Commands of `surge network`


_metadata_option = click.option("--metadata", "said", default="", metavar="TEXT", help="What to say of it, in 256 bytes.")
_key_option = click.option("--key", default=None, help="The operator's key in your wallet.")


def _signature(text: str, prints: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise InvalidInput(f"a consent is 0x and 130 hex digits, as `{prints}` prints it, not {text[:140]!r}") from None


def _short(text: str) -> str:
    if len(text.encode()) > MAX_METADATA:
        raise InvalidInput(f"the registry keeps {MAX_METADATA} bytes of a text, not {len(text.encode())}")
    return text


def _check_consent(consent: DeviceConsent | RelayConsent, described: NetworkFile, signature: bytes, by: Address, advice: str) -> None:
    """See that a consent is its signer's, before any gas is spent on it. Raises `InvalidInput` with what to do."""
    try:
        check_signed(consent.digest(described.registry_domain), signature, by, f"a consent of {by} to be named by {consent.operator}")
    except PeerFault as error:
        raise InvalidInput(f"{error.message}: {advice}") from error


@click.command()
@click.argument("device", metavar="DEVICE")
@click.argument("consent", metavar="CONSENT")
@_metadata_option
@_key_option
@network_option
def register(device: str, consent: str, said: str, key: str | None, network: str | None) -> None:
    """Name DEVICE as yours, as its operator, with the CONSENT that `surge provide --operator` prints: from then on you are paid."""
    named, signature, text = address(device), _signature(consent, "surge provide --operator"), _short(said)

    async def work(chain: Ledger, described: NetworkFile, signer: KeySigner) -> None:
        consented = DeviceConsent(signer.address, named, await chain.device_nonce(named))
        _check_consent(
            consented, described, signature, named, f"`surge provide --operator {signer.address}` prints a fresh one on the device"
        )
        await chain.register_device(signer, named, text, signature)

    signer, _ = on_ledger(network, key, work)
    err.print(f"{named} works for {signer.address}", markup=False, soft_wrap=True)


@click.command(name="register-relay")
@click.argument("relay", metavar="RELAY")
@click.argument("url", metavar="URL")
@click.argument("consent", metavar="CONSENT")
@_metadata_option
@_key_option
@network_option
def register_relay_(relay: str, url: str, consent: str, said: str, key: str | None, network: str | None) -> None:
    """Name RELAY, reached at URL, as yours, with the CONSENT that `surge relay --operator` prints."""
    named, signature, text = address(relay), _signature(consent, "surge relay --operator"), _short(said)

    async def work(chain: Ledger, described: NetworkFile, signer: KeySigner) -> None:
        consented = RelayConsent(signer.address, named, await chain.relay_nonce(named))
        _check_consent(consented, described, signature, named, f"`surge relay --operator {signer.address}` prints a fresh one there")
        await chain.register_relay(signer, named, _short(url), text, signature)

    signer, _ = on_ledger(network, key, work)
    err.print(f"{named} at {url} is a relay of {signer.address}", markup=False, soft_wrap=True)


@click.command()
@click.argument("text", metavar="TEXT")
@_key_option
@network_option
def describe(text: str, key: str | None, network: str | None) -> None:
    """Say something of yourself as an operator, in 256 bytes: who you are, where you are reached."""
    said = _short(text)

    async def work(chain: Ledger, described: NetworkFile, signer: KeySigner) -> None:
        await chain.describe_operator(signer, said)

    signer, _ = on_ledger(network, key, work)
    err.print(f"the registry says so of {signer.address}", markup=False, soft_wrap=True)


@click.command()
@network_option
@as_json
def members(network: str | None, json_: bool) -> None:
    """Everybody whom the registry names: devices, relays, operators, and what is said of them."""
    from surge.ledger import Ledger

    home = places.find_home(network)
    home.check_running()

    async def work() -> list[Member]:
        chain = await Ledger.connect(home.network, home.transactions)
        try:
            return await chain.members()
        finally:
            await chain.close()

    columns = ["kind", "address", "operator", "url", "metadata"]
    rows = [{name: getattr(each, name) for name in columns} for each in asyncio.run(work())]
    show(rows, columns, as_json=json_, empty="the registry names nobody yet")
