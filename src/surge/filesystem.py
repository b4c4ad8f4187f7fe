"""Stored files for whatever reads through fsspec: pandas, Dask, DuckDB, PyArrow. `pip install -e '.[files]'` in the clone brings it.

    pandas.read_parquet("surge://results/2026.parquet")
    pandas.read_csv("surge://results/2026.csv", storage_options={"network": "network.json"})

A path is a name; what stands before a `/` in it is a folder, and so is a folder that was put as a whole. Only what is read is fetched.
"""

from __future__ import annotations

import io
import shutil
import weakref
from pathlib import Path
from typing import IO, Any

from fsspec.spec import AbstractFileSystem

from surge.api import Network, connect
from surge.errors import InvalidInput
from surge.storage.client import Stored
from surge.storage.files import Files

COPY = 4 << 20
"""Bytes that are copied at once."""


class SurgeFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """See the module.

    Args:
        network: as `surge.connect` takes it.
        wallet: as `surge.connect` takes it.
        home: as `surge.connect` takes it.
        joined: a network that is joined already, and is left by whoever joined it.
    """

    protocol = "surge"
    root_marker = ""

    def __init__(
        self,
        network: str | Path | None = None,
        wallet: str | None = None,
        home: str | Path | None = None,
        joined: Network | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._where = network, wallet, home
        self._joined = joined
        self._leave: weakref.finalize[Any, Any] | None = None

    @property
    def files(self) -> Files:
        """The wallet's files. The network is joined when they are first asked for."""
        if self._joined is None:
            network, wallet, home = self._where
            self._joined = connect(network, wallet=wallet, home=home)
            self._leave = weakref.finalize(self, self._joined.close)
            self._leave.atexit = False  # too late for threads: what was read is paid when its file is closed
        return self._joined.files

    def close(self) -> None:
        """Leave the network, where it was joined for this. It is joined again when it is needed."""
        leave, self._leave = self._leave, None
        if leave is not None:
            self._joined = None
            leave()

    # What is there

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What is in a folder, or a file itself. Raises `FileNotFoundError`."""
        path = self._strip_protocol(path)
        prefix = f"{path}/" if path else ""
        found: dict[str, dict[str, Any]] = {}
        for each in self._below(path):
            if each.name == path and each.kind == "file":
                return [_info(each)] if detail else [path]
            first, slash, _ = each.name.removeprefix(prefix).partition("/")
            if each.name.startswith(prefix):
                name = prefix + first
                found.setdefault(name, _folder(name) if slash or each.kind == "tree" else _info(each))
        if path and not found and not self._is_tree(path):
            raise FileNotFoundError(path)
        rows = [found[name] for name in sorted(found)]
        return rows if detail else [row["name"] for row in rows]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """What a path is. Raises `FileNotFoundError`."""
        path = self._strip_protocol(path)
        if not path:
            return _folder("")
        try:
            found = self.files.stat(path)
        except InvalidInput as error:
            if self._below(path):
                return _folder(path)
            raise FileNotFoundError(path) from error
        return _info(found) if found.kind == "file" else _folder(path)

    def _below(self, path: str) -> list[Stored]:
        try:
            return self.files.ls(path)
        except InvalidInput as error:
            raise FileNotFoundError(path) from error

    def _is_tree(self, path: str) -> bool:
        """Whether a folder was put there as a whole."""
        try:
            return self.files.stat(path).kind == "tree"
        except InvalidInput:
            return False

    def created(self, path: str) -> Any:
        """When it was put."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.info(path).get("created", 0), UTC)

    modified = created

    # Content

    def _open(self, path: str, mode: str = "rb", **options: Any) -> IO[Any]:
        path = self._strip_protocol(path)
        if mode == "rb" and self.info(path)["type"] == "directory":
            raise IsADirectoryError(path)
        if mode not in ("rb", "wb"):
            raise ValueError(f'a stored file is opened with "rb" or "wb", not {mode!r}: it does not change, it is replaced')
        file = self.files.open(path, mode)
        return file if mode == "wb" else _Paid(file, self.files)

    def get_file(self, rpath: str, lpath: Any, callback: Any = None, outfile: Any = None, **options: Any) -> None:
        """Bring a file here, from many devices at once."""
        rpath = self._strip_protocol(rpath)
        if outfile is not None:
            for piece in self.files.stream(rpath):
                outfile.write(piece)
        elif self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
        else:
            Path(lpath).parent.mkdir(parents=True, exist_ok=True)
            self.files.get(rpath, lpath)
        self.files.settle()

    def put_file(self, lpath: Any, rpath: str, callback: Any = None, mode: str = "overwrite", **options: Any) -> None:
        """Store a file."""
        if not Path(lpath).is_dir():
            self.files.put(lpath, self._strip_protocol(rpath))

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """Store a copy under another name, with keys of its own."""
        with self.open(path1, "rb") as source, self.open(path2, "wb") as target:
            shutil.copyfileobj(source, target, COPY)

    def touch(self, path: str, truncate: bool = True, **options: Any) -> None:
        """Store an empty file, unless something is there and stays."""
        if truncate or not self.exists(path):
            self.files.put(b"", self._strip_protocol(path))

    # Names

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Nothing: a folder is there while a name is in it."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing, as `mkdir`."""

    def rmdir(self, path: str) -> None:
        """Nothing, as `mkdir`."""

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, and with `recursive` folders. Raises `FileNotFoundError`, `IsADirectoryError`."""
        for each in [path] if isinstance(path, str | Path) else path:
            name = self._strip_protocol(str(each))
            if self.info(name)["type"] == "directory" and not recursive:
                raise IsADirectoryError(name)
            for stored in self._whole(name):
                self.files.rm(stored)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        self.rm(path)

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **options: Any) -> None:
        """Give something another name; nothing moves but that."""
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        self.info(old)
        for name in self._whole(old):
            self.files.mv(name, new + name.removeprefix(old))

    def _whole(self, path: str) -> list[str]:
        """The names that make up a path: itself, or all in a folder that is none of its own."""
        names = [each.name for each in self.files.ls()]
        return [path] if path in names else [name for name in names if name.startswith(f"{path}/")] or [path]


class _Paid(io.BufferedReader):
    """A file that is read; its holders are paid when it is closed."""

    def __init__(self, file: Any, files: Files) -> None:
        super().__init__(file.detach(), COPY // 4)
        self._files = files

    @property
    def size(self) -> int:
        """Bytes."""
        here = self.tell()
        end = self.seek(0, io.SEEK_END)
        self.seek(here)
        return end

    def close(self) -> None:
        """Close, and pay."""
        if not self.closed:
            super().close()
            self._files.settle()


def _info(stored: Stored) -> dict[str, Any]:
    return {"name": stored.name, "size": stored.size, "type": "file", "created": stored.created}


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}
