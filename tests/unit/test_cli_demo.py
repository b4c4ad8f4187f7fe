"""The demonstration's words."""

from __future__ import annotations

import pytest

from surge.cli import demo


def test_what_the_demonstration_shows_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    demo._show_providers([{"provider": "0xab", "units": 3, "gigafuel": 1.5, "pay": 10**18}])
    demo._show_redemptions([{"transaction": "0xcd", "receipts": 4, "paid": 99 * 10**16, "fee": 10**16}])
    demo._show_checks({"receipt": "ef", "case": "c.json", "checks": [{"holds": True, "text": "accepted for 1500000000000000000 wei"}]})
    said = capsys.readouterr().out
    assert "a unit is one group" in said
    assert "in all 0.99 SURGE to the providers, 0.01 SURGE of fees: for units, and for setups, transfers" in said
    assert "accepted for 1.5 SURGE" in said
    assert "wei" not in said
