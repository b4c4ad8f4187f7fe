"""The guest's linear memory as host functions see it: every pointer and length checked, no copies made."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from surge.sandbox.wasi.abi import Errno


class Failed(Exception):
    """A host function gives the guest an error code."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno


def no_memory() -> memoryview:
    """The memory of a guest that is not there."""
    return memoryview(b"")


class GuestMemory:
    """A window on linear memory. Pointers come from the guest, as unsigned 32-bit numbers, and are never believed.

    `refetch` gives the memory as it is now; it is asked only when a pointer lies past the size known so far, for a
    memory never shrinks and never moves.
    """

    __slots__ = ("_refetch", "moved", "size", "view")

    def __init__(self, refetch: Callable[[], memoryview]) -> None:
        self._refetch = refetch
        self.view = memoryview(b"")
        self.size = 0
        self.moved = 0
        """Bytes taken or put since a host function began: what they cost is fuel."""

    def _reach(self, end: int) -> None:
        self.view = self._refetch()
        self.size = len(self.view)
        if end > self.size:
            raise Failed(Errno.FAULT)

    def span(self, at: int, length: int) -> memoryview:
        """The bytes there, writable in place.

        Raises:
            Failed: EFAULT, when any of them lies outside.
        """
        end = at + length
        if end > self.size:
            self._reach(end)
        self.moved += length
        return self.view[at:end]

    def check(self, at: int, length: int) -> None:
        """EFAULT as in `span`, without taking the bytes."""
        if at + length > self.size:
            self._reach(at + length)

    def read(self, at: int, length: int) -> bytes:
        """A copy of the bytes there; EFAULT as in `span`."""
        end = at + length
        if end > self.size:
            self._reach(end)
        self.moved += length
        return self.view[at:end].tobytes()

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Put bytes there; EFAULT, and nothing written, as in `span`."""
        end = at + len(data)
        if end > self.size:
            self._reach(end)
        self.moved += len(data)
        self.view[at:end] = data

    def unpack(self, layout: struct.Struct, at: int) -> tuple[Any, ...]:
        """Read one structure; EFAULT as in `span`."""
        if at + layout.size > self.size:
            self._reach(at + layout.size)
        return layout.unpack_from(self.view, at)

    def pack(self, layout: struct.Struct, at: int, *values: int) -> None:
        """Write one structure; EFAULT as in `span`."""
        if at + layout.size > self.size:
            self._reach(at + layout.size)
        layout.pack_into(self.view, at, *values)

    def forget(self) -> None:
        """Let go of the window, before the memory behind it goes away."""
        self._refetch = no_memory
        self.view.release()
        self.view = memoryview(b"")
        self.size = 0
