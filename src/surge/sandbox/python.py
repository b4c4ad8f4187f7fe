"""Driving the Python image inside a worker: a setup turn that is kept as a snapshot, and units that start from it.

Between turns the guest's state is its linear memory and nothing else, provided that setup left no file open. So a snapshot is that
memory in a file, and a unit is a fresh instance whose memory is a private mapping of the file: nothing is copied until it is written.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import sys
from collections.abc import Sequence

from surge.core import canonical, values
from surge.core.storage.stored import StoredPart, parts_of
from surge.core.units import Status
from surge.errors import InvalidInput
from surge.sandbox import guest as guest_sources
from surge.sandbox import vfs, zipped
from surge.sandbox.host import Conclusion, Host
from surge.sandbox.instance import PAGE, Guest
from surge.sandbox.protocol import RunPython, SetupPython
from surge.sandbox.wasi.abi import Errno
from surge.sandbox.wasi.memory import Failed
from surge.sandbox.wasi.world import Ending, World

SETUP_SEED = hashlib.sha256(b"surge-world/1 setup").digest()
"""Where setup's random stream starts: the same for every job, so that a snapshot serves every seed."""

ENVIRONMENT = ((b"HOME", b"/"), (b"PYTHONHOME", b"/usr/local"))
"""What the guest's environment holds."""

STORED = b".stored"
"""The folder below /job of a unit's stored files (`core.values.stored.FOLDER`)."""

MAX_IMPORTS = 100
"""Modules that a setup imports beside its own."""
MAX_REQUEST = 4096
"""Bytes of what the guest asks, its value apart."""
MAX_ASIDE = 1000
"""Modules that load within one another."""

_sha256 = hashlib.sha256
_ZERO_PAGE = bytes(PAGE)
_MAP_FIXED = 0x10
_COPY = 4 << 20


def setup(host: Host, request: SetupPython, target: int) -> Conclusion:
    """Import the job's module and write the memory it leaves to the descriptor `target`.

    A setup that raises ends as `EXITED` with code 1 and its traceback on standard error; so does one that leaves a file open.
    """
    try:
        world = _world(host, request, SETUP_SEED)
        program = _setup_program(request.setup)
    except zipped.BadZip as wrong:
        return host.refuse(request.limits, f"the bundle: {wrong}", witness=request.witness)
    except (InvalidInput, ValueError, KeyError, TypeError) as wrong:
        return host.refuse(request.limits, f"the setup cannot be read: {wrong}", witness=request.witness)
    world.host_call = _Answers(world, b"", 0, b"")
    state = b""
    try:
        guest = host.begin(world)
        ending = turn(guest, program)
        if ending.status is Status.FINISHED and (names := world.left_open()):
            message = f"setup leaves files open, which a snapshot cannot keep: close {', '.join(names)}\n"
            world.stderr += message.encode()
            ending = Ending(Status.EXITED, 1, message)
        if ending.status is Status.FINISHED:
            state = _save(guest, target)
    except Ending as early:
        ending = early
    except OSError as wrong:
        ending = Ending(Status.HOST_MEMORY, detail=f"no room on the host for the snapshot: {wrong.strerror}")
    return host.conclude(world, ending, state=state, witness=request.witness)


def run(host: Host, request: RunPython, items: bytes | memoryview) -> Conclusion:
    """Run one unit from its snapshot."""
    try:
        parts = parts_of(request.entry)
        world = _world(host, request, SETUP_SEED, _stored(host, parts, request.stored))
        entry, first, seed = _entry(request.entry)
    except zipped.BadZip as wrong:
        return host.refuse(request.limits, f"the bundle: {wrong}", witness=request.witness)
    except (InvalidInput, ValueError, TypeError) as wrong:
        return host.refuse(request.limits, f"the entry cannot be read: {wrong}", witness=request.witness)
    world.host_call = _Answers(world, seed, first, b"".join((len(entry).to_bytes(4, "little"), entry, items)))
    try:
        _check_stored(host, parts, request.stored)
        guest = host.begin(world)
        restore(guest, host.held[request.snapshot].fd, private=request.private)
        ending = turn(guest, guest_sources.UNIT)
    except Ending as early:
        ending = early
    return host.conclude(world, ending, witness=request.witness)


def _stored(host: Host, parts: Sequence[StoredPart], keys: Sequence[bytes]) -> dict[str, bytes | memoryview]:
    """The stored files that a unit's entry lists, by their paths below the folder for them."""
    return {part.below: host.held[key].data() for part, key in zip(parts, keys, strict=False)}


def _check_stored(host: Host, parts: Sequence[StoredPart], keys: Sequence[bytes]) -> None:
    """Raise `Ending`, a local one, unless all of them are here, as long as they are said to be."""
    if [part.length for part in parts] != [len(host.held[key].data()) for key in keys]:
        raise Ending(Status.WORKER_LOST, detail="a stored file that the unit reads is not on this device, or damaged")


