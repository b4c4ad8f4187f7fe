"""Disputes as a network's user sees them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from surge.buyer import docket
from surge.buyer.docket import OPEN, OPENING, Dispute
from surge.buyer.listing import Listing
from surge.buyer.pleading import cost_of, follow, open_dispute, to_its_end
from surge.buyer.verdicts import explain, fines_of, paid, vote
from surge.core.types import ZERO
from surge.errors import InvalidInput, SurgeError

if TYPE_CHECKING:
    from surge.buyer.client import Client

NEWS_SECONDS = 60.0
"""Seconds after which a dispute is told of again, whether it was looked at or not."""


class Disputing(Listing):
    """The part of a network that disputes receipts. Use `Network`."""

    def dispute(
        self,
        receipt: str,
        result: bytes | None = None,
        fuel: int | None = None,
        *,
        jurors: int = 5,
        up_to: int | None = None,
        worth: int | None = None,
        fuel_limit: int | None = None,
        wait: bool = True,
    ) -> dict[str, Any]:
        """Dispute a receipt before the network's court; what is then known of it, as `dispute_of` says it.

        The unit's code and input are sent to the jurors, sealed for each of them.

        Args:
            receipt: the first hex digits of its id.
            result: what should have come out, 32 bytes; by default what comes out when the unit is run again here.
            fuel: what it should have taken; likewise.
            jurors: of the first jury: 5 or 15.
            up_to: jurors of the largest jury that is paid for, should smaller ones give no verdict: by default 45 where the claim is what
                comes out here, since then whoever says otherwise pays for them in the end; else the first jury is the last.
            worth: wei that the other side may lose beside the costs, and that this wallet risks; by default the most that the jury allows.
            fuel_limit: what jurors are given time for, and paid; by default the unit's limit, or what its job's setup took if that is more.
                Who is not done in that time says that the unit was not available, so name more for one that is slow for its fuel.
            wait: follow it to the verdict. Otherwise it is followed in the background, by every connection of this wallet.
        """
        if (result is None) != (fuel is None):
            raise InvalidInput("a claim has a result and a fuel: give both, or neither")
        record = self._receipt(receipt)

        async def work() -> Dispute:
            dispute = await open_dispute(self._client, record, result, fuel, jurors=jurors, most=up_to, worth=worth, fuel_limit=fuel_limit)
            if wait:
                return await follow(self._client, dispute)
            self._client.spawn(to_its_end(self._client, dispute), f"dispute {dispute.id[:12]}")
            return dispute

        return self._told(self._background.call(work()))

    def dispute_cost(
        self, receipt: str, *, jurors: int = 5, up_to: int | None = None, worth: int | None = None, fuel_limit: int | None = None
    ) -> list[str]:
        """What `dispute` with these arguments takes, in sentences: the bond, the fees, and what larger juries take. Nothing is opened.

        Without `up_to` the first jury is the last.
        """
        record = self._receipt(receipt)
        return self._background.call(cost_of(self._client, record, jurors=jurors, most=up_to, worth=worth, fuel_limit=fuel_limit))

    def follow_dispute(self, named: str) -> dict[str, Any]:
        """Follow a dispute to its verdict; what is then known of it."""
        dispute = docket.find(self._journal, named)
        return self._told(self._background.call(follow(self._client, dispute)))

    def watch_dispute(self, named: str) -> Iterator[dict[str, Any]]:
        """How a dispute stands, as `dispute_of` says it, now and after every look at it, until it is over. It is followed meanwhile."""
        dispute = docket.find(self._journal, named)

        async def now() -> tuple[dict[str, Any], asyncio.Event]:
            news = self._client.looks.next()
            return await _told(self._client, await docket.of(self._journal, dispute.receipt)), news

        async def follow_on() -> None:
            self._client.spawn(to_its_end(self._client, dispute), f"dispute {dispute.id[:12]}")

        self._background.call(follow_on())
        while True:
            told, news = self._background.call(now())
            yield told
            if told["state"] not in (OPENING, OPEN):
                return
            with contextlib.suppress(TimeoutError):
                self._background.call(asyncio.wait_for(news.wait(), NEWS_SECONDS))

    def disputes(self) -> list[dict[str, Any]]:
        """Every dispute of this wallet, the newest first, as this machine knows it."""
        return [_row(each) for each in docket.listed(self._journal)]

    def dispute_of(self, named: str) -> dict[str, Any]:
        """One dispute, named by its receipt or its case: what it is about, how it stands at the court and what follows from that.

        `explained` is a list of sentences; `events` say what happened: `time` (Unix seconds) and `text`; `jurors` what is known of each:
        `vote` in words once it revealed one, and in `said` why it does not have the inputs. `bond` and `fees` are the wei that this wallet
        deposited, null where the court does not say now.
        """
        return self._told(docket.find(self._journal, named))

    def _told(self, dispute: Dispute) -> dict[str, Any]:
        return self._background.call(_told(self._client, dispute))


def _row(dispute: Dispute) -> dict[str, Any]:
    return {
        "receipt": dispute.id,
        "case": dispute.number,
        "state": dispute.state,
        "accused": dispute.accused,
        "result": dispute.result.hex(),
        "fuel": dispute.fuel,
        "worth": dispute.worth,
        "outcome": dispute.outcome,
        "collected": dispute.collected,
        "opened": dispute.opened,
    }


async def _told(client: Client, dispute: Dispute) -> dict[str, Any]:
    told = await docket.inputs(client.journal, dispute.receipt)
    case, jurors, now, trouble = None, [], 0, ""
    bond: int | None = None
    fees: int | None = None
    if dispute.number is not None and client.home.network.court is not None:
        try:
            court = (await client.ledger()).court
            case, now = await court.case(dispute.number), await court.clock()
            ballots = {juror: await court.ballot(dispute.number, juror) for juror in await court.jurors(dispute.number)}
            fines, revealed = fines_of(case, ballots), await court.revealed(dispute.number)
            bond, fees = paid(await court.parameters(), dispute, case)
            for juror, ballot in ballots.items():
                kept, said = told.get(juror, (False, ""))
                jurors.append(
                    {
                        "juror": juror,
                        "round": ballot.round,
                        "inputs": kept,
                        "said": said,
                        **_voted(ballot),
                        "vote": vote(revealed.get(juror), dispute, case.own),
                        "fine": fines.get(juror, 0),
                    }
                )
        except SurgeError as error:
            trouble = error.message
    return {
        **_row(dispute),
        "bond": bond,
        "fees": fees,
        "jurors": jurors,
        "explained": explain(dispute, case, jurors, now, trouble),
        "events": docket.events(client.journal, dispute.receipt),
    }


def _voted(ballot: Any) -> dict[str, Any]:
    return {"committed": ballot.commitment != ZERO, "revealed": ballot.answer != ZERO}
