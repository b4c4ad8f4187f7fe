"""The storage service's bodies: they come back as they were, and what is out of bounds is a peer's fault."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core.messages import encode_body
from surge.core.messages import holder_visits as v
from surge.core.messages import storage as m
from surge.core.messages.fields import MAX_MESSAGE, wei_bytes
from surge.core.messages.session import Call, decode_for_provider, encode
from surge.errors import PeerFault

H, S, A = b"h" * 32, b"s" * 65, "0x" + "0a" * 20
OPEN = m.Open(H, 1000, H, A, A, H, wei_bytes(10**15), b"", 1, 2, 3)
PROOF = m.Proof(b"leaf", H * 3)

BODIES: list[tuple[Any, Any]] = [
    (OPEN, m.decode_open),
    (m.Here(3), m.decode_here),
    (m.Write(H, 7, b"data"), m.decode_write),
    (m.Keep(H), m.decode_keep),
    (m.Pledged(S), m.decode_pledged),
    (m.Read(H, 0, 7), m.decode_read),
    (m.Leaves(b"data", H), m.decode_leaves),
    (m.BillReads(1, 10**12), m.decode_bill_reads),
    (m.Prove(H, [H, H]), m.decode_prove),
    (m.Proofs([PROOF, None]), m.decode_proofs),
    (m.Renew(0, 1, 2, 3, [H]), m.decode_renew),
    (m.Renewed([S], [7]), m.decode_renewed),
    (m.Drop(H, S), m.decode_drop),
    (m.ListDeals(b"", 10), m.decode_list),
    (m.Listed([(H, 5)], True), m.decode_listed),
    (m.PutRecord(b"record"), m.decode_put_record),
    (m.RecordKept(False, b"record"), m.decode_record_kept),
    (m.GetRecord(A, H), m.decode_get_record),
    (m.FoundRecord(b""), m.decode_found_record),
    (v.AskRecord(A, H), v.decode_for_holder),
    (v.TellRecord(b"record"), v.decode_for_reader),
    (v.NotNow("later"), v.decode_for_reader),
]


@pytest.mark.parametrize(("body", "decode"), BODIES, ids=lambda value: type(value).__name__)
def test_a_storage_body_comes_back_as_it_was(body: Any, decode: Any) -> None:
    assert decode(encode_body(body)) == body


@pytest.mark.parametrize(("body", "decode"), BODIES, ids=lambda value: type(value).__name__)
def test_every_truncation_of_a_storage_body_is_refused(body: Any, decode: Any) -> None:
    data = encode_body(body)
    for end in range(len(data)):
        with pytest.raises(PeerFault):
            decode(data[:end])
    with pytest.raises(PeerFault):
        decode(data + b"\x00")


@given(st.binary(max_size=400))
def test_noise_is_refused_or_decodes_to_a_storage_body(data: bytes) -> None:
    for _, decode in BODIES:
        try:
            decode(data)
        except PeerFault:
            continue


def altered(what: Any, /, **fields: Any) -> Any:
    return msgspec.structs.replace(what, **fields)


@pytest.mark.parametrize(
    ("body", "decode"),
    [
        (altered(OPEN, size=0), m.decode_open),
        (altered(OPEN, size=m.MAX_SHARD + 1), m.decode_open),
        (altered(OPEN, owner=A.upper()), m.decode_open),
        (altered(OPEN, keeper="0x0a"), m.decode_open),
        (altered(OPEN, price=bytes(33)), m.decode_open),
        (altered(OPEN, until=-1), m.decode_open),
        (altered(OPEN, ends=1 << 63), m.decode_open),
        (altered(OPEN, tag=H[:31]), m.decode_open),
        (m.Write(H, 0, b""), m.decode_write),
        (m.Write(H, 0, bytes(m.MOST_MOVED + 1)), m.decode_write),
        (m.Write(H, m.MAX_SHARD // m.LEAF + 2, b"x"), m.decode_write),
        (m.Read(H, 0, 0), m.decode_read),
        (m.Read(H, 0, m.MOST_LEAVES + 1), m.decode_read),
        (m.Leaves(b"x", bytes(m.MAX_PROOF + 1)), m.decode_leaves),
        (m.Prove(H, []), m.decode_prove),
        (m.Prove(H, [H] * (m.MOST_PROVED + 1)), m.decode_prove),
        (m.Proofs([m.Proof(bytes(m.PROOF_LEAF + 1), b"")]), m.decode_proofs),
        (m.Renew(0, 1, 2, 3, []), m.decode_renew),
        (m.Renew(0, 1, 2, 3, [H] * (m.MOST_RENEWED + 1)), m.decode_renew),
        (m.Drop(H, S[:64]), m.decode_drop),
        (m.ListDeals(bytes(33), 1), m.decode_list),
        (m.ListDeals(b"", 0), m.decode_list),
        (m.PutRecord(b""), m.decode_put_record),
        (m.PutRecord(bytes(m.MAX_RECORD + 1)), m.decode_put_record),
        (v.TellRecord(bytes(m.MAX_RECORD + 1)), v.decode_for_reader),
    ],
)
def test_a_storage_field_out_of_bounds_is_refused(body: Any, decode: Any) -> None:
    with pytest.raises(PeerFault):
        decode(encode_body(body))


@pytest.mark.parametrize(
    "body",
    [
        m.Write(H, 4089, bytes(m.MOST_MOVED)),
        m.Leaves(bytes(m.MOST_MOVED), bytes(m.MAX_PROOF)),
        m.Proofs([m.Proof(bytes(m.PROOF_LEAF), bytes(m.MAX_PATH))] * m.MOST_PROVED),
        m.Renew(1, 2, 3, 4, [H] * m.MOST_RENEWED),
        m.Renewed([S] * m.MOST_RENEWED, [(1 << 63) - 1] * m.MOST_RENEWED),
        m.Listed([(H, 1 << 62)] * m.MOST_RENEWED, True),
        m.RecordKept(False, bytes(m.MAX_RECORD)),
    ],
    ids=lambda body: type(body).__name__,
)
def test_the_largest_storage_bodies_fit_into_a_message(body: Any) -> None:
    call = Call(1 << 31, "storage", "get_record", encode_body(body))
    assert len(encode(call)) + 1024 < MAX_MESSAGE
    assert decode_for_provider(encode(call)) == call
