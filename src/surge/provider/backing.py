"""What all accounts of a provider share: its keys, its journal, the ledger, and who is told of what happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from surge.core.eip712 import Domain
from surge.core.receipts import Receipt, Signed
from surge.core.signing import Signer
from surge.errors import SurgeError
from surge.provider.config import ProviderConfig
from surge.provider.journal import Journal
from surge.provider.tally import Tally

Issued = Callable[[Signed, SurgeError | None], None]


class OnLedger(Protocol):
    """A channel on the ledger."""

    @property
    def exists(self) -> bool:
        """Whether the ledger has it."""
        ...

    @property
    def deposit(self) -> int:
        """Wei."""
        ...

    @property
    def floor(self) -> int:
        """Wei that it pays at least."""
        ...


@dataclass(frozen=True, slots=True)
class Common:
    """What all accounts share."""

    device: Signer
    domain: Domain
    config: ProviderConfig
    journal: Journal
    spool: Path
    """Where outputs wait for their acknowledgement."""
    tally: Tally
    state: Callable[[bytes], Awaitable[OnLedger | None]]
    """Ask the ledger for a channel; None when it was just asked, or cannot be."""
    owed: Callable[[bytes], None]
    """Told of channels whose voucher should be redeemed soon."""
    answered: Callable[[Receipt, bool], None]
    """Told of every receipt whose answer is on disk, and whether it was accepted."""
