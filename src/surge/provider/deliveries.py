"""How a juror receives what was sealed for it.

Anybody can begin a visit; only the opener of a case that this juror is drawn in, and only while inputs are still waited for, is asked to
send anything. What it sends is bounded in size, time and number, goes to disk as it comes, sealed as it is, and counts only once it has
proved to be the unit of the receipt in dispute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from surge.core import case_package
from surge.core.case_package import CasePackage
from surge.core.messages import Bring, Declined, Deliver, Kept, Part, decode_envelope, decode_for_juror, encode_visit
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.provider.duties import Duties, Duty
from surge.provider.outbox import Link
from surge.wallet import ReceivingKey

log = logging.getLogger("surge.juror")

HELLO_SECONDS: Final = 10.0
"""How long a visitor may take to say what it brings."""

SLOWEST: Final = 128 << 10
"""Bytes a second that a delivery must come at, on average, beside `HELLO_SECONDS`."""

MAX_DELIVERIES: Final = 5
"""Deliveries of one case that may be begun: connections break, but nobody sends the same for ever."""

AT_ONCE: Final = 2
"""Deliveries under way at the same time: each is held in memory for a moment."""


class NotTaken(SurgeError):
    """A delivery is declined. `code` is one of `core.messages.visits.DECLINED`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Deliveries:
    """Envelopes on disk, by case, and the visits that bring them.

    Args:
        folder: where they lie.
        key: what opens them.
        duties: the juror's journal.
        expected: the duty of a case if a peer may deliver its inputs now. Raises `NotTaken`.
        check: whether a package is the case's. Raises `PeerFault`.
        info: what an envelope of a case is about.
    """

    def __init__(
        self,
        folder: Path,
        key: ReceivingKey,
        duties: Duties,
        expected: Callable[[int, str], Awaitable[Duty]],
        check: Callable[[Duty, CasePackage], Awaitable[None]],
        info: Callable[[int], bytes],
    ) -> None:
        self._folder = folder
        self._key = key
        self._duties = duties
        self._expected = expected
        self._check = check
        self._info = info
        self._under_way: set[int] = set()

    async def visit(self, link: Link) -> None:
        """Serve a visit. Raises `PeerFault`, `Unavailable`."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                said = decode_for_juror(await link.receive())
                if not isinstance(said, Deliver):
                    raise PeerFault("a visit begins with what is delivered")
                duty = await self._expected(said.case, link.peer)
            await self._receive(link, duty, said.size)
        except NotTaken as declined:
            log.info("a delivery by %s is declined: %s", link.peer, declined)
            await link.send(encode_visit(Declined(declined.code, declined.message[:4096])))
        except TimeoutError:
            raise PeerFault("what was to be delivered does not come") from None

    async def _receive(self, link: Link, duty: Duty, size: int) -> None:
        if duty.inputs:
            await link.send(encode_visit(Kept(duty.case)))
            return
        if len(self._under_way) >= AT_ONCE or duty.case in self._under_way:
            raise NotTaken("busy", "others deliver just now: come again")
        if duty.deliveries >= MAX_DELIVERIES:
            raise NotTaken("unknown", f"{MAX_DELIVERIES} deliveries for this case were begun, and none was whole")
        self._under_way.add(duty.case)
        try:
            await self._duties.delivery(duty)
            link.keep()
            await link.send(encode_visit(Bring()))
            async with asyncio.timeout(HELLO_SECONDS + size / SLOWEST):
                await self._keep(link, duty, size)
            await link.send(encode_visit(Kept(duty.case)))
        finally:
            self._under_way.discard(duty.case)

    async def _keep(self, link: Link, duty: Duty, size: int) -> None:
        path = self.path(duty.case)
        beside = path.with_suffix(".part")
        try:
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
            with beside.open("wb") as file:
                left = size
                while left:
                    part = decode_for_juror(await link.receive())
                    if not isinstance(part, Part) or not 0 < len(part.data) <= left:
                        raise PeerFault("a delivery is not in pieces of the size that was named")
                    left -= len(part.data)
                    await asyncio.to_thread(file.write, part.data)
                await asyncio.to_thread(_sync, file.fileno(), file.flush)
            package = await asyncio.to_thread(self._open, beside, duty.case)
            await self._check(duty, package)
            await asyncio.to_thread(_put, beside, path)
        except PeerFault as fault:
            raise NotTaken("invalid", fault.message) from fault
        except OSError as error:
            raise NotTaken("storage", f"there is no room for it: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        await self._duties.arrived(duty)

    def path(self, case: int) -> Path:
        """Where the envelope of a case lies."""
        return self._folder / f"{case}.envelope"

    async def package(self, case: int) -> CasePackage:
        """What was delivered for a case. Raises `Unavailable` when it is no longer here, `PeerFault` when it is damaged."""
        return await asyncio.to_thread(self._open, self.path(case), case)

    def _open(self, path: Path, case: int) -> CasePackage:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Unavailable(f"the inputs of the case {case} are not here: {error.strerror}", case=case) from error
        return case_package.decode(self._key.open(decode_envelope(data), self._info(case)))

    def forget(self, case: int) -> None:
        """Remove what was delivered for a case."""
        self.path(case).unlink(missing_ok=True)


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _put(beside: Path, path: Path) -> None:
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
