"""Fresh contracts for each test."""

from __future__ import annotations

from typing import Any

import pytest

from contracts_support import SOURCES, boa, deploy


@pytest.fixture(scope="session")
def deployers() -> dict[str, Any]:
    """The contracts, compiled once."""
    return {name: boa.load_partial(str(SOURCES / f"{name}.vy")) for name in ("surge_token", "registry", "channels")}


@pytest.fixture
def place(deployers: dict[str, Any]):
    with boa.env.anchor():
        yield deploy(deployers)
