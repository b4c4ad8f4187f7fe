"""What running a unit gives back."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from surge.core.units import Outcome


@dataclass(frozen=True, slots=True)
class Output:
    """A unit's output blob: value, stdout, stderr and files, in order. Small ones are in memory, large ones in a file."""

    size: int
    data: bytes | None = None
    path: Path | None = None
    """A temporary file, ours until `discard`."""

    def open(self) -> BinaryIO:
        """The blob from its start; the caller closes it."""
        return io.BytesIO(self.data) if self.path is None and self.data is not None else self._file().open("rb")

    def read(self) -> bytes:
        """The whole blob in memory."""
        return self.data if self.data is not None else self._file().read_bytes()

    def discard(self) -> None:
        """Remove the temporary file, if there is one. Calling it again does nothing."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _file(self) -> Path:
        assert self.path is not None, "an output is bytes or a file"
        return self.path


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one unit."""

    outcome: Outcome
    seconds: float
    """Wall time inside the worker."""
    cpu_seconds: float
    """Processor time of it."""
    output: Output
    detail: str = ""
    """Why it ended, for people; not part of the result."""
    peak_memory: int = 0
    """Bytes of linear memory at the end."""
    witness: bytes = b""
    """32 bytes that only running the unit gives (`core.units.witness_of`), where they were asked for and the ending is provable."""
    protections: tuple[str, ...] = field(default=(), compare=False)
    """The layers that held around it."""


@dataclass(frozen=True, slots=True)
class CompiledImage:
    """A module ready to run here."""

    image: bytes
    """Its SHA-256."""
    size: int
    """Bytes of compiled code."""
    seconds: float
    """Wall time it took; 0 when it was in the cache."""
