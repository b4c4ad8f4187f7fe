"""Whether any of a job's providers can be reached: counted, said where none can, and an error where that lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from surge.buyer.peers import Peer
from surge.buyer.plan import Plan
from surge.buyer.results import Progress
from surge.errors import PeerFault, SurgeError, Unavailable

PATIENCE = 120.0
"""Seconds a job goes on without a single provider that takes it in before it gives up."""

QUIET = 5.0
"""Seconds without a single provider after which the user is told."""


class Reach:
    """Watches a job's `peers`, by device; `left` are those that no longer take part, and why. `say` keeps an event of the job."""

    def __init__(
        self, plan: Plan, progress: Progress, peers: Mapping[str, Peer], left: Mapping[str, SurgeError], say: Callable[[str], None]
    ) -> None:
        self.started = False
        """Whether providers were looked for once: before, their channels may still be on their way into the ledger."""
        self.missed: SurgeError | None = None
        """Why those that were found at the last look cannot be had either, if the user should know."""
        self._plan = plan
        self._progress = progress
        self._peers = peers
        self._left = left
        self._say = say
        self._alone_since: float | None = None
        """Since when there was nobody to work with; those that come back only to refuse are nobody."""
        self._told = False
        self._unpaid = False
        """Whether the user knows that a deposit waits for the ledger."""

    def deposit(self, error: SurgeError | None) -> None:
        """A deposit that work waits for was added to, or could not be: said once for as long as that lasts."""
        if error is not None and not self._unpaid:
            text = f"work waits for a larger deposit, and goes on when the ledger takes it: {error}"
            self._say(text)
            self._progress.tell(text)
        self._unpaid = error is not None

    def left_for_good(self) -> list[str]:
        """Devices that broke the protocol, or cannot run the job: they are not asked to come back."""
        return [key for key, error in self._left.items() if error.details.get("for_good") or isinstance(error, PeerFault)]

    def seen(self) -> None:
        """A provider took the job in just now."""
        self._alone_since = None

    def look(self, now: float) -> Unavailable | None:
        """Count who can be reached, and tell the user once where nobody can; what ends the job when that has lasted."""
        progress = self._progress
        if not self.started:
            return None
        progress.reachable = sum(peer.is_open and (not peer.draining or peer.busy) for peer in self._peers.values())
        if progress.reachable:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since, self._told = now, False
        elif now - self._alone_since > PATIENCE:
            return self._nobody()
        elif now - self._alone_since > QUIET and not self._told:
            self._told = True
            text = f"no provider can be reached now: waiting {PATIENCE:.0f} s at most for {_named(self._peers or self._left)}"
            self._say(text)
            progress.tell(text)
        return None

    def _nobody(self) -> Unavailable:
        reasons = {key: f"{key} cannot be reached" for key in self._peers} | {key: str(error) for key, error in self._left.items()}
        parts = [_once(key, text) for key, text in reasons.items()]
        if self.missed is not None:
            parts.append(str(self.missed))
        why = f" ({'; '.join(parts)})" if parts else ""
        return Unavailable(f"no provider is left to work on the job{why}: {self._plan.advice('goes on with it')}", reasons=reasons)


def _named(devices: Iterable[str]) -> str:
    return ", ".join(devices) or "one to be found"


def _once(device: str, text: str) -> str:
    """What became of a device, its address said once."""
    before, found, after = text.partition(device)
    return f"{before}{found}{after.replace(device, 'it')}" if found else f"{device}: {text}"
