"""The document on durability says what the functions give."""

from __future__ import annotations

import re
from pathlib import Path

from surge.core.storage import odds, placement, repair
from surge.core.storage.placement import Candidate, choose_code
from surge.core.types import Address
from surge.simulate import storage_published as published
from surge.simulate.storage_report import name, recomputed

PAGE = (Path(__file__).parents[2] / "docs" / "durability.md").read_text()


def rows(after: str) -> list[list[str]]:
    """The cells of the first table after a heading's words."""
    table = PAGE.partition(after)[2].partition("|---")[2].partition("\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]


def written(text: str) -> float:
    """A chance as the page writes it: `2.8 · 10⁻⁶`."""
    found = re.match(r"([\d.]+) · 10⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    assert found is not None, text
    return float(found[1]) * 10.0 ** -int(found[2].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))


def test_availability_is_as_the_page_says() -> None:
    found = rows("all shards living:")
    assert len(found) == 4
    for uptime, read in found:
        digits = len(read.removesuffix(" %").partition(".")[2])
        assert f"{100 * odds.availability([float(uptime.removesuffix(' %')) / 100] * 30, 20):.{digits}f} %" == read


def test_codes_are_chosen_as_the_page_says() -> None:
    found = rows("What `choose_code` gives")
    assert len(found) == 7
    for operators, uptime, code, threshold, read, lost in found:
        devices = [
            Candidate(Address(f"0x{at:040x}"), Address(f"0x{at:040x}"), "", float(uptime.removesuffix(" %")) / 100)
            for at in range(1, int(operators.split()[0]) + 1)
        ]
        got = choose_code(devices)
        assert (f"{got.k} of {got.n}", str(got.threshold)) == (code, threshold)
        assert f"{100 * got.availability:.3f} %" == read.removesuffix(" (not enough)")
        assert got.enough == ("not enough" not in read + lost)
        assert got.loss < 1e-90 if lost.startswith("below") else f"{got.loss:.1e}" == f"{written(lost):.1e}"


def test_the_published_figures_are_as_the_page_says() -> None:
    found = rows("## Beside Storj")
    assert len(found) == len(published.DECISIONS)
    for cells, row in zip(found, published.DECISIONS, strict=True):
        again = recomputed(row)
        assert cells == [
            str(row.months),
            name((row.k, row.n, row.threshold)),
            str(row.nines),
            f"{again['nines_recomputed']:.1f}",
            f"{again['nines_window']:.1f}",
            f"{again['nines_chain']:.1f}",
            f"{row.traffic:.2f}",
            f"{again['traffic_model']:.2f}",
        ]


def test_the_rules_numbers_are_as_the_page_says() -> None:
    assert f"{repair.PATIENCE} times its longest absence" in PAGE
    assert f"at\nleast {repair.LEAST_GRACE / repair.HOUR:.0f} hours" in PAGE
    assert f"at most {repair.MOST_GRACE / repair.DAY:.0f} days, and {repair.FIRST_GRACE / repair.HOUR:.0f} hours" in PAGE
    assert f"missed after {repair.PATIENCE * 8:.0f} hours" in PAGE
    assert f"between {placement.LEAST_EXPANSION} and {placement.MOST_EXPANSION:.0f}" in PAGE
    assert (placement.UPTIME_POWER, placement.PRIOR_UPTIME, placement.PRIOR_HOURS) == (8, 0.9, 24.0)
