"""Offers as listings show them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from surge.buyer.offered import offer_row, whom_of
from surge.core.offers import Offer
from surge.core.pricing import Prices
from surge.core.types import address
from surge.errors import InvalidInput

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

OFFER = Offer(
    network=b"\x01" * 32, device=address("0x" + "0d" * 20), operator=address("0x" + "0a" * 20), sequence=5, issued=1_800_000_000,
    expires=1_800_000_300, prices=Prices(10, 20, 30, 40, 10**9), cores=2, memory=4 << 30, engine=b"\x02" * 32, engine_label="wasmtime",
    images=(b"\x03" * 32,), services=("compute",), region="eu", milliwatts=15_000, relays=("nats://127.0.0.1:4222",), window=1,
    window_max=64, offline_seconds=3600, audit_seconds=60, opening=100,
)  # fmt: skip


def test_an_offers_row_leaves_nothing_out_that_the_offer_says() -> None:
    row = offer_row(OFFER, 512 << 20, None)
    renamed = {"engine": "engine_id", "engine_label": "engine", "retainer": "retainer_price", "storage": "storage_price"}
    fields = {each.name for each in dataclasses.fields(Offer)} - {"network", "prices"}
    assert {renamed.get(name, name) for name in fields} <= set(row)
    assert [row[f"{name}_price"] for name in ("gigafuel", "memory", "transfer", "compile")] == [10, 20, 30, 40]
    assert (row["speed"], row["milliwatts"], row["images"], row["engine_id"]) == (10**9, 15_000, ["03" * 32], "02" * 32)
    assert row["excluded_by"] == ""
    assert offer_row(OFFER, 512 << 20, "region")["excluded_by"] == "region"


def test_every_field_of_a_row_is_on_the_page() -> None:
    section = PAGE.partition("## `surge provider list`")[2].partition("\n## ")[0]
    assert set(offer_row(OFFER, 1 << 20, None)) <= set(re.findall(r"`([a-z_]+)`", section))


def test_an_address_is_named_by_its_first_digits_where_they_are_those_of_one() -> None:
    known = ["0x" + "ab" * 20, "0x" + "ac" * 20]
    assert whom_of("0xAB", known) == whom_of("abab", known) == known[0]
    assert whom_of("0x" + "CD" * 20, known) == "0x" + "cd" * 20, "one that is written whole need not be known"
    for named, said in (
        ("0xa", "2 devices and operators are known here by '0xa'"),
        ("b", "no device or operator is known"),
        ("x", "no address"),
    ):
        with pytest.raises(InvalidInput, match=said):
            whom_of(named, known)
