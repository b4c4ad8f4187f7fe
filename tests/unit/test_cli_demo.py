"""The demonstration's words."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from surge.cli import demo

PICTURE = (Path(__file__).parents[2] / "docs" / "demo.svg").read_text()


def test_what_the_demonstration_shows_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    demo._show_providers([{"provider": "0xab", "units": 3, "gigafuel": 1.5, "pay": 10**18}])
    demo._show_redemptions([{"transaction": "0xcd", "receipts": 4, "paid": 99 * 10**16, "fee": 10**16}], kept=5 * 10**14)
    checks = [
        {"holds": True, "text": "accepted for 1500000000000000000 wei"},
        {"holds": None, "text": "not looked for"},
        {"holds": False, "text": "forged"},
    ]
    demo._show_checks({"receipt": "ef", "case": "c.json", "checks": checks})
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[-3:]] == ["yes", "?", "NO"]
    assert "a unit is one group" in said
    assert "in all 0.99 SURGE to the providers, 0.01 SURGE of fees: for units, and for setups, transfers" in said
    assert "0.0005 SURGE is not redeemed yet: providers keep a voucher" in said
    assert "accepted for 1.5 SURGE" in said
    assert "wei" not in said


def test_the_picture_shows_what_the_demonstration_says_today() -> None:
    """`make picture` draws it anew."""
    shown = html.unescape(PICTURE).replace("\xa0", " ")
    source = Path(demo.__file__).read_text()
    said = [*re.findall(r'(?:title="\\n|err\.print\("|waiting\(")([^"]+)"', source), "of fees: for units, and for setups, transfers"]
    assert len(said) == 6
    for text in said:
        assert text in shown, text
    assert "/tmp" not in shown
    assert not re.search(r"\bwei\b", shown)
