"""Single calls: `submit` and the executor. Calls of one function share a job, which stays open for more."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

from surge.buyer.results import Piece, item_error
from surge.errors import GuestFault, SurgeError

CALL_SECONDS = 0.05
"""What a unit of queued calls should take: a caller waits for single results."""


class Calls:
    """The calls of one function: where a job's items come from, and where its results go."""

    def __init__(self, encode: Callable[[Any], bytes], decode: Callable[[bytes, int], list[list[Any]]], wake: Callable[[], None]) -> None:
        self.ended = False
        self.error: BaseException | None = None
        self._encode = encode
        self._decode = decode
        self._wake = wake
        self._lock = threading.Lock()
        self._futures: dict[int, concurrent.futures.Future[Any]] = {}
        self._waiting: list[bytes] = []
        self._count = 0
        self._woken = False
        self._closed: BaseException | None = None

    def submit(self, item: Any) -> concurrent.futures.Future[Any]:
        """One more call. Raises `NotData` when it cannot travel, and what ended the job if that has ended."""
        data = self._encode(item)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._futures[self._count] = future
            self._count += 1
            self._waiting.append(data)
            wake, self._woken = not self._woken, True
        if wake:
            self._wake()
        return future

    @property
    def open(self) -> bool:
        """Whether calls are taken."""
        return self._closed is None

    def unfinished(self) -> list[concurrent.futures.Future[Any]]:
        """Calls without a result."""
        with self._lock:
            return list(self._futures.values())

    def finish(self) -> None:
        """No more calls come: the job ends when the last has its result."""
        with self._lock:
            self.ended = True
        self._wake()

    # As a job's feed

    def want(self, upto: int) -> None:
        """Calls come when they come."""

    def take(self) -> list[bytes]:
        """The calls since the last time."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._woken = False
        return taken

    def stop(self) -> None:
        """Take no more."""
        with self._lock:
            self.ended = True

    # As a job's sink

    def put(self, piece: Piece) -> None:
        """Results of some calls."""
        with self._lock:
            futures = [self._futures.pop(index, None) for index in range(piece.first, piece.first + piece.count)]
        entries: list[list[Any]] = []
        error: SurgeError | None = piece.error
        if piece.value is not None:
            try:
                entries = self._decode(piece.value, piece.count)
            except GuestFault as wrong:
                error = wrong
        for place, future in enumerate(futures):
            if future is None or not future.set_running_or_notify_cancel():
                continue
            if error is not None:
                future.set_exception(error)
            elif len(entries[place]) == 2:
                future.set_result(entries[place][1])
            else:
                future.set_exception(item_error(entries[place], piece.first + place))

    def wake(self) -> None:
        """Futures wake those who wait for them."""

    def end(self, at: int | None, failure: BaseException | None = None) -> None:
        """The job has ended: calls without a result fail with it."""
        with self._lock:
            self._closed = failure or concurrent.futures.CancelledError()
            left, self._futures = list(self._futures.values()), {}
        for future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._closed)


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` over a network. `Network.executor` makes it."""

    def __init__(self, submit: Callable[..., concurrent.futures.Future[Any]], finish: Callable[[], None]) -> None:
        self._submit = submit
        self._finish = finish
        self._futures: set[concurrent.futures.Future[Any]] = set()
        self._shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Run `fn(*args, **kwargs)` on some provider."""
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = self._submit(fn, args, kwargs)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; by default wait for those that were taken."""
        self._shut = True
        pending = list(self._futures)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)
        self._finish()
