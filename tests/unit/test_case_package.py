"""The dispute package: whole, bounded, for the receipt's unit and for nothing else; and hash chains."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical, case_package
from surge.core.case_package import MAX_PACKAGE, NOTHING, VERSION, CasePackage, decode, wanted
from surge.core.hash_chain import MAX_LINKS, HashChain, follow, leads_to
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.types import Address
from surge.core.units import WORLD, Limits, UnitSpec, unit_id
from surge.errors import InvalidInput, PeerFault

BUNDLE, ITEMS, MODULE = b"a bundle", b"the items", b"a module"


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


COMMAND = UnitSpec(
    WORLD, sha(b"engine"), sha(MODULE), sha(BUNDLE), b"", canonical.encode([["p"], [], 0]), sha(ITEMS), Limits(), sha(b"salt")
)
PYTHON = replace(COMMAND, image=sha(b"python"), setup=canonical.encode({"module": "m"}))
SETUP = replace(PYTHON, entry=b"", items=NOTHING)


def receipt(unit: UnitSpec, kind: int = ReceiptKind.UNIT) -> Receipt:
    return Receipt(kind, Address("0x" + "11" * 20), Address("0x" + "22" * 20), sha(b"channel"), 3, unit_id(unit), sha(b"wrong"), 77, 5, 1)


def package(unit: UnitSpec, kind: int = ReceiptKind.UNIT, **changes: Any) -> CasePackage:
    every = {sha(each): each for each in (BUNDLE, ITEMS, MODULE)}
    contents = {digest: every[digest] for digest in wanted(unit, setup=kind == ReceiptKind.SETUP)}
    return replace(CasePackage(unit, receipt(unit, kind), sha(b"right"), 78, contents), **changes)


WHOLE = {
    "a command": (package(COMMAND), [BUNDLE, ITEMS, MODULE]),
    "a command without input": (package(replace(COMMAND, items=NOTHING)), [BUNDLE, MODULE]),
    "a command that reads its own module": (package(replace(COMMAND, items=sha(MODULE))), [BUNDLE, MODULE]),
    "a unit in the Python image": (package(PYTHON), [BUNDLE, ITEMS]),
    "a setup": (package(SETUP, ReceiptKind.SETUP), [BUNDLE]),
    "a command without files": (package(replace(COMMAND, bundle=None)), [ITEMS, MODULE]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_package_comes_back_as_it_was_and_holds_what_its_unit_needs(name: str) -> None:
    whole, contents = WHOLE[name]
    found = decode(whole.encode())
    assert found == whole
    assert sorted(found.contents.values()) == sorted(contents)
    assert found.is_setup == (name == "a setup")


def fields(**changes: Any) -> bytes:
    row = dict(zip(("version", "unit", "receipt", "result", "fuel", "contents"), canonical.decode(package(COMMAND).encode()), strict=True))
    return canonical.encode(list({**row, **changes}.values()))


def unit_fields(at: int, value: Any) -> list[Any]:
    row = canonical.decode(package(COMMAND).encode())[1]
    return [*row[:at], value, *row[at + 1 :]]


OTHER = replace(COMMAND, salt=sha(b"another"))
BAD: dict[str, bytes] = {
    "nothing": b"",
    "not canonical": package(COMMAND).encode() + b"\0",
    "another version": fields(version="surge dispute package 2"),
    "no list": canonical.encode({"version": VERSION}),
    "a field too few": canonical.encode(canonical.decode(package(COMMAND).encode())[:-1]),
    "a receipt for another unit": package(COMMAND, receipt=receipt(OTHER)).encode(),
    "a unit that the receipt does not name": replace(package(COMMAND), unit=OTHER).encode(),
    "a receipt for no unit": package(COMMAND, ReceiptKind.TRANSFER).encode(),
    "a unit of another world": package(replace(COMMAND, world="another")).encode(),
    "a setup with an entry": package(PYTHON, ReceiptKind.SETUP).encode(),
    "a setup of a command": package(replace(COMMAND, entry=b"", items=NOTHING), ReceiptKind.SETUP).encode(),
    "a content too few": fields(contents=[BUNDLE, ITEMS]),
    "a content too many": fields(contents=[BUNDLE, ITEMS, MODULE, b"more"]),
    "contents in another order": fields(contents=[ITEMS, BUNDLE, MODULE]),
    "another content": fields(contents=[BUNDLE, b"other items", MODULE]),
    "a content that is text": fields(contents=["a bundle", ITEMS, MODULE]),
    "a short result": fields(result=b"short"),
    "negative fuel": fields(fuel=-1),
    "fuel that is a truth": fields(fuel=True),
    "a damaged receipt": fields(receipt=b"\x80"),
    "a short engine": fields(unit=unit_fields(1, b"short")),
    "a bundle that is a number": fields(unit=unit_fields(3, 5)),
    "limits out of bounds": fields(unit=unit_fields(7, [0, 0, 0, 0, 0])),
    "limits too few": fields(unit=unit_fields(7, [1 << 20])),
    "limits that are truths": fields(unit=unit_fields(7, [1 << 20, True, 1, 1, 4])),
    "an entry too long": package(replace(COMMAND, entry=bytes((256 << 10) + 1))).encode(),
    "a unit of eight fields": fields(unit=unit_fields(0, "x")[:8]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_package_of_its_receipts_unit_is_a_peers_fault(name: str) -> None:
    with pytest.raises(PeerFault):
        decode(BAD[name])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 500))
def test_bytes_are_a_package_or_a_peers_fault(noise: bytes, at: int) -> None:
    for data in (noise, package(COMMAND).encode()[:at] + noise):
        with contextlib.suppress(PeerFault):
            assert decode(data).encode() == data


def test_a_package_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerFault, match="larger"):
        decode(bytes(MAX_PACKAGE + 1))
    monkeypatch.setattr(case_package, "MAX_PACKAGE", 100)
    with pytest.raises(InvalidInput, match="at most 100"):
        package(COMMAND).encode()


# Hash chains


def test_links_lead_to_the_head_and_to_one_another_and_nothing_else_does() -> None:
    chain = HashChain(sha(b"seed"), 50)
    for number in (1, 2, 49, 50):
        assert leads_to(chain.link(number), number, chain.head)
        assert not leads_to(chain.link(number), number + 1, chain.head)
    assert leads_to(chain.link(7), 4, chain.link(3))
    assert chain.link(50) == chain.seed
    assert not leads_to(chain.head, 0, chain.head)
    assert not leads_to(chain.head, MAX_LINKS + 1, chain.head)
    assert follow(chain.seed, 50) == chain.head
    for number in (0, 51, -1):
        with pytest.raises(InvalidInput, match="new one"):
            chain.link(number)


@pytest.mark.parametrize(("seed", "length"), [(b"short", 5), (bytes(32), 0), (bytes(32), MAX_LINKS + 1)])
def test_a_chain_has_a_seed_and_bounded_links(seed: bytes, length: int) -> None:
    with pytest.raises(InvalidInput):
        HashChain(seed, length)
