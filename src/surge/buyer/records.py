"""Reading the journal: what listings show, and what a job needs to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from surge.buyer.endings import outcome_of
from surge.buyer.journal import SETUP, ChannelRow, Journal, TryRow, unpack_receipt
from surge.buyer.plan import Plan
from surge.core import canonical
from surge.core.pricing import Prices
from surge.core.receipts import FUELLED, Receipt, ReceiptKind, Terms
from surge.core.units import Status
from surge.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as listings show it."""

    id: str
    """Hex digits; the first twelve are enough to name it."""
    name: str
    state: str
    created: float
    """Unix seconds."""
    done: int
    """Items with a result."""
    failed: int
    """Those of them whose result is an error."""
    total: int | None
    price: int
    """Wei acknowledged."""
    fuel: int
    """Fuel billed for accepted units and setups."""
    floors: int
    """Wei that the channels opened for it pay, if they close as they are, beyond what is vouched for: as floors."""
    error: str
    plan: Plan
    spooled: int
    """Items whose inputs are in the journal."""


@dataclass(frozen=True, slots=True)
class ReceiptRecord:
    """An answered receipt as listings show it."""

    id: str
    """Hex of the receipt's digest."""
    receipt: Receipt
    signature: bytes
    accepted: bool
    amount: int
    """Wei acknowledged."""
    index: int
    """Its leaf in the channel's log."""
    job: str
    outcome: bytes | None


@dataclass(frozen=True, slots=True)
class Saved:
    """What a job needs to go on."""

    record: JobRecord
    cuts: list[tuple[int, int, int]] = field(default_factory=list)
    """(number, first, count) of those without a result."""
    tries: list[TryRow] = field(default_factory=list)
    """Units of those cuts that were sent and have no answer."""
    bad: dict[int, bytes] = field(default_factory=dict)
    """Cuts whose unit ended badly, with the outcome: they are halved, or their item is at fault."""
    lowered: set[int] = field(default_factory=set)
    """Those of them that ran out of no more fuel than the budget bought then: no item is at fault."""
    done: list[tuple[int, int]] = field(default_factory=list)
    """(first, count) with a result."""
    terms: list[Terms] = field(default_factory=list)
    """New prices agreed on for the job."""
    numbers: int = 0
    """The first cut number that was never used."""
    worked: set[bytes] = field(default_factory=set)
    """Channels on which a unit of it was done, or may have been."""


_JOBS = "SELECT id, name, state, created, plan, total, spooled, error FROM jobs"

_COUNTS = "SELECT coalesce(sum(count), 0), sum(failed), count(*) - count(failed) FROM results INDEXED BY results_counted WHERE job = ?"
"""Items with a result, those that failed, and results of which that is not known yet."""


_FLOORS = "SELECT floor, amount FROM channels WHERE opened_for = ?"


def _job(journal: Journal, row: Sequence[Any]) -> JobRecord:
    key, name, state, created, plan, total, spooled, error = row
    done, failed = _counts(journal, key)
    receipts = journal.read_now("SELECT amount, quantity, accepted, kind FROM receipts WHERE job = ?", (key,))
    return JobRecord(
        id=key.hex(),
        name=name,
        state=state,
        created=created,
        done=done,
        failed=failed,
        total=total,
        price=sum(int(amount) for amount, _, _, _ in receipts),
        fuel=sum(quantity for _, quantity, accepted, kind in receipts if accepted and kind in FUELLED),
        floors=sum(max(0, int(floor) - int(amount)) for floor, amount in journal.read_now(_FLOORS, (key,))),
        error=error,
        plan=Plan.decode(plan),
        spooled=spooled,
    )


def _counts(journal: Journal, job: bytes) -> tuple[int, int]:
    """Items with a result, and those of them that failed."""
    ((done, failed, unknown),) = journal.read_now(_COUNTS, (job,))
    if unknown:
        journal.count_old(job)
        ((done, failed, _),) = journal.read_now(_COUNTS, (job,))
    return int(done), int(failed or 0)


def list_jobs(journal: Journal) -> list[JobRecord]:
    """Every job, the newest first."""
    return [_job(journal, row) for row in journal.read_now(_JOBS + " ORDER BY created DESC")]


def find_job(journal: Journal, named: str) -> JobRecord:
    """The job whose id begins with these hex digits. Raises `InvalidInput` when there is none, or several."""
    rows = journal.read_now(_JOBS + " WHERE lower(hex(id)) LIKE ? || '%'", (named.lower().removeprefix("0x"),)) if named else []
    if len(rows) != 1:
        what = "no job here has" if not rows else f"{len(rows)} jobs here have"
        raise InvalidInput(f"{what} an id that begins with {named!r}: `surge job list` shows them", job=named)
    return _job(journal, rows[0])


def job_providers(journal: Journal, job: str) -> list[dict[str, Any]]:
    """Who worked on a job: device, units, gigafuel, and pay in wei."""
    found: dict[str, dict[str, Any]] = {}
    rows = journal.read_now(
        "SELECT device, kind, quantity, receipts.amount FROM receipts JOIN channels ON channels.id = channel WHERE job = ? AND accepted",
        (bytes.fromhex(job),),
    )
    for device, kind, quantity, amount in rows:
        entry = found.setdefault(device, {"provider": device, "units": 0, "gigafuel": 0.0, "pay": 0})
        entry["pay"] += int(amount)
        if kind == ReceiptKind.UNIT:
            entry["units"] += 1
        if kind in FUELLED:
            entry["gigafuel"] += quantity / 1e9
    return sorted(found.values(), key=lambda entry: -entry["pay"])


