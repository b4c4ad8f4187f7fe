"""What the provider knows of each buyer, over all its channels: its window, its cover, and what it has under way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from surge.core import exposure
from surge.core.exposure import Standing
from surge.core.receipts import WINDOWED, ReceiptKind
from surge.core.text import counted
from surge.core.types import Address
from surge.provider.cover import Cover
from surge.provider.journal import Journal
from surge.provider.service import Refused, Weight


@dataclass(slots=True)
class Buyer:
    """A buyer: the wallet that opens channels."""

    address: Address
    standing: Standing
    compiling: bool = False
    """Whether a compilation is under way or unpaid."""
    cover: Cover = field(init=False)
    """Wei set aside for what runs."""

    def __post_init__(self) -> None:
        self.cover = Cover(lambda: self.standing)

    def begin(self, weight: Weight) -> None:
        """An order begins. Raises `Refused` when the window has no room."""
        if weight is Weight.UNIT:
            begun = exposure.begin(self.standing)
            if begun is None:
                window, waiting = self.standing.window, self.standing.outstanding
                raise Refused("window", f"{counted(waiting, 'unit')} without an acknowledgement; the window is {window}", window=window)
            self.standing = begun
        elif weight is Weight.COMPILE:
            if self.compiling:
                raise Refused("window", "a module is being compiled for you, or its receipt waits for an acknowledgement")
            self.compiling = True

    def release(self, weight: Weight) -> None:
        """An order ended without a receipt."""
        if weight is Weight.UNIT:
            self.standing = exposure.released(self.standing)
        elif weight is Weight.COMPILE:
            self.compiling = False

    def default(self, kinds: Collection[int]) -> None:
        """Receipts of these kinds went unanswered past their time: the window starts again at one unit."""
        self.standing = exposure.defaulted(self.standing, sum(kind in WINDOWED for kind in kinds))
        if ReceiptKind.COMPILE in kinds:
            self.compiling = False


class Buyers:
    """All buyers that were met since the start; their standing comes from the journal."""

    def __init__(self, journal: Journal, window: int) -> None:
        self._journal = journal
        self._window = window
        self._known: dict[Address, Buyer] = {}

    def get(self, address: Address) -> Buyer:
        """The buyer, with the standing it left with; a stranger starts with the window that is offered."""
        buyer = self._known.get(address)
        if buyer is None:
            standing = self._journal.standing(address) or Standing(window=self._window)
            buyer = self._known[address] = Buyer(address, standing)
            buyer.cover.channels.update(self._journal.owed(address))
        return buyer