def _world(host: Host, request: SetupPython | RunPython, seed: bytes, stored: dict[str, bytes | memoryview] | None = None) -> World:
    assert host.library, "a worker of the Python image has its standard library"
    job = vfs.empty() if request.bundle is None else host.held[request.bundle].tree()
    if stored:
        job = vfs.joined(job, STORED, stored)
    return World(
        argv=(b"python",),
        env=ENVIRONMENT,
        stdin=b"",
        job=job,
        limits=request.limits,
        seed=seed,
        more=host.library,
    )


def _setup_program(setup: bytes) -> str:
    """The source of a setup turn. Raises `InvalidInput` or `ValueError` for bytes that describe none."""
    described = canonical.decode(setup)
    module, imports = described["module"], described.get("imports", [])
    if not all(type(name) is str for name in (module, *imports)) or len(imports) > MAX_IMPORTS:
        raise ValueError("it names its modules by text")
    return guest_sources.setup_source(module, imports)


def _entry(entry: bytes) -> tuple[bytes, int, bytes]:
    """The entry as the guest reads it, the index of the unit's first item, and the job's seed. Stored files are `parts_of` it."""
    name, style, first, seed, *more = canonical.decode(entry)
    if (
        len(more) > 1
        or type(name) is not str
        or style not in (0, 1)
        or type(seed) is not bytes
        or type(first) is not int
        or not 0 <= first < 1 << 63
    ):
        raise ValueError("it has a function, a style, an index and a seed")
    return values.dumps([name, style, first, seed]), first, seed


class _Answers:
    """What `host.call` answers in one turn; the harness says what it asks."""

    def __init__(self, world: World, seed: bytes, first: int, request: bytes) -> None:
        self._world = world
        self._seed = seed
        self._next = first
        self._request = request
        self._aside: list[tuple[int, bytes, int, bytes]] = []
        """Clock and random stream of the item, and of each module that was loading when another began to."""

    def __call__(self, said: bytes) -> bytes:
        world = self._world
        if said == b"b":
            world.reset(_sha256(self._seed + self._next.to_bytes(8, "little")).digest())
            self._next += 1
            return b""
        operation = said[:1]
        if operation == b"v":
            world.value[:] = b""
            world.emit(said[1:])
            return b""
        if len(said) > MAX_REQUEST:
            raise Failed(Errno.INVAL)
        if operation == b"(":
            if len(self._aside) >= MAX_ASIDE:
                raise Failed(Errno.INVAL)
            self._aside.append(world.position())
            world.reset(_sha256(said).digest())
        elif operation == b")" and self._aside:
            world.resume(self._aside.pop())
        elif operation == b"i":
            request, self._request = self._request, b""
            return request
        return b""


def turn(guest: Guest, source: str) -> Ending:
    """Run a program in the guest's interpreter."""
    code = source.encode()
    at = guest.call("host_alloc", len(code))
    guest.world.memory.write(at, code)
    if guest.call("turn", at, len(code)) == 0:
        return Ending(Status.FINISHED)
    return Ending(Status.EXITED, 1, "the program raised")


def _save(guest: Guest, target: int) -> bytes:
    """Write linear memory to a file, zero pages as holes, and return its SHA-256."""
    size = guest.size
    memory = memoryview((ctypes.c_uint8 * size).from_address(guest.address)).cast("B")
    os.ftruncate(target, size)
    for at in range(0, size, PAGE):
        page = memory[at : at + PAGE]
        if page.tobytes() != _ZERO_PAGE:
            written = 0
            while written < len(page):
                written += os.pwrite(target, page[written:], at + written)
    return hashlib.sha256(memory).digest()


def restore(guest: Guest, snapshot: int, *, private: bool) -> None:
    """Make a fresh guest's memory that of a snapshot: by a private mapping, or by a plain copy where there are none."""
    size = os.fstat(snapshot).st_size
    if size <= 0 or size % PAGE or size < guest.size:
        raise Ending(Status.WORKER_LOST, detail="the snapshot on this device is damaged")
    guest.grow(size)
    if private and sys.platform == "linux":
        if _mmap(guest.address, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED, snapshot, 0) != guest.address:
            raise Ending(Status.HOST_MEMORY, detail=f"mapping the snapshot: {os.strerror(ctypes.get_errno())}")
        return
    memory = memoryview((ctypes.c_uint8 * size).from_address(guest.address)).cast("B")
    for at in range(0, size, _COPY):
        piece = os.pread(snapshot, min(_COPY, size - at), at)
        if len(piece) != min(_COPY, size - at):
            raise Ending(Status.WORKER_LOST, detail="the snapshot on this device is damaged")
        memory[at : at + len(piece)] = piece


_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
