"""The report on storage: one file that opens anywhere, and the command that writes it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surge.cli.app import surge
from surge.cli.console import run_command
from surge.simulate import storage_published, storage_report
from surge.simulate.storage import CODES, Settings
from surge.simulate.storage_sweep import Result, sweep

CODE = ((3, 6, 5), (2, 4, 3))


@pytest.fixture(scope="module")
def result() -> Result:
    return sweep(Settings(devices=60, years=0.02, segments=5, codes=CODE, particles=50, seed=1))


def parsed(page: str) -> ElementTree.Element:
    """The page as XML: what is well-formed opens everywhere."""
    head, _, rest = page.partition("\n")
    assert head == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)


def test_the_page_is_well_formed_and_whole(result: Result) -> None:
    page = storage_report.html(result)
    root = parsed(page)
    assert len(list(root.iter("figure"))) == 8
    assert [each.text for each in root.iter("h2")] == [
        "Durability: it will come back",
        "Availability: it comes back now",
        "What it costs",
        "Beside what Storj published",
    ]
    for code in CODE:
        assert page.count(f"<td>{storage_report.name(code)}</td>") == 3
    assert not re.search(r"\b(nan|inf)\b", page)
    for row in storage_published.DECISIONS:
        assert f"<td>{row.k}/{row.n}/{row.threshold}</td><td>{row.nines}</td>" in page


def test_the_page_needs_nothing_else(result: Result) -> None:
    root = parsed(storage_report.html(result))
    assert not [each.tag for each in root.iter() if each.tag in {"script", "link", "img", "iframe", "object"}]
    assert {each.attrib["href"] for each in root.iter("a")} == {storage_published.LINK, storage_published.PAYOUT_LINK}


def test_the_figures_are_json(result: Result) -> None:
    found = json.loads(json.dumps(storage_report.data(result), allow_nan=False))
    assert [each["code"] for each in found["codes"]] == ["3/6/5", "2/4/3"]
    assert [each["expansion"] for each in found["codes"]] == [2.0, 2.0]
    assert len(found["readable_by_day"]["3/6/5"]) == 8
    assert found["settings"]["churn"]["lifetime"] == 730.0
    first = found["published"]["decisions"][0]
    assert (first["nines"], round(first["traffic_recomputed"], 2)) == (8, 9.36)


SHORT = ["simulate", "storage", "--devices", "60", "--years", "0.01", "--segments", "3", "--particles", "50"]


def test_the_command_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    args = [
        *SHORT,
        "--code",
        "2/4/3",
        "--code",
        "1/3/2",
        "--lifetime",
        "100",
        "--uptime",
        "0.9",
        "--seed",
        "3",
        "-o",
        str(target),
        "--json",
    ]
    assert run_command(surge, args) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in printed["codes"]] == ["2/4/3", "1/3/2"]
    assert printed["settings"]["churn"]["lifetime"] == 100.0
    parsed(target.read_text())


@pytest.mark.parametrize("code", ["20/30", "0/3/1", "3/2/2", "4/6/6", "4/6/3", "a/b/c", "20/900/25"])
def test_what_is_no_code_is_refused(code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(surge, [*SHORT, "--code", code, "-o", str(tmp_path / "report.html")]) == 2
    assert code in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_report_and_the_figures_do_not_share_an_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(surge, [*SHORT, "-o", "-", "--json"]) == 2
    assert "name a file with -o" in capsys.readouterr().err


def test_every_code_of_the_comparison_is_one() -> None:
    assert len(set(CODES)) == 8
    assert all(k <= threshold < n for k, n, threshold in CODES)


def test_core_needs_no_numpy() -> None:
    script = "import sys; import surge.core.storage.repair, surge.cli.simulations; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
