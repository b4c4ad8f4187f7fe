"""The erasure code: any k fragments give the stripe, ISA-L's are the format's, and a code that makes others is not used."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core.storage import cauchy
from surge.core.storage.layout import MOST_SHARDS
from surge.errors import InternalFault, InvalidInput
from surge.storage import erasure
from surge.storage.erasure import Code, code_of

CODES = st.integers(1, MOST_SHARDS).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))
ALL_CODES = [(1, 1), (1, 3), (2, 2), (2, 3), (3, 8), (5, 10), (10, 20), (20, 30), (20, 32), (29, 30), (31, 32), (32, 32)]
needs_isal = pytest.mark.skipif(not erasure.is_fast(), reason="ISA-L is not there")


def stripe_of(k: int, fragment: int) -> bytes:
    return random.Random(k).randbytes(k * fragment)


def cut(stripe: bytes, k: int) -> list[bytes]:
    size = len(stripe) // k
    return [stripe[at : at + size] for at in range(0, len(stripe), size)]


def plain(k: int, n: int) -> Code:
    return Code(k, n, erasure._Plain(k, n))


@settings(deadline=None)
@given(CODES, st.sampled_from([32, 64, 4096, 16384, 16416, 65536]), st.booleans(), st.data())
def test_any_k_fragments_give_the_stripe_and_every_other_fragment(
    code: tuple[int, int], fragment: int, slow: bool, draw: st.DataObject
) -> None:
    k, n = code
    made = plain(k, n) if slow and fragment < 4096 else code_of(k, n)
    stripe = stripe_of(k, fragment)
    fragments = made.encode(stripe)
    assert len(fragments) == n
    assert b"".join(fragments[:k]) == stripe
    have = draw.draw(st.permutations(range(n)))[: draw.draw(st.integers(k, n))]
    given_ = {index: fragments[index] for index in have}
    assert made.decode(given_) == stripe
    assert list(map(bytes, made.rebuild(given_, range(n)))) == list(map(bytes, fragments))
    one = draw.draw(st.integers(0, n - 1))
    assert bytes(made.rebuild(given_, [one])[0]) == bytes(fragments[one])


@needs_isal
@pytest.mark.parametrize(("k", "n"), ALL_CODES)
def test_isal_makes_the_fragments_that_the_format_says(k: int, n: int) -> None:
    stripe = stripe_of(k, 20_000 // 32 * 32)
    assert list(map(bytes, code_of(k, n).encode(stripe))) == cauchy.encode(k, n, cut(stripe, k))


def test_threads_share_a_code() -> None:
    code = code_of(5, 9)
    stripes = [random.Random(number).randbytes(5 * 16384) for number in range(40)]

    def there_and_back(stripe: bytes) -> bytes:
        return code.decode(dict(list(enumerate(code.encode(stripe)))[4:]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, stripes)) == stripes


@needs_isal
def test_the_rebuilt_headers_are_pyeclibs_own() -> None:
    from pyeclib.ec_iface import ECDriver

    driver = ECDriver(k=20, m=10, ec_type="isa_l_rs_cauchy")
    engine = erasure._IsaL(driver, 20)
    for index, fragment in enumerate(driver.encode(stripe_of(20, 4096))):
        assert engine._header(index, 4096) == fragment[:80]


def test_the_parity_is_a_sum_over_the_field() -> None:
    def times(one: int, other: int) -> int:
        total = 0
        for bit in range(8):
            total ^= (one << bit) * (other >> bit & 1)
        for bit in range(14, 7, -1):
            total ^= (0x11D << bit - 8) * (total >> bit & 1)
        return total

    for one in range(256):
        for other in (1, 2, 29, 128, 255):
            assert cauchy.product(one, other) == times(one, other)
    assert all(times(cauchy.inverse(value), value) == 1 for value in range(1, 256))
    fragments = cauchy.encode(3, 5, [bytes([7] * 32), bytes([9] * 32), bytes([200] * 32)])
    for index in (3, 4):
        expected = times(cauchy.inverse(index), 7) ^ times(cauchy.inverse(index ^ 1), 9) ^ times(cauchy.inverse(index ^ 2), 200)
        assert fragments[index] == bytes([expected] * 32)


@pytest.mark.parametrize("size", [0, 31, 33, 64, 95, 97])
def test_a_stripe_that_is_not_k_fragments_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="a stripe of"):
        code_of(3, 5).encode(bytes(size))


def test_too_few_fragments_and_fragments_that_do_not_fit_are_refused() -> None:
    code = code_of(3, 5)
    fragments = dict(enumerate(code.encode(stripe_of(3, 64))))
    with pytest.raises(InvalidInput, match="too few"):
        code.decode({1: fragments[1], 4: fragments[4]})
    for wrong in ({1: fragments[1], 2: fragments[2], 3: bytes(32)}, {1: bytes(33), 2: bytes(33), 3: bytes(33)}, {3: b"", 4: b"", 1: b""}):
        with pytest.raises(InvalidInput, match="not of one stripe"):
            code.decode(wrong)
    with pytest.raises(InvalidInput, match="not of one stripe"):
        code.decode({3: fragments[3], 4: fragments[4], 5: fragments[4]})
    for index in (-1, 5):
        with pytest.raises(InvalidInput, match="no fragments"):
            code.rebuild(fragments, [index])
    with pytest.raises(InvalidInput, match="too few"):
        cauchy.rebuild(3, {1: bytes(32)}, 0)


@pytest.fixture
def fresh_codes() -> Any:
    code_of.cache_clear()
    yield
    code_of.cache_clear()


@pytest.mark.usefixtures("fresh_codes")
def test_without_pyeclib_the_plain_code_makes_the_same_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(map(bytes, code_of(4, 7).encode(stripe_of(4, 32))))
    code_of.cache_clear()
    monkeypatch.setitem(sys.modules, "pyeclib.ec_iface", None)
    assert not erasure.is_fast()
    code = code_of(4, 7)
    assert isinstance(code._engine, erasure._Plain)
    assert list(map(bytes, code.encode(stripe_of(4, 32)))) == expected


@needs_isal
@pytest.mark.usefixtures("fresh_codes")
def test_without_isal_the_plain_code_is_used_and_pyeclibs_other_codes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyeclib.ec_iface.VALID_EC_TYPES", ["liberasurecode_rs_vand"])
    assert isinstance(code_of(4, 7)._engine, erasure._Plain)
    code_of.cache_clear()
    monkeypatch.setattr("pyeclib.ec_iface.VALID_EC_TYPES", ["liberasurecode_rs_vand", "isa_l_rs_vand"])
    for other in ("liberasurecode_rs_vand", "isa_l_rs_vand"):
        monkeypatch.setattr(erasure, "_TYPE", other)
        with pytest.raises(InternalFault, match="other shards than the format's"):
            code_of(4, 7)
