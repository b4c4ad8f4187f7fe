"""Outputs that wait for their acknowledgement, as files: `<channel's number>-<receipt's sequence>`."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Container
from pathlib import Path

log = logging.getLogger("surge.provider")


def keep(source: Path, target: Path) -> None:
    """Move an output to its place, durably. Raises `OSError` when the disk is full."""
    try:
        shutil.move(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except OSError:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        raise


def forget_closed(folder: Path, numbers: Container[int]) -> None:
    """Remove outputs of channels that are not among these: they are closed, and nobody will ask for them."""
    for path in folder.iterdir():
        number, dash, _ = path.name.partition("-")
        if dash and number.isdigit() and int(number) not in numbers:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("an output of a closed channel stays on disk: %s", error)
