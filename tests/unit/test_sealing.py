"""Envelopes: one key opens them, for one purpose; and whatever else arrives is a peer's fault."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from surge.core.messages import MAX_ENVELOPE, MAX_SEALED, Envelope, decode_envelope, encode_envelope, inputs_info
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault
from surge.wallet import Keystore, ReceivingKey, seal
from surge.wallet.sealing import OVERHEAD, SUITE

KEY = ReceivingKey(bytes(range(32)))
COURT, JUROR = Address("0x" + "c0" * 20), Address("0x" + "1a" * 20)
INFO = inputs_info(bytes(32), COURT, 7, JUROR)


def test_what_is_sealed_is_opened_by_its_key_and_differs_each_time() -> None:
    one, two = (seal(KEY.public, INFO, b"content") for _ in range(2))
    assert KEY.open(decode_envelope(encode_envelope(one)), INFO) == b"content"
    assert one != two
    assert b"content" not in encode_envelope(one)
    assert len(one.sealed) == len(b"content") + OVERHEAD


def test_an_envelope_opens_for_nobody_else_and_about_nothing_else() -> None:
    envelope = seal(KEY.public, INFO, b"content")
    others = [
        inputs_info(b"\1" + bytes(31), COURT, 7, JUROR),
        inputs_info(bytes(32), JUROR, 7, JUROR),
        inputs_info(bytes(32), COURT, 8, JUROR),
        inputs_info(bytes(32), COURT, 7, COURT),
    ]
    for key, info in [(ReceivingKey(bytes(32)), INFO), *((KEY, other) for other in others)]:
        with pytest.raises(PeerFault):
            key.open(envelope, info)
    for at in (0, 40, len(envelope.sealed) - 1):
        damaged = bytearray(envelope.sealed)
        damaged[at] ^= 1
        with pytest.raises(PeerFault):
            KEY.open(Envelope(*SUITE, bytes(damaged)), INFO)


def test_the_suite_is_that_of_the_rfc_and_no_other_is_opened() -> None:
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    sealed = suite.encrypt(b"from elsewhere", X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key(), INFO)
    assert KEY.open(Envelope(0x20, 1, 2, sealed), INFO) == b"from elsewhere"
    for numbers in ((0x10, 1, 2), (0x20, 2, 2), (0x20, 1, 1), (0x20, 1, 3)):
        with pytest.raises(PeerFault, match="suite"):
            KEY.open(Envelope(*numbers, sealed), INFO)


# RFC 9180, appendix A.1 names keys for the X25519 KEM; its recipient's public key follows from its private key.
RFC_PRIVATE = "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"
RFC_PUBLIC = "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"


def test_keys_are_those_of_the_rfc() -> None:
    assert ReceivingKey(bytes.fromhex(RFC_PRIVATE)).public.hex() == RFC_PUBLIC


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), b"\1" + bytes(31)])
def test_nothing_is_sealed_for_a_key_that_everybody_could_open(public: bytes) -> None:
    with pytest.raises(InvalidInput):
        seal(public, INFO, b"content")


def test_more_than_an_envelope_holds_is_not_sealed() -> None:
    with pytest.raises(InvalidInput, match="more than"):
        seal(KEY.public, INFO, bytes(MAX_SEALED - OVERHEAD + 1))


BAD: dict[str, Any] = {
    "nothing": b"",
    "no array": msgspec.msgpack.encode({"kem": 1}),
    "too few fields": msgspec.msgpack.encode([1, 2, bytes(48)]),
    "too many fields": msgspec.msgpack.encode([1, 2, 3, bytes(48), 0]),
    "too short to hold a key and a tag": msgspec.msgpack.encode([1, 2, 3, bytes(47)]),
    "a number out of bounds": msgspec.msgpack.encode([1 << 16, 2, 3, bytes(48)]),
    "a negative number": msgspec.msgpack.encode([1, -2, 3, bytes(48)]),
    "text": msgspec.msgpack.encode([1, 2, 3, "a" * 48]),
    "bytes behind it": msgspec.msgpack.encode([1, 2, 3, bytes(48)]) + b"x",
    "more than there may be": bytes(MAX_ENVELOPE + 1),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_envelope_is_a_peers_fault(name: str) -> None:
    with pytest.raises(PeerFault):
        decode_envelope(BAD[name])


def test_a_receiving_key_is_kept_like_other_keys_and_comes_back(tmp_path: Path) -> None:
    keys = Keystore(tmp_path)
    made = keys.receiving("inputs")
    assert Keystore(tmp_path).receiving("inputs").public == made.public
    assert keys.receiving("other").public != made.public
    assert keys.receiving("secret", "a passphrase").public == keys.receiving("secret", "a passphrase").public
    assert "crypto" in json.loads((tmp_path / "secret.json").read_bytes())
    with pytest.raises(InvalidInput, match="wrong"):
        keys.receiving("secret", "another")
    with pytest.raises(InvalidInput, match="SURGE_PASSPHRASE"):
        keys.receiving("secret")
    assert {(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {0o600}


def test_what_follows_from_a_key_differs_by_purpose_and_is_not_the_key(tmp_path: Path) -> None:
    keys = Keystore(tmp_path)
    keys.create("mine")
    one, two = keys.derive("mine", b"one"), keys.derive("mine", b"two")
    assert len({one, two, bytes.fromhex(json.loads((tmp_path / "mine.json").read_bytes())["key"])}) == 3
    assert keys.derive("mine", b"one") == one
    with pytest.raises(InvalidInput, match="no key"):
        keys.derive("nobody", b"one")


def test_a_receiving_key_does_not_slip_out() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InvalidInput):
            leak(KEY)
