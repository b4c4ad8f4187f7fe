"""The court's rules, as its contract computes them: fees and bounds, deadlines, seeds, who is drawn, digests, and who gets what.

Sources: the bribe bound and who is paid stand in `docs/decisions/0008-court.md`; the contract in `contracts/court.vy` and the modules it
is composed of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from surge.core.eip712 import address_word, word
from surge.core.keccak import keccak256
from surge.core.receipts import Signed, Terms
from surge.core.types import GIGA, ZERO, Address, Fuel, Wei

SIZES = (5, 15, 45)
"""Jurors of the first, the second and the third size."""

OPENING = SIZES[:2]
"""Jurors that a case may be opened with; the largest jury is called after another one."""

GROWTH = 3
"""How many times larger the next jury is."""

MAX_BOND_FEES = 10
"""What an opener risks at least is no more than so many of the least fee."""

NO_INPUTS = keccak256(b"inputs unavailable")
"""32 bytes: the witness of a juror who did not get the unit's inputs."""

PART = 4
"""What the winning side, and the jurors together, get of what the loser loses beside the costs: a quarter each."""

IDLE_PART = 4
"""Jurors who got no inputs are paid a quarter of the fee."""

REPORTER_PART = 10
"""Of what equivocating costs, who reports it gets a tenth."""

TURNS, TURNS_EACH = 64, 8
"""Seats that a draw looks at: so many, and so many for each juror."""


class Phase(IntEnum):
    """What a case waits for."""

    ANSWER = 1
    """The accused's link."""
    DRAW = 2
    """The opener's secret."""
    COMMIT = 3
    """Jurors' commitments."""
    REVEAL = 4
    """Jurors' answers."""
    EXTEND = 5
    """The opener's call for a larger jury."""
    OVER = 6
    """Nothing."""


class Outcome(IntEnum):
    """How a case ended; 0 while it is open."""

    ACQUITTED = 1
    """A jury found the accused's result and fuel: the opener loses."""
    CONVICTED = 2
    """A jury found the opener's: the accused loses."""
    BOTH_WRONG = 3
    """A jury found another: the accused loses, and the opener has no reward."""
    NO_INPUTS = 4
    """A jury did not get the inputs, and no larger one was called: the opener loses, the accused gets nothing of it."""
    NO_LINK = 5
    """The accused kept its link, and loses."""
    NO_SECRET = 6
    """The opener kept its secret, and loses."""
    DISMISSED = 7
    """Too few jurors were found, and no jury before had a majority."""
    UNRESOLVED = 8
    """No jury gave a verdict, no larger one was called, and the last one's majority was not against the opener."""
    UNFIT = 9
    """Most seats cannot run what the opener asks for: the opener loses, the accused gets nothing of it."""


