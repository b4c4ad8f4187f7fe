"""Every error Surge raises, in one tree.

    SurgeError
      InvalidInput        the caller's value is wrong            (raised at the edges)
        NotData           a value that is not plain data
      PeerFault           a peer broke the protocol              (carries the evidence)
      GuestFault          the unit trapped, or ran out of fuel, memory, time or output
        RemoteError       the user's function raised in the guest (carries the guest's traceback)
      Unavailable         a relay, provider or RPC endpoint is away: may be tried again
        NoProvider        no offer passes the constraints         (says which excluded how many)
      CorrectedResults    a device was caught after wrong results of it were given out (`items` names them)
      Cancelled           somebody called the job off            (`job` is its id)
      LedgerError         a transaction reverted, or lost a race
        NotEnough         too few tokens, too little gas money, or the budget is spent
      InternalFault       a bug or damaged state: stop

The operands of an error are its attributes; its message says what was wrong, with what, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SurgeError(Exception):
    """The root of the tree. `details` holds the operands by name."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details


class InvalidInput(SurgeError):
    """The caller's value is wrong."""


class NotData(InvalidInput):
    """A value cannot cross as data. `details["where"]` names its place inside the value."""


class PeerFault(SurgeError):
    """A peer broke the protocol. `details` carries what it sent."""


class GuestFault(SurgeError):
    """A unit ended without a result. `details["status"]` is the ending."""


class RemoteError(GuestFault):
    """The user's function raised inside the guest.

    `details` holds `type` (the exception's class name), `text` (its message), `traceback` (the guest's traceback)
    and `index` (the item's place in the input).
    """

    def __str__(self) -> str:
        traceback = self.details.get("traceback", "")
        return f"{self.message}\n\n{traceback}".rstrip() if traceback else self.message


class Unavailable(SurgeError):
    """A relay, a provider or an RPC endpoint is away; trying again may help."""


class NoProvider(Unavailable):
    """No offer passes the constraints. `details["excluded"]` counts the offers each constraint excluded."""


class CorrectedResults(SurgeError):
    """Results that were given out were wrong, and are right in the job's journal now. `details["items"]` lists their indices."""


class Cancelled(SurgeError):
    """Somebody else called the job off: its results are not all there. `details["job"]` is its id."""


class LedgerError(SurgeError):
    """A transaction reverted, or lost a race. `details["reason"]` is the contract's reason."""


class NotEnough(LedgerError):
    """Too few tokens, too little money for gas, or a budget that is spent."""


class InternalFault(SurgeError):
    """A bug, or state on disk that is damaged. Nothing should go on."""
