"""What a keeper makes of what it saw: habits, from when it pays, and maps that two keepers write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from surge.core.storage import keeping
from surge.core.storage.accounts import HOUR_SECONDS
from surge.core.storage.catalogue import Keys
from surge.core.storage.header import Header
from surge.core.storage.keeping import Seen, looked, presence, unpaid_since
from surge.core.storage.layout import Layout
from surge.core.storage.map import Page, Placed, Segment, Shard
from surge.core.storage.repair import DAY, Presence
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.storage import charges
from surge.storage.charges import Bundle, charge_of
from surge.wallet import KeySigner

PERIOD = 120


def after(*looks: tuple[float, bool], period: int = PERIOD) -> Seen:
    seen: Seen | None = None
    for now, here in looks:
        seen = looked(seen, now, here=here, period=period)
    assert seen is not None
    return seen


def test_a_device_is_away_and_after_a_network_day_gone() -> None:
    here, silent = (0.0, True), after((0.0, True), (100.0, False))
    assert presence(after(here), PERIOD) is Presence.HERE
    assert presence(after(here), PERIOD, leaving=True) is Presence.LEAVING
    assert (silent.silent, presence(silent, PERIOD)) == (100.0, Presence.AWAY)
    gone = after(here, (100.0, False), (PERIOD + 20.0, False))
    assert presence(gone, PERIOD) is Presence.GONE
    assert presence(gone, PERIOD, region_away=0.6) is Presence.AWAY, "all of its region is away"
    assert presence(gone, int(DAY)) is Presence.AWAY, "a day is longer there"
    assert presence(after((0.0, False)), PERIOD) is Presence.AWAY, "it was never seen"


def test_who_came_back_late_is_waited_for_longer() -> None:
    looks = [(60.0 * number, number not in range(10, 13)) for number in range(30)]
    seen = after(*looks)
    assert seen.longest == pytest.approx(240 * 2 ** (-16 / 2 / 30), rel=0.03), "half is remembered after 30 of the network's days"
    silence = [(1800.0 + 60 * number, False) for number in range(6)]
    assert presence(after(*looks, *silence), PERIOD) is Presence.AWAY
    assert presence(after(*((at, True) for at, _ in looks), *silence), PERIOD) is Presence.GONE


def test_uptime_is_what_was_seen() -> None:
    seen = after(*((60.0 * number, number % 4 != 3) for number in range(61)))
    assert (seen.watched, seen.there) == (pytest.approx(1.0), pytest.approx(0.75))


def test_what_happened_while_nobody_looked_counts_for_nothing() -> None:
    seen = after((0.0, True), (60.0, False), (90_000.0, False))
    assert (seen.watched, seen.silent) == (60 / HOUR_SECONDS, 60.0)
    assert presence(seen, PERIOD) is Presence.AWAY
    assert after((0.0, True), (90_000.0, True)) == Seen(0.0, 0.0, 90_000.0, 90_000.0, 0.0)


def test_from_when_a_device_is_paid() -> None:
    assert unpaid_since(1_000, 0, 1_100, PERIOD) == [1_000]
    assert unpaid_since(1_000, 900, 1_100, PERIOD) == [1_000], "it was paid since it missed one"
    assert unpaid_since(1_000, 1_090, 1_100, PERIOD) == [1_090, 1_050, 1_000]
    assert unpaid_since(0, 0, 10**6, PERIOD) == [10**6 - 4 * PERIOD - HOUR_SECONDS], "nobody is paid for longer than it keeps unpaid shards"
    assert unpaid_since(1_200, 0, 1_100, PERIOD) == [1_100]


@pytest.mark.parametrize(("k", "n", "wanted"), [(20, 30, 25), (3, 5, 4), (1, 1, 1), (1, 2, 1), (10, 15, 14)])
def test_when_a_segment_is_repaired(k: int, n: int, wanted: int) -> None:
    assert keeping.threshold(k, n) == wanted


# Maps

LAYOUT = Layout(1 << 20, 1 << 20, 2, 4).segment(0)


def at(number: int, deal: int | None = None) -> Placed:
    name = number.to_bytes(20, "big").hex()
    return Placed(Address("0x" + name), Address("0x" + "ff" + name[2:]), bytes([number if deal is None else deal]) * 32, bytes(32), 1, 10)


def page(*places: Placed | None) -> Page:
    return Page(bytes(32), 0, 1, (Segment(LAYOUT, tuple(Shard(bytes(16), each) for each in places)),))


def places(made: Page) -> list[Placed | None]:
    return [shard.placed for shard in made.segments[0].shards]


def test_a_map_that_says_what_is_known_stays() -> None:
    read = page(at(1), at(2), at(3), None)
    merged = keeping.merge(read, {(0, 0): at(1), (0, 1): at(2), (0, 2): at(3)}, ())
    assert (merged.page, merged.adopted, merged.given_up) == (read, (), ())


def test_what_was_placed_here_is_written() -> None:
    merged = keeping.merge(page(at(1), at(2), at(3), None), {(0, 0): at(9), (0, 1): at(2), (0, 2): at(3), (0, 3): at(4)}, {at(1).deal})
    assert places(merged.page) == [at(9), at(2), at(3), at(4)]
    assert (merged.adopted, merged.given_up) == ((), ())


def test_what_was_lost_is_nowhere() -> None:
    merged = keeping.merge(page(at(1), at(2), at(3), at(4)), {(0, 1): at(2), (0, 2): at(3), (0, 3): at(4)}, {at(1).deal})
    assert places(merged.page) == [None, at(2), at(3), at(4)]


def test_what_another_keeper_placed_first_stays() -> None:
    merged = keeping.merge(page(at(7), at(2), at(3), at(4)), {(0, 0): at(9), (0, 1): at(2), (0, 2): at(3)}, {at(1).deal})
    assert places(merged.page) == [at(7), at(2), at(3), at(4)]
    assert merged.adopted == ((0, 0, at(7)), (0, 3, at(4)))
    assert merged.given_up == (at(9).deal,)


def test_no_operator_gets_two_by_a_merge() -> None:
    mine = replace(at(9), operator=at(7).operator)
    merged = keeping.merge(page(at(7), at(2), None, at(4)), {(0, 2): mine}, ())
    assert places(merged.page) == [at(7), at(2), None, at(4)]
    assert merged.given_up == (mine.deal,)


# Bundles


def bundle() -> Bundle:
    signer = KeySigner(bytes(31) + b"\x07")
    keys = Keys(b"o" * 32, b"SECRET!!" * 4, b"m" * 32, bytes(31) + b"\x07", signer.address)
    return Bundle(b"n" * 32, signer.address, b"\x01" * 32, (charge_of("my name", keys, Header(5, segment_size=1 << 20, k=2, n=3), 77),))


def test_a_bundle_tells_neither_names_nor_keys(tmp_path: Path) -> None:
    made, path = bundle(), tmp_path / "bundle"
    charges.write(path, made)
    assert b"SECRET" not in path.read_bytes()
    assert b"my name" not in path.read_bytes()
    (back,) = charges.read(path).charges
    (charge,) = made.charges
    assert (back.keys, back.header, back.expires) == (charge.keys, charge.header, 77)
    assert back.name == f"object {(b'o' * 6).hex()}"


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: b"\x01" + data, lambda data: data.replace(b"n" * 32, b"n" * 31 + b"")]
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    path = tmp_path / "bundle"
    path.write_bytes(spoil(charges.encode(bundle())))
    with pytest.raises(InvalidInput, match="no keeper's bundle"):
        charges.read(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        charges.read(tmp_path / "nothing")
