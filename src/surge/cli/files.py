"""`surge put`, `get`, `ls`, `stat`, `mv`, `rm`: files on the network, from the shell."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surge.cli.console import Amount, brief_time, brief_tokens, err, local_time, out, print_json
from surge.cli.options import CodeOf, Days, Existing, as_json, network_option, opened
from surge.cli.outputs import STANDARD_OUTPUT, writing
from surge.cli.progress import bytes_progress
from surge.cli.tables import show
from surge.core.text import counted, size_text
from surge.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from surge.storage.client import Stored
    from surge.storage.quoting import Quote

COPY = 1 << 20
"""Bytes that are copied at once."""


@click.command()
@click.argument("source", metavar="FILE|DIR", type=Existing(allow_dash=True))
@click.option("--name", default=None, help="What it is called; folder/file if you like. [default: its own name]")
@click.option(
    "--for",
    "days",
    type=Days(),
    default="30d",
    show_default=True,
    metavar="TIME",
    help="How long it is kept: 30d, 8w, 2y, 12h, 90min, forever.",
)
@click.option("--code", type=CodeOf(), default=None, metavar="K/N", help="K of N shards give it back. [default: as the devices allow]")
@click.option("--max-price", type=Amount(), default=None, help="Most SURGE for a gigabyte over a month.")
@network_option
@as_json
def put(
    source: str,
    name: str | None,
    days: float,
    code: tuple[int, int] | None,
    max_price: int | None,
    network: str | None,
    json_: bool,
) -> None:
    """Store a file or a folder, sealed, on devices that nobody has to trust.

    Says first what it costs and why it is coded as it is. What has the name already is replaced once the new is safe. A put that is
    cut off goes on when it is called again. With - for FILE, standard input is stored; it needs a --name.
    """
    from surge.core.storage.catalogue import check_name

    with _source(source, name) as (path, called), opened(network) as surge:
        check_name(called)
        files = surge.files
        quote = files.quote(path, days=days, code=code, max_price=max_price)
        if not json_:
            _tell_quote(called, quote, days)
        with bytes_progress(called, quote.size) as told, _goes_on("surge put"):
            stored = files.put(path, called, days=days, code=code, max_price=max_price, told=told)
    if json_:
        print_json({**asdict(stored), "month": quote.month, "moving": quote.moving, "term": quote.term, "why": quote.why})
        return
    if stored.left_out:
        kinds = Counter(each.kind for each in stored.left_out)
        said = ", ".join(counted(number, kind) for kind, number in sorted(kinds.items(), reverse=True))
        err.print(f"left out: {said}", markup=False, soft_wrap=True)
    if stored.missing:
        lacking = counted(stored.missing, "shard")
        err.print(f"{lacking} could not be placed now: `surge storage repair` places them", markup=False, soft_wrap=True)
    err.print(f"stored as {stored.name}; `surge get` brings it back", markup=False, soft_wrap=True)
    pledged = time.time() + quote.pledged
    if not quote.size or (quote.n == 1 and stored.expires and stored.expires <= pledged):
        return  # what is empty is nobody's to keep
    upto = f"until {local_time(stored.expires)}" if stored.expires else "as long as it goes on"
    err.print(f"its devices pledge to keep it until {local_time(pledged)};", style="dim", markup=False, soft_wrap=True)
    err.print(f"then `surge storage keep` pays and repairs {upto}", style="dim", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _source(source: str, name: str | None) -> Iterator[tuple[Path, str]]:
    """The path that is put, and its name. Standard input is read to a file first: its size must be known."""
    if source != "-":
        called = name if name is not None else Path(source).resolve().name
        if not called:
            raise InvalidInput(f"{source} has no name of its own: say one with --name", path=source)
        yield Path(source), called
        return
    if not name:
        raise click.BadParameter("standard input has no name of its own: say one", param_hint="--name")
    with tempfile.TemporaryDirectory(prefix="surge-") as folder:
        path = Path(folder) / "content"
        with writing(path), path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, COPY)
        yield path, name


def _tell_quote(name: str, quote: Quote, days: float) -> None:
    """What a put costs, and why it is coded as it is."""
    if quote.n == 1:
        enough = "one device keeps it, and it is lost with that one"
    else:
        enough = f"each of {quote.n} copies gives it back" if quote.k == 1 else f"any {quote.k} of {quote.n} shards give it back"
    err.print(f"{name}: {size_text(quote.size)}, stored as {size_text(quote.kept)}", markup=False, soft_wrap=True)
    err.print(enough, style="dim", markup=False, soft_wrap=True)
    err.print(quote.why, style="dim", markup=False, soft_wrap=True)
    chance = f"readable at once: {quote.availability:.3%}; lost within a year: {quote.loss:.1e}"
    err.print(chance, style="dim", markup=False, soft_wrap=True)
    moving = brief_tokens(quote.moving)
    if days:
        price = f"{brief_tokens(quote.term)} for {days:g} days, {moving} of it to bring it there"
    else:
        price = f"{brief_tokens(quote.month)} a month, and {moving} to bring it there"
    err.print(f"costs about {price}", markup=False, soft_wrap=True)
    if quote.floors:
        err.print(f"and opens channels, which pay {brief_tokens(quote.floors)} at least", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _goes_on(command: str) -> Iterator[None]:
    """Say that what was interrupted goes on when it is called again."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"cut off: the same `{command}` goes on from there", markup=False, soft_wrap=True)
        raise


