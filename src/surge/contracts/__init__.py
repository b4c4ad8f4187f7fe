"""The ledger's contracts: Vyper sources, and what they compile to.

Everything in this folder is under AGPL-3.0-only, as is snekmate, on which the contracts build. The compiled form ships beside the
sources, so that nobody needs the compiler; a test compiles them again and compares.
"""

# SPDX-License-Identifier: AGPL-3.0-only

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

NAMES = ("surge_token", "registry", "bonds", "channels", "court", "challenges", "equivocations", "emissions")
"""The contracts that make a network, in the order in which they are deployed. The other sources are modules of theirs."""

CALLED = {"token": "surge_token"}
"""What a network file calls a contract, where its source is called otherwise."""


def source_of(name: str) -> str:
    """The name of the source of a contract that network files call `name`."""
    return CALLED.get(name, name)


@lru_cache
def artifact(name: str) -> dict[str, Any]:
    """A contract's `abi`, `bytecode` (to deploy) and `runtime` (as deployed, before immutables), hex with 0x."""
    found: dict[str, Any] = json.loads((files(__package__) / f"{name}.json").read_text())
    return found
