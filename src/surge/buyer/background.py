"""The event loop behind the public API: one daemon thread per network, called from any thread.

Users call plain functions; the room is asynchronous. `Background.call` carries a coroutine over and waits for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from surge.errors import InternalFault, InvalidInput

T = TypeVar("T")

JOIN_SECONDS = 10.0
"""How long `stop` waits for the thread to end."""


class Background:
    """An event loop on a thread of its own."""

    def __init__(self, name: str = "surge") -> None:
        self._started = threading.Event()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._started.set)
        self.loop.run_forever()
        self._cancel_rest()
        self.loop.close()

    def _cancel_rest(self) -> None:
        rest = asyncio.all_tasks(self.loop)
        for task in rest:
            task.cancel()
        if rest:
            self.loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `work` on the loop; its result comes as a future of the calling world."""
        try:
            self.check_open()
        except InvalidInput:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def check_open(self) -> None:
        """Raise `InvalidInput` once the loop has ended."""
        if self.loop.is_closed():
            raise InvalidInput("this network is closed: call surge.connect() again")

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it. An interrupt here cancels it there."""
        if threading.current_thread() is self._thread:
            work.close()
            raise InternalFault("a blocking call from the network's own thread would wait for itself")
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def soon(self, call: Callable[..., object], *args: Any) -> None:
        """Run `call` on the loop as soon as it can; nothing once the loop is closed."""
        if not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(call, *args)
            except RuntimeError:  # closed between the question and the call
                return

    def stop(self) -> None:
        """End the loop: what still runs on it is cancelled."""
        if self._thread.is_alive() and not self.loop.is_closed():
            self.soon(self.loop.stop)
            self._thread.join(JOIN_SECONDS)
