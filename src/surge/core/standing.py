"""How a provider stands with one buyer: a number between 0 and 1, and what made it so.

The buyer's own experience is what counts. It enters as in the beta reputation system (Jøsang and Ismail, 2002): so many good and bad events
make the expectation (good + 1) / (good + bad + 2), a half where nothing is known. Every event loses half its weight with each `HALF_LIFE`
that passes, so that what is long ago neither condemns nor recommends.

What the ledger shows stands in for experience that the buyer does not have: it moves where one begins, and the buyer's own events outweigh
it after a few. It can be bought, by paying oneself, for the protocol's fee. So it counts as what it cost, and is worth no more than that:
see `fees_shift`, and docs/standing.md for the proof.

Pure. Probabilities and times are floats: nothing here is signed or paid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from surge.core.text import counted, span
from surge.core.types import Address

DAY = 86_400.0
"""Seconds of a day."""

HALF_LIFE = 30 * DAY
"""Seconds in which what happened loses half its weight."""

FAULT_HALF_LIFE = 365 * DAY
"""Seconds in which a fault that the ledger shows does."""

PRIOR = 2.0
"""Events that what the ledger shows counts like: the two of the beta distribution that knows nothing, Beta(1, 1)."""

BEGIN = 0.5
"""The expectation of Beta(1, 1): where everybody begins."""

CHECKED = 8.0
"""Accepted units that one more counts like that was run again and found right: of the others it is known that an answer came."""

LOCAL, AWAY, UNSIGNED, BROKE = 0.25, 0.25, 1.0, 16.0
"""Bad events that these count like: a unit that ended with no result, a session that broke, a receipt that was not what was asked, a broken
protocol. The first two prove nothing against anybody, so they weigh little."""

FAULT = 100.0
"""Bad events that a fault proved on the ledger counts like, or another device of the operator that was caught here."""

SLOW, SLOWNESS = 0.05, 4.0
"""What a device that stands still would lose; how many times slower than it states one may be at no loss: jobs differ that much."""

BUYER_SCALE = 2 * 10**16
"""Wei of fees after which a further wei of the same buyer counts half: 2 SURGE of work at a fee of 1 %."""

FEES_SCALE = 10**17
"""Wei of fees, so counted, that are worth half of the most that fees are worth."""

BOND_MOST, BOND_SCALE = 0.05, 100 * 10**18
"""What a bond moves the beginning by at most, and the wei that move it by half of that. It is lent, not burnt: see docs/standing.md."""

PROVEN = 16.0
"""Events, weighed by age, that make somebody known here: accepted units and checks."""

IN_VAIN = 8
"""Units asked of a device that never gave a result, after which it is only asked where nobody else is."""

Count = tuple[float, float]
"""When (Unix seconds), and how often or how much."""


@dataclass(frozen=True, slots=True)
class Payment:
    """Fees that a buyer's payments to an operator cost."""

    time: float
    """Unix seconds."""
    buyer: Address
    """Who opened the channel."""
    fee: int
    """Wei that went to the protocol, and to nobody who took part."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the ledger proves against an operator."""

    time: float
    """Unix seconds."""
    what: str
    """For people: "its bond was slashed", "it signed two receipts of one number", "it lost a case"."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger shows of an operator. The default is one that it does not show."""

    payments: tuple[Payment, ...] = ()
    """What it was paid, in any order."""
    bond: int | None = None
    """Wei; None where that is not known."""
    faults: tuple[Fault, ...] = ()
    """What was proved against it."""


@dataclass(frozen=True, slots=True)
class Experience:
    """What a buyer saw of a device. The default is nothing. Counts are in any order."""

    accepted: tuple[Count, ...] = ()
    """Units whose receipts it accepted."""
    passed: tuple[Count, ...] = ()
    """Units that were run again and found right."""
    caught: tuple[Count, ...] = ()
    """Units that were run again and found wrong."""
    unsigned: tuple[Count, ...] = ()
    """Receipts that it refused: not what was asked."""
    local: tuple[Count, ...] = ()
    """Units that ended with no result."""
    away: tuple[Count, ...] = ()
    """Times that the session broke."""
    broke: tuple[Count, ...] = ()
    """Times that the device broke the protocol."""
    asked: tuple[Count, ...] = ()
    """Units that it was asked for."""
    speed: float | None = None
    """Fuel per second of one core as measured here; None where too little was."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A part of a standing."""

    text: str
    """For people."""
    adds: float
    """What it adds to the standing, or takes from it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a device stands. The reasons add up to the value."""

    value: float = BEGIN
    """Between 0 and 1."""
    reasons: tuple[Reason, ...] = (Reason("where everybody begins", BEGIN),)
    caught: bool = False
    """Whether the buyer found a result of it wrong: it is not used again."""
    in_vain: bool = False
    """Whether it never gave a result, though it was asked often enough."""
    known: bool = False
    """Whether the buyer has had enough of it to judge it by."""
    speed: float | None = field(default=None, compare=False)
    """Fuel per second of one core as measured here; None where too little was."""


