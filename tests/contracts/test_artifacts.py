"""What ships is what the sources compile to."""

from __future__ import annotations

import pytest

from surge.contracts import NAMES, artifact
from surge.contracts.build import ROOT, build


@pytest.mark.parametrize("name", NAMES)
def test_shipped_code_is_compiled_from_the_shipped_source(name: str) -> None:
    assert build(name) == artifact(name)


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.vy")), ids=lambda path: path.name)
def test_every_source_says_its_licence(path) -> None:
    assert "GNU Affero General Public License v3.0 only" in path.read_text()


def test_nobody_owns_the_token() -> None:
    names = {entry.get("name") for entry in artifact("surge_token")["abi"]}
    assert {"transfer", "permit", "balanceOf", "mint", "burn", "set_minter"} <= names
    assert not names & {"burn_from", "is_minter", "owner", "transfer_ownership", "renounce_ownership"}
