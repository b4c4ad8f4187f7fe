"""Keccak-256 as Ethereum uses it.

Every receipt costs four of these digests, so the object that pycryptodome makes for each is left out where its C functions can be called
directly; where they cannot, its public interface serves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from Crypto.Hash import keccak as _public
from Crypto.Util import _raw_api

_CAPACITY, _ROUNDS, _PADDING = 64, 24, 1


def _plain(data: bytes) -> bytes:
    return _public.new(digest_bits=256, data=data).digest()


class _State(threading.local):
    """One hash state for each thread: the C functions run without the interpreter's lock."""

    def __init__(self) -> None:
        self.library: Any = vars(_public)["_raw_keccak_lib"]
        holder = _raw_api.VoidPointer()
        if self.library.keccak_init(holder.address_of(), _CAPACITY, _ROUNDS):
            raise MemoryError("no room for a hash state")
        self.state = holder.get()
        self.out = _raw_api.ffi.new("uint8_t[32]")
        self.digest = _raw_api.ffi.buffer(self.out)


def _direct() -> Callable[[bytes], bytes]:
    """The quick way, or the plain one where pycryptodome was built otherwise."""
    if getattr(_raw_api, "backend", "") != "cffi":
        return _plain
    local = _State()

    def quick(data: bytes) -> bytes:
        library, state = local.library, local.state
        library.keccak_reset(state)
        library.keccak_absorb(state, data, len(data))
        library.keccak_digest(state, local.out, 32, _PADDING)
        return bytes(local.digest)

    return quick if quick(b"surge") == _plain(b"surge") == quick(b"surge") else _plain


keccak256: Callable[[bytes], bytes] = _direct()
"""The Keccak-256 digest of some bytes: 32 bytes."""
