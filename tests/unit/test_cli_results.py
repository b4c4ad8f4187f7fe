"""What the shell shows of a job's results: errors, and lines of JSON."""

from __future__ import annotations

import io
import json
import math
import re
from typing import Any

import click
import numpy as np
import pytest

from surge.buyer.results import Piece, Progress, Results
from surge.cli import failures, jobs
from surge.cli import progress as progress_bars
from surge.cli.console import SafeConsole, run_command
from surge.cli.jobs import write_results
from surge.cli.options import unit_limits
from surge.cli.progress import job_progress
from surge.core import values
from surge.errors import GuestFault, SurgeError


def refused(name: str) -> None:
    """Python reads NaN as JSON, which others do not."""
    raise AssertionError(name)


def written(*pieces: Any) -> tuple[int, list[Any]]:
    """How many items failed, and the lines that were written, for a job with a piece for each item: a value, an entry or an error."""
    results = Results("ab" * 16, Progress(), errors="return", cancel=lambda: None, consumed=lambda upto: None, dropped=lambda: None)
    for index, each in enumerate(pieces):
        value = None if isinstance(each, SurgeError) else values.dumps([each if type(each) is list else ["ok", each]])
        results.arrivals.put(Piece(index, 1, value, each if isinstance(each, SurgeError) else None))
    results.arrivals.end(len(pieces))
    file = io.StringIO()
    failed = write_results(results, "out.jsonl", file, len(pieces), "f")
    return failed, [json.loads(line, parse_constant=refused) for line in file.getvalue().splitlines()]


def test_errors_name_the_options_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def fails() -> None:
        raise GuestFault("it ran out of fuel: raise fuel=, or wait; ship it with packages=, or call f(memory=3)")

    assert run_command(fails, []) == 1
    said = capsys.readouterr().err
    assert said == "error: it ran out of fuel: raise --fuel, or wait; ship it with --package, or call f(memory=3)\n"
    failed, (line,) = written(GuestFault("its output passed the limit: raise output=, or return less"))
    assert failed == 1
    assert "raise output=," in line["error"]["text"], "a file is for programs"
    assert "raise --max-output, or return less" in " ".join(capsys.readouterr().err.split())


def test_items_that_failed_alike_are_told_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def raised(line: int, text: str) -> list[str]:
        return ["error", "ValueError", text, f'Traceback\n  File "/job/work.py", line {line}, in f\nValueError: {text}']

    trapped = GuestFault("it trapped (unreachable)\nsaid", status="TRAPPED", exit_code=0)
    failed, lines = written(5, raised(3, "one"), raised(3, "two"), raised(9, "three"), trapped, raised(3, "four"), trapped)
    assert failed == 6
    assert [line["error"]["text"] for line in lines[1:3]] == ["item 1: ValueError: one", "item 2: ValueError: two"]
    assert len(lines) == 7
    said = capsys.readouterr().err
    assert said.count("Traceback") == 2
    assert "three" in said
    assert "two" not in said
    assert said.count("it trapped") == 2, "told once, and named once"
    assert said.endswith(
        "... and 2 more items failed like item 1: ValueError\n... and 1 more item failed like item 4: it trapped (unreachable)\n"
    )


def test_every_line_is_json_by_the_standard() -> None:
    numbers = [math.nan, math.inf, -math.inf, 1.5]
    value = {"array": np.array(numbers), "scalar": np.float64("nan"), "list": numbers, "bytes": b"\x01", "set": {1}, math.nan: 0}
    failed, (line,) = written(value)
    assert failed == 0
    words = ["NaN", "Infinity", "-Infinity", 1.5]
    assert line == {"array": words, "scalar": "NaN", "list": words, "bytes": "0x01", "set": [1], "nan": 0}


@pytest.mark.parametrize(("text", "seconds"), [("50ms", 0.05), ("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_durations(text: str, seconds: float) -> None:
    found: list[float] = []

    @click.command()
    @unit_limits
    def command(timeout: float, **options: Any) -> None:
        found.append(timeout)

    assert run_command(command, ["--timeout", text]) == 0
    assert found == [pytest.approx(seconds)]


@pytest.mark.parametrize("text", ["", "soon", "ms", "5sm", "5us", "0ms", "nanh", "infs", "1 h s"])
def test_durations_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @unit_limits
    def command(**options: Any) -> None:
        raise AssertionError

    assert run_command(command, ["--timeout", text]) == 2


def test_what_a_job_tells_names_the_options_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(reachable=1)
    with job_progress("f", 1, progress):
        progress.tell_once("it took longer than it may: raise timeout=, or wait")
        progress.tell_once("it took longer than it may: raise timeout=, or wait")
    said = capsys.readouterr().err
    assert said.count("raise --timeout, or wait\n") == 1


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns, for standard error."""
    shown = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    console = SafeConsole(file=shown, force_terminal=True, width=80, highlight=False, color_system=None)
    for module in (jobs, progress_bars, failures):
        monkeypatch.setattr(module, "err", console)
    return shown


def drawn(terminal: io.StringIO) -> list[str]:
    """The lines that a terminal was told to draw."""
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()))
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("reachable", [None, 0, 1, 64])
def test_how_a_job_stands_fits_a_terminal(reachable: int | None, terminal: io.StringIO) -> None:
    progress = Progress(reachable=reachable, price=12_345_678 * 10**12, fuel=10**13)
    with job_progress("cross_validate_everything", 10_000, progress):
        pass
    line, *_, last = drawn(terminal)
    assert len(line) <= 80
    assert line.split()[1] == "cross_validate_…"
    assert "0/10000" in line
    assert "12.345678 SURGE" in line
    assert "SURGE" not in last, "the price is told once the job is settled"


class Screen(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_results_on_a_terminal_stand_above_the_bar(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results("ab" * 16, Progress(), errors="return", cancel=lambda: None, consumed=lambda upto: None, dropped=lambda: None)
    found = ["[bold]a :smile:", "b" * 100]
    results.arrivals.put(Piece(0, 2, values.dumps([["ok", each] for each in found])))
    results.arrivals.end(2)
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    assert write_results(results, "-", screen, 2, "f") == 0
    assert [json.loads(line) for line in drawn(terminal) if line.startswith('"')] == found
    assert screen.getvalue() == ""
