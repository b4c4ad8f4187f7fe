"""The documents name tests, files and commands that exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest

from surge.buyer.options import Asked
from surge.core.messages import compute, fields, holder_visits, session, storage, stored
from surge.core.offers import MAX_OFFER, Offer
from surge.core.signing import personal_digest
from surge.core.types import address
from surge.core.units import MAX_MEMORY, MAX_OPEN_FILES, MAX_OUTPUT, Limits
from surge.relay import board, login
from surge.relay.client import frames, handshake
from surge.relay.client.session import FIRST_CREDIT

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


PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()

PLACES = {"RELAY": "0x" + "22" * 20, "ADDRESS": "0x" + "11" * 20, "NONCE": "abc", "ISSUED": "1800000000", "CHALLENGE": "07" * 32}
"""What stands for what in the texts that are signed."""


def rows() -> list[list[str]]:
    """The rows of the protocol's tables, cell by cell."""
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in PROTOCOL.splitlines() if line.startswith("| ")]


def records() -> list[type[msgspec.Struct]]:
    """Every record that travels, but for those that only others are made of."""
    rooms = (board, handshake, session, compute, storage, holder_visits, stored)
    found = [each for room in rooms for each in vars(room).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    return [each for each in dict.fromkeys(found) if each.__struct_fields__]


@pytest.mark.parametrize("record", records(), ids=lambda record: f"{record.__module__.rpartition('.')[2]}.{record.__name__}")
def test_the_protocol_names_every_field_of_a_record_in_order(record: type[msgspec.Struct]) -> None:
    name, tag = record.__name__.lstrip("_"), record.__struct_config__.tag
    named = [row for row in rows() if (row[:2] == [str(tag), name] if tag is not None else row[0] == name)]
    said = [re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row[-1])) for row in named]
    assert list(record.__struct_fields__) in said, (name, said)


def test_the_protocol_names_every_kind_of_record_in_a_frame_and_every_operation_of_the_board() -> None:
    for kind in frames.Kind:
        assert [str(int(kind)), kind.name.lower()] in [row[:2] for row in rows()], kind
    for operation, _, answer in re.findall(r"^    (hello|offer|withdraw|query) +(.*?)  +(\w+)$", board.__doc__ or "", re.MULTILINE):
        assert [row[2] for row in rows() if row[0] == f"`{operation}`" and len(row) == 3] == [answer]


def test_the_protocol_names_every_field_of_an_offer_in_order() -> None:
    table = PROTOCOL.partition("| offer | |\n")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert named == ["version", *(each.name for each in dataclasses.fields(Offer))]


def test_the_texts_that_are_signed_are_as_the_protocol_says() -> None:
    texts = {kind: text for text, kind in re.findall(r"```\n(surge relay (\w+) .*?)\n```", PROTOCOL, re.DOTALL)}
    for place, value in PLACES.items():
        texts = {kind: text.replace(place, value) for kind, text in texts.items()}
    relay, client = address(PLACES["RELAY"]), address(PLACES["ADDRESS"])
    assert texts["login"].encode() == login.login_text(relay, client, "abc")
    assert personal_digest(texts["token"].encode()) == login.token_digest(relay, client, 1_800_000_000)
    assert personal_digest(texts["welcome"].encode()) == login.welcome_digest(relay, client, b"\x07" * 32)
    for purpose in (handshake.HELLO_PURPOSE, handshake.ANSWER_PURPOSE):
        assert f"`{purpose.decode()}`" in PROTOCOL


def test_the_sizes_in_the_protocol_are_those_of_the_code() -> None:
    for size in (
        *(board.MAX_PAGE_SIZE, MAX_OFFER, handshake.MAX_CONTEXT, handshake.MAX_HANDSHAKE, frames.MAX_FRAME, frames.MAX_MESSAGE),
        *(FIRST_CREDIT, login.MAX_PAYLOAD, fields.MAX_INLINE, fields.MAX_CHUNK, fields.MAX_MESSAGE),
    ):
        assert f"{size:,}" in PROTOCOL, size
