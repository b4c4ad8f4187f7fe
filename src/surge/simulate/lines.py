"""A line for every cheat that must lose: what it tries, what it gains at most by an attempt, what it loses, and the test that shows it.

Amounts are wei, computed with the functions and the parameters that the network is bound by; where chance decides they are expectations,
rounded down. A cheat is given every advantage: its work costs all that it would be paid, it is as well known as one can be, and standing,
gas and time that it loses count for nothing. It takes no NumPy.

    >>> lines()[0].cheat, lines()[0].verdict
    ('wrong output', 'loses')
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surge.core import credibility, emission, exposure
from surge.core.bribes import cheapest_bribe, verdict_moves
from surge.core.court import SIZES, Outcome, equivocation
from surge.core.parameters import SURGE
from surge.simulate.given import Given

LARGE = 1_000
"""Gigafuel of a large unit, at which lines say what would be if prices were left out of the draw of checks."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cheat, and what an attempt comes to."""

    cheat: str
    """What it is called."""
    tries: str
    """What an attempt is."""
    gain: int
    """Wei that it brings at most."""
    loses: int
    """Wei that it costs, pay that is forgone included."""
    rule: str
    """What makes it so."""
    tests: tuple[str, ...]
    """Tests that show it against the network or its contracts, without their `test_`."""
    unless: str = ""
    """Where it wins all the same, or what bounds it there."""
    possible: bool = True
    """Whether it can be done at all; otherwise `loses` is what the attempt costs beside."""

    @property
    def net(self) -> int:
        """Wei that it comes to."""
        return self.gain - self.loses

    @property
    def verdict(self) -> str:
        """`loses`, `wins`, or `cannot be done`."""
        if self.net > 0:
            return "wins"
        return "loses" if self.possible and self.net < 0 else "cannot be done" if not self.possible else "gains nothing"


def lines(given: Given | None = None) -> tuple[Line, ...]:
    """A line for each cheat."""
    at = given or Given()
    return (*_answers(at), *_receipts(at), *_buyers(at), *_court(at), *_bonds(at), _washing(at))


def shown(wei: int) -> str:
    """An amount in SURGE.

    >>> shown(15 * 10**17), shown(-10**13)
    ('1.5', '-0.00001')
    """
    return f"{wei / SURGE:,.6f}".rstrip("0").rstrip(".") if abs(wei) >= 10**12 or not wei else f"{wei / SURGE:.1e}"


def _unit(at: Given, saved: int, amount: int, blind: float = 0.0) -> tuple[int, int]:
    """What a wrong unit gains and loses: `saved` wei if it passes; else its pay, and its part of what the court takes in the end.

    A check passes it with the probability `blind`. Each unit ends the career with the same chance, so that this is a career's part.
    """
    found = at.chance(amount) * (1 - blind)
    return int(saved * (1 - found)), int(found * at.taken(found))


