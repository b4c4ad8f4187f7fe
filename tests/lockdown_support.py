"""Native code that attacks from inside a process: calls made straight to the kernel, past Python and its libraries."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surge.sandbox import _linux

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"

AT_FDCWD = -100
OTHERS = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "creat": (85, None),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "sendmsg": (46, 211),
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "memfd_create": (319, 279),
    "setuid": (105, 146),
    "prctl": (157, 167),
    "ioctl": (16, 29),
    "link": (86, None),
    "linkat": (265, 37),
    "unlinkat": (263, 35),
    "renameat2": (316, 276),
    "mkdirat": (258, 34),
    "fchmodat": (268, 53),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "statx": (332, 291),
    "getdents64": (217, 61),
    "chdir": (80, 49),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "inotify_init1": (294, 26),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "process_madvise": (440, 440),
    "pkey_mprotect": (329, 288),
    "eventfd2": (290, 19),
    "splice": (275, 76),
}
"""Numbers on x86_64 and aarch64 of calls that only the tests make."""


def number(name: str) -> int | None:
    """A system call's number here."""
    return (OTHERS.get(name) or _linux.NUMBERS[name])[0 if X86 else 1]


def raw(name: str, *arguments: int | bytes) -> int:
    """syscall(2): what it returned, or the error as a negative number."""
    found = number(name)
    assert found is not None, name
    words = [ctypes.c_char_p(each) if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    ctypes.set_errno(0)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(ctypes.c_long(found), *words))
    return -ctypes.get_errno() if result < 0 else result


