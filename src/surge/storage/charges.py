"""What a keeper is charged with: objects, with what it takes to prove, pay, find and rebuild their shards, and nothing that opens them.

An owner's own keeper finds them in the catalogue. A delegate has them in a bundle: a file with the key of a wallet that holds what it may
spend, the owner's address, and for each object its id, mask secret, map key, how it is cut, and until when it is kept. Names and object
keys are not in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from surge.core import canonical
from surge.core.storage.catalogue import Keys
from surge.core.storage.header import Header, Kind
from surge.core.storage.masks import SECRET
from surge.core.types import Address, address
from surge.errors import InvalidInput
from surge.storage.client import Storage
from surge.wallet import KeySigner

VERSION: Final = 1

MOST_BYTES: Final = 64 << 20
"""Of a bundle: 300,000 objects."""

NO_KEY: Final = bytes(SECRET)
"""In place of the object key."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One object that is kept."""

    name: str
    """What its owner calls it; what it is numbered, where that is not told."""
    keys: Keys
    """Its keys, with `NO_KEY` in place of the one that opens it."""
    header: Header
    """How it is cut."""
    expires: int
    """Until when it is kept, in Unix seconds; 0 for as long as its keeper goes on."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a delegate gets."""

    network: bytes
    """The id of the network that it is for: 32 bytes."""
    owner: Address
    """Whose objects they are, and whom a slashed pledge compensates."""
    wallet: bytes
    """The private key of the wallet that pays: 32 bytes."""
    charges: tuple[Charge, ...]
    """What is kept."""

    @property
    def signer(self) -> KeySigner:
        """The wallet."""
        return KeySigner(self.wallet)


def charge_of(name: str, keys: Keys, header: Header, expires: int) -> Charge:
    """A charge, without the key that opens the object."""
    return Charge(name, replace(keys, content=NO_KEY), header, expires)


async def owned(storage: Storage) -> list[Charge]:
    """All objects of a wallet's own catalogue that it may keep: not those that others share with it."""
    names = await storage.book.read()
    found = [(name, entry, entry.keys) for name, entry in sorted(names.items())]
    return [charge_of(name, keys, entry.header, entry.expires) for name, entry, keys in found if keys is not None and keys.map]


def encode(bundle: Bundle) -> bytes:
    """The canonical bytes of a bundle."""
    rows = []
    for each in bundle.charges:
        header = each.header
        cut = [header.size, header.segment_size, header.k, header.n]
        rows.append([each.keys.object, each.keys.mask, each.keys.map, cut, each.expires])
    return canonical.encode([VERSION, bundle.network, bundle.owner, bundle.wallet, rows])


def decode(data: bytes) -> Bundle:
    """The bundle in a file. Raises `InvalidInput`."""
    try:
        version, network, owner, wallet, rows = canonical.decode(data)
        if version != VERSION:
            raise InvalidInput(f"it is of version {version!r}: a newer Surge wrote it")
        if any(type(each) is not bytes or len(each) != SECRET for each in (network, wallet)):
            raise InvalidInput("its network or its wallet is none")
        return Bundle(network, address(owner), wallet, tuple(_charge(number, row) for number, row in enumerate(rows)))
    except (InvalidInput, TypeError, ValueError) as error:
        raise InvalidInput(f"this is no keeper's bundle: {error}") from error


def _charge(number: int, row: Any) -> Charge:
    object_id, mask, map_key, (size, segment_size, k, n), expires = row
    if any(type(each) is not bytes or len(each) != SECRET for each in (object_id, mask, map_key)) or type(expires) is not int:
        raise InvalidInput(f"object {number} has a key that is none")
    keys = Keys(object_id, NO_KEY, mask, map_key, KeySigner(map_key).address)
    return Charge(f"object {object_id.hex()[:12]}", keys, Header(size, Kind.FILE, segment_size, k, n), expires)


def write(path: Path, bundle: Bundle) -> None:
    """Write a bundle for its owner's eyes only; whole or not at all. Raises `InvalidInput`."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(encode(bundle))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}", path=str(path)) from error


def read(path: Path) -> Bundle:
    """The bundle in a file. Raises `InvalidInput`."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if len(data) > MOST_BYTES:
        raise InvalidInput(f"{path} is no keeper's bundle: it has more than {MOST_BYTES} bytes", path=str(path))
    return decode(data)
