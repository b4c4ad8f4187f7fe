"""Dialling devices directly: at the addresses that they stated in offers, where that is allowed, and not again for a while where it failed.

An address proves nothing. Whoever is there greets first, and is then sent a hello that is good for this greeting and this device alone;
only the device can answer it. A device that states somebody else's address has buyers connect there, say nothing, and leave.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable

from surge.core import reach
from surge.core.offers import SignedOffer
from surge.core.reach import DirectAddress
from surge.core.signing import Signer
from surge.core.text import printable
from surge.core.types import Address
from surge.errors import PeerFault, Unavailable
from surge.relay.client.handshake import MAX_HANDSHAKE, Caller, Parties
from surge.relay.client.session import Session
from surge.relay.direct.wire import ANSWER, GREETING, HELLO, MAGIC, MAX_REASON, REFUSAL, Connection

log = logging.getLogger("surge.relay")

DIRECT_SECONDS = 2.0
"""How long connecting, the greeting and the answer may take together: three times around the world, with room. Then a relay is asked."""
AGAIN_SECONDS = 120.0
"""How long an address that failed is not tried."""
BRIEF_SECONDS = 10.0
"""A session that lost its connection sooner than this counts as a failure of the address."""
REMEMBERED = 8192
"""Devices whose addresses, and addresses whose failures are remembered: the least recently seen are forgotten first."""


class Dialler:
    """Dials devices directly for one client. `sessions` are those that are open."""

    def __init__(self, network: bytes, relays: Iterable[str]) -> None:
        """`relays` are the URLs in the network file: they say which inner networks it is in."""
        self.sessions: dict[Session, Connection] = {}
        self._network = network
        self._relays = tuple(relays)
        self._known: OrderedDict[Address, tuple[int, str]] = OrderedDict()
        self._failed: OrderedDict[str, float] = OrderedDict()

    def note(self, signed: SignedOffer) -> None:
        """A device's offer was seen: the newest says where it is."""
        offer = signed.offer
        known = self._known.get(offer.device)
        if known is None or known[0] <= offer.sequence:
            self._known[offer.device] = (offer.sequence, offer.direct)
            self._known.move_to_end(offer.device)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def address_of(self, device: Address) -> DirectAddress | None:
        """Where to try a device now; None where it said nothing, or what nobody shall be sent to, or failed there a short while ago."""
        _, text = self._known.get(device, (0, ""))
        if not text or time.monotonic() - self._failed.get(text, float("-inf")) < AGAIN_SECONDS:
            return None
        address = reach.parse(text)
        return address if reach.may_dial(address, self._relays) else None

    async def dial(self, device: Address, *, identity: Signer, context: bytes) -> Session | None:
        """A session with a device; None where relays must be asked. Whatever goes wrong here says nothing about the device."""
        address = self.address_of(device)
        if address is None:
            return None
        try:
            async with asyncio.timeout(DIRECT_SECONDS):
                return await self._dial(address, device, identity, context)
        except _Refused as error:
            log.info("%s refuses a direct session: %s", device, error)
        except (TimeoutError, OSError, Unavailable, PeerFault) as error:
            log.info("%s is not reached at %s: %s", device, address, str(error) or "no answer in time")
            self._failed_at(address)
        return None

    def _failed_at(self, address: DirectAddress) -> None:
        self._failed[str(address)] = time.monotonic()
        self._failed.move_to_end(str(address))
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)

    async def _dial(self, address: DirectAddress, device: Address, identity: Signer, context: bytes) -> Session:
        call = _Call()
        connection = Connection(limits={ANSWER: MAX_HANDSHAKE, REFUSAL: MAX_REASON}, took=call.took, greeting=GREETING)
        connection.lost = call.lost
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, str(address.host), address.port)
            greeting = await call.greeted
            if not greeting.startswith(MAGIC):
                raise Unavailable("what is there does not greet as a device of Surge")
            caller = Caller(Parties(self._network, greeting[len(MAGIC) :], device), identity, context)
            connection.send(HELLO, caller.hello)
            keys = caller.finish(await call.answered)
            if not connection.is_open:
                raise Unavailable(f"the connection was lost: {connection.reason}")
        except BaseException:
            connection.abort("it could not be opened")
            raise
        began = time.monotonic()

        def lost(connection: Connection) -> None:
            if session in self.sessions and time.monotonic() - began < BRIEF_SECONDS:
                self._failed_at(address)

        def forget(ended: Session) -> None:
            self.sessions.pop(ended, None)
            connection.forget(ended)

        session = Session(
            peer=device,
            login=str(address.host),
            token=caller.nonce[:8].hex(),
            relay=connection.name,
            context=context,
            keys=(keys.to_listener, keys.to_caller),
            wake=connection.wake,
            forget=forget,
        )
        self.sessions[session] = connection
        connection.lost = lost
        connection.add(session)
        session.start()
        return session

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(session.close() for session in list(self.sessions)))


class _Refused(Exception):
    """The device answers, and takes no session now."""


class _Call:
    """What is waited for in a handshake."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[bytes] = loop.create_future()
        self.answered: asyncio.Future[bytes] = loop.create_future()

    def took(self, connection: Connection, letter: int, body: bytes) -> None:
        """The greeting, the answer, or a refusal."""
        if letter == 0:
            self._set(self.greeted, body)
        elif letter == ANSWER:
            connection.limits = {}  # frames follow when there is a session for them
            self._set(self.answered, body)
        else:
            self._fail(_Refused(printable(body.decode(errors="replace"))))

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        self._fail(Unavailable(f"the connection was lost: {connection.reason}"))

    def _set(self, future: asyncio.Future[bytes], value: bytes) -> None:
        if not future.done():
            future.set_result(value)

    def _fail(self, error: Exception) -> None:
        for future in (self.greeted, self.answered):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits is told; nobody may wait
