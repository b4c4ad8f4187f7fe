"""A folder of keys: one file each, readable by its owner only, optionally under a passphrase.

Without a passphrase a key file is plain JSON; with one it is a Web3 secret storage file, version 3, which every Ethereum wallet
opens.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, NoReturn

from coincurve import PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from surge.core.signing import address_of_public_key
from surge.core.stack import same_recursion_limit
from surge.core.types import Address, address
from surge.errors import InternalFault, InvalidInput
from surge.wallet.sealing import ReceivingKey

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
MAX_FILE = 16 << 10
"""Bytes of a key file: what is larger was not written by a wallet."""

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class KeySigner:
    """Signs digests with one key. The key cannot be read, printed or pickled through it."""

    __slots__ = ("_address", "_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < _ORDER:
            raise InvalidInput("a private key is 32 bytes, above zero and below the group's order")
        self._key = PrivateKey(secret)
        self._address = address_of_public_key(self._key.public_key.format(compressed=False))

    @classmethod
    def random(cls) -> KeySigner:
        """A new key that is kept nowhere."""
        while True:
            secret = secrets.token_bytes(32)
            if 0 < int.from_bytes(secret, "big") < _ORDER:
                return cls(secret)

    @classmethod
    def from_mnemonic(cls, mnemonic: str, index: int = 0) -> KeySigner:
        """The key that wallets derive from a BIP-39 mnemonic at m/44'/60'/0'/0/index."""
        with same_recursion_limit():
            from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

        return cls(bytes(key_from_seed(seed_from_mnemonic(mnemonic, ""), f"m/44'/60'/0'/0/{index}")))

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        return self._address

    def sign(self, digest: bytes) -> bytes:
        """The signature over a 32-byte digest: 65 bytes r, s, v with low s and v 27 or 28."""
        if len(digest) != 32:
            raise InvalidInput(f"a digest is 32 bytes, not {len(digest)}")
        signature = self._key.sign_recoverable(digest, hasher=None)
        return bytes(signature[:64] + bytes((signature[64] + 27,)))

    def derive(self, purpose: bytes) -> bytes:
        """A secret of 32 bytes that follows from the key and a purpose, by HKDF-SHA256 (RFC 5869): it tells nothing about the key."""
        return HKDF(SHA256(), 32, salt=None, info=b"surge derived 1 " + purpose).derive(self._key.secret)

    def derived(self, purpose: bytes) -> KeySigner:
        """The key that follows from this one and a purpose."""
        return KeySigner(self.derive(purpose))

    def __repr__(self) -> str:
        return f"KeySigner({self._address})"

    def __reduce__(self) -> NoReturn:
        raise InvalidInput("a key does not travel: it is not pickled or copied")


