"""Checking cases: a receipt with everything a stranger needs to check it.

`verify_case` needs the file and an RPC endpoint and believes nothing else in it: signatures, unit id, result, price and place
in the log are computed again, and the ledger is asked. `replay_case` does the same and then runs the unit again and compares, bit for bit.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from surge.buyer import casefile
from surge.buyer.casefile import Case
from surge.buyer.exporting import case_of, contents_of
from surge.buyer.records import ReceiptRecord
from surge.buyer.rehearsal import run_again
from surge.buyer.statements import ON_LEDGER, REPLAYED, Report, check_statement
from surge.core.case_package import wanted
from surge.core.network import NetworkFile
from surge.core.receipts import ReceiptKind, Signed
from surge.core.units import Outcome, UnitSpec, result_hash, unit_id
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable

if TYPE_CHECKING:
    from surge.buyer.client import Client
    from surge.ledger import Ledger

PATIENCE = 2.0
"""Seconds to go on trying to reach a ledger for looking something up: nothing waits for it, and it can be asked again."""


# Verifying


def verify_case(path: str | Path, urls: Sequence[str] = ()) -> Report:
    """Check a case file against the ledger. `urls` are RPC endpoints of your choice; by default those the file names.

    1. what it states holds together (`statements.check_statement`);
    2. the contract at the place named is Surge's, and its channel is between this buyer and this device;
    3. the contract says too that the redeemed log holds the receipt and its answer.

    Raises `Unavailable` when no endpoint answers.
    """
    case = casefile.read(Path(path))
    # 1
    report = check_statement(case)
    asyncio.run(_check_on_ledger(case, _network(case, urls), report))
    return report


def _network(case: Case, urls: Sequence[str]) -> NetworkFile:
    return replace(case.network, rpc=tuple(urls)) if urls else case.network


@asynccontextmanager
async def _ledger_of(network: NetworkFile) -> AsyncIterator[Ledger]:
    """A network's ledger, for reading. Raises `Unavailable`."""
    from surge.ledger import Ledger

    with tempfile.TemporaryDirectory(prefix="surge-case-") as folder:
        ledger = await Ledger.connect(network, Path(folder) / "transactions.db", patience=PATIENCE)
        try:
            yield ledger
        finally:
            await ledger.close()


async def _check_on_ledger(case: Case, network: NetworkFile, report: Report) -> None:
    from surge.ledger import verify_contracts

    receipt, answer = case.signed.receipt, case.answer
    try:
        async with _ledger_of(network) as ledger:
            # 2
            await verify_contracts(network)
            report.add(f"the contracts on chain {network.chain_id} have the code that Surge ships", True, ON_LEDGER)
            state = await ledger.channel(receipt.channel)
            named = (state.device, state.buyer) == (receipt.device, receipt.buyer)
            report.add("the channel on the ledger is between this buyer and this device", named, ON_LEDGER)
            # 3
            on_chain = await ledger.verify_receipt(
                receipt, accepted=answer.accepted, amount=answer.amount, index=answer.index, path=case.path
            )
            report.add("the ledger confirms that the redeemed log holds the receipt and its answer", on_chain, ON_LEDGER)
    except Unavailable:
        raise
    except SurgeError as error:
        report.add(f"the ledger confirms it: {error}", False, ON_LEDGER)


# Replaying


def replay_case(path: str | Path, contents: Mapping[bytes, bytes] | None = None, urls: Sequence[str] = ()) -> Report:
    """Verify a case, then run its unit again on this machine and compare result and fuel, bit for bit.

    The unit's code and input come from the file (`surge receipt export --inputs`) or from `contents`, by SHA-256. Where no ledger can be
    asked, the report says that it was not; a unit that is not the receipt's is not run.
    """
    case = casefile.read(Path(path))
    return asyncio.run(_replay_case(case, {**case.contents, **(contents or {})}, urls))


