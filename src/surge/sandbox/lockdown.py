"""Takes from a worker process every right it does not need: what stays safe when the engine has a hole.

    lockdown.begin(keep=[line])                  # first thing: before a byte from outside is read
    ...                                          # load what is needed
    layers = lockdown.apply(memory)              # last thing before a stranger's code; threads start after it
    layers.held, layers.missing

A layer that this machine lacks does not stop the worker: it is named in `Layers.missing`, with the reason, and
`doctor` shows it. The layers, each of which holds when the others fail:

- *privileges*: no capability, none to be had by executing anything, and not root even when started by root;
- *privacy*: no other process of the user may read or trace this one, and it leaves no core dump;
- *parent*: the process ends when its parent does;
- *limits*: on memory, on the length of files, on how many may be open, and on processor time if asked;
- *landlock*: the kernel refuses files, TCP, and signals to other processes;
- *seccomp*: the kernel refuses every system call that is not on a list.

Forking is refused by seccomp alone: RLIMIT_NPROC counts all threads of the user, and workers need theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from surge.core.units import MAX_MEMORY, MAX_OUTPUT
from surge.sandbox import _landlock, _linux, _seccomp

PRIVILEGES: Final = "privileges"
PRIVACY: Final = "privacy"
PARENT: Final = "parent"
LIMITS: Final = "limits"
LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"

LAYERS: Final = (PRIVILEGES, PRIVACY, PARENT, LIMITS, LANDLOCK, SECCOMP)
"""Every layer, in the order they are put on: each takes rights that the ones before it needed."""

HOST_ROOM: Final = 2 * MAX_OUTPUT + (512 << 20)
"""Bytes a worker takes beside its guest's memory: the interpreter, stacks, tables, and output while it grows."""

FILE_SIZE: Final = MAX_MEMORY + MAX_OUTPUT
"""Bytes of the longest file a worker writes: a snapshot of all of a guest's memory, or all of its output."""

OPEN_FILES: Final = 160
"""Descriptors of a worker: it holds 8 shared files, two spools, and the inputs of 4 units with 8 stored files each, which take two each."""

_MAPPED_ROOM: Final = 64 << 30
"""Bytes of address space for what takes no memory of its own: guards, reservations, mapped files."""

_NOBODY: Final = 65534
"""The user and group that own nothing (the kernel's overflow ids)."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECUREBITS: Final = 0b1110_0011
"""Root gains nothing by executing, capabilities outlive no change of user, none become ambient; all three locked."""
_CAPABILITY_VERSION: Final = 0x20080522
_CAPABILITIES: Final = 64
"""More than any kernel has."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A layer, or a part of one, that does not hold."""

    layer: str
    reason: str
    """Why, and what would mend it."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What holds around a process. Iterating gives the names of the layers that hold."""

    held: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    """A layer that holds in part is in both."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)


def begin(keep: Iterable[int]) -> None:
    """Close every descriptor but the three standard ones and `keep`, and end when the parent does."""
    kept = {0, 1, 2, *keep}
    try:
        opened = {int(name) for name in os.listdir("/proc/self/fd")}
    except OSError:
        opened = set(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    for fd in opened - kept:
        with contextlib.suppress(OSError):  # not open: the listing's own is gone by now
            os.close(fd)
    with contextlib.suppress(OSError):  # `apply` reports it
        die_with_parent()


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends.

    Raises:
        OSError: this system cannot.
    """
    if sys.platform != "linux":
        raise OSError("only Linux ends a process with its parent")
    _linux.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def apply(
    memory: int,
    *,
    cpu_seconds: int | None = None,
    file_size: int = FILE_SIZE,
    open_files: int = OPEN_FILES,
    new_code: bool = True,
) -> Layers:
    """Give up, for ever, what this process may do to anything but itself.

    Threads that already run are covered by all layers but Landlock, whose version 8 is the first to reach them.

    Args:
        memory: bytes of private memory it may take beyond what it has now.
        cpu_seconds: processor seconds after which it is ended.
        file_size: bytes of the longest file it may write.
        open_files: descriptors it may have.
        new_code: whether memory may still become executable, as a compiler needs.

    Returns:
        What holds now. Never raises for a layer the machine lacks.
    """
    process = _Process()
    steps: dict[str, Callable[[], str]] = {
        PRIVILEGES: _drop_privileges,
        PRIVACY: _hide,
        PARENT: process.stay_with_parent,
        LIMITS: lambda: process.limit(memory, cpu_seconds, file_size, open_files),
        LANDLOCK: process.restrict,
        SECCOMP: lambda: _filter(new_code=new_code),
    }
    held: list[str] = []
    missing: list[Missing] = []
    for layer in LAYERS:
        try:
            lacking = steps[layer]()
        except (OSError, ValueError) as wrong:
            missing.append(Missing(layer, getattr(wrong, "strerror", None) or str(wrong)))
            continue
        held.append(layer)
        if lacking:
            missing.append(Missing(layer, lacking))
    return Layers(tuple(held), tuple(missing))


