"""A made-up object, known down to its roots: Surge, and a program written from docs/storage.md alone, both come to what is published.

`python tests/unit/test_storage_vectors.py` writes tests/vectors/storage.json again.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import plain_storage as plain
from surge.core.storage import header as headers
from surge.core.storage import map as maps
from surge.core.storage import records
from surge.core.storage.chunks import Chunks
from surge.core.storage.header import Header, open_header
from surge.core.storage.layout import MIB
from surge.core.storage.map import Page, Placed, Segment, Shard, check_page, open_page
from surge.core.storage.masks import Place, segment_tag
from surge.core.storage.trees import Writer
from surge.core.types import Address
from surge.storage.coding import CodedShard, code_segment
from surge.wallet import KeySigner

VECTORS = Path(__file__).parents[1] / "vectors" / "storage.json"
OBJECT_ID, OBJECT_KEY, MASK_SECRET = (bytes([number]) * 32 for number in (1, 2, 3))
MAP_KEY = KeySigner(bytes([4]) * 32)
HEADER = Header(MIB + 100_000, segment_size=MIB, k=2, n=4)
LAYOUT = HEADER.layout
PRICE, ENDS = 2 * 10**15, 1_900_000_000


def content(size: int) -> bytes:
    """SHA-256 of 0, 1, 2 and so on, as four bytes, in a row."""
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(-(-size // 32)))[:size]


def device(index: int) -> Address:
    return Address("0x" + bytes([16 + index]).hex() * 20)


def operator(index: int) -> Address:
    return Address("0x" + bytes([32 + index]).hex() * 20)


def deal(segment: int, index: int) -> bytes:
    return bytes([64 + segment, 64 + index]) * 16


def segment_of(number: int) -> bytes:
    return content(HEADER.size)[number * MIB : (number + 1) * MIB]


def coded(number: int) -> list[CodedShard]:
    places = [Place(OBJECT_ID, number, index, device(index), deal(number, index)) for index in range(LAYOUT.n)]
    return code_segment(LAYOUT.segment(number), Chunks(OBJECT_KEY, OBJECT_ID), MASK_SECRET, places, io.BytesIO(segment_of(number)).readinto)


def page() -> Page:
    segments = []
    for number in range(LAYOUT.segments):
        shards = [
            Shard(shard.check, Placed(device(index), operator(index), deal(number, index), shard.root, PRICE, ENDS))
            for index, shard in enumerate(coded(number))
        ]
        segments.append(Segment(LAYOUT.segment(number), tuple(shards)))
    return Page(OBJECT_ID, 0, LAYOUT.segments, tuple(segments))


def packed() -> bytes:
    writer = Writer()
    writer.add("a/one.txt", 5, 1_700_000_000_000_000_000)
    writer.add("b", 7, 1_700_000_000_000_000_001, executable=True)
    return writer.finish()


def made() -> dict[str, Any]:
    """What Surge makes of the object."""
    record = maps.sealed_page(page(), MASK_SECRET, MAP_KEY, 1)
    return {
        "object": {
            "content": "SHA-256 of 0, 1, 2 and so on as four bytes, in a row",
            "size": HEADER.size,
            "segment size": MIB,
            "k": 2,
            "n": 4,
            "id": OBJECT_ID.hex(),
            "object key": OBJECT_KEY.hex(),
            "mask secret": MASK_SECRET.hex(),
            "map key": (bytes([4]) * 32).hex(),
        },
        "segments": [
            {
                "sealed size": LAYOUT.segment(number).sealed,
                "tag": segment_tag(MASK_SECRET, OBJECT_ID, number).hex(),
                "shards": [
                    {
                        "device": shard.place.holder,
                        "operator": operator(index),
                        "deal": shard.place.deal.hex(),
                        "size": len(shard.data),
                        "sha256 of the masked bytes": hashlib.sha256(shard.data).hexdigest(),
                        "root": shard.root.hex(),
                        "check": shard.check.hex(),
                        "price": PRICE,
                        "ends": ENDS,
                        "proof of leaf 100": shard.tree.proof(100).hex() if number == 0 else None,
                    }
                    for index, shard in enumerate(coded(number))
                ],
            }
            for number in range(LAYOUT.segments)
        ],
        "header": headers.seal(HEADER, OBJECT_KEY, OBJECT_ID).hex(),
        "map": {
            "author": record.author,
            "label": record.label.hex(),
            "version": 1,
            "body": record.body.hex(),
            "record": record.encode().hex(),
        },
        "index of a packed folder": packed().hex(),
    }


def test_surge_makes_what_is_published() -> None:
    assert made() == json.loads(VECTORS.read_text())


def test_surge_reads_what_is_published() -> None:
    known = json.loads(VECTORS.read_text())
    header = open_header(bytes.fromhex(known["header"]), OBJECT_KEY, OBJECT_ID)
    found = open_page(records.decode(bytes.fromhex(known["map"]["record"])), MASK_SECRET, OBJECT_ID)
    check_page(found, OBJECT_ID, 0, header.layout)
    assert (header, found) == (HEADER, page())


def test_a_program_written_from_the_format_makes_what_is_published() -> None:
    known = json.loads(VECTORS.read_text())
    rows: list[object] = []
    for number, segment in enumerate(known["segments"]):
        sealed = plain.seal_segment(segment_of(number), number, OBJECT_KEY, OBJECT_ID)
        assert len(sealed) == segment["sealed size"]
        shards: list[object] = []
        for index, (shard, about) in enumerate(zip(plain.shards(sealed, 2, 4), segment["shards"], strict=True)):
            masked = plain.mask(shard, MASK_SECRET, [OBJECT_ID, number, index, about["device"], bytes.fromhex(about["deal"])])
            root, check = plain.levels(masked)[-1][0], plain.check(shard, MASK_SECRET, OBJECT_ID, number, index)
            assert (len(masked), hashlib.sha256(masked).hexdigest()) == (about["size"], about["sha256 of the masked bytes"])
            assert (root.hex(), check.hex()) == (about["root"], about["check"])
            if number == 0:
                assert plain.proof(masked, 100).hex() == about["proof of leaf 100"]
            holder = (bytes.fromhex(each) for each in (about["device"][2:], about["operator"][2:], about["deal"], about["root"]))
            shards.append([check, *holder, about["price"], about["ends"]])
        rows.append([2, 4, len(sealed), shards])
    body = plain.note(MASK_SECRET, ["surge map 1", OBJECT_ID, 0], plain.cbor([OBJECT_ID, 0, 2, rows]))
    assert body.hex() == known["map"]["body"]
    header = plain.note(OBJECT_KEY, ["surge header 1", OBJECT_ID], plain.cbor([1, HEADER.size, MIB, 65536, 2, 4, "file"]))
    assert header.hex() == known["header"]


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(made(), indent=1) + "\n")
