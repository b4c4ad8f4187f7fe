"""What a job and its providers agreed on: the offer's prices, or new ones that a provider quotes once it has done a unit of the job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from surge.buyer.peers import Peer
from surge.buyer.purse import in_surge
from surge.core.messages import NewPrices, Reprice, encode
from surge.core.pricing import why_too_dear
from surge.core.receipts import Terms
from surge.errors import PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job


AGREEMENTS = 4
"""Times that a provider may have new prices for one job: each is signed, and kept."""


class Agreements:
    """The terms of one job, by provider."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._terms: dict[str, Terms] = {}
        self._agreed: dict[bytes, Terms] = {}
        self._worked: set[bytes] = set()
        """Channels on which a unit of the job was done, or may have been before a restart."""
        self._quoted: dict[str, tuple[Terms, NewPrices]] = {}
        """New prices that wait for the first unit, by device."""
        self._agreed_on: Counter[str] = Counter()

    def restore(self, terms: Iterable[Terms], worked: Iterable[bytes]) -> None:
        """Go on from a journal: terms agreed on, and the channels on which units were done."""
        self._agreed = {each.channel: each for each in terms}
        self._worked = set(worked)

    def joined(self, peer: Peer) -> None:
        """A provider takes part: what was agreed on its channel holds."""
        if peer.terms.channel in self._agreed:
            self._terms[peer.device] = self._agreed[peer.terms.channel]

    def left(self, device: str) -> None:
        """It takes no further part."""
        self._quoted.pop(device, None)

    def terms(self, peer: Peer) -> Terms:
        """The terms under which it works for the job."""
        return self._terms.get(peer.device, peer.terms)

    def are_new(self, peer: Peer) -> bool:
        """Whether prices other than the offer's were agreed on with it."""
        return peer.device in self._terms

    def has_worked(self, peer: Peer) -> bool:
        """Whether a unit of the job was done on its channel, or may have been."""
        return peer.terms.channel in self._worked

    def may_come(self, peer: Peer) -> bool:
        """Whether prices that it asks for can be agreed on yet: it has named some, and did a unit, or is about to."""
        return self.has_worked(peer) and peer.device in self._quoted

    def quote(self, peer: Peer, terms: Terms, message: NewPrices) -> bool:
        """It quotes new prices for fuel. Whether they can be weighed now: before its first unit there is nothing to quote from.

        Raises `PeerFault` when they change anything else.
        """
        known = peer.terms
        if replace(terms, job=known.job, prices=known.prices) != known or not terms.prices.differ_in_fuel_alone(known.prices):
            raise PeerFault(f"{peer.device} changes more than the price of fuel", terms=terms)
        if terms == self._terms.get(peer.device):
            return False
        if self._agreed_on[peer.device] >= AGREEMENTS:
            raise PeerFault(f"{peer.device} changes its prices again and again", terms=terms)
        self._quoted[peer.device] = terms, message
        return self.has_worked(peer)

    def worked(self, channel: bytes, device: str) -> bool:
        """A unit of the job was done. Whether new prices wait that can be weighed now."""
        self._worked.add(channel)
        return device in self._quoted

    def weigh(self, peer: Peer) -> None:
        """Agree to the prices that it quotes, within the user's bound or ours. Raises `Unavailable` when they are too high."""
        plan, (terms, message) = self._job.plan, self._quoted.pop(peer.device)
        asked, offered = terms.prices, peer.terms.prices
        if (why := why_too_dear(asked, offered, plan.wishes.max_price, plan.limits.memory)) is not None:
            raise Unavailable(f"{peer.device} {why}: max_price says what it may cost", device=peer.device, for_good=True)
        self._terms[peer.device] = terms
        self._agreed_on[peer.device] += 1
        self._job.journal.terms_soon(terms, message.signature)
        signature = peer.payer.signer.sign(terms.digest(peer.payer.party.domain))
        peer.reprice(encode(Reprice(message.terms, signature)))
        self._job.say(
            f"{peer.device} has new prices for this job: {in_surge(asked.gigafuel)} a gigafuel instead of {in_surge(offered.gigafuel)}"
        )
