"""Tahoe-LAFS as a peer: an introducer, storage nodes and a client on this machine, with the same k of n, asked by its web gateway.

It lives in an environment of its own, `.venv-tahoe`, since it needs other versions of what Surge needs too.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

TAHOE = Path(__file__).parents[1] / ".venv-tahoe" / "bin" / "tahoe"

START_SECONDS = 120.0

AT_ONCE = 4
"""Small files that are under way at once."""


@dataclass
class Grid:
    """A running grid."""

    url: str
    """Of the client's gateway."""
    client: psutil.Process

    def put(self, data: bytes) -> str:
        """Store bytes; the capability that reads them."""
        request = urllib.request.Request(f"{self.url}/uri", data=data, method="PUT")
        with urllib.request.urlopen(request, timeout=600) as answer:
            return str(answer.read().decode())

    def get(self, capability: str) -> bytes:
        """Read them back."""
        with urllib.request.urlopen(f"{self.url}/uri/{capability}", timeout=600) as answer:
            return bytes(answer.read())

    def put_all(self, contents: list[bytes]) -> list[str]:
        """Store many."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.put, contents))

    def get_all(self, capabilities: list[str]) -> list[bytes]:
        """Read many."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.get, capabilities))


@contextlib.contextmanager
def grid(folder: Path, nodes: int, k: int, n: int) -> Iterator[Grid]:
    """A grid of so many storage nodes."""
    running: list[subprocess.Popen[bytes]] = []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        introducer = folder / "introducer"
        port = free_port()
        _tahoe("create-introducer", *_place(port), introducer)
        running.append(_run(introducer))
        furl = _wait_for(introducer / "private" / "introducer.furl")
        for number in range(nodes):
            node, port = folder / f"node{number}", free_port()
            _tahoe("create-node", f"--introducer={furl}", "--webport=none", "--nickname", f"node{number}", *_place(port), node)
            running.append(_run(node))
        client, web = folder / "client", free_port()
        codes = (f"--shares-needed={k}", f"--shares-happy={k + 1}", f"--shares-total={n}")
        _tahoe("create-client", f"--introducer={furl}", f"--webport=tcp:{web}:interface=127.0.0.1", *codes, client)
        running.append(_run(client))
        made = Grid(f"http://127.0.0.1:{web}", psutil.Process(running[-1].pid))
        _wait_connected(made.url, nodes)
        yield made
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(30)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _place(port: int) -> tuple[str, str]:
    return f"--port=tcp:{port}:interface=127.0.0.1", f"--location=tcp:127.0.0.1:{port}"


def _tahoe(*args: object) -> None:
    done = subprocess.run([str(TAHOE), *map(str, args)], capture_output=True, text=True, timeout=START_SECONDS)
    if done.returncode:
        raise SystemExit(f"tahoe {args[0]}: {done.stderr or done.stdout}")


def _run(folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "run.log").open("wb")
    return subprocess.Popen([str(TAHOE), "run", "--allow-stdin-close", str(folder)], stdout=log, stderr=log)


def _wait_for(path: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while not (path.is_file() and path.read_text().strip()):
        if time.monotonic() > until:
            raise SystemExit(f"Tahoe-LAFS wrote no {path}")
        time.sleep(0.1)
    return path.read_text().strip()


def _wait_connected(url: str, nodes: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"{url}/?t=json", timeout=5) as answer:
                servers = json.load(answer)["servers"]
            if sum(each["connection_status"] == "connected" for each in servers) >= nodes:
                return
        if time.monotonic() > until:
            raise SystemExit("Tahoe-LAFS found too few of its nodes")
        time.sleep(0.2)
