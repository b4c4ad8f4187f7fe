"""How endings read: errors for people, and results as the journal keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from surge.buyer.calls import said_in
from surge.buyer.plan import Plan
from surge.buyer.results import Progress
from surge.buyer.tracebacks import setup_advice, users_part
from surge.core import canonical
from surge.core.messages import Refusal
from surge.core.messages.fields import wei_bytes
from surge.core.receipts import Receipt
from surge.core.text import printable
from surge.core.units import EXACT, PROVABLE, Outcome, Part, Status
from surge.errors import Cancelled, CorrectedResults, GuestFault, InternalFault, InvalidInput, Unavailable

_packer = msgspec.msgpack.Encoder()

_WHAT = {
    Status.OUT_OF_FUEL: "it ran out of fuel: raise fuel=, or look for an endless loop",
    Status.OUTPUT_LIMIT: "its output passed the limit: raise output=, or return less",
    Status.MEMORY_LIMIT: "it needs more memory than its limit: raise memory=",
    Status.TRAPPED: "it trapped",
    Status.WALL_TIME: "it took longer than it may: raise timeout=, or look for an endless loop",
    Status.NATIVE_STACK: "its calls went deeper than the stack: look for endless recursion",
    Status.HOST_MEMORY: "the device ran out of memory or disk: try again, or ask for less with memory= and output=",
    Status.WORKER_LOST: "the process that ran it was lost: try again",
}
"""What an ending means, and what to do."""

_NO_DETAIL = frozenset({Status.WALL_TIME, Status.NATIVE_STACK})
"""Endings of which the engine has no more to say than where it was just then."""

MOST_SAID = 2000
"""Bytes of what a unit wrote to standard error that are told, from its end."""


def command_value(outcome: Outcome, blob: bytes, receipt: Receipt, digest: bytes) -> bytes:
    """The result of a command's run, as the journal keeps it: what it says of itself, then its output."""
    files = [[path, part.size] for path, part in outcome.files]
    sizes = [outcome.value.size, outcome.stdout.size, outcome.stderr.size]
    price = wei_bytes(receipt.amount)
    return _packer.encode([outcome.exit_code, sizes, files, outcome.fuel, price, receipt.device, digest, blob])


def guest_fault(outcome: Outcome, blob: bytes, detail: str) -> GuestFault:
    """The error of a unit that ended badly: what happened, and the end of what it said."""
    start = outcome.value.size + outcome.stdout.size
    said = users_part(blob[start : start + outcome.stderr.size][-MOST_SAID:].decode(errors="replace"))
    said = printable(said).strip()
    what = f"it exited with code {outcome.exit_code}" if outcome.status is Status.EXITED else _WHAT[outcome.status]
    if outcome.status in PROVABLE - EXACT:
        what += "; a unit that ends so is billed its whole fuel limit"
    detail = "" if outcome.status in _NO_DETAIL else printable(detail)
    text = what + (f" ({detail})" if detail else "") + (f"\n{said}" if said else "")
    return GuestFault(text, status=outcome.status.name, exit_code=outcome.exit_code, stderr=said)


def outcome_of(data: bytes) -> Outcome:
    """The outcome in a journal's bytes (`calls.outcome_bytes`), its fuel unknown."""
    try:
        status, exit_code, value, stdout, stderr, files, state = canonical.decode(data)
        named = tuple((str(path), _part(digest, size)) for path, digest, size in files)
        if type(exit_code) is not int or type(state) is not bytes:
            raise TypeError("an exit code is a number, a state is bytes")
        return Outcome(Status(status), exit_code, _part(*value), _part(*stdout), _part(*stderr), named, state, 0)
    except (InvalidInput, ValueError, TypeError) as error:
        raise InternalFault("the journal holds an outcome that cannot be read: its file is damaged") from error


def _part(digest: bytes, size: int) -> Part:
    if type(digest) is not bytes or type(size) is not int or size < 0:
        raise ValueError("a part is a digest and a size")
    return Part(digest, size)


def setup_fault(fault: GuestFault) -> GuestFault:
    """The error of a job whose setup ended badly."""
    advice = setup_advice(str(fault.details.get("stderr", "")))
    return GuestFault(f"the module's top level failed: {fault.message}\n{advice}", **fault.details)


def local_fault(refusal: Refusal) -> GuestFault:
    """The error of a unit that ended locally wherever it was tried: what happened, by what the last provider said of it."""
    status = local_status(refusal)
    text = printable(refusal.text).strip()
    if status is None:
        return GuestFault(f"it ended badly on every provider that tried, last: {text}", status="", said=text)
    detail = f" ({text})" if text and status not in _NO_DETAIL else ""
    return GuestFault(f"{_WHAT[status]} (so it ended on every provider that tried){detail}", status=status.name, said=text)


def tried_elsewhere(status: Status) -> str:
    """What a user should know while a unit that ended locally is tried on."""
    return f"a unit ended early: {_WHAT[status]}. It is tried on other providers in turn before its item fails"


def local_status(refusal: Refusal) -> Status | None:
    """The local ending that a refusal names in its details, if it names one."""
    name = said_in(refusal).get("status")
    return next((status for status in Status if status not in PROVABLE and status.name == name), None)


def stopped(plan: Plan) -> Unavailable:
    """The error of a job that was stopped before its end."""
    return Unavailable(f"the job was stopped: {plan.advice('finishes it')}", job=plan.id.hex())


def cancelled(plan: Plan) -> Cancelled:
    """The error of a job that somebody else than its reader cancelled."""
    return Cancelled(f"the job was cancelled before all of its results were there: {plan.advice('finishes it')}", job=plan.id.hex())


def corrected(plan: Plan, runs: Sequence[tuple[int, int]]) -> CorrectedResults:
    """What a user is told who was given wrong results, (first, count) of items each, before their device was caught."""
    named = ", ".join(f"{first}" if count == 1 else f"{first} to {first + count - 1}" for first, count in sorted(runs)[:16])
    text = (
        f"a device was caught with a wrong result after others of it had been given out: the items {named} were wrong, and were computed "
        f"again: `surge job resume {plan.id.hex()[:12]}` gives them all, right"
    )
    return CorrectedResults(text, items=[index for first, count in runs for index in range(first, first + count)])


def late(plan: Plan, progress: Progress) -> Unavailable:
    """The error of a job whose deadline passed."""
    done, total = progress.done, progress.total
    return Unavailable(f"the deadline passed with {done} of {total if total is not None else '?'} items done: {plan.advice('finishes it')}")


def error_text(error: GuestFault) -> str:
    """An item's error as the journal keeps it."""
    return json.dumps({"message": error.message, "details": {key: error.details[key] for key in error.details}}, default=str)


def error_of(text: str) -> GuestFault:
    """The error in a journal's text."""
    try:
        fields = json.loads(text)
        return GuestFault(fields["message"], **fields["details"])
    except (ValueError, KeyError, TypeError) as error:
        raise InternalFault("the journal holds an error that cannot be read: its file is damaged") from error
