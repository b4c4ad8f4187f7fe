"""What a user may ask of a job, and where the network is found."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from surge.buyer import home as homes
from surge.buyer.options import check_known, chunk_of, limits_of, wishes_of
from surge.core.units import Limits
from surge.errors import InvalidInput

# Options


def test_limits_and_wishes_are_what_was_asked() -> None:
    limits = limits_of({"memory": 1 << 30, "fuel": 5, "timeout": 1.5, "output": 10, "open_files": 8})
    assert limits == Limits(memory=1 << 30, fuel=5, wall_ms=1500, output=10, open_files=8)
    assert limits_of({}) == Limits()
    wishes = wishes_of({"providers": ["0x" + "AB" * 20], "budget": 5, "deadline": 2.0})
    assert wishes.providers == ("0x" + "ab" * 20,)
    assert wishes.deadline_ms == 2000
    assert wishes.disputable
    assert not wishes_of({"disputable": False}).disputable
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    assert 55_000 < (wishes_of({"deadline": later}).deadline_ms or 0) <= 60_000


@pytest.mark.parametrize(
    "asked",
    [
        {"budget": -1},
        {"budget": 1.5},
        {"max_price": True},
        {"providers": 0},
        {"providers": []},
        {"providers": ["nobody"]},
        {"deadline": -1},
        {"deadline": "2h"},
        {"deadline": float("nan")},
        {"region": 5},
        {"name": 5},
        {"disputable": 0},
        {"disputable": None},
    ],
)
def test_wishes_that_mean_nothing_are_refused(asked: Any) -> None:
    with pytest.raises(InvalidInput):
        wishes_of(asked)


@pytest.mark.parametrize(
    "asked",
    [
        *({"memory": 0}, {"memory": 1 << 40}, {"memory": "1G"}, {"fuel": 0}, {"output": -1}),
        *({"timeout": 0}, {"timeout": "90s"}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"timeout": True}),
    ],
)
def test_limits_out_of_bounds_are_refused(asked: Any) -> None:
    with pytest.raises(InvalidInput):
        limits_of(asked)


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(
        TypeError, match=r"no such option: memroy; there are .*memory.*; and files .*packages and seed .*chunk, errors and total"
    ):
        check_known({"memroy": 1})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("chunk", [0, -1, 1.5, "all", True, 10**9])
def test_a_chunk_that_is_none_is_refused(chunk: Any) -> None:
    with pytest.raises(InvalidInput):
        chunk_of(chunk)
    assert chunk_of("auto") == 0


# Places


def test_the_network_meant_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SURGE_NETWORK", "SURGE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="surge up"):
        homes.find_network()
    running = tmp_path / "running.json"
    running.write_text("{}")
    pointer = homes.running_folder() / "one.json"
    pointer.parent.mkdir(parents=True)
    pointer.write_text(f'{{"network": "{running}", "pid": 1, "created": 0, "since": 0}}')
    assert homes.find_network() == running
    (tmp_path / "network.json").write_text("{}")
    assert homes.find_network() == Path("network.json")
    other = tmp_path / "other"
    other.mkdir()
    (other / "network.json").write_text("{}")
    monkeypatch.setenv("SURGE_NETWORK", str(other))
    assert homes.find_network() == other / "network.json"
    with pytest.raises(InvalidInput, match="no network file"):
        homes.find_network(tmp_path / "missing.json")
    pointer.write_text("nonsense")
    monkeypatch.delenv("SURGE_NETWORK")
    (tmp_path / "network.json").unlink()
    with pytest.raises(InvalidInput, match="damaged"):
        homes.find_network()
