"""Native code inside a real worker, put in place of the code that runs a guest, reaches nothing."""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from lockdown_support import only_refusals
from surge.core.units import Limits
from surge.sandbox import lockdown
from surge.sandbox.engine import make_engine
from surge.sandbox.line import LENGTH
from surge.sandbox.protocol import SPOOLS, Done, Load, Ready, Refused, Reply, RunCommand, decode_reply, encode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

TESTS = Path(__file__).parent.parent


ATTACKER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import json, os, socket
import lockdown_support as attack
from surge.sandbox import worker
path = sys.argv.pop()
calls = attack.refused_calls(path)
def strike(host, request, stdin):
    results = {{"raw": attack.attempt(calls), "environment": sorted(os.environ), "user": os.getuid()}}
    results["open"] = [fd for fd in range(1024) if attack.raw("fcntl", fd, 1) >= 0]
    for name, act in (("open", lambda: open(path)), ("socket", lambda: socket.socket())):
        try:
            act()
            results["python " + name] = None
        except OSError as wrong:
            results["python " + name] = wrong.errno
    os.write(host_output, json.dumps(results).encode())
    return host.refuse(request.limits, "done")
worker.run_command = strike
held_spools = worker.Worker.__init__
def remember(self, line, host, spools):
    global host_output
    host_output = spools[0]
    held_spools(self, line, host, spools)
worker.Worker.__init__ = remember
sys.exit(worker.main())
"""


class Line:
    """A parent's end of a worker's socket, one message at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(30)

    def send(self, request: Load | RunCommand, descriptors: list[int]) -> None:
        message = encode(request)
        socket.send_fds(self._connection, [len(message).to_bytes(LENGTH, "little") + message], descriptors)

    def receive(self) -> Reply:
        return decode_reply(self._read(int.from_bytes(self._read(LENGTH), "little")))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._connection.recv(count - len(data))
            assert piece, "the worker is gone"
            data += piece
        return data


def test_native_code_in_a_worker_opens_neither_a_socket_nor_the_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    compiled = tmp_path / "module.cwasm"
    compiled.write_bytes(wasmtime.Module(make_engine(), '(module (func (export "_start")))').serialize())
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "errors").open("wb") as errors:
        worker = subprocess.Popen(
            [sys.executable, "-I", "-c", ATTACKER, str(theirs.fileno()), str(key)],
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        line = Line(ours)
        paths = [tmp_path / f"spool{index}" for index in range(SPOOLS)]
        descriptors = array.array("i", [os.open(compiled, os.O_RDONLY)])
        descriptors.extend(os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in paths)
        try:
            load = Load(image=bytes(32), python=False, memory=4 << 30, fds=len(descriptors))
            line.send(load, list(descriptors))
            ready = line.receive()
            assert isinstance(ready, Ready), ready.reason if isinstance(ready, Refused) else (tmp_path / "errors").read_text()
            assert ready.layers == lockdown.LAYERS
            line.send(RunCommand(argv=(), env=(), stdin=b"", files=None, limits=Limits(), seed=bytes(32)), [])
            done = line.receive()
            assert isinstance(done, Done), done
        finally:
            for fd in descriptors:
                os.close(fd)
            ours.close()
            worker.wait(20)
    results = json.loads(paths[0].read_text())
    assert key.read_text() == "secret"
    only_refusals(results.pop("raw"))
    assert results.pop("open")[:3] == [0, 1, 2]
    assert results == {
        "environment": ["LC_CTYPE"],  # the interpreter's own
        "user": 65534 if os.geteuid() == 0 else os.geteuid(),
        "python open": errno.EPERM,
        "python socket": errno.EPERM,
    }
