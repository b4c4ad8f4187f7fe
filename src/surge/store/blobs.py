"""Contents as files, by SHA-256, within a budget of bytes.

A content is written beside its place, hashed as it streams, made durable, and renamed; a reader sees all of it or nothing. When the
budget is exceeded, the contents used least recently go, except those that are pinned. Whoever sends contents may send many small ones
and leave others half sent: their number is bounded too, and what is half sent stays within the budget by itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from surge.errors import InvalidInput, PeerFault, Unavailable

_NAME = re.compile(r"[0-9a-f]{64}\Z")

LEFTOVER_SECONDS = 3600.0
"""A file in the making that nobody wrote to for so long is a crash's, and not another process's."""

MAX_CONTENTS = 65536
"""Contents kept within a budget: even an empty one takes room on a disk, and time whenever others must go."""

SPARE = 16
"""One part in so many of the budget is freed beyond what must be, so that not every new content looks at all others."""


class BlobWriter:
    """One content on its way to disk. Use as a context manager: leaving it without `commit` drops what was written."""

    def __init__(self, store: Blobs, expected: bytes | None, max_size: int | None) -> None:
        self._store = store
        self._expected = expected
        self._max_size = max_size
        self._hash = hashlib.sha256()
        self.size = 0
        self._ended = False
        descriptor, name = tempfile.mkstemp(dir=store.folder, prefix="incoming-")
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._path = Path(name)

    def write(self, data: bytes) -> None:
        """Append bytes. Raises `PeerFault` past the size announced, `Unavailable` when the disk or the budget is full."""
        self.size += len(data)
        self._store.comes(len(data))
        if self._max_size is not None and self.size > self._max_size:
            raise PeerFault(f"a content grows past the {self._max_size} bytes announced", size=self.size)
        self._hash.update(data)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise Unavailable(f"the disk that holds {self._store.folder} is full or failing: {error.strerror}") from error

    def commit(self) -> bytes:
        """Make the content durable under its digest, which is returned. Raises `PeerFault` if it is not the one expected."""
        digest = self._hash.digest()
        if self._expected is not None and digest != self._expected:
            raise PeerFault(f"a content arrived as sha256:{digest.hex()}, not as sha256:{self._expected.hex()}", digest=digest)
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(self._store.path(digest))
            folder = os.open(self._store.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Unavailable(f"the disk that holds {self._store.folder} is full or failing: {error.strerror}") from error
        self._ends()
        self._store.added(digest, self.size)
        return digest

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Drop what was written, unless it was committed."""
        self._ends()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _ends(self) -> None:
        """It is no longer on its way."""
        if not self._ended:
            self._ended = True
            self._store.comes(-self.size)


class Blobs:
    """A folder of contents.

    Args:
        folder: where they lie; made if missing. Old leftovers of a crash are removed.
        budget: bytes to keep at most, or None for no bound.
    """

    def __init__(self, folder: Path, budget: int | None = None) -> None:
        self.folder = folder
        self.budget = budget
        self._pins: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._coming = 0
        """Bytes of contents on their way."""
        self._held: tuple[int, int] | None = None
        """Bytes and number of the contents here; None before the first look."""
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("incoming-*"):
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    leftover.unlink()

    def path(self, digest: bytes) -> Path:
        """Where the content lies, or would lie."""
        if len(digest) != 32:
            raise InvalidInput(f"{digest!r} is no SHA-256 digest")
        return self.folder / digest.hex()

    def has(self, digest: bytes) -> bool:
        """Whether the content is here; asking counts as use."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def size(self, digest: bytes) -> int:
        """Bytes of a content. Raises `Unavailable` if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise Unavailable(f"the content sha256:{digest.hex()} is not here", digest=digest) from error

    def writer(self, expected: bytes | None = None, max_size: int | None = None) -> BlobWriter:
        """Begin to write a content; `expected` is its digest where that is known."""
        try:
            return BlobWriter(self, expected, max_size)
        except OSError as error:
            raise Unavailable(f"nothing can be written to {self.folder}: {error.strerror}") from error

    def put(self, data: bytes) -> bytes:
        """Keep `data`; returns its digest."""
        digest = hashlib.sha256(data).digest()
        if not self.has(digest):
            with self.writer(digest) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def put_file(self, source: Path) -> bytes:
        """Keep a copy of a file; returns its digest."""
        with self.writer() as writer, source.open("rb") as file:
            while piece := file.read(1 << 20):
                writer.write(piece)
            return writer.commit()

    def read(self, digest: bytes) -> bytes:
        """A content's bytes. Raises `Unavailable` if it is not here."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise Unavailable(f"the content sha256:{digest.hex()} is not here", digest=digest) from error

    def delete(self, digest: bytes) -> None:
        """Drop a content, if it is here."""
        self.path(digest).unlink(missing_ok=True)

    @contextmanager
    def pinned(self, *digests: bytes) -> Iterator[None]:
        """Keep contents from being dropped while inside."""
        self._pins.update(digests)
        try:
            yield
        finally:
            self._pins.subtract(digests)
            self._pins += Counter()  # forgets what is pinned no longer

    def comes(self, size: int) -> None:
        """Count bytes of contents on their way, fewer when negative. Raises `Unavailable` when they exceed the budget by themselves."""
        with self._lock:
            self._coming += size
            full = self.budget is not None and size > 0 and self._coming > max(self.budget, size)
        if full:
            raise Unavailable(f"contents on their way fill the {self.budget} bytes kept for them: try again later")

    def added(self, digest: bytes, size: int) -> None:
        """Note a new content: others may have to go for it."""
        if self.budget is None:
            return
        with self._lock:
            if self._held is not None:
                self._held = self._held[0] + size, self._held[1] + 1
                if self._held[0] <= self.budget and self._held[1] <= MAX_CONTENTS:
                    return
            self._held = self._make_room(digest, self.budget)

    def _make_room(self, digest: bytes, budget: int) -> tuple[int, int]:
        """Drop what was used least recently until the budget holds with something to spare; bytes and number of what stays."""
        entries = []
        for path in self.folder.iterdir():
            if _NAME.match(path.name):
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue
                entries.append((state.st_mtime, state.st_size, path))
        total, count = sum(size for _, size, _ in entries), len(entries)
        if total <= budget and count <= MAX_CONTENTS:
            return total, count
        most, most_contents = budget - budget // SPARE, MAX_CONTENTS - MAX_CONTENTS // SPARE
        now = time.time()
        for used, size, path in sorted(entries):
            if total <= most and count <= most_contents:
                break
            if path.name != digest.hex() and self._pins[bytes.fromhex(path.name)] <= 0 and used <= now:
                path.unlink(missing_ok=True)
                total -= size
                count -= 1
        return total, count
