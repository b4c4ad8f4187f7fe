"""Snapshots on disk: the memory that setups left, by what they are a function of, within a budget of bytes.

Beside each snapshot lies the outcome of its setup, so that a device that has the snapshot can say what setup gave without running it
again. The outcome holds the hash of the memory, which is checked before the first use in each process: a snapshot that a disk or a
crash damaged is dropped and made again, and never run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from surge.core import canonical
from surge.core.units import WORLD, Outcome
from surge.sandbox import guest
from surge.sandbox.scratch import Scratch

FRESH: Final = 1.0
"""Seconds for which a snapshot that was found is not looked for again."""

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
        self._found: dict[bytes, tuple[float, Outcome]] = {}
        self._sound: set[bytes] = set()
        """Keys of snapshots that were whole when this process looked."""

    def open(self) -> None:
        """Make the folder ready."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: bytes) -> Path:
        """Where the snapshot lies, or would lie."""
        return self.folder / f"{key.hex()}.memory"

    def find(self, key: bytes) -> Outcome | None:
        """The outcome of the setup whose snapshot is here, or was a moment ago, or None; asking counts as use."""
        now = time.monotonic()
        lately = self._found.get(key)
        if lately is not None and now - lately[0] < FRESH:
            return lately[1]
        self.look_again(key)
        try:
            outcome = _decoder.decode(self._outcome(key).read_bytes())
            os.utime(self.path(key))
        except (OSError, msgspec.DecodeError, ValueError):
            return None
        self._found[key] = (now, outcome)
        return outcome

    def look_again(self, key: bytes) -> None:
        """Have the next `find` look on disk: another process may have dropped the snapshot."""
        self._found.pop(key, None)

    def sound(self, key: bytes) -> bool:
        """Whether the snapshot is known to be whole; if not, `check` says."""
        return key in self._sound

    def check(self, key: bytes) -> bool:
        """Compare a snapshot with its hash, which takes a moment; one that is damaged is dropped."""
        outcome = self.find(key)
        try:
            with self.path(key).open("rb") as file:
                whole = outcome is not None and hashlib.file_digest(file, "sha256").digest() == outcome.state
        except OSError:
            whole = False
        if whole:
            self._sound.add(key)
        else:
            self.drop(key)
        return whole

    def begin(self) -> Path:
        """An empty file for a snapshot in the making."""
        descriptor, path = self._scratch.file()
        os.close(descriptor)
        return path

    def keep(self, key: bytes, made: Path, outcome: Outcome) -> None:
        """Take a snapshot that was made; others may have to go for it.

        A crash leaves both files, or no outcome, which is no snapshot. The memory is not forced to disk: `check` finds it torn.
        """
        descriptor, path = self._scratch.file()
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encoder.encode(outcome))
        self.look_again(key)
        self._outcome(key).unlink(missing_ok=True)
        made.replace(self.path(key))
        path.replace(self._outcome(key))
        self._sound.add(key)
        self._make_room(self.path(key))

    def drop(self, key: bytes) -> None:
        """Forget a snapshot, if it is here."""
        self._sound.discard(key)
        self.look_again(key)
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
