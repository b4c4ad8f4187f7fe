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
from collections.abc import Callable
from functools import partial

from surge.core import canonical, values
from surge.core.units import Status
from surge.errors import InvalidInput
from surge.sandbox import guest as guest_sources
from surge.sandbox import vfs
from surge.sandbox.host import Conclusion, Host
from surge.sandbox.instance import PAGE, Guest
from surge.sandbox.protocol import RunPython, SetupPython
from surge.sandbox.wasi.world import Ending, World

SETUP_SEED = hashlib.sha256(b"surge-world/1 setup").digest()
"""Where setup's random stream starts: the same for every job, so that a snapshot serves every seed."""

ENVIRONMENT = ((b"HOME", b"/"), (b"PYTHONHOME", b"/usr/local"))
"""What the guest's environment holds."""

_ZERO_PAGE = bytes(PAGE)
_MAP_FIXED = 0x10
_COPY = 4 << 20


def setup(host: Host, request: SetupPython, target: int) -> Conclusion:
    """Import the job's module and write the memory it leaves to the descriptor `target`.

    A setup that raises ends as `EXITED` with code 1 and its traceback on standard error; so does one that leaves a file open.
    """
    try:
        world = _world(host, request, SETUP_SEED)
        module = canonical.decode(request.setup)["module"]
    except vfs.BadZip as wrong:
        return host.refuse(request.limits, f"the bundle: {wrong}")
    except (InvalidInput, KeyError, TypeError) as wrong:
        return host.refuse(request.limits, f"the setup cannot be read: {wrong}")
    world.host_call = partial(_answer, world, b"", b"")
    state = b""
    try:
        guest = host.begin(world)
        ending = _turn(guest, guest_sources.setup_source(module))
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
    return host.conclude(world, ending, state=state)


def run(host: Host, request: RunPython, items: bytes | memoryview) -> Conclusion:
    """Run one unit from its snapshot."""
    try:
        world = _world(host, request, SETUP_SEED)
        name, style, first, seed = canonical.decode(request.entry)
        entry = values.dumps([name, style, first, seed])
    except vfs.BadZip as wrong:
        return host.refuse(request.limits, f"the bundle: {wrong}")
    except (InvalidInput, ValueError, TypeError) as wrong:
        return host.refuse(request.limits, f"the entry cannot be read: {wrong}")
    world.host_call = partial(_answer, world, seed, len(entry).to_bytes(4, "little") + entry + items)
    try:
        guest = host.begin(world)
        _restore(guest, host.held[request.snapshot].fd, private=request.private)
        ending = _turn(guest, guest_sources.UNIT)
    except Ending as early:
        ending = early
    return host.conclude(world, ending)


def _world(host: Host, request: SetupPython | RunPython, seed: bytes) -> World:
    assert host.stdlib is not None, "a worker of the Python image has its standard library"
    job = vfs.empty() if request.bundle is None else host.held[request.bundle].tree()
    library = vfs.tree_of_files({"python315.zip": host.stdlib})
    return World(
        argv=(b"python",),
        env=ENVIRONMENT,
        stdin=b"",
        job=job,
        limits=request.limits,
        seed=seed,
        more=((b"/usr/local/lib", library),),
    )


def _answer(world: World, seed: bytes, request: bytes, said: bytes) -> bytes:
    """What `host.call` answers: see the harness."""
    operation = said[:1]
    if operation == b"b":
        world.reset(hashlib.sha256(seed + said[1:9]).digest())
    elif operation == b"v":
        world.value[:] = b""
        world.emit(said[1:])
    elif operation == b"i":
        return request
    return b""


def _turn(guest: Guest, source: str) -> Ending:
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
        if page != _ZERO_PAGE:
            written = 0
            while written < len(page):
                written += os.pwrite(target, page[written:], at + written)
    return hashlib.sha256(memory).digest()


def _restore(guest: Guest, snapshot: int, *, private: bool) -> None:
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


_mmap: Callable[..., int] = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p  # type: ignore[attr-defined]
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]  # type: ignore[attr-defined]
