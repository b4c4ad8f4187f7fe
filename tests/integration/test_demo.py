"""The demonstration, on a few of its settings."""

from __future__ import annotations

import json
from pathlib import Path

from cli_support import Place


def test_the_demonstration_ends_with_a_receipt_that_holds(tmp_path: Path, python_image: Path) -> None:
    place = Place(tmp_path / "place", python_image)
    said = place.surge("demo", "--data", tmp_path / "demo", "--settings", "8", "--providers", "2", "--json", timeout=240)
    report = json.loads(said.out)
    assert report["settings"] == 8
    assert report["models"][0]["accuracy"] > 0.95
    assert sum(each["pay"] for each in report["providers"]) == report["price"] > 0
    (listed,) = place.json("job", "list", "--network", tmp_path / "demo" / "network.json")
    assert listed["price"] == report["price"]
    assert report["redemptions"]
    assert sum(each["paid"] + each["fee"] for each in report["redemptions"]) + report["kept"] == report["price"]
    assert report["verified"]
    assert report["replayed"]
    assert all(check["holds"] for check in report["checks"])
    texts = [check["text"] for check in report["checks"]]
    assert len(texts) == len(set(texts)) == 11
    assert "the fuel is the same" in texts[-1]
