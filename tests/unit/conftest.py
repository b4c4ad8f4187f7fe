"""A project for a test, ready to be imported from; a buyer that can be killed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bundle_support import PROJECT
from buyer_support import Bed
from made_up_provider import FakeProvider


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "project"
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(root)
    before = set(sys.modules)
    yield root
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
async def beds(tmp_path: Path) -> AsyncIterator[Callable[..., Bed]]:
    """Makes a buyer over these providers, and again after it was killed."""
    made: list[Bed] = []

    def make(*providers: FakeProvider) -> Bed:
        made.append(Bed(tmp_path, providers))
        return made[-1]

    yield make
    await made[-1].close()
