"""Fixtures that several rooms' tests use. Being here, this file also puts `tests/` on the import path, so that tests can share a module."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from audited_support import audited
from buyer_support import Bed
from made_up_provider import FakeProvider
from relay_support import OTHER_RELAY, relay_server
from retainer_support import Holder
from surge.cli.image import ensure_image
from surge.cli.places import cache
from surge.relay.server import RelayServer
from surge.sandbox import engine
from surge.sandbox.code_cache import CodeCache
from surge.sandbox.python_image import IMAGE

HERE = Path(__file__).parent

COMPILE_SECONDS = 1200
"""What compiling the Python image may take on a machine that runs other tests meanwhile: it counts towards the test that waits for it."""


def _compiled() -> Path | None:
    return CodeCache(cache() / "code", engine.identity()).find(IMAGE)


ROOMS = ("integration", "adversarial", "contracts", "property", "unit")
"""The folders in the order in which they are begun: a long file at the end would be waited for alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ROOMS.index(item.path.relative_to(HERE).parts[0]))
    if _compiled() is None:
        for item in items:  # towns wait for it as well
            item.add_marker(pytest.mark.timeout(COMPILE_SECONDS))


@pytest.fixture(scope="session")
def python_image() -> Path:
    """The Python image's compiled code, made once on this machine, whichever process asks first. Not to be changed."""
    ensure_image()
    found = _compiled()
    assert found is not None
    return found


@pytest.fixture
def python_cache(python_image: Path, tmp_path: Path) -> Path:
    """A sandbox's cache of the test's own, with the Python image in it and nothing else: a `Sandbox`'s, or `$SURGE_CACHE`."""
    folder = tmp_path / "python-cache"
    code = folder / "code" / python_image.parent.name
    code.mkdir(parents=True, mode=0o700)
    try:
        os.link(python_image, code / python_image.name)
    except OSError:  # another file system
        shutil.copy2(python_image, code / python_image.name)
    return folder


@pytest.fixture
async def make_bed(tmp_path: Path) -> AsyncIterator[Callable[..., Bed]]:
    """Makes a buyer over these providers."""
    beds: list[Bed] = []

    def make(*providers: FakeProvider) -> Bed:
        beds.append(Bed(tmp_path, providers))
        return beds[-1]

    yield make
    for bed in beds:
        await bed.close()


@pytest.fixture
def make_audited(make_bed: Callable[..., Bed]) -> Callable[..., Bed]:
    """Makes a buyer that checks these providers."""
    return audited(make_bed)


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Holder:
    """A provider that holds cores, its time by hand."""
    holder = Holder(tmp_path)
    holder.slow(monkeypatch)
    return holder


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RelayServer]:
    """A relay, running."""
    async with relay_server(tmp_path) as server:
        yield server


@pytest.fixture
async def second_relay(tmp_path: Path) -> AsyncIterator[RelayServer]:
    """Another relay beside it."""
    async with relay_server(tmp_path, OTHER_RELAY) as server:
        yield server
