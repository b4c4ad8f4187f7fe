"""What a parent and its worker say to each other, and nothing else.

A worker is told `Load` (or `Compile`) once, answers `Ready` (or `Compiled` / `Refused`), and then takes requests in
the order they come, several of them ahead of time; it answers each with one `Done`, in the same order. Messages are
msgpack over a Unix stream socket, each behind its length (4 bytes, little-endian); files travel as descriptors with
the message that names them (`fds` counts them), in the order its docstring says. Only the parent sends descriptors.

Files that many units share (a bundle, a zip of input files, a snapshot) are *held*: the parent gives one once under a
key of its own choosing (`Hold`), requests name the key, `Release` lets it go. Large inputs come as a descriptor with
the request; large outputs go to a *spool*, an empty file the parent gave ahead of time (two with `Load`, and a new
one by `Spool` for each that a `Done` says was used).
"""

from __future__ import annotations

from typing import Final

import msgspec

from surge.core.units import Limits, Part

INLINE: Final = 256 << 10
"""Bytes of input or output that travel inside a message; more goes through a file, so that no process holds it."""

MAX_MESSAGE: Final = 4 << 20
"""Bytes in one message. The largest honest one is an inline input with the longest argument list."""

SPOOLS: Final = 2
"""Empty spool files a worker has at hand: one being filled while the parent replaces the other."""


class Load(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Be a worker for one image. Descriptors: the compiled code; the standard library if `python`; `SPOOLS` spools."""

    image: bytes
    """The module's SHA-256."""
    python: bool
    """Whether the image is the pinned Python image, whose units start from a snapshot."""
    memory: int
    """Bytes of linear memory the largest unit may have."""
    fds: int


class Compile(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Compile one module, answer, and end. Descriptors: the module; an empty file for the compiled code."""

    image: bytes
    """The module's SHA-256; anything else in the file is refused."""
    python: bool
    cpu_seconds: int
    memory: int
    """Bytes of address space the compiler may take."""
    fds: int = 2


class Hold(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Keep a read-only file under a key. Descriptors: the file."""

    key: bytes
    fds: int = 1


class Release(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Close what is held under a key; no request in flight names it."""

    key: bytes
    fds: int = 0


class Spool(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """An empty spool file. Descriptors: the file."""

    fds: int = 1


class RunCommand(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Run `_start` once in a fresh instance. Descriptors: the standard input if `stdin` is None."""

    argv: tuple[bytes, ...]
    env: tuple[tuple[bytes, bytes], ...]
    stdin: bytes | None
    files: bytes | None
    """The key of a held zip, shown read-only as /job."""
    limits: Limits
    seed: bytes
    """32 bytes: where the unit's random stream starts."""
    witness: bool = False
    """Whether the reply is to hold the unit's witness, which takes some seconds for each GiB of its memory."""
    fds: int = 0


class SetupPython(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Run a job's setup and keep the memory it leaves. Descriptors: an empty file for the memory."""

    bundle: bytes | None
    """The key of the held bundle."""
    setup: bytes
    limits: Limits
    witness: bool = False
    """See `RunCommand`."""
    fds: int = 1


class RunPython(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Run one unit from a snapshot. Descriptors: the items if `items` is None."""

    bundle: bytes | None
    snapshot: bytes
    """The key of the held snapshot."""
    setup: bytes
    entry: bytes
    items: bytes | None
    limits: Limits
    private: bool = True
    """Whether the snapshot is mapped privately, or copied."""
    stored: tuple[bytes, ...] = ()
    """The keys of the held stored files, in the order in which the entry lists them."""
    witness: bool = False
    """See `RunCommand`."""
    fds: int = 0


Request = Load | Compile | Hold | Release | Spool | RunCommand | SetupPython | RunPython
UnitRequest = RunCommand | SetupPython | RunPython


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The image is loaded and the process is stripped."""

    layers: tuple[str, ...]
    """The layers of protection that hold in this worker, by name."""


class Compiled(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The compiled code is in the file."""

    size: int
    minimum_memory: int
    """Bytes of linear memory the module starts with."""


class Refused(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The module, or a file of the request, cannot be used; `reason` is for its owner."""

    reason: str


class Done(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How one unit ended."""

    status: int
    exit_code: int
    value: Part
    stdout: Part
    stderr: Part
    files: tuple[tuple[str, Part], ...]
    state: bytes
    fuel: int
    """Billed fuel."""
    seconds: float
    """Wall time inside the worker."""
    cpu_seconds: float
    """Processor time of it: what a crowded machine does not stretch."""
    peak_memory: int
    """Bytes of linear memory at the end."""
    detail: str
    """Why, for people; not part of the result."""
    output: bytes | None
    """value || stdout || stderr || files in order; None when it went to the oldest spool."""
    witness: bytes = b""
    """32 bytes (`core.units.witness_of`) if the request asked for it and the ending is provable; empty otherwise."""


Reply = Ready | Compiled | Refused | Done

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

encode = _encoder.encode
decode_request = _requests.decode
decode_reply = _replies.decode
