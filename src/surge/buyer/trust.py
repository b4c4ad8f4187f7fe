"""Which networks the user trusts.

A network made on this machine is trusted as it is. One from elsewhere is trusted once its contracts were compared with the shipped ones and
the user said so; what is remembered is the file's hash, so a file that changed is asked about again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from surge.buyer.home import user_folder
from surge.core.network import NetworkFile
from surge.errors import InvalidInput

_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
"""Hosts of an embedded ledger: a folder from a stranger may hold any genesis, but not make a far ledger one of this machine."""


def _store() -> Path:
    return user_folder() / "trusted.json"


def _known() -> list[str]:
    try:
        found = json.loads(_store().read_text())
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{_store()} is damaged: delete it, and trust your networks again") from error
    return [str(each) for each in found] if isinstance(found, list) else []


def _made_here(path: Path, network: NetworkFile) -> bool:
    """Whether `surge up` founded this network in the file's own folder: its ledger is on this machine, and its genesis lies beside it."""
    if any(urlsplit(url).hostname not in _HERE for url in network.rpc):
        return False
    try:
        genesis = json.loads((path.resolve().parent / "ledger" / "genesis.json").read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return network.kind == "embedded" and isinstance(genesis, dict) and genesis.get("chain_id") == network.chain_id


def is_trusted(path: Path, network: NetworkFile) -> bool:
    """Whether the network may be used without asking."""
    return _made_here(path, network) or hashlib.sha256(network.encode()).hexdigest() in _known()


def trust(path: Path, network: NetworkFile) -> None:
    """Remember that the user trusts this network."""
    known = _known()
    digest = hashlib.sha256(network.encode()).hexdigest()
    if _made_here(path, network) or digest in known:
        return
    store = _store()
    store.parent.mkdir(parents=True, exist_ok=True)
    beside = store.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps([*known, digest], indent=1))
    beside.replace(store)


def require_trusted(path: Path, network: NetworkFile) -> None:
    """Raise `InvalidInput` unless the network is trusted."""
    if not is_trusted(path, network):
        raise InvalidInput(
            f"{path} was not made here: `surge network trust --network {path}` "
            "compares its contracts with the shipped ones and asks you once"
        )
