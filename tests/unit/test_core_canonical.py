"""Canonical bytes: the vectors of RFC 8949, appendix A, for what is accepted, and the refusal of everything else."""

from __future__ import annotations

import array
import hashlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical
from surge.errors import InvalidInput

VECTORS: list[tuple[str, Any]] = [
    ("00", 0),
    ("01", 1),
    ("0a", 10),
    ("17", 23),
    ("1818", 24),
    ("1819", 25),
    ("1864", 100),
    ("1903e8", 1000),
    ("1a000f4240", 1000000),
    ("1b000000e8d4a51000", 1000000000000),
    ("1bffffffffffffffff", 18446744073709551615),
    ("c249010000000000000000", 18446744073709551616),
    ("3bffffffffffffffff", -18446744073709551616),
    ("c349010000000000000000", -18446744073709551617),
    ("20", -1),
    ("29", -10),
    ("3863", -100),
    ("3903e7", -1000),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("40", b""),
    ("4401020304", bytes.fromhex("01020304")),
    ("60", ""),
    ("6161", "a"),
    ("6449455446", "IETF"),
    ("62225c", '"\\'),
    ("62c3bc", "\u00fc"),
    ("63e6b0b4", "\u6c34"),
    ("64f0908591", "\U00010151"),
    ("80", []),
    ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))),
    ("a0", {}),
    ("a201020304", {1: 2, 3: 4}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("826161a161626163", ["a", {"b": "c"}]),
    ("a56161614161626142616361436164614461656145", {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}),
]
"""RFC 8949, appendix A, without floats, tags other than bignums, simple values and indefinite lengths."""

REFUSED = {
    "a number in two bytes that fits one": "1817",
    "a number in three bytes that fits two": "190017",
    "a number in five bytes that fits three": "1a0000ffff",
    "a number in nine bytes that fits five": "1b00000000ffffffff",
    "a negative number that is not shortest": "3800",
    "a byte string's length that is not shortest": "580100",
    "a text's length that is not shortest": "780161",
    "an array's length that is not shortest": "980101",
    "a map's length that is not shortest": "b8010102",
    "a tag that is not shortest": "d802490100000000000000 00",
    "a bignum that fits a plain number": "c248ffffffffffffffff",
    "a negative bignum that fits a plain number": "c348ffffffffffffffff",
    "a bignum with a leading zero": "c24a00010000000000000000",
    "an empty bignum": "c240",
    "a bignum that is an array": "c2820102",
    "another tag": "c11a514b67b0",
    "a tag of URIs": "d82063616263",
    "indefinite bytes": "5f42010243030405ff",
    "indefinite text": "7f657374726561646d696e67ff",
    "an indefinite array": "9f0102ff",
    "an indefinite map": "bf6161 01ff",
    "a break alone": "ff",
    "a half float": "f93c00",
    "a single float": "fa47c35000",
    "a double float": "fb3ff199999999999a",
    "undefined": "f7",
    "a simple value": "f0",
    "a simple value in two bytes": "f8ff",
    "false in two bytes": "f814",
    "reserved info 28": "1c",
    "reserved info 30": "3e",
    "keys in the wrong order": "a2616201616102",
    "keys sorted by value and not by bytes": "a2616101 0a02",
    "a key twice": "a2616101616102",
    "keys that Python holds for the same": "a20101f502",
    "an array for a key": "a1810102",
    "a map for a key": "a1a00102",
    "text that is not UTF-8": "61ff",
    "text with a surrogate": "63eda080",
    "bytes after the value": "0000",
    "nothing": "",
    "a head that ends early": "19ff",
    "bytes that end early": "440102",
    "an array that ends early": "8201",
    "a map that ends early": "a101",
    "an array of 2^64-1 items": "9bffffffffffffffff",
    "a map of 2^64-1 pairs": "bbffffffffffffffff",
    "2^64-1 bytes": "5bffffffffffffffff",
    "33 arrays in each other": "81" * 33 + "00",
    "a million arrays in each other": "81" * 1_000_000,
}


@pytest.mark.parametrize(("encoded", "value"), VECTORS, ids=[row[0][:24] for row in VECTORS])
def test_the_vectors_of_the_standard(encoded: str, value: Any) -> None:
    assert canonical.encode(value).hex() == encoded
    found = canonical.decode(bytes.fromhex(encoded))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED.keys())
def test_what_encode_would_not_write_is_refused(encoded: str) -> None:
    with pytest.raises(InvalidInput):
        canonical.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "value",
    [1.0, math.nan, {1, 2}, object(), [1, [2.5]], {"a": 1.5}, {1.5: "a"}, "\ud800", ["a", {"\udfff": 1}], {(1, 2): 3}, 1j],
)
def test_values_without_canonical_bytes_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        canonical.encode(value)


def test_a_value_inside_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidInput, match="nest"):
        canonical.encode(value)


def test_the_deepest_nesting_goes_both_ways() -> None:
    deepest: Any = 7
    for _ in range(canonical.MAX_DEPTH):
        deepest = [deepest]
    assert canonical.decode(canonical.encode(deepest)) == deepest
    with pytest.raises(InvalidInput):
        canonical.encode([deepest])


def test_bytes_in_any_dress_have_the_same_encoding() -> None:
    numbers = array.array("I", [1, 2, 3])
    plain = numbers.tobytes()
    assert canonical.encode(bytearray(plain)) == canonical.encode(plain)
    assert canonical.encode(memoryview(numbers)) == canonical.encode(plain)
    assert canonical.encode((1, 2)) == canonical.encode([1, 2])


def test_the_digest_is_sha256_of_the_bytes() -> None:
    assert canonical.digest(["a", 1]) == hashlib.sha256(bytes.fromhex("82616101")).digest()


scalars = st.none() | st.booleans() | st.integers() | st.binary(max_size=40) | st.text(max_size=20)
keys = st.integers() | st.binary(max_size=10) | st.text(max_size=10)
documents = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20)


@given(documents)
@settings(max_examples=200, deadline=None)
def test_documents_come_back_and_have_one_encoding(value: Any) -> None:
    encoded = canonical.encode(value)
    again = canonical.decode(encoded)
    assert again == value
    assert canonical.encode(again) == encoded


@given(st.binary(max_size=60))
@settings(max_examples=1500, deadline=None)
def test_random_bytes_are_refused_or_are_the_only_encoding(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except InvalidInput:
        return
    assert canonical.encode(value) == data


@given(documents, st.data())
@settings(max_examples=300, deadline=None)
def test_changed_documents_are_refused_or_are_the_only_encoding(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(canonical.encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    try:
        found = canonical.decode(bytes(encoded))
    except InvalidInput:
        return
    assert canonical.encode(found) == encoded
