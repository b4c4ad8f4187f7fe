"""What peers, sessions and jobs look like to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from surge.core.messages import NewPrices
from surge.core.receipts import Terms
from surge.errors import SurgeError

if TYPE_CHECKING:
    from surge.buyer.peers import Peer


class Link(Protocol):
    """A session as `surge.relay.client.Session` is one."""

    async def send(self, message: bytes) -> None:
        """Queue a message, in order; waits for room."""
        ...

    async def receive(self) -> bytes:
        """The next message."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class Listener(Protocol):
    """A job that uses the peer."""

    def peer_opened(self, peer: Peer) -> None:
        """Its session is up; what was under way has been asked again."""
        ...

    def peer_away(self, peer: Peer) -> None:
        """Its session broke; it is being dialled."""
        ...

    def peer_gone(self, peer: Peer, error: SurgeError) -> None:
        """It stays away, or broke the protocol."""
        ...

    def peer_prices(self, peer: Peer, terms: Terms, message: NewPrices) -> None:
        """It quotes a job new prices."""
        ...

    def room_changed(self) -> None:
        """Its window may take more units."""
        ...


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group, however deep."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
