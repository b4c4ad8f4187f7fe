"""What a user iterates over: a job's results in order, as they come.

The loop's thread hands whole units across; the consumer's thread decodes them when it gets there. One wait per unit,
none per item. An item whose function raised raises `RemoteError` at its place, and iteration goes on behind it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from surge.buyer.tracebacks import NO_FILE, users_part
from surge.core import values
from surge.core.receipts import FUELLED, Receipt
from surge.core.text import counted, printable
from surge.errors import GuestFault, RemoteError, SurgeError


@dataclass(slots=True)
class Progress:
    """How far a job is."""

    done: int = 0
    """Items with a result."""
    total: int | None = None
    """Items in all; None while nobody knows."""
    units: dict[str, int] = field(default_factory=dict)
    """Units accepted, by device."""
    fuel: int = 0
    """Fuel billed for accepted units and setups."""
    price: int = 0
    """Wei owed for everything that was accepted: units, setups, transfers, compiling."""
    pay: dict[str, int] = field(default_factory=dict)
    """The same in wei by device."""
    checked: int = 0
    """Units whose results were checked and right."""
    caught: int = 0
    """Devices that gave a wrong one."""
    again: int = 0
    """Items that were computed again, as their device was caught."""
    reachable: int | None = None
    """Providers that can be reached now; None before any was looked for."""
    tell: Callable[[str], None] = field(default=logging.getLogger("surge.buyer").warning, repr=False)
    """Told, from the loop's thread, what whoever waits should know: that nobody can be reached."""

    told: set[str] = field(default_factory=set, repr=False)

    def tell_once(self, text: str) -> None:
        """Tell it unless it was told before."""
        if text not in self.told:
            self.told.add(text)
            self.tell(text)

    @property
    def gigafuel(self) -> float:
        """Fuel billed, in units of 10**9, for people."""
        return self.fuel / 1e9

    def count(self, receipt: Receipt, *, units: int = 0) -> None:
        """A receipt was accepted, for so many units."""
        device = receipt.device
        self.price += receipt.amount
        self.pay[device] = self.pay.get(device, 0) + receipt.amount
        if units:
            self.units[device] = self.units.get(device, 0) + units
        if receipt.kind in FUELLED:
            self.fuel += receipt.quantity


@dataclass(frozen=True, slots=True)
class Piece:
    """The results of a run of items: the value bytes of their unit, or the one error that an item has."""

    first: int
    count: int
    value: bytes | None
    error: SurgeError | None = None


def item_error(entry: list[Any], index: int) -> RemoteError:
    """The error that stands for an item whose function raised: `entry` is ["error", type, text, traceback]."""
    kind, text, traceback = map(printable, entry[1:4])
    traceback = users_part(traceback) + (f"{NO_FILE}\n" if kind == "FileNotFoundError" else "")
    return RemoteError(f"item {index}: {kind}: {text}", type=kind, text=text, traceback=traceback, index=index)


def decode_piece(value: bytes, count: int) -> list[list[Any]]:
    """The entries of a Python unit's value: one ["ok", value] or ["error", type, text, traceback] per item.

    Raises `GuestFault` when the bytes are no such list: then the user's code has broken the harness it ran in.
    """
    try:
        entries = values.loads(value)
    except ValueError as error:
        raise GuestFault(f"the unit's results cannot be read: {error}", value=value[:256]) from error
    if type(entries) is not list or len(entries) != count:
        raise GuestFault(f"a unit of {counted(count, 'item')} gave something else than as many results", value=value[:256])
    for entry in entries:
        if not _is_entry(entry):
            raise GuestFault("the unit's results hold something that is none", value=value[:256])
    return entries


def _is_entry(entry: Any) -> bool:
    if type(entry) is not list:
        return False
    if len(entry) == 2:
        return type(entry[0]) is str and entry[0] == "ok"
    return len(entry) == 4 and all(type(part) is str for part in entry) and entry[0] == "error"


class Arrivals:
    """Where a job puts results, on the loop's thread, and where their consumer waits for them. The job holds this, not `Results`."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pieces: dict[int, Piece] = {}
        self._end: int | None = None
        self._failure: BaseException | None = None

    def put(self, piece: Piece) -> None:
        """A unit's results are there; the consumer is told by `wake`."""
        self._pieces[piece.first] = piece

    def retract(self, first: int) -> bool:
        """See `ends.Sink`."""
        with self._condition:
            return self._pieces.pop(first, None) is not None

    def wake(self) -> None:
        """Tell the consumer of what was put, once for all of it."""
        with self._condition:
            self._condition.notify_all()

    def end(self, at: int | None, failure: BaseException | None = None) -> None:
        """Nothing comes from item `at` on; with `failure`, it is raised once the results in order are used up."""
        with self._condition:
            if self._end is None and self._failure is None:
                self._end, self._failure = at, failure
            self._condition.notify_all()

    def wait_for(self, first: int) -> Piece:
        """The results that begin with item `first`, once they are there. Raises `StopIteration`, or what ended the job, behind the last."""
        with self._condition:
            while first not in self._pieces:
                if self._failure is not None and (self._end is None or first >= self._end):
                    failure, self._failure, self._end = self._failure, None, first
                    raise failure
                if self._failure is None and self._end is not None and first >= self._end:
                    raise StopIteration
                self._condition.wait()
            return self._pieces.pop(first)


class Results(Iterator[Any]):
    """An ordered iterator over a job's results. `job` is its id, for `surge job`.

    A job whose results nobody can read any more, because the iterator was dropped, is stopped: `break` ends the spending.
    """

    def __init__(
        self,
        job: str,
        progress: Progress,
        *,
        errors: str,
        decode: Callable[[bytes, int], list[list[Any]]] | None = None,
        cancel: Callable[[], None],
        consumed: Callable[[int], None],
        dropped: Callable[[], None],
    ) -> None:
        self.job = job
        """The job's id."""
        self.progress = progress
        """How far the job is; it changes while the job runs."""
        self.arrivals = Arrivals()
        """Where the job puts what comes."""
        self._errors = errors
        self._decode = decode or decode_piece
        self._cancel = cancel
        self._consumed = consumed
        self._entries: list[list[Any]] = []
        self._at = 0
        self._base = 0
        weakref.finalize(self, dropped).atexit = False

    def __repr__(self) -> str:
        return f"<Results of job {self.job}: {self.progress.done} of {self.progress.total or '?'} items>"

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        if self._at >= len(self._entries):
            piece = self.arrivals.wait_for(self._base + len(self._entries))
            if piece.error is not None:
                self._move_on(piece)
                return self._give_error(piece.error)
            assert piece.value is not None
            self._entries, self._at = self._entries_of(piece.value, piece), 0
            self._base = piece.first
            self._consumed(piece.first + piece.count)
        entry = self._entries[self._at]
        self._at += 1
        if len(entry) == 2:
            return entry[1]
        return self._give_error(item_error(entry, self._base + self._at - 1))

    def _entries_of(self, value: bytes, piece: Piece) -> list[list[Any]]:
        try:
            return self._decode(value, piece.count)
        except GuestFault as error:
            return [["error", "GuestFault", error.message, ""]] * piece.count

    def cancel(self) -> None:
        """Stop the job: nothing more is sent out. What was accepted stays paid and recorded.

        Iteration gives the results that are there and ends, without an error: its reader asked for it.
        """
        self._cancel()

    # Inside

    def _move_on(self, piece: Piece) -> None:
        self._base, self._entries, self._at = piece.first + piece.count, [], 0
        self._consumed(self._base)

    def _give_error(self, error: SurgeError) -> SurgeError:
        if self._errors == "return":
            return error
        raise error
