"""Snapshots on disk: the memory that setups left, by what they are a function of, within a budget of bytes.

Beside each snapshot lies the outcome of its setup, so that a device that has the snapshot can say what setup gave without running it
again. Both are this device's own: a damaged one is dropped and made again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from surge.core import canonical
from surge.core.units import WORLD, Outcome
from surge.sandbox import guest
from surge.sandbox.scratch import Scratch

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outcome)


def snapshot_key(engine: bytes, image: bytes, bundle: bytes | None, setup: bytes) -> bytes:
    """What a snapshot is a function of: 32 bytes."""
    return canonical.digest([WORLD, guest.identity(), engine, image, bundle, setup])


class Snapshots:
    """A folder of snapshots."""

    def __init__(self, folder: Path, budget: int, scratch: Scratch) -> None:
        self.folder = folder
        self.budget = budget
        self._scratch = scratch

    def open(self) -> None:
        """Make the folder ready."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: bytes) -> Path:
        """Where the snapshot lies, or would lie."""
        return self.folder / f"{key.hex()}.memory"

    def find(self, key: bytes) -> Outcome | None:
        """The outcome of the setup whose snapshot is here, or None; asking counts as use."""
        try:
            outcome = _decoder.decode(self._outcome(key).read_bytes())
            os.utime(self.path(key))
        except (OSError, msgspec.DecodeError, ValueError):
            return None
        return outcome

    def begin(self) -> Path:
        """An empty file for a snapshot in the making."""
        descriptor, path = self._scratch.file()
        os.close(descriptor)
        return path

    def keep(self, key: bytes, made: Path, outcome: Outcome) -> None:
        """Take a snapshot that was made; others may have to go for it."""
        descriptor, path = self._scratch.file()
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encoder.encode(outcome))
        made.replace(self.path(key))
        path.replace(self._outcome(key))
        self._make_room(self.path(key))

    def drop(self, key: bytes) -> None:
        """Forget a snapshot, if it is here."""
        self._outcome(key).unlink(missing_ok=True)
        self.path(key).unlink(missing_ok=True)

    def _outcome(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}.outcome"

    def _make_room(self, newest: Path) -> None:
        entries = []
        for path in self.folder.glob("*.memory"):
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                entries.append((state.st_mtime_ns, state.st_blocks * 512, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.budget:
                return
            if path != newest:
                self.drop(bytes.fromhex(path.stem))
                total -= size