def job_log(journal: Journal, job: str) -> list[dict[str, Any]]:
    """What happened to a job, event by event."""
    rows = journal.read_now("SELECT time, text FROM events WHERE job = ? ORDER BY time", (bytes.fromhex(job),))
    return [{"time": time, "text": text} for time, text in rows]


_RECEIPTS = "SELECT digest, receipt, signature, accepted, amount, number, job, outcome FROM receipts"


def _receipt(row: Sequence[Any]) -> ReceiptRecord:
    digest, receipt, signature, accepted, amount, number, job, outcome = row
    return ReceiptRecord(
        digest.hex(), unpack_receipt(receipt), signature, bool(accepted), int(amount), number, job.hex() if job else "", outcome
    )


def list_receipts(journal: Journal, job: str | None = None) -> list[ReceiptRecord]:
    """Receipts in the order in which they were answered; of one job, or all."""
    if job is None:
        return [_receipt(row) for row in journal.read_now(_RECEIPTS + " ORDER BY channel, number")]
    return [_receipt(row) for row in journal.read_now(_RECEIPTS + " WHERE job = ? ORDER BY finished, number", (bytes.fromhex(job),))]


def find_receipt(journal: Journal, named: str) -> ReceiptRecord:
    """The receipt whose digest begins with these hex digits. Raises `InvalidInput`."""
    text = named.lower().removeprefix("0x")
    rows = journal.read_now(_RECEIPTS + " WHERE lower(hex(digest)) LIKE ? || '%'", (text,)) if text else []
    if len(rows) != 1:
        what = "no receipt here has" if not rows else f"{len(rows)} receipts here have"
        raise InvalidInput(f"{what} an id that begins with {named!r}: `surge receipt list` shows them", receipt=named)
    return _receipt(rows[0])


def find_channel(rows: Sequence[ChannelRow], named: str) -> ChannelRow:
    """The channel whose id, or device, begins with this text. Raises `InvalidInput`."""
    text = named.lower().removeprefix("0x")
    found = [row for row in rows if text and (row.id.hex().startswith(text) or row.device[2:].startswith(text))]
    if len(found) != 1:
        what = "no channel begins" if not found else f"{len(found)} channels begin"
        raise InvalidInput(f"{what} with {named!r}: `surge channel list` shows them", channel=named)
    return found[0]


async def setup_took(journal: Journal, job: bytes) -> int | None:
    """The most fuel that a job's setup took on a device; None if it ended well on none."""
    query = "SELECT quantity, outcome FROM receipts WHERE job = ? AND kind = ? AND outcome IS NOT NULL"
    rows = await journal.read(query, (job, ReceiptKind.SETUP))
    return max((int(fuel) for fuel, outcome in rows if outcome_of(outcome).status is Status.FINISHED), default=None)


async def setup_before(journal: Journal, job: bytes, channel: bytes) -> tuple[int, bool] | None:
    """The fuel limit under which a job's setup was asked on a channel before, and whether it is paid; None if it never was, or failed."""
    rows = await journal.read(
        "SELECT tries.fuel, receipts.outcome FROM tries "
        "LEFT JOIN receipts ON receipts.channel = tries.channel AND receipts.subject = tries.unit "
        "WHERE tries.job = ? AND tries.channel = ? AND tries.number = ? ORDER BY receipts.outcome IS NULL, tries.fuel DESC",
        (job, channel, SETUP),
    )
    good = ((int(fuel), outcome is not None) for fuel, outcome in rows if outcome is None or outcome_of(outcome).status is Status.FINISHED)
    return next(good, None)


async def load(journal: Journal, record: JobRecord) -> Saved:
    """What a job needs to go on."""
    job = bytes.fromhex(record.id)
    done = await journal.read("SELECT first, count FROM results WHERE job = ?", (job,))
    cuts = await journal.read("SELECT number, first, count FROM cuts WHERE job = ? AND NOT retired", (job,))
    finished = {first for first, _ in done}
    open_cuts = [(number, first, count) for number, first, count in cuts if first not in finished]
    numbers = {number for number, _, _ in open_cuts}
    rows = await journal.read(
        "SELECT tries.number, tries.channel, tries.unit, tries.fuel, tries.prices, receipts.outcome, receipts.number FROM tries "
        "LEFT JOIN receipts ON receipts.channel = tries.channel AND receipts.subject = tries.unit WHERE tries.job = ?",
        (job,),
    )
    tries, bad, lowered = [], {}, set()
    for number, channel, unit, fuel, prices, outcome, answered in rows:
        if number == SETUP or number not in numbers:
            continue
        if answered is None:
            tries.append(TryRow(number, channel, unit, fuel, Prices(*canonical.decode(prices))))
        elif outcome is not None and (number not in bad or number in lowered):
            bad[number] = outcome
            if outcome_of(outcome).status is Status.OUT_OF_FUEL and fuel < record.plan.limits.fuel:
                lowered.add(number)
            else:
                lowered.discard(number)
    agreed = await journal.read("SELECT terms FROM job_terms WHERE job = ?", (job,))
    terms = [Terms.decode(data) for (data,) in agreed]
    ((highest,),) = await journal.read("SELECT max(number) FROM cuts WHERE job = ?", (job,))
    paid = await journal.read("SELECT DISTINCT channel FROM receipts WHERE job = ? AND kind = ?", (job, ReceiptKind.UNIT))
    worked = {channel for (channel,) in paid} | {row.channel for row in tries}
    numbers_from = 0 if highest is None else highest + 1
    return Saved(record, open_cuts, tries, bad, lowered, [(first, count) for first, count in done], terms, numbers_from, worked)