def standing(
    record: Record,
    experience: Experience,
    *,
    now: float,
    fee_bps: int,
    stated: int | None = None,
    siblings: Sequence[Count] = (),
) -> Standing:
    """How a device of an operator with this record stands with a buyer that had this experience of it.

    Args:
        record: what the ledger shows of the operator.
        experience: what the buyer saw of the device.
        now: Unix seconds.
        fee_bps: the protocol's fee in basis points: what a payment to oneself costs.
        stated: fuel per second of one core, as the device states it.
        siblings: units of the operator's other devices that the buyer found wrong.
    """

    def seen(counts: Iterable[Count], half_life: float = HALF_LIFE) -> float:
        return sum(count * weight(now - time, half_life) for time, count in counts)

    good = [
        (seen(experience.accepted), _counted(experience.accepted, "unit", " accepted here", now)),
        (CHECKED * seen(experience.passed), _counted(experience.passed, "unit", " of them run again and found right", now)),
    ]
    faults = [(each.time, 1.0) for each in record.faults]
    bad = [
        (UNSIGNED * seen(experience.unsigned), _counted(experience.unsigned, "receipt", " that was not what was asked", now)),
        (LOCAL * seen(experience.local), _counted(experience.local, "unit", " ended with no result", now)),
        (AWAY * seen(experience.away), _counted(experience.away, "time", " its session broke", now)),
        (BROKE * seen(experience.broke), _counted(experience.broke, "time", " it broke the protocol", now)),
        (FAULT * seen(siblings), _counted(siblings, "unit", " of its operator's other devices found wrong", now)),
        (FAULT * seen(faults, FAULT_HALF_LIFE), _faults(record.faults, now)),
    ]
    shifts = [(_fees(record.payments, now, fee_bps)), *([_bond(record.bond)] if record.bond is not None else [])]
    total = PRIOR + sum(count for count, _ in good + bad)
    reasons = [
        Reason("where everybody begins", BEGIN),
        *(Reason(text, BEGIN * count / total) for count, text in good if text),
        *(Reason(text, -BEGIN * count / total) for count, text in bad if text),
        *(Reason(text, PRIOR * shift / total) for shift, text in shifts if text),
    ]
    value = sum(each.adds for each in reasons)
    if experience.speed is not None and stated and (slow := 1 - SLOWNESS * experience.speed / stated) > 0:
        text = f"it works at {100 * experience.speed / stated:.0f} % of the speed that it states"
        reasons.append(Reason(text, -SLOW * slow * value))
        value -= SLOW * slow * value
    if caught := _counted(experience.caught, "unit", " run again and found wrong: it is not used here again", now):
        reasons.append(Reason(caught, -value))
        value = 0.0
    in_vain = seen(experience.asked) >= IN_VAIN and not experience.accepted
    if in_vain:
        reasons.append(Reason(_counted(experience.asked, "unit", " asked of it, and never a result", now), -value))
        value = 0.0
    known = sum(count for count, _ in good) >= PROVEN
    return Standing(min(max(value, 0.0), 1.0), tuple(reasons), bool(caught), in_vain, known, experience.speed)


def weight(age: float, half_life: float = HALF_LIFE) -> float:
    """What something so many seconds ago still weighs; what is said to be of the future, no more than what is now.

    >>> weight(0.0), weight(HALF_LIFE), weight(-5.0)
    (1.0, 0.5, 1.0)
    """
    return float(2.0 ** (-max(age, 0.0) / half_life))


def evidence(payments: Iterable[Payment], now: float) -> float:
    """Wei of fees, weighed by age, each buyer's diminishing: never more than was burnt, through however many wallets it went.

    A buyer's fees f count as c ln(1 + f / c), c being `BUYER_SCALE`: f at first, ever less of what follows.
    """
    paid: dict[Address, float] = {}
    for each in payments:
        paid[each.buyer] = paid.get(each.buyer, 0.0) + each.fee * weight(now - each.time)
    return sum(BUYER_SCALE * math.log1p(fees / BUYER_SCALE) for fees in paid.values())


def fees_shift(counted_fees: float, fee_bps: int) -> float:
    """What fees move the beginning by: at most half of the protocol's fee, as a fraction.

    A hundredth of standing is worth a hundredth of the price (`choosing.effective_price`), so this is worth at most half of the fee on what
    is earned thereby. With x(e) = e / (e + s), s being `FEES_SCALE`, whoever burns F on payments to itself gains no more than
    (s ln(1 + F / s) + F / 4) / 2 < F ever after, whatever it earns and from however many buyers.
    """
    return fee_bps / 20_000 * counted_fees / (counted_fees + FEES_SCALE)


def bond_shift(bond: int) -> float:
    """What a bond of so many wei moves the beginning by."""
    return BOND_MOST * bond / (bond + BOND_SCALE)


def _fees(payments: Sequence[Payment], now: float, fee_bps: int) -> tuple[float, str]:
    if not payments:
        return 0.0, ""
    buyers = counted(len({each.buyer for each in payments}), "buyer")
    total = sum(each.fee for each in payments)
    age = now - min(each.time for each in payments)  # they are summed up by the week, at its middle
    when = "this week" if age <= 3.5 * DAY else f"since {span(age)} ago"
    text = f"{buyers} paid it and {total} wei of fees on the ledger, {when} (age itself counts nothing)"
    return fees_shift(evidence(payments, now), fee_bps), text


def _bond(bond: int) -> tuple[float, str]:
    return bond_shift(bond), f"its operator stakes {bond} wei" if bond else "its operator stakes nothing"


def _faults(faults: Sequence[Fault], now: float) -> str:
    return "; ".join(f"{each.what} {span(now - each.time)} ago" for each in sorted(faults, key=lambda each: -each.time))


def _counted(counts: Sequence[Count], thing: str, what: str, now: float) -> str:
    """What happened how often, and when last; empty if it never did."""
    number = round(sum(count for _, count in counts))
    if not number:
        return ""
    days = round((now - max(time for time, _ in counts)) / DAY)  # they are counted by the day, at its noon
    return f"{counted(number, thing)}{what}, the last {'today' if days < 1 else 'yesterday' if days == 1 else f'{days:,} days ago'}"
