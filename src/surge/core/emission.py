"""What is minted for work, as the contract `emissions` computes it.

An epoch's budget decays and is shared in proportion to the protocol's fees that work paid in; nobody is paid more than a fixed part of
its own fees, which is below one: who deals with itself pays more than it gets.

Amounts are wei as Python ints, exactly as the contract rounds them. NumPy arrays do as well, for models: float arrays, or object arrays of
Python ints; 64 bits hold no products of wei.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ONE = 10**18
"""One, in the fixed point of `decay`."""

BPS = 10_000
"""Basis points in the whole."""

MAX_WORK_BPS = 9_000
"""The work fraction's cap: nobody is paid more than 90 % of the fees it brought in."""

MIN_DECAY, MAX_DECAY = ONE // 2, ONE - 10**12
"""What an epoch may keep of the last one's budget."""


@dataclass(frozen=True, slots=True)
class EmissionParameters:
    """The numbers that emissions start from. The order is the contract's."""

    first_budget: int = 4 * 10**6 * ONE
    """Wei that the first epoch's work may have minted at most; no later budget is higher."""
    decay: int = ONE * 996 // 1_000
    """What each epoch keeps of the last one's budget: with epochs of a week 81 % a year, and a thousand million SURGE in all time."""
    work_bps: int = 8_000
    """The most that is minted for work, in basis points of the fees that it paid."""


def kept(decay: int, epochs: int) -> int:
    """What is left of a budget of `ONE` after so many epochs that keep `decay` each, by squaring, each product rounded down."""
    left, factor = ONE, decay
    while epochs and left:
        if epochs & 1:
            left = left * factor // ONE
        factor = factor * factor // ONE
        epochs >>= 1
    return left


def budget(first: Any, decay: int, epochs: Any) -> Any:
    """The budget in wei of the epoch `epochs` after one whose budget is `first`.

    Ints give the contract's int. Where `epochs` is an array the budgets are an array of floats of its shape.
    """
    if isinstance(epochs, int):
        return first * kept(decay, epochs) // ONE
    return first * (decay / ONE) ** epochs


def reward(budget: Any, fees: Any, epoch_fees: Any, work_bps: int = MAX_WORK_BPS) -> Any:
    """The reward in wei of whoever brought in `fees` of an epoch's `epoch_fees`: arrays give arrays, of their common shape.

    The share of the budget or the work fraction of the fees, whichever is less; nothing where no fees were paid.
    """
    share = budget * fees // (epoch_fees + (epoch_fees == 0))
    most = fees * work_bps // BPS
    return most + (share - most) * (share < most)
