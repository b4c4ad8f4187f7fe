"""What Storj published, and the formulas it is from, so that the same model can be asked about both networks.

Source: Storj Labs, “Storj: A Decentralized Cloud Storage Network Framework”, version 3.1, https://github.com/storj/whitepaper: section 3.4
(`POISSON`), section 7.1 (`loss`, `traffic`; after Giroire, Monteiro and Pérennes, “Peer-to-Peer Storage Systems: a Practical Guideline to
be Lazy”, 2010), section 7.3 (`DECISIONS`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LINK = "https://github.com/storj/whitepaper"
"""Where the whitepaper is, with its sources."""

PAYOUT_LINK = "https://github.com/ReneSmeekes/storj_earnings"
"""Where what Storj pays to its nodes was read: 1.50 US dollars for a TB and month, 2 for a TB of egress, repairs included (April 2024)."""

POISSON = (
    (2, 4, 99.207366813274616),
    (4, 8, 99.858868985411326),
    (8, 16, 99.995462406878260),
    (16, 32, 99.999994620652776),
    (20, 40, 99.999999807694154),
    (32, 64, 99.999999999990544),
    (4, 6, 97.688471224736705),
    (4, 12, 99.999514117129605),
    (20, 30, 99.970766304935266),
    (20, 50, 99.999999999999548),
    (100, 150, 99.999999999973570),
)
"""k, n, and how probably a file is kept over a month in which a tenth of the nodes goes and nobody repairs: per cent."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A row of the table by which Storj chose its code."""

    months: int
    """Until a node goes, on the average."""
    k: int
    n: int
    threshold: int
    traffic: float
    """Bytes that repairs move a month, for each byte that was put."""
    nines: int
    """Of durability."""


DECISIONS = (
    Decision(1, 20, 40, 35, 9.36, 8),
    Decision(6, 20, 40, 30, 0.87, 17),
    Decision(12, 20, 40, 25, 0.31, 13),
    Decision(1, 30, 60, 35, 3.40, 4),
    Decision(6, 30, 70, 40, 0.60, 15),
    Decision(12, 30, 80, 45, 0.31, 25),
    Decision(1, 40, 80, 60, 5.21, 4),
    Decision(6, 40, 120, 50, 0.52, 14),
    Decision(12, 40, 120, 45, 0.24, 11),
)
"""Section 7.3's table."""

REBUILDING = 0.5 * 12 / 365
"""Months that rebuilding takes, for which the published losses come out: half a day. The paper does not say what it took."""


def kept(k: int, n: int, gone: float) -> float:
    """How probably a file is kept if on the average this part of its pieces goes, by the Poisson distribution; section 3.4.

    >>> round(100 * kept(20, 30, 0.1), 6)
    99.970766
    """
    mean = gone * n
    return math.exp(-mean) * math.fsum(mean**count / math.factorial(count) for count in range(n - k + 1))


def loss(decision: Decision, rebuilding: float = REBUILDING) -> float:
    """The loss rate of section 7.1."""
    k, n, m = decision.k, decision.n, decision.threshold
    return math.perm(m, m - k + 1) / ((m + 1) * math.log(n / m)) * (rebuilding / decision.months) ** (m - k + 2)


def traffic(decision: Decision) -> float:
    """Bytes that repairs move a month for each byte that was put; section 7.1.

    >>> round(traffic(DECISIONS[0]), 2)
    9.36
    """
    return (decision.n - decision.threshold + decision.k) / (decision.k * math.log(decision.n / decision.threshold)) / decision.months
