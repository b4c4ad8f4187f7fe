"""What runs inside the Python guest: source text, never imported on the host.

`source` gives the program of a job's setup turn: the value format (`core.values`), the harness, and the entry module's import.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

UNIT = "_surge_unit()"
"""The program of a unit's turn."""


@cache
def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text("utf-8")


def preload() -> None:
    """Read the sources while this process may still open files."""
    _text("surge.core", "values.py")
    _text("surge.sandbox.guest", "harness.py")


def setup_source(module: str) -> str:
    """The program of a setup turn that imports `module`."""
    values = _text("surge.core", "values.py")
    harness = _text("surge.sandbox.guest", "harness.py")
    return (
        "import sys as _sys, types as _types\n"
        "_values = _sys.modules['_surge_values'] = _types.ModuleType('_surge_values')\n"
        f"exec(compile({values!r}, '<surge values>', 'exec'), _values.__dict__)\n"
        f"exec(compile({harness!r}, '<surge harness>', 'exec'), globals())\n"
        f"_surge_setup({module!r})\n"
    )
