"""Everything one unit can see and leave behind, apart from its memory.

Deterministic by construction: a function of the unit's own fields.

* **Clock**: starts at `CLOCK_START`; every reading, of any clock, first moves it on by `CLOCK_STEP`. Sleeping moves
  it to the end of the sleep and takes no time.
* **Randomness**: SHA-256(seed || counter), the counter 8 bytes little-endian from 0, one block after another.
* **Fuel**: a call into the host costs `CALL_FUEL`, and `BYTE_FUEL` for each byte it moves; what takes longer costs more (`spend`).
* **Output**: standard output, standard error, the value and all files under /out share one bound.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from surge.core.units import Limits, Status
from surge.sandbox.vfs import MAX_ENTRIES, Blob, Directory, File
from surge.sandbox.wasi.abi import Errno
from surge.sandbox.wasi.memory import Failed, GuestMemory, no_memory

CLOCK_START: Final = 1_700_000_000 * 10**9
"""Nanoseconds since 1970: 2023-11-14 22:13:20 UTC."""
CLOCK_STEP: Final = 10**6
"""Nanoseconds the clock moves on by at each reading."""
CLOCK_LAST: Final = 2**63 - 1
"""Nanoseconds: where the clock stops, the last instant that fits the guests' signed numbers."""

CALL_FUEL: Final = 10_000
"""Fuel of a call into the host: about the instructions a guest executes in the microseconds that one takes."""
BYTE_FUEL: Final = 4
"""Fuel of a byte moved between the guest's memory and ours."""
RANDOM_FUEL: Final = 64
"""Fuel of a random byte: an eighth of a round of SHA-256."""
STEP_FUEL: Final = 500
"""Fuel of one more of what a call does many of: pieces of a scattered read, parts of a path, names of a directory."""

ENTROPY_PIECE: Final = 64 << 10
"""Bytes of randomness made between two looks at the wall clock."""


class Ending(Exception):
    """The unit ends here, from inside a host function or from the engine."""

    def __init__(self, status: Status, exit_code: int = 0, detail: str = "") -> None:
        super().__init__(detail or status.name)
        self.status = status
        self.exit_code = exit_code
        self.detail = detail


