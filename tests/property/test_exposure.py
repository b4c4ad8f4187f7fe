"""What a device may lose to a buyer, whatever the buyer does in whatever order: what its floors pay, and what it vouched for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import exposure
from surge.core.exposure import Ask, Owed, Standing, cover, part

MOST = 1000
"""The most that a unit comes to here, in wei: a floor is a tenth of it at most."""


@dataclass
class Channel:
    """A channel of the buyer's: what the device does for it, receipt by receipt."""

    owed: Owed
    receipts: list[int] = field(default_factory=list)
    """Amounts that wait for an answer, on time."""
    late: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    """What was set aside for units under way."""
    got: int = 0
    """Wei of work that was done, paid or not."""
    is_closed: bool = False


class Device:
    """A device and one buyer, by the rules of `core.exposure` as the provider applies them."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.channels: list[Channel] = []
        self.promised = 0

    def counted(self) -> list[Owed]:
        """What is owed on channels that are not settled: of one that is closed, what was not held against the buyer yet."""
        found = []
        for each in self.channels:
            if not each.is_closed:
                found.append(each.owed)
            elif each.receipts:
                found.append(replace(each.owed, unpaid=sum(each.receipts)))
        return found

    def begin(self, channel: Channel, ask: Ask, units: int) -> int | None:
        free = cover(self.standing, self.counted(), channel.owed)
        assert free >= 0
        amount = part(free, ask, units=units, floor=channel.owed.floor, more_may_come=False)
        if amount is not None:
            assert amount <= free
            assert amount <= ask.limit
            channel.owed = replace(channel.owed, reserved=channel.owed.reserved + amount)
            channel.running.append(amount)
        return amount

    def end(self, channel: Channel, takes: int) -> None:
        """A unit that takes so much ends: with a receipt, or stopped."""
        amount = channel.running.pop(0)
        if takes > amount:
            channel.owed = exposure.stopped(channel.owed, amount)
            channel.got += amount
            return
        channel.owed = replace(channel.owed, reserved=channel.owed.reserved - amount, unpaid=channel.owed.unpaid + takes)
        channel.receipts.append(takes)
        channel.got += takes

    def accept(self, channel: Channel, waiting: list[int]) -> None:
        amount = waiting.pop(0)
        self.standing = exposure.credited(self.standing, amount)
        channel.owed = replace(channel.owed, vouched=channel.owed.vouched + amount, unpaid=channel.owed.unpaid - amount)
        self.promised += amount

    def refuse(self, channel: Channel) -> None:
        channel.receipts.pop(0)
        self.standing = exposure.defaulted(self.standing, 1)

    def default(self, channel: Channel) -> None:
        channel.late += channel.receipts
        channel.receipts = []
        self.standing = exposure.defaulted(self.standing, 1)

    def pays(self) -> int:
        """What the device is paid if everything closes now."""
        return sum(max(each.owed.floor, each.owed.vouched) for each in self.channels)

    def done(self) -> int:
        """What it did, and does."""
        return sum(each.got + sum(each.running) for each in self.channels)


ACTIONS = ("begin", "end", "accept", "begin", "end", "accept", "begin", "end", "raise", "refuse", "default", "late", "close", "open")


def play(draw: Callable[[st.SearchStrategy], int], without: set[str], steps: int) -> Device:
    """Let a buyer do what it likes, but for some actions."""
    device = Device()
    may = [each for each in ACTIONS if each not in without]
    for _ in range(steps):
        action = draw(st.sampled_from(may))
        if action == "open" or not device.channels:
            device.channels.append(Channel(Owed(floor=draw(st.integers(0, MOST // 10)))))
            continue
        channel = draw(st.sampled_from(device.channels))
        if action == "begin" and not channel.is_closed:
            limit = draw(st.integers(0, MOST))
            device.begin(channel, Ask(limit, draw(st.integers(0, limit))), draw(st.integers(1, 9)))
        elif action == "end" and channel.running:
            device.end(channel, draw(st.integers(0, channel.running[0] * 5 // 4)))
        elif action == "accept" and channel.receipts and not channel.is_closed:
            device.accept(channel, channel.receipts)
        elif action == "late" and channel.late and not channel.is_closed:
            device.accept(channel, channel.late)
        elif action == "refuse" and channel.receipts and not channel.is_closed:
            device.refuse(channel)
        elif action == "default" and channel.receipts:
            device.default(channel)
        elif action == "raise" and not channel.is_closed:
            channel.owed = replace(channel.owed, floor=channel.owed.floor + draw(st.integers(0, MOST)))
        elif action == "close" and not channel.running:
            channel.is_closed = True
        yielded = device.done() - device.pays()
        assert yielded <= (0 if "accept" in without else device.promised), (action, device.done(), device.pays(), device.promised)
    return device


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_buyer_that_never_vouches_gets_what_its_floors_pay_and_nothing_more(data) -> None:
    play(data.draw, {"accept", "late"}, 60)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_nobody_gets_more_for_nothing_than_it_paid_for(data) -> None:
    play(data.draw, {"close"}, 80)


@given(
    units=st.lists(st.integers(1, 400), min_size=1, max_size=60),
    floor=st.integers(400, 1000),
    at_once=st.integers(1, 8),
    knows=st.booleans(),
)
def test_a_buyer_that_pays_gets_every_unit_that_its_floor_covers(units: list[int], floor: int, at_once: int, knows: bool) -> None:
    device = Device()
    channel = Channel(Owed(floor=floor))
    device.channels.append(channel)
    for takes in units:
        amount = device.begin(channel, Ask(10**6, takes if knows else 0), 1)
        assert amount is not None
        assert amount >= takes
        device.end(channel, takes)
        device.accept(channel, channel.receipts)
    assert channel.got == sum(units)


@given(units=st.integers(64, 512), floor=st.integers(10**6, 10**8))
def test_hundreds_of_small_units_wait_for_vouchers_while_others_run_beside_one_another(units: int, floor: int) -> None:
    device = Device()
    channel = Channel(Owed(floor=floor))
    device.channels.append(channel)
    small = floor // 4096
    for answered in range(units):
        for _ in range(16 - len(channel.running)):
            amount = device.begin(channel, Ask(10**12, small), 16)
            assert amount is not None
            assert amount >= small
        device.end(channel, small)
        assert channel.owed.unpaid == (answered + 1) * small


def test_a_long_unit_gets_all_that_the_floor_pays_and_the_next_waits_for_it() -> None:
    fresh = Owed(floor=100)
    assert part(cover(Standing(), [fresh], fresh), Ask(10**6), units=1, floor=100, more_may_come=True) == 100
    busy = replace(fresh, reserved=100)
    assert part(cover(Standing(), [busy], busy), Ask(10**6), units=2, floor=100, more_may_come=True) is None


def test_a_unit_that_would_only_be_stopped_is_not_begun() -> None:
    assert part(100, Ask(10**6, expected=101), units=1, floor=100, more_may_come=False) is None
    assert part(100, Ask(10**6, expected=100), units=1, floor=100, more_may_come=False) == 100


def test_a_floor_that_was_used_up_by_a_default_pays_for_nothing_more() -> None:
    used = Owed(floor=100, unpaid=100)
    assert cover(Standing(), [used], used) == 0
    other = Owed(floor=30)
    assert cover(Standing(), [used, other], other) == 30
    assert cover(exposure.credited(Standing(), 500), [used, other], used) == 500


def test_what_is_exposed_is_held_against_the_credit_of_later() -> None:
    lost = Owed(floor=100, vouched=300, unpaid=250)
    fresh = Owed(floor=40)
    assert (lost.exposed, cover(Standing(credit=200), [lost, fresh], fresh)) == (250, 40)
    assert cover(Standing(credit=300), [lost, fresh], fresh) == 90
