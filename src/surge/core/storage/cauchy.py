"""The erasure code, plainly: what shards are, and a slow way to make them that needs nothing but Python.

Systematic Reed-Solomon over GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d). Fragments 0 to k-1 of a stripe are its bytes;
fragment i from k on is the sum over j of the inverse of (i xor j) times fragment j, byte by byte: a Cauchy matrix, every k rows of which
have an inverse, so any k fragments give the stripe. It is ISA-L's `gf_gen_cauchy1_matrix`. With k = 1 every fragment is the stripe itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import xor

from surge.core.storage.layout import check_code
from surge.errors import InvalidInput

_POLYNOMIAL = 0x11D


def _powers() -> tuple[list[int], list[int]]:
    powers, logarithms, value = [0] * 510, [0] * 256, 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logarithms[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return powers, logarithms


_POWERS, _LOGARITHMS = _powers()


def product(one: int, other: int) -> int:
    """The product of two bytes in the field.

    >>> product(2, 0x80)
    29
    """
    return _POWERS[_LOGARITHMS[one] + _LOGARITHMS[other]] if one and other else 0


def inverse(value: int) -> int:
    """What a byte other than 0 is multiplied by to give 1.

    >>> product(inverse(77), 77)
    1
    """
    return _POWERS[255 - _LOGARITHMS[value]]


_TIMES = [bytes(product(factor, value) for value in range(256)) for factor in range(256)]
"""For each factor, the table that `bytes.translate` multiplies by it with."""


def row(k: int, index: int) -> list[int]:
    """What each of the k fragments of a stripe counts for in the fragment with this index.

    >>> row(3, 1), row(3, 4)
    ([0, 1, 0], [71, 167, 122])
    """
    if k == 1:
        return [1]
    if index < k:
        return [int(column == index) for column in range(k)]
    return [inverse(index ^ column) for column in range(k)]


def encode(k: int, n: int, fragments: Sequence[bytes]) -> list[bytes]:
    """All n fragments of a stripe, from the first k."""
    check_code(k, n)
    return [*fragments[:k], *(_combined(row(k, index), fragments) for index in range(k, n))]


def rebuild(k: int, fragments: Mapping[int, bytes], index: int) -> bytes:
    """The fragment with an index, from k others by their indices. Raises `InvalidInput` for fewer."""
    if len(fragments) < k:
        raise InvalidInput(f"{len(fragments)} fragments of a stripe are too few: it takes {k}", have=len(fragments), k=k)
    chosen = sorted(fragments)[:k]
    columns = _inverted([row(k, each) for each in chosen])
    wanted = row(k, index)
    factors = [reduce(xor, (product(wanted[middle], columns[middle][column]) for middle in range(k))) for column in range(k)]
    return _combined(factors, [fragments[each] for each in chosen])


def _combined(factors: Sequence[int], fragments: Sequence[bytes]) -> bytes:
    total = 0
    for factor, fragment in zip(factors, fragments, strict=True):
        if factor:
            total ^= int.from_bytes(bytes(fragment).translate(_TIMES[factor]), "little")
    return total.to_bytes(len(fragments[0]), "little")


def _inverted(matrix: list[list[int]]) -> list[list[int]]:
    """The inverse of a square matrix, by Gauss and Jordan; every one that is asked for here has one."""
    size = len(matrix)
    rows = [[*each, *(int(column == number) for column in range(size))] for number, each in enumerate(matrix)]
    for pivot in range(size):
        other = next(number for number in range(pivot, size) if rows[number][pivot])
        rows[pivot], rows[other] = rows[other], rows[pivot]
        factor = inverse(rows[pivot][pivot])
        rows[pivot] = [product(factor, value) for value in rows[pivot]]
        for number in range(size):
            factor = rows[number][pivot]
            if number != pivot and factor:
                rows[number] = [value ^ product(factor, above) for value, above in zip(rows[number], rows[pivot], strict=True)]
    return [each[size:] for each in rows]
