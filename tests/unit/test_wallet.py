"""Keys: files only their owner reads, no way for a key to slip out, passphrases, damage, and a known derivation."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account

from surge.core.signing import recover
from surge.errors import InternalFault, InvalidInput
from surge.wallet import KeySigner, Keystore

SECRET = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
MNEMONIC = "test test test test test test test test test test test junk"


@pytest.fixture
def keys(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keys")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_their_owners_only(keys: Keystore) -> None:
    before = os.umask(0)
    try:
        again = Keystore(keys.folder.parent / "others")
        again.create("plain")
    finally:
        os.umask(before)
    keys.create("plain")
    keys.import_key("imported", SECRET)
    session = keys.create_session()
    assert mode(keys.folder) == mode(again.folder) == 0o700
    assert {mode(path) for folder in (keys.folder, again.folder) for path in folder.iterdir()} == {0o600}
    assert keys.load_session(session.address).address == session.address


def test_a_key_comes_back_and_a_name_is_taken_once(keys: Keystore) -> None:
    signer = keys.create("mine")
    assert keys.load("mine").address == signer.address == keys.address("mine")
    with pytest.raises(InvalidInput, match="already"):
        keys.create("mine")
    assert keys.load("mine").address == signer.address
    assert keys.load_or_create("mine").address == signer.address
    assert keys.load_or_create("other").address != signer.address
    assert list(keys.list()) == ["mine", "other"]
    assert [path.suffix for path in keys.folder.iterdir()] == [".json", ".json"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a.b", "x" * 65, "a\n", "-x", "ü"])
def test_what_is_no_name_is_refused(keys: Keystore, name: str) -> None:
    for ask in (keys.create, keys.load, keys.has, keys.address):
        with pytest.raises(InvalidInput, match="no key name"):
            ask(name)
    assert list(keys.folder.parent.iterdir()) == [keys.folder]


def test_a_missing_key_says_what_makes_one(keys: Keystore) -> None:
    with pytest.raises(InvalidInput, match="surge wallet new nobody"):
        keys.load("nobody")


@pytest.mark.parametrize("text", [SECRET, "0x" + SECRET, f"  0x{SECRET}\n", SECRET.upper()])
def test_keys_made_elsewhere(keys: Keystore, text: str) -> None:
    assert keys.import_key("theirs", text).address == "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"


@pytest.mark.parametrize("text", ["", "0x", "zz" * 32, SECRET[:-2], SECRET + "00", "00" * 32, "ff" * 32])
def test_what_is_no_key_is_refused_and_not_repeated(keys: Keystore, text: str) -> None:
    with pytest.raises(InvalidInput) as found:
        keys.import_key("theirs", text)
    assert not text or len(text) < 4 or text not in str(found.value)
    assert not keys.has("theirs")


def test_a_key_cannot_be_printed_pickled_or_copied() -> None:
    signer = KeySigner(bytes.fromhex(SECRET))
    assert repr(signer) == str(signer) == f"KeySigner({signer.address})"
    assert SECRET not in f"{signer!r} {signer} {[signer]}"
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InvalidInput, match="does not travel"):
            way(signer)
    with pytest.raises(TypeError):
        vars(signer)


def test_the_derivation_that_wallets_use() -> None:
    assert KeySigner.from_mnemonic(MNEMONIC).address == "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    assert KeySigner.from_mnemonic(MNEMONIC, 1).address == "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33)])
def test_only_digests_are_signed(digest: bytes) -> None:
    with pytest.raises(InvalidInput, match="32 bytes"):
        KeySigner.random().sign(digest)


def test_signatures_are_deterministic_and_low() -> None:
    signer = KeySigner.random()
    for number in range(50):
        digest = number.to_bytes(32, "big")
        assert signer.sign(digest) == signer.sign(digest)
        assert recover(digest, signer.sign(digest)) == signer.address


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key derivation of few rounds: what protects a key is not what is tested here."""
    encrypt = Account.encrypt
    monkeypatch.setattr(Account, "encrypt", lambda secret, passphrase: encrypt(secret, passphrase, kdf="pbkdf2", iterations=10))


