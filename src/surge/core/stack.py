"""Keeping Python's bound on recursion, which some libraries lift when they are imported.

Without it a deeply nested document from a stranger overflows the stack of the JSON parser, which is C, and ends the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_FRAMES = 3_000
"""Frames of Python and levels of JSON together: a few hundred bytes of C stack each."""


@contextmanager
def same_recursion_limit() -> Iterator[None]:
    """Import eth_account inside: py_ecc, beneath it, raises the limit a hundredfold, for curves that are not used here."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def parse_json(data: bytes | bytearray | str) -> Any:
    """What a stranger's JSON says, whatever the user's own imports have made of the bound on recursion.

    Raises ValueError when it is none, or nests deeper than any of ours.
    """
    limit = sys.getrecursionlimit()
    try:
        if limit > MAX_FRAMES:
            sys.setrecursionlimit(MAX_FRAMES)
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    finally:
        sys.setrecursionlimit(limit)
