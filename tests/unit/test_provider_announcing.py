"""What a device says of where it is reached."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from surge.core.reach import parse
from surge.errors import InvalidInput
from surge.provider.announcing import Announced, check, endpoint
from surge.provider.config import ProviderConfig
from surge.provider.offering import check as check_config


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.0.0.0:4400", ("0.0.0.0", 4400)),
        ("[::1]:4400", ("::1", 4400)),
        ("home.example:65535", ("home.example", 65535)),
    ],
)
def test_a_host_and_a_port_are_read(text: str, found: tuple[str, int]) -> None:
    assert endpoint(text, "--announce") == found


@pytest.mark.parametrize(
    "text", ["", "4400", ":4400", "home", "home:", "home:0", "home:65536", "home:x", "home:-1", "::1:80", "[home]:80", "h:²"]
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--announce is HOST:PORT"):
        endpoint(text, "--announce")


def test_what_nobody_could_listen_at_or_announce_is_refused_before_anything_is_spent() -> None:
    check("", "")
    check("127.0.0.1:0", "")
    check("0.0.0.0:4400", "home.example:4400")
    with pytest.raises(InvalidInput, match="must be listened for"):
        check("", "home.example:4400")
    for everywhere in ("0.0.0.0:4400", "[::]:4400"):
        with pytest.raises(InvalidInput, match="it listens everywhere"):
            check_config(ProviderConfig(listen=everywhere))


async def test_nothing_is_announced_before_there_is_a_door() -> None:
    announced = Announced("198.51.99.7:4400")
    assert await announced.now() == ""
    announced.door = parse("127.0.0.1:5000")
    assert await announced.now() == "198.51.99.7:4400"


async def test_without_another_word_the_door_is_announced() -> None:
    announced = Announced("")
    announced.door = parse("[::1]:5000")
    assert await announced.now() == "[::1]:5000"


async def test_a_name_is_looked_up_for_every_offer_and_what_is_no_address_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [
        [("203.0.112.7", 4400)],
        [("169.254.1.1", 4400), ("2600::7", 4400, 0, 0), ("203.0.112.7", 4400)],
        [("0.0.0.0", 4400)],
        socket.gaierror("no such name"),
    ]

    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("home.example", 4400)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [(0, 0, 0, "", each) for each in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    announced = Announced("home.example:4400")
    announced.door = parse("127.0.0.1:5000")
    assert [await announced.now() for _ in range(4)] == ["203.0.112.7:4400", "[2600::7]:4400", "", ""]
