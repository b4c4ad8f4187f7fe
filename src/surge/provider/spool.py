"""Outputs that wait for their acknowledgement, as files: `<channel's number>-<receipt's sequence>`."""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path

log = logging.getLogger("surge.provider")


def forget_closed(folder: Path, numbers: Container[int]) -> None:
    """Remove outputs of channels that are not among these: they are closed, and nobody will ask for them."""
    for path in folder.iterdir():
        number, dash, _ = path.name.partition("-")
        if dash and number.isdigit() and int(number) not in numbers:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("an output of a closed channel stays on disk: %s", error)
