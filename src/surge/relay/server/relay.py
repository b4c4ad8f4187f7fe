"""`RelayServer`: runs a relay by supervising a nats-server beside its auth callout and its offer board."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.relay.connection import Message, NatsConnection
from surge.relay.server.callout import Callout
from surge.relay.server.config import RelayLimits, Secrets, TlsFiles, configuration, write_private
from surge.relay.server.meter import Meter
from surge.relay.server.process import NatsProcess, claim_port, end_stale, find_nats_server
from surge.relay.server.service import BoardService
from surge.relay.server.system import SystemAccount
from surge.relay.server.watch import Counters, RateWatch

log = logging.getLogger("surge.relay")

POLL_SECONDS = 1.0
"""How often the connections' counters are read."""
ANSWER_SECONDS = 3.0
"""How long nats-server may take to take the callout's subscription."""
SILENT_POLLS = 4
"""After so many unanswered polls in a row nats-server is taken for frozen, and killed."""
LONGEST_BACKOFF = 10.0
"""Seconds between attempts to start a nats-server that keeps dying."""


class RelayServer:
    """A relay: use it as an async context manager, or `await run()` for a process that only is a relay.

    `signer` is the relay's identity: clients know its address from the network file and sign their logins for it.
    `network`, 32 bytes, keeps offers for other networks off the board.
    `metered` has it count what it carries for each device, to be taken with `take_carried`.
    `port` 0 takes any free port; `self.url` tells which. `data_dir` holds the configuration (mode 0600), the log and
    the process id; a second relay on the same directory is refused.
    """

    def __init__(
        self,
        data_dir: Path,
        signer: Signer,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        network: bytes | None = None,
        limits: RelayLimits | None = None,
        tls: TlsFiles | None = None,
        websocket_port: int | None = None,
        mqtt_port: int | None = None,
        metered: bool = False,
    ) -> None:
        self.identity: Address = signer.address
        self.host, self.port = host, port
        self.limits = limits or RelayLimits()
        self._data_dir = data_dir
        self._tls = tls
        self._websocket_port, self._mqtt_port = websocket_port, mqtt_port
        self._secrets = Secrets()
        self._callout = Callout(self.identity, self._secrets.issuer, self.limits)
        self._meter = Meter() if metered else None
        served = self._meter.serve if self._meter is not None else None
        self.board = BoardService(signer, self.limits, network, self._callout.host_of, self._callout.stopped, served)
        self._process: NatsProcess | None = None
        self._connections: list[NatsConnection] = []
        self._system: SystemAccount | None = None
        self._lock: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.restarts = 0
        """How often nats-server had to be started again."""

    @property
    def url(self) -> str:
        """Where clients reach this relay."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"{'tls' if self._tls else 'nats'}://{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of nats-server, or None while there is none."""
        return self._process.pid if self._process else None

    @property
    def clients(self) -> int:
        """How many clients are logged in, as of the last look."""
        return len(self._callout.logins)

    @property
    def offers(self) -> int:
        """How many offers are on the board."""
        return len(self.board.board)

    # What it carries

    def take_carried(self) -> dict[Address, int]:
        """Bytes carried for each device that was served, both ways, since the last time; empty unless `metered`."""
        if self._meter is None:
            return {}
        carried = self._meter.take(login.address for login in self._callout.logins.values())
        carried.pop(self.identity, None)
        return carried

    async def count(self) -> None:
        """Reads the connections' counters now rather than at the next look. Raises Unavailable."""
        if self._system is None:
            raise Unavailable("nats-server is being started")
        self._observe(await self._system.counters())

    def host_of(self, address: Address) -> str:
        """The network host that an address is logged in from; empty when it is not."""
        return self._callout.host_of(address)

    async def stop_carrying(self, address: Address, why: str) -> None:
        """Cuts an address off; when it comes back it reaches nobody but the relay itself, and is told why."""
        self._callout.stopped[address] = why
        await self._cut_off(address)

    async def carry_again(self, address: Address) -> None:
        """Carries again what an address sends and is sent; it logs in anew for that."""
        if self._callout.stopped.pop(address, None) is not None:
            await self._cut_off(address)

    async def _cut_off(self, address: Address) -> None:
        if self._system is None:
            return  # nobody is logged in
        for number, login in list(self._callout.logins.items()):
            if login.address == address:
                with contextlib.suppress(Unavailable):  # a nats-server that does not answer is restarted, and everybody logs in anew
                    await self._system.kick(number)

    # Life

    async def start(self) -> None:
        """Starts the relay and returns when clients can log in.

        Raises InvalidInput when nats-server is missing, the port is taken, or another relay uses the directory.
        """
        program = find_nats_server()
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        try:
            config = self._data_dir / "nats.conf"
            end_stale(self._data_dir / "nats.pid", config)
            self.port = claim_port(self.host, self.port)
            write_private(config, self._configuration())
            await self._bring_up(program)
        except BaseException:
            await self.close()
            raise
        self._tasks = [
            asyncio.create_task(self._supervise(program), name="relay supervisor"),
            asyncio.create_task(self._watch(), name="relay watch"),
        ]

    async def close(self) -> None:
        """Stops nats-server and everything beside it."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._disconnect()
        if self._process is not None:
            await self._process.stop()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def run(self, on_ready: Callable[[RelayServer], None] | None = None) -> None:
        """Runs the relay until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            async with self:
                if on_ready is not None:
                    on_ready(self)
                await stop.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def _take_lock(self) -> None:
        descriptor = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InvalidInput(
                f"another relay is running in {self._data_dir}; stop it, or give this one its own directory",
                path=str(self._data_dir),
            ) from error
        self._lock = descriptor

    def _configuration(self) -> str:
        return configuration(
            self.identity,
            self._data_dir,
            self.host,
            self.port,
            self.limits,
            self._secrets,
            tls=self._tls,
            websocket_port=self._websocket_port,
            mqtt_port=self._mqtt_port,
        )

    async def _bring_up(self, program: Path) -> None:
        """Starts nats-server, and logs the callout, the board and the watch in at it."""
        self._callout.logins.clear()
        config, logged = self._data_dir / "nats.conf", self._data_dir / "nats.log"
        self._process = await NatsProcess.start(program, config, logged, self.host, self.port)
        callout = await self._connect("callout", self._secrets.callout)
        callout.on_message = partial(self._on_login, callout)
        callout.subscribe(1, "$SYS.REQ.USER.AUTH")
        await callout.flush(ANSWER_SECONDS)
        board = await self._connect("board", self._secrets.board)
        await self.board.serve(board)
        ended = None
        if self._meter is not None:
            self._meter.restarted()
            ended = self._ended
        self._system = SystemAccount(await self._connect("system", self._secrets.system), ended)

    def _ended(self, last: Counters) -> None:
        login = self._callout.logins.pop(last.connection, None)
        if self._meter is not None:
            self._meter.ended(last, None if login is None else login.address)

    async def _connect(self, user: str, password: str) -> NatsConnection:
        host = urlsplit(self.url).hostname or self.host
        login = {"name": user, "user": user, "pass": password}
        connection = await NatsConnection.open(host, self.port, lambda info: login, tls=self.own_tls())
        self._connections.append(connection)
        return connection

    def own_tls(self) -> ssl.SSLContext | None:
        """Trusts the relay's own certificate and no other, whatever host name it bears."""
        if self._tls is None:
            return None
        context = ssl.create_default_context(cafile=str(self._tls.certificate))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context

    async def _disconnect(self) -> None:
        connections, self._connections, self._system = self._connections, [], None
        for connection in connections:
            await connection.close()

    def _on_login(self, callout: NatsConnection, message: Message) -> None:
        try:
            answer = self._callout.answer(message.data, str(callout.info["server_id"]), time.time())
            callout.publish(message.reply, answer)
        except (PeerFault, Unavailable) as error:
            log.warning("relay %s: %s", self.identity, error)

    async def _supervise(self, program: Path) -> None:
        """Starts nats-server again whenever it ends."""
        backoff = 0.1
        while True:
            if self._process is not None:
                started = time.monotonic()
                code = await self._process.wait()
                log.warning("relay %s: nats-server ended with code %s; starting it again", self.identity, code)
                self._process = None
                if time.monotonic() - started > LONGEST_BACKOFF:
                    backoff = 0.1
            await self._disconnect()
            try:
                await self._bring_up(program)
                self.restarts += 1
            except (Unavailable, InvalidInput) as error:
                log.error("relay %s: %s; trying again in %.1f s", self.identity, error, backoff)
                if self._process is not None:
                    await self._process.stop()
                    self._process = None
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF)

    async def _watch(self) -> None:
        """Reads the connections' counters each second and cuts off who sends too much; kills a frozen nats-server."""
        watch, silent = RateWatch(self.limits, time.monotonic()), 0
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._system is None:
                silent = 0
                continue
            try:
                await self._poll(self._system, watch)
                silent = 0
            except Unavailable as error:
                silent += 1
                log.warning("relay %s: nats-server does not answer: %s", self.identity, error)
                if silent >= SILENT_POLLS and self._process is not None:
                    self._process.kill()
                    silent = 0

    def _observe(self, readings: Sequence[Counters]) -> list[Counters]:
        """Counts what crossed the clients' connections; gives their readings."""
        ours = [reading for reading in readings if reading.connection in self._callout.logins]
        if self._meter is not None:
            self._meter.observe(ours, {number: login.address for number, login in self._callout.logins.items()})
        return ours

    async def _poll(self, system: SystemAccount, watch: RateWatch) -> None:
        granted_before = set(self._callout.logins)
        readings = await system.counters()
        self._callout.keep_only({reading.connection for reading in readings}, granted_before)
        ours = self._observe(readings)
        for connection in watch.observe(ours, time.monotonic()):
            address = self._callout.logins[connection].address
            log.warning("relay %s: %s sends too much; cut off", self.identity, address)
            self._callout.refuse(address, time.time())
            await self._cut_off(address)
