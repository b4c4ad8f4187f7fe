"""Counting what was carried, from counters that are read now and then."""

from __future__ import annotations

from surge.core.types import Address
from surge.relay.server.meter import Meter
from surge.relay.server.watch import Counters

DEVICE, CALLER = Address("0x" + "0a" * 20), Address("0x" + "0b" * 20)
WHOSE = {1: DEVICE, 2: CALLER, 3: DEVICE}


def test_connections_are_added_up_for_the_devices_that_are_served() -> None:
    meter = Meter()
    meter.observe([Counters(1, 1, 100, 50), Counters(2, 1, 7, 7), Counters(3, 1, 1, 0), Counters(9, 1, 1000, 0)], WHOSE)
    assert meter.take([]) == {}
    meter.serve(DEVICE)
    assert meter.take([]) == {DEVICE: 151}, "what it was carried before it was seen to serve counts too"
    meter.observe([Counters(1, 2, 110, 50)], WHOSE)
    assert meter.take([]) == {DEVICE: 10}


def test_a_connection_that_ended_counts_to_its_end_and_once() -> None:
    meter = Meter()
    meter.serve(DEVICE)
    meter.observe([Counters(1, 1, 100, 0)], WHOSE)
    meter.ended(Counters(1, 3, 130, 5), None)
    meter.ended(Counters(3, 1, 20, 0), DEVICE)
    meter.ended(Counters(8, 1, 20, 0), None)
    assert meter.take([]) == {DEVICE: 155}


def test_counters_that_begin_again_are_not_taken_for_the_old_ones() -> None:
    meter = Meter()
    meter.serve(DEVICE)
    meter.observe([Counters(1, 1, 100, 0)], WHOSE)
    meter.restarted()
    meter.observe([Counters(1, 1, 30, 0)], WHOSE)
    assert meter.take([]) == {DEVICE: 130}


def test_callers_that_left_are_forgotten() -> None:
    meter = Meter()
    meter.observe([Counters(2, 1, 10, 0)], WHOSE)
    meter.ended(Counters(2, 1, 10, 0), None)
    meter.take([CALLER])
    assert meter._carried == {CALLER: 10}
    meter.take([])
    assert meter._carried == {}
