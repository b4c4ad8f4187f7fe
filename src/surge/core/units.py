"""Units of work: what they are a function of, how they end, and what they give.

A unit id names everything that determines a unit's result; a result hash names the result. Both are hashes over canonical bytes,
so that any two parties who ran the same thing hold the same 32 bytes.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from surge.core import canonical
from surge.errors import InvalidInput, PeerFault

WORLD = "surge-world/1"
"""The version of the guest environment: WASI rules, value format, clock, randomness."""

MAX_MEMORY = 4 << 30
"""Bytes: what 32-bit linear memory can hold."""

MAX_FUEL = 1 << 62
"""Fuel of one unit: keeps every sum within the engine's 64-bit counter."""

MAX_WALL_MS = 24 * 3600 * 1000
"""Milliseconds: a day. A unit is the grain of verification, not a service."""

MAX_OUTPUT = 1 << 30
"""Bytes of output of one unit."""

MAX_OPEN_FILES = 1024
"""Files a unit may hold open."""

MAX_FILES = 1000
"""Files and directories a unit may make below /out: their names travel with every result."""

MAX_PATH = 255
"""Bytes in the path of one, relative to /out, for the same reason."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a unit may use. Part of the unit's id, because a unit that hits a limit ends there."""

    memory: int = 512 << 20
    """Bytes of linear memory."""
    fuel: int = 10**12
    """WebAssembly instructions."""
    wall_ms: int = 120_000
    """Wall time in milliseconds; hitting it is a local ending."""
    output: int = 64 << 20
    """Bytes of standard output, standard error, value and files together."""
    open_files: int = 64
    """Files open at once."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("memory", 1 << 16, MAX_MEMORY),
            ("fuel", 1, MAX_FUEL),
            ("wall_ms", 1, MAX_WALL_MS),
            ("output", 0, MAX_OUTPUT),
            ("open_files", 4, MAX_OPEN_FILES),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(f"the limit {name}={value} is not between {low} and {high}", limit=name, value=value)

    def fields(self) -> list[int]:
        """The limits as they stand in a unit id."""
        return [self.memory, self.fuel, self.wall_ms, self.output, self.open_files]


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """Everything a unit is a function of."""

    world: str
    """The world's version."""
    engine: bytes
    """32 bytes: the engine's hash."""
    image: bytes
    """32 bytes: the module's SHA-256."""
    bundle: bytes | None
    """32 bytes: the SHA-256 of the zip shown under /job, or none."""
    setup: bytes
    """Canonical bytes that describe the setup; empty for commands."""
    entry: bytes
    """Canonical bytes: for Python (function, style, first index, seed), for commands (argv, environment, index)."""
    items: bytes
    """32 bytes: the SHA-256 of the input."""
    limits: Limits
    """What the unit may use."""
    salt: bytes
    """32 random bytes of the job, so that an id tells nothing about its input."""


def unit_id(spec: UnitSpec) -> bytes:
    """The unit's id: 32 bytes."""
    return canonical.digest(
        [
            spec.world,
            spec.engine,
            spec.image,
            spec.bundle,
            spec.setup,
            spec.entry,
            spec.items,
            spec.limits.fields(),
            spec.salt,
        ]
    )


def command_seed(spec: UnitSpec) -> bytes:
    """The seed of a command's random stream: 32 bytes.

    It depends on what is run on what, not on the job, its limits, the engine or the run's place in the job: the same command gives the
    same results. Raises `InvalidInput` for an entry that is none of a command.
    """
    entry = canonical.decode(spec.entry)
    if not isinstance(entry, list) or len(entry) != 3:
        raise InvalidInput("a command's entry has arguments, an environment and an index")
    return canonical.digest(["surge command", spec.world, spec.image, spec.bundle, entry[:2], spec.items])


class Status(IntEnum):
    """How a unit ended. Below 64 the ending is provable: anyone who runs the unit again sees it. The others are local."""

    FINISHED = 0
    EXITED = 1
    OUT_OF_FUEL = 2
    OUTPUT_LIMIT = 3
    MEMORY_LIMIT = 4
    TRAPPED = 5
    WALL_TIME = 64
    NATIVE_STACK = 65
    HOST_MEMORY = 66
    WORKER_LOST = 67


PROVABLE = frozenset(status for status in Status if status < 64)
"""Endings that give a result, a receipt and pay."""

EXACT = frozenset({Status.FINISHED, Status.EXITED, Status.OUTPUT_LIMIT})
"""Endings after which the engine's fuel counter is exact: a call into the host made them. Every other provable ending is billed its fuel
limit."""


def billed_fuel(status: Status, counted: int, limits: Limits) -> int:
    """The fuel a provable ending is billed: what was counted where that is exact, otherwise the limit."""
    return counted if status in EXACT else limits.fuel


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a unit's output."""

    digest: bytes
    """32 bytes: SHA-256."""
    size: int
    """Bytes."""

    @classmethod
    def of(cls, data: bytes) -> Part:
        """The part that `data` is."""
        return cls(hashlib.sha256(data).digest(), len(data))


