"""Making a job's plan from what a user passes: a function and its files, or a command's module and its."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from surge.buyer.bundle import Bundle, Files, make_bundle, write_zip
from surge.buyer.encoding import members
from surge.buyer.options import Asked, check_known, limits_of, wishes_of
from surge.buyer.plan import ARGUMENTS, COMMANDS, MAP, ONE_ARGUMENT, Plan, job_seed
from surge.errors import InvalidInput

MAX_MODULE = 1 << 30
"""Bytes of a command's module."""

WASM = b"\0asm\x01\0\0\0"
"""How a WebAssembly module begins."""


def python_plan(
    function: Callable[..., Any],
    contents: Path,
    *,
    kind: str,
    asked: Asked,
    files: Files = (),
    packages: Iterable[str | Path] = (),
    seed: int | str | bytes = 0,
    chunk: int = 0,
) -> Plan:
    """The plan of a job that runs `function`; its bundle lies in `contents` afterwards.

    Raises `InvalidInput` for a function that cannot travel, before anything is spent.
    """
    from surge.sandbox.python_image import IMAGE

    check_known(asked)
    bundle: Bundle = make_bundle(function, contents, files=files, packages=packages)
    return Plan(
        kind=kind,
        name=asked.get("name") or bundle.function,
        salt=secrets.token_bytes(32),
        image=IMAGE,
        image_size=0,
        bundle=bundle.digest,
        bundle_size=bundle.size,
        setup=bundle.setup,
        function=bundle.function,
        style=ONE_ARGUMENT if kind == MAP else ARGUMENTS,
        seed=job_seed(seed),
        limits=limits_of(asked),
        chunk=chunk,
        wishes=wishes_of(asked),
    )


def command_plan(module: str | Path, contents: Path, *, asked: Asked, files: Files = (), kind: str = COMMANDS) -> Plan:
    """The plan of a job that runs a WASI command; its module and files lie in `contents` afterwards."""
    check_known(asked)
    path = Path(module)
    digest, size = _keep_module(path, contents)
    bundle: bytes | None = None
    bundle_size = 0
    if files:
        _, bundle, bundle_size = write_zip(members([files] if isinstance(files, str | Path) else files), contents)
    return Plan(
        kind=kind,
        name=asked.get("name") or path.name,
        salt=secrets.token_bytes(32),
        image=digest,
        image_size=size,
        bundle=bundle,
        bundle_size=bundle_size,
        setup=b"",
        function="",
        style=ONE_ARGUMENT,
        seed=job_seed(0),
        limits=limits_of(asked),
        chunk=1,
        wishes=wishes_of(asked),
    )


def _keep_module(path: Path, contents: Path) -> tuple[bytes, int]:
    """Copy a module to `contents` under its digest; returns SHA-256 and size."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_MODULE else b""
    except OSError as error:
        raise InvalidInput(f"the module {path} cannot be read: {error.strerror}", path=str(path)) from error
    if not data.startswith(WASM):
        raise InvalidInput(f"{path} is no WebAssembly module (or is larger than {MAX_MODULE >> 20} MiB)", path=str(path))
    digest = hashlib.sha256(data).digest()
    kept = contents / f"{digest.hex()}.wasm"
    if not kept.is_file():
        contents.mkdir(parents=True, exist_ok=True)
        beside = contents / f"{digest.hex()}.{os.getpid()}.tmp"
        beside.write_bytes(data)
        beside.replace(kept)
    return digest, len(data)
