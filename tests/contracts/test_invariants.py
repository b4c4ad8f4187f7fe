"""Whatever strangers, buyers and providers do in whatever order, the channels' invariants hold."""

from __future__ import annotations

import boa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from contracts_support import BUYER, DEVICE, OPERATOR, SESSION, STRANGER, deploy
from surge.core.receipts import Close, Voucher

ROOT = b"\x03" * 32


@pytest.fixture
def machine(deployers):
    class Channels(RuleBasedStateMachine):
        ids = Bundle("ids")

        def __init__(self) -> None:
            super().__init__()
            self.anchor = boa.env.anchor()
            self.anchor.__enter__()
            self.place = deploy(deployers)
            self.known: dict[bytes, dict] = {}
            self.opened = 0

        def teardown(self) -> None:
            self.anchor.__exit__(None, None, None)

        @rule(target=ids, amount=st.integers(1, 10**18), floor=st.integers(0, 10**18))
        def open(self, amount: int, floor: int) -> bytes:
            floor = min(floor, amount)
            self.opened += 1
            with boa.env.prank(BUYER.address):
                channel = self.place.channels.open(
                    OPERATOR.address, DEVICE.address, SESSION.address, amount, floor, 60, self.opened.to_bytes(32, "big")
                )
            assert channel not in self.known
            self.known[channel] = {"deposit": amount, "redeemed": 0, "count": 0, "floor": floor, "closed": False, "closing": False}
            return channel

        @rule(channel=ids, amount=st.integers(0, 2 * 10**18), count=st.integers(0, 50), honest=st.booleans())
        def redeem(self, channel: bytes, amount: int, count: int, honest: bool) -> None:
            known = self.known[channel]
            signer = SESSION if honest else STRANGER
            signature = signer.sign(Voucher(channel, amount, count, ROOT).digest(self.place.domain))
            news = (amount, count) > (known["redeemed"], known["count"])
            good = honest and news and amount <= known["deposit"] and not known["closed"]
            with boa.env.prank(STRANGER.address):
                if good:
                    self.place.channels.redeem((channel, amount, count, ROOT), signature)
                    known.update(redeemed=amount, count=count)
                else:
                    with boa.reverts():
                        self.place.channels.redeem((channel, amount, count, ROOT), signature)

        @rule(channel=ids, amount=st.integers(1, 10**18), mine=st.booleans())
        def top_up(self, channel: bytes, amount: int, mine: bool) -> None:
            known = self.known[channel]
            with boa.env.prank((BUYER if mine else STRANGER).address):
                if mine and not known["closed"] and not known["closing"]:
                    self.place.channels.top_up(channel, amount)
                    known["deposit"] += amount
                else:
                    with boa.reverts():
                        self.place.channels.top_up(channel, amount)

        @rule(channel=ids, floor=st.integers(0, 2 * 10**18), mine=st.booleans())
        def raise_floor(self, channel: bytes, floor: int, mine: bool) -> None:
            known = self.known[channel]
            with boa.env.prank((BUYER if mine else STRANGER).address):
                if mine and not known["closed"] and not known["closing"] and known["floor"] < floor <= known["deposit"]:
                    self.place.channels.raise_floor(channel, floor)
                    known["floor"] = floor
                else:
                    with boa.reverts():
                        self.place.channels.raise_floor(channel, floor)

        @rule(channel=ids)
        def start_close(self, channel: bytes) -> None:
            known = self.known[channel]
            with boa.env.prank(BUYER.address):
                if known["closed"] or known["closing"]:
                    with boa.reverts():
                        self.place.channels.start_close(channel)
                else:
                    self.place.channels.start_close(channel)
                    known["closing"] = True

        @rule(channel=ids, amount=st.integers(0, 2 * 10**18), count=st.integers(0, 50), honest=st.booleans())
        def close_together(self, channel: bytes, amount: int, count: int, honest: bool) -> None:
            known = self.known[channel]
            digest = Close(channel, amount, count, ROOT).digest(self.place.domain)
            signatures = (DEVICE if honest else STRANGER).sign(digest), SESSION.sign(digest)
            with boa.env.prank(STRANGER.address):
                if honest and known["redeemed"] <= amount <= known["deposit"] and not known["closed"]:
                    self.place.channels.close_together((channel, amount, count, ROOT), *signatures)
                    known.update(closed=True, redeemed=max(amount, known["floor"]), count=count)
                else:
                    with boa.reverts():
                        self.place.channels.close_together((channel, amount, count, ROOT), *signatures)

        @rule(channel=ids, wait=st.booleans())
        def finish_close(self, channel: bytes, wait: bool) -> None:
            known = self.known[channel]
            if wait:
                boa.env.time_travel(seconds=61)
                if known["closing"] and not known["closed"]:
                    self.place.channels.finish_close(channel)
                    known.update(closed=True, redeemed=max(known["redeemed"], known["floor"]))
            elif not known["closing"] or known["closed"]:
                with boa.reverts():
                    self.place.channels.finish_close(channel)

        @invariant()
        def the_contract_holds_what_is_owed(self) -> None:
            owed = sum(each["deposit"] - each["redeemed"] for each in self.known.values() if not each["closed"])
            assert self.place.token.balanceOf(self.place.channels.address) == owed

        @invariant()
        def a_closed_channel_has_paid_its_floor(self) -> None:
            for channel, known in self.known.items():
                found = self.place.channels.state(channel)
                assert not found.closed or found.redeemed >= known["floor"]

        @invariant()
        def what_was_redeemed_never_falls(self) -> None:
            for channel, known in self.known.items():
                found = self.place.channels.state(channel)
                assert (found.redeemed, found.count, found.closed) == (known["redeemed"], known["count"], known["closed"])

    return Channels


def test_invariants_hold_in_any_order(machine) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)),
    )
