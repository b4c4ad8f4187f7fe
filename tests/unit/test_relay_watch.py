from __future__ import annotations

from surge.relay.server.config import RelayLimits
from surge.relay.server.watch import GRACE, Counters, RateWatch

LIMITS = RelayLimits(messages_per_second=100, bytes_per_second=10_000, burst_seconds=2.0)


def test_who_keeps_to_the_limits_is_left_alone() -> None:
    watch = RateWatch(LIMITS, 0.0)
    for second in range(60):
        assert watch.observe([Counters(1, second * 100, second * 10_000)], float(second)) == []


def test_a_burst_is_allowed_once() -> None:
    watch = RateWatch(LIMITS, 0.0)
    burst = int(100 * GRACE * 2)
    assert watch.observe([Counters(1, burst, 0)], 0.0) == []
    assert watch.observe([Counters(1, 2 * burst, 0)], 1.0) == [1]


def test_too_many_bytes_are_noticed_too() -> None:
    watch = RateWatch(LIMITS, 0.0)
    assert watch.observe([Counters(1, 1, 0), Counters(2, 1, 0)], 0.0) == []
    assert watch.observe([Counters(1, 2, 100_000), Counters(2, 2, 5_000)], 1.0) == [1]


def test_a_slow_trickle_over_the_limit_is_noticed_in_the_end() -> None:
    watch, offenders = RateWatch(LIMITS, 0.0), []
    for second in range(60):
        offenders += watch.observe([Counters(1, second * 150, 0)], float(second))
    assert offenders


def test_a_new_connection_under_an_old_number_starts_afresh() -> None:
    watch = RateWatch(LIMITS, 0.0)
    watch.observe([Counters(1, 200, 0)], 0.0)
    watch.observe([], 1.0)
    assert watch.observe([Counters(1, 200, 0)], 2.0) == []


def test_a_clock_that_stands_still_gives_no_credit() -> None:
    watch = RateWatch(LIMITS, 0.0)
    assert watch.observe([Counters(1, 250, 0)], 0.0) == []
    assert watch.observe([Counters(1, 260, 0)], 0.0) == [1]


def test_a_look_that_comes_late_is_not_held_against_anyone() -> None:
    watch = RateWatch(LIMITS, 0.0)
    assert watch.observe([Counters(1, 300, 0)], 1.0) == []  # opened some time since the last look
    assert watch.observe([Counters(1, 1300, 0)], 11.0) == []
    assert watch.observe([Counters(1, 1300 + 5000, 0)], 21.0) == [1]
