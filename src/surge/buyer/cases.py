"""Case files: a receipt with everything a stranger needs to check it.

`verify_case` needs the file and an RPC endpoint and believes nothing else in it: signature, unit id, result, price and place
in the log are computed again, and the ledger is asked. `replay_case` runs the unit again and compares, bit for bit.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surge.buyer import casefile
from surge.buyer.casefile import Case
from surge.buyer.endings import outcome_of
from surge.buyer.journal import SETUP
from surge.buyer.plan import Plan
from surge.buyer.records import ReceiptRecord
from surge.buyer.rehearsal import run_again
from surge.buyer.spool import Spool
from surge.buyer.work import NOTHING, unit_input
from surge.core.channels import Answered
from surge.core.log import ReceiptLog, leaf_hash, verify_inclusion
from surge.core.messages.fields import MAX_INLINE
from surge.core.pricing import compile_amount, transfer_amount, unit_amount
from surge.core.receipts import Acknowledgement, ReceiptKind, Signed, Terms, Voucher
from surge.core.text import counted
from surge.core.units import UnitSpec, result_hash, unit_id
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable

PATIENCE = 2.0
"""Seconds to go on trying to reach a ledger for looking something up: nothing waits for it, and it can be asked again."""

if TYPE_CHECKING:
    from surge.buyer.client import Client


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked."""

    text: str
    holds: bool


@dataclass
class Report:
    """What checking a case showed."""

    checks: list[Check] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything checked holds."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    def add(self, text: str, holds: bool) -> bool:
        """Note a check."""
        self.checks.append(Check(text, holds))
        return holds

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"holds": self.holds, "checks": [{"text": check.text, "holds": check.holds} for check in self.checks]}


# Making


async def export_case(client: Client, record: ReceiptRecord, *, inputs: bool) -> Case:
    """The case of an answered receipt. Redeems the channel's voucher first, if no redemption covers the receipt yet."""
    receipt = record.receipt
    ledger = await client.ledger()
    rows = await client.journal.read("SELECT terms, amount, count, root, signature FROM channels WHERE id = ?", (receipt.channel,))
    terms, amount, count, root, signature = rows[0]
    state = await ledger.channel(receipt.channel)
    if state.count <= record.index:
        voucher = Voucher(receipt.channel, int(amount), count, root)
        await ledger.redeem(client.wallet, [(voucher, signature)])
        state = await ledger.channel(receipt.channel)
        if state.count <= record.index:
            raise Unavailable("the receipt's voucher is not redeemed on the ledger yet: try again later", channel=receipt.channel)
    leaves = await client.journal.read("SELECT leaf FROM receipts WHERE channel = ? ORDER BY number", (receipt.channel,))
    log = ReceiptLog(leaf for (leaf,) in leaves)
    if log.root(state.count) != state.root:
        raise PeerFault("the ledger holds another log of the channel than this journal", channel=receipt.channel)
    found = await _unit_of(client, record)
    agreed = await client.journal.read(
        "SELECT terms FROM job_terms WHERE channel = ? AND job = ?", (receipt.channel, bytes.fromhex(record.job or "00"))
    )
    case = Case(
        network=client.home.network,
        terms=Terms.decode(agreed[0][0] if agreed else terms),
        signed=Signed(receipt, record.signature),
        answer=Answered(record.index, receipt.sequence, record.accepted, record.amount, leaves[record.index][0]),
        count=state.count,
        root=state.root,
        path=tuple(log.inclusion(record.index, state.count)),
        unit=None if found is None else found[0],
        outcome=record.outcome,
        carried=len(found[1]) if found is not None and len(found[1]) <= MAX_INLINE else 0,
    )
    if not inputs or found is None:
        return case
    return casefile.with_contents(case, await _contents(client, found[0], found[1]))


