"""What runs inside the Python guest: source text, never imported on the host.

`setup_source` gives the program of a job's setup turn: the value format (`core.values`), the harness, and the entry module's import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

UNIT = "_surge_unit()"
"""The program of a unit's turn."""


@cache
def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text("utf-8")


@cache
def identity() -> bytes:
    """32 bytes that change with the sources: a snapshot made by others is not taken for one made by these."""
    return hashlib.sha256(_text("surge.core", "values.py").encode() + _text("surge.sandbox.guest", "harness.py").encode()).digest()


def preload() -> None:
    """Read the sources while this process may still open files."""
    _text("surge.core", "values.py")
    _text("surge.sandbox.guest", "harness.py")


def setup_source(module: str, imports: Sequence[str] = ()) -> str:
    """The program of a setup turn that imports `module`, and then `imports` as far as they are there."""
    values = _text("surge.core", "values.py")
    harness = _text("surge.sandbox.guest", "harness.py")
    return (
        "import sys as _sys\n"
        "_values = _sys.modules['_surge_values'] = type(_sys)('_surge_values')\n"
        f"exec(compile({values!r}, '<surge values>', 'exec'), _values.__dict__)\n"
        f"exec(compile({harness!r}, '<surge harness>', 'exec'), globals())\n"
        f"_surge_setup({module!r}, {list(imports)!r})\n"
    )
