"""What `surge provide` does before the court: juror duty, where it is wanted, and standing up for the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from surge.cli.console import Fuel, Size
from surge.cli.places import passphrase
from surge.core.network import NetworkFile
from surge.errors import InvalidInput

if TYPE_CHECKING:
    from surge.core.signing import Signer
    from surge.core.types import Address
    from surge.ledger import Ledger
    from surge.provider.config import ProviderConfig
    from surge.provider.juror import JurorConfig
    from surge.provider.service import Service
    from surge.sandbox import Sandbox
    from surge.wallet import Keystore

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("surge.provider")

INPUTS, LINKS = "inputs", "links"
"""Names of the keys in a provider's wallet that open what jurors are sent, and that its operator's hash chain follows from."""


def juror_options(command: F) -> F:
    """What a juror opts in to."""
    for option in (
        click.option("--leave-jury", is_flag=True, help="Give up the operator's seats; duties that there are are still done."),
        click.option("--juror-fuel", type=Fuel(), default=None, help="Fuel of the largest unit to run as a juror. [default: 10000G]"),
        click.option("--juror-memory", type=Size(), default=None, help="Memory of the largest unit to run as a juror. [default: 512M]"),
        click.option("--seats", default=1, show_default=True, type=click.IntRange(1, 64), help="Seats to take, each with a stake."),
        click.option("--juror-only", is_flag=True, help="Do juror duty and nothing else: lend nothing."),
        click.option("--juror", is_flag=True, help="Do juror duty: run units in dispute again, for a fee; being away costs it."),
    ):
        command = option(command)
    return command


def juror_config(options: dict[str, Any], config: ProviderConfig) -> JurorConfig | None:
    """A juror's configuration out of the command's options; None without juror duty. Raises `InvalidInput`."""
    from surge.provider.juror import JurorConfig

    sits = options["juror"] or options["juror_only"]
    if not sits and not options["leave_jury"]:
        return None
    if sits and options["leave_jury"]:
        raise InvalidInput("--juror takes seats and --leave-jury gives them up: say one of them")
    usual = JurorConfig()
    memory = options["juror_memory"] or min(usual.memory, config.memory)
    if memory > config.memory:
        raise InvalidInput(f"a juror of {memory} bytes needs more memory than the {config.memory} that are lent: raise --memory")
    seats = options["seats"] if sits else 0
    return JurorConfig(seats=seats, memory=memory, fuel_cap=options["juror_fuel"] or usual.fuel_cap)


def court_services(
    network: NetworkFile, chain: Ledger, sandbox: Sandbox, keys: Keystore, paid: str | None, data: Path, duty: JurorConfig | None
) -> list[Service]:
    """The services that a provider does for the court. Raises `InvalidInput` where it cannot."""
    from surge.provider.juror import Juror

    if duty is None:
        return []
    if network.court is None:
        raise InvalidInput(f"the network {network.name} has no court, so there is no juror duty")
    if paid:
        raise InvalidInput("a juror sits with its operator's key: juror duty needs it in this folder's wallet, not --operator")
    return [
        Juror(
            network=network,
            court=chain.court,
            address=network.court.address,
            sandbox=sandbox,
            operator=keys.load_or_create("operator", passphrase()),
            key=keys.receiving(INPUTS, passphrase()),
            folder=data / "juror",
            config=duty,
        )
    ]


async def defend(
    network: NetworkFile, chain: Ledger, keys: Keystore, operator: Address, signer: Signer | None, device: Signer
) -> asyncio.Task[None] | None:
    """Stand up for the operator in the background, where there is a court, and see that its hash chain is registered.

    With `signer` None the operator's key is elsewhere: then whoever has it registers the chain whose head the log names.
    """
    from surge.core.hash_chain import HashChain
    from surge.provider.defence import LINKS as LENGTH
    from surge.provider.defence import Defence

    if network.court is None:
        return None
    keys.load_or_create(LINKS, passphrase())

    def seed(number: int) -> bytes:
        return keys.derive(LINKS, b"hash chain %d" % number, passphrase())

    defence = Defence(chain.court, chain.anchors, operator, device, seed)
    if signer is None and not await chain.anchors.anchors(operator):
        log.warning("the operator %s has no hash chain yet: register 0x%s with its key", operator, HashChain(seed(0), LENGTH).head.hex())
    return asyncio.create_task(defence.run(signer), name="standing up for the operator")