def refused_calls(key: str) -> dict[str, Callable[[], int]]:
    """What has to be refused with an error. Each is written so that it would succeed without the lockdown."""
    path = key.encode()
    parent = os.getppid()
    environ = f"/proc/{parent}/environ".encode()
    internet = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(80), socket.inet_aton("127.0.0.1"))
    abstract = struct.pack("=H", socket.AF_UNIX) + b"\0surge-test"
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    calls: dict[str, Callable[[], int]] = {
        "openat": lambda: raw("openat", AT_FDCWD, path, os.O_RDONLY, 0),
        "openat a path": lambda: raw("openat", AT_FDCWD, path, os.O_PATH, 0),
        "openat a new file": lambda: raw("openat", AT_FDCWD, path + b".new", os.O_CREAT | os.O_WRONLY, 0o600),
        "openat the parent's environment": lambda: raw("openat", AT_FDCWD, environ, os.O_RDONLY, 0),
        "openat its own descriptor": lambda: raw("openat", AT_FDCWD, b"/proc/self/fd/1", os.O_RDWR, 0),
        "openat2": lambda: raw("openat2", AT_FDCWD, path, how, len(how)),
        "socket, internet": lambda: raw("socket", socket.AF_INET, socket.SOCK_STREAM, 0),
        "socket, unix": lambda: raw("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0),
        "socket, netlink": lambda: raw("socket", socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "socketpair": lambda: raw("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, bytes(8)),
        "connect": lambda: raw("connect", 0, internet, len(internet)),
        "bind": lambda: raw("bind", 0, abstract, len(abstract)),
        "sendmsg": lambda: raw("sendmsg", 0, bytes(56), 0),
        "clone as fork": lambda: raw("clone", 17, 0, 0, 0, 0),
        "clone3": lambda: raw("clone3", struct.pack("=8Q", 0, 0, 0, 0, 17, 0, 0, 0), 64),
        "kill the parent": lambda: raw("kill", parent, 0),
        "kill itself": lambda: raw("kill", os.getpid(), 0),
        "tkill": lambda: raw("tkill", parent, 0),
        "tgkill the parent": lambda: raw("tgkill", parent, parent, 0),
        "rt_sigqueueinfo": lambda: raw("rt_sigqueueinfo", parent, 0, bytes(128)),
        "memfd_create": lambda: raw("memfd_create", b"x", 0),
        "setuid": lambda: raw("setuid", 0),
        "capset": lambda: raw("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24)),
        "prctl dumpable": lambda: raw("prctl", 4, 1, 0, 0, 0),
        "prctl death signal": lambda: raw("prctl", 1, 0, 0, 0, 0),
        "ioctl": lambda: raw("ioctl", 1, 0x5421, bytes(8)),
        "fcntl F_SETOWN": lambda: raw("fcntl", 1, 8, parent),
        "fcntl F_SETFL": lambda: raw("fcntl", 1, 4, os.O_ASYNC),
        "linkat": lambda: raw("linkat", AT_FDCWD, path, AT_FDCWD, path + b".link", 0),
        "unlinkat": lambda: raw("unlinkat", AT_FDCWD, path, 0),
        "renameat2": lambda: raw("renameat2", AT_FDCWD, path, AT_FDCWD, path + b".moved", 0),
        "mkdirat": lambda: raw("mkdirat", AT_FDCWD, path + b".folder", 0o700),
        "fchmodat": lambda: raw("fchmodat", AT_FDCWD, path, 0o666, 0),
        "readlinkat": lambda: raw("readlinkat", AT_FDCWD, b"/proc/self/exe", bytes(64), 64),
        "faccessat": lambda: raw("faccessat", AT_FDCWD, path, 0, 0),
        "newfstatat": lambda: raw("newfstatat", AT_FDCWD, path, bytes(256), 0),
        "statx": lambda: raw("statx", AT_FDCWD, path, 0, 0xFFF, bytes(256)),
        "getdents64": lambda: raw("getdents64", 0, bytes(256), 256),
        "chdir": lambda: raw("chdir", b"/"),
        "shmget": lambda: raw("shmget", 0, 4096, 0o1600),
        "mq_open": lambda: raw("mq_open", b"surge-test", os.O_CREAT | os.O_RDWR, 0o600, 0),
        "inotify_init1": lambda: raw("inotify_init1", 0),
        "setpriority": lambda: raw("setpriority", 0, 0, 19),
        "sched_setaffinity": lambda: raw("sched_setaffinity", 0, 8, struct.pack("=Q", 1)),
        "prlimit64 of the parent": lambda: raw("prlimit64", parent, 7, 0, bytes(16)),
        "prlimit64 set": lambda: raw("prlimit64", 0, 7, struct.pack("=QQ", 8, 8), 0),
        "process_madvise": lambda: raw("process_madvise", 0, 0, 0, 0, 0),
        "mmap executable": lambda: raw("mmap", 0, 4096, 5, 0x22, -1, 0),
        "pkey_mprotect": lambda: raw("pkey_mprotect", 0, 0, 4, -1),
        "eventfd2": lambda: raw("eventfd2", 0, 0),
        "splice": lambda: raw("splice", 0, 0, 1, 0, 1, 0),
    }
    if X86:
        calls |= {
            "open": lambda: raw("open", path, os.O_RDONLY, 0),
            "creat": lambda: raw("creat", path + b".made", 0o600),
            "link": lambda: raw("link", path, path + b".link"),
            "fork": lambda: raw("fork"),
        }
    return calls


def killed_calls(key: str) -> dict[str, Callable[[], int]]:
    """What has to end the process."""
    path, parent = key.encode(), os.getppid()
    nothing = bytes(8)
    calls: dict[str, Callable[[], int]] = {
        "execve": lambda: raw("execve", b"/bin/true", nothing, nothing),
        "execveat": lambda: raw("execveat", AT_FDCWD, b"/bin/true", nothing, nothing, 0),
        "ptrace": lambda: raw("ptrace", 16, parent, 0, 0),
        "process_vm_readv": lambda: raw("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "pidfd_getfd": lambda: raw("pidfd_getfd", 0, 0, 0),
        "pidfd_open": lambda: raw("pidfd_open", parent, 0),
        "io_uring_setup": lambda: raw("io_uring_setup", 8, bytes(120)),
        "bpf": lambda: raw("bpf", 0, bytes(64), 64),
        "keyctl": lambda: raw("keyctl", 0, 0, 0),
        "userfaultfd": lambda: raw("userfaultfd", 0),
        "perf_event_open": lambda: raw("perf_event_open", bytes(128), 0, -1, -1, 0),
        "name_to_handle_at": lambda: raw("name_to_handle_at", AT_FDCWD, path, bytes(140), bytes(4), 0),
        "open_by_handle_at": lambda: raw("open_by_handle_at", AT_FDCWD, bytes(140), 0),
        "mount": lambda: raw("mount", b"none", b"/tmp", b"tmpfs", 0, 0),
        "unshare": lambda: raw("unshare", 0x10000000),
        "chroot": lambda: raw("chroot", b"/"),
        "seccomp": lambda: raw("seccomp", 2, 0, struct.pack("=I", 0x7FFF0000)),
    }
    if X86:
        calls["x32"] = lambda: int(libc.syscall(ctypes.c_long(0x40000000 + 2), path, 0, 0))
    return calls


def attempt(calls: dict[str, Callable[[], int]]) -> dict[str, int]:
    """Make the calls; what each returned. One that forked is undone at once."""
    mine = os.getpid()
    results = {}
    for name, call in calls.items():
        result = call()
        if os.getpid() != mine:
            os._exit(0)
        results[name] = result
    return results


def only_refusals(results: dict[str, int]) -> None:
    """Check that every call was refused, as one without the right to it is."""
    expected = {name: -errno.ENOSYS if name == "clone3" else -errno.EPERM for name in results}
    assert results == expected


def say(value: Any) -> None:
    """Tell the test, over standard output, which was open before."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


TESTS = Path(__file__).parent

PRELUDE = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import os, threading
import lockdown_support as attack
from surge.sandbox import _landlock, _linux, _seccomp, lockdown
key = sys.argv[1]
"""


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
