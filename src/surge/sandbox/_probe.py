"""A worker in small, which `doctor` runs to see what holds on this machine: `python -I -m surge.sandbox._probe`.

It loads the engine, gives up its rights as a worker does, runs a guest, and then tries to open a file and a socket. What it finds goes to
standard output as JSON: see `Found`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

import msgspec

from surge.sandbox import lockdown
from surge.sandbox.engine import make_engine

_MODULE = '(module (memory (export "memory") 1) (func (export "go") (result i32) (i32.const 42)))'


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe saw."""

    held: tuple[str, ...]
    """The layers that hold."""
    missing: tuple[tuple[str, str], ...]
    """Layers, or parts of them, that do not, and why."""
    opens_files: bool
    """Whether it could still open a file."""
    opens_sockets: bool


def _succeeds(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return False
    return True


def main() -> int:
    """Find out and say."""
    import wasmtime

    lockdown.begin(())
    engine = make_engine()
    module = wasmtime.Module(engine, _MODULE)
    layers = lockdown.apply(lockdown.HOST_ROOM, new_code=False)
    store = wasmtime.Store(engine)
    store.set_fuel(1000)
    store.set_epoch_deadline(1)
    go = wasmtime.Instance(store, module, []).exports(store)["go"]
    if not isinstance(go, wasmtime.Func) or go(store) != 42:
        return 1
    found = Found(
        held=layers.held,
        missing=tuple((each.layer, each.reason) for each in layers.missing),
        opens_files=_succeeds(lambda: open(sys.executable, "rb").close()),
        opens_sockets=_succeeds(lambda: socket.socket().close()),
    )
    sys.stdout.buffer.write(msgspec.json.encode(found))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
