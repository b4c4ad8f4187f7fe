"""The demonstration's words."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from surge.cli import demo

if TYPE_CHECKING:
    from surge.buyer.api import Network

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


class Channels:
    """A network whose channels are these, one list for each question, the last one for ever."""

    def __init__(self, *answers: list[tuple[int, int]]) -> None:
        self.answers = list(answers)

    def channels(self) -> list[dict[str, Any]]:
        rows = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [{"vouched": vouched, "redeemed": redeemed, "state": "open"} for vouched, redeemed in rows]


def test_nobody_waits_for_what_is_not_worth_its_gas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def least(network: Path) -> int:
        return 100

    monkeypatch.setattr(demo, "_least_redeemed", least)
    monkeypatch.setattr(demo.time, "sleep", lambda seconds: None)
    surge = Channels([(500, 0), (150, 0)], [(500, 500), (150, 0)], [(500, 500), (150, 51)])
    demo._wait_for_redemptions(cast("Network", surge), Path("network.json"))
    assert len(surge.answers) == 1
    assert sum(demo._kept(surge.channels())) == 99
    assert "waiting for the providers to redeem" in capsys.readouterr().err


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
