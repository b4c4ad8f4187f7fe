"""Functions over stored files, as users write them; they travel to devices."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(path):
    """The file's bytes, hashed; and how it is called there."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest(), path.rpartition("/")[2]


def measure(item):
    """Of a tuple, a dict or a list with names in it."""
    sizes = [len(Path(each).read_bytes()) for each in item["paths"]]
    return sizes, item["more"], Path(item["one"][0]).suffix


def both(path, *, other):
    """Two files."""
    return len(Path(path).read_bytes()), Path(other).read_text()


def tail(path):
    """The last bytes, by seeking; and that nothing can be written."""
    with open(path, "rb") as file:
        file.seek(-5, 2)
        end = file.read()
    try:
        Path(path).write_bytes(b"")
    except OSError as error:
        return end, type(error).__name__
    return end, "written"


def nothing(item):
    """Never asked for anything."""
    return item


def elsewhere(path):
    """What else can be seen."""
    found = []
    for each in ("/job/.stored", "/job/.stored/..", path + "/../../..", "/etc"):
        try:
            import os

            found.append(sorted(os.listdir(each)))
        except OSError as error:
            found.append(type(error).__name__)
    return found


def slow_digest(path):
    """`digest`, for about half a second of a core."""
    total = 0
    for number in range(3_000_000):
        total += number
    return digest(path) if total else None


def count(path):
    """Its letters."""
    with open(path) as file:
        return len(file.read())
