"""The two ends of a job: where its items come from, and where its results go."""

from __future__ import annotations

from typing import Protocol

from surge.buyer.results import Piece


class Feed(Protocol):
    """Where items come from: `intake.Intake`, or calls as they are submitted."""

    error: BaseException | None

    @property
    def ended(self) -> bool:
        """Whether no more will come. Read it before `take`."""
        ...

    def want(self, upto: int) -> None:
        """Pull until so many were pulled in all."""
        ...

    def take(self) -> list[bytes]:
        """What came since the last call."""
        ...

    def stop(self) -> None:
        """Pull nothing more."""
        ...


class Sink(Protocol):
    """Where results go."""

    def put(self, piece: Piece) -> None:
        """Results of a run of items."""
        ...

    def retract(self, first: int) -> bool:
        """Take the results that begin with this item back; False when they were given out."""
        ...

    def wake(self) -> None:
        """Something was put: once after several."""
        ...

    def end(self, at: int | None, failure: BaseException | None = None) -> None:
        """Nothing comes from item `at` on."""
        ...
