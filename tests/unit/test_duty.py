"""What a juror does next, and what it commits to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from surge.core.duty import NO_INPUTS, PATIENCE, Knowledge, Phase, Sight, Step, commitment_of, inputs_until, next_step
from surge.core.types import ZERO, Address

END, WINDOW = 1000, 100
SIGHT = Sight(Phase.COMMIT, END, WINDOW, mine=True, place=0, commitment=ZERO, revealed=False)
DONE = replace(SIGHT, commitment=b"c" * 32)
REVEAL = replace(DONE, phase=Phase.REVEAL)
NOTHING, HERE, SETTLED = Knowledge(False, False), Knowledge(True, False), Knowledge(True, True)
HALF = END - WINDOW // 2


@pytest.mark.parametrize(
    ("sight", "known", "now", "step"),
    [
        (SIGHT, NOTHING, HALF - 1, Step.WAIT),
        (SIGHT, NOTHING, HALF, Step.GIVE_UP),
        (SIGHT, HERE, HALF - 1, Step.RUN),
        (SIGHT, HERE, END - 1, Step.RUN),
        (SIGHT, SETTLED, END - 1, Step.COMMIT),
        (SIGHT, Knowledge(False, True), HALF, Step.COMMIT),
        (DONE, SETTLED, END - 1, Step.WAIT),
        (DONE, SETTLED, END, Step.REVEAL),
        (REVEAL, SETTLED, END - 1, Step.REVEAL),
        (replace(REVEAL, revealed=True), SETTLED, END - 1, Step.WAIT),
        (replace(REVEAL, revealed=True), SETTLED, END, Step.ADVANCE),
        (REVEAL, SETTLED, END, Step.ADVANCE),
        (SIGHT, HERE, END, Step.ADVANCE),
        (replace(REVEAL, commitment=ZERO), SETTLED, END - 1, Step.WAIT),
        (replace(REVEAL, phase=Phase.EXTEND), SETTLED, END - 1, Step.WAIT),
        (replace(REVEAL, phase=Phase.EXTEND), SETTLED, END, Step.ADVANCE),
        (replace(REVEAL, phase=Phase.OVER), SETTLED, END, Step.FORGET),
        (replace(SIGHT, mine=False, phase=Phase.ANSWER), SETTLED, END - 1, Step.FORGET),
        (replace(REVEAL, revealed=True, place=3), SETTLED, END + 3 * PATIENCE - 1, Step.WAIT),
        (replace(REVEAL, revealed=True, place=3), SETTLED, END + 3 * PATIENCE, Step.ADVANCE),
    ],
)
def test_a_juror_does_what_is_next(sight: Sight, known: Knowledge, now: int, step: Step) -> None:
    assert next_step(sight, known, now) is step


@given(
    st.sampled_from(Phase), st.integers(0, 2000), st.integers(1, 500), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 3000),
)  # fmt: skip
def test_a_juror_never_commits_twice_reveals_early_or_runs_what_is_not_there(
    phase: Phase, end: int, window: int, mine: bool, committed: bool, inputs: bool, answered: bool, now: int
) -> None:
    sight = Sight(phase, end, window, mine, 0, b"c" * 32 if committed else ZERO, revealed=False)
    step = next_step(sight, Knowledge(inputs, answered), now)
    if step in (Step.COMMIT, Step.RUN, Step.GIVE_UP):
        assert phase is Phase.COMMIT
        assert now < end
        assert not committed
        assert mine
    if step is Step.RUN:
        assert inputs
        assert not answered
    if step is Step.GIVE_UP:
        assert not inputs
        assert now >= inputs_until(end, window)
    if step is Step.REVEAL:
        assert committed
        assert answered
        assert phase is Phase.REVEAL or now >= end
    if step is Step.ADVANCE:
        assert now >= end


def test_a_commitment_is_the_contracts() -> None:
    juror = Address("0x" + "ab" * 20)
    said = (7, juror, b"s" * 32, b"r" * 32, 12345, b"w" * 32)
    encoded = abi_encode(("uint256", "address", "bytes32", "bytes32", "uint256", "bytes32"), said)
    assert commitment_of(*said) == keccak(encoded)
    assert keccak(b"inputs unavailable") == NO_INPUTS