def _row(stored: Stored) -> dict[str, Any]:
    return {key: value for key, value in asdict(stored).items() if key not in ("left_out", "missing")}  # which only a put knows


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "-o",
    "--output",
    default=None,
    metavar="PATH",
    type=click.Path(),
    help="Where it goes; - for standard output. [default: its own name, here]",
)
@network_option
def get(name: str, output: str | None, network: str | None) -> None:
    """Get a stored file or folder, or a file or folder in one.

    A file takes its name once it is whole; a get that is cut off goes on when it is called again.
    """
    with opened(network) as surge:
        found = surge.files.stat(name)
        if output == "-":
            if found.kind != "file":
                raise InvalidInput(f"{name!r} is a folder, and standard output takes one file: name a file in it, or a PATH", name=name)
            for piece in surge.files.stream(name):
                with writing(STANDARD_OUTPUT):
                    sys.stdout.buffer.write(piece)
            with writing(STANDARD_OUTPUT):
                sys.stdout.buffer.flush()
            return
        with bytes_progress(found.name, found.size) as told, _goes_on("surge get"):
            path = surge.files.get(name, output, told=told)
    err.print(f"got {path}", markup=False, soft_wrap=True)


@click.command()
@click.argument("prefix", metavar="[PREFIX]", default="")
@network_option
@as_json
def ls(prefix: str, network: str | None, json_: bool) -> None:
    """List what is stored: all names, or what is in a folder, such as photos/2026."""
    with opened(network) as surge:
        rows = [_row(each) for each in surge.files.ls(prefix)]
    if not json_:
        rows = [
            {
                **row,
                "size": size_text(row["size"]),
                "kind": "folder" if row["kind"] == "tree" else "file",
                "code": f"{row['k']}/{row['n']}",
                "put": brief_time(row["created"]),
                "until": brief_time(row["expires"]) if row["expires"] else "-",
                "shared": counted(len(row["readers"]), "reader") if row["readers"] else "-",
            }
            for row in rows
        ]
    empty = f"nothing is stored below {prefix!r}: `surge ls` shows all" if prefix else "nothing is stored yet: `surge put`"
    show(rows, ["name", "size", "kind", "code", "put", "until", "shared"], as_json=json_, empty=empty)


@click.command()
@click.argument("name", metavar="NAME")
@network_option
@as_json
def stat(name: str, network: str | None, json_: bool) -> None:
    """What a name stands for: its size, where its shards are, what it costs a month, whom it is shared with."""
    with opened(network) as surge:
        found = surge.files.details(name)
    stored = found.stored
    if json_:
        print_json({**_row(stored), **{key: value for key, value in asdict(found).items() if key != "stored"}})
        return
    said = {
        "name": stored.name,
        **({"in": f"the folder {found.folder}, which is kept as a whole: what follows is about that"} if found.folder else {}),
        "kind": "folder" if stored.kind == "tree" else "file",
        "size": f"{size_text(stored.size)} ({stored.size:,} bytes)",
        "put": local_time(stored.created),
        "until": local_time(stored.expires) if stored.expires else "as long as its keeper goes on",
        "code": f"any {stored.k} of {stored.n} shards of each of {counted(found.segments, 'segment')} give it back",
        "shards": f"{found.shards:,} at {counted(len(found.devices), 'device')}, {size_text(found.kept)}"
        + (f"; {found.missing:,} are nowhere yet" if found.missing else ""),
        "at": "\n          ".join(found.devices),
        "costs": "nothing: who shared it pays" if found.shared_by else f"{brief_tokens(found.month)} a month",
        "readers": ", ".join(stored.readers) or "nobody else",
    }
    for key, value in said.items():
        out.print(f"{key:>8}  {value}", markup=False, soft_wrap=True)


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("to", metavar="NEW-NAME")
@network_option
def mv(name: str, to: str, network: str | None) -> None:
    """Give something stored another name. Nothing moves but the name."""
    with opened(network) as surge:
        surge.files.mv(name, to)
    err.print(f"{name} is {to} now", markup=False, soft_wrap=True)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@network_option
@as_json
def rm(names: tuple[str, ...], network: str | None, json_: bool) -> None:
    """Remove something stored: its key is destroyed, and its holders are told to drop the shards.

    Without the key nobody reads what a holder might have kept. Holders sign that they dropped a shard; `surge receipt list` shows these
    receipts, of the kind dropped.
    """
    rows: list[dict[str, Any]] = []
    with opened(network) as surge:
        for name in names:
            shards, whose = None, ""
            with contextlib.suppress(Unavailable, InvalidInput):  # its map is away, or it was taken back: the name goes anyway
                found = surge.files.details(name)
                shards, whose = found.shards, found.shared_by
            dropped = surge.files.rm(name)
            rows.append({"name": name, "shards": shards, "dropped": dropped})
            if not json_:
                err.print(f"removed {name}: {_removed(shards, dropped, whose)}", markup=False, soft_wrap=True)
    if json_:
        print_json(rows)


def _removed(shards: int | None, dropped: int, whose: str) -> str:
    if whose or (shards is None and not dropped):
        return "the name is forgotten here"
    if not shards and not dropped:
        return "its key is destroyed; it had no shards"
    of = counted(dropped, "shard") if shards is None else f"{dropped:,} of {counted(shards, 'shard')}"
    rest = "" if dropped == shards else "; other holders drop theirs when they are not paid"
    return f"its key is destroyed, and {of} dropped, with a receipt each{rest}"
