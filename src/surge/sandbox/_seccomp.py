"""A list of the system calls a worker may still make, held by the kernel (seccomp(2), a classic BPF program).

What is not on the list answers EPERM, as for a right that is lacking; what only an attacker would ask for ends the
process. The architecture is checked first, and the x32 numbers of x86_64 are refused, as both would give calls other
numbers. Arguments are checked where a call is needed for one purpose and dangerous for others.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from surge.sandbox import _linux

_SET_MODE_FILTER: Final = 1
_FLAG_TSYNC: Final = 1
"""Put the filter on every thread of the process, or on none."""

_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000
"""Numbers from here on are x32's."""

_LOAD: Final = 0x20
"""BPF_LD | BPF_W | BPF_ABS: load a word of struct seccomp_data."""
_AND: Final = 0x54
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_RETURN: Final = 0x06

_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16

_LOW: Final = 0
_HIGH: Final = 4
"""Where an argument's two words are in its eight bytes; both architectures are little-endian."""

_THREAD: Final = 0x3D0F00
"""clone(2)'s flags for a thread, as glibc and musl give them: everything shared, a stack of its own."""
_DETACHED: Final = 0x400000
"""A flag without effect that musl adds."""
_PROT_EXEC: Final = 4
_AT_EMPTY_PATH: Final = 0x1000
_FCNTL: Final = (0, 1, 2, 3, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; not the ones that send signals or make leases."""

ALLOWED: Final = (
    # What was lent: bytes of open files, and the socket to the parent.
    *("read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "fstat", "ftruncate", "close", "dup2", "dup3"),
    *("recvfrom", "recvmsg", "poll", "ppoll"),
    # Memory; what may become executable is below.
    *("munmap", "mremap", "madvise", "brk"),
    # Threads of this process.
    *("futex", "set_robust_list", "rseq", "set_tid_address", "membarrier", "sched_yield", "sched_getaffinity", "getcpu"),
    *("exit", "exit_group", "restart_syscall", "gettid", "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid"),
    # Signals, which the engine's traps are.
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
    # Time, randomness, and how much of the machine there is.
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom"),
    *("getrusage", "sysinfo", "uname"),
)
"""Allowed whatever the arguments are."""

KILLED: Final = (
    *("execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("add_key", "request_key", "keyctl", "seccomp"),
    *("name_to_handle_at", "open_by_handle_at"),
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns"),
    *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("acct", "ioperm", "iopl", "modify_ldt"),
)
"""No library a worker has loaded ever makes these: whoever does is attacking."""

_Instruction = tuple[int, int, int, int]


def _return(action: int) -> _Instruction:
    return (_RETURN, 0, 0, action)


def _load(offset: int) -> _Instruction:
    return (_LOAD, 0, 0, offset)


def _argument(index: int, word: int) -> _Instruction:
    return _load(_ARGUMENTS_AT + 8 * index + word)


def _unless_equal(value: int, *then: _Instruction) -> list[_Instruction]:
    """Run `then`, which must return, unless the loaded word is `value`."""
    return [(_JUMP_EQUAL, len(then), 0, value), *then]


_DENY: Final = _return(_ERRNO | errno.EPERM)


def _when(name: str, *block: _Instruction) -> list[_Instruction]:
    """Run `block`, which must return, if this is the call. The number is loaded before, and still is after."""
    number = _linux.number(name)
    return [] if number is None else [(_JUMP_EQUAL, 0, len(block), number), *block]


def _is_zero(index: int) -> list[_Instruction]:
    """Deny unless an argument is 0."""
    return [
        *(_argument(index, _LOW), *_unless_equal(0, _DENY)),
        *(_argument(index, _HIGH), *_unless_equal(0, _DENY)),
    ]


def _conditional(*, new_code: bool, stat_by_name: bool) -> Iterable[list[_Instruction]]:
    allow = _return(_ALLOW)
    yield _when(
        "clone",
        *(_argument(0, _LOW), (_AND, 0, 0, ~_DETACHED & 0xFFFFFFFF), *_unless_equal(_THREAD, _DENY)),
        *(_argument(0, _HIGH), *_unless_equal(0, _DENY), allow),
    )
    # Its flags are behind a pointer, out of a filter's sight; told that it is missing, libraries use clone.
    yield _when("clone3", _return(_ERRNO | errno.ENOSYS))
    # abort() signals its own thread; nobody else may be signalled.
    yield _when("tgkill", _argument(0, _LOW), *_unless_equal(os.getpid(), _DENY), allow)
    for name in ("mmap", "mprotect"):
        executable = () if new_code else (_argument(2, _LOW), (_AND, 0, 0, _PROT_EXEC), *_unless_equal(0, _DENY))
        yield _when(name, *executable, allow)
    commands = [each for command in _FCNTL for each in ((_JUMP_EQUAL, 0, 1, command), allow)]
    yield _when("fcntl", _argument(1, _LOW), *commands, _DENY)
    # To the socket's own other end only.
    yield _when("sendto", *_is_zero(4), allow)
    # Its own limits, to read.
    yield _when("prlimit64", *_is_zero(0), *_is_zero(2), allow)
    if stat_by_name:
        yield _when("newfstatat", _argument(3, _LOW), *_unless_equal(_AT_EMPTY_PATH, _DENY), allow)


def _fstat_takes_a_name() -> bool:
    """Whether the C library's fstat is newfstatat with an empty path, as in glibc 2.33 to 2.38 (BZ #19486).

    There the call has to be allowed, and native code could learn whether a file exists and how long it is, though
    never what is in it.
    """
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = (int(part) for part in version.split(".")[:2])
    except (ValueError, OSError):
        return False  # musl: its fstat is fstat
    return library == "glibc" and (2, 33) <= (major, minor) < (2, 39)


def program(*, new_code: bool) -> Sequence[_Instruction]:
    """The filter for this process on this machine. `new_code` allows memory to become executable.

    Raises:
        OSError: the machine's system call numbers are not known here.
    """
    machine = platform.machine()
    if machine not in _AUDIT_ARCH or sys.byteorder != "little":
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    code = [_load(_ARCHITECTURE_AT), *_unless_equal(_AUDIT_ARCH[machine], _return(_KILL_PROCESS)), _load(_NUMBER_AT)]
    code += [(_JUMP_GREATER_EQUAL, 0, 1, _X32), _return(_KILL_PROCESS)]
    for name in ALLOWED:
        code += _when(name, _return(_ALLOW))
    for name in KILLED:
        code += _when(name, _return(_KILL_PROCESS))
    for block in _conditional(new_code=new_code, stat_by_name=_fstat_takes_a_name()):
        code += block
    return [*code, _DENY]


def install(*, new_code: bool) -> None:
    """Put the filter on every thread of this process, for ever.

    Raises:
        OSError: the kernel has no seccomp filters, or a thread already has others.
    """
    instructions = program(new_code=new_code)
    raw = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    # struct sock_fprog: the count, padding, the address.
    header = ctypes.create_string_buffer(struct.pack("=H6xQ", len(instructions), ctypes.addressof(buffer)))
    failed = _linux.call("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.addressof(header))
    if failed:
        raise OSError(errno.EBUSY, f"seccomp: thread {failed} has filters of its own")