def _answers(at: Given) -> tuple[Line, ...]:
    pay, inflated = at.after_fee(at.price), at.amount(at.limit)
    more = at.after_fee(inflated - at.price)
    wrong, fuel, ring = _unit(at, pay, at.price), _unit(at, more, inflated), _unit(at, pay, at.price, at.ring)
    alone = _unit(replace(at, courts=False), pay, at.price)
    found = at.chance(at.price)
    large = replace(at, unit=LARGE, by_price=False)
    career = int(pay * (1 - found) / found), at.taken(found)
    blind = large.chance(large.price)
    won = int(large.after_fee(large.price) * (1 - blind) / blind) - large.taken(blind)
    handed = int(pay * found * at.ring)
    court = f"checked with a chance of {found:.2%}; then the court takes {shown(at.taken(found))} SURGE"
    return (
        Line(
            "wrong output",
            "a unit that is not done, of a device as well known as any",
            *wrong,
            court,
            ("a_liar_earns_nothing_and_the_job_is_right", "a_wrong_result_costs_who_gave_it_and_pays_who_showed_it"),
            unless=f"where nobody goes to court it comes to {shown(alone[0] - alone[1])} SURGE, until it is found and never asked again",
        ),
        Line(
            "inflated fuel",
            "the right output, billed up to the unit's limit",
            *fuel,
            f"fuel is compared and tried like the result; the chance rises with what is billed, to {at.chance(inflated):.2%}",
            ("fuel_that_is_billed_too_high_is_as_wrong_as_a_result", "the_right_result_for_inflated_fuel_costs_the_same"),
            unless="where nobody goes to court, as above",
        ),
        Line(
            "a copy of another's answer",
            "a unit is answered with what another gave",
            *wrong,
            "answers are sealed for the buyer, an operator is asked once: what can be copied is another unit's, and so wrong",
            ("devices_of_one_operator_do_not_check_each_other", "copies_go_to_different_operators_and_a_quorum_decides"),
            unless=f"an accomplice of another operator hands over a right answer: in a ring of {at.ring:.0%} that is worth {shown(handed)} "
            "SURGE a unit, and the answer is as good as the accomplice's",
        ),
        Line(
            "a ring that agrees on wrong answers",
            f"a unit that is not done, and checks by {at.ring:.0%} of the devices that confirm it",
            *ring,
            "whoever outside the ring checks finds it, and so does this machine where it has the engine; operators count once",
            ("a_ring_of_operators_that_agrees_on_wrong_answers_loses_to_one_run_here", "a_liar_among_others_is_outvoted"),
            unless="where nobody goes to court, or the ring is nearly all that there is to check with and this machine cannot",
        ),
        Line(
            "answering only when likely unaudited",
            "a turncoat: right until nothing lowers the chance of a check, then always wrong",
            *career,
            f"the check is drawn after the answer is signed; the chance never falls below {at.least_chance:.2%}",
            ("who_turns_after_it_was_credible_is_caught_and_its_results_are_computed_again", "a_forecast_is_what_chance_does"),
            unless=f"with units of {LARGE:,} gigafuel, if their price over the bond were left out of the draw, a career would come to "
            f"{shown(won)} SURGE",
        ),
        Line(
            "withheld results",
            "a unit is taken, and its result never given",
            0,
            pay,
            "no receipt, no pay; the unit goes elsewhere, and who gives nothing is given up after a few",
            ("a_provider_that_vanishes_loses_its_units_to_the_other", "a_lane_that_never_gave_a_result_while_another_does_is_given_up"),
        ),
        Line(
            "Sybil providers that leave after the first slash",
            "a new identity whose first unit is wrong, and another the next day",
            *_sybil(at),
            (
                "a_device_without_a_bond_gets_one_unit_at_a_time_and_all_of_them_are_checked",
                "an_operator_whose_bond_was_slashed_builds_it_up_again",
            ),
            unless="without a bond nothing can be taken, and nothing is gained: all it does is checked until its pay has become one",
        ),
    )


def _sybil(at: Given) -> tuple[int, int, str]:
    chance = credibility.audit_chance(0, 0, credibility.checks_needed(at.certainty), at.least_chance)
    gain = int(at.after_fee(at.price) * (1 - chance))
    return (
        gain,
        int(chance * at.case) if at.courts else 0,
        f"a newcomer is checked with a chance of {chance:.0%}; a staked bond pays a case",
    )


def _receipts(at: Given) -> tuple[Line, ...]:
    slashed, reported = equivocation(at.bond, 0, at.bond, at.bond)
    return (
        Line(
            "replayed and reordered receipts",
            "a receipt is sent again, or in front of an earlier one",
            0,
            0,
            "each has the next sequence number and is for one call: another is a fault, nothing changes, and the channel stops",
            ("a_receipt_that_is_not_what_was_asked_is_refused", "a_replayed_acknowledgement_is_a_fault"),
            possible=False,
        ),
        Line(
            "equivocation",
            "two receipts with one number, the second for as much again; a friend reports it",
            at.after_fee(at.price),
            slashed - reported,
            "half of the bond goes without a jury, a tenth of that to who reports it",
            (
                "equivocation_costs_half_of_the_bond_without_a_jury_and_a_tenth_goes_to_the_reporter",
                "who_reports_itself_loses_nine_tenths",
            ),
        ),
        Line(
            "a backdated receipt",
            "a wrong receipt is signed with an old time, so that a claim would be too late",
            0,
            at.case,
            "a claim's age runs from the redemption that recorded it, and the receipt is tried like any other",
            (
                "a_claims_age_runs_from_the_redemption_and_not_from_the_devices_clock",
                "a_claims_age_runs_from_the_last_redemption_that_changed_the_log",
            ),
            possible=False,
        ),
    )