class _Process:
    """What has to be known about the process before its rights go."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._status: dict[str, str] = {}
        with contextlib.suppress(OSError), open("/proc/self/status") as status:
            self._status = dict(line.split(":", 1) for line in status if ":" in line)

    def _kibibytes(self, name: str) -> int:
        try:
            return int(self._status[name].split()[0]) << 10
        except KeyError:
            raise OSError("this process cannot see how much memory it has; mount /proc") from None

    def stay_with_parent(self) -> str:
        """Ask again, since changing the user takes the request back; and end now if the parent ended meanwhile."""
        die_with_parent()
        if os.getppid() != self._parent:
            os._exit(1)
        return ""

    def limit(self, memory: int, cpu_seconds: int | None, file_size: int, open_files: int) -> str:
        """Lower the limits, those on memory last."""
        limits = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NOFILE: open_files,
            resource.RLIMIT_FSIZE: file_size,
            resource.RLIMIT_MEMLOCK: 0,
        }
        if sys.platform == "linux":
            limits[resource.RLIMIT_MSGQUEUE] = 0
        if cpu_seconds is not None:
            limits[resource.RLIMIT_CPU] = cpu_seconds
        for limit, value in limits.items():
            _lower(limit, value)
        if sys.platform != "linux":
            raise OSError("only Linux keeps a process to a limit on its memory")
        _lower(resource.RLIMIT_DATA, self._kibibytes("VmData") + memory)
        _lower(resource.RLIMIT_AS, self._kibibytes("VmSize") + memory + _MAPPED_ROOM)
        return ""

    def restrict(self) -> str:
        """Landlock."""
        if sys.platform != "linux":
            raise OSError("Landlock is Linux's")
        found = _landlock.version()
        _landlock.restrict(found, alone=self._status.get("Threads", "").strip() == "1")
        return _landlock.lacking(found)


def _lower(limit: int, value: int) -> None:
    """Set a limit, or leave a lower one that is there already."""
    _, most = resource.getrlimit(limit)
    least = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(limit, (least, least))


def _drop_privileges() -> str:
    """Give up capabilities and root, and the ways back to them. Says what of it this machine refused."""
    if sys.platform != "linux":
        return _become_nobody()
    _linux.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):  # needs CAP_SETPCAP, and without any capability there is nothing to bound
        _linux.prctl(_PR_SET_SECUREBITS, _SECUREBITS)
        for capability in range(_CAPABILITIES):
            _linux.prctl(_PR_CAPBSET_DROP, capability)
    lacking = _become_nobody()
    with contextlib.suppress(OSError):  # before Linux 4.3 there were none
        _linux.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    nothing = ctypes.create_string_buffer(24)
    _linux.call("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    return lacking


def _become_nobody() -> str:
    if os.geteuid() != 0:
        return ""
    try:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    except OSError as wrong:
        return f"it stays root, without capabilities: {wrong.strerror}"
    return ""


def _hide() -> str:
    if sys.platform != "linux":
        raise OSError("only Linux hides a process from others of its user")
    _linux.prctl(_PR_SET_DUMPABLE, 0)
    return ""


def _filter(*, new_code: bool) -> str:
    if sys.platform != "linux":
        raise OSError("seccomp is Linux's")
    _seccomp.install(new_code=new_code)
    return ""
