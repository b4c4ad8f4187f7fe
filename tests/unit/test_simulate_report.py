"""The report: one file that opens anywhere, and the command that writes it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surge.cli import simulations
from surge.cli.app import surge
from surge.cli.console import run_command
from surge.simulate import report, scenarios
from surge.simulate.cheats import CHEATS
from surge.simulate.devices import DEVICES
from surge.simulate.economy import Settings
from surge.simulate.lines import lines
from surge.simulate.plots import SCALES, figure, line_plot
from surge.simulate.scenarios import SHOCKS, Result, simulate
from surge.simulate.sources import SOURCES

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(Settings(providers=400, years=0.4, seed=1))


def parsed(page: str) -> ElementTree.Element:
    """The page as XML: what is well-formed opens everywhere."""
    head, _, rest = page.partition("\n")
    assert head == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)


def test_the_page_is_well_formed_and_whole(result: Result) -> None:
    page = report.html(result)
    root = parsed(page)
    titles = [each.text for each in root.iter("figcaption")]
    assert len(titles) == len(list(root.iter("figure"))) >= 12 + 4 * len(SHOCKS)
    headings = [each.text for each in root.iter("h2")]
    assert [each.title for each in SHOCKS] == [each for each in headings if each in {shock.title for shock in SHOCKS}]
    for name in (*(each.name for each in CHEATS), *(each.name for each in DEVICES)):
        assert f">{name}<" in page, name
    assert not re.search(r"\b(nan|inf)\b", page)


def test_the_page_needs_nothing_else(result: Result) -> None:
    root = parsed(report.html(result))
    assert not [each.tag for each in root.iter() if each.tag in {"script", "link", "img", "iframe", "object"}]
    assert not [each for each in root.iter() if "src" in each.attrib]
    assert {each.attrib["href"] for each in root.iter("a")} == {each.link for each in SOURCES if each.link}
    assert "url(" not in report.html(result)
    assert "@import" not in report.html(result)


def test_every_line_of_a_plot_stays_in_it(result: Result) -> None:
    root = parsed(report.html(result))
    drawn = list(root.iter(f"{SVG}polyline"))
    assert len(drawn) > 50
    for each in drawn:
        for point in each.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 640
            assert 0 <= y <= 300


def test_every_cheat_has_its_line_and_whether_it_loses_is_said(result: Result) -> None:
    page = report.html(result)
    for title in ("by the lowest chance of a check", "by the bond", "in this run"):
        plot = page.partition(title)[2].partition("</figure>")[0]
        assert plot.count("<polyline") == len(CHEATS)
    assert page.count('class="loses"') >= 2 * len(CHEATS)
    table = page.partition("Where cheating would pay")[2].partition("</table>")[0]
    assert table.count('class="wins"') == sum(1 for each in result.curves.loopholes if each.disputed)
    assert "nobody ever goes to court" in page
    assert all(f"<tr><td>{escape(each.cheat)}</td>" in page for each in lines())


def test_a_report_without_shocks_says_nothing_of_them() -> None:
    found = simulate(Settings(providers=100, years=0.1), ("steady",))
    page = report.html(found)
    parsed(page)
    assert not any(each.title in page for each in SHOCKS)


def test_the_same_run_gives_the_same_page(result: Result) -> None:
    assert report.html(result) == report.html(simulate(result.settings))


def test_the_figures_are_json(result: Result) -> None:
    found = json.loads(json.dumps(report.data(result), allow_nan=False))
    assert sorted(found["days"]) == sorted(("steady", *(each.name for each in SHOCKS)))
    assert len(found["days"]["steady"]["price"]) == -(-len(result.steady) // 7)
    assert [each["kind"] for each in found["cheats"]] == [each.name for each in CHEATS]
    assert [each["cheat"] for each in found["lines"]] == [each.cheat for each in lines()]
    assert found["settings"]["rules"]["economics"]["network"]["fee_bps"] == 100


@pytest.mark.parametrize("y_scale", SCALES)
def test_plots_of_odd_lines_are_drawn(y_scale: str) -> None:
    for values in ([], [0.0], [5.0, 5.0], [-3.0, 0.0, 1e9], [math.nan, 1.0, math.inf], [1e-7, 2e-7]):
        along = [10.0**at for at in range(len(values))]
        for x_scale in ("linear", "log"):
            plot = line_plot(
                {"a <b>": (along, values)}, title="a & b", across="x", up="y", x_scale=x_scale, y_scale=y_scale, mark=(1.0, "here")
            )
            found = ElementTree.fromstring(plot)
            assert found.find("figcaption") is not None
            assert "nan" not in plot


def test_axes_name_round_values() -> None:
    plot = ElementTree.fromstring(line_plot({"one": ([0, 10], [0, 37])}, title="t", across="x", up="y"))
    named = [each.text for each in plot.iter(f"{SVG}text")]
    assert named == ["0", "10", "20", "30", "0", "2", "4", "6", "8", "10", "x", "y"]
    assert figure(1_234_567) == "1.23M"


def test_the_command_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    args = [
        "simulate",
        "economy",
        "--providers",
        "100",
        "--years",
        "0.2",
        "--seed",
        "3",
        "--scenario",
        "token",
        "-o",
        str(target),
        "--json",
    ]
    assert run_command(surge, args) == 0
    said = capsys.readouterr()
    assert sorted(json.loads(said.out)["days"]) == ["steady", "token"]
    assert "100 providers" in said.err, "progress goes to standard error"
    assert f"the report is at {target}" in said.err.replace("\n", "")
    parsed(target.read_text())
    assert target.read_text() == report.html(simulate(Settings(providers=100, years=0.2, seed=3), ("token",)))
    assert run_command(surge, [*args[:-3], "-o", "-"]) == 0
    assert capsys.readouterr().out == target.read_text()


def test_the_commands_scenarios_are_the_models() -> None:
    assert ("all", *scenarios.NAMES) == simulations.SCENARIOS


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (["--providers", "3"], 2, "--providers"),
        (["--years", "0"], 2, "--years"),
        (["--scenario", "moon"], 2, "moon"),
        (["--json", "-o", "-"], 2, "cannot both go"),
        (["--providers", "50", "--years", "0.1", "-o", "/nowhere/at/all.html"], 3, "cannot be written"),
    ],
)
def test_a_wrong_call_is_said(args: list[str], code: int, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(surge, ["simulate", "economy", *args]) == code
    assert part in capsys.readouterr().err


def test_without_numpy_the_command_says_what_to_install() -> None:
    code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numpy" else found(name, *rest)
from surge.cli.app import surge
from surge.cli.console import run_command
sys.exit(run_command(surge, ["simulate", "economy"]))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.returncode == 3
    assert re.search(r"pip install\s+-e\s+'\.\[simulate\]'", said.stderr)
