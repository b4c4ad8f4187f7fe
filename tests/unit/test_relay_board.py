from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from relay_support import DEVICE, NETWORK, RELAY, STRANGER, Key, make_offer
from surge.core import offers
from surge.core.offers import SignedOffer
from surge.core.signing import recover
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault
from surge.relay.board import MAX_PAGE, Kept, OfferQuery, Page, Welcome
from surge.relay.login import welcome_digest
from surge.relay.server.board import KEEP_SECONDS, OfferBoard
from surge.relay.server.config import RelayLimits
from surge.relay.server.service import BoardService

NOW = 1_700_000_000


def offer(key: Key = DEVICE, sequence: int = 1, **changes: Any) -> SignedOffer:
    return make_offer(key, sequence, now=NOW, **changes)


def board(**limits: Any) -> OfferBoard:
    return OfferBoard(RelayLimits(**limits), NETWORK)


def put(on: OfferBoard, signed: SignedOffer, now: float = NOW) -> None:
    on.put(signed.offer.device, signed.encode(), now)


def shown(on: OfferBoard, query: OfferQuery | None = None, now: float = NOW) -> list[tuple[Address, int]]:
    page = on.query(query or OfferQuery(), now)
    decoded = [offers.decode(wire).offer for wire in page.offers]
    return [(each.device, each.sequence) for each in decoded]


def test_the_latest_offer_of_each_device_is_shown() -> None:
    on = board()
    for signed in (offer(sequence=1), offer(STRANGER, 5), offer(sequence=2)):
        put(on, signed)
    assert sorted(shown(on)) == sorted([(DEVICE.address, 2), (STRANGER.address, 5)])


def test_an_older_offer_does_not_replace_a_newer_one() -> None:
    on = board()
    put(on, offer(sequence=3))
    with pytest.raises(InvalidInput, match="newer"):
        put(on, offer(sequence=2))
    with pytest.raises(InvalidInput, match="newer"):
        put(on, offer(sequence=3, cores=7))
    put(on, offer(sequence=3))  # the same again is no harm
    assert shown(on) == [(DEVICE.address, 3)]


def test_nobody_publishes_anothers_offer() -> None:
    with pytest.raises(InvalidInput, match="its own offer"):
        board().put(STRANGER.address, offer().encode(), NOW)


@pytest.mark.parametrize("damage", ["signature", "body", "cut", "empty", "long"])
def test_offers_that_do_not_verify_are_refused(damage: str) -> None:
    wire = offer().encode()
    damaged = {
        "signature": bytes([wire[0] ^ 1]) + wire[1:],
        "body": wire[:-1] + bytes([wire[-1] ^ 1]),
        "cut": wire[:-1],
        "empty": b"",
        "long": wire + bytes(1 << 16),
    }[damage]
    with pytest.raises(PeerFault):
        board().put(DEVICE.address, damaged, NOW)


def test_expired_early_and_foreign_offers_are_refused() -> None:
    signed = offer()
    for now in (signed.offer.expires, signed.offer.issued - 3600):
        with pytest.raises(PeerFault):
            put(board(), signed, now)
    with pytest.raises(PeerFault, match="another network"):
        put(board(), offer(network=b"\x01" * 32))


def test_an_offer_is_shown_ten_minutes_at_most() -> None:
    on = board()
    put(on, offer())
    assert shown(on, now=NOW + KEEP_SECONDS - 1)
    assert not shown(on, now=NOW + KEEP_SECONDS)
    assert len(on) == 0


def test_a_withdrawn_offer_is_gone_and_stays_gone() -> None:
    on = board()
    put(on, offer(sequence=4))
    on.withdraw(STRANGER.address, 9, NOW)
    on.withdraw(DEVICE.address, 3, NOW)
    assert shown(on) == [(DEVICE.address, 4)]
    on.withdraw(DEVICE.address, 4, NOW)
    assert shown(on) == []
    with pytest.raises(InvalidInput, match="withdrawn"):
        put(on, offer(sequence=4))
    put(on, offer(sequence=5))
    assert shown(on) == [(DEVICE.address, 5)]


def test_the_board_and_each_operator_have_bounded_room() -> None:
    on = board(offers=3, offers_per_operator=2)
    keys = [Key(100 + number) for number in range(5)]
    put(on, offer(keys[0]))
    put(on, offer(keys[1]))
    with pytest.raises(InvalidInput, match="operator"):
        put(on, offer(keys[2]))
    put(on, offer(keys[2], operator=STRANGER.address))
    with pytest.raises(InvalidInput, match="full"):
        put(on, offer(keys[3], operator=STRANGER.address))
    put(on, offer(keys[0], 2))  # a renewal takes no more room
    on.withdraw(keys[1].address, 1, NOW)
    put(on, offer(keys[3], operator=STRANGER.address))
    assert len(on) == 3


