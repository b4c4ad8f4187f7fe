"""What a job's audits came to, for people and programs."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from surge.buyer.audits import RIGHT, UNSURE, WRONG
from surge.buyer.journal import Journal
from surge.buyer.records import JobRecord
from surge.core.credibility import CERTAINTY, DOUBT, OWN_DOUBT, audit_chance, checks_needed, decayed, wrong_bound
from surge.core.receipts import ReceiptKind
from surge.core.text import counted


@dataclass(frozen=True, slots=True)
class JobAudits:
    """The audits of one job."""

    certainty: float
    """How probably each result should be right."""
    copies: int
    """Answers that every unit gets."""
    devices: list[dict[str, Any]]
    """By device: `provider`, `operator`, `units` paid in this job, `checked` of them, `wrong`, `unsure`, `chance` that its next result is
    checked, `wrong_at_most`, the highest probability that an unchecked result of it is wrong, and `why`."""
    wrong: list[dict[str, Any]]
    """Wrong results: `provider`, `receipt`, `first` and `count` of its items, `how` it was found, `claimed_result`, `claimed_fuel`,
    `found_result`, `found_fuel`, `time`."""


def job_audits(journal: Journal, record: JobRecord, own: Collection[str]) -> JobAudits:
    """The audits of a job; `own` are operators whose keys are on this machine."""
    job = bytes.fromhex(record.id)
    wishes = record.plan.wishes
    certainty = CERTAINTY if wishes.certainty is None else wishes.certainty
    paid = {
        device: (operator, int(units))
        for device, operator, units in journal.read_now(
            "SELECT device, operator, count(*) FROM receipts JOIN channels ON channels.id = channel "
            "WHERE job = ? AND kind = ? AND accepted GROUP BY device",
            (job, ReceiptKind.UNIT),
        )
    }
    checks: dict[str, dict[str, int]] = {}
    for device, operator, verdict, number in journal.read_now(
        "SELECT device, operator, verdict, count(*) FROM audits WHERE job = ? GROUP BY device, verdict", (job,)
    ):
        paid.setdefault(device, (operator, 0))
        checks.setdefault(device, {})[verdict] = int(number)
    devices = [_device(journal, device, *paid[device], checks.get(device, {}), certainty, wishes.copies, own) for device in sorted(paid)]
    rows = journal.read_now(
        "SELECT device, receipt, first, count, how, claimed_result, claimed_fuel, found_result, found_fuel, time FROM audits "
        "WHERE job = ? AND verdict = ? ORDER BY time",
        (job, WRONG),
    )
    names = ("provider", "receipt", "first", "count", "how", "claimed_result", "claimed_fuel", "found_result", "found_fuel", "time")
    wrong = [{name: value.hex() if isinstance(value, bytes) else value for name, value in zip(names, row, strict=True)} for row in rows]
    return JobAudits(certainty, wishes.copies, devices, wrong)


def _device(
    journal: Journal,
    device: str,
    operator: str,
    units: int,
    verdicts: dict[str, int],
    certainty: float,
    copies: int,
    own: Collection[str],
) -> dict[str, Any]:
    rows = journal.read_now("SELECT units, passed, failed, updated FROM evidence WHERE device = ?", (device,))
    behind, passed, failed, updated = rows[0] if rows else (0.0, 0.0, 0.0, time.time())
    age = time.time() - updated
    behind, passed = decayed(behind, age), decayed(passed, age)
    doubt = OWN_DOUBT if operator in own else DOUBT
    needed = checks_needed(certainty, doubt)
    chance = 1.0 if failed else float(audit_chance(behind, passed, needed))
    return {
        "provider": device,
        "operator": operator,
        "units": units,
        "checked": verdicts.get(RIGHT, 0) + verdicts.get(WRONG, 0),
        "wrong": verdicts.get(WRONG, 0),
        "unsure": verdicts.get(UNSURE, 0),
        "chance": chance,
        "wrong_at_most": 1.0 if failed else wrong_bound(passed, doubt),
        "why": _why(behind, passed, failed, needed, chance, copies, own=operator in own),
    }


def _why(behind: float, passed: float, failed: float, needed: int, chance: float, copies: int, *, own: bool) -> str:
    if failed:
        return "it gave a wrong result: it gets no more work"
    if copies > 1:
        return f"every unit is run by {copies} operators, and their answers are compared"
    if own:
        return f"its operator's key is on this machine: one result in {round(1 / chance):,} is checked"
    if passed < needed:
        return f"a newcomer: all results are checked until {counted(needed, 'check')} passed, and {passed:.0f} did"
    units = counted(round(behind), "unit")
    return f"proven: {passed:.0f} checks passed in {units}; {needed} are spread over its units, one in {1 / chance:,.1f} is checked"
