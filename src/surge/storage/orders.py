"""A call to the storage service, as the daemon does it: calls about one deal in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from surge.core.storage.deals import NotAgreed
from surge.core.types import ZERO
from surge.provider.service import Refused, Reply, Weight
from surge.storage.shelf import Shelf


class StorageOrder:
    """A call to the service. See `Order`. Calls about one deal are done in turn."""

    job = ZERO
    begun = True

    def __init__(
        self,
        do: Callable[[], Awaitable[Reply]],
        shelf: Shelf,
        deal: bytes | None = None,
        *,
        subject: bytes | None = None,
        weight: Weight = Weight.FREE,
        lasting: bool = True,
    ) -> None:
        self.subject, self.weight, self.lasting = subject, weight, lasting
        self._do, self._shelf, self._deal = do, shelf, deal

    async def run(self) -> Reply:
        """See `Order`."""
        try:
            if self._deal is None:
                return await self._do()
            async with self._shelf.turn(self._deal):
                return await self._do()
        except NotAgreed as error:
            raise Refused(error.code, error.message, **error.details) from error