async def _replay_case(case: Case, contents: Mapping[bytes, bytes], urls: Sequence[str]) -> Report:
    if case.unit is None:
        raise InvalidInput("the case is for no unit that ran, so there is nothing to run again")
    report = check_statement(case)
    try:
        await _check_on_ledger(case, _network(case, urls), report)
    except Unavailable as error:
        report.add(_unasked(error), None, ON_LEDGER)
    return await _replay(case, contents, report)


async def replay_own(client: Client, record: ReceiptRecord, urls: Sequence[str] = ()) -> Report:
    """Verify and replay a receipt of one's own: code and input are here. A voucher that is not redeemed yet is not redeemed for it."""
    case, items = await case_of(client, record)
    if case.unit is None:
        raise InvalidInput(f"the receipt {record.id[:12]} is for no unit that ran, so there is nothing to run again", receipt=record.id)
    contents = await contents_of(client, case.unit, items)
    network, redeemed, on_ledger = _network(case, urls), 0, Report()
    try:
        async with _ledger_of(network) as ledger:
            redeemed = (await ledger.channel(record.receipt.channel)).count
        if redeemed > record.index:
            case, _ = await case_of(client, record, redeemed)
            await _check_on_ledger(case, network, on_ledger)
        else:
            on_ledger.add("whether the ledger has the receipt was not checked: no voucher that covers it is redeemed yet", None, ON_LEDGER)
    except Unavailable as error:
        on_ledger.add(_unasked(error), None, ON_LEDGER)
    except SurgeError as error:
        on_ledger.add(f"the ledger confirms it: {error}", False, ON_LEDGER)
    report = check_statement(case)
    report.checks += on_ledger.checks
    return await _replay(case, contents, report)


def _unasked(error: Unavailable) -> str:
    return f"whether the ledger has the receipt was not checked: {error}"


async def _replay(case: Case, contents: Mapping[bytes, bytes], report: Report) -> Report:
    unit, receipt = case.unit, case.signed.receipt
    assert unit is not None, "the caller has seen to it"
    if unit_id(unit) != receipt.subject:
        report.add("nothing was run again: the case's unit is not the one its receipt is for", None, REPLAYED)
        return report
    ran = await compare(unit, case.signed, contents, setup=receipt.kind == ReceiptKind.SETUP)
    report.checks += ran.checks
    return report


async def compare(unit: UnitSpec, signed: Signed, contents: Mapping[bytes, bytes], *, setup: bool) -> Report:
    """Run a unit and hold the receipt against what comes out."""
    outcome = await outcome_again(unit, contents, setup=setup)
    receipt, report = signed.receipt, Report()
    report.add(f"the result is the same: {receipt.result.hex()}", result_hash(outcome) == receipt.result, REPLAYED)
    report.add(f"the fuel is the same: {receipt.quantity}", outcome.fuel == receipt.quantity, REPLAYED)
    return report


async def outcome_again(unit: UnitSpec, contents: Mapping[bytes, bytes], *, setup: bool) -> Outcome:
    """What comes out of a unit on this machine. Raises `InvalidInput` when contents are missing, `PeerFault` when one is another."""
    needed = wanted(unit, setup=setup)
    missing = [each for each in needed if each not in contents]
    if missing:
        names = ", ".join(f"sha256:{each.hex()}" for each in missing)
        raise InvalidInput(f"replaying needs contents that are not in the case: {names}; export it with its inputs", missing=missing)
    wrong = [each for each in needed if hashlib.sha256(contents[each]).digest() != each]
    if wrong:
        raise PeerFault("a content in the case is not what its name says", contents=wrong)
    with tempfile.TemporaryDirectory(prefix="surge-replay-") as name:
        folder = Path(name)
        paths = {each: _put(folder, each, contents[each]) for each in needed}
        return await run_again(
            unit,
            setup=setup,
            module=paths.get(unit.image),
            bundle=None if unit.bundle is None else paths[unit.bundle],
            items=contents.get(unit.items, b""),
        )


def _put(folder: Path, digest: bytes, data: bytes) -> Path:
    path = folder / digest.hex()
    path.write_bytes(data)
    return path
