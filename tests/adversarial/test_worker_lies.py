"""Workers that lie to the process that started them."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox_support import HELLO, sandbox, wat
from surge.core.units import Status
from surge.errors import InternalFault
from surge.sandbox import protocol
from surge.sandbox.parent_line import ParentLine
from surge.sandbox.protocol import MAX_MESSAGE, Ready, Reply

FAKE = """
#!{python}
import os, socket, sys
sys.path[:0] = {path!r}
from surge.core.units import EMPTY, Part
from surge.sandbox.protocol import Compiled, Done, Ready, Refused, encode
line = socket.socket(fileno=int(sys.argv[4]))
def send(message):
    line.sendall(len(message).to_bytes(4, "little") + message)
def done(**changes):
    fields = dict(status=0, exit_code=0, value=EMPTY, stdout=EMPTY, stderr=EMPTY, files=(), state=b"", fuel=1,
                  seconds=0.0, cpu_seconds=0.0, peak_memory=0, detail="", output=b"")
    return encode(Done(**{{**fields, **changes}}))
ready = encode(Ready(layers=()))
{behaviour}
while line.recv(1 << 16):
    pass
"""

LIES = {
    "noise": "line.sendall(b'\\xff' * 1000)",
    "noise after ready": "send(ready); line.recv(1 << 16); send(b'\\xc1garbage')",
    "a length without end": "send(ready); line.recv(1 << 16); line.sendall(b'\\xff\\xff\\xff\\x7f')",
    "nothing": "pass",
    "a closed socket": "line.close(); sys.exit(0)",
    "a crash": "send(ready); line.recv(1 << 16); os.abort()",
    "done before ready": "send(done())",
    "ready twice": "send(ready); send(ready)",
    "less output than claimed": "send(ready); line.recv(1 << 16); send(done(stdout=Part(bytes(32), 10)))",
    "more output than claimed": "send(ready); line.recv(1 << 16); send(done(output=b'12345'))",
    "an empty spool": "send(ready); line.recv(1 << 16); send(done(stdout=Part(bytes(32), 10), output=None))",
    "an unknown status": "send(ready); line.recv(1 << 16); send(done(status=77))",
    "negative fuel": "send(ready); line.recv(1 << 16); send(done(fuel=-5))",
    "another kind of reply": "send(ready); line.recv(1 << 16); send(encode(Compiled(size=1, minimum_memory=1)))",
    "a refusal": "send(ready); line.recv(1 << 16); send(encode(Refused(reason='no')))",
    "files out of order": "send(ready); line.recv(1 << 16); send(done(files=(('b', EMPTY), ('a', EMPTY))))",
    "a digest that is none": "send(ready); line.recv(1 << 16); send(done(value=Part(b'', 0)))",
    "an exit code of nothing": "send(ready); line.recv(1 << 16); send(done(exit_code=3))",
    "output of a local ending": "send(ready); line.recv(1 << 16); send(done(status=66, state=bytes(32), fuel=0))",
    "a trap for less than its price": "send(ready); line.recv(1 << 16); send(done(status=5, fuel=3))",
    "a file outside": "send(ready); line.recv(1 << 16); send(done(files=(('../../etc/passwd', EMPTY),)))",
}


NEVER_READY = ("noise", "nothing", "a closed socket", "done before ready")


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_that_lies_costs_its_unit_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    monkeypatch.setattr("surge.sandbox.member.START_SECONDS", 1.0)
    async with sandbox(tmp_path, workers=1) as runner:
        module = wat(HELLO)
        await runner.image(module)
        fake = tmp_path / "python"
        behaviour = textwrap.dedent(LIES[lie]).replace("; ", "\n")
        fake.write_text(FAKE.format(python=sys.executable, path=sys.path, behaviour=behaviour).lstrip())
        fake.chmod(0o755)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", str(fake))
            running = runner.run(module, wall_ms=1000)
            if lie in NEVER_READY:
                with pytest.raises(InternalFault, match="does not start"):
                    await asyncio.wait_for(running, 15)
            else:
                execution = await asyncio.wait_for(running, 15)
                assert execution.outcome.status == Status.WORKER_LOST, execution
                assert execution.detail
        for member in runner.sandbox._pool.members:
            member.stop("the test is over")
        assert await asyncio.wait_for(runner.text(module), 15) == "hello\n"


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<I", MAX_MESSAGE + 1),
        struct.pack("<I", 3) + b"\xc1\xc1\xc1",
        struct.pack("<I", 0),
        struct.pack("<I", 5) + protocol.encode({"type": "Other"})[:5],
        struct.pack("<I", 1000) + b"then nothing",
    ],
)
async def test_what_is_no_reply_ends_the_line(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    replies: list[Reply] = []
    ended = asyncio.get_running_loop().create_future()
    line = ParentLine(ours, replies.append, ended.set_result)
    ready = protocol.encode(Ready(layers=("a",)))
    theirs.sendall(struct.pack("<I", len(ready)) + ready + sent)
    theirs.close()
    assert await asyncio.wait_for(ended, 5)
    assert replies == [Ready(layers=("a",))]
    line.close()
