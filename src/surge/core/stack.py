"""Keeping Python's bound on recursion, which some libraries lift when they are imported.

Without it a deeply nested document from a stranger overflows the stack of the JSON parser, which is C, and ends the process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def same_recursion_limit() -> Iterator[None]:
    """Import eth_account or web3 inside: py_ecc, beneath them, raises the limit a hundredfold, for curves that are not used here."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
