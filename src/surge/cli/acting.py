"""Doing something on a network's ledger with a key of the wallet, without its relays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from surge.cli import places
from surge.core.network import NetworkFile

if TYPE_CHECKING:
    from surge.ledger import Ledger
    from surge.wallet import KeySigner

T = TypeVar("T")


def on_ledger(
    network: str | None, key: str | None, work: Callable[[Ledger, NetworkFile, KeySigner], Awaitable[T]], provider: Path | None = None
) -> tuple[KeySigner, T]:
    """Do something on the ledger of a network that is trusted, with a key of this name, or the operator's key in a provider's folder.

    Returns the key, and what was done.
    """
    from surge.buyer.trust import require_trusted
    from surge.ledger import Ledger
    from surge.wallet import Keystore

    home = places.find_home(network)
    require_trusted(home.file, home.network)
    home.check_running()
    signer = home.key(key) if provider is None else Keystore(provider / "wallet").load("operator", places.passphrase())

    async def run() -> T:
        chain = await Ledger.connect(home.network, home.transactions)
        try:
            return await work(chain, home.network, signer)
        finally:
            await chain.close()

    return signer, asyncio.run(run())