@dataclass(frozen=True, slots=True)
class CourtParameters:
    """The numbers that a court is founded with, for ever. The order is the contract's."""

    answer_seconds: int = 86_400
    """For the accused to give its link."""
    draw_seconds: int = 86_400
    """For the opener to give its secret."""
    commit_seconds: int = 86_400
    """For jurors to commit, on top of what the fuel takes."""
    reveal_seconds: int = 43_200
    """For jurors to reveal."""
    extend_seconds: int = 43_200
    """For the opener to call a larger jury."""
    max_claim_age: int = 7 * 86_400
    """Seconds after its redemption within which a receipt may be disputed."""
    fuel_per_second: int = GIGA
    """How fast a juror must be."""
    max_fuel: int = 2 * 10**13
    """The largest fuel limit of a unit that is tried."""
    opener_bond: int = 10**18
    """Wei that an opener risks at least."""
    seat_stake: int = 100 * 10**18
    """Wei that each seat risks."""
    base_fee: int = 10**17
    """Wei for each juror and case."""
    gigafuel_fee: int = 10**15
    """Wei for each gigafuel of the fuel limit, on top."""

    def fee(self, fuel_limit: int) -> Wei:
        """Wei that each juror is paid, and pays if it does not reveal: rounded up."""
        return Wei(self.base_fee + (fuel_limit * self.gigafuel_fee + GIGA - 1) // GIGA)

    def fine(self, fuel_limit: int, jurors: int) -> Wei:
        """Wei that a juror of such a jury loses for another answer than the verdict's: the fees of the jury that a dissent calls for."""
        return Wei(next_size(jurors) * self.fee(fuel_limit))

    def covered(self, seats: int) -> int:
        """The largest fuel limit of units whose greatest fine so many seats cover; below 0 if they cover none."""
        left = seats * self.seat_stake // SIZES[-1] - self.base_fee
        return self.max_fuel if not self.gigafuel_fee and left >= 0 else min(self.max_fuel, left * GIGA // max(1, self.gigafuel_fee))

    def max_worth(self, fuel_limit: int, jurors: int) -> Wei:
        """The bribe bound in wei: what a jury's smallest majority is paid. No verdict takes more from a bond, beside the costs.

        See `core.bribes` for why nobody gains by buying a verdict.
        """
        return Wei((jurors // 2 + 1) * self.fee(fuel_limit))

    def bond(self, worth: int) -> Wei:
        """Wei that an opener risks beside the costs: what it asks of the other side, and `opener_bond` at least."""
        return Wei(max(self.opener_bond, worth))

    def deposit(self, fuel_limit: int, jurors: int, worth: int) -> Wei:
        """Wei that opening a case takes."""
        return Wei(self.bond(worth) + jurors * self.fee(fuel_limit))

    def commit_window(self, fuel_limit: int) -> int:
        """Seconds to run a unit and commit."""
        return self.commit_seconds + fuel_limit // self.fuel_per_second

    @property
    def longest_case(self) -> int:
        """Seconds between a case's opening and the last of its deadlines, at most."""
        jury = self.answer_seconds + self.draw_seconds + self.commit_window(self.max_fuel) + self.reveal_seconds
        return len(SIZES) * jury + (len(SIZES) - 1) * self.extend_seconds

    def jury_for(self, fuel_limit: int, worth: int) -> int | None:
        """The smallest jury that a case worth so much may be opened with; None if there is none."""
        return next((size for size in OPENING if worth <= self.max_worth(fuel_limit, size)), None)


def next_size(jurors: int) -> int:
    """The jury that follows one of this size."""
    return min(GROWTH * jurors, SIZES[-1])


EMBEDDED = CourtParameters(
    answer_seconds=60,
    draw_seconds=60,
    commit_seconds=60,
    reveal_seconds=60,
    extend_seconds=60,
    max_claim_age=3_600,
    fuel_per_second=5 * GIGA,
    max_fuel=10**12,
    opener_bond=10**17,
    seat_stake=5 * 10**18,
    base_fee=10**16,
)
"""For a ledger on one machine: everything is as on a public one, in minutes instead of days."""


@dataclass(frozen=True, slots=True)
class Filing:
    """What a case is opened with: a recorded receipt, how the log shows it, and what its buyer claims instead."""

    signed: Signed
    """The receipt."""
    terms: Terms
    """What it was given under."""
    terms_signature: bytes
    """The device's, 65 bytes."""
    accepted: bool
    """How the buyer acknowledged the receipt."""
    amount: int
    """Wei that it acknowledged with."""
    index: int
    """Of the acknowledgement in the redeemed log."""
    path: Sequence[bytes]
    """Its inclusion proof there."""
    result: bytes
    """32 bytes: what should have come out."""
    fuel: int
    """What it should have taken."""
    memory: int
    """The unit's memory limit, in bytes."""
    fuel_limit: int
    """What jurors get time for, and are paid by."""
    jurors: int
    """Of the first jury."""
    worth: int
    """Wei that the accused may lose beside the costs."""
    secret: bytes
    """32 bytes never used before, which the opener keeps for the draw: the court hears their hash."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a juror found."""

    result: bytes
    """32 bytes: the unit's result."""
    fuel: int
    """What it took."""
    witness: bytes
    """32 bytes: the unit's witness (`core.units.witness_of`)."""

    @property
    def digest(self) -> bytes:
        """32 bytes that count as one answer."""
        return keccak256(self.result + word(self.fuel) + self.witness)


UNAVAILABLE = Answer(ZERO, Fuel(0), NO_INPUTS)
"""The answer of a juror who did not get the unit's inputs."""


def commitment(case: int, juror: Address, salt: bytes, answer: Answer) -> bytes:
    """What a juror commits to: 32 bytes that name it and the case, so that a copy opens for nobody else."""
    return keccak256(word(case) + address_word(juror) + salt + answer.result + word(answer.fuel) + answer.witness)


def secret_commitment(secret: bytes) -> bytes:
    """What an opener commits to: the hash of its 32 bytes."""
    return keccak256(secret)


def seed(secret: bytes, link: bytes, case: int) -> bytes:
    """What a jury is drawn with: 32 bytes out of the opener's secret, the accused's link and the case's id."""
    return keccak256(secret + link + word(case))


def drawn_place(drawn_with: bytes, turn: int, places: int) -> int:
    """The seat that a seed names at a turn, of the engine's places when the case was opened."""
    return int.from_bytes(keccak256(drawn_with + word(turn)), "big") % places


@dataclass(frozen=True, slots=True)
class Enlistment:
    """Seats that a juror took, and what it said of itself. The order is the contract's."""

    juror: Address
    """The operator."""
    seats: int
    """How many."""
    stake: int
    """Wei that is reserved for them."""
    memory: int
    """The largest memory limit it takes, in bytes."""
    fuel_cap: int
    """The largest fuel limit it takes."""
    key: bytes
    """32 bytes: its X25519 public key, for units' inputs."""
    enlisted_at: int
    """Unix seconds."""
    left_at: int
    """Unix seconds; 0 while it sits."""

    def sat(self, moment: int) -> bool:
        """Whether it stood before a moment, and not only from it on, and had not ended before it."""
        return self.enlisted_at < moment and (self.left_at == 0 or self.left_at >= moment)


def draw(
    drawn_with: bytes,
    jurors: int,
    seats: Sequence[int],
    enlistments: Mapping[int, Enlistment],
    *,
    opened_at: int,
    memory: int,
    fuel_limit: int,
    excluded: Collection[Address],
    fine: int = 0,
    pledged: Mapping[int, int] | None = None,
) -> list[Address] | Outcome:
    """The jury that a seed draws, or how the case ends without one: `DISMISSED` or `UNFIT`.

    `seats` has the enlistment of each of the engine's places as they were when the case was opened; `excluded` are the parties and who
    was drawn for the case before. Who cannot run the unit is passed over; but with more than `jurors` of them there is no jury, and the
    case is unfit. Passed over, too, is whose stake does not cover the `fine` of such a jury beside what other open cases may take of it:
    `pledged`, by enlistment.
    """
    found: list[Address] = []
    unable = 0
    for turn in range(TURNS + TURNS_EACH * jurors):
        if len(found) == jurors or unable > jurors:
            break
        number = seats[drawn_place(drawn_with, turn, len(seats))]
        seat = enlistments[number]
        if not seat.sat(opened_at) or seat.juror in excluded or seat.juror in found:
            continue
        if seat.stake < (pledged or {}).get(number, 0) + fine:
            continue
        if seat.memory < memory or seat.fuel_cap < fuel_limit:
            unable += 1
        else:
            found.append(seat.juror)
    if len(found) == jurors:
        return found
    return Outcome.UNFIT if unable > jurors else Outcome.DISMISSED


def phase_at(phase: int, deadline: int, now: int, reveal_seconds: int) -> tuple[Phase, int]:
    """What a case waits for at a moment, and until when: the time to reveal begins by itself when that to commit is over."""
    if phase == Phase.COMMIT and now >= deadline:
        return Phase.REVEAL, deadline + reveal_seconds
    return Phase(phase), deadline


def equivocation(bond: int, debts: int, free: int, own: int | None = None) -> tuple[Wei, Wei]:
    """What equivocating costs now, and what of it its reporter gets, in wei.

    `bond` is what is free together with what the court reserved, `debts` what the court is to take of that already, `free` what is free,
    `own` what the operator's own stake loses of it, which is all of it unless it is given: its reporter gets no more.
    """
    slashed = min(free, (bond - min(bond, debts)) // 2)
    return Wei(slashed), Wei(slashed // REPORTER_PART if own is None else min(slashed // REPORTER_PART, own))
