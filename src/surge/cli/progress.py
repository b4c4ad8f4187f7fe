"""Progress bars, on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from surge.cli.console import WIDE, err, in_options, tokens
from surge.core.text import counted, printable

if TYPE_CHECKING:
    from surge.buyer.results import Progress as JobProgress


MOST_LABEL = 16
"""Characters of a job's label on a terminal that is not wide."""


class _Note(ProgressColumn):
    """How a job stands, looked up at every refresh: that nobody can be reached does not wait for the next result."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self.progress: JobProgress | None = None

    def render(self, task: Task) -> Text:
        """See `ProgressColumn`."""
        progress = self.progress
        if progress is None:
            return Text()
        count = progress.reachable
        who = "looking for providers" if count is None else counted(count, "provider") if count else "no providers"
        if err.width < WIDE:
            return Text(f"{who}  {tokens(progress.price)}")
        return Text(f"{who}{'' if count is None else ' reachable'}  {progress.gigafuel:,.2f} gigafuel  {tokens(progress.price)}")


@contextlib.contextmanager
def job_progress(label: str, total: int | None, progress: JobProgress | None = None) -> Iterator[Callable[[Any], None]]:
    """A bar over a job's items; call what it yields with the results' iterator after each result.

    With the job's `progress` the bar shows how it stands from the start, and what the job tells is printed above. At the end only the
    bar is left: what the job cost is known once it is settled.
    """
    note = _Note()
    note.progress = progress
    whole = Column(no_wrap=True)
    if err.width < WIDE and len(label) > MOST_LABEL:
        label = label[: MOST_LABEL - 1] + "…"
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole.copy()),
        note,
    )
    with Progress(*columns, console=err) as bars:
        task = bars.add_task(label, total=total)
        if progress is not None:
            progress.tell = lambda text: err.print(in_options(text), style="yellow", markup=False, soft_wrap=True)
        shown = 0.0
        done = 0

        def tick(results: Any) -> None:
            nonlocal shown, done
            done += 1
            note.progress = results.progress
            now = time.monotonic()
            if now - shown > 0.1 or done == total:
                shown = now
                bars.update(task, completed=done)

        try:
            yield tick
        finally:
            note.progress = None


@contextlib.contextmanager
def bytes_progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over bytes; call what it yields with how many are done."""
    if err.width < WIDE and len(label) > MOST_LABEL:
        label = label[: MOST_LABEL - 1] + "…"
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        task = bars.add_task(printable(label), total=total)
        yield lambda done: bars.update(task, completed=done)
        bars.update(task, completed=total)


@contextlib.contextmanager
def waiting(label: str) -> Iterator[None]:
    """Say what is waited for, and for how long already."""
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err) as bars:
        task = bars.add_task(label, total=1)
        yield
        bars.update(task, completed=1)


@contextlib.contextmanager
def timed_progress(label: str, seconds: float) -> Iterator[Callable[[float], None]]:
    """A bar for one-off work that is expected to take `seconds`; call what it yields with the seconds gone."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bars:
        task = bars.add_task(label, total=seconds)

        def tick(gone: float) -> None:
            bars.update(task, completed=min(gone, seconds * 0.99))

        yield tick
        bars.update(task, completed=seconds)