def test_a_refused_renewal_leaves_the_old_offer_and_the_counts() -> None:
    on = board(offers_per_operator=1)
    put(on, offer(DEVICE, 1))
    put(on, offer(STRANGER, 1, operator=STRANGER.address))
    with pytest.raises(InvalidInput, match="operator"):
        put(on, offer(DEVICE, 2, operator=STRANGER.address))
    assert sorted(shown(on)) == sorted([(DEVICE.address, 1), (STRANGER.address, 1)])


def test_filters() -> None:
    on = board()
    put(on, offer())
    base = offer().offer
    price = base.prices.gigafuel
    matching = [
        OfferQuery(service=base.services[0]),
        OfferQuery(engine=base.engine),
        OfferQuery(region=base.region),
        OfferQuery(max_gigafuel_price=price.to_bytes(32, "big")),
    ]
    for query in matching:
        assert shown(on, query), query
    for query in (
        OfferQuery(service="storage"),
        OfferQuery(engine=b"\x05" * 32),
        OfferQuery(region="mars"),
        OfferQuery(max_gigafuel_price=(price - 1).to_bytes(32, "big")),
    ):
        assert not shown(on, query), query


def test_pages_cover_everything_once() -> None:
    on, keys = board(), [Key(200 + number) for number in range(25)]
    for key in keys:
        put(on, offer(key, operator=key.address))
    seen, after, pages = [], "", 0
    while True:
        page = on.query(OfferQuery(after=after, limit=7), NOW)
        seen += [offers.decode(wire).offer.device for wire in page.offers]
        pages += 1
        if not page.next:
            break
        assert page.next > after
        after = page.next
    assert seen == sorted(key.address for key in keys)
    assert pages == 4


def test_a_page_is_bounded_in_bytes_and_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    on, keys = board(), [Key(300 + number) for number in range(12)]
    for key in keys:
        put(on, offer(key, operator=key.address))
    size = len(offer(keys[0]).encode())
    monkeypatch.setattr("surge.relay.server.board.MAX_PAGE_SIZE", 3 * size + size // 2)
    monkeypatch.setattr("surge.relay.server.board.MAX_SCAN", 5)
    seen, after = [], ""
    while True:
        page = on.query(OfferQuery(after=after), NOW)
        assert len(page.offers) <= 3
        seen += page.offers
        if not page.next:
            break
        after = page.next
    assert len(seen) == len(set(seen)) == 12
    nothing = on.query(OfferQuery(service="storage"), NOW)
    assert nothing.offers == []
    assert nothing.next == sorted(key.address for key in keys)[4]


def service(**limits: Any) -> BoardService:
    return BoardService(RELAY, RelayLimits(**limits), NETWORK)


def test_the_relay_signs_its_welcome() -> None:
    answer = service().answer(DEVICE.address, "hello", b"\x01" * 32, NOW)
    welcome = msgspec.msgpack.decode(answer, type=Welcome)
    assert recover(welcome_digest(RELAY.address, DEVICE.address, b"\x01" * 32), welcome.signature) == RELAY.address


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("hello", b""),
        ("hello", bytes(33)),
        ("offer", b"x" * 100),
        ("withdraw", b"-1"),
        ("withdraw", "²".encode()),
        ("withdraw", b"9" * 21),
        ("query", b""),
        ("query", b"\xc1"),
        ("query", msgspec.msgpack.encode(["x" * 1000])),
        ("query", msgspec.msgpack.encode(["", b"", "", b"", "", 0])),
        ("query", msgspec.msgpack.encode(["", b"", "", b"", "", MAX_PAGE + 1])),
        ("query", bytes(100_000)),
        ("steal", b""),
        ("x" * 1000, b""),
    ],
)
def test_malformed_questions_are_refused_with_a_reason(operation: str, body: bytes) -> None:
    kept = msgspec.msgpack.decode(service().answer(DEVICE.address, operation, body, NOW), type=Kept)
    assert not kept.done
    assert 0 < len(kept.reason) < 500


def test_questions_are_paced_per_address() -> None:
    answers = service(questions_per_second=2.0)
    query = msgspec.msgpack.encode(OfferQuery())

    def asked(who: Key, now: float) -> bool:
        answer = answers.answer(who.address, "query", query, now)
        try:
            msgspec.msgpack.decode(answer, type=Page)
        except msgspec.MsgspecError:
            assert "slowly" in msgspec.msgpack.decode(answer, type=Kept).reason
            return False
        return True

    assert [asked(DEVICE, NOW) for _ in range(8)] == [True] * 6 + [False] * 2
    assert asked(STRANGER, NOW)
    assert [asked(DEVICE, NOW + 1) for _ in range(3)] == [True, True, False]
    assert not asked(DEVICE, NOW - 1000)


def test_offers_through_the_service() -> None:
    answers = service()
    now = int(time.time())
    signed = make_offer(DEVICE, 1, now=now)
    assert msgspec.msgpack.decode(answers.answer(DEVICE.address, "offer", signed.encode(), now), type=Kept).done
    page = msgspec.msgpack.decode(answers.answer(STRANGER.address, "query", msgspec.msgpack.encode(OfferQuery()), now), type=Page)
    assert page.offers == [signed.encode()]
