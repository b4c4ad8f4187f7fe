"""Disputing a receipt before the court: open a case, tell the secret, bring jurors the inputs, follow to the verdict, collect.

dispute = await disputes.open(case, result, fuel)     # durable, with its secret, before the court hears of it
dispute = await disputes.follow(dispute)              # goes on from wherever it stands; may be cut off at any time
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from surge.buyer import docket
from surge.buyer.casefile import Case
from surge.buyer.docket import FAILED, OPEN, OPENING, OVER, Dispute
from surge.buyer.journal import Journal
from surge.buyer.verdicts import refusal
from surge.core.case_package import CasePackage
from surge.core.court import OPENING as AT_FIRST
from surge.core.court import SIZES, Filing, Outcome, Phase, next_size, phase_at, secret_commitment
from surge.core.duty import OpenerStep, inputs_until, opener_step
from surge.core.messages import Declined, Kept, encode_envelope, inputs_info
from surge.core.network import NetworkFile
from surge.core.receipts import FUELLED
from surge.core.signing import Signer
from surge.core.types import ZERO, Address
from surge.core.units import unit_id
from surge.errors import InvalidInput, LedgerError, NotEnough, PeerFault, Unavailable
from surge.wallet import seal

log = logging.getLogger("surge.buyer")

LOOKS: Final = 60
"""Looks at the ledger within the shortest of the court's periods."""

OPENING_SECONDS: Final = 3600.0
"""Seconds in which the transaction that opens a case is mined, or will not be."""

QUICKEST, SLOWEST = 0.25, 30.0
"""Seconds between looks, at least and at most."""


class Courier(Protocol):
    """Brings envelopes to jurors, as `surge.buyer.courier.Courier` does."""

    async def deliver(self, juror: Address, case: int, envelope: bytes) -> Kept | Declined:
        """Bring an envelope; what the juror says. Raises `Unavailable`, `PeerFault`."""
        ...


class Court(Protocol):
    """What an opener asks of the court, as `surge.ledger` answers it. See `surge.provider.court` for what jurors ask."""

    async def clock(self) -> int:
        """Unix seconds of the ledger's last block."""
        ...

    async def parameters(self) -> Any:
        """Periods in seconds, fees in wei."""
        ...

    def wrote(self, commitment: bytes) -> bool:
        """Whether a transaction that opens a case with this commitment was written down here."""
        ...

    async def case_of(self, receipt: bytes) -> int | None:
        """The case of a receipt's digest; None if there is none."""
        ...

    async def case(self, case: int, /) -> Any:
        """A case. Raises `InvalidInput` if there is none."""
        ...

    async def jurors(self, case: int, /) -> Sequence[Address]:
        """Its jurors, of all rounds."""
        ...

    async def ballot(self, case: int, juror: Address, /) -> Any:
        """A juror's ballot."""
        ...

    async def enlistment(self, number: int, /) -> Any:
        """What a juror says of itself."""
        ...

    async def open(self, signer: Signer, filing: Filing, /) -> int:
        """Open a case; its number."""
        ...

    async def draw(self, signer: Signer, case: int, secret: bytes, /) -> object:
        """Tell the secret."""
        ...

    async def extend(self, signer: Signer, case: int, secret: bytes, /) -> object:
        """Call a larger jury, with another secret."""
        ...

    async def advance(self, signer: Signer, case: int, /) -> object:
        """Move a case past its deadline."""
        ...

    async def owed(self, account: Address) -> int:
        """Wei that an account may collect."""
        ...

    async def collect(self, signer: Signer) -> object:
        """Collect them."""
        ...


