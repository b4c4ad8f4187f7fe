"""What a network is founded with: the numbers that its contracts keep for ever, or that their owner starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

from surge.core import court
from surge.core.court import CourtParameters
from surge.core.emission import EmissionParameters

SURGE = 10**18
"""Wei of a SURGE."""


@dataclass(frozen=True, slots=True)
class StorageParameters:
    """The numbers that challenges are founded with: all but the fee for ever. The order is the contract's."""

    period_seconds: int = 86_400
    """In which a holder is audited and paid once; a pledge spans two at most."""
    deadline_seconds: int = 86_400
    """For a holder to answer a challenge on the ledger: no longer than a period, which a shard is kept after its last pledge."""
    fee: int = SURGE
    """Wei that opening a challenge takes now: at least what an answer costs in gas."""
    least_fee: int = SURGE // 100
    """Wei: the fee is never below."""
    most_fee: int = 100 * SURGE
    """Wei: nor above."""
    least_penalty: int = SURGE
    """Wei that a pledge puts at stake at least."""
    most_penalty: int = 10 * SURGE
    """Wei that it puts at stake at most."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The numbers of a network. The contracts hold each to bounds of their own."""

    supply: int = 10**9 * SURGE
    """Wei that the deployer gets at first: a thousand million SURGE."""
    cap: int = 2 * 10**9 * SURGE
    """Wei that there may ever be at once."""
    fee_bps: int = 100
    """The protocol's fee in basis points of what providers are paid: 1 %."""
    min_bond: int = 100 * SURGE
    """Wei of its own stake below which an operator's pay is retained."""
    unbonding_seconds: int = 21 * 86_400
    """Between leaving and taking out: longer than a claim's greatest age and the longest case."""
    epoch_seconds: int = 7 * 86_400
    """Of an epoch, by which fees are counted."""
    court: CourtParameters | None = field(default_factory=CourtParameters)
    """The court's, for ever; None for a network without one."""
    emissions: EmissionParameters | None = field(default_factory=EmissionParameters)
    """What emissions start from; None for a network without any."""
    storage: StorageParameters | None = field(default_factory=StorageParameters)
    """What challenges are founded with; None for a network without any."""


PUBLIC = Parameters()
"""What `surge network init` begins with."""

EMBEDDED = Parameters(
    min_bond=SURGE,
    unbonding_seconds=7_200,
    epoch_seconds=600,
    court=court.EMBEDDED,
    storage=StorageParameters(
        period_seconds=120,
        deadline_seconds=60,
        fee=SURGE // 100,
        least_fee=SURGE // 1_000,
        most_fee=SURGE // 10,
        least_penalty=SURGE // 100,
        most_penalty=SURGE // 10,
    ),
)
"""For a ledger on one machine: everything is as on a public one, in hours and minutes instead of weeks and days."""
