"""What a device says of where it is reached directly: looked up anew for every offer, so that nobody looks up a name for a stranger."""

from __future__ import annotations

import asyncio
import logging
import socket

from surge.core import reach
from surge.core.reach import DirectAddress
from surge.errors import InvalidInput

log = logging.getLogger("surge.provider")

LOOKUP_SECONDS = 5.0
"""How long a name may take to be looked up."""

ANYWHERE = ("0.0.0.0", "::")  # noqa: S104
"""Where a device listens that listens at all of its addresses."""


def endpoint(text: str, option: str, *, least: int = 1) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, IPv6 addresses in brackets. Raises `InvalidInput`.

    >>> endpoint("home.example:4400", "--announce"), endpoint("[::]:0", "--listen", least=0)
    (('home.example', 4400), ('::', 0))
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    plain = port.isascii() and port.isdecimal() and least <= int(port[:6]) < 1 << 16
    if not colon or not bare or not plain or (":" in bare) != (host != bare):
        raise InvalidInput(f"{option} is HOST:PORT, such as 203.0.113.7:4400 or [2001:db8::7]:4400, not {text!r}", value=text)
    return bare, int(port)


def check(listen: str, announce: str) -> None:
    """Raise `InvalidInput` for what no device could listen at, or announce."""
    if announce and not listen:
        raise InvalidInput("what is announced must be listened for: say where, with --listen")
    if announce:
        endpoint(announce, "--announce")
    if listen and endpoint(listen, "--listen", least=0)[0] in ANYWHERE and not announce:
        raise InvalidInput("it listens everywhere: say where others reach it, with --announce")


class Announced:
    """Where a device is reached, once `door` is where it listens."""

    def __init__(self, announce: str) -> None:
        self._announce = announce
        self.door: DirectAddress | None = None

    async def now(self) -> str:
        """The address for an offer; empty while there is none."""
        if self.door is None:
            return ""
        host, port = endpoint(self._announce, "--announce") if self._announce else (str(self.door.host), self.door.port)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            log.warning("the offer says nothing of a direct way: %s cannot be looked up: %s", host, error)
            return ""
        for *_, (address, *_rest) in found:
            try:
                return str(reach.parse(f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"))
            except InvalidInput as error:
                log.warning("the offer says nothing of a direct way: %s", error)
        return ""
