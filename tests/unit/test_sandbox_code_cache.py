"""Compiled code on disk: how much of it stays, and who may make it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from surge.sandbox import code_cache
from surge.sandbox.code_cache import CodeCache

ENGINE = bytes(32)
PYTHON = hashlib.sha256(b"python").digest()


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    made = CodeCache(tmp_path, ENGINE, budget=350, keeps=PYTHON)
    made.open()
    return made


def keep(cache: CodeCache, image: bytes, size: int = 100, age: float = 0.0) -> None:
    made = cache._folder / "made"
    made.write_bytes(bytes(size))
    made.chmod(0o600)
    used = time.time() - age
    os.utime(made, (used, used))
    with made.open("rb") as file:
        cache.keep(image, file.fileno(), made)


def image(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def test_code_beyond_the_budget_goes_but_never_that_of_python(cache: CodeCache) -> None:
    keep(cache, PYTHON, age=10_000)
    for number in range(10):
        keep(cache, image(number), age=5_000 - number)
        assert cache.find(image(number)) is not None
    assert cache.find(PYTHON) is not None
    assert [number for number in range(10) if cache.find(image(number)) is not None] == [8, 9]


def test_what_is_used_stays(cache: CodeCache) -> None:
    for number in range(3):
        keep(cache, image(number), age=500 - number)
    assert cache.find(image(0)) is not None
    keep(cache, image(3))
    assert [cache.find(image(number)) is not None for number in range(4)] == [True, False, True, True]


def test_small_modules_are_bounded_by_their_number(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache, "MAX_MODULES", 8)
    for number in range(20):
        keep(cache, image(number), size=1, age=500 - number)
    assert len(list(cache._folder.iterdir())) == 8


def test_one_compiles_at_a_time_and_leaves_no_lock(cache: CodeCache) -> None:
    with cache.alone(PYTHON) as first, cache.alone(PYTHON) as second, cache.alone(image(1)) as other:
        assert (first, second, other) == (True, False, True)
    with cache.alone(PYTHON) as again:
        assert again
    assert not list(cache._folder.iterdir())


def test_a_lock_that_was_removed_in_between_is_not_held(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened just before its holder let go: locking the removed file would let two compile."""
    opened = os.open

    def late(path: Path, *arguments: int) -> int:
        descriptor = opened(path, *arguments)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", late)
    with cache.alone(PYTHON) as alone:
        assert not alone
