"""`surge map`, `surge run` and `surge job`: work from the shell."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.text import Text

from surge.cli.console import Amount, brief_time, err, local_time, out, print_json, tokens
from surge.cli.lines import as_json_value, error_line, read_items
from surge.cli.options import Existing, as_json, complete_file, constraints, function_needs, given, network_option, opened, unit_limits
from surge.cli.outputs import STANDARD_OUTPUT, output_file, writing
from surge.cli.places import find_network
from surge.cli.tables import show
from surge.core.text import counted
from surge.errors import GuestFault, InvalidInput, SurgeError

if TYPE_CHECKING:
    from surge.buyer.encoding import RunResult
    from surge.buyer.results import Results


def load_function(target: str) -> Callable[[Any], Any]:
    """The function named by `FILE.py:FUNCTION`, imported from its file under the file's own name.

    The module is only *found* here, so that its source can be shipped: importing it on this machine would need everything
    the guest has. A stand-in function carries the module's name and file.
    """
    path_text, _, name = target.rpartition(":")
    path = Path(path_text)
    if not path_text or not name.isidentifier():
        raise InvalidInput(f"{target!r} does not name a function: write FILE.py:FUNCTION", target=target)
    if path.suffix != ".py" or not path.is_file():
        raise InvalidInput(f"there is no Python file {path}", path=str(path))
    from surge.buyer.source import function_in_file

    return function_in_file(path.resolve(), name)


def write_results(results: Results, target: str, file: TextIO, total: int | None, label: str) -> int:
    """Write one line per result, with progress on standard error; returns how many items failed.

    Where both are shown on a terminal, the lines appear above the bar.
    """
    from surge.cli.failures import Failures
    from surge.cli.progress import job_progress

    failures = Failures()
    above = file is sys.stdout and file.isatty() and err.is_terminal
    try:
        with job_progress(label, total, results.progress) as tick, _resumable(results.job):
            for index, result in enumerate(results):
                failed = isinstance(result, GuestFault)
                if failed:
                    failures.tell(index, result)
                line = json.dumps(error_line(result) if failed else as_json_value(result), allow_nan=False)
                with writing(STANDARD_OUTPUT if target == "-" else target):
                    if above:
                        err.print(Text(line), soft_wrap=True)
                    else:
                        file.write(line + "\n")
                tick(results)
    finally:
        failures.sum_up()
    return failures.count


@dataclass
class _Work:
    """A job that a command waits for."""

    job: str = ""
    """Its id, once there is one."""
    summary: str = ""
    """What is said before its price, where it ended well."""


@contextlib.contextmanager
def _priced(network: Path) -> Iterator[_Work]:
    """Tell at the end what the job cost; where it is interrupted, cancelled or fails, what it cost so far."""
    work = _Work()
    try:
        yield work
    except BaseException as error:
        if work.job:
            with contextlib.suppress(SurgeError):  # what ended the command is the news
                tell_price(network, work.job, "" if isinstance(error, GuestFault) else "so far ")
        raise
    tell_price(network, work.job, work.summary)


def tell_price(network: Path, job: str, summary: str = "") -> None:
    """Say what a job cost. Asked behind the end of its connection: providers bill until then what they began for it."""
    with opened(network, offline=True) as surge:
        entry = surge.job(job)
    err.print(f"{summary}{tokens(entry.price)}", style="dim")
    if entry.floors:
        text = f"the channels opened for it pay {tokens(entry.floors)} more if they close now, as floors, which later jobs use up first"
        err.print(text, style="dim", soft_wrap=True)


@contextlib.contextmanager
def _resumable(job: str) -> Iterator[None]:
    """Say how to go on with a job that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"`surge job resume {job[:12]}` goes on with it", markup=False)
        raise


@click.command(name="map")
@click.argument("target", metavar="FILE.py:FUNCTION", shell_complete=complete_file)
@click.argument("inputs", metavar="INPUTS.jsonl", shell_complete=complete_file)
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="OUT.jsonl",
    shell_complete=complete_file,
    help="Where results go; replaced once all are there. [default: standard output]",
)
@click.option("--chunk", default="auto", show_default=True, help="Items in a unit: a number, or auto (half a second of work).")
@function_needs
@unit_limits
@constraints
@network_option
def map_(target: str, inputs: str, output: str, chunk: str, network: str | None, **options: Any) -> int:
    """Run FUNCTION over the values in INPUTS.jsonl, one a line, and write one result a line, in order.

    A value whose call raised becomes {"error": ...} at its place, and the command ends with code 1; those that failed alike are told once,
    with their number at the end. A map that is interrupted, cancelled
    or fails leaves an OUT.jsonl of before as it was; `surge job resume JOB -o OUT.jsonl` finishes it.

    A budget covers the floors of channels that the map opens, too: what a channel pays its provider at least, whatever is done on it.
    Channels that are open already are used first.
    """
    if chunk != "auto" and not chunk.isdigit():
        raise click.BadParameter("a number of items, or auto", param_hint="--chunk")
    function = load_function(target)
    items = list(read_items(inputs))
    place = find_network(network)
    with _priced(place) as work, output_file(output) as file, opened(place) as surge:
        results = surge.map(
            function,
            items,
            chunk=chunk if chunk == "auto" else int(chunk),
            errors="return",
            name=target,
            total=len(items),
            **given(options),
        )
        work.job = results.job
        err.print(f"job {results.job}", style="dim")
        failed = write_results(results, output, file, len(items), target.rpartition(":")[2])
        work.summary = f"{counted(len(items), 'item')}, {failed} failed, "
    return 1 if failed else 0


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="A variable the module sees. Repeatable.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=Existing(),
    help="A file the module reads, under /job. Repeatable.",
)
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where files written under /out go.")
@unit_limits
@constraints
@network_option
@click.argument("module", type=Existing(dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    module: str,
    args: tuple[str, ...],
    environment: tuple[str, ...],
    folder: Path | None,
    network: str | None,
    **options: Any,
) -> int:
    """Run a WASI command MODULE with ARGS on the network: stdin in, stdout out, its own exit code.

    Standard error begins with the job's id and ends with its price.
    """
    for pair in environment:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r}: write NAME=VALUE", param_hint="--env")
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    if folder is not None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    from surge.buyer.encoding import Run

    place = find_network(network)
    with _priced(place) as work, opened(place) as surge:
        one = Run(args, stdin, dict(pair.split("=", 1) for pair in environment))
        results = surge.run_each(module, [one], **given(options))
        work.job = results.job
        err.print(f"job {results.job}", style="dim")
        with err.status(f"{Path(module).name}, job {results.job[:12]}"), _resumable(results.job):
            result = next(results)
        return give_run(result, sys.stdout, STANDARD_OUTPUT, folder)