class Disputes:
    """A wallet's disputes.

    Args:
        network: which network.
        court: its court.
        address: where the court's contract lies.
        wallet: opens cases: the one that opened the channels.
        journal: where disputes are written down.
        folder: where their packages lie.
        courier: brings jurors their inputs.
        looked: told whenever a case was looked at, and what is next for it was done.
        clock: the time, Unix seconds; the ledger's own counts where it is later.
    """

    def __init__(
        self,
        *,
        network: NetworkFile,
        court: Court,
        address: Address,
        wallet: Signer,
        journal: Journal,
        folder: Path,
        courier: Courier,
        looked: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._network, self._court, self._address = network, court, address
        self._wallet, self._journal, self._folder = wallet, journal, folder
        self._courier, self._looked, self._clock = courier, looked, clock

    # Opening

    async def open(
        self,
        case: Case,
        result: bytes,
        fuel: int,
        *,
        jurors: int = SIZES[0],
        worth: int | None = None,
        most: int | None = None,
        fuel_limit: int | None = None,
    ) -> Dispute:
        """Open a case about a redeemed receipt, with its inputs.

        Args:
            case: the receipt, its proof in the redeemed log, and the unit with its contents.
            result: what should have come out, 32 bytes.
            fuel: what it should have taken.
            jurors: of the first jury: 5 or 15.
            worth: wei that the accused may lose beside the costs, and that the opener risks; by default as much as the jury allows.
            most: of the largest jury that is paid for, should smaller ones give no verdict; by default the first is the last.
            fuel_limit: what jurors are given time for, and paid: the unit's limit, or more for one that is slow, or whose setup takes more.

        Raises:
            InvalidInput: the receipt is for nothing that ran, is disputed already, or the claim is what it says anyway.
            Unavailable: what the court wants to see is not here, or the ledger is away.
            LedgerError: the court does not take the case, as when the receipt is too old or there are too few jurors; `NotEnough` money.
        """
        receipt, unit = case.signed.receipt, case.unit
        digest = receipt.digest(self._network.channels_domain)
        check_claim(case, result, fuel, jurors, most)
        assert unit is not None, "it was checked"
        package = CasePackage(unit, receipt, result, fuel, case.contents).encode()
        parameters = await self._court.parameters()
        fuel_limit = max(unit.limits.fuel, fuel_limit or 0)
        if worth is None:
            worth = int(parameters.max_worth(fuel_limit, jurors))
        await self._check_new(digest)
        await asyncio.to_thread(_write, self._path(digest), package)
        dispute = Dispute(
            receipt=digest, number=None, state=OPENING, opened=time.time(), accused="", result=result, fuel=fuel,
            jurors=jurors, most=most or jurors, worth=worth, secrets=(secrets.token_bytes(32),), outcome=0, collected=0,
        )  # fmt: skip
        await docket.create(self._journal, dispute)
        assert case.terms_signature is not None, "it was checked"
        filing = Filing(
            signed=case.signed, terms=case.terms, terms_signature=case.terms_signature, path=case.path,
            accepted=case.answer.accepted, amount=case.answer.amount, index=case.answer.index,
            result=result, fuel=fuel, memory=unit.limits.memory, fuel_limit=fuel_limit,
            jurors=jurors, worth=worth, secret=dispute.secrets[0],
        )  # fmt: skip
        try:
            number = await self._court.open(self._wallet, filing)
        except LedgerError as error:
            found = await self._court.case_of(digest)
            if found is None:
                await docket.change(self._journal, digest, state=FAILED)
                told = refusal(error)
                await docket.note(self._journal, digest, told.message)
                raise told from error
            number = found
        return await self._opened(dispute, number)

    async def _check_new(self, digest: bytes) -> None:
        """Raise `InvalidInput` if the receipt is disputed already: a case is opened once."""
        if await self._court.case_of(digest):
            raise InvalidInput(f"the receipt {digest.hex()[:12]} is disputed already: the court hears it once", receipt=digest)

    async def _opened(self, dispute: Dispute, number: int) -> Dispute:
        found = await self._court.case(number)
        if found.opener != self._wallet.address:
            raise InvalidInput(f"the receipt {dispute.id[:12]} is disputed by another wallet, as case {number}", case=number)
        dispute = await docket.change(self._journal, dispute.receipt, number=number, state=OPEN, accused=found.accused)
        await self._note(dispute, f"case {number} is open")
        return dispute

    # Following

    async def follow(self, dispute: Dispute) -> Dispute:
        """Do what is next until the case is over and what it brings is collected. Raises `Unavailable` when the ledger is away."""
        while dispute.state in (OPENING, OPEN):
            pause = await self._pause()
            number = await self._court.case_of(dispute.receipt)
            if number is None:
                dispute = await self._not_there(dispute)
            elif number != dispute.number:
                dispute = await self._opened(dispute, number)
            else:
                try:
                    step, case = await self._step(dispute, number)
                    dispute = await self._do(step, dispute, number, case)
                except NotEnough as error:
                    await self._short(dispute, error)
                except (LedgerError, InvalidInput) as error:  # another was quicker, the time is over, or the chain lost a block: look again
                    log.info("case %d: %s", number, error)
            self._looked()
            if dispute.state in (OPENING, OPEN):
                await asyncio.sleep(pause)
        return dispute

    async def _not_there(self, dispute: Dispute) -> Dispute:
        """The court does not have the case: its transaction is still on its way, or never was, or the chain lost it."""
        if self._court.wrote(secret_commitment(dispute.secrets[0])) and time.time() < dispute.opened + OPENING_SECONDS:
            return dispute
        dispute = await docket.change(self._journal, dispute.receipt, state=FAILED)
        await self._note(dispute, "the case never got to the court: open it again")
        return dispute

    async def _pause(self) -> float:
        periods = await self._court.parameters()
        least = min(periods.answer_seconds, periods.draw_seconds, periods.commit_seconds, periods.reveal_seconds, periods.extend_seconds)
        return float(min(SLOWEST, max(QUICKEST, least / LOOKS)))

    async def _now(self) -> int:
        return max(await self._court.clock(), int(self._clock()))

    async def _step(self, dispute: Dispute, number: int) -> tuple[OpenerStep, Any]:
        case, periods, now = await self._court.case(number), await self._court.parameters(), await self._now()
        phase, deadline = phase_at(case.phase, case.deadline, now, periods.reveal_seconds)
        extend = case.jurors < dispute.most and (phase is not Phase.EXTEND or await self._hopeful(dispute, number, case))
        return opener_step(phase, deadline, now, all_said=case.revealed == case.committed, extend=extend), case

    async def _hopeful(self, dispute: Dispute, number: int, case: Any) -> bool:
        """Whether a larger jury may find otherwise: not if most jurors say that the inputs did not come, and most were not given any."""
        if case.lead_kind != Outcome.NO_INPUTS:
            return True
        told = await docket.inputs(self._journal, dispute.receipt)
        jury = list(await self._court.jurors(number))[case.first :]
        return 2 * sum(told.get(juror, (False, ""))[0] for juror in jury) > len(jury)

    async def _short(self, dispute: Dispute, error: NotEnough) -> None:
        """Say, once, that this wallet cannot pay for what is next."""
        text = f"this wallet cannot pay for what is next, and tries again until it is too late: {error.message}"
        if text not in [each["text"] for each in await asyncio.to_thread(docket.events, self._journal, dispute.receipt)]:
            await self._note(dispute, text)

    async def _do(self, step: OpenerStep, dispute: Dispute, number: int, case: Any) -> Dispute:
        if step is OpenerStep.DRAW:
            await self._draw(dispute, number, case)
        elif step is OpenerStep.DELIVER:
            await self._deliver(dispute, number, case)
        elif step is OpenerStep.ADVANCE:
            await self._court.advance(self._wallet, number)
        elif step is OpenerStep.EXTEND:
            return await self._extend(dispute, number, case)
        elif step is OpenerStep.END:
            return await self._end(dispute, case)
        return dispute

    async def _draw(self, dispute: Dispute, number: int, case: Any) -> None:
        secret = next((each for each in dispute.secrets if secret_commitment(each) == case.commitment), None)
        if secret is None:
            raise PeerFault(f"the case {number} was opened with a secret that is not in this journal", case=number)
        await self._court.draw(self._wallet, number, secret)
        await self._note(dispute, "the accused has shown its link, and the jury is drawn with it and this wallet's secret")

    async def _extend(self, dispute: Dispute, number: int, case: Any) -> Dispute:
        secret = next((each for each in dispute.secrets[case.round :]), None)
        if secret is None:
            secret = secrets.token_bytes(32)
            dispute = await docket.change(self._journal, dispute.receipt, secrets=[*dispute.secrets, secret])
        await self._court.extend(self._wallet, number, secret)
        await self._note(dispute, f"the jury gave no verdict: {next_size(case.jurors)} jurors are called, and their fees advanced")
        return dispute

    async def _end(self, dispute: Dispute, case: Any) -> Dispute:
        owed = await self._court.owed(self._wallet.address)
        if owed:
            await self._court.collect(self._wallet)
        dispute = await docket.change(self._journal, dispute.receipt, state=OVER, outcome=int(case.outcome), collected=owed)
        await self._note(dispute, "the case is over")
        await asyncio.to_thread(self._path(dispute.receipt).unlink, missing_ok=True)
        return dispute

    async def _note(self, dispute: Dispute, text: str) -> None:
        log.info("the dispute about %s: %s", dispute.id[:12], text)
        await docket.note(self._journal, dispute.receipt, text)

    # Inputs

    def _path(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.package"

    async def _deliver(self, dispute: Dispute, number: int, case: Any) -> None:
        """Bring the inputs to those of the round's jurors who lack them, all at once, while they still wait."""
        periods = await self._court.parameters()
        window = periods.commit_seconds + case.fuel_limit // periods.fuel_per_second
        if await self._now() >= inputs_until(case.deadline, window):
            return
        told = await docket.inputs(self._journal, dispute.receipt)
        jury = list(await self._court.jurors(number))[case.first :]
        lacking = [juror for juror in jury if not told.get(juror, (False, ""))[0]]
        if not lacking:
            return
        package = await asyncio.to_thread(self._path(dispute.receipt).read_bytes)
        async with asyncio.TaskGroup() as group:
            for juror in lacking:
                group.create_task(self._bring(dispute, number, juror, package))

    async def _bring(self, dispute: Dispute, number: int, juror: Address, package: bytes) -> None:
        try:
            ballot = await self._court.ballot(number, juror)
            if ballot.commitment != ZERO:
                return
            key = (await self._court.enlistment(ballot.enlistment)).key
            info = inputs_info(self._network.network_id, self._address, number, juror)
            envelope = await asyncio.to_thread(lambda: encode_envelope(seal(key, info, package)))
            said = await self._courier.deliver(juror, number, envelope)
        except (Unavailable, PeerFault, InvalidInput, LedgerError) as error:
            kept, text = False, error.message
        else:
            kept, text = isinstance(said, Kept), "" if isinstance(said, Kept) else said.text
        before = (await docket.inputs(self._journal, dispute.receipt)).get(juror)
        if before != (kept, text):
            await docket.delivered(self._journal, dispute.receipt, juror, kept=kept, text=text)
            await self._note(dispute, f"the juror {juror} {'has the inputs' if kept else f'does not have the inputs yet: {text}'}")


def check_claim(case: Case, result: bytes, fuel: int, jurors: int = SIZES[0], most: int | None = None) -> None:
    """Raise `InvalidInput` or `Unavailable` unless a case can be made of this receipt and claim."""
    receipt, unit = case.signed.receipt, case.unit
    name = "the receipt"
    if receipt.kind not in FUELLED or unit is None:
        raise InvalidInput(f"{name} is for no unit that ran: there is nothing that jurors could run again")
    if len(result) != 32 or result == ZERO:
        raise InvalidInput("a result is 32 bytes: 64 hex digits")
    if not 0 <= fuel <= unit.limits.fuel:
        raise InvalidInput(f"{fuel} fuel is more than the unit's limit of {unit.limits.fuel}, which no run goes beyond", fuel=fuel)
    if (result, fuel) == (receipt.result, receipt.quantity):
        raise InvalidInput(f"{name} says the same result and fuel: there is nothing to dispute")
    if jurors not in AT_FIRST or (most is not None and (most not in SIZES or most < jurors)):
        raise InvalidInput("a first jury has 5 or 15 jurors, a later one 15 or 45, and no fewer than the first", jurors=jurors)
    if unit_id(unit) != receipt.subject:
        raise Unavailable(f"{name} is for a unit that this journal no longer describes: it cannot be run again")
    if case.terms_signature is None:
        raise Unavailable(f"the device's signature over its terms was not kept, and the court asks for it: {name} cannot be disputed")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.touch(0o600)
    beside.write_bytes(data)
    beside.replace(path)
