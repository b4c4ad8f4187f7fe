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

_VALUES = ("wire", "keys", "scalars", "dates", "arrays", "frames", "stored", "encoder", "decoder", "__init__")
"""The files of `core.values`, each after those it imports."""

_HARNESS = ("inert", "items", "harness")
"""The files of the harness, in the order in which they run."""

_LOAD_VALUES = """\
import sys as _sys
_values = type(_sys)('_surge_values')
_values.__package__ = '_surge_values'
_values.__path__ = []
_sys.modules['_surge_values'] = _values
for _name, _source in {sources!r}:
    _part = _values
    if _name != '__init__':
        _part = type(_sys)(f'_surge_values.{{_name}}')
        _part.__package__ = '_surge_values'
        _sys.modules[_part.__name__] = _part
        setattr(_values, _name, _part)
    exec(compile(_source, '<surge values>', 'exec'), _part.__dict__)
del _name, _source, _part
"""
"""Makes the guest's own package of the value format, which stands in no file there."""


@cache
def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text("utf-8")


def _values() -> list[tuple[str, str]]:
    return [(name, _text("surge.core.values", f"{name}.py")) for name in _VALUES]


def _harness() -> list[str]:
    return [_text("surge.sandbox.guest", f"{name}.py") for name in _HARNESS]


@cache
def identity() -> bytes:
    """32 bytes that change with the sources: a snapshot made by others is not taken for one made by these."""
    return hashlib.sha256(repr((_LOAD_VALUES, _values(), _harness())).encode()).digest()


def preload() -> None:
    """Read the sources while this process may still open files."""
    identity()


def setup_source(module: str, imports: Sequence[str] = ()) -> str:
    """The program of a setup turn that imports `module`, and then `imports` as far as they are there."""
    return (
        _LOAD_VALUES.format(sources=_values())
        + "".join(f"exec(compile({source!r}, '<surge harness>', 'exec'), globals())\n" for source in _harness())
        + f"_surge_setup({module!r}, {list(imports)!r})\n"
    )
