"""The plan of a `surge up`: written once, found again, and jurors added to it."""

from __future__ import annotations

import json
from pathlib import Path

from surge.cli.up import load_plan


def test_a_plan_is_found_again_as_it_was_whatever_is_asked_later(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, 2, 3, 1, 1 << 30)
    assert load_plan(tmp_path, 1, 1, 4, 1 << 20) == plan
    assert plan.parts == "a ledger, 2 relays and 3 providers"


def test_jurors_are_added_at_a_later_start_and_stay(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, 1, 1, 1, 1 << 30)
    later = load_plan(tmp_path, 1, 1, 1, 1 << 30, jurors=5)
    assert (later.jurors, later.relay_ports, later.ledger_port) == (5, plan.relay_ports, plan.ledger_port)
    assert load_plan(tmp_path, 1, 1, 1, 1 << 30, jurors=1) == load_plan(tmp_path, 1, 1, 1, 1 << 30) == later
    assert later.parts == "a ledger, 1 relay, 1 provider and 5 jurors"


def test_a_plan_from_before_there_were_jurors_has_none(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, 1, 1, 1, 1 << 30)
    path = tmp_path / "plan.json"
    fields = json.loads(path.read_text())
    del fields["jurors"]
    path.write_text(json.dumps(fields))
    assert load_plan(tmp_path, 1, 1, 1, 1 << 30) == plan
