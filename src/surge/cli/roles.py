"""`surge ledger`, `surge relay`, `surge provide`: one role, one process, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import textwrap
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surge.cli import places, registry
from surge.cli.children import say_ready, stop_event, stopped
from surge.cli.children import with_parent as die_with_parent
from surge.cli.console import Amount, Size, err, in_tokens
from surge.cli.duty import court_services, defend, juror_config, juror_options
from surge.cli.lending import attend, storage_config, storage_options, storage_service
from surge.cli.options import Existing, network_option
from surge.cli.places import passphrase
from surge.core import network as network_file
from surge.core.network import NetworkFile
from surge.core.text import counted, printable
from surge.errors import Unavailable

if TYPE_CHECKING:
    from surge.provider.config import ProviderConfig
    from surge.provider.juror import JurorConfig
    from surge.provider.service import Service
    from surge.storage.service import StorageConfig
    from surge.wallet import KeySigner, Keystore


LINES_PER_SECOND, LINES_AT_ONCE = 10.0, 1000.0
"""Log lines: what strangers do is told, but it does not fill the disk."""


class Paced(logging.Filter):
    """Leaves out lines that come too fast, and says how many."""

    def __init__(self) -> None:
        super().__init__()
        self._room, self._at, self._left_out = LINES_AT_ONCE, time.monotonic(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        now = time.monotonic()
        self._room = min(LINES_AT_ONCE, self._room + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if self._room < 1:
            self._left_out += 1
            return False
        self._room -= 1
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} ({self._left_out} lines before were left out)", None
            self._left_out = 0
        return True


class SafeFormatter(logging.Formatter):
    """Log lines that steer no terminal, and that nobody forges: what a peer said stays within its line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, without what was raised, which follows it."""
        return printable(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, ei: Any) -> str:
        """The traceback, indented: no line of it begins like a log line."""
        return textwrap.indent(printable(super().formatException(ei)), "    ")


def begin(with_parent: int | None) -> None:
    """What every role does first: log to standard error, and die with its parent if it has one."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Paced())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("aiohttp", "nats", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if with_parent:
        die_with_parent(with_parent)


def load_network(path: Path) -> NetworkFile:
    """The network in a file."""
    return network_file.decode(path.read_bytes())


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="The ledger's folder.")
@click.option("--port", required=True, type=click.IntRange(1, 65535), help="Where it answers, on 127.0.0.1.")
@click.option("--with-parent", type=int, hidden=True)
def ledger(data: Path, port: int, with_parent: int | None) -> None:
    """Run the embedded ledger (anvil) for one machine, with its state on disk.

    Whoever runs it is trusted with the money on it. Any JSON-RPC endpoint of an EVM chain serves in its place.
    """
    begin(with_parent)
    asyncio.run(_ledger(data, port))


async def _ledger(data: Path, port: int) -> None:
    from surge.ledger import EmbeddedLedger

    chain = EmbeddedLedger(data, port)
    stop = asyncio.create_task(stopped())
    try:
        await chain.start()
        mining = asyncio.create_task(chain.run())
        say_ready()
        await asyncio.wait((stop, mining), return_when=asyncio.FIRST_COMPLETED)
        if mining.done():
            mining.result()
        mining.cancel()
    finally:
        stop.cancel()
        await chain.stop()


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=None, help="The relay's folder. [default: the user's data folder]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The interface to listen on.")
@click.option("--port", default=4222, show_default=True, type=click.IntRange(0, 65535), help="The port to listen on; 0 for any.")
@click.option("--tls-cert", type=Existing(path_type=Path, dir_okay=False), help="Certificate, PEM.")
@click.option("--tls-key", type=Existing(path_type=Path, dir_okay=False), help="The certificate's key, PEM.")
@click.option("--network", metavar="FILE", default=None, help="Keep only offers of this network; --price and --register need it.")
@click.option("--register", is_flag=True, help="Name it in the network's registry, with the key `operator` in the folder's wallet.")
@click.option(
    "--operator", metavar="ADDRESS", default=None, help="Who names the relay in the network's registry, with a key kept elsewhere."
)
@click.option("--url", default=None, help="Where others reach it, as the registry is told. [default: where it listens]")
@click.option("--region", default="", help="Where it is, as the registry is told.")
@click.option("--price", type=Amount(), default=0, help="SURGE that devices pay for a gigabyte carried. [default: 0, nothing is asked]")
@click.option("--with-parent", type=int, hidden=True)
def relay(
    data: Path | None,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    network: str | None,
    price: int,
    with_parent: int | None,
    **naming: Any,
) -> None:
    """Let devices behind NAT be reached: run and supervise a nats-server that carries sealed sessions.

    With a price, devices pay for what it carries for them, and are carried no further when they owe too much. The registry then names it.
    """
    begin(with_parent)
    naming["register"] = naming["register"] or bool(price and not naming["operator"])
    if (tls_cert is None) != (tls_key is None):
        raise click.BadParameter("a certificate needs its key, and a key its certificate", param_hint="--tls-cert")
    if naming["register"] and naming["operator"]:
        raise click.BadParameter("the operator's key is in the folder's wallet, or elsewhere", param_hint="--register")
    if network is None and (naming["register"] or naming["operator"]):
        raise click.BadParameter("name the network in whose registry it is, or, with --price, that it is paid on", param_hint="--network")
    if host in ("0.0.0.0", "::") and not naming["url"] and (naming["register"] or naming["operator"]):  # noqa: S104
        raise click.BadParameter("it listens everywhere: say where others reach it", param_hint="--url")
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    asyncio.run(_relay(data or places.home() / "relay", host, port, tls, network, price, naming))


