"""Compiled code on disk, by engine and image: made here, readable by this user only, never taken from a peer.

Processes may share a cache. One of them compiles a module; the others wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path


class CodeCache:
    """A folder of compiled modules. Files appear whole or not at all."""

    def __init__(self, folder: Path, engine: bytes) -> None:
        self._folder = folder / engine.hex()[:32]
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
        return path if trusted else None

    def size(self, image: bytes) -> int | None:
        """Bytes of an image's compiled code, if it is here."""
        found = self.find(image)
        return None if found is None else found.stat().st_size

    @contextlib.contextmanager
    def alone(self, image: bytes) -> Iterator[bool]:
        """Whether this process is now the only one that may compile an image; held inside, and given up with it."""
        lock = os.open(self._folder / f"{image.hex()}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
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
        return final
