"""Answering callers: which hellos get an answer, and when a session is handed to the application.

Anyone may send a hello, and answering costs two signature operations and a key agreement. So hellos are paced per
sender and altogether, one that came before is not answered again, half-open handshakes are bounded and given up after
some seconds, and open sessions are bounded per caller and altogether.

Keys cost nothing, so a bound per caller stops nobody. A session that the application has not said to `keep` has a stranger's place, and
there are few of those: when they are full the oldest goes, of the login or host that holds most of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.relay.client.handshake import Parties, answer_hello, read_hello
from surge.relay.client.session import FIRST_CREDIT, WINDOW, Session
from surge.relay.pace import Pace, Paces

log = logging.getLogger("surge.relay")

Accept = Callable[[Session], Awaitable[None]]

HELLOS_PER_SECOND = 200.0
"""Hellos answered per second altogether: about a tenth of a core."""
HELLOS_PER_SENDER = 5.0
"""Hellos answered per second of one sender, with a burst of four seconds' worth."""
NONCES_REMEMBERED = 8192
CONFIRM_SECONDS = 5.0
"""How long a caller may take to confirm the keys."""
MAX_HALF_OPEN = 256
STRANGERS = 32
"""Sessions that the application does not keep, at most."""
RECEIVE_BUDGET = 64 << 20
"""Bytes that may wait for readers in all sessions, apart from the `FIRST_CREDIT` that every session has."""


class Carrier(Protocol):
    """What brings hellos here and carries sessions: the link to a relay, or a direct connection."""

    @property
    def name(self) -> str:
        """What carries, for people."""
        ...

    def answer(self, source: str, token: str, answer: bytes) -> None:
        """Have a caller's hello answered."""
        ...

    def refuse(self, source: str, token: str, reason: str) -> None:
        """Have a caller told why there is no answer."""
        ...

    def carries(self, source: str, token: str) -> bool:
        """Whether it carries a session of this caller's under this token."""
        ...

    def add(self, session: Session) -> None:
        """Carry a session from now on."""
        ...

    def forget(self, session: Session) -> None:
        """The session has ended."""
        ...

    def wake(self, session: Session) -> None:
        """The session has a frame to send."""
        ...


class Listener:
    """Accepts sessions for one identity."""

    def __init__(self, accept: Accept, identity: Signer, network: bytes, max_sessions: int, max_per_caller: int) -> None:
        self._accept, self._identity, self._network = accept, identity, network
        self._max_sessions, self._max_per_caller = max_sessions, max_per_caller
        self._pace = Pace(HELLOS_PER_SECOND, 1.0, time.monotonic())
        self._senders: Paces[str] = Paces(HELLOS_PER_SENDER, burst_seconds=4.0)
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self._half_open: dict[Session, asyncio.TimerHandle] = {}
        self._open: dict[Session, asyncio.Task[None]] = {}
        self._parting: set[asyncio.Task[None]] = set()

    def take_hello(self, carrier: Carrier, source: str, way: Address | bytes, token: str, wire: bytes) -> bool:
        """Answers a hello, refuses it with a reason, or ignores it when it comes too fast or again. Whether it was answered.

        `source` is whom its sender counts as: a login at a relay, or the host of a direct connection. `way` is that of `Parties`.
        """
        if not self._may_answer(source):
            return False
        parties = Parties(self._network, way, self._identity.address)
        try:
            hello = read_hello(wire, parties)
            if hello.nonce in self._nonces:
                return False
            self._remember(hello.nonce)
            self._check_room(hello.caller, carrier.carries(source, token))
            answer, keys = answer_hello(hello, parties, self._identity)
        except SurgeError as error:
            log.info("hello of %s refused: %s", source, error)
            carrier.refuse(source, token, error.message)
            return False
        session = Session(
            peer=hello.caller,
            login=source,
            token=token,
            relay=carrier.name,
            context=hello.context,
            keys=(keys.to_caller, keys.to_listener),
            wake=carrier.wake,
            forget=lambda ended: self._forget(carrier, ended),
            window=self._window(),
            confirmed=self._confirmed,
        )
        late = Unavailable(f"{hello.caller} did not confirm the session's keys", peer=hello.caller)
        self._half_open[session] = asyncio.get_running_loop().call_later(CONFIRM_SECONDS, session.end, late)
        carrier.add(session)
        carrier.answer(source, token, answer)
        return True

    def _may_answer(self, source: str) -> bool:
        now = time.monotonic()
        return self._senders.take(source, now) and self._pace.take(1, now)

    def _window(self) -> int:
        """What a new session may have waiting for its reader: less, the more there are."""
        used = sum(session.window for session in (*self._open, *self._half_open))
        return min(WINDOW, max(FIRST_CREDIT, (RECEIVE_BUDGET - used) // 4))

    def _remember(self, nonce: bytes) -> None:
        self._nonces[nonce] = None
        if len(self._nonces) > NONCES_REMEMBERED:
            self._nonces.popitem(last=False)

    def _check_room(self, caller: Address, there: bool) -> None:
        if there:
            raise PeerFault("a session of this token is open already", caller=caller)
        if len(self._half_open) >= MAX_HALF_OPEN or sum(session.kept for session in self._open) >= self._max_sessions:
            raise Unavailable("too many sessions are open; try again later")
        callers = Counter(session.peer for session in (*self._open, *self._half_open))
        if callers[caller] >= self._max_per_caller:
            raise Unavailable("this caller has too many sessions open", caller=caller)

    def _confirmed(self, session: Session) -> None:
        self._half_open.pop(session).cancel()
        self._make_room()
        self._open[session] = asyncio.create_task(self._serve(session), name=f"session with {session.peer}")

    def _make_room(self) -> None:
        """See that there is a stranger's place free."""
        strangers = [session for session in self._open if not session.kept and session.is_open]
        if len(strangers) < min(STRANGERS, self._max_sessions):
            return
        held = Counter(session.peer_login for session in strangers)
        most = max(held.values())
        gone = next(session for session in strangers if held[session.peer_login] == most)
        log.info("the session with %s makes room: it has opened nothing yet", gone.peer)
        parting = asyncio.create_task(gone.close("others are waiting, and nothing was opened: try again"))
        self._parting.add(parting)
        parting.add_done_callback(self._parting.discard)

    async def _serve(self, session: Session) -> None:
        try:
            await self._accept(session)
        except SurgeError as error:
            log.info("session with %s ended: %s", session.peer, error)
        except Exception:
            log.exception("the handler of the session with %s failed", session.peer)
        finally:
            self._open.pop(session, None)
            await session.close()

    def _forget(self, carrier: Carrier, session: Session) -> None:
        carrier.forget(session)
        timer = self._half_open.pop(session, None)
        if timer is not None:
            timer.cancel()

    async def close(self) -> None:
        """Ends the handlers of all sessions."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._parting, return_exceptions=True)
        await asyncio.gather(*(session.close("this device stopped listening") for session in list(self._half_open)))
