"""The documents name tests, files and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from surge.buyer.options import Asked
from surge.core.units import MAX_MEMORY, MAX_OPEN_FILES, MAX_OUTPUT, Limits

ROOT = Path(__file__).parents[2]


def test_every_attack_names_a_test_that_exists() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"def test_(\w+)", text))
    named = set(re.findall(r"`([a-z0-9_]{20,})`", (ROOT / "docs" / "attacks.md").read_text()))
    assert named
    assert named <= known, sorted(named - known)


def test_every_option_of_a_job_is_listed_with_its_default() -> None:
    text = (ROOT / "docs" / "python.md").read_text()
    section = text.partition("## Options")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(Asked.__annotations__)
    limits = Limits()
    assert f"default {limits.memory >> 20} MiB, at most {MAX_MEMORY >> 30} GiB" in section
    assert f"default {limits.output >> 20} MiB, at most {MAX_OUTPUT >> 30} GiB" in section
    assert f"default {limits.wall_ms // 1000}, at most a day" in section
    assert f"default {limits.open_files}, at most {MAX_OPEN_FILES}" in section
    assert limits.fuel == 10**12


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
