"""The public API over a real network: real chain, relay, providers, workers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buyer_functions import add_one, broken, draw, shout, where
from network_support import Town

import surge
from surge.provider.config import ProviderConfig


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=2, config=ProviderConfig(memory=2 << 30)) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def test_map_gives_results_in_order(network: surge.Network) -> None:
    assert list(network.map(add_one, range(500))) == list(range(1, 501))