def give_run(result: RunResult, stdout: TextIO, target: str, folder: Path | None = None) -> int:
    """Hand on what a module wrote: its output, its errors and, with a folder, its files; returns its exit code."""
    with writing(target):
        stdout.buffer.write(result.stdout)
        stdout.flush()
    sys.stderr.buffer.write(result.stderr)
    sys.stderr.buffer.flush()
    for path, data in result.files.items() if folder is not None else ():
        assert folder is not None
        place = folder / path
        if not place.resolve().is_relative_to(folder.resolve()):
            raise GuestFault(f"the module wrote {path!r}, which leaves {folder}", path=path)
        with writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    return result.exit_code


@click.group()
def job() -> None:
    """List, show, resume, cancel jobs; read their logs."""


def _job_row(entry: Any) -> dict[str, Any]:
    return {
        "job": entry.id,
        "name": entry.name,
        "state": entry.state,
        "done": entry.done,
        "failed": entry.failed,
        "total": entry.total,
        "price": entry.price,
        "created": entry.created,
    }


@job.command(name="list")
@network_option
@as_json
def list_(network: str | None, json_: bool) -> None:
    """Every job of this wallet, newest first."""
    with opened(network, offline=True) as surge:
        rows = [_job_row(entry) for entry in surge.jobs()]
    if not json_:
        rows = [{**row, "job": row["job"][:12], "created": brief_time(row["created"])} for row in rows]
    show(
        rows,
        ["job", "name", "state", "done", "failed", "total", "price", "created"],
        as_json=json_,
        empty="no jobs yet: `surge map`",
        money=["price"],
    )


@job.command(name="show")
@click.argument("job_id", metavar="JOB")
@network_option
@as_json
def show_(job_id: str, network: str | None, json_: bool) -> None:
    """One job: what it is, how far it is, which providers worked on it and for how much."""
    with opened(network, offline=True) as surge:
        entry = surge.job(job_id)
        providers = surge.job_providers(job_id)
    if json_:
        print_json({**_job_row(entry), "providers": providers})
        return
    for key, value in _job_row(entry).items():
        shown = tokens(value) if key == "price" else local_time(value) if key == "created" else value
        out.print(f"{key:>8}  {shown}", markup=False)
    show(providers, ["provider", "units", "gigafuel", "pay"], as_json=False, empty="no units yet", money=["pay"])


@job.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="OUT.jsonl",
    shell_complete=complete_file,
    help="Where results go, those already had included. [default: standard output]",
)
@click.option(
    "--inputs",
    default=None,
    metavar="INPUTS.jsonl",
    shell_complete=complete_file,
    help="The same input again, where a map was killed before all of it was recorded.",
)
@click.option("--budget", type=Amount(), default=None, help="Most to pay for all of it, in SURGE, instead of what it had.")
@network_option
def resume(job_id: str, output: str, inputs: str | None, budget: int | None, network: str | None) -> int:
    """Finish a job that was interrupted or cancelled: accepted units are not run again, and nothing is paid for twice.

    The one of a `surge run` gives the module's output and ends with its code. Fuel and price are those of the whole job.
    """
    place = find_network(network)
    with _priced(place) as work, output_file(output) as file, opened(place) as surge:
        entry = surge.job(job_id)
        one_run = not entry.plan.is_python and entry.total == 1
        items = None if inputs is None else list(read_items(inputs))
        results = surge.resume(job_id, items, errors="raise" if one_run else "return", budget=budget)
        work.job = entry.id
        if one_run:
            with err.status(f"{entry.name}, job {entry.id[:12]}"), _resumable(entry.id):
                result = next(results)
            return give_run(result, file, STANDARD_OUTPUT if output == "-" else output)
        failed = write_results(results, output, file, entry.total, entry.name or "job")
        work.summary = f"{counted(results.progress.done, 'item')}, {failed} failed, "
    return 1 if failed else 0


@job.command()
@click.argument("job_id", metavar="JOB")
@network_option
def cancel(job_id: str, network: str | None) -> None:
    """Stop a job: nothing more is sent out; what was accepted stays paid and recorded.

    A command that waits for it elsewhere ends with code 8. `surge job resume` takes it up again.
    """
    with opened(network, offline=True) as surge:
        surge.cancel(job_id)
    err.print(f"cancelled {job_id}")


@job.command()
@click.argument("job_id", metavar="JOB")
@network_option
@as_json
def logs(job_id: str, network: str | None, json_: bool) -> None:
    """What happened to a job, event by event."""
    with opened(network, offline=True) as surge:
        events = surge.job_log(job_id)
    if json_:
        print_json(events)
        return
    for event in events:
        out.print(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {event['text']}", markup=False, soft_wrap=True)
