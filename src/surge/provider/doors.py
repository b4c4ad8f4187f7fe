"""What relays and the ledger look like to a provider."""

from __future__ import annotations

from typing import Any, Protocol

from surge.core.reach import DirectAddress
from surge.core.signing import Signer
from surge.core.types import Address
from surge.provider.earnings import Bank
from surge.provider.offering import Boards


class Accept(Protocol):
    """Takes a session and returns when it is over."""

    async def __call__(self, session: Any, /) -> None:
        """Serve it."""
        ...


class RelayClient(Boards, Protocol):
    """What a provider asks of `surge.relay.client.Relays`."""

    @property
    def connected(self) -> list[str]:
        """The URLs of the relays that can be used now."""
        ...

    @property
    def troubles(self) -> dict[str, str]:
        """Why the others cannot, by URL."""
        ...

    def listen(self, accept: Accept, *, identity: Signer, max_sessions: int = ..., max_per_caller: int = ...) -> None:
        """Hand sessions to `accept`."""
        ...

    async def open_door(self, host: str, port: int) -> DirectAddress:
        """Take direct connections there, too; port 0 is any. Where it is."""
        ...


class LedgerClient(Bank, Protocol):
    """What a provider asks of `surge.ledger.Ledger`."""

    async def operator_of(self, device: Address) -> Address | None:
        """The operator a device works for."""
        ...
