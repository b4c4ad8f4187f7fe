"""The erasure code at speed: ISA-L through pyeclib, held to what `core.storage.cauchy` says.

pyeclib writes 80 bytes before every fragment, which say what the format says anyhow: they are not kept, and are written again before
fragments go back in. A fragment that is damaged decodes to other bytes without a word, so callers check fragments against their tree first.
Where pyeclib or ISA-L is not there, the plain code does the same, some 30 times slower; other codes of pyeclib's make other shards, and
are not used.

    >>> code = code_of(2, 3)
    >>> fragments = code.encode(bytes(range(64)))
    >>> code.decode({0: fragments[0], 2: fragments[2]}) == bytes(range(64))
    True
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from surge.core.storage import cauchy
from surge.core.storage.layout import ALIGNMENT, check_code
from surge.errors import InternalFault, InvalidInput

Bytes: TypeAlias = bytes | bytearray | memoryview

_TYPE = "isa_l_rs_cauchy"

_META = struct.Struct("<IIIQ")

_HEADER = 80
"""Bytes that pyeclib writes before a fragment."""

_BLOCK = 16 << 10
"""Bytes of each fragment that are coded at once: three times faster than 64 KiB, which leave the processor's cache."""

_MANY = 3
"""So many missing fragments are made faster together than one by one."""


class _Engine(Protocol):
    """Makes the fragments of stripes of one code, k > 1 and n > k."""

    def parity(self, fragments: Sequence[Bytes]) -> Sequence[Bytes]:
        """The fragments from k on, from the first k."""
        ...

    def rebuild(self, fragments: Mapping[int, Bytes], indices: Sequence[int]) -> Sequence[Bytes]:
        """Fragments by their indices, from exactly k others."""
        ...


class _IsaL:
    """ISA-L. pyeclib's driver may be used from several threads, and lets them run while it works."""

    def __init__(self, driver: Any, k: int) -> None:
        self._driver = driver
        self._k = k
        self._template: bytes = driver.encode(bytes(k * ALIGNMENT))[0][:_HEADER]

    def parity(self, fragments: Sequence[Bytes]) -> Sequence[Bytes]:
        made = []
        for at in range(0, len(fragments[0]), _BLOCK):
            made.append(self._driver.encode(b"".join([each[at : at + _BLOCK] for each in fragments]))[self._k :])
        return [b"".join([memoryview(each)[_HEADER:] for each in blocks]) for blocks in zip(*made, strict=True)]

    def rebuild(self, fragments: Mapping[int, Bytes], indices: Sequence[int]) -> Sequence[Bytes]:
        headed = [b"".join((self._header(number, len(each)), each)) for number, each in fragments.items()]
        if len(indices) < _MANY or max(indices) >= self._k:
            return [memoryview(self._driver.reconstruct(headed, [index])[0])[_HEADER:] for index in indices]
        whole = _cut(self._driver.decode(headed), self._k)
        return [whole[index] for index in indices]

    def _header(self, index: int, size: int) -> bytes:
        """What pyeclib writes before a fragment: index, size, size of the stripe, checksums of nothing, versions, and a CRC of all that."""
        meta = _META.pack(index, size, 0, size * self._k) + self._template[_META.size : 59]
        return meta + self._template[59:67] + struct.pack("<I", zlib.crc32(meta)) + bytes(9)


class _Plain:
    """The code as the format says it, in Python."""

    def __init__(self, k: int, n: int) -> None:
        self._k, self._n = k, n

    def parity(self, fragments: Sequence[Bytes]) -> Sequence[Bytes]:
        return cauchy.encode(self._k, self._n, [bytes(each) for each in fragments])[self._k :]

    def rebuild(self, fragments: Mapping[int, Bytes], indices: Sequence[int]) -> Sequence[Bytes]:
        plain = {number: bytes(each) for number, each in fragments.items()}
        return [cauchy.rebuild(self._k, plain, index) for index in indices]


