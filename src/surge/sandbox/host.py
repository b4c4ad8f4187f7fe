"""What a worker has at hand for its units, and how a unit is brought to its end.

The Python harness and plain commands both go this way:

    world = World(...); guest = host.begin(world); ... ; return host.conclude(world, ending)
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from surge.core.units import EMPTY, PROVABLE, Limits, Part, Status, billed_fuel, witness_of
from surge.sandbox import vfs, zipped
from surge.sandbox.instance import Guest, Image
from surge.sandbox.library import Folders
from surge.sandbox.protocol import Done
from surge.sandbox.vfs import Directory
from surge.sandbox.wasi.world import Ending, World


class Held:
    """A file the parent lent, mapped when first used. It is the parent's own: nobody cuts it short meanwhile."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._tree: Directory | None = None
        self._data: memoryview | None = None

    def data(self) -> memoryview:
        """Its bytes, mapped."""
        if self._data is None:
            self._data = map_file(self.fd)
        return self._data

    def tree(self) -> Directory:
        """Its files, if it is a zip.

        Raises:
            zipped.BadZip: it is not.
        """
        if self._tree is None:
            self._tree = zipped.tree_of_zip(self.data())
        return self._tree

    def close(self) -> None:
        """Close the descriptor; a mapping goes when the last view of it does."""
        self._tree = self._data = None
        os.close(self.fd)


def map_file(fd: int) -> memoryview:
    """A file's bytes, mapped and read-only."""
    if not os.fstat(fd).st_size:
        return memoryview(b"")
    return memoryview(mmap.mmap(fd, 0, prot=mmap.PROT_READ))


def _part(piece: bytes | bytearray | memoryview) -> Part:
    return Part(hashlib.sha256(piece).digest(), len(piece)) if piece else EMPTY


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A unit's end: the reply, and the pieces of its output in order."""

    done: Done
    output: Sequence[bytes | bytearray | memoryview]


class Host:
    """One worker's image, standard library and held files, and its running guest."""

    def __init__(self, image: Image, library: Folders = ()) -> None:
        self.image = image
        self.library = library
        """The standard library's folders, for the Python image."""
        self.held: dict[bytes, Held] = {}
        self._guest: Guest | None = None
        self._started = self._thread_started = 0.0

    def begin(self, world: World) -> Guest:
        """A fresh instance for a unit; whatever happens next, `conclude` must follow.

        Raises:
            Ending: the unit ended before it began.
        """
        self._started, self._thread_started = time.perf_counter(), time.thread_time()
        self._guest = None
        self._guest = Guest(self.image, world)
        return self._guest

    def conclude(self, world: World, ending: Ending, *, state: bytes = b"", witness: bool = False) -> Conclusion:
        """Take the instance down and say how the unit ended.

        A local ending has no output. `state` is the SHA-256 of the memory a setup left; `witness` asks for the unit's witness, which is
        that of no memory where there was no instance.
        """
        fuel = peak = 0
        seen = b""
        guest, self._guest = self._guest, None
        witness = witness and ending.status in PROVABLE
        if guest is not None:
            peak = guest.size
            fuel = world.limits.fuel - guest.fuel_left
            seen = witness_of(guest.all_memory()) if witness else b""
            guest.close()
        elif witness:
            seen = witness_of(b"")
        status = ending.status
        pieces: list[bytes | bytearray | memoryview] = []
        names: list[str] = []
        value = stdout = stderr = EMPTY
        files: tuple[tuple[str, Part], ...] = ()
        if status in PROVABLE:
            fuel = billed_fuel(status, fuel, world.limits)
            pieces = [world.value, world.stdout, world.stderr]
            value, stdout, stderr = (_part(piece) for piece in pieces)
            if world.out.children:
                for path, node in world.out.walk():
                    names.append(path.decode())
                    pieces.append(node.data() if isinstance(node, vfs.Blob) else node.content)
                files = tuple(zip(names, map(_part, pieces[3:]), strict=True))
        else:
            fuel, state = 0, b""
        done = Done(
            status=status,
            exit_code=ending.exit_code,
            value=value,
            stdout=stdout,
            stderr=stderr,
            files=files,
            state=state,
            fuel=fuel,
            seconds=time.perf_counter() - self._started,
            cpu_seconds=time.thread_time() - self._thread_started,
            peak_memory=peak,
            detail=ending.detail[:2000],
            output=None,
            witness=seen,
        )
        return Conclusion(done, pieces)

    def refuse(self, limits: Limits, reason: str, *, witness: bool = False) -> Conclusion:
        """The conclusion of a unit whose files cannot be used: the same everywhere, and billed like a trap."""
        done = Done(
            status=Status.TRAPPED,
            exit_code=0,
            value=EMPTY,
            stdout=EMPTY,
            stderr=EMPTY,
            files=(),
            state=b"",
            fuel=limits.fuel,
            seconds=0.0,
            cpu_seconds=0.0,
            peak_memory=0,
            detail=reason[:2000],
            output=None,
            witness=witness_of(b"") if witness else b"",
        )
        return Conclusion(done, [])