async def _unit_of(client: Client, record: ReceiptRecord) -> tuple[UnitSpec, bytes] | None:
    """The unit that a receipt is for, and its input; None for what is no unit."""
    receipt = record.receipt
    rows = await client.journal.read(
        "SELECT tries.job, number, fuel, plan FROM tries JOIN jobs ON jobs.id = tries.job WHERE channel = ? AND unit = ?",
        (receipt.channel, receipt.subject),
    )
    if not rows:
        return None
    job, number, fuel, data = rows[0]
    plan = Plan.decode(data)
    (terms,) = (await client.journal.read("SELECT terms FROM channels WHERE id = ?", (receipt.channel,)))[0]
    engine = Terms.decode(terms).engine
    limits = replace(plan.limits, fuel=fuel)
    if number == SETUP:
        return plan.spec(engine, b"", NOTHING, limits), b""
    ((first, count),) = await client.journal.read("SELECT first, count FROM cuts WHERE job = ? AND number = ?", (job, number))
    entry, items = unit_input(plan, first, await Spool(job, client.journal).load(first, count))
    return plan.spec(engine, entry, hashlib.sha256(items).digest(), limits), items


async def _contents(client: Client, unit: UnitSpec, items: bytes) -> dict[bytes, bytes]:
    """The bytes that running the unit needs: its input, its bundle, its module unless that is the pinned image."""
    found = {unit.items: items}
    for digest in (unit.bundle, None if unit.setup else unit.image):
        if digest is not None:
            path = client.content(digest)
            if path is None:
                raise Unavailable(f"the content sha256:{digest.hex()} is no longer here", digest=digest)
            found[digest] = await asyncio.to_thread(path.read_bytes)
    return found


def write(case: Case, output: Path) -> Path:
    """Write a case file. Raises `InvalidInput` where it cannot be written."""
    try:
        output.write_bytes(casefile.encode(case))
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written ({error.strerror}): name another place", path=str(output)) from error
    return output


# Verifying


def verify_case(path: str | Path, urls: Sequence[str] = ()) -> Report:
    """Check a case file against the ledger. `urls` are RPC endpoints of your choice; by default those the file names.

    1. the device signed the receipt;
    2. the unit's fields give the receipt's subject;
    3. the outcome gives its result, and the terms its price;
    4. the answer to it is a leaf of the log with the root that was redeemed;
    5. the contract at the place named is Surge's, and says so too.

    Raises `Unavailable` when no endpoint answers.
    """
    case = casefile.read(Path(path))
    report = Report()
    _verify_statement(case, report)
    asyncio.run(_verify_on_ledger(case, tuple(urls), report))
    return report


def _verify_statement(case: Case, report: Report) -> None:
    receipt, domain = case.signed.receipt, case.network.channels_domain
    # 1
    try:
        digest = case.signed.verify(domain)
        report.add(f"the device {receipt.device} signed the receipt", True)
    except PeerFault as error:
        digest = receipt.digest(domain)
        report.add(f"the device {receipt.device} signed the receipt: {error}", False)
    # 2
    if case.unit is not None:
        report.add("the unit's fields give the receipt's subject", unit_id(case.unit) == receipt.subject)
    # 3
    if case.unit is not None and case.outcome is not None:
        outcome = outcome_of(case.outcome)
        report.add("the outcome gives the receipt's result", result_hash(outcome) == receipt.result)
    report.add("the receipt's amount is the price by the terms", _is_price(case))
    # 4
    answer = case.answer
    leaf = Acknowledgement(receipt.channel, answer.index, digest, answer.accepted, answer.amount).digest(domain)
    included = verify_inclusion(leaf_hash(leaf), answer.index, case.count, case.path, case.root)
    what = f"accepted for {answer.amount} wei" if answer.accepted else "refused"
    report.add(f"the buyer's answer ({what}) is leaf {answer.index} of the log of {counted(case.count, 'receipt')}", included)


def _is_price(case: Case) -> bool:
    receipt, prices = case.signed.receipt, case.terms.prices
    if case.terms.channel != receipt.channel:
        return False
    if receipt.kind == ReceiptKind.TRANSFER:
        return receipt.amount == transfer_amount(prices, receipt.quantity)
    if receipt.kind == ReceiptKind.COMPILE:
        return receipt.amount == compile_amount(prices, receipt.quantity)
    if case.unit is None or case.outcome is None:
        return False
    moved = case.carried + outcome_of(case.outcome).size()
    return receipt.amount == unit_amount(prices, receipt.quantity, case.unit.limits.memory, moved)


