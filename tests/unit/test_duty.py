"""What a juror does next, and the opener of a case."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core.court import Phase
from surge.core.duty import PATIENCE, Knowledge, OpenerStep, Sight, Step, inputs_until, next_step, opener_step
from surge.core.types import ZERO

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


@pytest.mark.parametrize(
    ("phase", "late", "all_said", "extend", "step"),
    [
        (Phase.ANSWER, False, True, True, OpenerStep.WAIT),
        (Phase.ANSWER, True, True, True, OpenerStep.ADVANCE),
        (Phase.DRAW, False, True, True, OpenerStep.DRAW),
        (Phase.DRAW, True, True, True, OpenerStep.ADVANCE),
        (Phase.COMMIT, False, True, True, OpenerStep.DELIVER),
        (Phase.REVEAL, False, False, True, OpenerStep.WAIT),
        (Phase.REVEAL, False, True, True, OpenerStep.ADVANCE),
        (Phase.REVEAL, True, False, True, OpenerStep.ADVANCE),
        (Phase.EXTEND, False, False, True, OpenerStep.EXTEND),
        (Phase.EXTEND, False, False, False, OpenerStep.WAIT),
        (Phase.EXTEND, True, False, True, OpenerStep.ADVANCE),
        (Phase.OVER, True, True, True, OpenerStep.END),
    ],
)
def test_an_opener_does_what_is_next(phase: Phase, late: bool, all_said: bool, extend: bool, step: OpenerStep) -> None:
    assert opener_step(phase, END, END if late else END - 1, all_said=all_said, extend=extend) is step