EMPTY = Part.of(b"")
"""A piece without bytes."""

WITNESS = b"surge witness 1\0"
"""What a witness begins with: so that it is no other hash of the same memory, such as the state that a setup's outcome names."""


def witness_of(memory: bytes | bytearray | memoryview) -> bytes:
    """The witness of a unit that left this linear memory: SHA-256 of `WITNESS`, its size (8 bytes, little-endian) and all its bytes.

    Two honest runs to a provable ending leave the same memory. It is in no outcome and no receipt, so whoever has it ran the unit.
    """
    digest = hashlib.sha256(WITNESS + len(memory).to_bytes(8, "little"))
    digest.update(memory)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a unit ended and what it gave. The bytes travel apart: value, stdout, stderr, then the files in order."""

    status: Status
    """The ending."""
    exit_code: int
    """The code of an `EXITED` unit; 0 otherwise."""
    value: Part
    """What a Python unit returned: encoded values."""
    stdout: Part
    """Standard output."""
    stderr: Part
    """Standard error."""
    files: tuple[tuple[str, Part], ...]
    """Files under /out, by relative path, sorted by the path's UTF-8 bytes."""
    state: bytes
    """32 bytes: the SHA-256 of linear memory after a setup; empty otherwise."""
    fuel: int
    """Billed fuel. Not part of the result; it stands in the receipt as the quantity."""

    def parts(self) -> list[Part]:
        """The pieces in the order of the output blob."""
        return [self.value, self.stdout, self.stderr, *(part for _, part in self.files)]

    def size(self) -> int:
        """Bytes of the output blob."""
        return sum(part.size for part in self.parts())


def are_files(paths: Sequence[str]) -> bool:
    """Whether these can be the files of an outcome: plain relative paths, each once, in the order of their bytes.

    Whoever has the outcome may write them to a folder: no path leads out of it.
    """
    try:
        encoded = [path.encode() for path in paths]
    except UnicodeEncodeError:
        return False
    in_order = all(one < other for one, other in itertools.pairwise(encoded))
    return in_order and len(paths) <= MAX_FILES and all(map(_is_plain, encoded))


def _is_plain(path: bytes) -> bool:
    return len(path) <= MAX_PATH and b"\0" not in path and all(part not in (b"", b".", b"..") for part in path.split(b"/"))


def result_hash(outcome: Outcome) -> bytes:
    """The result: 32 bytes over everything that two honest runs share but the fuel."""
    return canonical.digest(
        [
            int(outcome.status),
            outcome.exit_code,
            *([part.digest, part.size] for part in (outcome.value, outcome.stdout, outcome.stderr)),
            [[path, part.digest, part.size] for path, part in outcome.files],
            outcome.state,
        ]
    )


@dataclass(frozen=True, slots=True)
class OutputBytes:
    """An outcome's output, cut into its pieces."""

    value: bytes
    stdout: bytes
    stderr: bytes
    files: dict[str, bytes]


def split_output(outcome: Outcome, blob: bytes) -> OutputBytes:
    """Cut an output blob into its pieces and check each. Raises `PeerFault` where one is not what the outcome says."""
    verifier = OutputVerifier(outcome)
    verifier.update(blob)
    verifier.finish()
    pieces, at = [], 0
    for part in outcome.parts():
        pieces.append(blob[at : at + part.size])
        at += part.size
    paths = [path for path, _ in outcome.files]
    return OutputBytes(pieces[0], pieces[1], pieces[2], dict(zip(paths, pieces[3:], strict=True)))


class OutputVerifier:
    """Checks an output blob against its outcome as it arrives, keeping nothing."""

    def __init__(self, outcome: Outcome) -> None:
        self._parts = outcome.parts()
        self._at = 0
        self._left = self._parts[0].size
        self._hash = hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `PeerFault` as soon as a piece is wrong or bytes are left over."""
        view = memoryview(chunk)
        while view:
            self._close_full()
            if self._at == len(self._parts):
                raise PeerFault("the output is longer than the outcome says", surplus=len(view))
            piece = view[: self._left]
            self._hash.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]

    def finish(self) -> None:
        """Check that everything has come. Raises `PeerFault`."""
        self._close_full()
        if self._at != len(self._parts):
            raise PeerFault("the output is shorter than the outcome says", missing=self._left)

    def _close_full(self) -> None:
        while self._at < len(self._parts) and self._left == 0:
            if self._hash.digest() != self._parts[self._at].digest:
                raise PeerFault("a piece of the output is not what the outcome says", piece=self._at)
            self._at += 1
            self._hash = hashlib.sha256()
            if self._at < len(self._parts):
                self._left = self._parts[self._at].size
