"""A layer of the lockdown that is missing is told; what workers need goes on working."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from lockdown_support import only_refusals, run
from surge.sandbox import lockdown

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")


def test_a_layer_that_is_missing_is_told_and_stops_nothing(key: Path) -> None:
    [held, missing, results] = run(
        """
        import errno
        def refuse(*_):
            raise OSError(errno.EOPNOTSUPP, "refused")
        real = _linux.call
        _linux.call = lambda name, *rest: refuse() if name.startswith("landlock") else real(name, *rest)
        os.setgid = refuse
        layers = lockdown.apply(1 << 30)
        attack.say(layers.held)
        attack.say({each.layer: each.reason for each in layers.missing})
        attack.say(attack.attempt(attack.refused_calls(key)))
        """,
        key,
    )
    assert held == [layer for layer in lockdown.LAYERS if layer != lockdown.LANDLOCK]
    assert "lsm=" in missing.pop(lockdown.LANDLOCK)
    if os.geteuid() == 0:
        assert "stays root" in missing.pop(lockdown.PRIVILEGES)
    assert missing == {}
    del results["mmap executable"]
    only_refusals(results)


def test_landlock_says_when_it_comes_too_late_for_a_thread(key: Path) -> None:
    [version, held, missing] = run(
        """
        done = threading.Event()
        threading.Thread(target=done.wait).start()
        attack.say(_landlock.version())
        layers = lockdown.apply(1 << 30)
        attack.say(layers.held)
        attack.say({each.layer: each.reason for each in layers.missing})
        done.set()
        """,
        key,
    )
    assert lockdown.SECCOMP in held
    if version < 8:
        assert lockdown.LANDLOCK not in held
        assert "threads" in missing[lockdown.LANDLOCK]


# What workers need.


def test_guests_run_trap_grow_and_stop_as_before(key: Path) -> None:
    said = run(
        """
        import time, wasmtime
        from surge.sandbox.engine import THREAD_STACK, make_engine
        engine = make_engine()
        module = wasmtime.Module(engine, '''(module (memory (export "memory") 1)
          (func (export "add") (result i32) (i32.add (i32.const 40) (i32.const 2)))
          (func (export "unreachable") unreachable)
          (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
          (func (export "outside") (result i32) (i32.load (i32.const 0x7fffffff)))
          (func $deep (export "deep") (call $deep))
          (func (export "grow") (result i32) (memory.grow (i32.const 1000)))
          (func (export "spin") (loop $l (br $l))))''')
        go, running = threading.Event(), threading.Event()
        def call(name):
            store = wasmtime.Store(engine)
            store.set_fuel(10**15)
            store.set_epoch_deadline(2)
            return wasmtime.Instance(store, module, []).exports(store)[name](store)
        def tick():
            while running.wait():
                time.sleep(0.01)
                engine.increment_epoch()
        def guests():
            go.wait()
            for name in ("add", "grow", "unreachable", "divide", "outside", "deep", "spin", "add"):
                if name == "spin":
                    running.set()
                try:
                    attack.say(call(name))
                except wasmtime.Trap as trap:
                    attack.say(trap.trap_code.name)
        threading.Thread(target=tick, daemon=True).start()
        threading.stack_size(THREAD_STACK)
        thread = threading.Thread(target=guests)
        thread.start()
        lockdown.apply(8 << 30, new_code=False)
        go.set()
        thread.join()
        os._exit(0)
        """,
        key,
    )
    expected = [42, 1, "UNREACHABLE", "INTEGER_DIVISION_BY_ZERO", "MEMORY_OUT_OF_BOUNDS", "STACK_OVERFLOW", "INTERRUPT", 42]
    assert said == expected


def test_descriptors_still_arrive_and_can_be_mapped(key: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, key.open("rb") as file:
        socket.send_fds(ours, [b"file"], [file.fileno()])
        said = run(
            """
            import mmap, socket
            line = socket.socket(fileno=0)
            lockdown.begin([0])
            lockdown.apply(1 << 30, new_code=False)
            _, [fd], _, _ = socket.recv_fds(line, 100, 4)
            attack.say([os.fstat(fd).st_size, mmap.mmap(fd, 0, prot=mmap.PROT_READ)[:].decode()])
            line.sendall(b"thanks")
            """,
            key,
            stdin=theirs.fileno(),
        )
        assert said == [[6, "secret"]]
        assert ours.recv(10) == b"thanks"
