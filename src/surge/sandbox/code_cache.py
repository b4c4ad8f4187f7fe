"""Compiled code on disk, by engine and image: made here, readable by this user only, never taken from a peer.

Processes may share a cache. One of them compiles a module; the others wait for it. Strangers have modules compiled without end, so code
beyond a budget goes, the least recently used first; one image's stays whatever happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_MODULES: Final = 4096
"""Compiled modules kept: even the smallest takes some ten KiB."""

USED_SECONDS: Final = 60.0
"""How exactly the last use of a module is known."""


class CodeCache:
    """A folder of compiled modules. Files appear whole or not at all."""

    def __init__(self, folder: Path, engine: bytes, budget: int = 4 << 30, keeps: bytes = b"") -> None:
        """`budget` is in bytes; `keeps` is the image whose code never goes."""
        self._folder = folder / engine.hex()[:32]
        self._budget = budget
        self._keeps = keeps
        self._paths: dict[bytes, Path] = {}

    def open(self) -> None:
        """Make the folder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def find(self, image: bytes) -> Path | None:
        """The compiled code of an image. A file that somebody else could have written is not used."""
        path = self._paths.get(image)
        if path is None:
            path = self._folder / f"{image.hex()}.cwasm"
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            self._paths.pop(image, None)
            return None
        self._paths[image] = path
        trusted = status.st_uid == os.getuid() and not status.st_mode & 0o077 and stat.S_ISREG(status.st_mode)
        if trusted and status.st_mtime < time.time() - USED_SECONDS:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
        return path if trusted else None

    def size(self, image: bytes) -> int | None:
        """Bytes of an image's compiled code, if it is here."""
        found = self.find(image)
        return None if found is None else found.stat().st_size

    @contextlib.contextmanager
    def alone(self, image: bytes) -> Iterator[bool]:
        """Whether this process is now the only one that may compile an image; held inside, and given up with it."""
        path = self._folder / f"{image.hex()}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if not _is_at(lock, path):
                yield False  # whoever held it has just removed it
                return
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def keep(self, image: bytes, fd: int, path: Path) -> Path:
        """Make a finished file, on the same file system, the image's compiled code, durably."""
        os.fsync(fd)
        final = self._folder / f"{image.hex()}.cwasm"
        path.replace(final)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._make_room(final)
        return final

    def _make_room(self, newest: Path) -> None:
        entries = []
        for path in self._folder.glob("*.cwasm"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total, count = sum(size for _, size, _ in entries), len(entries)
        kept = {newest, self._folder / f"{self._keeps.hex()}.cwasm"}
        for _, size, path in sorted(entries):
            if total <= self._budget and count <= MAX_MODULES:
                return
            if path not in kept:
                path.unlink(missing_ok=True)
                total -= size
                count -= 1


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that lies there."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
