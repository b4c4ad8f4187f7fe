"""The bundle: a job's code and files as a zip whose bytes depend on nothing but its content.

Members are stored, not deflated, sorted by name, with one fixed time: the same content has the same SHA-256 on every machine.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from surge.buyer.source import Located, imported, locate
from surge.core import canonical
from surge.core.stack import parse_json
from surge.core.storage.stored import StoredName
from surge.errors import InvalidInput

MAX_BUNDLE = 256 << 20
"""Bytes: every provider that works on a job receives its bundle."""

MAX_MEMBERS = 10_000
"""Files in a bundle."""

STORED = ".stored"
"""Where a unit finds stored files (`core.values.stored.FOLDER`)."""

PACKAGES = ".packages"
"""The folder in the bundle that wheels are unpacked to; it is on the guest's path."""

_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages"})
_NATIVE = frozenset({".so", ".pyd", ".dylib", ".dll"})
_KEY_FILE = 8192
"""Bytes of the largest file that is looked at as a wallet's key."""
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk and what the guest is told of it."""

    path: Path
    """The zip."""
    digest: bytes
    """32 bytes: its SHA-256."""
    size: int
    """Bytes."""
    setup: bytes
    """Canonical bytes that name the entry module."""
    function: str
    """The function's name in the entry module."""


Files = Iterable[str | Path] | Mapping[str, str | Path]
"""Paths to ship under their own names, or names under /job and the paths whose content they get."""


def make_bundle(function: Callable[..., Any], folder: Path, *, files: Files = (), packages: Iterable[str | Path] = ()) -> Bundle:
    """Bundle a function with what it needs; the zip is written to `folder` under its digest. Raises `InvalidInput`."""
    located = locate(function)
    members: dict[str, bytes | Path] = {}
    _add_sources(members, located)
    for wheel in packages:
        _add_wheel(members, Path(wheel))
    for name, path in _named(files):
        _add_file(members, name, path)
    _check_folders(members)
    imports = located.imports()
    setup = canonical.encode({"module": located.module, **({"imports": imports} if imports else {})})
    path, digest, size = write_zip(members, folder)
    return Bundle(path, digest, size, setup, located.name)


def write_zip(members: Mapping[str, bytes | Path], folder: Path) -> tuple[Path, bytes, int]:
    """Write the zip of these members to `folder`, named by its digest; returns path, SHA-256 and size."""
    if len(members) > MAX_MEMBERS:
        raise InvalidInput(f"{len(members)} files are too many for a bundle, which holds {MAX_MEMBERS}")
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(len(each) if isinstance(each, bytes) else each.stat().st_size for each in members.values())
    if total > MAX_BUNDLE:
        raise InvalidInput(f"a bundle of {total >> 20} MiB is larger than {MAX_BUNDLE >> 20} MiB: pass large data as items", size=total)
    beside = folder / f"making-{hashlib.sha256(repr(sorted(members)).encode()).hexdigest()[:16]}-{id(members):x}.zip"
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(members):
                info = zipfile.ZipInfo(name, _TIME)
                info.create_system = 3
                info.external_attr = 0o100644 << 16
                content = members[name]
                if isinstance(content, bytes):
                    archive.writestr(info, content)
                else:
                    info.file_size = content.stat().st_size
                    with content.open("rb") as source, archive.open(info, "w") as target:
                        while piece := source.read(1 << 20):
                            target.write(piece)
        with beside.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        path = folder / f"{digest.hex()}.zip"
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path, digest, path.stat().st_size


def _add_sources(members: dict[str, bytes | Path], located: Located) -> None:
    members[located.place] = located.text.encode()
    for place, text in imported(located.text, located.place, located.roots).items():
        members.setdefault(place, text.encode())
    package = PurePosixPath(located.place).parent
    while package != PurePosixPath("."):
        for root in located.roots:
            init = root / package / "__init__.py"
            if init.is_file():
                members.setdefault((package / "__init__.py").as_posix(), init.read_bytes())
                for place, text in imported(init.read_text("utf-8"), (package / "__init__.py").as_posix(), located.roots).items():
                    members.setdefault(place, text.encode())
                break
        package = package.parent


