"""A chain for a test, with the contracts on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger_support import Chain, chain_in, found
from surge.ledger import Deployed


@pytest.fixture(scope="session")
def chain_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployed]:
    """A chain's folder, to be copied, and what is deployed on it."""
    folder = tmp_path_factory.mktemp("chain") / "ledger"
    return folder, asyncio.run(found(folder))


@pytest.fixture
async def chain(chain_template: tuple[Path, Deployed], tmp_path: Path) -> AsyncIterator[Chain]:
    """A chain of the test's own, running."""
    async with chain_in(tmp_path / "ledger", *chain_template) as running:
        yield running
