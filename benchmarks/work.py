"""The functions that are timed: the same source on Surge, Dask, Ray and a process pool."""

from __future__ import annotations


def trivial(item: int) -> int:
    """Next to nothing: what is left is the cost of handing out work."""
    return item + 1


def fifty(item: int) -> int:
    """Pure-Python arithmetic that takes about 50 ms natively: 600,000 steps of a linear congruential generator."""
    state = item + 1
    for _ in range(600_000):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return state
