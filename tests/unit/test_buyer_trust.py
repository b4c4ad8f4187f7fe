"""Which networks are trusted: those made here, and those the user said so of, as they were then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from surge.buyer.trust import is_trusted, require_trusted, trust
from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.types import address
from surge.errors import InvalidInput

WHERE = address("0x" + "0a" * 20)
CONTRACT = Contract(WHERE, b"\x01" * 32)
NETWORK = NetworkFile(
    "n", "embedded", 77, ("http://127.0.0.1:1",), CONTRACT, CONTRACT, CONTRACT, CONTRACT, (RelayAddress("nats://127.0.0.1:1", WHERE),), 1
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network file from elsewhere, and a home of the test's own."""
    monkeypatch.setenv("SURGE_HOME", str(tmp_path / "home"))
    path = tmp_path / "from a stranger" / "network.json"
    path.parent.mkdir()
    path.write_bytes(NETWORK.encode())
    return path


def test_a_network_from_elsewhere_is_asked_about_once_and_again_when_it_changed(place: Path) -> None:
    with pytest.raises(InvalidInput, match="surge network trust"):
        require_trusted(place, NETWORK)
    trust(place, NETWORK)
    trust(place, NETWORK)
    require_trusted(place, NETWORK)
    other_code = replace(NETWORK, channels=replace(CONTRACT, code_hash=b"\x02" * 32))
    for changed in (replace(NETWORK, rpc=("http://evil:1",)), replace(NETWORK, chain_id=78), other_code):
        assert not is_trusted(place, changed)
    trust(place, other_code)
    assert is_trusted(place, NETWORK)
    assert is_trusted(place, other_code)


@pytest.mark.parametrize(
    ("genesis", "network", "trusted"),
    [
        ('{"chain_id": 77}', NETWORK, True),
        ('{"chain_id": 78}', NETWORK, False),
        ('{"chain_id": 77}', replace(NETWORK, kind="public"), False),
        ("{", NETWORK, False),
        ("[]", NETWORK, False),
        ("[" * 2000, NETWORK, False),
        ('{"chain_id": 77}', replace(NETWORK, rpc=("http://127.0.0.1:1", "http://far.example:1")), False),
    ],
)
def test_only_the_network_founded_here_is_trusted_as_it_is(place: Path, genesis: str, network: NetworkFile, trusted: bool) -> None:
    folder = place.parent / "ledger"
    folder.mkdir()
    (folder / "genesis.json").write_text(genesis)
    assert is_trusted(place, network) is trusted


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 2000])
def test_a_damaged_list_says_so_and_trusts_nobody(place: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "trusted.json").write_text(text)
    with pytest.raises(InvalidInput, match="damaged"):
        is_trusted(place, NETWORK)


@pytest.mark.parametrize("content", [{}, 5, None, [1, None]])
def test_a_list_of_something_else_trusts_nobody(place: Path, tmp_path: Path, content: object) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "trusted.json").write_text(json.dumps(content))
    assert not is_trusted(place, NETWORK)
