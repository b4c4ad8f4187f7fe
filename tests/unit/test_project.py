"""What is locked is what is asked for, and nobody is told where to get it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from surge.sandbox import engine

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "requirements.lock": [
        *PROJECT["project"]["dependencies"],
        *(each for extra in PROJECT["project"]["optional-dependencies"].values() for each in extra),
        *PROJECT["dependency-groups"]["dev"],
    ],
    "requirements-bench.lock": PROJECT["dependency-groups"]["bench"],
    "requirements-tahoe.lock": PROJECT["dependency-groups"]["tahoe"],
}


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Each package's version and hashes. One that is locked per platform has the first's."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;\n]+)(.*)$", text, re.MULTILINE)
    return {package: (version, re.findall(r"--hash=sha256:[0-9a-f]{64}", rest)) for package, version, rest in reversed(found)}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_every_pin_with_hashes(name: str) -> None:
    packages = locked(name)
    for requirement in LOCKS[name]:
        package, version = re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z]+\])?==(.+)", requirement).groups()  # type: ignore[union-attr]
        assert packages[package][0] == version, f"{requirement} is not what is locked: make lock"
    for package, (_, hashes) in packages.items():
        assert hashes, package


def test_both_locks_agree() -> None:
    main, bench = locked("requirements.lock"), locked("requirements-bench.lock")
    assert {name: main[name][0] for name in main.keys() & bench.keys()} == {name: bench[name][0] for name in main.keys() & bench.keys()}


@pytest.mark.parametrize("name", [*LOCKS, "package-lock.json", ".npmrc", "package.json"])
def test_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert '"resolved"' not in text


def test_anvil_is_locked_as_it_is_asked_for() -> None:
    asked = json.loads((ROOT / "package.json").read_text())["dependencies"]
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == asked
    for name, version in asked.items():
        assert lock[f"node_modules/{name}"]["version"] == version
    assert all(entry["integrity"].startswith("sha512-") for path, entry in lock.items() if path)


def test_the_engine_is_the_one_results_are_defined_by() -> None:
    assert f"wasmtime=={engine.WASMTIME}" in PROJECT["project"]["dependencies"]


def test_make_says_what_a_long_step_is_before_it_begins() -> None:
    recipes = re.findall(r"^(\S+/\.installed\S*):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [name for name, _ in recipes] == [
        ".venv/.installed",
        ".venv/.installed-bench",
        ".venv-tahoe/.installed",
        "node_modules/.installed",
    ]
    for name, recipe in recipes:
        said, _, _ = re.sub(r"^\t@test .*\n", "", recipe).partition("\n")
        assert re.fullmatch(r'\t@echo "installing .*, once"', said), name
