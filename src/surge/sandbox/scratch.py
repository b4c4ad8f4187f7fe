"""A folder for files in the making, one per process, beside others' in a cache that processes may share.

Each is held by a lock that ends with its process, so whatever a process left behind when it was killed is found by
the next one to start and removed, and nothing that is in use is touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_LOCK = ".lock"


class Scratch:
    """The folder of one process. Not there until `open`, and gone after `close`."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._folder: Path | None = None
        self._lock = -1

    def open(self) -> None:
        """Make the folder, and remove those of processes that ended."""
        self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One process at a time, so that nobody takes a folder for abandoned before its lock is held.
        door = os.open(self._parent / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            for other in self._parent.iterdir():
                if other.is_dir() and not other.is_symlink():
                    _remove_if_abandoned(other)
            self._folder = Path(tempfile.mkdtemp(dir=self._parent))
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(door)

    @property
    def folder(self) -> Path:
        """The folder."""
        assert self._folder is not None, "the sandbox is started before it is used"
        return self._folder

    def file(self) -> tuple[int, Path]:
        """An empty file only this user may read: a descriptor to write by, and its path. The caller sees to both."""
        fd, name = tempfile.mkstemp(dir=self.folder)
        return fd, Path(name)

    def close(self) -> None:
        """Remove the folder with all that is in it. Calling it again does nothing."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._folder = None


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
