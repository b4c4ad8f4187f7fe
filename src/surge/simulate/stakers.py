"""Who stakes behind others: for a part of their pay, and of what they lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surge.simulate.books import Books
from surge.simulate.devices import Array

RESTLESS = 0.05
"""The chance that a staker looks for another operator in its week."""


@dataclass(slots=True)
class Stakers:
    """Stakers, each behind one operator or none. Theirs is a share of what is staked there, so that a slash takes from all alike."""

    operator: Array
    """Whom each stakes behind; -1 for nobody."""
    shares: Array
    """Each one's shares of its operator's pool."""
    held: Array
    """Grains of each that are staked behind nobody."""
    free: Array
    """The day from which each may stake what it holds."""
    pool: Array
    """Shares of each operator's pool."""

    @classmethod
    def drawn(cls, count: int, operators: int, total: int, random: Any) -> Stakers:
        """Draw stakers that hold at most `total` grains together, and stake behind nobody yet."""
        size = random.pareto(1.5, count) + 0.1
        held = np.floor(size / size.sum() * (total * 0.999)).astype(np.int64)
        nobody: Array = np.full(count, -1, dtype=np.int64)
        return cls(nobody, np.zeros(count), held, np.zeros(count, dtype=np.int64), np.zeros(operators))

    def move(self, day: int, books: Books, active: Array, yields: Array, unbonding: int, random: Any) -> None:
        """A seventh of the stakers looks around: some leave their operator, and those who are free choose the better of two.

        Args:
            day: today.
            books: the accounts.
            active: which operators work.
            yields: what staking a grain behind each operator earned lately; 0 for those that share nothing.
            unbonding: days until stake that leaves is free.
            random: the generator.
        """
        mine = np.arange(day % 7, len(self.operator), 7)
        restless = random.random(len(mine)) < RESTLESS
        two = random.integers(0, len(active), (2, len(mine)))
        there = self.operator[mine]
        leaves = mine[(there >= 0) & (restless | ~active[np.maximum(there, 0)])]
        joins = (there < 0) & (self.free[mine] <= day) & (self.held[mine] > 0)
        self._leave(leaves, day + unbonding, books)
        worth = np.where(active[two], yields[two], 0.0)
        better = np.where(worth[0] >= worth[1], two[0], two[1])
        joins &= np.maximum(worth[0], worth[1]) > 0
        self._join(mine[joins], better[joins], books)

    def _leave(self, who: Array, free: int, books: Books) -> None:
        there = self.operator[who]
        part = np.divide(self.shares[who], self.pool[there], out=np.zeros(len(who)), where=self.pool[there] > 0)
        amount = np.maximum(
            np.floor(books.behind[there] * np.minimum(part, 1.0)).astype(np.int64) - 1, 0
        )  # nobody gets by rounding what is another's
        gone = np.zeros_like(books.behind)
        np.add.at(gone, there, amount)
        books.behind -= gone
        np.subtract.at(self.pool, there, self.shares[who])
        self.pool[self.pool < 1e-3] = 0.0
        books.idle += int(amount.sum())
        self.held[who] += amount
        self.shares[who] = 0.0
        self.operator[who] = -1
        self.free[who] = free

    def _join(self, who: Array, operator: Array, books: Books) -> None:
        amount = self.held[who]
        price = np.divide(books.behind[operator], self.pool[operator], out=np.ones(len(who)), where=self.pool[operator] > 0)
        open_ = price > 0
        who, operator, amount, price = who[open_], operator[open_], amount[open_], price[open_]
        self.shares[who] = amount / price
        np.add.at(self.pool, operator, self.shares[who])
        np.add.at(books.behind, operator, amount)
        books.idle -= int(amount.sum())
        self.held[who] = 0
        self.operator[who] = operator