async def _relay(
    data: Path, host: str, port: int, tls: tuple[Path, Path] | None, network: str | None, price: int, naming: Mapping[str, Any]
) -> None:
    from surge.relay.server import RelayServer, TlsFiles
    from surge.wallet import Keystore

    keys = Keystore(data / "wallet")
    identity = keys.load_or_create("relay", passphrase())
    described = load_network(places.find_network(network)) if network else None
    network_id = described.network_id if described else None
    files = TlsFiles(*tls) if tls else None
    server = RelayServer(data / "nats", identity, host=host, port=port, tls=files, network=network_id, metered=price > 0)
    stop = asyncio.create_task(stopped())
    try:
        await server.start()
        err.print(f"relay {identity.address} at {server.url}", style="dim", markup=False, soft_wrap=True)
        if described and (naming["register"] or naming["operator"]):
            await _name_relay(described, data, keys, identity, naming["url"] or server.url, naming)
        if described and price:
            from surge.cli.carrying import run_paid

            await run_paid(server, described, data, keys, identity, naming["operator"], price, stop)
        else:
            say_ready()
            await stop
    finally:
        stop.cancel()
        await server.close()


async def _name_relay(network: NetworkFile, data: Path, keys: Keystore, identity: KeySigner, url: str, naming: Mapping[str, Any]) -> None:
    """See that the registry names the relay. While no endpoint answers it serves all the same: it needs no ledger for that."""
    from surge.core.types import address
    from surge.ledger import Ledger

    said = registry.metadata(region=naming["region"])
    try:
        chain = await Ledger.connect(network, data / "transactions.db")
        try:
            if naming["operator"]:
                await registry.require_relay(chain, network, address(naming["operator"]), identity, url, said)
            else:
                operator = keys.load_or_create("operator", passphrase())
                await registry.register_relay(chain, network, operator, identity, url, said)
        finally:
            await chain.close()
    except Unavailable as error:
        err.print(f"whether the registry names the relay was not seen: {error}", style="yellow", markup=False, soft_wrap=True)


@click.command()
@network_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The provider's folder. [default: the user's data folder]",
)
@click.option("--cores", default=1, show_default=True, type=click.IntRange(1, 4096), help="Units to run at once.")
@click.option("--memory", default="2G", show_default=True, type=Size(), help="Memory lent.")
@click.option("--when-idle", is_flag=True, help="Lend only while nobody else uses the processor.")
@click.option("--on-mains", is_flag=True, help="Lend only while plugged in.")
@click.option("--hours", default="", metavar="HH:MM-HH:MM", help="Lend only at these local times.")
@click.option("--region", default="", help="Where the device is, as buyers filter for it.")
@click.option("--watts", type=float, default=0.0, help="Power drawn at work, for buyers to see in `surge provider list`.")
@click.option("--price", type=Amount(), default=None, help="SURGE for a gigafuel (10^9 instructions).")
@click.option("--price-memory", type=Amount(), default=None, help="SURGE for a gigabyte of memory over a second.")
@click.option("--price-transfer", type=Amount(), default=None, help="SURGE for a gigabyte moved.")
@click.option("--price-compile", type=Amount(), default=None, help="SURGE for a megabyte of module compiled.")
@click.option("--opening", type=Amount(), default=None, help="SURGE that a channel pays at least. [default: 0.01]")
@click.option("--price-retainer", type=Amount(), default=0, help="SURGE for a core kept free over an hour. [default: 0, not offered]")
@click.option("--relay-price", type=Amount(), default=None, help="SURGE paid at most for a gigabyte that a relay carries. [default: 0.001]")
@click.option("--listen", default="", metavar="HOST:PORT", help="Take direct connections there, too, past all relays.")
@click.option("--announce", default="", metavar="HOST:PORT", help="Where others reach that, a name or address. [default: where it listens]")
@click.option("--operator", metavar="ADDRESS", default=None, help="Who is paid. [default: the key `operator` in the folder's wallet]")
@storage_options
@juror_options
@click.option("--yes", is_flag=True, help="Trust the network without asking.")
@click.option("--with-parent", type=int, hidden=True)
def provide(network: str | None, data: Path | None, yes: bool, with_parent: int | None, **options: Any) -> None:
    """Lend this device and earn. Stops cleanly on SIGTERM: finishes what is in flight and redeems what it earned."""
    from surge.cli.image import ensure_image
    from surge.cli.networks import ensure_trusted
    from surge.provider.memory import keep_freed

    begin(with_parent)
    keep_freed()
    config = provider_config(options)
    here = os.cpu_count() or config.cores
    if config.cores > here:
        err.print(f"this machine has {counted(here, 'core')}, and {config.cores} are lent: units will wait for one another", style="yellow")
    path = places.find_network(network)
    ensure_trusted(path, yes=yes)
    duty = juror_config(options, config)
    most = 10**15 if options["relay_price"] is None else options["relay_price"]
    folder = data or places.home() / "provider"
    shelf = options["storage_folder"] or folder / "storage"
    described, disk = load_network(path), storage_config(options, shelf)
    asyncio.run(registry.enrol_first(described, folder, config.region, options["operator"]))
    ensure_image()
    asyncio.run(_provide(described, folder, config, options["operator"], duty, most, shelf, disk))


