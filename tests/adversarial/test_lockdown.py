"""Native code inside a process that was locked down reaches nothing; what workers need goes on working."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lockdown_support import X86, killed_calls, number, only_refusals, refused_calls
from surge.sandbox import lockdown

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

TESTS = Path(__file__).parent.parent

PRELUDE = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import os, threading
import lockdown_support as attack
from surge.sandbox import _landlock, _linux, _seccomp, lockdown
key = sys.argv[1]
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file only its owner may read: ours."""
    path = tmp_path / "key"
    path.write_text("secret")
    path.chmod(0o600)
    return path


def run(script: str, key: Path, *, stdin: int = subprocess.DEVNULL, rc: int = 0) -> list[Any]:
    """Run a script in a process of its own; what it said."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(key)],
        stdin=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == rc, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_the_lockdown_the_attacks_succeed(key: Path) -> None:
    # Or the tests below could pass because an attack is written wrong.
    harmful = ["openat", "openat2", "openat the parent's environment", "socket, internet", "socket, unix", "memfd_create"]
    harmful += ["kill the parent", "tgkill the parent", "mmap executable", "newfstatat", "prlimit64 of the parent", "fchmodat"]
    harmful += ["linkat", "faccessat", "readlinkat", "statx", "sched_setaffinity", "prctl dumpable", "inotify_init1"]
    [results] = run(f"attack.say(attack.attempt({{name: attack.refused_calls(key)[name] for name in {harmful!r}}}))", key)
    assert {name for name, result in results.items() if result < 0} == set()


def test_every_layer_holds_here(key: Path) -> None:
    [held, missing] = run(
        """
        layers = lockdown.apply(1 << 30)
        attack.say(layers.held)
        attack.say([[each.layer, each.reason] for each in layers.missing])
        """,
        key,
    )
    assert held == list(lockdown.LAYERS), missing
    assert missing == []


@pytest.mark.parametrize("thread", ["new", "old", "main"])
def test_native_code_reaches_nothing(key: Path, thread: str) -> None:
    [before, results] = run(
        f"""
        attack.say(open(key).read())
        calls = attack.refused_calls(key)
        go, thread = threading.Event(), {thread!r}
        def act():
            go.wait()
            attack.say(attack.attempt(calls))
        attacker = threading.Thread(target=act)
        if thread == "old":
            attacker.start()
        lockdown.apply(1 << 30, new_code=False)
        go.set()
        if thread == "main":
            act()
        else:
            if thread == "new":
                attacker.start()
            attacker.join()
        """,
        key,
    )
    assert before == "secret"
    assert len(results) >= 50
    only_refusals(results)
    assert sorted(path.name for path in key.parent.iterdir()) == ["key"]


@pytest.mark.parametrize("name", sorted(killed_calls("")))
def test_an_attack_ends_the_process(key: Path, name: str) -> None:
    run(
        f"""
        call = attack.killed_calls(key)[{name!r}]
        lockdown.apply(1 << 30)
        attack.say("attacking")
        call()
        attack.say("survived")
        """,
        key,
        rc=-signal.SIGSYS,
    )


@pytest.mark.skipif(not X86, reason="only x86_64 has calls of another architecture")
def test_calls_of_another_architecture_end_the_process(key: Path) -> None:
    said = run(
        """
        import ctypes, mmap
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid of i386); int 0x80; ret
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        lockdown.apply(1 << 30)
        attack.say("attacking")
        call()
        attack.say("survived")
        """,
        key,
        rc=-signal.SIGSYS,
    )
    assert said == ["attacking"]


# Each layer on its own: a kernel may lack the others.


def test_landlock_alone_refuses_files_ports_and_signals(key: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        [results] = run(
            f"""
            import socket
            sock, results = socket.socket(), {{}}
            _linux.prctl(38, 1)
            _landlock.restrict(_landlock.version(), alone=True)
            def tried(name, act):
                try:
                    act()
                    results[name] = None
                except OSError as wrong:
                    results[name] = wrong.errno
            tried("read", lambda: open(key))
            tried("write", lambda: open(key + ".new", "w"))
            tried("list", lambda: os.listdir("/"))
            tried("unlink", lambda: os.unlink(key))
            tried("rename", lambda: os.rename(key, key + ".moved"))
            tried("execute", lambda: os.execv("/bin/true", ["true"]))
            tried("connect", lambda: sock.connect(("127.0.0.1", {port})))
            tried("bind", lambda: socket.socket().bind(("127.0.0.1", 0)))
            tried("signal", lambda: os.kill(os.getppid(), 0))
            attack.say(results)
            """,
            key,
        )
    expected = dict.fromkeys(("read", "write", "list", "unlink", "rename", "execute", "connect", "bind"), errno.EACCES)
    assert results == {**expected, "signal": errno.EPERM}
    assert key.read_text() == "secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to lose root")
def test_privileges_alone_keep_a_former_root_from_the_key(key: Path) -> None:
    [results] = run(
        """
        import resource
        os.chmod(os.path.dirname(key), 0o755)
        lockdown._drop_privileges()
        results = {"user": [os.getresuid(), os.getresgid(), os.getgroups()]}
        status = dict(line.split() for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew")))
        results["capabilities"] = [status[name + ":"] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")]
        for name, act in {"read": lambda: open(key), "root": lambda: os.setuid(0), "signal": lambda: os.kill(os.getppid(), 0)}.items():
            try:
                act()
                results[name] = None
            except OSError as wrong:
                results[name] = wrong.errno
        attack.say(results)
        """,
        key,
    )
    assert results["user"] == [[65534] * 3, [65534] * 3, []]
    assert results["capabilities"] == ["0" * 16] * 5 + ["1"]
    assert results["read"] == errno.EACCES
    assert results["root"] == errno.EPERM
    assert results["signal"] == errno.EPERM


def test_descriptors_that_were_left_open_are_closed(key: Path) -> None:
    [results] = run(
        """
        kept, lost = os.open(key, os.O_RDONLY), os.open(key, os.O_RDONLY)
        high = os.dup2(lost, 900)
        lockdown.begin([kept])
        attack.say([attack.raw("fcntl", fd, 1) for fd in (0, 1, 2, kept, lost, high)])
        """,
        key,
    )
    assert results == [0, 0, 0, 1, -errno.EBADF, -errno.EBADF]


def test_a_process_ends_with_its_parent(key: Path) -> None:
    child = (
        PRELUDE
        + """
lockdown.begin([])
lockdown.apply(1 << 30)
attack.say(os.getpid())
while True:
    pass
"""
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, sys.argv[1]])", str(key)],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    with parent.stdout:
        watch = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            parent.wait(10)
            assert select.select([watch], [], [], 10)[0], "the child outlived its parent"
        finally:
            os.close(watch)


# Limits.


def test_memory_past_the_limit_is_refused_and_up_to_it_is_not(key: Path) -> None:
    [results] = run(
        """
        import mmap
        lockdown.apply(256 << 20)
        results = []
        for size in (200, 200, 40):
            try:
                results.append(len(page := mmap.mmap(-1, size << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))
                kept = (page, locals().get("kept"))
            except OSError as wrong:
                results.append(-wrong.errno)
        attack.say(results)
        """,
        key,
    )
    assert results == [200 << 20, -errno.ENOMEM, 40 << 20]


def test_a_whole_reservation_of_a_guest_fits_beside_the_largest_memory(key: Path) -> None:
    [size] = run(
        """
        import wasmtime
        from surge.core.units import MAX_MEMORY
        from surge.sandbox.engine import make_engine
        engine = make_engine()
        module = wasmtime.Module(engine, '(module (memory (export "memory") 1))')
        layers = lockdown.apply(MAX_MEMORY + lockdown.HOST_ROOM, new_code=False)
        store = wasmtime.Store(engine)
        store.set_fuel(10)
        memory = wasmtime.Instance(store, module, []).exports(store)["memory"]
        memory.grow(store, MAX_MEMORY // 65536 - 1)
        attack.say(memory.data_len(store))
        """,
        key,
    )
    assert size == 4 << 30


def test_a_file_past_the_limit_is_refused(key: Path) -> None:
    [results] = run(
        """
        fd = os.open(key, os.O_WRONLY)
        lockdown.apply(1 << 30, file_size=1000)
        results = [os.pwrite(fd, b"x" * 2000, 0)]
        try:
            os.pwrite(fd, b"x", 1000)
        except OSError as wrong:
            results.append(wrong.errno)
        attack.say(results)
        """,
        key,
    )
    assert results == [1000, errno.EFBIG]


def test_processor_time_past_the_limit_ends_the_process(key: Path) -> None:
    run("lockdown.apply(1 << 30, cpu_seconds=1)\nwhile True: pass", key, rc=-signal.SIGKILL)


# What is missing is told.


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


def test_every_attack_has_a_number_here() -> None:
    assert number("openat") is not None
    assert set(refused_calls("")) & set(killed_calls("")) == set()
