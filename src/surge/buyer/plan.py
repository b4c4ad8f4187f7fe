"""What a job is: everything that its units have in common, durable from before the first of them is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from surge.core import canonical
from surge.core.storage.stored import StoredPart
from surge.core.units import WORLD, Limits, UnitSpec
from surge.errors import InternalFault, InvalidInput

MAP, CALLS, COMMANDS, RUNS = "map", "calls", "commands", "runs"
"""Kinds of job: items through a function; single calls as they come; runs of a WASI command; single runs as they come."""

ONE_ARGUMENT, ARGUMENTS = 0, 1
"""Styles of a Python entry: f(item), or f(*args, **kwargs) with an item (args, kwargs)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks of providers."""

    max_price: int | None = None
    """Wei for a gigafuel, at most."""
    budget: int | None = None
    """Wei for all of the job, at most."""
    region: str | None = None
    providers: int | tuple[str, ...] | None = None
    """How many, or exactly which devices."""
    deadline_ms: int | None = None
    """Milliseconds after the start at which the job stops."""
    certainty_ppm: int | None = None
    """Millionths: how probably a result should be right, at least."""
    copies: int = 1
    """Answers that every unit gets, each of another operator."""
    quorum: int | None = None
    """Of these, those that must agree; None for more than half."""
    disputable: bool = True
    """Whether the units' code and inputs may be sent to jurors, sealed for each of them, should a result be disputed."""

    @property
    def certainty(self) -> float | None:
        """How probably a result should be right; None where the user did not say."""
        return None if self.certainty_ppm is None else self.certainty_ppm / 1_000_000

    @property
    def wanted(self) -> int:
        """Providers that the job should have."""
        return len(self.providers) if isinstance(self.providers, tuple) else self.providers or 8

    def fields(self) -> list[Any]:
        """The wishes as a journal keeps them."""
        named = list(self.providers) if isinstance(self.providers, tuple) else self.providers
        checks = [self.certainty_ppm, self.copies, self.quorum]
        return [self.max_price, self.budget, self.region, named, self.deadline_ms, *checks, self.disputable]

    @classmethod
    def of(cls, fields: list[Any]) -> Wishes:
        """The wishes in a journal's fields."""
        max_price, budget, region, providers, deadline, *later = fields
        named = tuple(providers) if isinstance(providers, list) else providers
        return cls(max_price, budget, region, named, deadline, *later)


@dataclass(frozen=True, slots=True)
class Plan:
    """A job."""

    kind: str
    name: str
    """What people call it."""
    salt: bytes
    """32 random bytes: unit ids tell nothing about their input."""
    image: bytes
    """32 bytes."""
    image_size: int
    """Bytes of the image; 0 for the pinned Python image."""
    bundle: bytes | None
    """32 bytes: the zip shown under /job."""
    bundle_size: int
    setup: bytes
    """Canonical bytes; empty for commands."""
    function: str
    """The qualified name in the bundle's module; empty for commands."""
    style: int
    seed: bytes
    """32 bytes: the job's seed."""
    limits: Limits
    chunk: int
    """Items in a unit; 0 for units of about half a second."""
    wishes: Wishes = field(default_factory=Wishes)

    @property
    def id(self) -> bytes:
        """The job's id: 32 bytes, a hash of its salt."""
        return _job_id(self.salt)

    @property
    def is_python(self) -> bool:
        """Whether units start from a setup's snapshot."""
        return self.kind in (MAP, CALLS)

    @property
    def is_resumable(self) -> bool:
        """Whether it can be gone on with: of single calls, whoever waited for them is gone."""
        return self.kind in (MAP, COMMANDS)

    def advice(self, done: str) -> str:
        """What to do about a job that stopped, for people; `done` is what resuming does."""
        return f"`surge job resume {self.id.hex()[:12]}` {done}" if self.is_resumable else "ask again for what has no result"

    def entry(self, first: int, parts: Sequence[StoredPart] = ()) -> bytes:
        """The entry of a Python unit whose first item has this index, and which reads these stored files."""
        listed = [[part.fields() for part in parts]] if parts else []
        return canonical.encode([self.function, self.style, first, self.seed, *listed])

    def spec(self, engine: bytes, entry: bytes, items: bytes, limits: Limits) -> UnitSpec:
        """A unit of this job; `items` is the SHA-256 of its input."""
        return UnitSpec(WORLD, engine, self.image, self.bundle, self.setup, entry, items, limits, self.salt)

    def encode(self) -> bytes:
        """Canonical bytes for the journal."""
        return canonical.encode(
            [
                self.kind,
                self.name,
                self.salt,
                self.image,
                self.image_size,
                self.bundle,
                self.bundle_size,
                self.setup,
                self.function,
                self.style,
                self.seed,
                self.limits.fields(),
                self.chunk,
                self.wishes.fields(),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """The plan in a journal. Raises `InternalFault` when it is damaged."""
        try:
            row: list[Any] = canonical.decode(data)
            kind, name, salt, image, image_size, bundle, bundle_size, setup, function, style, seed, limits, chunk, wishes = row
            return cls(
                kind,
                name,
                salt,
                image,
                image_size,
                bundle,
                bundle_size,
                setup,
                function,
                style,
                seed,
                Limits(*limits),
                chunk,
                Wishes.of(wishes),
            )
        except (InvalidInput, TypeError, ValueError, IndexError) as error:
            raise InternalFault("the journal holds a job that cannot be read: its file is damaged") from error


@lru_cache(maxsize=1024)
def _job_id(salt: bytes) -> bytes:
    return hashlib.sha256(salt).digest()


def job_seed(seed: int | str | bytes) -> bytes:
    """The 32-byte seed of a job from what a user gives: the same value gives the same draws, always. Raises `InvalidInput`."""
    if not isinstance(seed, int | str | bytes):
        raise InvalidInput(f"seed={seed!r} is no seed: pass a whole number, text or bytes")
    return hashlib.sha256(b"surge-seed" + canonical.encode(seed)).digest()
