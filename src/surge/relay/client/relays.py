"""`Relays`: all the relays a device uses at once, and the direct connections beside them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Self

from surge.core.network import RelayAddress
from surge.core.offers import SignedOffer
from surge.core.reach import DirectAddress
from surge.core.signing import Signer
from surge.core.text import printable
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.relay.board import Kept, OfferQuery, decode_kept
from surge.relay.client.handshake import Caller, Parties
from surge.relay.client.link import Link
from surge.relay.client.listener import Accept, Listener
from surge.relay.client.listing import offers_of
from surge.relay.client.session import Session
from surge.relay.client.wire import parse_url
from surge.relay.direct.dialling import Dialler
from surge.relay.direct.door import Door
from surge.relay.login import is_address, node_subject

log = logging.getLogger("surge.relay")

GRACE_SECONDS = 1.0
"""Once enough relays answered, how long the others are waited for."""
DIAL_SECONDS = 5.0
"""How long a device may take to answer through one relay."""
MAX_SESSIONS, MAX_PER_CALLER = 128, 8


class Relays:
    """Connections to several relays, kept up until `close`. Use `await Relays.connect(...)`.

    An `async with` block closes it at its end.
    """

    def __init__(self, signer: Signer, network: bytes, direct: Iterable[str] | None = None) -> None:
        self.address: Address = signer.address
        """The address logged in with."""
        self._network = network
        self._links: list[Link] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None
        self._door: Door | None = None
        self._dialler = None if direct is None else Dialler(network, direct)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._left: dict[str, str] = {}
        """Why relays are used no more, by URL."""
        self._offer: bytes | None = None
        self._news = asyncio.Event()

    @classmethod
    async def connect(
        cls,
        endpoints: Iterable[RelayAddress],
        signer: Signer,
        *,
        network: bytes,
        minimum: int = 1,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        direct: bool = True,
    ) -> Relays:
        """Connects to the relays and keeps at it; returns when `minimum` answered and the others had a second more.

        `network` is the 32 bytes that name the network: sessions across networks are refused. `tls` replaces the
        system's certificates for tls:// URLs. `direct` is whether devices are also dialled at the addresses that their
        offers state, which shows them the address of this machine. Raises Unavailable, saying for each relay what failed, when fewer than
        `minimum` answered within `timeout` seconds; InvalidInput for a malformed URL.
        """
        endpoints = list(endpoints)
        relays = cls(signer, network, [endpoint.url for endpoint in endpoints] if direct else None)
        for endpoint in endpoints:
            if endpoint.url.startswith(("ws://", "wss://")):
                continue  # for browsers
            parse_url(endpoint.url)
            if not is_address(endpoint.address):
                raise InvalidInput(f"a relay's identity is an address, not {endpoint.address!r}", url=endpoint.url)
            relays._links.append(Link(endpoint, signer, tls=tls, on_hello=relays._take_hello, on_change=relays._changed))
        if len(relays._links) < minimum:
            raise InvalidInput(f"{minimum} relays are wanted, but only {len(relays._links)} are named")
        for link in relays._links:
            relays._running[link.endpoint.url] = relays._spawn(link.run(), f"relay {link.endpoint.url}")
        try:
            await relays._wait_for(minimum, timeout)
        except BaseException:
            await relays.close()
            raise
        return relays

    async def _wait_for(self, minimum: int, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            connected = sum(link.answers for link in self._links)
            if connected >= minimum:
                if all(link.attempts for link in self._links):
                    return
                deadline = min(deadline, loop.time() + GRACE_SECONDS)
            if loop.time() >= deadline:
                break
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
        if connected < minimum:
            failures = self.troubles
            said = "; ".join(f"{url} ({why})" for url, why in failures.items())
            raise Unavailable(
                f"{connected} of {len(self._links)} relays answered, of {minimum} needed: {said}. See that they run and can be reached; "
                "if they moved, take a newer network file",
                failures=failures,
            )

    @property
    def connected(self) -> list[str]:
        """The URLs of the relays that can be used now."""
        return [link.endpoint.url for link in self._usable]

    @property
    def _usable(self) -> list[Link]:
        return [link for link in self._links if link.is_connected and link.endpoint.url not in self._left]

    @property
    def troubles(self) -> dict[str, str]:
        """Why the relays that cannot be used now cannot, by URL."""
        return {
            link.endpoint.url: self._left.get(link.endpoint.url) or str(link.last_error or "no answer yet")
            for link in self._links
            if not link.is_connected or link.endpoint.url in self._left
        }

    def _silence(self, failures: Sequence[object]) -> str:
        """Why none of the relays answered."""
        return "; ".join(map(str, failures)) or "; ".join(self.troubles.values())

    @property
    def endpoints(self) -> list[RelayAddress]:
        """All relays in use, connected or not, but those that were left."""
        return [link.endpoint for link in self._links if link.endpoint.url not in self._left]

    # What relays carry

    def carried(self, url: str) -> int:
        """Bytes that crossed the connections to a relay since the start, both ways, without what belonged to nothing here."""
        return next((link.traffic.carried for link in self._links if link.endpoint.url == url), 0)

    def stopped(self, url: str) -> str:
        """Why a relay carries nothing for this client, as it says; empty while it carries, or does not answer."""
        return next((link.stopped for link in self._links if link.endpoint.url == url), "")

    def leave(self, url: str, why: str) -> bool:
        """Uses a relay no more, if another one can be used; sessions through it end. Whether it was left."""
        if not any(other != url for other in self.connected):
            return False
        task = self._running.pop(url, None)
        if task is not None:
            log.warning("the relay %s is used no more: %s", url, why)
            self._left[url] = why
            self._spawn(self._part(url, why, task), f"leaving {url}")
        return True

    async def _part(self, url: str, why: str, task: asyncio.Task[None]) -> None:
        sessions = [session for link in self._links if link.endpoint.url == url for session in link.sessions.values()]
        await asyncio.gather(*(session.close(why) for session in sessions))
        task.cancel()

    # Offers

    async def publish_offer(self, offer: bytes) -> int:
        """Puts a signed offer on every connected relay's board, and later on those that come back.

        Returns how many took it. Raises InvalidInput when every relay that answered refused it, Unavailable when none
        answered.
        """
        self._offer = offer
        return await self._tell_boards("offer", offer)

    async def withdraw_offer(self, sequence: int) -> int:
        """Takes offers up to `sequence` off the boards. Returns how many relays did."""
        self._offer = None
        return await self._tell_boards("withdraw", str(sequence).encode())

    async def _tell_boards(self, operation: str, body: bytes) -> int:
        async def tell(link: Link) -> Kept:
            return decode_kept(await link.ask(operation, body))

        links = self._usable
        answers = await asyncio.gather(*(tell(link) for link in links), return_exceptions=True)
        kept = sum(1 for answer in answers if isinstance(answer, Kept) and answer.done)
        refused = [printable(answer.reason[:200]) for answer in answers if isinstance(answer, Kept) and not answer.done]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, SurgeError):
                raise answer
        if not kept and refused:
            raise InvalidInput(f"every relay refused: {refused[0]}", reasons=refused)
        if not kept:
            raise Unavailable(f"no relay answered: {self._silence(answers)}")
        return kept

    async def offers(self, query: OfferQuery | None = None) -> list[SignedOffer]:
        """The offers that the connected relays know together: the newest of each device, verified here.

        A relay that hides offers is outdone by another; one that invents, alters or keeps old ones is not believed.
        Raises Unavailable when no relay answers.
        """
        links = [link for link in self._links if link.answers]
        answers = await asyncio.gather(*(offers_of(link, query or OfferQuery(), self._network) for link in links), return_exceptions=True)
        newest: dict[Address, SignedOffer] = {}
        failures = []
        for answer in answers:
            if isinstance(answer, SurgeError):
                failures.append(answer)
                continue
            if isinstance(answer, BaseException):
                raise answer
            for offer in answer:
                device = offer.offer.device
                if device not in newest or newest[device].offer.sequence < offer.offer.sequence:
                    newest[device] = offer
        if len(failures) == len(answers):
            raise Unavailable(f"no relay answered: {self._silence(failures)}")
        if self._dialler is not None:
            for offer in newest.values():
                self._dialler.note(offer)
        return [newest[device] for device in sorted(newest)]

    def _changed(self, link: Link) -> None:
        self._news.set()
        if link.is_connected and self._offer is not None:
            self._spawn(self._offer_again(link, self._offer), "offer again")

    async def _offer_again(self, link: Link, offer: bytes) -> None:
        try:
            await link.ask("offer", offer)
        except SurgeError as error:
            log.info("the offer is not on %s: %s", link.endpoint.url, error)

    # Sessions

    async def dial(
        self,
        device: Address,
        *,
        identity: Signer,
        context: bytes = b"",
        relays: Sequence[str] | None = None,
        timeout: float = DIAL_SECONDS,
    ) -> Session:
        """A session with `device`: straight to where its offer says that it is, or through the first connected relay that reaches it.

        Offers count that were read here before. `relays` names the relays to try, in order, by URL or address; all by default. `identity`
        signs for this side, `context` is what the device is told before anything else (at most 16 KiB, encrypted for nobody).
        Raises PeerFault when what answered through the relays is not the device, Unavailable when nothing did.
        """
        if self._dialler is not None and (session := await self._dialler.dial(device, identity=identity, context=context)) is not None:
            return session
        fault: SurgeError | None = None
        failures = []
        for link in self._chosen(relays, device):
            try:
                return await self._dial(link, device, identity, context, timeout)
            except PeerFault as error:
                fault = error
            except Unavailable as error:
                failures.append(str(error))
        if fault is not None:
            raise fault
        raise Unavailable(
            f"{device} cannot be reached: {'; '.join(failures) or 'no shared relay is connected'}",
            device=device,
            failures=failures,
        )

    def _chosen(self, relays: Sequence[str] | None, device: Address) -> list[Link]:
        links = [link for link in self._links if link.reaches(device)]
        if relays is None:
            return links
        ranks = {name: rank for rank, name in reversed(list(enumerate(relays)))}
        ranked = [(min(ranks.get(link.endpoint.url, len(ranks)), ranks.get(link.endpoint.address, len(ranks))), link) for link in links]
        return [link for rank, link in sorted(ranked, key=lambda pair: pair[0]) if rank < len(ranks)]

    async def _dial(self, link: Link, device: Address, identity: Signer, context: bytes, timeout: float) -> Session:
        caller = Caller(Parties(self._network, self.address, device), identity, context)
        token = caller.nonce[:8].hex()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        link.calls[device, token] = answer
        try:
            link.post(
                node_subject(device, self.address, "h", token),
                caller.hello,
                link.nobody_subject(device, token),
            )
            async with asyncio.timeout(timeout):
                wire = await answer
        except TimeoutError as error:
            raise Unavailable(f"the device does not answer through {link.endpoint.url}", device=device) from error
        finally:
            del link.calls[device, token]
        keys = caller.finish(wire)
        session = Session(
            peer=device,
            login=device,
            token=token,
            relay=link.endpoint.url,
            context=context,
            keys=(keys.to_listener, keys.to_caller),
            wake=link.wake,
            forget=link.forget,
        )
        link.add(session)
        session.start()
        return session

    def listen(
        self,
        accept: Accept,
        *,
        identity: Signer,
        max_sessions: int = MAX_SESSIONS,
        max_per_caller: int = MAX_PER_CALLER,
    ) -> None:
        """Hands each session that others open to `accept`, in a task of its own; the session ends when it returns.

        `identity` must be the key these relays are logged in with: callers know a device by that address.
        """
        if identity.address != self.address:
            raise InvalidInput(f"{self.address} is logged in, so it cannot listen as {identity.address}", address=identity.address)
        if self._listener is not None:
            raise InvalidInput("sessions are accepted already")
        self._listener = Listener(accept, identity, self._network, max_sessions, max_per_caller)

    async def open_door(self, host: str, port: int) -> DirectAddress:
        """Takes direct connections there, too, for what `listen` was given; port 0 is any. Gives the address.

        Raises InvalidInput where that address cannot be had.
        """
        if self._listener is None or self._door is not None:
            raise InvalidInput("a door is opened once, where sessions are accepted")
        self._door = Door(self._listener)
        return await self._door.open(host, port)

    def _take_hello(self, link: Link, sender: Address, token: str, wire: bytes) -> bool:
        if self._listener is None:
            link.post(node_subject(sender, link.address, "x", token), b"it accepts no sessions")
            return False
        return self._listener.take_hello(link, sender, sender, token, wire)

    # Life

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())

    async def close(self) -> None:
        """Ends all sessions and connections."""
        if self._door is not None:
            await self._door.close()
        if self._dialler is not None:
            await self._dialler.close()
        if self._listener is not None:
            await self._listener.close()
        await asyncio.gather(*(session.close() for link in self._links for session in list(link.sessions.values())))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