async def _provide(
    network: NetworkFile,
    data: Path,
    config: ProviderConfig,
    paid: str | None,
    duty: JurorConfig | None,
    most: int,
    shelf: Path,
    disk: StorageConfig | None,
) -> None:
    from surge.buyer.home import dials_directly
    from surge.cli.carrying import paying
    from surge.ledger import Ledger
    from surge.provider.compute import Compute
    from surge.provider.daemon import Provider
    from surge.provider.retainers import Retainers
    from surge.provider.rivals import short_bond
    from surge.relay.client import Relays
    from surge.sandbox import Sandbox
    from surge.storage.permitted import PermitReader
    from surge.wallet import Keystore

    keys = Keystore(data / "wallet")
    device = keys.load_or_create("device", passphrase())
    stop = stop_event()
    async with contextlib.AsyncExitStack() as stack:
        chain = await Ledger.connect(network, data / "transactions.db", patience=30.0)
        stack.push_async_callback(chain.close)
        sandbox = Sandbox(places.cache(), workers=config.cores, memory=config.memory)
        stack.push_async_callback(sandbox.close)
        said = registry.metadata(engine=sandbox.engine_label, region=config.region)
        wallet, operator = await registry.enrol(chain, network, keys, device, paid, said)
        services: list[Service] = court_services(network, chain, sandbox, keys, paid, data, duty)
        compute = Compute(sandbox, data / "compute", config)
        if config.lends:
            services.append(compute)
            if config.retainer:
                services.append(Retainers(compute.turns, config.cores, config.retainer))
            defending = await defend(network, chain, keys, operator, None if paid else wallet, device)
            if defending is not None:
                stack.callback(defending.cancel)
        else:
            await sandbox.start()
        relays = await Relays.connect(network.relays, device, network=network.network_id, timeout=30.0, direct=dials_directly())
        stack.push_async_callback(relays.close)
        sending = asyncio.create_task(chain.run(), name="sending transactions again")
        stack.callback(sending.cancel)
        if disk is not None:
            services.append(storage := await storage_service(network, chain, shelf, disk, device, operator))
        compute.stored.opener = PermitReader(network.network_id, relays, device, None if disk is None else storage.shelf)

        async def bond() -> tuple[int, int]:
            return await chain.bonds.own_stake(operator), await chain.bonds.min_bond()

        provider = Provider(
            network=network,
            ledger=chain,
            relays=relays,
            device=device,
            operator=operator,
            data=data,
            services=services,
            config=config,
            bond=bond,
        )
        fares = paying(
            provider,
            network=network,
            ledger=chain,
            relays=relays,
            device=device,
            wallet=wallet,
            keys=keys,
            data=data / "relays",
            most=most,
        )
        await stack.enter_async_context(fares)
        await stack.enter_async_context(provider)
        await provider.ready()
        if config.lends and (short := short_bond(*await bond())):
            err.print(in_tokens(short), style="yellow", markup=False, soft_wrap=True)
        if disk is not None:
            for task in attend(network, chain, storage, device, operator, None if paid else wallet, stop):
                stack.callback(task.cancel)
        err.print(f"device {device.address} of operator {operator}", style="dim", markup=False, soft_wrap=True)
        say_ready()
        lending = asyncio.create_task(provider.run(stop), name="lending")
        stack.callback(lending.cancel)
        done, _ = await asyncio.wait((lending, sending), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        err.print("draining", style="dim")


def provider_config(options: dict[str, Any]) -> ProviderConfig:
    """The provider's configuration out of the command's options. Raises `InvalidInput`."""
    from surge.provider.config import ProviderConfig, Rates
    from surge.provider.offering import check

    named = {"gigafuel": "price", "memory": "price_memory", "transfer": "price_transfer", "compile": "price_compile"}
    rates = Rates(**{field: options[option] for field, option in named.items() if options[option] is not None})
    config = ProviderConfig(
        lends=not options["juror_only"],
        cores=options["cores"],
        memory=options["memory"],
        rates=rates,
        region=options["region"],
        milliwatts=round(options["watts"] * 1000),
        retainer=options["price_retainer"],
        when_idle=options["when_idle"],
        on_mains=options["on_mains"],
        hours=options["hours"],
        listen=options["listen"],
        announce=options["announce"],
    )
    if options["opening"] is not None:
        config = replace(config, opening=options["opening"])
    check(config)
    return config
