"""How what is kept is said on the command line."""

from __future__ import annotations

import time
from dataclasses import replace

from surge.cli.keeping import _state
from surge.storage.keeper import Kept

KEPT = Kept("scan.tif", 1000, 4, 6, 6, 6, "none", int(time.time()) + 600, 0, 0)


def test_what_nobody_looked_at_is_not_called_lost() -> None:
    assert _state(KEPT) == "all there"
    assert _state(replace(KEPT, sound=0, here=0, danger="unseen", pledged=0)) == "not looked at yet: `surge storage audit` looks"
