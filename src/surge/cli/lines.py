"""Lines of JSON: the items that commands read, and the results that they write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import click

from surge.core.stack import parse_json
from surge.errors import GuestFault, InvalidInput

MOST_BITS = 10_000
"""Integers of more bits are written in hexadecimal: Python writes no more than 4300 decimal digits, and few programs read them."""


def read_items(path: str) -> Iterator[Any]:
    """The values of a JSONL file, or of standard input for `-`; a bad line is named."""
    try:
        with click.open_file(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield parse_json(line)
                    except ValueError as error:
                        raise InvalidInput(f"{path} line {number} is not JSON: {error}", path=path, line=number) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=path) from error


def as_json_value(value: Any) -> Any:
    """A result as JSON: arrays and sets as lists, bytes and very large integers as 0x-hex, everything else that JSON lacks as text.

    Floats that are no numbers are among those: "NaN", "Infinity" and "-Infinity", which most programs read as numbers again.
    """
    if isinstance(value, dict):
        return {_json_key(key): as_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json_value(item) for item in value]
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if hasattr(value, "tolist"):
        return as_json_value(value.tolist())
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return hex(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _json_key(key: Any) -> str:
    try:
        return str(key)
    except ValueError:  # it is, or holds, an integer that Python does not write out
        return str(as_json_value(key))


def error_line(error: GuestFault) -> dict[str, Any]:
    """An item's error at its place among the results."""
    details = error.details
    return {"error": {"type": details.get("type", type(error).__name__), "text": error.message, "index": details.get("index")}}
