"""What users pass and get, as bytes: Python values, runs of commands, and the errors for what cannot travel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from surge.buyer.work import bytes_value, command_item
from surge.core import values
from surge.core.messages.fields import wei
from surge.core.storage.stored import StoredName
from surge.errors import InternalFault, InvalidInput, NotData

MAX_STDIN = 1 << 30
"""Bytes of standard input."""


def encode_value(value: Any) -> bytes:
    """A value's bytes. Raises `NotData` that names the place of what is no data."""
    if type(value) is bytes:
        return bytes_value(value)
    try:
        return values.dumps(value)
    except values.ValueRefused as refused:
        raise NotData(f"this cannot travel: {refused}. Only data crosses; functions and objects do not", where=refused.where) from refused


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command."""

    argv: Sequence[str] = ()
    """Arguments behind the program's name."""
    stdin: bytes | str | Path = b""
    """Standard input: bytes, text, or a file's path."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The environment; nothing else is in it."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a command gave."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    files: dict[str, bytes]
    """What it wrote under /out, by relative path."""
    fuel: int
    """WebAssembly instructions billed."""
    price: int
    """Wei."""
    device: str
    """Who ran it."""
    receipt: str
    """The receipt's id, for `surge receipt`."""

    @property
    def text(self) -> str:
        """Standard output as UTF-8 text."""
        return self.stdout.decode()


def encode_run(program: str, run: Run) -> bytes:
    """A run as the spool keeps it. Raises `InvalidInput` for what is no run."""
    if not isinstance(run, Run):
        raise InvalidInput(f"a run is a surge.Run(argv, stdin, env), not {type(run).__name__}")
    argv, env = [program, *run.argv], sorted(run.env.items())
    if any(isinstance(text, StoredName) for text in (*argv, *run.env.values(), run.stdin)):
        raise InvalidInput(
            "commands read no stored files: bring them here with network.files.get, or map a Python function over their names"
        )
    if any(not isinstance(text, str) for text in (*argv, *(part for pair in env for part in pair))):
        raise InvalidInput("arguments and environment are text")
    return command_item(argv, env, read_stdin(run.stdin))


def read_stdin(source: bytes | str | Path) -> bytes:
    """Standard input's bytes. Raises `InvalidInput` when its file cannot be read or it is too large."""
    if isinstance(source, str):
        source = source.encode()
    if isinstance(source, Path):
        path = source
        try:
            source = path.read_bytes()
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    data = bytes(source)
    if len(data) > MAX_STDIN:
        raise InvalidInput(f"standard input of {len(data)} bytes is larger than {MAX_STDIN}", size=len(data))
    return data


def decode_run(value: bytes, count: int) -> list[list[Any]]:
    """A run's result, in the shape of a unit's entries (`results.decode_piece`)."""
    try:
        exit_code, (before, out, err), files, fuel, price, device, receipt, blob = msgspec.msgpack.decode(value)
        at = before + out + err
        named: dict[str, bytes] = {}
        for path, size in files:
            named[path] = blob[at : at + size]
            at += size
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise InternalFault("the journal holds a result that cannot be read: its file is damaged") from error
    stdout, stderr = blob[before : before + out], blob[before + out : before + out + err]
    return [["ok", RunResult(stdout, stderr, exit_code, named, fuel, wei(price), device, receipt.hex())]]


def members(files: Iterable[str | Path] | Mapping[str, str | Path]) -> dict[str, bytes | Path]:
    """Files a command reads under /job: their names there, and where they lie here. Raises `InvalidInput`."""
    pairs = files.items() if isinstance(files, Mapping) else [(Path(each).name, each) for each in files]
    found: dict[str, bytes | Path] = {}
    for name, path in pairs:
        place = Path(path)
        if not place.is_file():
            raise InvalidInput(f"there is no file {place} to ship", path=str(place))
        if name.startswith("/") or ".." in Path(name).parts or name in found:
            raise InvalidInput(f"{name!r} is no name of a file under /job, or names two", name=name)
        found[name] = place
    return found
