"""No file, no TCP port, no foreign socket or process, by Landlock (landlock(7)): a ruleset that grants nothing.

Landlock holds for the thread that asks and for those it starts later. What was open before stays usable.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Final

from surge.sandbox import _linux

_VERSION: Final = 1
"""Flag that asks for the newest version of the interface."""

_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""From which version on how many rights on files can be denied (include/uapi/linux/landlock.h): reading, writing,
making and removing; linking across directories; truncating; device controls."""
_NETWORK: Final = 4
"""The version from which binding and connecting TCP sockets can be denied."""
_SCOPE: Final = 6
"""The version from which abstract Unix sockets and signals of processes outside can be denied."""
_ALL_THREADS: Final = 8
"""The version from which every thread of a process can be restricted at once."""
_TSYNC: Final = 8


def version() -> int:
    """The newest version of the interface that this kernel has.

    Raises:
        OSError: it has none, or it is switched off.
    """
    try:
        return _linux.call("landlock_create_ruleset", 0, 0, _VERSION)
    except OSError as wrong:
        if wrong.errno == errno.EOPNOTSUPP:
            raise OSError(wrong.errno, "Landlock is switched off; add landlock to the kernel's lsm= parameter") from wrong
        raise OSError(wrong.errno, "the kernel has no Landlock (Linux 5.13 and later can have it)") from wrong


def restrict(found: int, *, alone: bool) -> None:
    """Deny everything that version `found` knows of; needs no_new_privs. `alone`: the process has one thread.

    Raises:
        OSError: the kernel refused, or other threads are running and this version cannot reach them.
    """
    if not alone and found < _ALL_THREADS:
        raise OSError(errno.EBUSY, "Landlock was asked for after other threads had started")
    files = max(count for since, count in _FILE_RIGHTS.items() if since <= found)
    network = 0b11 if found >= _NETWORK else 0
    scope = 0b11 if found >= _SCOPE else 0
    ruleset = struct.pack("=QQQ", (1 << files) - 1, network, scope)
    # An older kernel takes the longer struct as long as what it does not know is zero.
    buffer = ctypes.create_string_buffer(ruleset, len(ruleset))
    rules = _linux.call("landlock_create_ruleset", ctypes.addressof(buffer), len(ruleset), 0)
    try:
        _linux.call("landlock_restrict_self", rules, 0 if alone else _TSYNC)
    finally:
        _linux.call("close", rules)


def lacking(found: int) -> str:
    """What version `found` cannot deny, for people; empty when it can deny all that is asked for."""
    parts = []
    if found < _NETWORK:
        parts.append("TCP (Linux 6.7)")
    if found < _SCOPE:
        parts.append("signals to other processes (Linux 6.12)")
    return f"this kernel's Landlock cannot deny {' or '.join(parts)}" if parts else ""
