"""Delegating: another machine keeps what an owner stored, with a wallet of its own that holds no more than it may spend.

The wallet follows from the owner's, so the owner finds it again and takes back what is in it. What a delegate can do: have shards proved,
pay for them, place and release them, write their maps. It cannot read, rename or share; and it cannot be made to forget: the mask secret
and the map key of an object are the same until the object is put again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from surge.buyer.client import Client
from surge.buyer.journal import CLOSED, OPENING
from surge.core.types import Address
from surge.errors import InvalidInput, SurgeError
from surge.storage import charges
from surge.storage.charges import Bundle
from surge.storage.client import Storage
from surge.wallet import KeySigner

log = logging.getLogger("surge.storage")

PURPOSE: Final = b"storage keeper"
"""What an owner's wallet derives the delegate's from."""

GAS: Final = 5 * 10**16
"""Wei of the chain's own coin that a delegate gets, for opening channels."""

LEFT: Final = 10**15
"""Wei of the coin that stay in a wallet that is swept: sending costs some."""


@dataclass(frozen=True, slots=True)
class Delegated:
    """What was given to a delegate, or came back from it."""

    wallet: str
    """The delegate's address."""
    objects: int
    """Objects in its bundle."""
    tokens: int
    """Wei of SURGE that were sent."""
    coin: int
    """Wei of the chain's own coin that were sent."""
    channels: int = 0
    """Channels that were closed."""
    waiting: int = 0
    """Channels that are not closed yet, for their providers did not answer: their deposits come later."""


async def delegate(storage: Storage, to: Path, cap: int, gas: int = GAS) -> Delegated:
    """Write a bundle of everything that is stored, and see that its wallet holds `cap` wei and some coin. Raises `NotEnough`.

    The same again brings the bundle up to date, and the wallet up to the cap.
    """
    wallet, ledger = storage.wallet.derived(PURPOSE), await storage.client.ledger()
    found = await charges.owned(storage)
    network = storage.client.home.network.network_id
    charges.write(to, Bundle(network, storage.wallet.address, storage.wallet.derive(PURPOSE), tuple(found)))
    tokens = max(0, cap - await ledger.token_balance(wallet.address))
    coin = max(0, gas - await ledger.gas_balance(wallet.address))
    await ledger.transfer(storage.wallet, wallet.address, tokens=tokens, native=coin)
    return Delegated(wallet.address, len(found), tokens, coin)


async def undelegate(storage: Storage) -> Delegated:
    """Take back what is in the delegate's wallet. What is in its channels comes back when it closes them: `end`.

    Closing takes gas: while channels are open, the delegate's coin stays with it.
    """
    wallet, ledger = storage.wallet.derived(PURPOSE), await storage.client.ledger()
    states = [await ledger.channel(each) for each in await ledger.channels_of(wallet.address)]
    waiting = sum(state.exists and not state.closed for state in states)
    swept = await _sweep(storage.client, wallet, storage.wallet.address, coin=not waiting)
    if waiting:
        log.warning(
            "%s of the delegate not closed, and its coin stays with it to close them: `surge storage keep --delegate FILE --end` there, "
            "then this again",
            "1 channel is" if waiting == 1 else f"{waiting} channels are",
        )
    return replace(swept, waiting=waiting)


async def end(client: Client, owner: Address) -> Delegated:
    """Close the channels of this wallet, a delegate's, and send its owner what it has; the coin once all are closed, which takes gas."""
    closed = waiting = 0
    for row in await client.journal.channels():
        if row.state in (CLOSED, OPENING):
            continue
        try:
            how, _, _ = await client.close_channel(row)
        except SurgeError as error:
            log.warning("the channel 0x%s is not closed yet: %s", row.id.hex(), error)
            how = ""
        closed, waiting = closed + (how in ("together", "finished")), waiting + (how not in ("together", "finished"))
    wallet = client.wallet
    if not isinstance(wallet, KeySigner):
        raise InvalidInput("a delegate's wallet is the one in its bundle")
    swept = await _sweep(client, wallet, owner, coin=not waiting)
    return Delegated(swept.wallet, 0, swept.tokens, swept.coin, closed, waiting)


async def _sweep(client: Client, wallet: KeySigner, to: Address, *, coin: bool) -> Delegated:
    ledger = await client.ledger()
    tokens = await ledger.token_balance(wallet.address)
    if tokens:
        await ledger.transfer(wallet, to, tokens=tokens)
    native = max(0, await ledger.gas_balance(wallet.address) - LEFT) if coin else 0
    if native:
        await ledger.transfer(wallet, to, native=native)
    return Delegated(wallet.address, 0, tokens, native)
