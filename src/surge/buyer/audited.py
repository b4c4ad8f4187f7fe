"""What a job's audits came to, for people and programs."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from surge.buyer.audits import RIGHT, UNSURE, WRONG
from surge.buyer.bonded import UNASKED, Bond
from surge.buyer.journal import Journal
from surge.buyer.records import JobRecord
from surge.core.credibility import CAUGHT_DOUBT, CERTAINTY, DOUBT, OWN_DOUBT, audit_chance, checks_needed, decayed, wrong_bound
from surge.core.receipts import ReceiptKind
from surge.core.text import counted
from surge.core.types import Address


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


def job_operators(journal: Journal, record: JobRecord) -> list[Address]:
    """Operators of the devices that were paid in a job."""
    rows = journal.read_now(
        "SELECT DISTINCT operator FROM receipts JOIN channels ON channels.id = channel WHERE job = ? AND kind = ?",
        (bytes.fromhex(record.id), ReceiptKind.UNIT),
    )
    return [Address(operator) for (operator,) in rows]


def job_audits(journal: Journal, record: JobRecord, own: Collection[str], bonds: Mapping[Address, Bond]) -> JobAudits:
    """The audits of a job; `own` are operators whose keys are on this machine, `bonds` what is known of others' bonds now."""
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
    caught = {operator for (operator,) in journal.read_now("SELECT DISTINCT operator FROM evidence WHERE failed > 0", ())}
    doubts = {operator: CAUGHT_DOUBT if operator in caught else OWN_DOUBT if operator in own else DOUBT for operator, _ in paid.values()}
    devices = []
    for device, (operator, units) in sorted(paid.items()):
        bond = bonds.get(Address(operator), UNASKED)
        devices.append(_device(journal, device, operator, units, checks.get(device, {}), certainty, wishes.copies, doubts[operator], bond))
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
    doubt: float,
    bond: Bond,
) -> dict[str, Any]:
    rows = journal.read_now("SELECT units, passed, failed, updated FROM evidence WHERE device = ?", (device,))
    behind, passed, failed, updated = rows[0] if rows else (0.0, 0.0, 0.0, time.time())
    age = time.time() - updated
    behind, passed = decayed(behind, age), decayed(passed, age)
    needed = checks_needed(certainty, doubt)
    chance = 1.0 if failed or copies > 1 or not bond.enough else float(audit_chance(behind, passed, needed))
    return {
        "provider": device,
        "operator": operator,
        "units": units,
        "checked": verdicts.get(RIGHT, 0) + verdicts.get(WRONG, 0),
        "wrong": verdicts.get(WRONG, 0),
        "unsure": verdicts.get(UNSURE, 0),
        "chance": chance,
        "wrong_at_most": 1.0 if failed else wrong_bound(passed, doubt),
        "why": _why(behind, passed, failed, needed, chance, copies, doubt, bond),
    }


def _why(behind: float, passed: float, failed: float, needed: int, chance: float, copies: int, doubt: float, bond: Bond) -> str:
    if failed:
        return "it gave a wrong result: it gets no more work"
    if copies > 1:
        return f"every unit is run by {copies} operators, and their answers are compared"
    if not bond.enough:
        return "its operator's bond is too small, or no court could take it: all results are checked"
    if doubt == OWN_DOUBT:
        return f"its operator's key is on this machine: one result in {round(1 / chance):,} is checked"
    if passed < needed:
        who = "another device of its operator gave a wrong result" if doubt == CAUGHT_DOUBT else "a newcomer"
        return f"{who}: all results are checked until {counted(needed, 'check')} passed, and {passed:.0f} did"
    units = counted(round(behind), "unit")
    return f"proven: {passed:.0f} checks passed in {units}; {needed} are spread over its units, one in {1 / chance:,.1f} is checked"
