"""The processes of a `surge up`: started together, stopped by kind."""

from __future__ import annotations

import sys
from pathlib import Path

from surge.cli.children import Child
from surge.cli.up import Parts

SERVES = "import time; print('ready', flush=True); time.sleep(600)"


def child(name: str, folder: Path) -> Child:
    return Child(name, [sys.executable, "-c", SERVES], folder / "log")


async def test_parts_are_stopped_by_kind_and_are_not_started_again(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    provider, relay = child("provider 0", tmp_path), child("relay 0", tmp_path)
    try:
        await parts.start(provider, relay)
        parts.watch()
        watched = dict(parts.watchers)
        await parts.stop("provider", "juror")
        assert provider.pid is None
        assert watched["provider 0"].done()
        assert relay.pid is not None
        assert not watched["relay 0"].done()
    finally:
        await parts.stop("provider")
        await parts.stop("relay")
    assert relay.pid is None
