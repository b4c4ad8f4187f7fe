"""How what is kept is said on the command line."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from surge.cli.keeping import _show_works, _state
from surge.core.storage.asking import Usual
from surge.core.storage.header import Header, Kind
from surge.core.storage.map import Placed
from surge.core.types import Address
from surge.storage.charges import Charge
from surge.storage.client import adopted, fresh_keys
from surge.storage.keeper import Kept, _kept
from surge.storage.keeper_journal import Work
from surge.storage.keeper_repair import Sight

KEPT = Kept("scan.tif", 1000, 4, 6, 6, 6, "none", int(time.time()) + 600, 0, 0)


def test_what_nobody_looked_at_is_not_called_lost() -> None:
    assert _state(KEPT) == "all there"
    assert _state(replace(KEPT, sound=0, here=0, danger="unseen", pledged=0)) == "not looked at yet: `surge storage audit` looks"


def test_what_was_done_is_told_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(5, bytes.fromhex("d3b6b2809202") + bytes(26), 0, 1, Address("0x" + "11" * 20), "rebuilt", "its holder is gone")
    _show_works([replace(work, name="scan.tif")], json_=False, empty="")
    assert "scan.tif" in (said := capsys.readouterr().out)
    assert "d3b6b2809202" not in said
    _show_works([work], json_=False, empty="")
    assert "d3b6b2809202" in capsys.readouterr().out
    _show_works([replace(work, name="scan.tif")], json_=True, empty="")
    assert json.loads(capsys.readouterr().out)[0]["object"] == work.object.hex()


def test_it_is_said_how_many_pledges_are_over() -> None:
    one = replace(KEPT, here=5, pledges=6, over=1)
    assert _state(one) == "none lost, 1 away; 1 of its 6 pledges is over: `surge storage keep`"
    assert _state(replace(one, here=6, over=2)) == "all there; 2 of its 6 pledges are over: `surge storage keep`"
    assert _state(replace(one, here=6, over=6)) == "all there; its pledges are over: `surge storage keep`"


def test_pledges_that_ended_are_counted() -> None:
    keys = fresh_keys()
    charge, until = Charge("scan.tif", keys, Header(1000, Kind.FILE, 1 << 20, 1, 3), 0), int(time.time()) + 600
    place = Placed(Address("0x" + "11" * 20), Address("0x" + "22" * 20), bytes(32), bytes(32), 1, until)
    rows = [replace(adopted(keys.object, 0, shard, 1000, bytes(16), place, 1), until=at) for shard, at in enumerate([until, 5, 0])]
    kept = _kept(charge, rows, Sight({}, [], Usual()), 0)
    assert (kept.pledged, kept.over, kept.pledges) == (5, 1, 2), "of one that another machine made nothing is known"