def _named(files: Files) -> list[tuple[str, Path]]:
    if isinstance(files, Mapping):
        return [(name, Path(path)) for name, path in files.items()]
    if isinstance(files, str | Path):
        files = [files]
    found = []
    for each in files:
        if isinstance(each, StoredName):
            raise InvalidInput(f"files= ships files of this machine: {each!r} is stored, so name it in an item", name=str(each))
        path = Path(each)
        inside = not path.is_absolute() and ".." not in path.parts
        found.append((path.as_posix() if inside else path.name, path))
    return found


def _add_file(members: dict[str, bytes | Path], name: str, path: Path) -> None:
    clean = PurePosixPath(name)
    if clean.is_absolute() or ".." in clean.parts or not clean.parts or "\\" in name or "\0" in name:
        raise InvalidInput(f"{name!r} is no name of a file under /job", name=name)
    if clean.parts[0] == STORED:
        raise InvalidInput(f"{name!r} is where a unit finds stored files: give it another name", name=name)
    if path.is_dir():
        for inner in _walk(path):
            _add_file(members, f"{clean}/{inner.relative_to(path).as_posix()}", inner)
        return
    if not path.is_file():
        raise InvalidInput(f"there is no file {path} to ship", path=str(path))
    if _holds_key(path):
        raise InvalidInput(f"{path} holds a private key, and every provider of the job would receive it: leave it out", path=str(path))
    place = clean.as_posix()
    if place in members:
        raise InvalidInput(f"{place} would be in the bundle twice: give one another name with files={{name: path}}", name=place)
    members[place] = path


def _walk(folder: Path) -> list[Path]:
    """The files of a folder that is shipped: all but hidden ones, caches, virtual environments and what npm installed."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LEFT_OUT:
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidInput(f"{path} is a link out of the folder: ship what it leads to by name, or leave it out", path=str(path))
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                found += _walk(path)
        elif path.is_file():
            found.append(path)
    return found


def _holds_key(path: Path) -> bool:
    """Whether a file is a private key: of a wallet, or in PEM."""
    with path.open("rb") as file:
        start = file.read(_KEY_FILE + 1)
    if b"PRIVATE KEY-----" in start:
        return True
    if len(start) > _KEY_FILE or not start.lstrip().startswith(b"{"):
        return False
    try:
        document = parse_json(start)
    except ValueError:
        return False
    return isinstance(document, dict) and ("crypto" in document or {"key", "address"} <= set(document) or "mnemonic" in document)


def _check_folders(members: Mapping[str, bytes | Path]) -> None:
    """Refuse a name that is a file and a folder at once, which no file system can show."""
    for name in members:
        for folder in PurePosixPath(name).parents:
            if folder.as_posix() in members:
                raise InvalidInput(f"{folder} would be a file and, for {name}, a folder: give one another name", name=name)


def _add_wheel(members: dict[str, bytes | Path], wheel: Path) -> None:
    if wheel.suffix != ".whl" or not wheel.is_file():
        raise InvalidInput(f"{wheel} is no wheel: `pip download --no-deps NAME` fetches one", path=str(wheel))
    if not wheel.stem.endswith("-none-any"):
        raise InvalidInput(f"{wheel.name} is built for one platform; only pure-Python wheels (-none-any) run in the guest", path=str(wheel))
    try:
        with zipfile.ZipFile(wheel) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if sum(info.file_size for info in infos) > MAX_BUNDLE:
                raise InvalidInput(f"{wheel.name} unpacks to more than {MAX_BUNDLE >> 20} MiB", path=str(wheel))
            for info in infos:
                name = PurePosixPath(info.filename)
                if name.is_absolute() or ".." in name.parts:
                    raise InvalidInput(f"{wheel.name} holds {name}, which leaves its folder", path=str(wheel))
                if name.suffix in _NATIVE:
                    raise InvalidInput(f"{wheel.name} holds native code ({name}), which cannot run in the guest", path=str(wheel))
                place = _installed_place(name)
                if place is not None:
                    members[f"{PACKAGES}/{place}"] = archive.read(info)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidInput(f"{wheel} is no readable wheel: {error}", path=str(wheel)) from error


def _installed_place(name: PurePosixPath) -> PurePosixPath | None:
    """Where pip would put a wheel's member among the modules; None for scripts and the like (PEP 427, "Spread")."""
    first, *rest = name.parts
    if not first.endswith(".data"):
        return name
    return PurePosixPath(*rest[1:]) if len(rest) > 1 and rest[0] in ("purelib", "platlib") else None
