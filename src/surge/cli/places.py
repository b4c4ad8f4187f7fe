"""Where things lie for the command line; what the buyer's room knows of it is the buyer's (`surge.buyer.home`)."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from surge.buyer.home import cache_folder as cache
from surge.buyer.home import find_home, find_network, network_meant, running_folder
from surge.buyer.home import user_folder as home

__all__ = ["cache", "default_up", "find_home", "find_network", "forget", "home", "network_meant", "passphrase", "point_to"]


def passphrase() -> str | None:
    """The passphrase of keys, from `$SURGE_PASSPHRASE`."""
    return os.environ.get("SURGE_PASSPHRASE")


def default_up() -> Path:
    """The folder `surge up` uses when none is named."""
    return home() / "up"


def point_to(network: Path) -> None:
    """Let those who name no network find `network`, which this process runs."""
    import psutil

    pointer = _pointer(network)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    entry = {"network": str(network.resolve()), "pid": pid, "created": psutil.Process(pid).create_time(), "since": time.time()}
    beside = pointer.with_suffix(f".{pid}.tmp")
    beside.write_text(json.dumps(entry))
    beside.replace(pointer)


def forget(network: Path) -> None:
    """`network` runs no longer; others that run are found as before."""
    _pointer(network).unlink(missing_ok=True)


def _pointer(network: Path) -> Path:
    """The file of one network among those that run."""
    return running_folder() / (hashlib.sha256(os.fsencode(network.resolve())).hexdigest()[:16] + ".json")
