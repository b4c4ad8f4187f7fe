"""Pulling a job's items from the user's iterable, on a thread of their own, no further ahead than is useful.

The user's iterator may block, be infinite, or raise. Items are encoded the moment they are pulled, so that changing
one afterwards changes nothing. The loop is woken once for many items; a single item that arrives alone is handed over
at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from surge.errors import InvalidInput

MAX_WAITING = 64 << 20
"""Bytes pulled and not taken, beyond which nothing more is pulled: whoever takes them may write them to a slow disk first."""


class Intake:
    """Feeds a job. `wake` is called from the intake's thread when there is something to `take`."""

    def __init__(self, items: Iterable[Any], encode: Callable[[Any], bytes], wake: Callable[[], None], *, skip: int = 0) -> None:
        self._items = items
        self._encode = encode
        self._wake = wake
        self._skip = skip
        self._condition = threading.Condition()
        self._taken: list[bytes] = []
        self._waiting = 0
        self._woken = False
        self._target = 0
        self._pulled = 0
        self._stopped = False
        self.ended = False
        """Whether no more items will come. Read it before `take`."""
        self.error: BaseException | None = None
        """What the user's iterator or the encoding raised."""
        self._thread = threading.Thread(target=self._run, name="surge-items", daemon=True)

    def start(self) -> None:
        """Begin to pull."""
        self._thread.start()

    def want(self, upto: int) -> None:
        """Pull until `upto` items were pulled in all."""
        if upto > self._target:
            with self._condition:
                self._target = upto
                self._condition.notify()

    def stop(self) -> None:
        """Pull nothing more."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def take(self) -> list[bytes]:
        """The encoded items that arrived since the last call."""
        with self._condition:
            taken, self._taken = self._taken, []
            self._waiting = 0
            self._condition.notify()
            self._woken = False
        return taken

    def _run(self) -> None:
        try:
            iterator = iter(self._items)
            for _ in range(self._skip):
                next(iterator, None)
            self._pull(iterator)
        except Exception as error:  # mostly the user's own: it is raised again where they read the results
            self.error = error
        self._finish()

    def _pull(self, iterator: Iterator[Any]) -> None:
        while True:
            with self._condition:
                while self._pulled >= self._target and not self._stopped:
                    self._condition.wait()
                if self._stopped:
                    return
                todo = self._target - self._pulled
            for _ in range(todo):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                try:
                    data = self._encode(item)
                except InvalidInput as error:
                    index = self._skip + self._pulled
                    raise type(error)(f"item {index}: {error.message}", **{**error.details, "index": index}) from error
                self._taken_in(data)
                if self._stopped:
                    return

    def _taken_in(self, data: bytes) -> None:
        with self._condition:
            while self._waiting > MAX_WAITING and not self._stopped:
                self._condition.wait()
            self._taken.append(data)
            self._waiting += len(data)
            self._pulled += 1
            wake, self._woken = not self._woken, True
        if wake:
            self._wake()

    def _finish(self) -> None:
        with self._condition:
            self.ended = True
        self._wake()
