"""A chain for a test, with the contracts on it; Python jobs in a sandbox; a whole network of processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli_support import Place, Up
from ledger_support import Chain, chain_in, found
from python_support import Job, Make, open_sandbox
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


@pytest.fixture
async def make(python_cache: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes jobs from one module's source, and other files by name."""
    async with open_sandbox(python_cache, workers=2) as sandbox:

        def job(source: str, files: Mapping[str, str | bytes] | None = None, **setup: Any) -> Job:
            return Job(sandbox, tmp_path, {"entry.py": source, **(files or {})}, {"module": "entry", **setup})

        yield job


@pytest.fixture(scope="module")
def place(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home of the module's own; a module that needs files in it names a `place` of its own."""
    return Place(tmp_path_factory.mktemp("place"), python_image)


@pytest.fixture(scope="module")
def up(request: pytest.FixtureRequest, place: Place) -> Iterator[Up]:
    """`surge up` in the module's place, of the parts that the module's `UP` counts."""
    network = Up(place, place.folder / "net", **getattr(request.module, "UP", {}))
    try:
        network.start()
        yield network
    finally:
        network.end()
