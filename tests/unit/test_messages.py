"""The wire messages: what decodes is typed and bounded, everything else is a peer's fault."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core import messages as m
from surge.core.messages.compute import MAX_FILES, LimitsField, PartField
from surge.core.messages.fields import MAX_CHUNK, MAX_INLINE, MAX_MESSAGE, wei, wei_bytes
from surge.core.messages.session import MAX_PENDING
from surge.core.units import Limits, Outcome, Part, Status
from surge.errors import PeerFault

H = b"h" * 32
S = b"s" * 65
LIMITS = LimitsField.of(Limits())
RECEIPT = m.SignedReceipt(1, 7, H, H, 100, wei_bytes(2**255), 1_700_000_000, S)

TO_PROVIDER: list[Any] = [
    m.OpenChannel(H, b"terms", S, 3, H),
    m.Call(1, "compute", "run", b"body"),
    m.Cancel(1),
    m.Chunk(2, H, 5, b"data", True),
    m.Acknowledge([(1, True), (2, False)], wei_bytes(5), 2, H, S),
    m.Reprice(b"terms", S),
    m.CloseChannel(wei_bytes(0), 0, H, S),
]
TO_BUYER: list[Any] = [
    m.ChannelOpened(H, S, 3, H, wei_bytes(9), 4, [RECEIPT]),
    m.Answer(1, b"body", RECEIPT, 0),
    m.Answer(1, b"body", None, 7),
    m.Refusal(1, "busy", "come back later", b""),
    m.Output(1, 0, b"x", False),
    m.Received(1, H, None),
    m.Vouched(2, 8),
    m.Draining("going home"),
    m.NewPrices(b"terms", S),
    m.ClosedTogether(S, b""),
]
BODIES: list[tuple[Any, Any]] = [
    (m.Prepare(H, H, 10, b"", 0, [(H, 5)]), m.decode_prepare),
    (m.Prepared([H], 12), m.decode_prepared),
    (m.Setup(H, H, b"", b"setup", LIMITS, H), m.decode_setup),
    (m.RunUnit(H, H, H, b"setup", b"entry", b"items", b"", LIMITS, H), m.decode_run_unit),
    (
        m.UnitDone(0, 0, PartField(H, 1), PartField(H, 2), PartField(H, 3), [("a", PartField(H, 4))], b"", 5, 6, b"out", "why"),
        m.decode_unit_done,
    ),
]


@pytest.mark.parametrize("message", TO_PROVIDER, ids=lambda message: type(message).__name__)
def test_a_buyers_message_comes_back_as_it_was(message: Any) -> None:
    assert m.decode_for_provider(m.encode(message)) == message


@pytest.mark.parametrize("message", TO_BUYER, ids=lambda message: type(message).__name__)
def test_a_providers_message_comes_back_as_it_was(message: Any) -> None:
    assert m.decode_for_buyer(m.encode(message)) == message


@pytest.mark.parametrize(("body", "decode"), BODIES, ids=lambda value: type(value).__name__)
def test_a_body_comes_back_as_it_was(body: Any, decode: Any) -> None:
    assert decode(m.encode_body(body)) == body


@pytest.mark.parametrize(("message", "decode"), [(each, m.decode_for_provider) for each in TO_PROVIDER]
                         + [(each, m.decode_for_buyer) for each in TO_BUYER])  # fmt: skip
def test_every_truncation_is_refused(message: Any, decode: Any) -> None:
    data = m.encode(message)
    for end in range(len(data)):
        with pytest.raises(PeerFault):
            decode(data[:end])
    with pytest.raises(PeerFault):
        decode(data + b"\x00")


def test_the_two_directions_are_not_mixed_up() -> None:
    """A tag means something else in the other direction, or nothing; the fields never fit."""
    for message in TO_PROVIDER:
        try:
            found = m.decode_for_buyer(m.encode(message))
        except PeerFault:
            continue
        assert type(found) is not type(message)


@given(st.binary(max_size=400))
def test_noise_is_refused_or_decodes_to_a_message(data: bytes) -> None:
    for decode in (m.decode_for_provider, m.decode_for_buyer, *(decode for _, decode in BODIES)):
        try:
            decode(data)
        except PeerFault:
            continue


@given(st.integers(0, 2**32), st.integers(0, 9))
def test_a_flipped_bit_is_refused_or_decodes_to_a_message(seed: int, which: int) -> None:
    draw = random.Random(seed)
    data = bytearray(m.encode(TO_BUYER[which]))
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    try:
        found = m.decode_for_buyer(bytes(data))
    except PeerFault:
        return
    assert m.decode_for_buyer(m.encode(found)) == found


def test_an_oversized_message_is_refused_unread() -> None:
    with pytest.raises(PeerFault, match="larger"):
        m.decode_for_buyer(bytes(MAX_MESSAGE + 1))


@pytest.mark.parametrize(
    ("message", "decode"),
    [
        (m.Chunk(1, H, 0, bytes(MAX_CHUNK + 1), False), m.decode_for_provider),
        (m.Output(1, 0, bytes(MAX_CHUNK + 1), False), m.decode_for_buyer),
        (m.Acknowledge([(1, True)] * (MAX_PENDING + 1), b"", 1, H, S), m.decode_for_provider),
        (m.ChannelOpened(H, S, 0, H, b"", 1, [RECEIPT] * (MAX_PENDING + 1)), m.decode_for_buyer),
        (m.Call(1, "x" * 65, "run", b""), m.decode_for_provider),
        (m.Call(1, "", "run", b""), m.decode_for_provider),
        (m.Call(1 << 32, "compute", "run", b""), m.decode_for_provider),
        (m.Call(-1, "compute", "run", b""), m.decode_for_provider),
        (m.OpenChannel(H[:-1], b"", S, 0, H), m.decode_for_provider),
        (m.OpenChannel(H, b"", S + b"x", 0, H), m.decode_for_provider),
        (m.OpenChannel(H, bytes(1025), S, 0, H), m.decode_for_provider),
        (m.Acknowledge([], bytes(33), 0, H, S), m.decode_for_provider),
        (m.Refusal(1, "busy", "x" * 4097, b""), m.decode_for_buyer),
        (m.Vouched(1, -1), m.decode_for_buyer),
    ],
)
def test_fields_out_of_bounds_are_refused(message: Any, decode: Any) -> None:
    with pytest.raises(PeerFault):
        decode(m.encode(message))


@pytest.mark.parametrize(
    ("body", "decode"),
    [
        (m.RunUnit(H, H, H, b"", b"", bytes(MAX_INLINE + 1), b"", LIMITS, H), m.decode_run_unit),
        (m.RunUnit(H, H, H, bytes(16385), b"", b"", b"", LIMITS, H), m.decode_run_unit),
        (m.RunUnit(H, H, H, b"", bytes(131073), b"", b"", LIMITS, H), m.decode_run_unit),
        (m.Prepare(H, H, 0, b"", 0, [(H, 1)] * (MAX_FILES + 1)), m.decode_prepare),
    ],
)
def test_bodies_out_of_bounds_are_refused(body: Any, decode: Any) -> None:
    with pytest.raises(PeerFault):
        decode(m.encode_body(body))


def done(status: int, **changes: Any) -> bytes:
    part = PartField(H, 1)
    return m.encode_body(msgspec.structs.replace(m.UnitDone(status, 0, part, part, part, [], b"", 5, 6, b"", ""), **changes))


@pytest.mark.parametrize("status", [6, 63, 64, 65, 66, 67, -1])
def test_an_ending_that_nobody_could_prove_is_no_answer(status: int) -> None:
    with pytest.raises(PeerFault):
        m.decode_unit_done(done(status))


def test_an_outcome_survives_the_wire() -> None:
    outcome = Outcome(Status.EXITED, 3, Part.of(b"v"), Part.of(b"o"), Part.of(b"e"), (("a/b", Part.of(b"f")),), b"", 77)
    body = m.encode_body(m.UnitDone.of(outcome, 1.25, b"voef", "said"))
    found = m.decode_unit_done(body)
    assert found.outcome() == outcome
    assert (found.seconds_us, found.output, found.detail) == (1_250_000, b"voef", "said")


def test_a_detail_is_cut_to_what_a_message_carries() -> None:
    outcome = Outcome(Status.FINISHED, 0, Part.of(b""), Part.of(b""), Part.of(b""), (), b"", 0)
    assert len(m.decode_unit_done(m.encode_body(m.UnitDone.of(outcome, 0.0, b"", "x" * 9999))).detail) == 4096


@given(st.integers(0, 2**256 - 1))
def test_amounts_of_256_bits_travel(amount: int) -> None:
    assert wei(wei_bytes(amount)) == amount
    assert len(wei_bytes(amount)) <= 32
    assert not wei_bytes(amount).startswith(b"\x00")


def test_unknown_tags_and_extra_fields_are_refused() -> None:
    for data in (msgspec.msgpack.encode([99, 1, 2]), msgspec.msgpack.encode([3, 1, "extra"]), msgspec.msgpack.encode({"a": 1})):
        with pytest.raises(PeerFault):
            m.decode_for_provider(data)