async def _verify_on_ledger(case: Case, urls: tuple[str, ...], report: Report) -> None:
    from surge.ledger import Ledger, verify_contracts

    network = replace(case.network, rpc=urls) if urls else case.network
    receipt, answer = case.signed.receipt, case.answer
    # 5
    with tempfile.TemporaryDirectory(prefix="surge-case-") as folder:
        try:
            ledger = await Ledger.connect(network, Path(folder) / "transactions.db", patience=PATIENCE)
        except Unavailable:
            raise
        except SurgeError as error:
            report.add(f"the ledger can be asked: {error}", False)
            return
        try:
            await verify_contracts(network)
            report.add(f"the contracts on chain {network.chain_id} have the code that Surge ships", True)
            state = await ledger.channel(receipt.channel)
            named = (state.device, state.buyer) == (receipt.device, receipt.buyer)
            report.add("the channel on the ledger is between this buyer and this device", named)
            on_chain = await ledger.verify_receipt(
                receipt, accepted=answer.accepted, amount=answer.amount, index=answer.index, path=case.path
            )
            report.add("the ledger confirms that the redeemed log holds the receipt and its answer", on_chain)
        except Unavailable:
            raise
        except SurgeError as error:
            report.add(f"the ledger confirms it: {error}", False)
        finally:
            await ledger.close()


# Replaying


def replay_case(path: str | Path, contents: Mapping[bytes, bytes] | None = None) -> Report:
    """Run a case's unit again on this machine and compare result and fuel, bit for bit.

    The unit's code and input come from the file (`surge receipt export --inputs`) or from `contents`, by SHA-256.
    """
    case = casefile.read(Path(path))
    return asyncio.run(_replay(case, {**case.contents, **(contents or {})}))


async def replay_own(client: Client, record: ReceiptRecord) -> Report:
    """Replay a receipt of one's own: code and input are here."""
    found = await _unit_of(client, record)
    if found is None:
        raise InvalidInput(f"the receipt {record.id[:12]} is for no unit that ran, so there is nothing to run again", receipt=record.id)
    contents = await _contents(client, *found)
    return await compare(found[0], Signed(record.receipt, record.signature), contents, setup=record.receipt.kind == ReceiptKind.SETUP)


async def _replay(case: Case, contents: Mapping[bytes, bytes]) -> Report:
    if case.unit is None:
        raise InvalidInput("the case is for no unit that ran, so there is nothing to run again")
    if unit_id(case.unit) != case.signed.receipt.subject:
        raise InvalidInput("the case's unit is not the one its receipt is for")
    return await compare(case.unit, case.signed, contents, setup=case.signed.receipt.kind == ReceiptKind.SETUP)


async def compare(unit: UnitSpec, signed: Signed, contents: Mapping[bytes, bytes], *, setup: bool) -> Report:
    """Run a unit and hold the receipt against what comes out."""
    wanted = [each for each in (unit.bundle, None if setup else unit.items, None if unit.setup else unit.image) if each]
    missing = [each for each in wanted if each not in contents and each != NOTHING]
    if missing:
        names = ", ".join(f"sha256:{each.hex()}" for each in missing)
        raise InvalidInput(f"replaying needs contents that are not in the case: {names}; export it with its inputs", missing=missing)
    wrong = [each for each in wanted if each in contents and hashlib.sha256(contents[each]).digest() != each]
    if wrong:
        raise PeerFault("a content in the case is not what its name says", contents=wrong)
    with tempfile.TemporaryDirectory(prefix="surge-replay-") as name:
        folder = Path(name)
        paths = {each: _put(folder, each, contents[each]) for each in wanted if each in contents}
        outcome = await run_again(
            unit,
            setup=setup,
            module=paths.get(unit.image),
            bundle=None if unit.bundle is None else paths[unit.bundle],
            items=contents.get(unit.items, b""),
        )
    receipt, report = signed.receipt, Report()
    report.add(f"the result is the same: {receipt.result.hex()}", result_hash(outcome) == receipt.result)
    report.add(f"the fuel is the same: {receipt.quantity}", outcome.fuel == receipt.quantity)
    return report


def _put(folder: Path, digest: bytes, data: bytes) -> Path:
    path = folder / digest.hex()
    path.write_bytes(data)
    return path
