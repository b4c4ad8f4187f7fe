"""Native code inside a process that was locked down reaches nothing."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lockdown_support import PRELUDE, X86, killed_calls, number, only_refusals, refused_calls, run
from surge.sandbox import lockdown

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")


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


def test_every_attack_has_a_number_here() -> None:
    assert number("openat") is not None
    assert set(refused_calls("")) & set(killed_calls("")) == set()
