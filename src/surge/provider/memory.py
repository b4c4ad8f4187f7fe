"""What the C allocator does with memory that is freed."""

from __future__ import annotations

import ctypes
from typing import Final

KEPT: Final = 16 << 20
"""Bytes that are freed and stay with the process, for each of its heaps."""

LARGE: Final = 4 << 20
"""Bytes from which on memory comes from the system and goes back to it."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of `mallopt(3)`."""


def keep_freed() -> bool:
    """Have this process keep memory that it freed, for what it needs next; whether its allocator can be told so (glibc's can).

    Messages of half a megabyte come and go hundreds of times a second where shards are moved. By itself the allocator gives their memory
    back each time, and the system clears as much again for the next: a third of what it does for a holder that is read from.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # another system, or another C library
        return False
    return bool(set_option(_TRIM_THRESHOLD, KEPT)) and bool(set_option(_MMAP_THRESHOLD, LARGE))
