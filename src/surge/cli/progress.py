"""Progress bars, on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from surge.cli.console import err, tokens


@contextlib.contextmanager
def job_progress(label: str, total: int | None) -> Iterator[Callable[[Any], None]]:
    """A bar over a job's items; call what it yields with the results' iterator after each result."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=err) as bars:
        task = bars.add_task(label, total=total, note="")
        shown = 0.0
        done = 0

        def tick(results: Any) -> None:
            nonlocal shown, done
            done += 1
            now = time.monotonic()
            if now - shown > 0.1 or done == total:
                shown = now
                progress = results.progress
                working = sum(1 for units in progress.units.values() if units)
                bars.update(
                    task,
                    completed=done,
                    note=f"{working} providers  {progress.gigafuel:,.2f} gigafuel  {tokens(progress.price)}",
                )

        yield tick


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
