"""The public API: a network, with everything that can be asked of it.

    with surge.connect() as network:
        for result in network.map(function, items):
            ...
        network.files.put("results.csv")

Everything here is blocking and may be called from any thread; the work happens on one event loop in the background.
"""

from __future__ import annotations

from pathlib import Path

from surge.buyer import api as buying
from surge.buyer.background import Background
from surge.buyer.client import Client
from surge.buyer.home import find_home
from surge.core.signing import Signer
from surge.storage.files import Files


def connect(
    network: str | Path | None = None,
    *,
    wallet: str | Signer | None = None,
    home: str | Path | None = None,
    offline: bool = False,
    direct: bool | None = None,
) -> Network:
    """Join a network.

    Args:
        network: a network.json or its folder; by default `$SURGE_NETWORK`, ./network.json, or the running `surge up`.
        wallet: the name of the key that pays, or a signer; by default the network's own buyer, or the user's default key.
        home: where this buyer's journal lies; by default beside an embedded network, or in the user's data folder.
        offline: read local state only; nothing is reached before something needs it anyway.
        direct: connect straight to devices that announce an address, which shows them this machine's; otherwise they see relays only. By
            default yes, unless `$SURGE_DIRECT` is `no`.

    Raises:
        InvalidInput: there is no such network, no such key, or the network was not made here and is not trusted yet.
        Unavailable: the ledger, or all relays, are away.
    """
    place = find_home(network, home)
    background = Background()
    try:
        client = background.call(Client.open(place, wallet, direct=direct))
        if not offline:
            background.call(client.online())
    except BaseException:
        background.stop()
        raise
    return Network(client, background)


class Network(buying.Network):
    """A network, joined with one wallet. `surge.connect` makes it; leaving its `with` block closes it."""

    def __init__(self, client: Client, background: Background) -> None:
        super().__init__(client, background)
        self.files = Files(client, background)
        """The wallet's stored files."""

    def close(self, *, wait: bool = True) -> None:
        """Leave: see `surge.buyer.api.Network.close`. What was read of files is paid first."""
        if wait:
            self.files.close()
        super().close(wait=wait)