class Keystore:
    """Keys by name in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, name: str, passphrase: str | None = None) -> KeySigner:
        """Make a key. Raises `InvalidInput` if the name is taken."""
        while True:
            secret = secrets.token_bytes(32)
            if 0 < int.from_bytes(secret, "big") < _ORDER:
                return self._keep(name, secret, passphrase)

    def import_key(self, name: str, secret_hex: str, passphrase: str | None = None) -> KeySigner:
        """Keep a key made elsewhere: 64 hex digits, with or without 0x."""
        try:
            secret = bytes.fromhex(secret_hex.strip().removeprefix("0x"))
        except ValueError as error:
            raise InvalidInput("a private key is 64 hex digits") from error
        return self._keep(name, secret, passphrase)

    def load(self, name: str, passphrase: str | None = None) -> KeySigner:
        """The key of this name. Raises `InvalidInput` if there is none or the passphrase is wrong."""
        return KeySigner(self._secret(name, passphrase))

    def load_or_create(self, name: str, passphrase: str | None = None) -> KeySigner:
        """The key of this name, made if there is none; then under the passphrase, if one is given."""
        return self.load(name, passphrase) if self.has(name) else self.create(name, passphrase)

    def receiving(self, name: str, passphrase: str | None = None) -> ReceivingKey:
        """The key of this name for receiving: an X25519 key that follows from it. Made like `load_or_create` if there is none."""
        self.load_or_create(name, passphrase)
        return ReceivingKey(self.derive(name, b"receiving", passphrase))

    def derive(self, name: str, purpose: bytes, passphrase: str | None = None) -> bytes:
        """What follows from the key of this name and a purpose: see `KeySigner.derive`.

        Raises `InvalidInput` if there is no such key or the passphrase is wrong.
        """
        return self.load(name, passphrase).derive(purpose)

    def has(self, name: str) -> bool:
        """Whether there is a key of this name."""
        return self._path(name).is_file()

    def list(self) -> dict[str, Address]:
        """Every key's name and address."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            if _NAME.match(path.stem):
                found[path.stem] = self.address(path.stem)
        return found

    def address(self, name: str) -> Address:
        """A key's address, without opening it."""
        try:
            return address("0x" + str(self._read(name).get("address", "")).removeprefix("0x"))
        except InvalidInput as error:
            if not self.has(name):
                raise
            raise InternalFault(f"the key file {self._path(name)} is damaged: it names no address", path=str(self._path(name))) from error

    def create_session(self) -> KeySigner:
        """A fresh key for one channel, kept under its own address."""
        signer_secret = secrets.token_bytes(32)
        signer = KeySigner(signer_secret)
        return self._keep(f"session-{signer.address[2:]}", signer_secret, None)

    def load_session(self, of: Address) -> KeySigner:
        """The session key with this address."""
        return self.load(f"session-{of[2:]}")

    def _secret(self, name: str, passphrase: str | None) -> bytes:
        document = self._read(name)
        if "crypto" in document:
            return self._decrypt(document, name, passphrase)
        try:
            secret = bytes.fromhex(document["key"])
            signer = KeySigner(secret)
        except (KeyError, ValueError, TypeError, InvalidInput) as error:
            raise InternalFault(f"the key file {self._path(name)} is damaged", path=str(self._path(name))) from error
        if signer.address != document.get("address"):
            raise InternalFault(f"the key file {self._path(name)} is damaged: its address is another", path=str(self._path(name)))
        return secret

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise InvalidInput(f"{name!r} is no key name: letters, digits, dashes, underscores, at most 64", name=name)
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any]:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
            document = json.loads(data) if len(data) <= MAX_FILE else None
        except FileNotFoundError as error:
            raise InvalidInput(f"there is no key {name!r} in {self.folder}: `surge wallet new {name}` makes one", name=name) from error
        except (ValueError, RecursionError) as error:
            raise InternalFault(f"the key file {path} is damaged", path=str(path)) from error
        if not isinstance(document, dict):
            raise InternalFault(f"the key file {path} is damaged", path=str(path))
        return document

    def _keep(self, name: str, secret: bytes, passphrase: str | None) -> KeySigner:
        signer = KeySigner(secret)
        path = self._path(name)
        document: dict[str, Any] = {"address": signer.address, "key": secret.hex()}
        if passphrase is not None:
            with same_recursion_limit():
                from eth_account import Account

            document = Account.encrypt(secret, passphrase)
        self._write_once(path, json.dumps(document).encode())
        return signer

    def _write_once(self, path: Path, data: bytes) -> None:
        """Write a file that must not exist, durably, readable by its owner only."""
        beside = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, path)
        except FileExistsError as error:
            raise InvalidInput(f"there is a key {path.stem!r} already in {self.folder}", name=path.stem) from error
        finally:
            beside.unlink(missing_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _decrypt(self, document: dict[str, Any], name: str, passphrase: str | None) -> bytes:
        with same_recursion_limit():
            from eth_account import Account

        if passphrase is None:
            raise InvalidInput(f"the key {name!r} is under a passphrase: set $SURGE_PASSPHRASE", name=name)
        try:
            return bytes(Account.decrypt(document, passphrase))
        except ValueError as error:
            if "MAC" in str(error):
                raise InvalidInput(f"the passphrase of the key {name!r} is wrong", name=name) from error
            raise InternalFault(f"the key file {self._path(name)} is damaged: {error}", path=str(self._path(name))) from error
        except (KeyError, TypeError, AttributeError, NotImplementedError) as error:
            raise InternalFault(f"the key file {self._path(name)} is damaged", path=str(self._path(name))) from error
