"""Fresh contracts for each test."""

from __future__ import annotations

from typing import Any

import pytest

from bonds_support import ALICE, BOB, CAROL, Bonds
from challenges_support import Storage, found_challenges
from contracts_support import OPERATOR, SOURCES, STRANGER, Place, boa, deploy, loaded, rich
from court_support import Courthouse, found_court
from surge.contracts import NAMES


@pytest.fixture(scope="session")
def deployers() -> dict[str, Any]:
    """The contracts, compiled once."""
    return loaded(lambda: {name: boa.load_partial(str(SOURCES / f"{name}.vy")) for name in NAMES})


@pytest.fixture
def place(deployers: dict[str, Any]):
    with boa.env.anchor():
        yield deploy(deployers)


@pytest.fixture
def bonds(place: Place) -> Bonds:
    """The bonds, with a judge; the operator and three more hold 1,000 SURGE each."""
    rich(place, OPERATOR, ALICE, BOB, CAROL, STRANGER)
    found = Bonds(place)
    found.judge()
    return found


@pytest.fixture
def courthouse(place: Place, deployers: dict[str, Any]) -> Courthouse:
    """A court that may slash; nobody is a juror yet."""
    return found_court(place, deployers)


@pytest.fixture
def storage(place: Place, deployers: dict[str, Any]) -> Storage:
    """Challenges that may slash, and an operator with 40 SURGE whose device pledged a shard."""
    return found_challenges(place, deployers)