def _buyers(at: Given) -> tuple[Line, ...]:
    window = exposure.Standing().room
    got = exposure.unpaid(at.floor, at.price, at.amount(at.limit))
    return (
        Line(
            "a buyer who never signs a voucher",
            "units are asked for on a new channel, one after another, and not paid",
            got,
            at.floor,
            f"the window begins at {window} unit; work that the floor does not pay is not begun, or stopped where the floor ends, and the "
            "floor is paid whatever happens",
            (
                "a_buyer_that_never_vouches_gets_what_its_floors_pay_and_nothing_more",
                "a_long_unit_of_a_stranger_is_stopped_where_its_floor_ends_and_the_floor_pays",
                "units_of_a_buyer_that_leaves_each_unanswered_come_to_no_more_than_its_floor",
                "a_buyer_that_takes_its_window_and_vanishes_again_and_again_loses_it_and_its_floor_pays",
            ),
            unless="who has paid before is trusted with as much again: it may vanish with that once, and starts anew",
        ),
        Line(
            "a buyer who disputes good work",
            "a case against a right receipt",
            0,
            at.opener_loses(Outcome.ACQUITTED),
            "a jury finds what the receipt says: the bond and the jury's fees are lost",
            ("an_opener_that_disputes_good_work_loses_its_bond", "who_disputes_good_work_loses_its_bond_and_the_fees"),
        ),
        Line(
            "an opener who withholds inputs",
            "a case whose jurors get nothing to run",
            0,
            at.opener_loses(Outcome.NO_INPUTS),
            "the bond is burnt, jurors get a quarter of the fee, the accused is left alone",
            ("an_opener_that_withholds_the_inputs_loses_its_bond_and_the_accused_nothing",),
        ),
    )


