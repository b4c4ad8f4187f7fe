"""Surge: a decentralised compute network in Python.

    import surge

    with surge.connect() as network:
        for result in network.map(function, items):
            print(result)

`connect` joins a network; everything else is a method of what it returns (`surge.api.Network`). Errors form one tree, drawn in
`surge.errors`. Importing this module is quick: what is heavy is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surge.errors import (
    Cancelled,
    CorrectedResults,
    GuestFault,
    InternalFault,
    InvalidInput,
    LedgerError,
    NoProvider,
    NotData,
    NotEnough,
    PeerFault,
    RemoteError,
    SurgeError,
    Unavailable,
)

if TYPE_CHECKING:
    from surge.api import Network, connect
    from surge.buyer.cases import replay_case, verify_case
    from surge.buyer.encoding import Run, RunResult

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "CorrectedResults",
    "GuestFault",
    "InternalFault",
    "InvalidInput",
    "LedgerError",
    "Network",
    "NoProvider",
    "NotData",
    "NotEnough",
    "PeerFault",
    "RemoteError",
    "Run",
    "RunResult",
    "SurgeError",
    "Unavailable",
    "connect",
    "replay_case",
    "verify_case",
]

_LATER = {
    "Network": "surge.api",
    "connect": "surge.api",
    "Run": "surge.buyer.encoding",
    "RunResult": "surge.buyer.encoding",
    "replay_case": "surge.buyer.cases",
    "verify_case": "surge.buyer.cases",
}


def __getattr__(name: str) -> Any:
    """Load what is heavy when it is first asked for."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
