"""A file to be stolen."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file only its owner may read: ours."""
    path = tmp_path / "key"
    path.write_text("secret")
    path.chmod(0o600)
    return path
