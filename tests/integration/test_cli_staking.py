"""Staking by the command line and by the Python API, on a network of processes."""

from __future__ import annotations

import pytest

import surge
from cli_support import Place, Up
from surge.errors import InvalidInput, NotEnough

pytestmark = pytest.mark.timeout(300)

UP = {"providers": 1, "relays": 1}

ETHER = 10**18


@pytest.fixture(scope="module")
def operator(place: Place, up: Up) -> str:
    """The provider's operator."""
    (row,) = [row for row in place.json("network", "members") if row["kind"] == "device"]
    return str(row["operator"])


def test_stake_goes_behind_an_operator_and_out_again(place: Place, up: Up, operator: str) -> None:
    assert "nothing staked yet" in place.surge("stake").text
    done = place.json("delegate", operator, "3")
    assert (done["operator"], done["amount"]) == (operator, 3 * ETHER)
    said = place.surge("stake", "2", "--behind", operator)
    assert said.text.startswith("0x")
    assert f"2 SURGE stands behind {operator}" in said.err
    (row,) = place.json("stake")
    assert (row["operator"], row["staked"], row["rewards"], row["leaving"], row["tickets"]) == (operator, 5 * ETHER, 0, 0, [])
    said = place.surge("unstake", "1.5", "--behind", operator)
    assert f"1.5 SURGE leaves {operator}" in said.text
    assert "`surge claim` brings it" in said.text
    ticket = place.json("unstake", "all", "--behind", operator)
    assert ticket["amount"] == 35 * ETHER // 10
    (row,) = place.json("stake")
    assert (row["staked"], row["leaving"]) == (0, 5 * ETHER)
    assert [each["amount"] for each in row["tickets"]] == [15 * ETHER // 10, 35 * ETHER // 10]
    (row,) = place.json("claim")
    assert (row["operator"], row["withdrawn"], row["leaving"], row["reserved"]) == (operator, 0, 5 * ETHER, False)
    assert row["ready_at"] <= ticket["ready_at"]
    assert "5" in place.surge("claim", operator).text


def test_one_stakes_as_an_operator_too(place: Place, up: Up) -> None:
    me = place.json("wallet", "show")[0]["address"]
    assert place.json("stake", "1")["operator"] == me
    assert me in {row["operator"] for row in place.json("stake")}
    assert place.json("unstake", "all")["amount"] == ETHER


def test_an_operators_key_lies_with_its_provider_and_names_its_commission(place: Place, up: Up, operator: str) -> None:
    folder = up.data / "providers" / "0"
    (own,) = place.json("stake", "--data", folder)
    assert (own["operator"], own["staked"]) == (operator, 10 * ETHER), "the founding stakes for its own"
    said = place.surge("stake", "--commission", "20", "--data", folder)
    assert f"{operator} keeps 20 % of its pay from now on" in said.err
    done = place.json("stake", "--commission", "30.5", "--data", folder)
    assert done["commission_bps"] == 3_050
    assert done["from"] > 0
    assert "keeps 31 % of its pay from 20" in place.surge("stake", "--commission", "31", "--data", folder).err
    assert "by itself" in place.surge("stake", "1", "--commission", "5", code=2).err
    assert place.surge("stake", "--commission", "101", code=2).err
    assert "no folder" in place.surge("claim", "--data", "nowhere", code=3).err


def test_what_cannot_be_staked_is_said_in_words(place: Place, up: Up, operator: str) -> None:
    assert "nothing to stake" in place.surge("stake", "0", code=2).err
    assert "say how much" in place.surge("stake", "--behind", operator, code=2).err
    assert "nothing to unstake" in place.surge("unstake", "0", code=2).err
    assert "no amount" in place.surge("unstake", "some", code=2).err
    assert "are needed" in place.surge("delegate", operator, "1000000", code=6).err
    other = "0x" + "ab" * 20
    assert f"has nothing behind {other}" in place.surge("unstake", "1", "--behind", other, code=6).err
    assert place.surge("delegate", "0x12", "1", code=3).err
    (device,) = [row["address"] for row in place.json("network", "members") if row["kind"] == "device"]
    assert f"is a device: its operator is {operator}" in place.surge("delegate", device, "1", code=3).err
    for command in (("delegate", other, "1"), ("stake", "1", "--behind", other)):
        assert f"{other} is no operator" in place.surge(*command, code=3).err
    assert other not in {row["operator"] for row in place.json("stake")}
    assert f"nothing behind {other}" in place.surge("claim", other).text
    assert place.json("claim", other) == []


def test_python_stakes_as_the_command_line_does(place: Place, up: Up, operator: str) -> None:
    with surge.connect(up.network) as network:
        before = {row["operator"]: row["staked"] for row in network.stakes()}.get(operator, 0)
        assert network.delegate(operator, ETHER)["operator"] == operator
        staked = {row["operator"]: row["staked"] for row in network.stakes()}
        assert staked[operator] == before + ETHER
        ticket = network.unstake(behind=operator)
        assert (ticket["operator"], ticket["amount"]) == (operator, before + ETHER)
        assert {row["withdrawn"] for row in network.claim(operator)} == {0}
        assert network.set_commission(5_000)["from"] == 0
        with pytest.raises(InvalidInput, match="between 0 and"):
            network.set_commission(10_001)
        with pytest.raises(NotEnough):
            network.stake(10**30)