@pytest.mark.usefixtures("quick")
def test_a_passphrase_protects_the_file(keys: Keystore) -> None:
    signer = keys.import_key("safe", SECRET, "open sesame")
    text = (keys.folder / "safe.json").read_text()
    assert SECRET not in text
    assert json.loads(text)["version"] == 3
    assert mode(keys.folder / "safe.json") == 0o600
    assert keys.load("safe", "open sesame").address == signer.address == keys.list()["safe"]
    assert bytes(Account.decrypt(text, "open sesame")).hex() == SECRET
    with pytest.raises(InvalidInput, match="wrong"):
        keys.load("safe", "open barley")
    with pytest.raises(InvalidInput, match="SURGE_PASSPHRASE"):
        keys.load("safe")
    made = keys.load_or_create("made", "open sesame")
    assert "crypto" in json.loads((keys.folder / "made.json").read_text())
    assert keys.load_or_create("made", "open sesame").address == made.address


DAMAGED = {
    "nothing": b"",
    "half a file": b'{"address": "0x2c75',
    "no object": b"[]",
    "a number": b"7",
    "not UTF-8": b"\xff\xfe\x00",
    "no key": b'{"address": "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"}',
    "a key of null": b'{"address": "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23", "key": null}',
    "a key that is short": b'{"address": "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23", "key": "4c08"}',
    "a key of zeros": json.dumps({"address": "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23", "key": "00" * 32}).encode(),
    "another address": json.dumps({"address": "0x" + "11" * 20, "key": SECRET}).encode(),
    "a deep nest": b"[" * 100_000,
    "half a crypto": b'{"address": "2c7536e3605d9c16a7a3d7b1898e529396a65c23", "version": 3, "crypto": {"cipher": "aes-128-ctr"}}',
    "a crypto of null": b'{"address": "2c7536e3605d9c16a7a3d7b1898e529396a65c23", "version": 3, "crypto": null}',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_says_so_and_is_not_replaced(keys: Keystore, data: bytes) -> None:
    path = keys.folder / "mine.json"
    path.write_bytes(data)
    with pytest.raises(InternalFault, match="damaged"):
        keys.load("mine", "a passphrase")
    with pytest.raises(InternalFault, match="damaged"):
        keys.load_or_create("mine") if b"crypto" not in data else keys.load("mine", "x")
    with pytest.raises(InvalidInput, match="already"):
        keys.create("mine")
    assert path.read_bytes() == data


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"address": 5}', b'{"address": "0x12"}'])
def test_a_listing_names_the_damaged_file(keys: Keystore, data: bytes) -> None:
    keys.create("good")
    (keys.folder / "bad.json").write_bytes(data)
    with pytest.raises(InternalFault, match=r"bad\.json is damaged"):
        keys.list()


def test_using_a_wallet_keeps_the_bound_on_recursion() -> None:
    program = (
        "import sys; before = sys.getrecursionlimit(); import surge.ledger; from surge.wallet import KeySigner; "
        f"KeySigner.from_mnemonic({MNEMONIC!r}); print(sys.getrecursionlimit() == before)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "True\n"


def test_what_follows_from_a_key_is_the_same_on_every_machine_and_another_for_every_purpose(tmp_path: Path) -> None:
    secret = "22" * 32
    here, there = Keystore(tmp_path / "here"), Keystore(tmp_path / "there")
    first, second = here.import_key("default", secret), there.import_key("restored", secret)
    assert first.derive(b"files") == second.derive(b"files") == there.derive("restored", b"files")
    assert first.derived(b"files").address == second.derived(b"files").address
    assert len({first.derive(purpose) for purpose in (b"files", b"files ", b"receiving", b"")}) == 4
    assert first.derived(b"files").address != first.address
