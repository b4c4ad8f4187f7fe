"""Single calls: `submit` and the executor. Calls of one function share a job, which stays open for more."""

from __future__ import annotations

import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from surge.buyer.results import Piece, item_error
from surge.errors import GuestFault, SurgeError

CALL_SECONDS = 0.05
"""What a unit of queued calls should take: a caller waits for single results."""


class Calls:
    """The calls of one function: where a job's items come from, and where its results go.

    A call that was cancelled before its job took it is never sent; the job takes no more of them than its providers soon need.
    """

    def __init__(self, encode: Callable[[Any], bytes], decode: Callable[[bytes, int], list[list[Any]]], wake: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._encode = encode
        self._decode = decode
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, concurrent.futures.Future[Any]]] = deque()
        self._futures: dict[int, concurrent.futures.Future[Any]] = {}
        """Calls that were taken, by their item's index."""
        self._count = 0
        self._target = 0
        self._woken = False
        self._finished = False
        self._closed: BaseException | None = None

    def submit(self, item: Any) -> concurrent.futures.Future[Any]:
        """One more call. Raises `NotData` when it cannot travel, and what ended the job if that has ended."""
        data = self._encode(item)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._waiting.append((data, future))
            wake, self._woken = not self._woken, True
        if wake:
            self._wake()
        return future

    @property
    def open(self) -> bool:
        """Whether calls are taken."""
        return self._closed is None

    def unfinished(self) -> list[concurrent.futures.Future[Any]]:
        """Calls that will have a result and have none yet."""
        with self._lock:
            return [*self._futures.values(), *(future for _, future in self._waiting if not future.cancelled())]

    def finish(self) -> None:
        """No more calls come: the job ends when the last has its result."""
        with self._lock:
            self._finished = True
        self._wake()

    # As a job's feed

    @property
    def ended(self) -> bool:
        """Whether no more calls will come. Read it before `take`."""
        return self._finished and not self._waiting

    def want(self, upto: int) -> None:
        """Let so many be taken in all."""
        self._target = max(self._target, upto)
        if self._waiting:
            self._wake()

    def take(self) -> list[bytes]:
        """The next calls, as many as are wanted; from here on they cannot be cancelled."""
        taken: list[bytes] = []
        with self._lock:
            while self._waiting and self._count < self._target:
                data, future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    self._futures[self._count] = future
                    self._count += 1
                    taken.append(data)
            self._woken = False
        return taken

    def stop(self) -> None:
        """Take no more."""
        with self._lock:
            self._finished = True

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
            if future is None:
                continue
            if error is not None:
                future.set_exception(error)
            elif len(entries[place]) == 2:
                future.set_result(entries[place][1])
            else:
                future.set_exception(item_error(entries[place], piece.first + place))

    def retract(self, first: int) -> bool:
        """See `ends.Sink`: a call's result is given out when it comes."""
        return first in self._futures

    def wake(self) -> None:
        """Futures wake those who wait for them."""

    def end(self, at: int | None, failure: BaseException | None = None) -> None:
        """The job has ended: calls without a result fail with it."""
        with self._lock:
            self._closed = failure or concurrent.futures.CancelledError()
            left = list(self._futures.values())
            left += [future for _, future in self._waiting if future.set_running_or_notify_cancel()]
            self._futures.clear()
            self._waiting.clear()
        for future in left:
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
        """Take no more calls; by default wait for those that were taken. With `cancel_futures`, those that wait are never sent."""
        self._shut = True
        pending = list(self._futures)
        if cancel_futures:
            pending = [future for future in pending if not future.cancel()]
        self._finish()
        if wait:
            concurrent.futures.wait([future for future in pending if not future.cancelled()])