class Code:
    """One code: makes the fragments of a stripe, and the stripe or any fragment from k of them. For any thread."""

    def __init__(self, k: int, n: int, engine: _Engine) -> None:
        self.k, self.n = k, n
        self._engine = engine

    def encode(self, stripe: Bytes) -> list[Bytes]:
        """The n fragments of a stripe of k fragments, padded already: the first k are views of it."""
        if not len(stripe) or len(stripe) % (self.k * ALIGNMENT):
            raise InvalidInput(f"a stripe of {len(stripe)} bytes is not {self.k} fragments of a multiple of {ALIGNMENT}")
        fragments: list[Bytes] = [*_cut(stripe, self.k)]
        if self.k == 1:
            return fragments * self.n
        return [*fragments, *self._engine.parity(fragments)] if self.n > self.k else fragments

    def decode(self, fragments: Mapping[int, Bytes]) -> bytes:
        """The stripe, from any k of its fragments by index. Raises `InvalidInput` for fewer, or for fragments that do not fit."""
        return b"".join(self.rebuild(fragments, range(self.k)))

    def rebuild(self, fragments: Mapping[int, Bytes], indices: Sequence[int]) -> list[Bytes]:
        """Fragments of a stripe by index: those that are there, and the others from any k. Raises `InvalidInput` as `decode` does."""
        if not all(0 <= index < self.n for index in indices):
            raise InvalidInput(f"there are no fragments {list(indices)} among {self.n}", indices=list(indices))
        missing = [index for index in indices if index not in fragments]
        if not missing:
            return [fragments[index] for index in indices]
        chosen = self._chosen(fragments)
        found = [next(iter(chosen.values()))] * len(missing) if self.k == 1 else self._engine.rebuild(chosen, missing)
        made = dict(zip(missing, found, strict=True))
        return [made[index] if index in made else fragments[index] for index in indices]

    def _chosen(self, fragments: Mapping[int, Bytes]) -> dict[int, Bytes]:
        """As many of the fragments as it takes, those first that are the stripe's own bytes."""
        chosen = {index: fragments[index] for index in sorted(fragments)[: self.k]}
        sizes = {len(each) for each in chosen.values()}
        if len(chosen) < self.k:
            raise InvalidInput(f"{len(chosen)} fragments of a stripe are too few: it takes {self.k}", have=len(chosen), k=self.k)
        if len(sizes) > 1 or not all(0 <= index < self.n for index in chosen) or min(sizes) % ALIGNMENT or not min(sizes):
            raise InvalidInput("the fragments are not of one stripe: they differ in size, or their numbers are none of the code's")
        return chosen


@lru_cache(maxsize=64)
def code_of(k: int, n: int) -> Code:
    """The code with these numbers. Raises `InvalidInput` if there is none, `InternalFault` if this machine's makes other shards."""
    check_code(k, n)
    engine = _fast(k, n) or _Plain(k, n)
    code = Code(k, n, engine)
    stripe = bytes((number * 7 + number // 251) % 256 for number in range(k * ALIGNMENT))
    expected = cauchy.encode(k, n, [bytes(each) for each in _cut(stripe, k)])
    if list(map(bytes, code.encode(stripe))) != expected:
        raise InternalFault(
            f"this machine's erasure code makes other shards than the format's, for {k} of {n}: "
            "install the pyeclib that requirements.lock names, or none, which is slow",
            k=k,
            n=n,
        )
    return code


def is_fast() -> bool:
    """Whether ISA-L is there."""
    return _fast(2, 3) is not None


def _fast(k: int, n: int) -> _Engine | None:
    try:
        from pyeclib.ec_iface import VALID_EC_TYPES, ECDriver
    except ImportError:
        return None
    if _TYPE not in VALID_EC_TYPES:
        return None
    return _IsaL(ECDriver(k=k, m=n - k, ec_type=_TYPE), k) if 1 < k < n else None


def _cut(stripe: Bytes, k: int) -> list[memoryview]:
    """A stripe's k fragments, as views."""
    view = memoryview(stripe)
    size = len(stripe) // k
    return [view[index * size : (index + 1) * size] for index in range(k)]
