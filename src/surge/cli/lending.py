"""What `surge provide` lends of its disk, and how it leaves."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from surge.cli.console import Amount, Size, err
from surge.errors import InvalidInput

if TYPE_CHECKING:
    from surge.core.network import NetworkFile
    from surge.core.signing import Signer
    from surge.core.types import Address
    from surge.ledger import Ledger
    from surge.storage.service import Storage, StorageConfig

F = TypeVar("F", bound=Callable[..., Any])

PRICE = 2 * 10**15
"""Wei for 10^9 bytes over 30 days: 0.002 SURGE."""

MOST_USUAL = 4 << 30
"""Bytes that each provider of a `surge up` lends, where the disk has them."""

SHARE = 4
"""The providers of a `surge up` lend one part in so many of what is free, together."""


def storage_options(command: F) -> F:
    """What a device lends of its disk."""
    for option in (
        click.option("--leave", is_flag=True, help="Take no new shards, and stop once those kept were moved or have run out."),
        click.option(
            "--storage-folder",
            type=click.Path(path_type=Path, file_okay=False),
            default=None,
            help="Where shards are kept. [default: in the provider's folder]",
        ),
        click.option("--storage-price", type=Amount(), default=PRICE, help="SURGE for a gigabyte kept over 30 days. [default: 0.002]"),
        click.option("--storage", type=Size(), default=0, help="Disk lent to keep others' shards, such as 50G. [default: none]"),
    ):
        command = option(command)
    return command


def storage_config(options: dict[str, Any], folder: Path) -> StorageConfig | None:
    """What is lent, out of the command's options; None for nothing. Raises `InvalidInput`."""
    from surge.storage.service import StorageConfig

    room, price, leaving = options["storage"], options["storage_price"], options["leave"]
    known = (folder / "index.db").is_file()
    if leaving and not known:
        raise InvalidInput(f"nothing was ever kept in {folder}: there is nothing to leave", folder=str(folder))
    if not room and not leaving:
        if known:
            err.print(
                f"shards of others lie in {folder}, and nobody can reach them: lend on with --storage, or leave properly with --leave",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
        return None
    if not price:
        raise InvalidInput("--storage-price is more than 0: what costs nothing is not offered")
    return StorageConfig(room, price, leaving=leaving)


async def storage_service(
    network: NetworkFile, chain: Ledger, folder: Path, config: StorageConfig, device: Signer, operator: Address
) -> Storage:
    """The service that keeps shards, each until no challenge about it can wait for an answer any more."""
    from surge.core.storage.deals import SKEW
    from surge.storage.service import Storage, pledge_domain

    if network.challenges is not None:
        deadline = (await chain.challenges.parameters()).deadline_seconds + SKEW
        config = replace(config, grace=max(config.grace, deadline))
    domain, channels = pledge_domain(network), network.channels_domain
    return Storage(folder, config, device=device, operator=operator, domain=domain, channels=channels)


def attend(
    network: NetworkFile, chain: Ledger, storage: Storage, device: Signer, operator: Address, paid: Signer | None, stop: asyncio.Event
) -> list[asyncio.Task[None]]:
    """What goes on beside the service: challenges on the ledger are answered, and a device that leaves stops once none can come any more.

    Args:
        network: the network.
        chain: its ledger.
        storage: the service.
        device: pledges, and pays for answers.
        operator: whose bond answers.
        paid: collects what answers are paid, where its key is here.
        stop: set once a device that leaves has nothing left, and no pledge of what it had holds.
    """
    from surge.storage.answering import Answering

    answering = None if network.challenges is None else Answering(chain.challenges, storage.shelf, device, operator)

    async def leave() -> None:
        await storage.gone.wait()
        if answering is not None:
            if storage.shelf.index.bound() > time.time():
                err.print("nothing is kept here any more: leaving once no pledge holds, as challenges are answered until then", style="dim")
            await answering.until_free()
        err.print("nothing is kept here any more: leaving", style="dim")
        stop.set()

    tasks = [asyncio.create_task(leave(), name="waiting until nothing is kept")]
    if answering is not None:
        tasks.append(asyncio.create_task(answering.run(paid), name="answering challenges"))
    return tasks


def usual_room(data: Path, providers: int) -> int:
    """Bytes that each provider of a `surge up` in this folder lends, unless its user says otherwise."""
    data.mkdir(parents=True, exist_ok=True)
    return min(MOST_USUAL, shutil.disk_usage(data).free // SHARE // max(providers, 1))
