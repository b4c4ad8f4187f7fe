"""Where things lie: a network's folder, the running `surge up`, the network meant by a command."""

from __future__ import annotations

import json
import os
from pathlib import Path

from surge.errors import InvalidInput


def home() -> Path:
    """Where this user's Surge state lies: `$SURGE_HOME`, or the XDG data folder."""
    chosen = os.environ.get("SURGE_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "surge"


def default_up() -> Path:
    """The folder `surge up` uses when none is named."""
    return home() / "up"


def running_pointer() -> Path:
    """The file that says where the running `surge up` keeps its network."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "surge" / "running.json"


def find_network(named: str | Path | None = None) -> Path:
    """The network.json meant: the one named, `$SURGE_NETWORK`, `./network.json`, or the running `surge up`'s."""
    if named or (named := os.environ.get("SURGE_NETWORK")):
        path = Path(named).expanduser()
        path = path / "network.json" if path.is_dir() else path
        if not path.is_file():
            raise InvalidInput(f"there is no network file {path}: start one with `surge up`, or name another", path=str(path))
        return path
    here = Path("network.json")
    if here.is_file():
        return here
    pointer = running_pointer()
    if pointer.is_file():
        try:
            path = Path(json.loads(pointer.read_text())["network"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{pointer} is damaged: delete it, or name a network with --network", path=str(pointer)) from error
        if path.is_file():
            return path
    raise InvalidInput(
        "no network to join: start one with `surge up`, or name one with --network or $SURGE_NETWORK, or put network.json here"
    )


def point_to(network: Path | None) -> None:
    """Make `network` the running one; with None, forget it."""
    pointer = running_pointer()
    if network is None:
        pointer.unlink(missing_ok=True)
        return
    pointer.parent.mkdir(parents=True, exist_ok=True)
    beside = pointer.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps({"network": str(network.resolve())}))
    beside.replace(pointer)


def cache() -> Path:
    """Where compiled code and snapshots lie: `$SURGE_CACHE`, or the XDG cache folder."""
    chosen = os.environ.get("SURGE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surge"
