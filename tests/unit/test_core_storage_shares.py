"""What a person gets who is let in: as it was sealed, and nothing that its sharer makes up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from surge.core import canonical
from surge.core.storage import records, shares
from surge.core.storage.catalogue import Keys
from surge.core.storage.header import Header, Kind
from surge.core.storage.shares import RECEIVING, Share
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault
from surge.wallet import KeySigner, ReceivingKey, seal

SHARER, FRIEND, STRANGER = (KeySigner(bytes([number]) * 32) for number in (1, 2, 3))
KEYS = Keys(b"o" * 32, b"c" * 32, b"m" * 32, b"k" * 32, Address("0x" + "11" * 20))
SHARE = Share("talk/ü.pdf", KEYS, Header(5, Kind.FILE, k=2, n=4), 7, 9)
LABEL = b"l" * 32


def fields(**changed: Any) -> bytes:
    said = {
        **{"version": 1, "name": "a", "keys": [b"o" * 32, b"c" * 32, b"m" * 32, b"", KEYS.author], "size": 5, "kind": "file"},
        **{"segment_size": 32 << 20, "k": 2, "n": 4, "created": 7, "expires": 9},
    }
    return canonical.encode(list({**said, **changed}.values()))


def test_a_share_is_what_was_sealed_without_the_key_of_the_map() -> None:
    found = shares.decode(shares.encode(SHARE))
    assert found == replace(SHARE, keys=replace(KEYS, map=b""))
    assert shares.decode(fields()).header == Header(5, Kind.FILE, k=2, n=4)


@pytest.mark.parametrize(
    "changed",
    [
        *({"version": version} for version in (0, 2, True, None)),
        *({"name": name} for name in ("", "../up", "/etc/passwd", "a\nb", 5, "x" * 1025)),
        *({"size": size} for size in (-1, 1 << 60, 1 << 61, True, "5")),
        *({"kind": kind} for kind in ("link", 1, None)),
        *({"k": 5}, {"n": 33}, {"k": 0}, {"segment_size": 3}, {"created": -1}, {"expires": 1 << 61}),
        *(
            {"keys": keys}
            for keys in ([], None, [b"", b"", b"", b"", KEYS.author], [b"o" * 32, b"c" * 32, b"m" * 32, b"k" * 32, KEYS.author])
        ),
    ],
    ids=str,
)
def test_what_a_sharer_makes_up_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(PeerFault):
        shares.decode(fields(**changed))


@pytest.mark.parametrize("data", [b"", b"\xff", canonical.encode({"a": 1}), bytes(5000)])
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        shares.decode(data)


def test_a_share_opens_as_this_record_for_this_person_only() -> None:
    key = ReceivingKey(FRIEND.derive(b"receiving files"))
    about = shares.about(SHARER.address, FRIEND.address, LABEL)
    envelope = seal(key.public, about, shares.encode(SHARE))
    assert shares.decode(key.open(envelope, about)).name == SHARE.name
    for other in (
        shares.about(STRANGER.address, FRIEND.address, LABEL),
        shares.about(SHARER.address, STRANGER.address, LABEL),
        shares.about(SHARER.address, FRIEND.address, bytes(32)),
    ):
        with pytest.raises(PeerFault):
            key.open(envelope, other)
    with pytest.raises(PeerFault):
        ReceivingKey(STRANGER.derive(b"receiving files")).open(envelope, about)


def test_a_key_as_text_proves_whose_it_is() -> None:
    public = ReceivingKey(FRIEND.derive(b"receiving files")).public
    record = records.sign(FRIEND, RECEIVING, 1, public)
    text = shares.key_text(record)
    assert shares.parse_key(f" {text}\n") == record
    assert shares.public_key(record, FRIEND.address) == public
    forged = replace(record, author=STRANGER.address)
    for wrong in (text[:-4], text + "A", "surge://key/", "", text.replace("surge", "http"), shares.key_text(forged)):
        with pytest.raises(InvalidInput, match="this is no key"):
            shares.parse_key(wrong)
    with pytest.raises(PeerFault):
        shares.public_key(record, STRANGER.address)
    for label, body in ((bytes(32), public), (RECEIVING, public[:31]), (RECEIVING, b"")):
        with pytest.raises(InvalidInput, match="this is no key"):
            shares.parse_key(shares.key_text(records.sign(FRIEND, label, 1, body)))


def test_a_link_names_a_record() -> None:
    assert shares.parse_link(f" {shares.link(SHARER.address, LABEL)}\n") == (SHARER.address, LABEL)
