"""`surge map`, `surge run` and `surge job`: work from the shell."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from surge.cli.console import Size, err, out, print_json, show, tokens
from surge.cli.options import as_json, constraints, network_option, opened
from surge.errors import GuestFault, InvalidInput, RemoteError

MOST_BITS = 10_000
"""Integers of more bits are written in hexadecimal: Python writes no more than 4300 decimal digits, and few programs read them."""


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


def read_items(path: str) -> Iterator[Any]:
    """The values of a JSONL file, or of standard input for `-`; a bad line is named."""
    with click.open_file(path, "r", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise InvalidInput(f"{path} line {number} is not JSON: {error}", path=path, line=number) from error


def as_json_value(value: Any) -> Any:
    """A result as JSON: arrays as lists, bytes and very large integers as 0x-hex, everything else that JSON lacks as text."""
    if isinstance(value, dict):
        return {_json_key(key): as_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json_value(item) for item in value]
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if hasattr(value, "tolist"):
        return as_json_value(value.tolist())
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return hex(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _json_key(key: Any) -> str:
    try:
        return str(key)
    except ValueError:  # it is, or holds, an integer that Python does not write out
        return str(as_json_value(key))


def write_results(results: Iterator[Any], target: str, total: int | None, label: str) -> int:
    """Write one line per result, with progress on standard error; returns how many items failed."""
    from surge.cli.progress import job_progress

    failed = 0
    with (
        click.open_file(target, "w", encoding="utf-8", atomic=target != "-") as file,
        job_progress(label, total) as tick,
    ):
        for result in results:
            if isinstance(result, RemoteError | GuestFault):
                failed += 1
                details = result.details
                line: Any = {
                    "error": {
                        "type": details.get("type", type(result).__name__),
                        "text": result.message,
                        "index": details.get("index"),
                    }
                }
                err.print(str(result), style="red", markup=False)
            else:
                line = as_json_value(result)
            file.write(json.dumps(line) + "\n")
            tick(results)
    return failed


@click.command(name="map")
@click.argument("target", metavar="FILE.py:FUNCTION")
@click.argument("inputs", metavar="INPUTS.jsonl")
@click.option("-o", "--output", default="-", metavar="OUT.jsonl", help="Where results go. [default: standard output]")
@click.option("--chunk", default="auto", show_default=True, help="Items in a unit: a number, or auto (half a second of work).")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True),
    help="A file the function reads, under /job. Repeatable.",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    type=click.Path(exists=True),
    help="A pure-Python wheel to ship. Repeatable.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the guest's randomness.")
@click.option("--memory", type=Size(), default=None, help="Memory of a unit. [default: 512M]")
@constraints
@network_option
def map_(target: str, inputs: str, output: str, chunk: str, network: str | None, **options: Any) -> int:
    """Run FUNCTION over the values in INPUTS.jsonl, one a line, and write one result a line, in order.

    A value whose call raised becomes {"error": ...} at its place, and the command ends with code 1.
    """
    if chunk != "auto" and not chunk.isdigit():
        raise click.BadParameter("a number of items, or auto", param_hint="--chunk")
    function = load_function(target)
    items = list(read_items(inputs))
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    with opened(network) as surge:
        results = surge.map(
            function,
            items,
            chunk=chunk if chunk == "auto" else int(chunk),
            errors="return",
            name=target,
            total=len(items),
            **chosen,
        )
        err.print(f"job {results.job}", style="dim")
        failed = write_results(results, output, len(items), target.rpartition(":")[2])
        price = results.progress.price
    err.print(f"{len(items)} items, {failed} failed, {tokens(price)}", style="dim")
    return 1 if failed else 0


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="A variable the module sees. Repeatable.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True),
    help="A file the module reads, under /job. Repeatable.",
)
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where files written under /out go.")
@click.option("--memory", type=Size(), default=None, help="Memory of the unit. [default: 512M]")
@constraints
@network_option
@click.argument("module", type=click.Path(exists=True, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    module: str,
    args: tuple[str, ...],
    environment: tuple[str, ...],
    folder: Path | None,
    network: str | None,
    **options: Any,
) -> int:
    """Run a WASI command MODULE with ARGS on the network: stdin in, stdout out, its own exit code."""
    for pair in environment:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r}: write NAME=VALUE", param_hint="--env")
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    with opened(network) as surge:
        result = surge.run(module, argv=list(args), stdin=stdin, env=dict(pair.split("=", 1) for pair in environment), **chosen)
    sys.stdout.buffer.write(result.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(result.stderr)
    sys.stderr.buffer.flush()
    if folder is not None:
        for path, data in result.files.items():
            target = folder / path
            if not target.resolve().is_relative_to(folder.resolve()):
                raise GuestFault(f"the module wrote {path!r}, which leaves {folder}", path=path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return int(result.exit_code)


@click.group()
def job() -> None:
    """List, show, resume, cancel jobs; read their logs."""


def _job_row(entry: Any) -> dict[str, Any]:
    return {
        "job": entry.id,
        "name": entry.name,
        "state": entry.state,
        "done": entry.done,
        "total": entry.total,
        "price": entry.price,
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.created)),
    }


@job.command(name="list")
@network_option
@as_json
def list_(network: str | None, json_: bool) -> None:
    """Every job of this wallet, newest first."""
    with opened(network, offline=True) as surge:
        rows = [_job_row(entry) for entry in surge.jobs()]
    if not json_:
        rows = [{**row, "job": row["job"][:12], "price": tokens(row["price"])} for row in rows]
    show(
        rows,
        ["job", "name", "state", "done", "total", "price", "created"],
        as_json=json_,
        empty="no jobs yet: `surge map`",
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
        out.print(f"{key:>8}  {tokens(value) if key == 'price' else value}", markup=False)
    rows = [{**row, "pay": tokens(row["pay"])} for row in providers]
    show(rows, ["provider", "units", "gigafuel", "pay"], as_json=False, empty="no units yet")


@job.command()
@click.argument("job_id", metavar="JOB")
@click.option("-o", "--output", default="-", metavar="OUT.jsonl", help="Where results go, those already had included.")
@network_option
def resume(job_id: str, output: str, network: str | None) -> int:
    """Finish a job that was interrupted: accepted units are not run again, and nothing is paid for twice."""
    with opened(network) as surge:
        entry = surge.job(job_id)
        failed = write_results(surge.resume(job_id, errors="return"), output, entry.total, entry.name or "job")
    return 1 if failed else 0


@job.command()
@click.argument("job_id", metavar="JOB")
@network_option
def cancel(job_id: str, network: str | None) -> None:
    """Stop a job: nothing more is sent out; what was accepted stays paid and recorded."""
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