class Input:
    """Standard input: bytes read once, front to back."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self.at = 0


class Output:
    """Standard output or standard error."""

    __slots__ = ("data",)

    def __init__(self, data: bytearray) -> None:
        self.data = data


class OpenFile:
    """A descriptor on a file; `path` is how it was opened, or the end of that: guests open things below one another without end."""

    __slots__ = ("append", "at", "node", "path", "readable", "writable")

    def __init__(self, node: Blob | File, path: bytes, *, readable: bool, writable: bool, append: bool) -> None:
        self.node = node
        self.path = path
        self.readable = readable
        self.writable = writable
        self.append = append
        self.at = 0


class OpenDirectory:
    """A descriptor on a directory; `preopened` is the name it was given at the start, if any."""

    __slots__ = ("listing", "node", "path", "preopened")

    def __init__(self, node: Directory, path: bytes, preopened: bytes | None = None) -> None:
        self.node = node
        self.path = path
        self.preopened = preopened
        self.listing: list[tuple[bytes, int]] = []
        """Names and file types as they were when the listing was last read from its start."""


Descriptor = Input | Output | OpenFile | OpenDirectory


def no_allocation(size: int) -> int:
    """Stands for `host_alloc` while there is no guest."""
    raise Failed(Errno.NOTSUP)


class World:
    """One unit's arguments, environment, descriptors, clock, randomness and output."""

    def __init__(
        self,
        *,
        argv: Sequence[bytes],
        env: Iterable[tuple[bytes, bytes]],
        stdin: bytes | memoryview,
        job: Directory,
        limits: Limits,
        seed: bytes,
        more: Iterable[tuple[bytes, Directory]] = (),
        host_call: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Directories take descriptors from 3 on: `job` as /job, the unit's own /out, and `more` by their names."""
        self.argv = argv
        self.env = [name + b"=" + value for name, value in env]
        self.limits = limits
        self.host_call = host_call
        """What answers `host.call`, which only the Python image imports; without it the call gives -1."""
        self.memory = GuestMemory(no_memory)
        self.allocate: Callable[[int], int] = no_allocation
        """Has the guest make room for an answer of `host.call`; gives its address."""
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.value = bytearray()
        self.out = Directory(writable=True)
        self.used = 0
        """Bytes of output so far, of `limits.output`."""
        self.entries = 0
        """Files and directories the guest made and has not removed."""
        self.ending: Ending | None = None
        """Set by the host function that ended the unit."""
        self.spent = 0
        """Fuel that the host function which runs has used beyond what every call costs."""
        self.deadline = time.monotonic() + limits.wall_ms / 1000
        self.now = 0
        """Nanoseconds since `CLOCK_START`."""
        self._seed = seed
        self._counter = 0
        self._left = b""
        self.descriptors: list[Descriptor | None] = [Input(stdin), Output(self.stdout), Output(self.stderr)]
        for name, directory in ((b"/job", job), (b"/out", self.out), *more):
            self.descriptors.append(OpenDirectory(directory, name, preopened=name))
        self.fixed = len(self.descriptors)
        self._most = self.fixed + limits.open_files

    # Clock and randomness

    def reading(self) -> int:
        """Nanoseconds since `CLOCK_START`, after the step that every reading costs."""
        self.now = min(self.now + CLOCK_STEP, CLOCK_LAST - CLOCK_START)
        return self.now

    def reset(self, seed: bytes) -> None:
        """Put the clock back to its start and begin another random stream."""
        self.now = 0
        self._seed, self._counter, self._left = seed, 0, b""

    def position(self) -> tuple[int, bytes, int, bytes]:
        """Where the clock and the random stream are, for `resume`."""
        return self.now, self._seed, self._counter, self._left

    def resume(self, position: tuple[int, bytes, int, bytes]) -> None:
        """Put clock and random stream back to where they were."""
        self.now, self._seed, self._counter, self._left = position

    def random(self, length: int) -> bytes:
        """The stream's next bytes; `length` is at most `ENTROPY_PIECE`."""
        made = [self._left]
        have = len(self._left)
        while have < length:
            made.append(hashlib.sha256(self._seed + self._counter.to_bytes(8, "little")).digest())
            self._counter += 1
            have += 32
        stream = b"".join(made)
        self._left = stream[length:]
        return stream[:length]

    def look_at_the_wall(self) -> None:
        """Called by host functions that may take long: the engine cannot interrupt those.

        Raises:
            Ending: the unit's wall time is over.
        """
        if time.monotonic() > self.deadline:
            raise Ending(Status.WALL_TIME, detail=f"ran longer than {self.limits.wall_ms} ms")

    # Fuel

    def spend(self, fuel: int) -> None:
        """Count what a host function does beyond moving bytes; the guest pays when it returns."""
        self.spent += fuel

    def cost(self) -> int:
        """Fuel of the call that returns now; the next one starts from nothing."""
        memory = self.memory
        cost = CALL_FUEL + self.spent + memory.moved * BYTE_FUEL
        self.spent = memory.moved = 0
        return cost

    # Output

    def charge(self, size: int) -> None:
        """Count `size` more bytes of output (or fewer, when negative).

        Raises:
            Ending: that is more than the limit; nothing is counted.
        """
        if self.used + size > self.limits.output:
            raise self.over_output()
        self.used += size

    def over_output(self) -> Ending:
        """The ending of a unit whose output is over its limit."""
        return Ending(Status.OUTPUT_LIMIT, detail=f"wrote more than {self.limits.output} bytes")

    def emit(self, data: bytes) -> None:
        """Add to the unit's value."""
        self.charge(len(data))
        self.value += data

    def enter(self) -> None:
        """Count one more file or directory."""
        if self.entries >= MAX_ENTRIES:
            raise Failed(Errno.NOSPC)
        self.entries += 1

    # Descriptors

    def descriptor(self, fd: int) -> Descriptor:
        """What stands behind a descriptor; EBADF when nothing does."""
        found = self.descriptors[fd] if fd < len(self.descriptors) else None
        if found is None:
            raise Failed(Errno.BADF)
        return found

    def directory(self, fd: int) -> OpenDirectory:
        """A descriptor that must be a directory's; ENOTDIR otherwise."""
        found = self.descriptor(fd)
        if not isinstance(found, OpenDirectory):
            raise Failed(Errno.NOTDIR)
        return found

    def full(self) -> bool:
        """Whether no further descriptor may be opened."""
        return None not in self.descriptors and len(self.descriptors) >= self._most

    def install(self, descriptor: Descriptor) -> int:
        """The lowest free number for a new descriptor; EMFILE past the limit."""
        if self.full():
            raise Failed(Errno.MFILE)
        table = self.descriptors
        if None in table:
            fd = table.index(None)
            table[fd] = descriptor
            return fd
        table.append(descriptor)
        return len(table) - 1

    def close(self, fd: int) -> None:
        """Close a descriptor, and give an unlinked file's bytes back with its last one."""
        closing = self.descriptor(fd)
        self.descriptors[fd] = None
        if isinstance(closing, OpenFile) and isinstance(closing.node, File):
            closing.node.opened -= 1
            self.let_go(closing.node)

    def let_go(self, node: File) -> None:
        """Stop counting a file that has neither a name nor a descriptor."""
        if not node.linked and not node.opened:
            self.used -= node.size
            node.content = bytearray()

    def left_open(self) -> list[str]:
        """What a guest left open beyond what it was given, by path; and what it closed of that."""
        names = []
        for fd, descriptor in enumerate(self.descriptors):
            if fd < self.fixed:
                if descriptor is None:
                    names.append(f"descriptor {fd} (closed)")
            elif isinstance(descriptor, OpenFile | OpenDirectory):
                names.append(descriptor.path.decode(errors="replace"))
        return names
