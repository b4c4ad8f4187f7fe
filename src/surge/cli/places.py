"""Where things lie for the command line; what the buyer's room knows of it is the buyer's (`surge.buyer.home`)."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from surge.buyer.home import cache_folder as cache
from surge.buyer.home import find_home, find_network, running_pointer
from surge.buyer.home import user_folder as home

__all__ = ["cache", "default_up", "find_home", "find_network", "forget", "home", "passphrase", "point_to", "running_pointer"]


def passphrase() -> str | None:
    """The passphrase of keys, from `$SURGE_PASSPHRASE`."""
    return os.environ.get("SURGE_PASSPHRASE")


def default_up() -> Path:
    """The folder `surge up` uses when none is named."""
    return home() / "up"


def point_to(network: Path) -> None:
    """Make `network` the running one."""
    pointer = running_pointer()
    pointer.parent.mkdir(parents=True, exist_ok=True)
    beside = pointer.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(_pointing(network))
    beside.replace(pointer)


def forget(network: Path) -> None:
    """`network` runs no longer; another one that was started since stays the running one."""
    pointer = running_pointer()
    with contextlib.suppress(FileNotFoundError):
        if pointer.read_text() == _pointing(network):
            pointer.unlink()


def _pointing(network: Path) -> str:
    return json.dumps({"network": str(network.resolve())})