def _court(at: Given) -> tuple[Line, ...]:
    work, paid = at.unit * at.economics.gigafuel, at.ended(Outcome.CONVICTED).juror
    court, first = at.economics.court, SIZES[0]
    asked = (court, at.limit, first)
    acquitted, unheard, convicted = (
        (verdict_moves(*asked, at.worth, which), cheapest_bribe(*asked, which))
        for which in (Outcome.ACQUITTED, Outcome.NO_INPUTS, Outcome.CONVICTED)
    )
    dissents = court.fine(at.limit, first) + court.fine(at.limit, SIZES[1]) + (SIZES[2] // 2 + 1) * at.fee
    withheld = min(at.opener_loses(Outcome.NO_SECRET, 0), at.ended(Outcome.NO_LINK, 0).slashed)
    return (
        Line(
            "a juror who copies",
            "the accused's answer, or another juror's commitment, without running the unit",
            work,
            paid + court.fine(at.limit, first),
            "the witness is nowhere to be read, and a commitment names its juror: it dissents, and is fined what a larger jury costs",
            ("who_did_not_run_it_lacks_the_witness_and_is_fined", "a_copied_commitment_opens_for_nobody_else"),
            unless=f"another juror hands over the witness: that saves the run, {shown(work)} SURGE, and the verdict is the other's",
        ),
        Line(
            "a juror who sleeps",
            "no answer within the time",
            work,
            at.fee + paid,
            "it pays a fee out of its seat, and goes without its own",
            ("jurors_who_sleep_pay_and_who_copy_are_not_paid", "who_does_not_reveal_pays"),
        ),
        Line(
            "a juror who is bribed",
            "an accused that is guilty buys its acquittal in the cheapest way, whatever juries it takes",
            *acquitted,
            "a jury that disagrees calls a larger one, who was wrong is fined its fees, and who was right among them has a part of that",
            (
                "one_and_three_bribed_jurors_of_five_lose_and_the_accused_is_convicted",
                "five_bribed_jurors_of_five_acquit_and_each_gave_up_more_than_the_verdict_moves",
                "a_bribed_majority_of_fifteen_loses_to_the_largest_jury",
                "buying_a_verdict_takes_more_than_it_moves",
            ),
            unless="there are fewer jurors than the juries take, the opener cannot advance larger ones' fees, or jurors are one person, or "
            "believe whoever pays only if the bribe fails. One dissenter in each jury and a bare majority of the largest take "
            f"{shown(dissents)} SURGE; that the inputs did not come takes {shown(unheard[1])} and moves {shown(unheard[0])}; "
            f"a conviction by an opener that is wrong takes {shown(convicted[1])} and moves {shown(convicted[0])}",
        ),
        Line(
            "randomness that is re-rolled",
            "a secret or a link is kept, so that another jury is drawn",
            0,
            withheld,
            "each part is committed to before the other is known, and belongs to one case: who keeps its own loses the case",
            ("the_accused_cannot_choose_among_its_links_nor_begin_another_chain", "the_opener_cannot_choose_another_secret"),
            possible=False,
        ),
    )


def _bonds(at: Given) -> tuple[Line, ...]:
    out, kept = (at.case, 0) if at.escapes else (0, at.case)
    court, days = at.economics.court, 86_400
    rule = (
        f"unbonding takes {at.economics.network.unbonding_seconds / days:g} days, the greatest age of a claim and the longest case "
        f"{(court.max_claim_age + court.longest_case) / days:.1f}; what leaves is slashed like what stays"
    )
    friend = at.ended(Outcome.CONVICTED)
    back = friend.opener - court.deposit(at.limit, SIZES[0], at.worth)
    return (
        Line(
            "a bond withdrawn while a case is coming",
            "an operator unstakes as soon as a wrong receipt is paid",
            out,
            kept,
            rule,
            ("unstaking_in_front_of_a_slash_does_not_escape_it", "what_is_ready_and_not_taken_is_slashed_too"),
            possible=at.escapes,
        ),
        Line(
            "a bond self-slashed while a case is coming",
            "a friend's case takes it first, and brings its reward back",
            back,
            friend.slashed,
            "at least half of a slash is burnt, the jury is paid, and what the real case lacks is owed to it",
            (
                "slashing_oneself_with_a_friends_case_loses_more_than_it_saves",
                "a_bond_behind_a_friends_case_is_slashed_when_that_case_is_over",
            ),
        ),
        Line(
            "an undelegation in front of a slash",
            "who stakes behind an operator leaves when a case is opened",
            out,
            kept,
            "an open case reserves its greatest slash; " + rule,
            (
                "a_bond_cannot_leave_while_a_case_is_open_nor_be_undelegated_in_front_of_a_slash",
                "a_slash_takes_from_stake_that_stays_and_stake_that_leaves_alike",
            ),
            possible=at.escapes,
        ),
    )


def _washing(at: Given) -> Line:
    minted = at.economics.emission
    fee = at.fee_of(at.price)
    budget = emission.budget(minted.first_budget, minted.decay, 0)
    return Line(
        "wash trading for emissions",
        "a unit's price is paid to oneself for nothing, in an epoch in which nobody else earns",
        int(emission.reward(budget, fee, fee, minted.work_bps)),
        fee,
        f"work is rewarded with at most {minted.work_bps / 100:g} % of the fees it paid in",
        (
            "nobody_gains_by_paying_fees_and_nothing_unearned_is_minted",
            "no_more_than_the_work_fraction_is_minted_so_dealing_with_oneself_loses",
        ),
        unless="who receives the protocol's fees pays them to itself",
    )
